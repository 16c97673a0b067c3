// The store of codes, ties and counts.

import GatehouseCore
import GatehousePeople
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

@Suite struct ReferralContractTests {
    private let directory = TemporaryDirectory()
    private static let december: Int64 = 1_796_083_200  // 2026-12-01T00:00:00Z

    private func open() throws -> SQLStore { try Backend.inForce.open(directory) }

    private static func code(_ text: String) throws -> ReferralCode {
        try #require(ReferralCode(Array(text.utf8)))
    }

    private static func add(
        _ text: String, until: Int64? = nil, to store: SQLStore, at now: Int64 = noon
    ) async throws -> AddReferralOutcome {
        try await store.addReferral(
            Referral(
                code: code(text), label: "Spring fair", created: time(now),
                until: until.map { time($0) }),
            audit: AuditEvent(.referralAdded, by: .command, detail: "code=\(text)"), at: time(now))
    }

    private static func retire(
        _ text: String, in store: SQLStore, at now: Int64 = noon
    ) async throws -> RetireReferralOutcome {
        try await store.retireReferral(
            code(text), audit: AuditEvent(.referralRetired, by: .command), at: time(now))
    }

    private static func register(
        _ name: String, by claims: ReferralClaims?, in store: SQLStore, at now: Int64 = noon
    ) async throws -> UserID {
        let id = try UserID.random(from: .system)
        var enrolment = Enrolment()
        enrolment.referral = claims
        let outcome = try await store.addUser(
            username(name), id: id, passwordHash: "x", invitation: nil, enrolment: enrolment,
            audit: AuditEvent(.userCreated, by: .server, user: id), at: time(now))
        guard case .added = outcome else { throw Unexpected("\(outcome)") }
        return id
    }

    private static func claims(
        _ text: String, in store: SQLStore, at now: Int64 = noon
    ) async throws -> ReferralClaims {
        let referral = try #require(try await store.referral(code(text)))
        return try #require(ReferralClaims(referral, at: time(now)))
    }

    private static func counts(_ store: SQLStore, since: Int64? = nil) async throws -> [String] {
        try await store.referralCounts(since: since.map { time($0) }).map {
            "\($0.code.text) \($0.month) \($0.arrivals) \($0.registrations)"
        }
    }

    private static func kinds(_ store: SQLStore) async throws -> [AuditEvent.Kind] {
        try await store.audit(after: 0, limit: 100).map(\.event.kind)
    }

    // MARK: Codes

    @Test func `a code is added once, and never again`() async throws {
        let store = try open()
        #expect(try await Self.add("spring", until: noon + 9, to: store) == .added)
        #expect(try await Self.add("spring", to: store) == .taken)
        #expect(try await Self.add("Spring", to: store) == .added, "another one, byte by byte")
        #expect(try await Self.retire("spring", in: store) == .retired)
        #expect(try await Self.add("spring", to: store) == .taken, "retired, and still taken")
        let referral = try #require(try await store.referral(try Self.code("spring")))
        #expect(referral.label == "Spring fair" && referral.created == time(noon))
        #expect(referral.until == time(noon + 9) && referral.retired == time(noon))
        #expect(try await store.referrals().map(\.code.text) == ["Spring", "spring"])
        #expect(try await Self.kinds(store) == [.referralAdded, .referralAdded, .referralRetired])
    }

    @Test func `retiring says whether there was anything to retire`() async throws {
        let store = try open()
        #expect(try await Self.retire("spring", in: store) == .notFound)
        _ = try await Self.add("spring", to: store)
        #expect(try await Self.retire("spring", in: store, at: noon + 1) == .retired)
        #expect(try await Self.retire("spring", in: store, at: noon + 2) == .already)
        #expect(try await store.referral(try Self.code("spring"))?.retired == time(noon + 1))
        #expect(try await Self.kinds(store) == [.referralAdded, .referralRetired])
    }

    @Test func `there are so many codes, and no more`() async throws {
        let store = try open()
        try await store.write(at: time(noon)) { db in
            for number in 1..<Referral.maximumCount {
                try db.execute(
                    sql: "INSERT INTO referral_codes VALUES (?, 'x', 1, NULL, NULL)",
                    arguments: ["n\(number)"])
            }
        }
        #expect(try await Self.add("last", to: store) == .added)
        #expect(try await Self.add("more", to: store) == .full)
        #expect(try await Self.add("last", to: store) == .taken)
    }

    @Test(arguments: ["", "a b", "a/b", "..", ".", String(repeating: "x", count: 65)])
    func `the tables take no other code`(_ code: String) async throws {
        let store = try open()
        let sql = "INSERT INTO referral_codes VALUES (?, 'x', 1, NULL, NULL)"
        #expect(try await store.refuses(sql, [code]))
        #expect(try await !store.refuses(sql, ["x"]))
    }

    // MARK: People

