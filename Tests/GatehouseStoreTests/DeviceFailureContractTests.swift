// Devices over a store that fails, is counted, or has a new ring.

import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseTestSupport
import Synchronization
import Testing

@testable import GatehouseWeb

@Suite struct DeviceFailureContractTests {
    private let directory = TemporaryDirectory()
    private let sound: SQLStore
    private let store: FailingStore
    private let rootText: [UInt8]
    private let node: Node
    private let sealer: Sealer
    private let devices: Devices

    init() async throws {
        sound = try Backend.inForce.open(directory)
        store = FailingStore(sound)
        let root = try RootKey.random(from: .system)
        let text = root.withText { span in span.indices.map { span[$0] } }
        rootText = text
        let lease = Lease(maximumStalenessSeconds: 3600)
        lease.enter(.serving)
        let sealer = Sealer(audience: audience(), lease: lease, entropy: .system)
        self.sealer = sealer
        node = Node(
            id: NodeID(try Identifier.random(from: .system)), store: store,
            rootKey: try RootKey(text: text.span), lease: lease, entropy: .system
        ) { await sealer.adopt($0) }
        devices = Devices(
            store: store, sealer: sealer, node: node, entropy: .system, clock: { instant(noon) })
        try await replaceRing { try $0 ?? Keyring.first(at: time(noon), entropy: .system) }
        _ = try await node.refresh(at: instant(noon))
    }

    private func rootKey() throws -> RootKey { try RootKey(text: rootText.span) }

    private func replaceRing(_ change: (Keyring?) throws -> Keyring) async throws {
        let wrapped = try await store.keyring()
        let ring = try change(try wrapped.map { try rootKey().unwrap($0) })
        let outcome = try await KeyringChange.replace(
            with: ring, onlyWhenLoaded: false, audit: [], store: store, rootKey: try rootKey(),
            at: time(noon), entropy: .system)
        #expect(outcome == .replaced)
    }

    private func signIn(_ user: User, _ cookies: [[UInt8]] = []) async throws -> [[UInt8]] {
        let session = try store.record(for: user, at: noon, seconds: 3600)
        let cookie = await devices.signedIn(session, cookies: cookies, series: nil)
        return cookie.map { [Array($0.value.utf8)] } ?? []
    }

    private func claims(_ user: User) throws -> Claims {
        try store.record(for: user, at: noon, seconds: 3600)
            .claims(username: user.username, at: time(noon))
    }

    /// The device that a sign-in would know the user by.
    private func known(_ cookies: [[UInt8]], _ user: User) async throws -> DeviceID? {
        let facts = try await sound.signInFacts(
            of: user.username, browser: await devices.claims(in: cookies), at: time(noon))
        let device = try facts.device.get()
        return device?.isProved == true ? device?.id : nil
    }

    @Test func `who goes first is told without asking the store`() async throws {
        let ada = try await store.makeUser("ada")
        let cookies = try await signIn(ada)
        store.deviceLookUps.store(0, ordering: .relaxed)
        #expect(await devices.users(in: cookies) == [ada.id])
        #expect(await devices.claims(in: cookies)?.people.map(\.user) == [ada.id])
        for none in [[], [Array("AAAA".utf8)], cookies + cookies] {
            #expect(await devices.users(in: none).isEmpty)
            #expect(await devices.claims(in: none) == nil)
        }
        #expect(store.deviceLookUps.load(ordering: .relaxed) == 0)
    }

    @Test func `when the store fails nobody is known, nothing is set and nothing is lost`()
        async throws
    {
        let ada = try await store.makeUser("ada")
        let cookies = try await signIn(ada)
        #expect(try await known(cookies, ada) != nil)
        store.failsDevices.store(true, ordering: .relaxed)
        #expect(try await signIn(ada, cookies).isEmpty)
        #expect(try await signIn(ada).isEmpty)
        let preferences = try Preferences(["theme": "dark"])
        await #expect(throws: Accounts.Failure.unavailable) {
            try await devices.device(cookies, of: ada.id)
        }
        await #expect(throws: Accounts.Failure.unavailable) {
            try await devices.save(preferences, of: claims(ada), cookies: cookies)
        }
        await #expect(throws: Accounts.Failure.unavailable) {
            try await devices.forget(cookies, user: ada.id)
        }
        store.failsDevices.store(false, ordering: .relaxed)
        #expect(try await devices.device(cookies, of: ada.id)?.preferences == Preferences.none)
    }

    /// This node does not hear of it.
    private func rotate() async throws {
        try await replaceRing { ring in
            try #require(ring).addingPendingKey(at: time(noon), entropy: .system)
        }
        try await replaceRing { ring in
            try #require(ring).activatingPendingKeys(at: time(noon))
        }
    }

    @Test func `a ring that has changed is read, and the key lives as long as the cookie`()
        async throws
    {
        let (ada, bob) = (try await store.makeUser("ada"), try await store.makeUser("bob"))
        let cookies = try await signIn(ada)
        let device = try await known(cookies, ada)
        #expect(device != nil)
        try await rotate()
        let both = try await signIn(bob, cookies)
        #expect(try await known(both, ada) == device)
        #expect(try await known(cookies, ada) == device, "the old key opens")
        try await rotate()
        let preferences = try Preferences(["theme": "dark"])
        let saved = try await devices.save(preferences, of: claims(ada), cookies: both)
        #expect(saved?.isPersistent == true)
        try await rotate()
        let rest = try await devices.forget(both, user: ada.id)
        #expect(try await known(both, ada) == nil)
        let others = [Array(try #require(rest).value.utf8)]
        #expect(await devices.users(in: others) == [bob.id])
        let ends = try await store.keyUsage().values.map(\.lastDeadline)
        #expect(ends == Array(repeating: time(noon + DeviceClaims.lifetimeSeconds), count: 4))
    }

    @Test func `a revoked key's cookie is none`() async throws {
        let ada = try await store.makeUser("ada")
        let cookies = try await signIn(ada)
        try await replaceRing { ring in
            let ring = try #require(ring)
            return try #require(
                try ring.revoking(at: time(noon), entropy: .system, where: { _ in true })
            ).ring
        }
        try await node.reload(at: time(noon))
        #expect(try await known(cookies, ada) == nil)
        #expect(try await signIn(ada).isEmpty, "without an active key nothing is sealed")
    }
}
