// The contract of `Store` about what keys did, and the upkeep of data keys on a real store.

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import Testing

@Suite struct KeyContractTests {
    private let directory = TemporaryDirectory()

    private func key(_ number: UInt32 = 7) throws -> KeyID {
        try #require(KeyID(rawValue: number))
    }

    private func nodeID() throws -> NodeID { NodeID(try Identifier.random(from: .system)) }

    private func alive(_ store: any Store, at now: Int64) async throws -> UInt64 {
        try await store.keyActivity(at: time(now))[try key()]?.alive ?? 0
    }

    private func opens(_ store: any Store, at now: Int64) async throws -> UInt64 {
        try await store.keyActivity(at: time(now))[try key()]?.openedLastHour ?? 0
    }

    // MARK: Tokens alive

    @Test(arguments: Backend.allCases)
    func `tokens count as alive until their deadline has passed, and not much longer`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        _ = try await store.makeSession(of: ada, seconds: 1800)
        _ = try await store.makeSession(of: ada, seconds: 3600)
        #expect(try await alive(store, at: noon) == 2)
        #expect(try await alive(store, at: noon + 3599) == 2, "the hour's")
        #expect(try await alive(store, at: noon + 3600) == 0)
    }

    @Test(arguments: Backend.allCases)
    func `a remember token is counted until its own deadline, and its session's until that's`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let begun = try await store.makeSignIn(ada, remembers: true)
        #expect(try await alive(store, at: noon) == 2)
        #expect(try await alive(store, at: noon + absolute) == 1)
        // Sealed again, both.
        let series = try #require(begun.series)
        #expect(try await store.present(series.id, 1, at: noon + 1)?.rule == .repeatCurrent)
        #expect(try await alive(store, at: noon + 1) == 4)
        #expect(try await alive(store, at: noon + rememberedSeconds - 1) == 2)
        #expect(try await alive(store, at: noon + rememberedSeconds + 86_400) == 0)
    }

    @Test(arguments: Backend.allCases)
    func `what loops renewed is added, and keeps the key`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        var tally = KeyTally()
        tally.noteSealed(by: try key(), until: time(noon + 500), at: time(noon))
        tally.noteSealed(by: try key(), until: time(noon + 700), at: time(noon))
        let node = try nodeID()
        try await store.noteKeyTally(tally, by: node, at: time(noon))
        #expect(
            try await store.keyUsage()[try key()]
                == KeyUsage(sealed: 2, lastDeadline: time(noon + 700)))
        #expect(try await alive(store, at: noon) == 2)
        try await store.noteKeyTally(tally, by: node, at: time(noon))
        #expect(try await alive(store, at: noon + 3599) == 4)
        #expect(try await alive(store, at: noon + 3600) == 0)
    }

    @Test(arguments: Backend.allCases)
    func `counts whose deadline has passed go, for a clock that is behind a minute later`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        _ = try await store.makeSession(of: ada, seconds: 3600)
        func note(at now: Int64) async throws {
            try await store.noteKeyTally(KeyTally(), by: try nodeID(), at: time(now))
        }
        let last = noon + 3600 + clockSkewSeconds
        try await note(at: last - 1)
        #expect(try await alive(store, at: noon) == 1)
        try await note(at: last)
        #expect(try await alive(store, at: noon) == 0)
        // The deadline that destruction waits for stays for thirty days more.
        #expect(try await store.keyUsage()[try key()]?.lastDeadline == time(noon + 3600))
        let end = noon + 3600 + KeyTally.usageSeconds
        try await note(at: end)
        #expect(try await store.keyUsage().count == 1)
        try await note(at: end + 1)
        #expect(try await store.keyUsage().isEmpty)
    }

    // MARK: Openings

    @Test(arguments: Backend.allCases)
    func `openings of all nodes are summed over the last hour`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        var tally = KeyTally()
        tally.noteOpened(3, by: try key())
        let nodes = [try nodeID(), try nodeID()]
        for node in nodes {
            try await store.noteKeyTally(tally, by: node, at: time(noon))
        }
        // Again in the same minute, and in the next.
        try await store.noteKeyTally(tally, by: nodes[0], at: time(noon + 59))
        try await store.noteKeyTally(tally, by: nodes[0], at: time(noon + 60))
        #expect(try await opens(store, at: noon + 60) == 12)
        #expect(try await opens(store, at: noon + 3599) == 12)
        #expect(try await opens(store, at: noon + 3600) == 3, "the first minute is an hour old")
        #expect(try await opens(store, at: noon + 3660) == 0)
        #expect(try await opens(store, at: noon + 59) == 12, "none went yet")
        try await store.noteKeyTally(KeyTally(), by: nodes[0], at: time(noon + 3600))
        #expect(try await opens(store, at: noon + 59) == 3, "removed")
        #expect(try await store.keyUsage().isEmpty, "nothing was sealed")
    }

    // MARK: Users under a leaked pepper

    @Test(arguments: Backend.allCases)
    func `those whose hash is still what was read are disabled, each with its event`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        var users: [User] = []
        for name in ["ada", "bob", "eve"] {
            let id = try UserID.random(from: .system)
            let outcome = try await store.addUser(
                username(name), id: id, passwordHash: "old \(name)",
                audit: AuditEvent(.userCreated, by: .command, user: id), at: time(noon))
            guard case .added(let user) = outcome else { throw Unexpected("\(outcome)") }
            users.append(user)
        }
        let session = try await store.makeSession(of: users[0])
        _ = try await store.set(users[1], .disabled)
        let read = try await store.passwordHashes(after: nil, limit: 10)
        #expect(Set(read.filter(\.isEnabled).map(\.text)) == ["old ada", "old eve"])
        // Signs in while the command runs.
        let eve = StoredPasswordHash(user: users[2].id, text: "old eve")
        #expect(
            try await store.replacePasswordHashes([(eve, "new")], audit: [], at: time(noon)) == 1)
        let before = try await store.head().sequence
        let wanted = try read.map {
            (
                hash: $0,
                audit: AuditEvent(
                    .userDisabled, by: .command, user: $0.user, key: try key(), detail: "why=x")
            )
        }
        let result = try await store.disableUsers(wanted, at: time(noon))
        #expect(result.disabled == 1)
        #expect(result.position == before + 1)
        #expect(try await store.user(users[0].id)?.state == .disabled)
        #expect(try await store.user(users[2].id)?.state == .enabled)
        #expect(
            try await store.feed(after: before, limit: 9).map(\.change)
                == [.user(session.user, minimumEpoch: 1)])
        let events = try await store.audit(after: 0, limit: 99).map(\.event)
            .filter { $0.detail == "why=x" }
        #expect(events.map(\.user) == [users[0].id])
        #expect(try await store.disableUsers(wanted, at: time(noon)).disabled == 0, "once")
    }

    // MARK: Counters of failed sign-ins

    @Test(arguments: Backend.allCases)
    func `counters from before a time expire early, in steps, and a later try keeps its own`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let lookUp = try lookUpKey()
        func charge(_ name: String, at now: Int64) async throws {
            let key = try AttemptKey(username(name), key: lookUp)
            _ = try await store.chargeAttempt(key, user: ada.id, at: time(now))
        }
        for name in ["a", "b", "c"] { try await charge(name, at: noon) }
        try await charge("d", at: noon + 1)
        #expect(try await store.attemptCount(upTo: .maximum) == 4)
        #expect(try await store.attemptCount(upTo: time(noon)) == 3)
        #expect(try await store.attemptCount(upTo: time(noon - 1)) == 0)
        func expire(_ limit: Int) async throws -> Int {
            try await store.expireAttempts(
                upTo: time(noon), by: time(noon + 100), limit: limit, at: time(noon + 2))
        }
        #expect(try await expire(2) == 2)
        #expect(try await expire(2) == 1)
        #expect(try await expire(2) == 0)
        try await charge("a", at: noon + 50)
        _ = try await store.prune(limit: 10, at: time(noon + 100 + clockSkewSeconds + 1))
        #expect(try await store.attemptCount(upTo: .maximum) == 2, "those of a and d")
    }
}

