// Tokens: what opens, and that everything else is refused for its own reason.

import CAllocationCount
import GatehouseCore
import GatehouseTestSupport
import Testing

/// A ring with one key of each state but revoked, and a revoked one.
private func ring() throws -> Keyring {
    var ring = try Keyring.first(at: time(noon), entropy: .seeded(1))
    ring = try ring.addingPendingKey(at: time(noon), entropy: .seeded(2))
    ring = try ring.activatingPendingKeys(at: time(noon))
    return try ring.addingPendingKey(at: time(noon), entropy: .seeded(3))
}

private func cipher(
    _ ring: Keyring, audience name: String = "test",
    purposes: [TokenPurpose] = TokenPurpose.allCases
) throws -> TokenCipher {
    try TokenCipher(keyring: ring, audience: audience(name), purposes: purposes)
}

/// What a refusal says; nil when the token opened.
private func defect(
    _ cipher: TokenCipher, _ text: [UInt8], _ purpose: TokenPurpose = .session,
    _ transport: TokenTransport = .cookie
) -> TokenDefect? {
    switch cipher.open(text.span, purpose: purpose, transport: transport, { _ in true }) {
    case .opened: nil
    case .refused(let defect, _): defect
    }
}

private func bytes(_ text: [UInt8]) -> [UInt8] {
    guard let bytes = Base64URL.bytes(text) else { preconditionFailure("not base64url") }
    return bytes
}

@Suite struct TokenTests {
    @Test func `a session token opens to the claims that were sealed`() throws {
        let cipher = try cipher(try ring())
        let claims = Claims.sample(name: "zoë", epoch: 7, isRemembered: true)
        let text = try cipher.sealSession(claims, transport: .cookie, entropy: .system)
        guard case .opened(let opened, let key) = cipher.openSession(text.span, transport: .cookie)
        else { Issue.record("it does not open"); return }
        #expect(opened.encoded() == claims.encoded())
        #expect(opened.username == username("zoë"))
        #expect(key == cipher.sealingKey)
    }

    @Test(arguments: [KeyState.active, .pending, .retiring])
    func `a token under a key that is not revoked opens`(_ state: KeyState) throws {
        let ring = try ring()
        let sealed = try #require(ring.keys.first { $0.state == state })
        // A ring in which that key is the active one seals; the other ring opens.
        let sealing = try Keyring(
            version: 9,
            keys: [
                TokenKey(
                    id: sealed.id, state: .active, created: sealed.created, activated: time(noon),
                    ended: nil, secret: sealed.secret)
            ])
        let text = try cipher(sealing).sealSession(
            .sample(), transport: .cookie, entropy: .system)
        #expect(defect(try cipher(ring), text) == nil)
    }

