// The contract of `Store` about devices and preferences, run on every backend.

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import Testing

@Suite struct DeviceContractTests {
    private let directory = TemporaryDirectory()
    private static let lifetime = DeviceClaims.lifetimeSeconds
    private static let midnight = noon / 86_400 * 86_400

    private static func randomID() throws -> DeviceID {
        DeviceID(try Identifier.random(from: .system))
    }

    private static func seal(
        key: UInt32 = 7, version: UInt64 = 0, deadline: Int64 = noon + lifetime
    ) throws -> DeviceSeal {
        DeviceSeal(
            key: try #require(KeyID(rawValue: key)), keyringVersion: version,
            deadline: time(deadline))
    }

    private func use(
        _ id: DeviceID, of user: User, isNew: Bool, preferences: [String: String]? = nil,
        epoch: UInt32? = nil, seal: DeviceSeal? = nil, isProved: Bool = true, in store: any Store,
        at now: Int64 = noon
    ) async throws -> DeviceOutcome {
        try await store.useDevice(
            DeviceUse(
                id: id, isNew: isNew, user: user.id, epoch: epoch ?? user.epoch,
                preferences: try preferences.map { try Preferences($0) },
                seal: try seal ?? Self.seal(), isProved: isProved), at: time(now))
    }

    private func makeDevice(
        of user: User, preferences: [String: String]? = nil, in store: any Store,
        at now: Int64 = noon
    ) async throws -> DeviceID {
        let id = try Self.randomID()
        let outcome = try await use(
            id, of: user, isNew: true, preferences: preferences, in: store, at: now)
        guard outcome == .done else { throw Unexpected("\(outcome)") }
        return id
    }

    private func forget(
        _ id: DeviceID, of user: User, seal: DeviceSeal? = nil, in store: any Store
    ) async throws -> DeviceOutcome {
        try await store.endDevice(
            id, of: user.id, seal: seal,
            audit: AuditEvent(.deviceForgotten, by: .server, user: user.id), at: time(noon))
    }

    // MARK: A device's life