@Suite struct DataKeyContractTests {
    private let directory = TemporaryDirectory()
    private let store: SQLStore
    private let root: RootKeyBytes

    /// The text of a root key, which itself has one owner.
    private struct RootKeyBytes {
        let text: [UInt8]
        func key() throws -> RootKey { try RootKey(text: text.span) }
    }

    init() throws {
        store = try Backend.inForce.open(directory)
        let key = try RootKey.random(from: .system)
        root = RootKeyBytes(text: key.withText { span in span.indices.map { span[$0] } })
    }

    /// Stores `ring` as its first version.
    private func begin(_ ring: Keyring) async throws -> Keyring {
        let first = try Keyring(version: 1, keys: ring.keys, dataKeys: ring.dataKeys)
        let outcome = try await KeyringChange.replace(
            with: first, onlyWhenLoaded: false, audit: [], store: store, rootKey: root.key(),
            at: time(noon), entropy: .system)
        #expect(outcome == .replaced)
        return first
    }

    /// A ring with two keys of `purpose`; the second was activated at noon.
    private func rotated(_ purpose: DataKeyPurpose) async throws -> (Keyring, old: KeyID) {
        let ring = try Keyring.first(at: time(noon - 9999), entropy: .system)
        let old = try #require(ring.newestDataKey(purpose)?.id)
        let next = try ring.addingDataKey(purpose, at: time(noon), entropy: .system)
            .activatingPendingKeys(at: time(noon))
        return (try await begin(next), old)
    }