    @Test func `who registers with a code is tied to it, until they take it back`() async throws {
        let store = try open()
        _ = try await Self.add("spring", to: store)
        let claims = try await Self.claims("spring", in: store)
        let ada = try await Self.register("ada", by: claims, in: store, at: noon + 50)
        let tie = ReferralTie(
            code: try Self.code("spring"), label: "Spring fair", accepted: time(noon))
        #expect(try await store.referralTie(of: ada) == tie)
        let bob = try await Self.register("bob", by: nil, in: store)
        #expect(try await store.referralTie(of: bob) == nil)
        let audit = AuditEvent(.agreementWithdrawn, by: .server, user: ada)
        #expect(try await store.removeReferralTie(of: ada, audit: audit, at: time(noon + 60)))
        #expect(try await store.referralTie(of: ada) == nil)
        #expect(try await !store.removeReferralTie(of: ada, audit: audit, at: time(noon + 60)))
        #expect(
            try await Self.kinds(store) == [
                .referralAdded, .userCreated, .agreementGiven, .userCreated, .agreementWithdrawn,
            ])
        let given = try await store.audit(after: 0, limit: 100).first {
            $0.event.kind == .agreementGiven
        }
        #expect(given?.event.user == ada && given?.event.detail == "purpose=referral")
    }

    @Test func `a code that has ended or was retired ties nobody, and nobody is kept out`()
        async throws
    {
        let store = try open()
        _ = try await Self.add("ending", until: noon + 100, to: store)
        _ = try await Self.add("retired", to: store)
        let ending = try await Self.claims("ending", in: store)
        let retired = try await Self.claims("retired", in: store)
        let last = try await Self.register("last", by: ending, in: store, at: noon + 99)
        let late = try await Self.register("late", by: ending, in: store, at: noon + 100)
        _ = try await Self.retire("retired", in: store)
        let after = try await Self.register("after", by: retired, in: store, at: noon + 1)
        let old = try await Self.register(
            "old", by: try await Self.claims("ending", in: store, at: noon), in: store,
            at: noon + ReferralClaims.lifetimeSeconds)
        #expect(try await store.referralTie(of: last) != nil)
        for user in [late, after, old] { #expect(try await store.referralTie(of: user) == nil) }
        #expect(try await store.referralCounts(since: nil).map(\.registrations) == [1])
    }

    @Test func `a name that is taken ties nobody and counts nothing`() async throws {
        let store = try open()
        _ = try await Self.add("spring", to: store)
        _ = try await Self.register("ada", by: nil, in: store)
        let claims = try await Self.claims("spring", in: store)
        await #expect(throws: Unexpected.self) {
            try await Self.register("ada", by: claims, in: store)
        }
        #expect(try await Self.counts(store).isEmpty)
    }

    // MARK: Counts

    @Test func `arrivals and registrations are counted by code and month`() async throws {
        let store = try open()
        for code in ["a", "b"] { _ = try await Self.add(code, to: store) }
        let a = try Self.code("a")
        let end = Self.december - 1
        for now in [end, end, Self.december] { try await store.countArrival(by: a, at: time(now)) }
        try await store.countArrival(by: try Self.code("b"), at: time(Self.december))
        try await store.countArrival(by: try Self.code("nobody"), at: time(Self.december))
        let claims = try await Self.claims("a", in: store, at: end)
        let ada = try await Self.register("ada", by: claims, in: store, at: Self.december)
        let all = ["a 2026-11 2 0", "a 2026-12 1 1", "b 2026-12 1 0"]
        #expect(try await Self.counts(store) == all)
        #expect(try await Self.counts(store, since: Self.december) == Array(all.dropFirst()))
        #expect(try await Self.counts(store, since: Self.december - 1) == all)
        // They name nobody: what was counted stays when somebody goes.
        _ = try await store.removeReferralTie(
            of: ada, audit: AuditEvent(.agreementWithdrawn, by: .server, user: ada),
            at: time(Self.december))
        #expect(try await Self.counts(store) == all)
        _ = try await Self.retire("a", in: store)
        try await store.countArrival(by: a, at: time(Self.december))
        #expect(try await Self.counts(store) == all, "nobody comes by a retired code")
    }

    @Test func `nobody is named in the counts`() async throws {
        let store = try open()
        let columns = try await store.read { try $0.columnNames(of: "referral_counts") }
        #expect(columns == ["code", "month", "arrivals", "registrations"])
    }

    // MARK: Export

    @Test func `an export says by which code somebody came`() async throws {
        let store = try open()
        _ = try await Self.add("spring", to: store)
        let claims = try await Self.claims("spring", in: store)
        let ada = try await Self.register("ada", by: claims, in: store)
        let bob = try await Self.register("bob", by: nil, in: store)
        let lease = Lease(maximumStalenessSeconds: 60)
        let root = try RootKey.random(from: .system)
        let node = Node(
            id: NodeID(try Identifier.random(from: .system)), store: store, rootKey: root,
            lease: lease, entropy: .system
        ) { _ in true }
        let people = People(
            store: store, schema: PeopleSchema(), node: node, entropy: .system,
            clock: { instant(noon) })
        #expect(try await people.exportedReferral(of: bob).value == .none)
        #expect(
            try await people.exportedReferral(of: ada)
                == ExportValue.Field(
                    "referral",
                    .fields([
                        ExportValue.Field("code", .text("spring")),
                        ExportValue.Field("label", .text("Spring fair")),
                        ExportValue.Field("accepted", .time(time(noon))),
                    ])))
    }
}
