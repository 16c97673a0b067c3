// Data keys, peppers and look-up keys.

import GatehouseTestSupport
import Testing

@testable import GatehouseCore

/// RFC 4231 section 4.2 and 4.3: HMAC-SHA-256 test cases 1 and 2.
private let hmacCases: [(key: [UInt8], message: String, digest: String)] = [
    (
        Array(repeating: 0x0B, count: 20), "Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    ),
    (
        Array("Jefe".utf8), "what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    ),
]

/// `#expect` and `#require` take no spans.
private func decoded(_ layout: [UInt8], version: UInt64 = 1) -> Keyring? {
    KeyringLayout.decode(layout.span, version: version)
}

private func bytes(_ secret: borrowing SecretBytes) -> [UInt8] {
    secret.withSpan { span in span.indices.map { span[$0] } }
}

@Suite struct DataKeyTests {
    private static func hash(_ byte: UInt8 = 7) throws -> PasswordHash {
        let output = [UInt8](repeating: byte, count: 32)
        return PasswordHash(
            parameters: .standard, salt: Array(repeating: 1, count: 16), output: output.span)
    }

    private static func output(_ hash: PasswordHash) -> [UInt8] {
        hash.withOutput { span in span.indices.map { span[$0] } }
    }

    /// `ring` with one more pepper that is activated.
    private static func rotated(_ ring: Keyring, at now: Int64) throws -> Keyring {
        try ring.addingDataKey(.pepper, at: time(now), entropy: .system)
            .activatingPendingKeys(at: time(now))
    }

    @Test func `HMAC gives the published digests`() throws {
        for (key, message, digest) in hmacCases {
            let made = try hmacSHA256(key: key.span, message: Array(message.utf8).span)
            #expect(bytes(made).map(\.hex).joined() == digest)
        }
    }

    @Test func `the first ring has a key of each purpose in use`() throws {
        let ring = try Keyring.first(at: time(noon), entropy: .system)
        #expect(ring.dataKeys.map(\.purpose) == [.pepper, .lookUp, .audit, .profile])
        #expect(ring.dataKeys.allSatisfy { $0.activated == time(noon) })
        #expect(ring.peppers.current == ring.dataKeys[0].id)
        #expect(ring.lookUpKey != nil)
        #expect(try ring.completingDataKeys(at: time(noon), entropy: .system) == nil)
    }

    @Test func `a ring of an older release is completed at once, in one step`() throws {
        let first = try Keyring.first(at: time(noon), entropy: .system)
        let older = try Keyring(version: 5, keys: first.keys)
        #expect(older.lookUpKey == nil && older.peppers.current == nil)
        let complete = try #require(
            try older.completingDataKeys(at: time(noon + 9), entropy: .system))
        #expect(complete.version == 6)
        #expect(complete.dataKeys.map(\.purpose) == [.pepper, .lookUp, .audit, .profile])
        #expect(complete.pendingDataKeys.isEmpty)
        #expect(complete.active?.id == first.active?.id)
    }

    @Test func `a ring from before there were profiles gets their key, and no other`() throws {
        let first = try Keyring.first(at: time(noon), entropy: .system)
        let older = try Keyring(
            version: 5, keys: first.keys,
            dataKeys: first.dataKeys.filter { $0.purpose != .profile })
        #expect(older.newestDataKey(.profile) == nil)
        let complete = try #require(
            try older.completingDataKeys(at: time(noon + 9), entropy: .system))
        #expect(complete.dataKeys.map(\.id).dropLast() == older.dataKeys.map(\.id)[...])
        #expect(complete.newestDataKey(.profile)?.activated == time(noon + 9))
    }

    @Test func `a profile key's two uses have keys of their own`() throws {
        let ring = try Keyring.first(at: time(noon), entropy: .system)
        let key = try #require(ring.newestDataKey(.profile))
        let uses = [try bytes(key.derived()), try bytes(key.derived(for: "/search"))]
        #expect(Set(uses).count == 2 && uses.allSatisfy { $0.count == 32 })
    }

    @Test func `a new data key is used only once it is activated, and token keys stay`() throws {
        let ring = try Keyring.first(at: time(noon), entropy: .system)
        let added = try ring.addingDataKey(.pepper, at: time(noon + 1), entropy: .system)
        #expect(added.version == ring.version + 1)
        #expect(added.peppers.current == ring.peppers.current)
        #expect(added.pendingDataKeys.count == 1)
        let active = try added.activatingPendingKeys(at: time(noon + 2))
        #expect(active.peppers.current == added.pendingDataKeys[0].id)
        let atOnce = try Self.rotated(Keyring.first(at: time(noon), entropy: .system), at: noon)
        #expect(atOnce.peppers.current == atOnce.dataKeys.last?.id, "within one second")
        #expect(active.keys.map(\.state) == [.active])
        #expect(active.active?.id == ring.active?.id)
        #expect(active.active?.activated == ring.active?.activated)
    }

    @Test func `rotating and revoking token keys leaves data keys alone`() throws {
        let ring = try Keyring.first(at: time(noon), entropy: .system)
        let rotated = try ring.addingPendingKey(at: time(noon), entropy: .system)
            .activatingPendingKeys(at: time(noon + 1))
        let revoked = try #require(
            try rotated.revoking(at: time(noon + 2), entropy: .system) { _ in true }
        ).ring
        let destroyed = try #require(
            try revoked.destroyingExpiredKeys(
                at: time(noon + 10_000), leaseSeconds: 1, lastDeadline: { _ in nil })
        ).ring
        for changed in [rotated, revoked, destroyed] {
            #expect(changed.dataKeys.map(\.id) == ring.dataKeys.map(\.id))
        }
    }

    @Test func `a ring holds so many data keys, and ids differ between the families`() throws {
        var ring = try Keyring.first(at: time(noon), entropy: .system)
        while ring.dataKeys.count < Keyring.maximumDataKeys {
            ring = try ring.addingDataKey(.pepper, at: time(noon), entropy: .system)
        }
        #expect(throws: KeyringDefect.tooManyKeys) {
            try ring.addingDataKey(.pepper, at: time(noon), entropy: .system)
        }
        let id = try #require(ring.active?.id)
        let same = DataKey(
            id: id, purpose: .pepper, created: time(noon), activated: nil,
            secret: try Keyring.newSecret(.system))
        #expect(throws: KeyringDefect.duplicateKeyID) {
            try Keyring(version: 9, keys: ring.keys, dataKeys: [same])
        }
    }

    @Test func `data keys are stored and come back`() throws {
        let root = try RootKey.random(from: .system)
        let ring = try Self.rotated(Keyring.first(at: time(noon), entropy: .system), at: noon + 1)
            .addingDataKey(.lookUp, at: time(noon + 2), entropy: .system)
        let opened = try root.unwrap(try root.wrap(ring, entropy: .system))
        #expect(opened.dataKeys.map(\.id) == ring.dataKeys.map(\.id))
        #expect(opened.dataKeys.map(\.purpose) == ring.dataKeys.map(\.purpose))
        #expect(opened.dataKeys.map(\.created) == ring.dataKeys.map(\.created))
        #expect(opened.dataKeys.map(\.activated) == ring.dataKeys.map(\.activated))
        let sealed = try ring.peppers.sealing(Self.hash())
        #expect(try opened.peppers.sealing(Self.hash()).text == sealed.text, "the same secrets")
    }

    @Test func `a ring in the layout of the release before opens, without data keys`() throws {
        let ring = try Keyring.first(at: time(noon), entropy: .system)
        let layout = bytes(KeyringLayout.encode(ring))
        // Version 1 has no count of data keys, and none.
        let older = [1, layout[1]] + layout[3..<(3 + 61)]
        let opened = try #require(decoded(older, version: 4))
        #expect(opened.keys.map(\.id) == ring.keys.map(\.id))
        #expect(opened.dataKeys.isEmpty)
        #expect(decoded(older + [0], version: 4) == nil)
    }

    @Test func `a layout of another size, purpose or time is none`() throws {
        let layout = bytes(
            KeyringLayout.encode(try Keyring.first(at: time(noon), entropy: .system)))
        for count in 0..<layout.count {
            #expect(decoded(Array(layout.prefix(count))) == nil)
        }
        #expect(decoded(layout + [0]) == nil)
        for (offset, byte) in [(0, 3), (2, 1), (3 + 61 + 4, 0), (3 + 61 + 4, 9), (3 + 61 + 5, 255)]
        {
            var altered = layout
            altered[offset] = UInt8(byte)
            #expect(decoded(altered) == nil, "\(offset)")
        }
    }

    // MARK: Peppers

    @Test func `a pepper changes the output, names itself, and is laid once`() throws {
        let ring = try Keyring.first(at: time(noon), entropy: .system)
        let bare = try Self.hash()
        let sealed = try ring.peppers.sealing(bare)
        #expect(sealed.layers == [try #require(ring.peppers.current)])
        #expect(Self.output(sealed) != Self.output(bare))
        #expect(try ring.peppers.sealing(sealed).text == sealed.text)
        let applied = try ring.peppers.applied(sealed.layers, to: Self.output(bare).span)
        #expect(bytes(applied) == Self.output(sealed))
        #expect(try Peppers.none.sealing(bare).text == bare.text)
    }

    @Test func `a second pepper lies over the first, and both are needed in their order`() throws {
        let first = try Keyring.first(at: time(noon), entropy: .system)
        let second = try Self.rotated(first, at: noon + 1)
        let bare = try Self.hash()
        let once = try first.peppers.sealing(bare)
        let twice = try second.peppers.sealing(once)
        #expect(twice.layers.count == 2 && twice.layers.first == once.layers.first)
        let read = try PasswordHash(twice.text)
        #expect(read.layers == twice.layers && read.text == twice.text)
        let output = Self.output(bare)
        #expect(
            bytes(try second.peppers.applied(twice.layers, to: output.span))
                == Self.output(twice))
        #expect(
            bytes(try second.peppers.applied(twice.layers.reversed(), to: output.span))
                != Self.output(twice))
        #expect(throws: PepperFailure.unknown(twice.layers[1])) {
            _ = try first.peppers.applied(twice.layers, to: output.span)
        }
    }

    @Test func `a hash takes sixteen peppers and no more`() throws {
        var ring = try Keyring.first(at: time(noon), entropy: .system)
        var hash = try ring.peppers.sealing(Self.hash())
        for round in 1..<PasswordHash.maximumLayers {
            ring = try Self.rotated(ring, at: noon + Int64(round))
            hash = try ring.peppers.sealing(hash)
        }
        #expect(hash.layers.count == PasswordHash.maximumLayers)
        #expect(try PasswordHash(hash.text).layers == hash.layers)
        ring = try Self.rotated(ring, at: noon + 100)
        #expect(throws: PepperFailure.tooManyLayers) { try ring.peppers.sealing(hash) }
        let longer = hash.text.replacing(",keyid=", with: ",keyid=AQIDBAUG")
        #expect(throws: PasswordHashRefusal.layers) { try PasswordHash(longer) }
    }

    @Test func `a hash under no, another or more than the current pepper is below policy`() throws {
        let first = try Keyring.first(at: time(noon), entropy: .system)
        let second = try Self.rotated(first, at: noon + 1)
        let bare = try Self.hash()
        let once = try first.peppers.sealing(bare)
        let twice = try second.peppers.sealing(once)
        let current = second.peppers.current
        #expect(bare.isBelow(.standard, pepper: current))
        #expect(once.isBelow(.standard, pepper: current))
        #expect(twice.isBelow(.standard, pepper: current), "collapses at the next sign-in")
        #expect(try !second.peppers.sealing(bare).isBelow(.standard, pepper: current))
        #expect(!bare.isBelow(.standard, pepper: nil))
    }

    // MARK: Look-up keys

    @Test func `a digest depends on key, domain and value`() throws {
        let rings = try (0..<2).map { _ in try Keyring.first(at: time(noon), entropy: .system) }
        let keys = try rings.map { try #require($0.lookUpKey) }
        let all = [
            try keys[0].digest(of: [1, 2], in: "a"), try keys[0].digest(of: [1, 2], in: "b"),
            try keys[0].digest(of: [1, 3], in: "a"), try keys[1].digest(of: [1, 2], in: "a"),
        ]
        #expect(Set(all).count == 4 && all.allSatisfy { $0.count == LookUpKey.byteCount })
        #expect(try keys[0].digest(of: [1, 2], in: "a") == all[0])
    }

    @Test func `spellings of one name share a counter, devices and users do not`() throws {
        let key = try #require(
            try Keyring.first(at: time(noon), entropy: .system).lookUpKey)
        let spellings = ["zoë", "ZOË", "zoe\u{308}", "ｚｏë"]
        let counters = try spellings.map { try AttemptKey(username($0), key: key) }
        #expect(Set(counters).count == 1)
        #expect(try AttemptKey(username("zoe"), key: key) != counters[0])
        let users = try (0..<2).map { _ in try UserID.random(from: .system) }
        let devices = try (0..<2).map { _ in DeviceID(try Identifier.random(from: .system)) }
        let all = try devices.flatMap { device in
            try users.map { try AttemptKey(device: device, of: $0, key: key) }
        }
        #expect(Set(all).count == 4)
    }
}

@Suite struct AttemptRuleTests {
    @Test func `five failures are free, then waits double from half a minute to an hour`() {
        let waits = (1...14).map { AttemptRule.waitSeconds(after: $0) }
        #expect(
            waits == [0, 0, 0, 0, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600])
        #expect(AttemptRule.waitSeconds(after: 0) == 0)
        #expect(AttemptRule.waitSeconds(after: .max) == 3600)
        #expect(AttemptRule.maximumFailures == 100, "NIST SP 800-63B-4 section 3.2.2")
    }
}
