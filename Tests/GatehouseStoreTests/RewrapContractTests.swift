// From one root key to another on a real store: both steps, what undoes them, and an earlier ring.

import Foundation
import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import Testing

@Suite struct RewrapContractTests {
    private let directory = TemporaryDirectory()
    private let store: SQLStore
    private let old: RootKeyText
    private let new: RootKeyText

    /// A root key that can be had as often as a test wants it.
    private struct RootKeyText {
        let text: [UInt8]
        let id: RootKey.Identifier64

        init() throws {
            let key = try RootKey.random(from: .system)
            text = key.withText { span in span.indices.map { span[$0] } }
            id = key.id
        }

        func key() throws -> RootKey { try RootKey(text: text.span) }
    }

    init() async throws {
        store = try Backend.inForce.open(directory)
        old = try RootKeyText()
        new = try RootKeyText()
        let outcome = try await KeyringChange.replace(
            with: try Keyring.first(at: time(noon), entropy: .system), onlyWhenLoaded: false,
            audit: [], store: store, rootKey: try old.key(), at: time(noon), entropy: .system)
        #expect(outcome == .replaced)
    }

    private func add(_ key: RootKeyText, with root: RootKeyText) async throws -> RewrapOutcome {
        try await KeyringChange.addRootKey(
            try key.key(), store: store, rootKey: try root.key(), by: .command, at: time(noon),
            entropy: .system)
    }

    private func keepOnly(_ root: RootKeyText) async throws -> RewrapOutcome {
        try await KeyringChange.keepOnlyRootKey(
            store: store, rootKey: try root.key(), by: .command, at: time(noon), entropy: .system)
    }

    /// Those of the root keys that open the ring as it is stored.
    private func openers(_ others: RootKeyText...) async throws -> Set<RootKey.Identifier64> {
        let wrapped = try #require(try await store.keyring())
        return Set(
            ([old, new] + others).filter { (try? $0.key().unwrap(wrapped)) != nil }.map(\.id))
    }

    private func audited() async throws -> [String] {
        try await store.audit(after: 0, limit: 9).map {
            "\($0.event.kind.rawValue) \($0.event.detail ?? "")"
        }
    }

    private func node(_ root: RootKeyText) async throws -> Node {
        let lease = Lease(maximumStalenessSeconds: 120)
        lease.enter(.serving)
        return Node(
            id: NodeID(try Identifier.random(from: .system)), store: store,
            rootKey: try root.key(), lease: lease, entropy: .system
        ) { _ in true }
    }

    @Test func `the ring opens under both root keys, and then under the new one`() async throws {
        #expect(try await add(new, with: old) == .done(version: 2, [new.id]))
        #expect(try await add(new, with: old) == .already)
        #expect(try await openers() == [old.id, new.id])
        let both = try #require(try await store.keyring())
        #expect(try await keepOnly(new) == .done(version: 3, [old.id]))
        #expect(try await store.keyring()?.ringKey != both.ringKey, "a kept wrap is of no use")
        #expect(try await keepOnly(new) == .already)
        #expect(try await openers() == [new.id])
        #expect(
            try await audited() == [
                "root_key_added root_key=\(new.id.text)",
                "root_key_removed root_key=\(old.id.text)",
            ])
    }

    @Test func `with the old root key the second step undoes the first`() async throws {
        #expect(try await add(new, with: old) == .done(version: 2, [new.id]))
        #expect(try await keepOnly(old) == .done(version: 3, [new.id]))
        #expect(try await openers() == [old.id])
    }

    @Test func `a third root key waits until one of two is removed`() async throws {
        let third = try RootKeyText()
        _ = try await add(new, with: old)
        guard case .full(let ids) = try await add(third, with: new) else {
            Issue.record("a third was added")
            return
        }
        #expect(Set(ids) == [old.id, new.id])
        #expect(try await openers(third) == [old.id, new.id])
        _ = try await keepOnly(new)
        #expect(try await add(third, with: new) == .done(version: 4, [third.id]))
    }

    @Test func `a stranger's root key changes nothing`() async throws {
        let refusal = RefreshFailure.keyring(.otherRootKey([old.id], given: new.id))
        await #expect(throws: refusal) { _ = try await add(new, with: new) }
        await #expect(throws: refusal) { _ = try await keepOnly(new) }
        #expect(try await store.keyring()?.version == 1)
    }

    @Test func `nodes change the ring under both, and the last of the old ones is waited for`()
        async throws
    {
        let nodes = [try await node(old), try await node(new)]
        _ = try await nodes[0].refresh(at: instant(noon))
        await #expect(throws: RefreshFailure.self) { try await nodes[1].refresh(at: instant(noon)) }
        #expect(try await add(new, with: old) == .done(version: 2, [new.id]))
        for node in nodes { _ = try await node.refresh(at: instant(noon + 1)) }
        #expect(
            Set(try await store.liveNodes(at: time(noon + 1)).map(\.rootKey)) == [old.id, new.id])
        // Each of the two activates what a command with either root key added.
        for (index, root) in [old, new].enumerated() {
            let current = try #require(try await store.keyring())
            let next = try root.key().unwrap(current)
                .addingPendingKey(at: time(noon), entropy: .system)
            let added = try await KeyringChange.replace(
                with: next, onlyWhenLoaded: false, audit: [], store: store,
                rootKey: try root.key(), at: time(noon + 1), entropy: .system)
            #expect(added == .replaced)
            let later = instant(noon + 10 * Int64(index + 1))
            _ = try await nodes[1 - index].refresh(at: later)
            let activated = try await nodes[index].refresh(at: later).activated
            #expect(activated == next.pending?.id && activated != nil)
        }
        #expect(try await openers() == [old.id, new.id])
        #expect(try await keepOnly(new) == .waitingForNodes([nodes[0].id]))
        #expect(try await openers() == [old.id, new.id])
        await nodes[0].leave(at: time(noon + 30))
        #expect(try await keepOnly(new) == .done(version: 7, [old.id]))
        _ = try await nodes[1].refresh(at: instant(noon + 40))
        #expect(await nodes[1].applied.keyringVersion == 7)
    }

    @Test func `of a rewrap and a rotation at once, one is tried again`() async throws {
        let current = try #require(try await store.keyring())
        let rotated = try old.key().unwrap(current).addingPendingKey(
            at: time(noon), entropy: .system)
        _ = try await add(new, with: old)
        let outcome = try await KeyringChange.replace(
            with: rotated, onlyWhenLoaded: false, audit: [], store: store,
            rootKey: try old.key(), at: time(noon), entropy: .system)
        #expect(outcome == .versionConflict(current: 2))
        #expect(try await openers() == [old.id, new.id])
    }
}
