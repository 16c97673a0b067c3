// The contract of `Store` about names: what is taken, what a new name and a deletion do.

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import Testing

extension Store {
    fileprivate func add(
        _ name: String, takingReserved: Bool = false
    ) async throws -> AddUserOutcome {
        let id = try UserID.random(from: .system)
        return try await addUser(
            username(name), id: id, passwordHash: nil, takingReserved: takingReserved,
            audit: AuditEvent(.userCreated, by: .command, user: id), at: time(noon))
    }

    fileprivate func rename(
        _ user: User, to name: String, takingReserved: Bool = false, at now: Int64 = noon
    ) async throws -> RenameOutcome {
        try await renameUser(
            user.id, to: username(name), takingReserved: takingReserved,
            audit: AuditEvent(.userRenamed, by: .command, user: user.id), at: time(now))
    }

    fileprivate func reserve(_ names: String...) async throws -> Bool {
        try await reserveNames(names.map { username($0) }, at: time(noon))
    }

    fileprivate func listed() async throws -> [String] {
        try await users(after: nil, limit: 100).map(\.username.text)
    }
}

@Suite struct NameContractTests {
    private let directory = TemporaryDirectory()

    // MARK: What is taken

    @Test(
        arguments: Backend.allCases,
        [
            ("admin", "\u{0430}dmin"), ("\u{0430}dmin", "admin"), ("modern", "rnodern"),
            ("adm1n", "admln"), ("root", "r00t"), ("\u{0131}rmak", "IRMAK"),
        ])
    func `a name that looks like another is taken`(
        _ backend: Backend, _ names: (String, String)
    ) async throws {
        let store = try backend.open(directory)
        _ = try await store.makeUser(names.0)
        #expect(try await store.availability(of: username(names.1)) == .taken)
        #expect(try await store.add(names.1) == .nameTaken)
        #expect(try await store.user(named: username(names.1)) == nil)
        #expect(try await store.audit(after: 0, limit: 10).count == 1, "a refusal leaves no trace")
    }

    @Test(arguments: Backend.allCases)
    func `of a hundred racing registrations of names that look alike one wins`(
        _ backend: Backend
    ) async throws {
        // Two views, as two processes have.
        let stores = [try backend.open(directory), try backend.open(directory)]
        let spellings = [
            "moro1", "MORO1", "rnoro1", "morol", "m0r0l", "ｍｏｒｏ１", "RN0ROL", "m\u{043E}ro1",
            "rn\u{03BF}r0l", "mor\u{03BF}1",
        ]
        let outcomes = try await withThrowingTaskGroup(of: AddUserOutcome.self) { group in
            for index in 0..<100 {
                group.addTask {
                    try await stores[index % 2].add(spellings[index / 2 % spellings.count])
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(outcomes.count == 100)
        #expect(outcomes.count { $0 == .nameTaken } == 99)
        #expect(try await stores[0].listed().count == 1)
    }

    @Test(arguments: Backend.allCases)
    func `live, former, deleted and reserved names are taken alike, and so is what looks like them`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let renamed = try await store.makeUser("former")
        _ = try await store.rename(renamed, to: "live")
        _ = try await store.delete(try await store.makeUser("deleted"))
        #expect(try await store.reserve("reservation"))
        for name in [
            "live", "1ive", "former", "f0rmer", "forrner", "deleted", "de1eted", "reservation",
            "reservati0n", "RESERVATION",
        ] {
            #expect(try await store.availability(of: username(name)) == .taken, "\(name)")
            #expect(try await store.add(name) == .nameTaken, "\(name)")
        }
        #expect(try await store.availability(of: username("free")) == .free)
        #expect(try await store.listed() == ["live"])
    }

    // MARK: Reserved names

    @Test(arguments: Backend.allCases)
    func `a reserved name is given to nobody by accident, and on purpose`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        #expect(try await store.reserve("root", "help"))
        #expect(try await store.user(named: username("root")) == nil)
        #expect(try await store.add("r00t") == .nameTaken)
        guard case .added = try await store.add("r00t", takingReserved: true) else {
            Issue.record("not added")
            return
        }
        #expect(try await store.add("root", takingReserved: true) == .nameTaken, "r00t is a user's")
        guard case .added = try await store.add("help", takingReserved: true) else {
            Issue.record("not added")
            return
        }
        // The next start changes nothing for them.
        #expect(try await store.reserve("root", "help"))
        #expect(try await store.listed() == ["help", "r00t"])
        #expect(try await store.add("help", takingReserved: true) == .nameTaken)
    }

    @Test(arguments: Backend.allCases)
    func `taking a reserved name takes no reservation from a name that stays taken`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        #expect(try await store.reserve("rn"))
        _ = try await store.makeUser("ada")
        #expect(try await store.add("ada", takingReserved: true) == .nameTaken)
        #expect(try await store.add("m") == .nameTaken, "it is reserved still")
    }

