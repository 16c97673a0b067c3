// Profiles as values: what a change makes of one, what is sealed, and who can open it.

import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehousePeople

private func field(
    _ name: String, _ kind: ProfileField.Kind = .text, isRequired: Bool = false
) -> ProfileField {
    var field = ProfileField(name, label: name, kind: kind)
    field.isRequired = isRequired
    return field
}

private func text(_ text: String) -> ProfileInput { .text(Array(text.utf8)) }

struct ProfileTests {
    private let schema = ProfileSchema([
        field("name", isRequired: true), field("email", .email), field("note"),
    ])

    private func faults(
        _ inputs: [String: ProfileInput], from old: Profile = Profile()
    ) -> [ProfileFieldFault] {
        do throws(ProfileFaults) { _ = try old.changed(by: inputs, in: schema) } catch {
            return error.faults
        }
        return []
    }

    @Test func `what was not given stays, and nothing given takes away`() throws {
        let old = Profile(["name": "Ada", "email": "a@x.example", "note": "n"])
        let new = try old.changed(by: ["email": .none, "note": text(" m ")], in: schema)
        #expect(new == Profile(["name": "Ada", "note": "m"]))
    }

    // Promise: profile-minimal
    @Test func `a field that the schema has not is refused by its name`() {
        #expect(
            faults(["name": text("Ada"), "shoe_size": text("9"), "__proto__": .other])
                == [
                    ProfileFieldFault("__proto__", .unknown),
                    ProfileFieldFault("shoe_size", .unknown),
                ])
    }

    // Promise: profile-minimal
    @Test func `a field that left the schema goes with the next change`() throws {
        let old = Profile(["name": "Ada", "shoe_size": "9"])
        #expect(try old.changed(by: [:], in: schema) == Profile(["name": "Ada"]))
    }

    @Test func `several faults are told together`() {
        #expect(
            faults(["email": text("x"), "note": .other])
                == [
                    ProfileFieldFault("name", .required), ProfileFieldFault("email", .email),
                    ProfileFieldFault("note", .kind),
                ])
    }

    @Test func `a required field can't be emptied`() {
        for input in [ProfileInput.none, text(""), text("  ")] {
            #expect(
                faults(["name": input], from: Profile(["name": "Ada"]))
                    == [ProfileFieldFault("name", .required)])
        }
    }

    @Test func `a profile has at most so many bytes`() throws {
        let names = (0..<17).map { "f" + ($0 < 10 ? "0" : "") + "\($0)" }
        let schema = ProfileSchema(names.map { field($0) })
        var inputs: [String: ProfileInput] = [:]
        for name in names.prefix(16) { inputs[name] = text(String(repeating: "x", count: 1021)) }
        let full = try Profile().changed(by: inputs, in: schema)
        #expect(full.byteCount == Profile.maximumBytes)
        #expect(throws: ProfileFaults([ProfileFieldFault("f16", .profileTooLarge)])) {
            try full.changed(by: ["f16": text("x")], in: schema)
        }
    }

    // MARK: What is sealed

    @Test func `a profile and a change are read as they were written`() {
        for values in [
            [:], ["name": "Ada"],
            ["name": "", "note": "a\nb", "email": String(repeating: "ö", count: 512)],
        ] as [[String: String]] {
            #expect(Profile(encoded: Profile(values).encoded()) == Profile(values))
        }
        for change in [
            ProfileChange(field: "name", old: nil, new: "Ada", writer: .owner),
            ProfileChange(field: "name", old: "Ada", new: nil, writer: .actor("grace")),
            ProfileChange(field: "", old: "", new: "", writer: .actor("")),
        ] { #expect(ProfileChange(encoded: change.encoded()) == change) }
    }

    @Test func `bytes that are none are no profile and no change, whatever they are`() {
        var generator = SeededGenerator()
        let profile = Profile(["name": "Ada", "note": "n"]).encoded()
        let change = ProfileChange(field: "f", old: "o", new: "n", writer: .owner).encoded()
        for whole in [profile, change] {
            for count in 0..<whole.count {
                _ = Profile(encoded: Array(whole[..<count]))
                _ = ProfileChange(encoded: Array(whole[..<count]))
            }
            for _ in 0..<2000 {
                var bytes = whole
                for _ in 0..<3 {
                    bytes[Int.random(in: 0..<30, using: &generator)] =
                        UInt8.random(in: 0...255, using: &generator)
                }
                _ = Profile(encoded: bytes)
                _ = ProfileChange(encoded: bytes)
            }
        }
        var newer = profile
        newer[0] = 2
        #expect(Profile(encoded: newer) == nil)
        newer = change
        newer[0] = 2
        #expect(ProfileChange(encoded: newer) == nil)
        var dirty = profile
        dirty[dirty.count - 1] = 1
        #expect(Profile(encoded: dirty) == nil, "padding is zeros")
        #expect(Profile(encoded: []) == nil && ProfileChange(encoded: []) == nil)
    }

    // Promise: profile-sealed
    @Test func `the length of what is sealed says little`() {
        func length(_ count: Int) -> Int {
            Profile(["name": String(repeating: "x", count: count)]).encoded().count
        }
        // Two bytes before the values, two lengths of two, the name.
        let room = SealedTexts.paddingBytes - 10
        #expect(length(1) == 256 && length(room) == 256)
        #expect(length(room + 1) == 512)
    }

    @Test func `an audit entry names the fields, as many as it has room for`() {
        func detail(_ count: Int, _ writer: ProfileWriter = .owner) -> String {
            People.detail(
                of: (0..<count).map {
                    ProfileChange(
                        field: String(repeating: "f", count: 30) + "\(10 + $0)", old: "secret",
                        new: "secret", writer: writer)
                }, by: writer)
        }
        let name = String(repeating: "f", count: 30)
        #expect(detail(2) == "by=owner fields=\(name)10,\(name)11")
        #expect(detail(1, .actor("grace")) == "by=actor fields=\(name)10")
        for count in 1...32 {
            #expect((1...256).contains(detail(count).utf8.count))
            #expect(!detail(count).contains("secret"))
        }
        #expect(detail(32).hasSuffix("+25"))
    }
}

