// A busy run of profiles leaves nothing of them in the clear: not in the database, not in its log, not in a backup.

import Foundation
import GRDB
import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

/// Gives two people each other's sealed profile, as somebody with the database could.
func swapProfiles(_ fixture: FrontFixture) throws {
    let queue = try DatabaseQueue(path: fixture.directory.path + "/" + SQLStore.fileName)
    try queue.write { db in
        let rows = try Row.fetchAll(db, sql: "SELECT user_id, sealed FROM profiles")
        for (row, other) in zip(rows, rows.reversed()) {
            let (id, sealed): (Data, Data) = (row["user_id"], other["sealed"])
            try db.execute(
                sql: "UPDATE profiles SET sealed = ? WHERE user_id = ?", arguments: [sealed, id])
        }
    }
}

/// Every form in which a text may lie in a file.
func forms(of text: String) -> [[UInt8]] {
    let utf8 = Array(text.utf8)
    let little = text.utf16.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
    let big = text.utf16.flatMap { [UInt8($0 >> 8), UInt8(truncatingIfNeeded: $0)] }
    // Base64 of a text within others has one of three beginnings; what all have is looked for.
    let base64 = (0..<3).map { shift -> [UInt8] in
        let padded = Data([UInt8](repeating: 0, count: shift) + utf8)
        return Array(padded.base64EncodedString().utf8.dropFirst(4).dropLast(4))
    }
    let hex = utf8.hex
    let percent = utf8.map { "%" + [$0].hex }.joined()
    return [utf8, little, big, Array(hex.utf8), Array(hex.uppercased().utf8)]
        + [Array(percent.utf8)] + base64
}

/// The files below a directory that have one of the texts, with the text.
func leftovers(of texts: [String], in directory: String) throws -> [String] {
    var found: [String] = []
    let names = try FileManager.default.subpathsOfDirectory(atPath: directory)
    for name in names.sorted() {
        guard let data = FileManager.default.contents(atPath: directory + "/" + name) else {
            continue
        }
        for text in texts
        where forms(of: text).contains(where: { !$0.isEmpty && data.range(of: Data($0)) != nil }) {
            found.append("\(name): \(text)")
        }
    }
    return found
}

@Suite(.serialized) struct ProfileLeftoverTests {
    private static let users = 12

    /// Everything that is entered, each unlike anything else.
    private static func values(_ index: Int, _ round: Int) -> [(field: String, value: String)] {
        [
            ("name", "Marker-Zoe-\(index)-\(round)"),
            ("email", "marker.mail.\(index).\(round)@marker-domain-\(index).example"),
            ("phone", "+4798765\(1000 + index * 10 + round)"),
            ("address", "Marker Road \(index)-\(round)\nMarkertown \(index)"),
        ]
    }

    private static func json(_ values: [(field: String, value: String)]) -> String {
        let members = values.map {
            "\"\($0.field)\":\"\($0.value.replacing("\n", with: "\\n"))\""
        }
        return "{" + members.joined(separator: ",") + "}"
    }