    @Test func `a token under a revoked key is refused as that, and no other key is tried`() throws
    {
        let before = try ring()
        let text = try cipher(before).sealSession(.sample(), transport: .cookie, entropy: .system)
        let active = try #require(before.active?.id)
        let (after, _) = try #require(
            try before.revoking(at: time(noon), entropy: .system) { $0.id == active })
        #expect(defect(try cipher(after), text) == .revokedKey)
    }

    @Test func `ciphertext of one key under the id of another fails, with both keys loaded`() throws
    {
        let ring = try ring()
        let cipher = try cipher(ring)
        let text = try cipher.sealSession(.sample(), transport: .cookie, entropy: .system)
        for key in ring.keys where key.id != ring.active?.id {
            var token = bytes(text)
            token.replaceSubrange(1..<5, with: key.id.rawValue.bigEndianBytes)
            #expect(defect(cipher, Base64URL.text(token)) == .authentication)
        }
    }

    @Test func `an unknown key id, zero and the largest are unknown`() throws {
        let cipher = try cipher(try ring())
        let text = try cipher.sealSession(.sample(), transport: .cookie, entropy: .system)
        for id in [0, 1, UInt32.max] {
            var token = bytes(text)
            token.replaceSubrange(1..<5, with: id.bigEndianBytes)
            #expect(defect(cipher, Base64URL.text(token)) == .unknownKey)
        }
    }

    @Test(arguments: [0, 2, 0x81, 0xFF] as [UInt8])
    func `another format version is refused`(_ version: UInt8) throws {
        let cipher = try cipher(try ring())
        var token = bytes(
            try cipher.sealSession(.sample(), transport: .cookie, entropy: .system))
        token[0] = version
        #expect(defect(cipher, Base64URL.text(token)) == .version)
    }

    @Test func `each flipped bit is refused`() throws {
        let cipher = try cipher(try ring())
        let token = bytes(
            try cipher.sealSession(.sample(), transport: .cookie, entropy: .system))
        for bit in 0..<(token.count * 8) {
            var changed = token
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            let found = defect(cipher, Base64URL.text(changed))
            let expected: TokenDefect =
                switch bit / 8 {
                case 0: .version
                case 1..<5: .unknownKey
                default: .authentication
                }
            #expect(found == expected, "bit \(bit)")
        }
    }

    @Test func `each flipped bit of the text is refused`() throws {
        let cipher = try cipher(try ring())
        let text = try cipher.sealSession(.sample(), transport: .cookie, entropy: .system)
        for bit in 0..<(text.count * 8) {
            var changed = text
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(defect(cipher, changed) != nil, "bit \(bit)")
        }
    }

    @Test func `each truncation and each extension is refused`() throws {
        let cipher = try cipher(try ring())
        let text = try cipher.sealSession(.sample(), transport: .cookie, entropy: .system)
        for count in 0..<text.count {
            #expect(defect(cipher, Array(text[..<count])) != nil, "\(count) characters")
            #expect(defect(cipher, Array(text[count...])) != nil || count == 0)
        }
        for count in 1...(TokenFormat.maximumCharacters + 8) {
            let longer = text + [UInt8](repeating: UInt8(ascii: "A"), count: count)
            #expect(defect(cipher, longer) != nil, "\(count) more")
        }
    }

    @Test func `a spliced token is refused`() throws {
        let cipher = try cipher(try ring())
        let one = try cipher.sealSession(.sample(), transport: .cookie, entropy: .system)
        let two = try cipher.sealSession(
            .sample(session: 9), transport: .cookie, entropy: .system)
        // The first eight characters are the header, which both have, and a byte of the nonce.
        for split in stride(from: 8, to: one.count - 4, by: 4) {
            #expect(defect(cipher, Array(one[..<split] + two[split...])) != nil, "at \(split)")
        }
    }

    @Test func `a token of one purpose, transport or audience opens nowhere else`() throws {
        let ring = try ring()
        let here = try cipher(ring)
        let elsewhere = try cipher(ring, audience: "test2")
        for purpose in TokenPurpose.allCases {
            for transport in TokenTransport.allCases {
                let text = try here.seal(
                    [1, 2, 3].span, purpose: purpose, transport: transport, entropy: .system)
                for other in TokenPurpose.allCases {
                    for otherTransport in TokenTransport.allCases {
                        let isSame = other == purpose && otherTransport == transport
                        #expect(
                            defect(here, text, other, otherTransport)
                                == (isSame ? nil : .authentication))
                        #expect(defect(elsewhere, text, other, otherTransport) == .authentication)
                    }
                }
            }
        }
    }

    @Test func `a ring with one key for all purposes would be noticed`() throws {
        // Each purpose has a key of its own, not only associated data of its own: the same content
        // and nonce under the same associated data differ. Checked through the derived keys.
        let secret = try #require(try ring().active?.secret)
        let derived = try TokenPurpose.allCases.map { purpose in
            try secret.withSpan { span in
                try hkdfSHA256(
                    secret: span, info: Array("gatehouse/v1/token/\(purpose.rawValue)".utf8),
                    byteCount: 32
                ).withSpan { span in span.indices.map { span[$0] } }
            }
        }
        #expect(Set(derived).count == TokenPurpose.allCases.count)
    }

    @Test func `content of one byte and of the most that fits is sealed, none and one more not`()
        throws
    {
        let cipher = try cipher(try ring())
        let most = TokenFormat.maximumPlaintextBytes
        for count in [1, most] {
            let content = [UInt8](repeating: 7, count: count)
            let text = try cipher.seal(
                content.span, purpose: .form, transport: .cookie, entropy: .system)
            #expect(text.count <= TokenFormat.maximumCharacters)
            #expect(text.count >= TokenFormat.minimumCharacters)
            #expect(defect(cipher, text, .form) == nil)
        }
        for count in [0, most + 1] {
            let content = [UInt8](repeating: 7, count: count)
            #expect(throws: SealingFailure.tooLarge) {
                try cipher.seal(content.span, purpose: .form, transport: .cookie, entropy: .system)
            }
        }
    }

    @Test func `a text longer or shorter than any token is refused by its length`() throws {
        let cipher = try cipher(try ring())
        for count in [0, 1, TokenFormat.minimumCharacters - 1, TokenFormat.maximumCharacters + 1] {
            #expect(defect(cipher, [UInt8](repeating: 65, count: count)) == .length)
        }
        for count in [TokenFormat.minimumCharacters, TokenFormat.maximumCharacters] {
            #expect(defect(cipher, [UInt8](repeating: 65, count: count)) != .length)
        }
    }

    @Test func `nothing is sealed without randomness or without an active key`() throws {
        let ring = try ring()
        let working = try cipher(ring)
        #expect(throws: SealingFailure.entropy) {
            try working.sealSession(.sample(), transport: .cookie, entropy: .broken)
        }
        let withoutActive = try Keyring(version: 9, keys: ring.keys.filter { $0.state != .active })
        let idle = try cipher(withoutActive)
        #expect(idle.sealingKey == nil)
        #expect(throws: SealingFailure.noActiveKey) {
            try idle.sealSession(.sample(), transport: .cookie, entropy: .system)
        }
    }

    @Test func `a million seals use a million nonces`() throws {
        let cipher = try cipher(try ring(), purposes: [.form])
        var nonces = Set<[UInt8]>()
        let count = 1 << 14  // the suite of long runs takes 2^20
        for _ in 0..<count {
            let token = bytes(
                try cipher.seal([1].span, purpose: .form, transport: .cookie, entropy: .system))
            nonces.insert(Array(token[5..<29]))
        }
        #expect(nonces.count == count)
    }

    @Test func `opening a token allocates nothing`() throws {
        let cipher = try cipher(try ring())
        let good = try cipher.sealSession(.sample(), transport: .cookie, entropy: .system)
        var forged = good
        forged[100] = forged[100] == 65 ? 66 : 65
        func allocations(_ text: [UInt8], opens: Bool) -> UInt64 {
            let before = gatehouse_allocation_count()
            for _ in 0..<100 {
                let opening = cipher.openSession(text.span, transport: .cookie)
                if case .opened = opening {
                    if !opens { return .max }
                } else if opens {
                    return .max
                }
            }
            return gatehouse_allocation_count() - before
        }
        // The first calls may set up what libcrypto keeps.
        _ = allocations(good, opens: true)
        _ = allocations(forged, opens: false)
        #expect(allocations(good, opens: true) == 0)
        #expect(allocations(forged, opens: false) == 0)
    }

    @Test func `the allocation counter counts`() {
        let before = gatehouse_allocation_count()
        let array = [UInt8](repeating: 1, count: 10_000 + Int(before % 2))
        #expect(gatehouse_allocation_count() > before)
        #expect(array.count >= 10_000)
    }

    /// What an earlier release sealed must open: these are never changed or removed.
    @Test(arguments: Vector.read("golden-tokens.txt"))
    func `a golden token opens`(_ vector: Vector) throws {
        let key = TokenKey(
            id: try #require(KeyID(text: vector.text("key_id"))), state: .retiring,
            created: time(1), activated: time(1), ended: time(2),
            secret: KeySecret(SecretBytes(copying: vector.bytes("key").span)))
        let others = try Keyring.first(at: time(3), entropy: .system).keys
        let cipher = try cipher(
            try Keyring(version: 1, keys: [key] + others), audience: vector.text("audience"))
        let transport = try #require(TokenTransport(rawValue: vector.text("transport")))
        let opening = cipher.openSession(
            Array(vector.text("token").utf8).span, transport: transport)
        guard case .opened(let claims, _) = opening else {
            Issue.record("it does not open: \(opening)")
            return
        }
        #expect(claims.encoded() == vector.bytes("claims"))
        #expect(claims.username?.text == vector.text("username"))
        #expect(claims.actor?.text == vector.fields["actor"])
    }
}