    private func prune(
        _ ring: Keyring, at now: Int64
    ) async throws -> (DataKeyUpkeep.Pruning, KeyringReplacement) {
        try await DataKeyUpkeep.prune(
            ring, store: store, rootKey: root.key(), at: time(now), entropy: .system)
    }

    private func storedIDs() async throws -> [KeyID] {
        try root.key().unwrap(try #require(try await store.keyring())).dataKeys.map(\.id)
    }

    private func addUser(_ name: String, layers: [KeyID]) async throws -> StoredPasswordHash {
        let output = [UInt8](repeating: 3, count: 32)
        let hash = PasswordHash(
            parameters: .standard, salt: Array(repeating: 1, count: 16), layers: layers,
            output: output.span)
        let id = try UserID.random(from: .system)
        _ = try await store.addUser(
            username(name), id: id, passwordHash: hash.text,
            audit: AuditEvent(.userCreated, by: .command, user: id), at: time(noon))
        return StoredPasswordHash(user: id, text: hash.text)
    }

    private static let settled = noon + DataKeyUpkeep.settlingSeconds

    @Test func `a former pepper goes when it has settled and no hash names it`() async throws {
        let (ring, old) = try await rotated(.pepper)
        let new = try #require(ring.newestDataKey(.pepper)?.id)
        let ada = try await addUser("ada", layers: [old, new])
        _ = try await addUser("bob", layers: [new])
        #expect(
            try await prune(ring, at: Self.settled - 1).0.kept.map(\.reason)
                == [.settling(until: time(Self.settled))])
        #expect(try await prune(ring, at: Self.settled).0.kept.map(\.reason) == [.rows(1)])
        #expect(try await storedIDs() == ring.dataKeys.map(\.id))
        #expect(
            try await store.replacePasswordHashes([(ada, "$2b$x")], audit: [], at: time(noon)) == 1)
        let (pruning, outcome) = try await prune(ring, at: Self.settled)
        #expect(outcome == .replaced)
        #expect(pruning.destroyed == [old])
        #expect(pruning.kept.isEmpty)
        #expect(try await storedIDs() == ring.dataKeys.map(\.id).filter { $0 != old })
        let event = try #require(try await store.audit(after: 0, limit: 99).last?.event)
        #expect(
            event
                == AuditEvent(.keyDestroyed, by: .command, key: old, detail: "purpose=pepper"))
    }

    @Test func `nothing is destroyed while a server has an older ring, or the ring has changed`()
        async throws
    {
        let (ring, old) = try await rotated(.pepper)
        let node = NodeID(try Identifier.random(from: .system))
        try await store.joinNode(node, leaseSeconds: 120, at: time(Self.settled))
        #expect(try await prune(ring, at: Self.settled).1 == .waitingForNodes([node]))
        #expect(try await storedIDs().contains(old))
        _ = try await store.beat(
            node, position: 0, keyringVersion: ring.version, at: time(Self.settled))
        let other = try ring.addingPendingKey(at: time(noon), entropy: .system)
        let replaced = try await KeyringChange.replace(
            with: other, onlyWhenLoaded: false, audit: [], store: store, rootKey: root.key(),
            at: time(Self.settled), entropy: .system)
        #expect(replaced == .replaced)
        #expect(
            try await prune(ring, at: Self.settled).1
                == .versionConflict(current: other.version))
        #expect(try await storedIDs().contains(old))
        #expect(try await store.audit(after: 0, limit: 99).isEmpty)
    }

    @Test func `a former audit key goes when it has settled and nothing kept was made with it`()
        async throws
    {
        let (ring, old) = try await rotated(.audit)
        let keys = try #require(try ring.auditKeys())
        let former = try #require(keys.all[old])
        let newest = keys.current
        #expect(newest.id != old)
        store.signTrail(as: .commands, with: AuditKeys(former), for: AuditContext())
        _ = try await store.makeUser("ada")
        store.signTrail(as: .commands, with: keys, for: AuditContext())
        _ = try await store.makeUser("bob")
        #expect(
            try await prune(ring, at: Self.settled - 1).0.kept.map(\.reason)
                == [.settling(until: time(Self.settled))])
        let (kept, _) = try await prune(ring, at: Self.settled)
        #expect(kept.destroyed.isEmpty)
        #expect(kept.kept.map(\.reason) == [.rows(1)])
        // Retention removes the entry, and the newest key seals where the chain goes on.
        let later = noon + 3 * 86_400
        #expect(try await store.pruneAudit(before: time(later), limit: 9, at: time(later)) == 2)
        let (pruning, outcome) = try await prune(ring, at: later)
        #expect(outcome == .replaced)
        #expect(pruning.destroyed == [old])
        #expect(try await !storedIDs().contains(old))
    }

    @Test(arguments: DataKeyPurpose.allCases)
    func `the newest key of a purpose, and one that is pending, are never destroyed`(
        _ purpose: DataKeyPurpose
    ) async throws {
        let (ring, old) = try await rotated(purpose)
        let pending = try ring.addingDataKey(purpose, at: time(noon), entropy: .system)
        #expect(try pending.destroyingDataKeys([old]).dataKeys.count == pending.dataKeys.count - 1)
        let newest = try #require(ring.newestDataKey(purpose)?.id)
        let added = try #require(pending.pendingDataKeys.first?.id)
        for id in [newest, added] {
            #expect(throws: KeyringDefect.dataKeyInUse) {
                try pending.destroyingDataKeys([old, id])
            }
        }
    }

    @Test func `a former look-up key goes a day after its counters were made to expire`()
        async throws
    {
        let (ring, old) = try await rotated(.lookUp)
        let ada = try await store.makeUser("ada")
        let (former, newest) = (try lookUpKey(), try lookUpKey())
        func charge(_ name: String, _ key: LookUpKey, at now: Int64) async throws {
            _ = try await store.chargeAttempt(
                try AttemptKey(username(name), key: key), user: ada.id, at: time(now))
        }
        // Before, and after as long as a server may have had the former key.
        try await charge("ada", former, at: noon - 100)
        try await charge("bob", former, at: Self.settled)
        let settled = Self.settled + AttemptRule.maximumWaitSeconds
        try await charge("eve", newest, at: settled + 1)
        #expect(
            try await prune(ring, at: settled).0.kept.map(\.reason)
                == [.settling(until: time(settled))])
        let now = settled + 10
        #expect(try await prune(ring, at: now).0.kept.map(\.reason) == [.rows(2)])
        let gone = now + AttemptRule.strangerSeconds + clockSkewSeconds
        _ = try await store.prune(limit: 10, at: time(gone))
        #expect(try await prune(ring, at: gone).0.kept.map(\.reason) == [.rows(2)])
        _ = try await store.prune(limit: 10, at: time(gone + 1))
        let (pruning, outcome) = try await prune(ring, at: gone + 1)
        #expect(outcome == .replaced)
        #expect(pruning.destroyed == [old])
        #expect(pruning.kept.isEmpty)
        #expect(try await store.attemptCount(upTo: .maximum) == 1, "eve's")
    }

    @Test func `pepper use tells layers, the innermost, and who has not signed in since`()
        async throws
    {
        var ring = try Keyring.first(at: time(noon), entropy: .system)
        for _ in 0..<2 {
            ring = try ring.addingDataKey(.pepper, at: time(noon), entropy: .system)
                .activatingPendingKeys(at: time(noon))
        }
        let peppers = ring.dataKeys.filter { $0.purpose == .pepper }.map(\.id)
        let (a, b, c) = (peppers[0], peppers[1], peppers[2])
        for (name, layers) in [
            ("ada", [a, b, c]), ("bob", [b, c]), ("eve", [c]), ("dan", []), ("kim", [c]),
        ] { _ = try await addUser(name, layers: layers) }
        let id = try UserID.random(from: .system)
        _ = try await store.addUser(
            username("zoe"), id: id, passwordHash: "$2b$foreign",
            audit: AuditEvent(.userCreated, by: .command, user: id), at: time(noon))
        _ = try await store.makeUser("nopassword")
        let use = try await PepperUse(of: store)
        #expect(use.users == [a: 1, b: 2, c: 4])
        #expect(use.innermost == [a: 1, b: 1, c: 2])
        #expect(use.only == [c: 2])
        #expect(use.without == 1)
        #expect(use.foreign == 1)
        #expect(use.notSignedIn(since: a, in: ring) == 2)
        #expect(use.notSignedIn(since: b, in: ring) == 3)
        #expect(use.notSignedIn(since: c, in: ring) == 4)
    }
}
