// Profiles in the store: the revision decides, history has an end, and keys go when no row needs them.

import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

struct ProfileContractTests {
    private let directory = TemporaryDirectory()
    private let store: SQLStore
    private let ring: Keyring
    private let vault: ProfileVault

    init() throws {
        store = try Backend.inForce.open(directory)
        ring = try Keyring.first(at: time(noon), entropy: .system)
        vault = try ProfileVault(ring)
    }

    private static let schema: ProfileSchema = {
        var email = ProfileField("email", label: "E-mail", kind: .email)
        email.isSearched = true
        return ProfileSchema([ProfileField("name", label: "Name", kind: .text), email])
    }()

    /// One more revision with `changes` entries of history.
    private func write(
        _ values: [String: String], of user: UserID, revision: Int64, last: Int64 = 0,
        changes: Int = 0, vault other: ProfileVault? = nil, at now: Int64 = noon
    ) async throws -> ProfileWriteOutcome {
        let vault = other ?? vault
        let profile = Profile(values)
        var write = ProfileWrite(
            ProfileRow(
                user: user, revision: revision, updated: time(now),
                lastSequence: last + Int64(changes),
                sealed: try vault.seal(profile, of: user, revision: revision, entropy: .system)))
        for index in 0..<Int64(changes) {
            let change = ProfileChange(
                field: index % 2 == 0 ? "name" : "shoe", old: nil, new: "n\(last + index + 1)",
                writer: .owner)
            write.history.append(
                ProfileHistoryRow(
                    sequence: last + index + 1, time: time(now),
                    sealed: try vault.seal(
                        change, of: user, sequence: last + index + 1, entropy: .system)))
        }
        write.digests = try vault.digests(
            of: profile, in: Self.schema.fields.filter(\.isSearched))
        return try await store.writeProfile(
            write, audit: AuditEvent(.profileChanged, by: .server, user: user), at: time(now))
    }

    private func profile(_ user: UserID, _ vault: ProfileVault) async throws -> Profile? {
        guard let row = try await store.profile(of: user) else { return nil }
        return try vault.open(row.sealed, of: user, revision: row.revision)
    }