struct ProfileVaultTests {
    private let ring: Keyring
    private let vault: ProfileVault
    private let ada: UserID
    private let bob: UserID
    private let profile = Profile(["name": "Ada", "email": "ada@x.example"])
    private let change = ProfileChange(field: "name", old: nil, new: "Ada", writer: .owner)

    init() throws {
        ring = try Keyring.first(at: time(noon), entropy: .system)
        vault = try ProfileVault(ring)
        ada = try UserID.random(from: .system)
        bob = try UserID.random(from: .system)
    }

    private func sealed(_ revision: Int64 = 7) throws -> SealedRow {
        try vault.seal(profile, of: ada, revision: revision, entropy: .system)
    }

    // Promise: profile-sealed
    @Test func `a profile opens for its person and its revision, and for nothing else`() throws {
        let row = try sealed()
        #expect(try vault.open(row, of: ada, revision: 7) == profile)
        #expect(throws: ProfileFailure.damaged) { try vault.open(row, of: bob, revision: 7) }
        #expect(throws: ProfileFailure.damaged) { try vault.open(row, of: ada, revision: 6) }
        let moved = SealedRow(key: row.key, bytes: row.bytes)
        #expect(throws: ProfileFailure.damaged) { try vault.open(moved, of: ada, sequence: 7) }
    }

    // Promise: profile-sealed
    @Test func `an entry of the history opens in its place only`() throws {
        let row = try vault.seal(change, of: ada, sequence: 3, entropy: .system)
        #expect(try vault.open(row, of: ada, sequence: 3) == change)
        #expect(throws: ProfileFailure.damaged) { try vault.open(row, of: bob, sequence: 3) }
        #expect(throws: ProfileFailure.damaged) { try vault.open(row, of: ada, sequence: 4) }
        #expect(throws: ProfileFailure.damaged) { try vault.open(row, of: ada, revision: 3) }
    }

    @Test func `a byte that was changed is noticed, wherever it is`() throws {
        let row = try sealed()
        for index in row.bytes.indices {
            var bytes = row.bytes
            bytes[index] ^= 1
            #expect(throws: ProfileFailure.damaged) {
                try vault.open(SealedRow(key: row.key, bytes: bytes), of: ada, revision: 7)
            }
        }
        for count in [0, 1, 39, 40] {
            #expect(throws: ProfileFailure.damaged) {
                try vault.open(
                    SealedRow(key: row.key, bytes: Array(row.bytes.prefix(count))), of: ada,
                    revision: 7)
            }
        }
    }

    @Test func `sealed twice, it is never the same`() throws {
        #expect(try sealed().bytes != sealed().bytes)
    }

    @Test func `another deployment's ring opens nothing`() throws {
        let other = try ProfileVault(try Keyring.first(at: time(noon), entropy: .system))
        let row = try sealed()
        #expect(throws: ProfileFailure.noKey) { try other.open(row, of: ada, revision: 7) }
        let disguised = SealedRow(key: other.current, bytes: row.bytes)
        #expect(throws: ProfileFailure.damaged) {
            try other.open(disguised, of: ada, revision: 7)
        }
    }

    @Test func `without a profile key nothing is sealed, and nothing without randomness`() throws {
        let older = try Keyring(version: 3, keys: ring.keys)
        #expect(throws: ProfileFailure.noKey) { _ = try ProfileVault(older) }
        #expect(throws: ProfileFailure.sealing) {
            try vault.seal(profile, of: ada, revision: 1, entropy: .broken)
        }
    }

    @Test func `after a rotation the newest key seals, and the older still opens`() throws {
        let row = try sealed()
        let pending = try ring.addingDataKey(.profile, at: time(noon), entropy: .system)
        #expect(try ProfileVault(pending).current == vault.current, "not before all have loaded it")
        let next = try ProfileVault(try pending.activatingPendingKeys(at: time(noon)))
        #expect(next.current != vault.current)
        #expect(try next.open(row, of: ada, revision: 7) == profile)
        let newer = try next.seal(profile, of: ada, revision: 7, entropy: .system)
        #expect(newer.key == next.current)
        #expect(throws: ProfileFailure.noKey) { try vault.open(newer, of: ada, revision: 7) }
    }

    @Test func `a digest is of the field, the value and the key, and is no other HMAC`() throws {
        let fields = [field("name"), field("email", .email), field("note")]
        let digests = try vault.digests(of: profile, in: fields)
        #expect(digests.map(\.field) == ["name", "email"])
        #expect(try vault.digests(of: profile, in: fields) == digests)
        let same = Profile(["name": "Ada", "note": "Ada"])
        let both = try vault.digests(of: same, in: fields)
        #expect(both[0] == digests[0] && both[1].digest != both[0].digest)
        let next = try ProfileVault(
            try ring.addingDataKey(.profile, at: time(noon), entropy: .system)
                .activatingPendingKeys(at: time(noon)))
        let newer = try next.digests(of: profile, in: fields)
        #expect(newer[0].digest != digests[0].digest)
        #expect(
            Set(try next.allDigests(of: "Ada", in: fields[0])) == [newer[0], digests[0]],
            "rows may have either")
    }
}