    @Test(arguments: Backend.allCases)
    func `a name that is not reserved any more is free, and a user's own stays`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        _ = try await store.makeUser("support")
        #expect(try await store.reserve("root", "help", "support"))
        #expect(try await store.reserve("root"))
        #expect(try await store.availability(of: username("help")) == .free)
        #expect(try await store.availability(of: username("root")) == .taken)
        #expect(try await store.listed() == ["support"])
    }

    // MARK: Renaming

    @Test(arguments: Backend.allCases)
    func `a new name ends every session, and the old one stays the user's`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let eve = try await store.makeUser("eve")
        let session = try await store.makeSession(of: ada)
        guard
            case .renamed(let countess, let position) = try await store.rename(
                ada, to: "Countess", at: noon + 1)
        else {
            Issue.record("not renamed")
            return
        }
        #expect(countess.id == ada.id)
        #expect(countess.username == username("countess"))
        #expect(countess.epoch == 1)
        #expect(
            try await store.feed(after: 0, limit: 10) == [
                FeedEntry(
                    sequence: position, change: .user(ada.id, minimumEpoch: 1),
                    deadline: session.absoluteDeadline)
            ])
        #expect(try await store.create([session]) == .userChanged, "sealed before it")
        #expect(try await store.user(named: ada.username) == nil)
        #expect(try await store.user(named: username("countess")) == countess)
        #expect(
            try await store.names(of: ada.id) == [
                NameRecord(username: username("countess"), state: .live, since: time(noon + 1)),
                NameRecord(username: username("ada"), state: .former, since: time(noon + 1)),
            ])
        #expect(try await store.rename(eve, to: "ada") == .nameTaken)
        #expect(try await store.rename(eve, to: "ada", takingReserved: true) == .nameTaken)
        guard case .renamed(let back, _) = try await store.rename(countess, to: "ada", at: noon + 2)
        else {
            Issue.record("not taken back")
            return
        }
        #expect(back.epoch == 2)
        #expect(try await store.names(of: ada.id).map(\.state) == [.live, .former])
        #expect(
            try await store.audit(after: 0, limit: 10).suffix(2).map(\.event)
                == [AuditEvent](
                    repeating: AuditEvent(.userRenamed, by: .command, user: ada.id), count: 2))
    }

    @Test(arguments: Backend.allCases)
    func `a new name that is taken changes nothing`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        _ = try await store.makeUser("moro")
        #expect(try await store.reserve("root"))
        for name in ["moro", "m0ro", "rnoro", "root", "r00t"] {
            #expect(try await store.rename(ada, to: name) == .nameTaken, "\(name)")
        }
        #expect(try await store.rename(ada, to: "ADA") == .unchanged(ada))
        #expect(try await store.user(named: username("ada")) == ada)
        #expect(try await store.names(of: ada.id).map(\.username.text) == ["ada"])
        #expect(try await store.feed(after: 0, limit: 10).isEmpty)
        #expect(try await store.audit(after: 0, limit: 10).count == 2)
        let stranger = User(
            id: try UserID.random(from: .system), username: username("no"), state: .enabled,
            epoch: 0, created: time(noon), passwordHash: nil)
        #expect(try await store.rename(stranger, to: "yes") == .notFound)
        #expect(try await store.availability(of: username("yes")) == .free)
        guard case .renamed = try await store.rename(ada, to: "root", takingReserved: true) else {
            Issue.record("not renamed")
            return
        }
    }

    @Test(arguments: Backend.allCases)
    func `a user's own names may look alike, and keep everybody else off`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let bill = try await store.makeUser("bil1")
        guard case .renamed(let renamed, _) = try await store.rename(bill, to: "bill") else {
            Issue.record("not renamed")
            return
        }
        for name in ["bil1", "bi11", "bill"] {
            #expect(try await store.add(name) == .nameTaken, "\(name)")
        }
        #expect(try await store.skeletonReport().collisions.isEmpty)
        #expect(try await store.skeletonReport().changed == 0)
        _ = try await store.rename(renamed, to: "william")
        for name in ["bil1", "bi11", "bill"] {
            #expect(try await store.add(name) == .nameTaken, "\(name)")
        }
    }

    @Test(arguments: Backend.allCases)
    func `of registrations and new names that race for a name one wins`(
        _ backend: Backend
    ) async throws {
        let stores = [try backend.open(directory), try backend.open(directory)]
        var users: [User] = []
        for index in 0..<10 { users.append(try await stores[0].makeUser("racer-\(index)")) }
        let winners = try await withThrowingTaskGroup(of: Bool.self) { group in
            for (index, user) in users.enumerated() {
                let name = ["moro", "rnor0"][index % 2]
                group.addTask {
                    if case .renamed = try await stores[index % 2].rename(user, to: name) {
                        return true
                    }
                    return false
                }
                group.addTask {
                    if case .added = try await stores[index % 2].add(name) { return true }
                    return false
                }
            }
            return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        #expect(winners == 1)
    }

    // MARK: Deleting

    @Test(arguments: Backend.allCases)
    func `a deleted user is found no more, and their names are nobody's`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        var ada = try await store.makeUser("ada")
        let eve = try await store.makeUser("eve")
        guard case .renamed(let renamed, _) = try await store.rename(ada, to: "countess") else {
            Issue.record("not renamed")
            return
        }
        ada = renamed
        let session = try await store.makeSession(of: ada)
        let link = try #require(LinkHash(bytes: [UInt8](repeating: 7, count: 32)))
        try await store.addLink(
            Link(hash: link, purpose: .recovery(ada.id), expires: time(noon + 900)),
            audit: AuditEvent(.userRecoveryIssued, by: .command, user: ada.id), at: time(noon))
        guard case .revoked(let position, 1) = try await store.delete(ada, at: noon + 5) else {
            Issue.record("not deleted")
            return
        }
        #expect(
            try await store.feed(after: position - 1, limit: 10) == [
                FeedEntry(
                    sequence: position, change: .user(ada.id, minimumEpoch: 2),
                    deadline: session.absoluteDeadline)
            ])
        #expect(try await store.user(named: username("countess")) == nil)
        #expect(try await store.listed() == ["eve"])
        #expect(try await store.create([session]) == .userChanged)
        #expect(try await store.link(link, at: time(noon + 6)) == nil)
        #expect(
            try await store.setPassword(
                "$argon2id$", with: link, lookUpKey: lookUpKey(), audit: .passwordRecovered,
                at: time(noon + 6)) == .noLink)
        #expect(
            try await store.names(of: ada.id) == [
                NameRecord(username: username("ada"), state: .deleted, since: time(noon + 5)),
                NameRecord(username: username("countess"), state: .deleted, since: time(noon + 5)),
            ])
        for name in ["ada", "countess", "c0untess"] {
            #expect(try await store.add(name, takingReserved: true) == .nameTaken, "\(name)")
            #expect(try await store.rename(eve, to: name) == .nameTaken, "\(name)")
        }
        #expect(try await store.delete(ada) == .notFound)
        #expect(try await store.rename(ada, to: "ada") == .notFound)
        #expect(try await store.set(ada, .enabled) == .notFound)
        #expect(
            try await store.audit(after: 0, limit: 20).filter { $0.event.kind == .userDeleted }
                .map(\.event) == [AuditEvent(.userDeleted, by: .command, user: ada.id)])
    }

    // MARK: Skeletons

    @Test(arguments: Backend.allCases)
    func `a store of our skeletons has nothing to rewrite`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        for name in ["ada", "moro1", "zoë", "\u{05D0}\u{05D1}"] {
            _ = try await store.makeUser(name)
        }
        #expect(try await store.reserve("root"))
        let report = SkeletonReport(
            storedVersion: Username.skeletonVersion, changed: 0, collisions: [])
        #expect(!report.isOutdated)
        #expect(try await store.skeletonReport() == report)
        let audit = AuditEvent(.skeletonsRewritten, by: .command)
        #expect(try await store.rewriteSkeletons(audit: audit, at: time(noon)) == report)
        #expect(try await store.audit(after: 0, limit: 10).last?.event == audit)
    }
}