    @Test func `a change is made to the revision that was read, or not at all`() async throws {
        let ada = try await store.makeUser("ada").id
        #expect(try await store.profile(of: ada) == nil)
        #expect(try await write(["name": "1"], of: ada, revision: 2) == .changedMeanwhile)
        #expect(try await write(["name": "1"], of: ada, revision: 1) == .written)
        #expect(try await write(["name": "x"], of: ada, revision: 1) == .changedMeanwhile)
        #expect(try await write(["name": "2"], of: ada, revision: 2, changes: 1) == .written)
        #expect(
            try await write(["name": "x"], of: ada, revision: 2, changes: 1) == .changedMeanwhile)
        #expect(try await write(["name": "x"], of: ada, revision: 4) == .changedMeanwhile)
        #expect(try await profile(ada, vault) == Profile(["name": "2"]))
        #expect(try await store.profileRows(of: ada)?.history.map(\.sequence) == [1])
        let events = try await store.audit(after: 0, limit: 99).map(\.event.kind)
        #expect(events.filter { $0 == .profileChanged }.count == 2, "one for each that was made")
    }

    @Test func `sixty-four racing changes of one revision: one is made`() async throws {
        let ada = try await store.makeUser("ada").id
        let made = try await withThrowingTaskGroup(of: Bool.self) { group in
            for index in 0..<64 {
                group.addTask {
                    try await write(["name": "\(index)"], of: ada, revision: 1) == .written
                }
            }
            return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(made == 1)
    }

    @Test func `nothing is written of somebody who is not, has gone, or is disabled`()
        async throws
    {
        let nobody = try UserID.random(from: .system)
        #expect(try await write(["name": "x"], of: nobody, revision: 1) == .noUser)
        let ada = try await store.makeUser("ada").id
        _ = try await store.setUser(
            ada, state: .disabled, audit: AuditEvent(.userDisabled, by: .command, user: ada),
            at: time(noon))
        #expect(try await write(["name": "x"], of: ada, revision: 1) == .noUser)
        try await store.delete(ada)
        #expect(try await write(["name": "x"], of: ada, revision: 1) == .noUser)
        #expect(try await store.profileRows(after: nil, limit: 9).isEmpty)
    }

    // Promise: history
    @Test func `history has an end, and the oldest go`() async throws {
        let ada = try await store.makeUser("ada").id
        let most = ProfileHistoryRow.maximumPerUser
        #expect(
            try await write(["name": "x"], of: ada, revision: 1, changes: Int(most)) == .written)
        #expect(try await store.profileRows(of: ada)?.history.count == Int(most))
        #expect(
            try await write(["name": "y"], of: ada, revision: 2, last: most, changes: 2)
                == .written)
        let kept = try #require(try await store.profileRows(of: ada)?.history.map(\.sequence))
        #expect(kept == Array(3...(most + 2)))
    }

    @Test func `people are found by a value of theirs, and not by what they had before`()
        async throws
    {
        let (ada, bob) = (try await store.makeUser("ada").id, try await store.makeUser("bob").id)
        _ = try await write(["email": "ada@X.example"], of: ada, revision: 1)
        _ = try await write(["email": "bob@x.example"], of: bob, revision: 1)
        let email = try #require(Self.schema.field("email"))
        func found(_ value: String) async throws -> [UserID] {
            try await store.users(
                with: try vault.allDigests(of: value, in: email), limit: 10
            ).map(\.id)
        }
        #expect(try await found("ada@x.example") == [ada])
        #expect(try await found("ada@x.exampl") == [])
        _ = try await write(["email": "eve@x.example"], of: ada, revision: 2)
        #expect(try await found("ada@x.example") == [])
        #expect(try await found("eve@X.EXAMPLE") == [ada])
        _ = try await write(["email": "eve@x.example"], of: bob, revision: 2)
        #expect(
            try await found("eve@x.example") == [ada, bob].sorted { $0.text < $1.text })
        try await store.delete(ada)
        #expect(try await found("eve@x.example") == [bob], "nobody who has gone")
    }

    @Test func `with the profile everything that belongs to it goes`() async throws {
        let ada = try await store.makeUser("ada").id
        _ = try await write(["email": "a@x.example"], of: ada, revision: 1, changes: 3)
        #expect(try await store.profileKeyUse() == [vault.current: 5])
        try await store.write(at: time(noon)) { db in
            try db.execute(
                sql: "DELETE FROM profiles WHERE user_id = ?", arguments: [ada.value.data])
        }
        #expect(try await store.profileKeyUse().isEmpty)
    }

    @Test func `the table takes no row that is not sealed, or not padded`() async throws {
        let ada = try await store.makeUser("ada").id
        for (count, isTaken) in [(0, false), (40, false), (295, false), (297, false), (296, true)] {
            let write = ProfileWrite(
                ProfileRow(
                    user: ada, revision: 1, updated: time(noon), lastSequence: 0,
                    sealed: SealedRow(
                        key: vault.current, bytes: [UInt8](repeating: 1, count: count))))
            let outcome = try? await store.writeProfile(
                write, audit: AuditEvent(.profileChanged, by: .server, user: ada), at: time(noon))
            #expect((outcome == .written) == isTaken, "\(count)")
        }
    }

    // MARK: Rotation

    private func rotated() throws -> Keyring {
        try ring.addingDataKey(.profile, at: time(noon), entropy: .system)
            .activatingPendingKeys(at: time(noon))
    }

    private func upkeep(_ vault: ProfileVault) -> ProfileUpkeep {
        ProfileUpkeep(store: store, vault: vault, entropy: .system)
    }

    // Promise: profile-sealed
    @Test func `a rotation seals everything anew, and changes nothing else`() async throws {
        var users: [UserID] = []
        for index in 0..<(ProfileUpkeep.batch + 3) {
            let user = try await store.makeUser("user\(index)").id
            users.append(user)
            _ = try await write(
                ["name": "N\(index)", "email": "u\(index)@x.example"], of: user, revision: 1,
                changes: index % 3)
        }
        let next = try ProfileVault(try rotated())
        let before = try await store.profileRows(after: nil, limit: 1000)
        let tally = try await upkeep(next).rotate(Self.schema) { time(noon + 5) }
        #expect(tally == ProfileUpkeep.Tally(rewritten: users.count))
        #expect(try await store.profileKeyUse().keys.sorted() == [next.current])
        let after = try await store.profileRows(after: nil, limit: 1000)
        #expect(after.map(\.profile.revision) == before.map(\.profile.revision))
        #expect(after.map(\.profile.updated) == before.map(\.profile.updated))
        for (index, user) in users.enumerated() {
            let rows = try #require(try await store.profileRows(of: user))
            #expect(
                try next.open(rows.profile.sealed, of: user, revision: 1)
                    == Profile(["name": "N\(index)", "email": "u\(index)@x.example"]))
            #expect(rows.history.map(\.sequence) == (0..<Int64(index % 3)).map { $0 + 1 })
            for row in rows.history {
                #expect(
                    try next.open(row.sealed, of: user, sequence: row.sequence).new
                        == "n\(row.sequence)")
            }
        }
        let email = try #require(Self.schema.field("email"))
        let found = try await store.users(
            with: try next.allDigests(of: "u7@x.example", in: email), limit: 9)
        #expect(found.map(\.id) == [users[7]])
        #expect(
            try await upkeep(next).rotate(Self.schema) { time(noon) }
                == ProfileUpkeep.Tally(already: users.count), "again, there is nothing to do")
    }

    @Test func `what a server wrote meanwhile wins, and its history is sealed anew too`()
        async throws
    {
        let ada = try await store.makeUser("ada").id
        _ = try await write(["name": "1"], of: ada, revision: 1, changes: 2)
        let next = try ProfileVault(try rotated())
        let old = try #require(try await store.profileRows(of: ada))
        #expect(
            try await write(
                ["name": "2"], of: ada, revision: 2, last: 2, changes: 1, vault: next)
                == .written)
        let stale = ProfileRewrite(
            old.profile,
            sealed: try next.seal(Profile(["name": "1"]), of: ada, revision: 1, entropy: .system),
            history: [:], digests: [])
        #expect(try await store.rewriteProfiles([stale], audit: [], at: time(noon)) == 0)
        #expect(try await profile(ada, next) == Profile(["name": "2"]))
        #expect(try await store.profileKeyUse() == [vault.current: 2, next.current: 2])
        _ = try await upkeep(next).rotate(Self.schema) { time(noon) }
        #expect(try await store.profileKeyUse() == [next.current: 4])
        #expect(try await profile(ada, next) == Profile(["name": "2"]))
    }

    @Test func `a profile that does not open is left alone, and told`() async throws {
        let (ada, bob) = (try await store.makeUser("ada").id, try await store.makeUser("bob").id)
        _ = try await write(["name": "1"], of: ada, revision: 1)
        _ = try await write(["name": "2"], of: bob, revision: 1)
        try await store.write(at: time(noon)) { db in
            try db.execute(
                sql: """
                    UPDATE profiles SET sealed = (SELECT sealed FROM profiles WHERE user_id = ?)
                    WHERE user_id = ?
                    """, arguments: [ada.value.data, bob.value.data])
        }
        let next = try ProfileVault(try rotated())
        let tally = try await upkeep(next).rotate(Self.schema) { time(noon) }
        #expect(tally.rewritten == 1 && tally.damaged == 1)
        #expect(try await profile(ada, next) == Profile(["name": "1"]))
        #expect(try await store.profileKeyUse()[vault.current] == 1)
    }

    // Promise: profile-minimal
    @Test func `pruning drops what the schema has no more, its history and its digests`()
        async throws
    {
        let ada = try await store.makeUser("ada").id
        _ = try await write(
            ["name": "Ada", "email": "a@x.example", "shoe": "9"], of: ada, revision: 1, changes: 4)
        let name = ProfileField("name", label: "Name", kind: .text)
        let tally = try await upkeep(vault).prune(to: ProfileSchema([name])) { time(noon) }
        #expect(tally == ProfileUpkeep.Tally(rewritten: 1))
        #expect(try await profile(ada, vault) == Profile(["name": "Ada"]))
        let rows = try #require(try await store.profileRows(of: ada))
        #expect(rows.history.map(\.sequence) == [1, 3], "those of the name")
        #expect(rows.digests.isEmpty)
        #expect(
            try await upkeep(vault).prune(to: ProfileSchema([name])) { time(noon) }
                == ProfileUpkeep.Tally(already: 1))
        var found = name
        found.isSearched = true
        _ = try await upkeep(vault).prune(to: ProfileSchema([found])) { time(noon) }
        #expect(
            try await store.users(
                with: try vault.allDigests(of: "Ada", in: found), limit: 9
            ).map(\.id) == [ada], "a field that people are to be found by from now on")
    }

    @Test func `a former profile key goes when it has settled and no row needs it`() async throws {
        let root = try RootKey.random(from: .system)
        let ada = try await store.makeUser("ada").id
        _ = try await write(["name": "1"], of: ada, revision: 1, changes: 1)
        let next = try rotated()
        let first = try Keyring(version: 1, keys: next.keys, dataKeys: next.dataKeys)
        _ = try await KeyringChange.replace(
            with: first, onlyWhenLoaded: false, audit: [], store: store, rootKey: root,
            at: time(noon), entropy: .system)
        func prune(at now: Int64) async throws -> DataKeyUpkeep.Pruning {
            try await DataKeyUpkeep.prune(
                first, store: store, rootKey: root, at: time(now), entropy: .system
            ).0
        }
        let settled = noon + DataKeyUpkeep.settlingSeconds
        _ = try await upkeep(try ProfileVault(first)).rotate(Self.schema) { time(noon) }
        #expect(
            try await prune(at: settled - 1).kept.map(\.reason)
                == [.settling(until: time(settled))])
        // A server that was late: everything is under the newer key but one.
        _ = try await write(["name": "2"], of: ada, revision: 2, last: 1)
        #expect(try await prune(at: settled).kept.map(\.reason) == [.rows(1)])
        _ = try await upkeep(try ProfileVault(first)).rotate(Self.schema) { time(noon) }
        #expect(try await prune(at: settled).destroyed == [vault.current])
    }
}
