// The contract of the audit trail: chained in the transaction that it tells of, kept as long as it is to be.

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import Testing

extension Store {
    /// Reads the whole trail and verifies it.
    func faults(expecting expected: AuditHead? = nil) async throws -> (
        faults: [AuditFault], head: AuditHead
    ) {
        let extent = try await auditExtent()
        var verifier = try AuditVerifier(
            keys: [trailKey.id: trailKey], extent: extent, expected: expected)
        for record in try await audit(after: extent.floor, limit: 100_000) {
            try verifier.take(record)
        }
        let head = try verifier.finish()
        return (verifier.faults, head)
    }

    func sign(as chain: AuditChain, _ context: AuditContext = AuditContext()) {
        signTrail(as: chain, with: AuditKeys(trailKey), for: context)
    }
}

@Suite struct AuditContractTests {
    private let directory = TemporaryDirectory()
    private static let day: Int64 = 86_400

    private func chain(_ number: UInt64) -> AuditChain {
        AuditChain(Identifier(high: 3, low: number))
    }

    @Test(arguments: Backend.allCases)
    func `what leaves no trace isn't done`(backend: Backend) async throws {
        _ = try backend.open(directory)
        let unsigned = try backend.openUnsigned(directory)
        await #expect(throws: StoreError.unavailable("no key for the audit trail")) {
            try await unsigned.makeUser("ada")
        }
        #expect(try await unsigned.user(named: username("ada")) == nil)
        await #expect(throws: StoreError.unavailable("no key for the audit trail")) {
            try await unsigned.pruneAudit(before: time(noon), limit: 1, at: time(noon))
        }
    }

    @Test(arguments: Backend.allCases)
    func `writers have chains of their own, and one order`(backend: Backend) async throws {
        let first = try backend.open(directory)
        let second = try backend.open(directory)
        first.sign(as: chain(1))
        second.sign(as: chain(2))
        for round in 0..<5 {
            _ = try await first.makeUser("a\(round)")
            _ = try await second.makeUser("b\(round)")
        }
        let trail = try await first.audit(after: 0, limit: 100)
        #expect(trail.map(\.sequence) == Array(1...10))
        #expect(trail.map { $0.link?.chain } == (0..<5).flatMap { _ in [chain(1), chain(2)] })
        #expect(trail.map { $0.link?.position } == (1...5).flatMap { [$0, $0] })
        let (faults, head) = try await first.faults()
        #expect(faults.isEmpty)
        // A process that comes later goes on with the chain that it is given.
        let third = try backend.open(directory)
        third.sign(as: chain(1))
        _ = try await third.makeUser("c")
        #expect(try await third.audit(after: 10, limit: 1).first?.link?.position == 6)
        #expect(try await third.faults(expecting: head).faults.isEmpty)
    }

    @Test(arguments: Backend.allCases)
    func `an entry says where from, by whom and why, and forgets it`(
        backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        var context = AuditContext()
        context.operatorName = "root"
        context.reason = "ticket 7"
        store.sign(as: .commands, context)
        let ada = try await store.makeUser("ada")
        let bob = try await store.makeUser("bob")
        var request = AuditContext()
        request.origin = SessionOrigin(browser: "Firefox on Linux", place: "203.0.113.0/24")
        try await AuditContext.$current.withValue(request) {
            _ = try await store.makeSession(of: ada)
        }
        let trail = try await store.audit(after: 0, limit: 9)
        #expect(trail.map(\.operatorName) == ["root", "root", nil])
        #expect(trail.map { $0.personal?.reason } == ["ticket 7", "ticket 7", nil])
        #expect(trail[2].personal?.origin == request.origin)
        let salts = Set(trail.compactMap { $0.personal?.salt })
        #expect(salts.count == 3 && salts.allSatisfy { $0.count == AuditPersonal.saltBytes })
        let (_, head) = try await store.faults()

        #expect(try await store.eraseAuditPersonal(of: ada.id, at: time(noon)) == 2)
        let erased = try await store.audit(after: 0, limit: 9)
        #expect(erased.map { $0.personal == nil } == [true, false, true])
        #expect(erased.map { $0.commitment == nil } == [false, false, false])
        #expect(try await store.faults(expecting: head).faults.isEmpty)

        // Deleting a person erases the rest.
        try await store.delete(bob.id)
        let left = try await store.audit(after: 0, limit: 9)
        #expect(left.map(\.event.kind).last == .userDeleted)
        #expect(left.dropLast().allSatisfy { $0.personal == nil })
        #expect(try await store.faults(expecting: head).faults.isEmpty)
    }

    @Test(arguments: Backend.allCases)
    func `entries are found by user, kind and time`(backend: Backend) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada", at: noon)
        let bob = try await store.makeUser("bob", at: noon + 10)
        _ = try await store.makeSession(of: ada, at: noon + 20)
        func found(_ change: (inout AuditQuery) -> Void) async throws -> [UInt64] {
            var query = AuditQuery()
            change(&query)
            return try await store.audit(query).map(\.sequence)
        }
        #expect(try await found { _ in } == [1, 2, 3])
        #expect(try await found { $0.user = bob.id } == [2])
        #expect(try await found { $0.kind = .sessionCreated } == [3])
        #expect(try await found { $0.since = time(noon + 10) } == [2, 3])
        #expect(try await found { $0.until = time(noon + 10) } == [1])
        #expect(try await found { $0.limit = 2 } == [2, 3])
    }

    @Test(arguments: Backend.allCases)
    func `a checkpoint names every chain that has grown`(backend: Backend) async throws {
        let first = try backend.open(directory)
        let second = try backend.open(directory)
        first.sign(as: chain(1))
        second.sign(as: chain(2))
        _ = try await first.makeUser("ada")
        _ = try await second.makeUser("bob")
        try await first.checkpointAudit(at: time(noon))
        let checkpoint = try #require(try await first.audit(after: 2, limit: 1).first)
        #expect(checkpoint.event.kind == .auditCheckpoint)
        #expect(Set(checkpoint.ends.map(\.chain)) == [chain(1), chain(2)])
        _ = try await second.makeUser("eve")
        try await first.checkpointAudit(at: time(noon))
        let next = try #require(try await first.audit(after: 4, limit: 1).first)
        #expect(next.ends.map(\.chain) == [chain(2)])
        #expect(next.ends.map(\.position) == [2])
        #expect(try await first.faults().faults.isEmpty)
    }

    @Test(arguments: Backend.allCases)
    func `old entries go a day's worth at a time, and the rest stays provable`(
        backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        var context = AuditContext()
        context.reason = "why"
        store.sign(as: chain(1), context)
        for day in 0..<10 as Range<Int64> {
            _ = try await store.makeUser("u\(day)", at: noon + day * Self.day)
        }
        let (_, head) = try await store.faults()
        let now = time(noon + 10 * Self.day)
        func prune(_ days: Int64, limit: Int = 100) async throws -> Int {
            try await store.pruneAudit(
                before: time(noon + days * Self.day), limit: limit, at: now)
        }
        // The first entry is a day older than the limit, and not more.
        #expect(try await prune(1) == 0)
        #expect(try await prune(4, limit: 3) == 3)
        #expect(try await prune(4, limit: 3) == 1)
        #expect(try await prune(4, limit: 3) == 0)
        let left = try await store.audit(after: 0, limit: 100)
        #expect(left.map(\.sequence) == Array(5...11))
        #expect(left.last?.event.kind == .auditPruned)
        #expect(left.last?.event.detail == "up_to=4")
        #expect(try await store.faults(expecting: head).faults.isEmpty)
        // Everything, the chain goes on.
        #expect(try await store.pruneAudit(before: now, limit: 100, at: now) > 0)
        _ = try await store.makeUser("later", at: now.seconds)
        #expect(try await store.faults().faults.isEmpty)
        #expect(try await store.audit(after: 0, limit: 100).last?.link?.position == 13)
    }

    @Test(arguments: Backend.allCases)
    func `a chain of which nothing is left goes on where it was`(backend: Backend) async throws {
        let store = try backend.open(directory)
        let other = try backend.open(directory)
        store.sign(as: chain(1))
        other.sign(as: chain(2))
        for name in ["ada", "bob"] { _ = try await other.makeUser(name) }
        let now = time(noon + 3 * Self.day)
        #expect(try await store.pruneAudit(before: now, limit: 100, at: now) == 2)
        #expect(try await store.audit(after: 0, limit: 100).map(\.event.kind) == [.auditPruned])
        // Its base alone tells where it was; a new chain has none.
        let third = try backend.open(directory)
        third.sign(as: chain(3))
        _ = try await other.makeUser("eve", at: now.seconds)
        _ = try await third.makeUser("dan", at: now.seconds)
        let links = try await store.audit(after: 0, limit: 100).map(\.link)
        #expect(links.map { $0?.chain } == [chain(1), chain(2), chain(3)])
        #expect(links.map { $0?.position } == [1, 3, 1])
        #expect(try await store.faults().faults.isEmpty)
    }

    @Test(arguments: Backend.allCases)
    func `a key is in use as long as an entry or a base names it`(backend: Backend) async throws {
        let store = try backend.open(directory)
        let later = try #require(
            try Keyring.first(at: time(noon), entropy: .seeded(8)).auditKeys()?.current)
        store.sign(as: chain(1))
        for name in ["ada", "bob"] { _ = try await store.makeUser(name) }
        #expect(try await store.auditKeyUse() == [trailKey.id: 2])
        let now = time(noon + 3 * Self.day)
        #expect(try await store.pruneAudit(before: now, limit: 100, at: now) == 2)
        store.signTrail(
            as: chain(1), with: AuditKeys(later, former: [trailKey]), for: AuditContext())
        _ = try await store.makeUser("eve", at: now.seconds)
        // The entry that tells of the removal, and what is sealed of the chain and of the numbers.
        #expect(try await store.auditKeyUse() == [trailKey.id: 3, later.id: 1])
        let end = time(noon + 6 * Self.day)
        #expect(try await store.pruneAudit(before: end, limit: 100, at: end) == 2)
        #expect(try await store.auditKeyUse() == [later.id: 3], "sealed anew")
    }
}
