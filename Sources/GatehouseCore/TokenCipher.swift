// Seals and opens tokens under a keyring.

/// The keys of a ring, made ready for one thread. Opening allocates nothing and takes no lock.
///
/// Not Sendable: each event loop, and each sealer, makes its own from the immutable ``Keyring``.
@safe package final class TokenCipher {
    /// What one key and purpose need. The header that ends the associated data names the key, so that
    /// all of it is known before any token comes.
    private struct Entry {
        let keyID: UInt32
        let purpose: TokenPurpose
        let cipher: XAES256GCM
        /// For cookies, then for bearer tokens, in one piece.
        private let associatedData: [UInt8]
        private let bearerStart: Int

        init(
            _ key: KeyID, _ purpose: TokenPurpose, cipher: XAES256GCM, audience: Audience
        ) {
            keyID = key.rawValue
            self.purpose = purpose
            self.cipher = cipher
            func data(_ transport: TokenTransport) -> [UInt8] {
                TokenFormat.associatedDataPrefix(
                    audience: audience, purpose: purpose, transport: transport)
                    + TokenFormat.header(key)
            }
            associatedData = data(.cookie) + data(.bearer)
            bearerStart = data(.cookie).count
        }

        func withAssociatedData(
            _ transport: TokenTransport, _ body: (UnsafeBufferPointer<UInt8>) -> Bool
        ) -> Bool {
            unsafe associatedData.withUnsafeBufferPointer { both in
                unsafe body(
                    UnsafeBufferPointer(
                        rebasing: transport == .cookie
                            ? both[..<bearerStart] : both[bearerStart...]))
            }
        }
    }

    private let entries: [Entry]
    private let revoked: [UInt32]
    private let active: KeyID?
    private let pending: UInt32?
    /// Whether the key of the token that was opened last, or is being opened, is pending in this ring:
    /// another node is ahead of this one.
    package private(set) var openedUnderPendingKey = false
    private let scratch: UnsafeMutableBufferPointer<UInt8>
    /// Tokens opened since they were last taken, for each entry.
    private let opened: UnsafeMutableBufferPointer<UInt64>

    private static let plaintextOffset = TokenFormat.maximumBytes
    private static let scratchBytes = plaintextOffset + TokenFormat.maximumPlaintextBytes

    /// - Parameter purposes: those that this cipher is to serve; a key is derived for each.
    /// - Throws: `LibCryptoError` when libcrypto has no memory.
    package init(
        keyring: Keyring, audience: Audience, purposes: [TokenPurpose]
    ) throws(LibCryptoError) {
        var entries: [Entry] = []
        for key in keyring.keys {
            guard let secret = key.secret else { continue }
            for purpose in purposes {
                entries.append(
                    Entry(
                        key.id, purpose, cipher: try secret.key(for: purpose), audience: audience))
            }
        }
        self.entries = entries
        revoked = keyring.keys.filter { $0.state == .revoked }.map(\.id.rawValue)
        active = keyring.active?.id
        pending = keyring.pending?.id.rawValue
        // SAFETY: owned by this object and freed in deinit.
        unsafe scratch = UnsafeMutableBufferPointer(
            start: SecretMemory.bytes(Self.scratchBytes), count: Self.scratchBytes)
        // SAFETY: as large as `entries`, owned by this object and freed in deinit.
        unsafe opened = .allocate(capacity: entries.count)
        unsafe opened.initialize(repeating: 0)
    }

    deinit {
        unsafe SecretMemory.free(scratch.baseAddress)
        unsafe opened.deallocate()
    }

    /// Opens a token and lends its content to `body`, or says what is wrong with it.
    ///
    /// Exactly one key is tried, the one that the token names (REQUIREMENTS CK-9).
    package func open<Content>(
        _ text: Span<UInt8>, purpose: TokenPurpose, transport: TokenTransport,
        _ body: (Span<UInt8>) -> Content?
    ) -> TokenOpening<Content> {
        guard
            (TokenFormat.minimumCharacters...TokenFormat.maximumCharacters).contains(text.count)
        else { return .refused(.length, nil) }
        // SAFETY: the two regions of the scratch do not overlap, and are as large as the largest token
        // and content.
        guard let token = unsafe scratch.baseAddress else { return .refused(.length, nil) }
        let decoded = unsafe text.withUnsafeBufferPointer {
            unsafe Base64URL.decode(
                $0, into: UnsafeMutableBufferPointer(start: token, count: TokenFormat.maximumBytes))
        }
        guard let count = decoded else { return .refused(.encoding, nil) }
        guard unsafe token[0] == TokenFormat.version else { return .refused(.version, nil) }
        let header = unsafe Span(
            _unsafeElements: UnsafeBufferPointer(start: token, count: TokenFormat.headerBytes))
        let number = UInt32(bigEndianBytes: header, at: 1)
        guard let keyID = KeyID(rawValue: number) else { return .refused(.unknownKey, nil) }
        guard let index = index(number, purpose) else {
            return .refused(revoked.contains(number) ? .revokedKey : .unknownKey, keyID)
        }

        let plaintext = unsafe token + Self.plaintextOffset
        let plaintextCount = count - TokenFormat.overheadBytes
        let authentic = unsafe entries[index].withAssociatedData(transport) { associatedData in
            unsafe entries[index].cipher.open(
                nonce: token + TokenFormat.nonceOffset,
                sealed: UnsafeBufferPointer(
                    start: token + TokenFormat.ciphertextOffset,
                    count: count - TokenFormat.ciphertextOffset),
                associatedData: associatedData, into: plaintext)
        }
        guard authentic else { return .refused(.authentication, keyID) }
        openedUnderPendingKey = number == pending
        let span = unsafe Span(
            _unsafeElements: UnsafeBufferPointer(start: plaintext, count: plaintextCount))
        guard let content = body(span) else { return .refused(.content, keyID) }
        // SAFETY: `opened` is as large as `entries`.
        unsafe opened[index] &+= 1
        return .opened(content, keyID)
    }

    /// Opens a session token.
    package func openSession(
        _ text: Span<UInt8>, transport: TokenTransport
    ) -> TokenOpening<Claims> {
        open(text, purpose: .session, transport: transport) { Claims($0) }
    }

    /// Moves the counts of what was opened to `tally`.
    package func takeOpened(into tally: inout KeyTally) {
        for index in entries.indices {
            guard let key = KeyID(rawValue: entries[index].keyID) else { continue }
            // SAFETY: `opened` is as large as `entries`.
            tally.noteOpened(unsafe opened[index], by: key)
            unsafe opened[index] = 0
        }
    }

    /// The key that the next token is sealed under, nil when nothing may be sealed.
    package var sealingKey: KeyID? { active }

    /// Seals `content` under the active key with a fresh nonce, as text.
    package func seal(
        _ content: Span<UInt8>, purpose: TokenPurpose, transport: TokenTransport, entropy: Entropy
    ) throws(SealingFailure) -> [UInt8] {
        guard (1...TokenFormat.maximumPlaintextBytes).contains(content.count) else {
            throw .tooLarge
        }
        guard let active, let index = index(active.rawValue, purpose) else { throw .noActiveKey }
        let entry = entries[index]
        let nonce: [UInt8]
        do { nonce = try entropy.bytes(XAES256GCM.nonceBytes) } catch { throw .entropy }

        var token = TokenFormat.header(active) + nonce
        token += [UInt8](repeating: 0, count: content.count + XAES256GCM.tagBytes)
        let done = unsafe token.withUnsafeMutableBufferPointer { out in
            unsafe nonce.withUnsafeBufferPointer { nonce in
                unsafe content.withUnsafeBufferPointer { plaintext in
                    unsafe entry.withAssociatedData(transport) { associated in
                        guard let output = out.baseAddress, let nonce = nonce.baseAddress else {
                            return false
                        }
                        // SAFETY: `token` has room for header, nonce, ciphertext and tag.
                        return unsafe entry.cipher.seal(
                            nonce: nonce, plaintext: plaintext, associatedData: associated,
                            into: output + TokenFormat.ciphertextOffset)
                    }
                }
            }
        }
        guard done else { throw .libCrypto }
        return Base64URL.encode(token.span)
    }

    /// Seals a session token.
    package func sealSession(
        _ claims: Claims, transport: TokenTransport, entropy: Entropy
    ) throws(SealingFailure) -> [UInt8] {
        try seal(
            claims.encoded().span, purpose: .session, transport: transport, entropy: entropy)
    }

    /// Where the key that is selected stands; a ring has few.
    private func index(_ keyID: UInt32, _ purpose: TokenPurpose) -> Int? {
        for index in entries.indices
        where entries[index].keyID == keyID && entries[index].purpose == purpose {
            return index
        }
        return nil
    }
}

/// What came of opening a token.
package enum TokenOpening<Content> {
    case opened(Content, KeyID)
    /// With the key that the token names, once that could be read.
    case refused(TokenDefect, KeyID?)
}