    // Promise: profile-sealed
    @Test func `after a busy run no value is in the clear in database, log or backup`()
        async throws
    {
        try await withProfiles { (fixture, _) async throws in
            var entered: [String] = []
            var browsers: [Browser] = []
            for index in 0..<Self.users {
                let values = Self.values(index, 0)
                entered += values.map(\.value)
                var browser = Browser(fixture)
                let registered = await browser.json(
                    "/v1/register",
                    #"{"username":"user\#(index)","password":"\#(FrontFixture.password)","profile":"#
                        + Self.json(values) + "}")
                #expect(registered.status == 201)
                _ = await browser.signIn("user\(index)")
                browsers.append(browser)
            }
            for round in 1...3 {
                for index in browsers.indices {
                    let values = Self.values(index, round)
                    entered += values.map(\.value)
                    let changed = await browsers[index].json(
                        "/v1/account", "{\"profile\":\(Self.json(values))}", method: .patch)
                    #expect(changed.status == 200)
                }
            }
            // Refused values are nowhere either.
            let refused = await browsers[0].submit(
                "/account/profile",
                [("revision", "4"), ("profile.name", "Marker-Refused"), ("profile.email", "x")])
            #expect(refused.status == 422)
            entered.append("Marker-Refused")
            let ring = try #require(await fixture.node.loadedKeyring)
            let next = try ring.addingDataKey(.profile, at: time(noon), entropy: .system)
                .activatingPendingKeys(at: time(noon))
            let schema = fixture.door.people.schema.profile
            let upkeep = ProfileUpkeep(
                store: fixture.store, vault: try ProfileVault(next), entropy: .system)
            #expect(try await upkeep.rotate(schema) { time(noon) }.rewritten == Self.users)
            let gone = try #require(try await fixture.store.user(named: username("user3")))
            _ = try await fixture.store.deletePerson(
                gone.id, onlyIfDue: false, lookUpKey: try lookUpKey(),
                audit: AuditEvent(.userDeleted, by: .command, user: gone.id), at: time(noon))
            let before = try leftovers(of: entered, in: fixture.directory.path)
            #expect(before == [], "the write-ahead log has what was written")
            let path = fixture.directory.path + "/" + SQLStore.fileName
            let queue = try DatabaseQueue(path: path)
            try await queue.writeWithoutTransaction { [path = fixture.directory.path] db in
                _ = try db.checkpoint(.truncate)
                try db.execute(
                    sql: "VACUUM INTO ?", arguments: [path + "/backup.sqlite"])
            }
            #expect(
                FileManager.default.fileExists(atPath: fixture.directory.path + "/backup.sqlite"))
            #expect(entered.count == Self.users * 4 * 4 + 1)
            #expect(try leftovers(of: entered, in: fixture.directory.path) == [])
        }
    }

    /// That the search above finds what it looks for: the same write, with bytes that are not sealed.
    @Test func `a profile that is not sealed is found`() async throws {
        try await withProfiles { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            let vault = try await fixture.door.people.profileVault()
            let plain = Profile(["name": "Marker-Zoe"]).encodedInTheClear
            var write = ProfileWrite(
                ProfileRow(
                    user: ada.id, revision: 1, updated: time(noon), lastSequence: 1,
                    sealed: SealedRow(key: vault.current, bytes: plain)))
            write.history = [
                ProfileHistoryRow(
                    sequence: 1, time: time(noon),
                    sealed: SealedRow(
                        key: vault.current, bytes: Profile(["x": "Marker-Old"]).encodedInTheClear))
            ]
            let outcome = try await fixture.store.writeProfile(
                write, audit: AuditEvent(.profileChanged, by: .server, user: ada.id),
                at: time(noon))
            #expect(outcome == .written)
            let found = try leftovers(
                of: ["Marker-Zoe", "Marker-Old", "Marker-Nowhere"], in: fixture.directory.path)
            #expect(
                Set(found.map { $0.split(separator: ": ")[1] }) == ["Marker-Zoe", "Marker-Old"])
        }
    }

    @Test func `the search knows every form`() throws {
        let directory = TemporaryDirectory()
        let text = "Märker-Zoë-7"
        func write(_ bytes: [UInt8]) throws {
            try Data([1, 2, 3] + bytes + [4]).write(to: URL(fileURLWithPath: directory.path + "/f"))
        }
        let shifted = (0..<3).map { shift in
            Array(
                Data(Array("xyz".utf8.prefix(shift)) + Array((text + "?!").utf8))
                    .base64EncodedString().utf8)
        }
        for bytes in forms(of: text) + shifted {
            try write(bytes)
            #expect(try leftovers(of: [text], in: directory.path) == ["f: \(text)"])
        }
        try write(Array("Märker-Zoë-8".utf8))
        #expect(try leftovers(of: [text], in: directory.path) == [])
        withExtendedLifetime(directory) {}
    }
}

extension Profile {
    /// As long as a sealed row is.
    fileprivate var encodedInTheClear: [UInt8] {
        let texts = values.flatMap { [$0.key, $0.value] }.joined(separator: "=")
        return [UInt8](repeating: 7, count: 40) + Array(texts.utf8)
            + [UInt8](repeating: 0, count: 256 - texts.utf8.count)
    }
}