    @Test(arguments: Backend.allCases)
    func `a device is its user's, and its use is noted by the day`(_ backend: Backend) async throws
    {
        let store = try backend.open(directory)
        let (ada, bob) = (try await store.makeUser("ada"), try await store.makeUser("bob"))
        let id = try await makeDevice(of: ada, in: store)
        #expect(
            try await store.device(id, of: ada.id, at: time(noon))
                == Device(
                    id: id, user: ada.id, created: time(noon), lastUsed: time(Self.midnight),
                    preferences: .none, isProved: true))
        #expect(try await store.device(id, of: bob.id, at: time(noon)) == nil)
        #expect(try await store.device(Self.randomID(), of: ada.id, at: time(noon)) == nil)
        #expect(try await use(id, of: bob, isNew: false, in: store) == .gone)
        let later = noon + 10 * 86_400
        #expect(try await use(id, of: ada, isNew: false, in: store, at: later) == .done)
        let used = try #require(try await store.device(id, of: ada.id, at: time(later)))
        #expect(used.lastUsed == time(Self.midnight + 10 * 86_400))
        #expect(used.created == time(noon))
        // A note that comes late takes nothing back.
        #expect(try await use(id, of: ada, isNew: false, in: store, at: noon) == .done)
        #expect(try await store.device(id, of: ada.id, at: time(later)) == used)
    }

    @Test(arguments: Backend.allCases)
    func `preferences are replaced as a whole, or stay`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let id = try await makeDevice(of: ada, preferences: ["a": "1", "b": "2"], in: store)
        let other = try await makeDevice(of: ada, preferences: ["a": "9"], in: store)
        func values() async throws -> [String: String]? {
            try await store.device(id, of: ada.id, at: time(noon))?.preferences.values
        }
        #expect(try await values() == ["a": "1", "b": "2"])
        #expect(try await use(id, of: ada, isNew: false, in: store) == .done)
        #expect(try await values() == ["a": "1", "b": "2"])
        let changed = ["b": "3", "c": "Zoë 🦊"]
        #expect(
            try await use(id, of: ada, isNew: false, preferences: changed, in: store) == .done)
        #expect(try await values() == changed)
        #expect(try await use(id, of: ada, isNew: false, preferences: [:], in: store) == .done)
        #expect(try await values() == [:])
        let untouched = try await store.device(other, of: ada.id, at: time(noon))
        #expect(untouched?.preferences.values == ["a": "9"])
    }

    @Test(arguments: Backend.allCases)
    func `a device that has ended never comes back, and nothing of it is kept`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let bob = try await store.makeUser("bob")
        let id = try await makeDevice(of: ada, preferences: ["a": "1"], in: store)
        #expect(try await forget(id, of: bob, in: store) == .gone)
        #expect(try await store.device(id, of: ada.id, at: time(noon)) != nil)
        #expect(try await forget(id, of: ada, in: store) == .done)
        #expect(try await forget(id, of: ada, in: store) == .gone)
        #expect(try await store.device(id, of: ada.id, at: time(noon)) == nil)
        #expect(
            try await use(id, of: ada, isNew: false, preferences: ["a": "2"], in: store) == .gone)
        #expect(try await store.device(id, of: ada.id, at: time(noon)) == nil)
        let trail = try await store.audit(after: 0, limit: 10).map(\.event)
        #expect(
            trail.filter { $0.kind == .deviceForgotten } == [
                AuditEvent(.deviceForgotten, by: .server, user: ada.id)
            ])
        // Even under its own id a device would begin empty.
        #expect(try await use(id, of: ada, isNew: true, in: store) == .done)
        #expect(
            try await store.device(id, of: ada.id, at: time(noon))?.preferences == Preferences.none)
    }

    @Test(arguments: Backend.allCases)
    func `uses that race with the end of a device never bring it back`(
        _ backend: Backend
    ) async throws {
        let stores = [try backend.open(directory), try backend.open(directory)]
        let ada = try await stores[0].makeUser("ada")
        for _ in 0..<20 {
            let id = try await makeDevice(of: ada, in: stores[0])
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { _ = try await self.forget(id, of: ada, in: stores[0]) }
                for _ in 0..<4 {
                    group.addTask {
                        _ = try await self.use(
                            id, of: ada, isNew: false, preferences: ["a": "1"], in: stores[1])
                    }
                }
                try await group.waitForAll()
            }
            #expect(try await stores[0].device(id, of: ada.id, at: time(noon)) == nil)
        }
    }

    // MARK: What ends devices

    @Test(arguments: Backend.allCases)
    func `disabling a user ends their devices, and nobody else's`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let (ada, bob) = (try await store.makeUser("ada"), try await store.makeUser("bob"))
        let device = try await makeDevice(of: ada, preferences: ["a": "1"], in: store)
        let other = try await makeDevice(of: bob, in: store)
        _ = try await store.set(ada, .disabled)
        #expect(try await store.device(device, of: ada.id, at: time(noon)) == nil)
        #expect(try await store.device(other, of: bob.id, at: time(noon)) != nil)
        #expect(
            try await use(Self.randomID(), of: ada, isNew: true, in: store) == .userChanged)
        _ = try await store.set(ada, .enabled)
        #expect(try await store.device(device, of: ada.id, at: time(noon)) == nil)
        // The session that a use belongs to is over.
        #expect(
            try await use(Self.randomID(), of: ada, isNew: true, in: store) == .userChanged)
        #expect(
            try await use(Self.randomID(), of: ada, isNew: true, epoch: 1, in: store) == .done)
    }

    @Test(arguments: Backend.allCases)
    func `a new password ends the user's devices`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let device = try await makeDevice(of: ada, in: store)
        let hash = try #require(LinkHash(secret: [1, 2, 3]))
        try await store.addLink(
            Link(hash: hash, purpose: .recovery(ada.id), expires: time(noon + 900)),
            audit: AuditEvent(.userRecoveryIssued, by: .command, user: ada.id), at: time(noon))
        #expect(try await store.device(device, of: ada.id, at: time(noon)) != nil)
        let outcome = try await store.setPassword(
            "hash", with: hash, lookUpKey: lookUpKey(), audit: .passwordRecovered, at: time(noon))
        guard case .set = outcome else { throw Unexpected("\(outcome)") }
        #expect(try await store.device(device, of: ada.id, at: time(noon)) == nil)
        // A sign-in with the old password that was under way makes none.
        #expect(
            try await use(Self.randomID(), of: ada, isNew: true, in: store) == .userChanged)
        #expect(try await use(device, of: ada, isNew: false, epoch: 1, in: store) == .gone)
    }

    @Test(arguments: Backend.allCases)
    func `signing out everywhere keeps devices, and stops uses of before`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let device = try await makeDevice(of: ada, in: store)
        _ = try await store.revokeSessions(
            of: ada.id, audit: AuditEvent(.sessionsRevokedForUser, by: .command, user: ada.id),
            at: time(noon))
        #expect(try await store.device(device, of: ada.id, at: time(noon)) != nil)
        #expect(
            try await use(device, of: ada, isNew: false, preferences: ["a": "1"], in: store)
                == .userChanged)
        #expect(
            try await store.device(device, of: ada.id, at: time(noon))?.preferences
                == Preferences.none)
    }

    @Test(arguments: Backend.allCases)
    func `a device ends when it was not used for 180 days, and is removed`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let ids = [
            try await makeDevice(of: ada, preferences: ["a": "1"], in: store),
            try await makeDevice(of: ada, in: store),
        ]
        let end = Self.midnight + Self.lifetime
        for id in ids {
            #expect(try await store.device(id, of: ada.id, at: time(end)) != nil)
            #expect(try await store.device(id, of: ada.id, at: time(end + 1)) == nil)
            #expect(try await use(id, of: ada, isNew: false, in: store, at: end + 1) == .gone)
        }
        #expect(try await store.prune(limit: 10, at: time(end + clockSkewSeconds)) == 0)
        #expect(try await store.prune(limit: 1, at: time(end + clockSkewSeconds + 1)) == 1)
        #expect(try await store.prune(limit: 10, at: time(end + clockSkewSeconds + 1)) == 1)
        #expect(try await store.integrityFindings().isEmpty)
        // Looked at with an early clock: the rows are gone, not just too old.
        for id in ids { #expect(try await store.device(id, of: ada.id, at: time(noon)) == nil) }
    }

    @Test(arguments: Backend.allCases)
    func `of more than thirty-two devices the one that was unused longest ends`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, bob) = (try await store.makeUser("ada"), try await store.makeUser("bob"))
        let other = try await makeDevice(of: bob, in: store, at: noon - 86_400)
        // The oldest of all has preferences, which somebody saved on purpose.
        let kept = try await makeDevice(
            of: ada, preferences: ["a": "1"], in: store, at: noon - 2 * 86_400)
        let unused = try await makeDevice(of: ada, in: store, at: noon - 86_400)
        let returning = try await makeDevice(of: ada, in: store, at: noon - 86_400)
        #expect(try await use(returning, of: ada, isNew: false, in: store) == .done)
        var ids: [DeviceID] = []
        for _ in 0..<29 {
            ids.append(try await makeDevice(of: ada, in: store, at: noon + Int64(ids.count)))
        }
        func isLive(_ id: DeviceID) async throws -> Bool {
            try await store.device(id, of: ada.id, at: time(noon)) != nil
        }
        #expect(try await isLive(unused), "thirty-two have room")
        _ = try await makeDevice(of: ada, in: store, at: noon + 29)
        #expect(try await !isLive(unused))
        for id in ids { #expect(try await isLive(id)) }
        // All others were used today: a program that keeps no cookie pushes out its own.
        let next = try await makeDevice(of: ada, in: store, at: noon + 30)
        let last = try await makeDevice(of: ada, in: store, at: noon + 31)
        #expect(try await !isLive(next))
        #expect(try await isLive(last))
        for id in ids { #expect(try await isLive(id)) }
        #expect(try await isLive(returning))
        #expect(try await isLive(kept))
        #expect(try await store.device(other, of: bob.id, at: time(noon)) != nil)
    }

    // MARK: The key that sealed the cookie

    @Test(arguments: Backend.allCases)
    func `a key lives as long as the cookies that it sealed`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        _ = try await makeDevice(of: ada, in: store)
        let key = try #require(KeyID(rawValue: 7))
        #expect(
            try await store.keyUsage()[key]
                == KeyUsage(sealed: 1, lastDeadline: time(noon + Self.lifetime)))
        let id = try await makeDevice(of: ada, in: store)
        let next = try Self.seal(key: 8, deadline: noon + 5)
        #expect(try await forget(id, of: ada, seal: next, in: store) == .done)
        let later = try #require(KeyID(rawValue: 8))
        #expect(
            try await store.keyUsage()[later] == KeyUsage(sealed: 1, lastDeadline: time(noon + 5)))
    }

    @Test(arguments: Backend.allCases)
    func `nothing happens with a cookie of an outdated ring`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let id = try await makeDevice(of: ada, in: store)
        let old = try Self.seal(key: 9, version: 1)
        let new = try Self.randomID()
        #expect(try await use(new, of: ada, isNew: true, seal: old, in: store) == .outdated)
        #expect(try await store.device(new, of: ada.id, at: time(noon)) == nil)
        #expect(
            try await use(id, of: ada, isNew: false, preferences: ["a": "1"], seal: old, in: store)
                == .outdated)
        #expect(try await forget(id, of: ada, seal: old, in: store) == .outdated)
        #expect(
            try await store.device(id, of: ada.id, at: time(noon))?.preferences
                == Preferences.none)
        #expect(try await store.keyUsage().count == 1)
    }
}
