// The rules that hold for every input: nothing opens but what was sealed, for what it was sealed.

import FuzzSupport
import GatehouseCore

/// Checks one input after the other.
final class TokenRules {
    private let tokens = SealedTokens()
    private let cipher: TokenCipher

    init() {
        do {
            cipher = try TokenCipher(
                keyring: tokens.snapshot.keyring, audience: tokens.audience, purposes: [.session])
        } catch {
            report("no cipher: \(error)", [])
        }
        for token in tokens.all where token.worth == .good || token.worth == .expired {
            guard isOpened(token.text, transport: token.transport) else {
                report("a sealed token opens", token.name)
            }
        }
    }

    func check(_ input: [UInt8]) {
        checkText(input)
        checkText(named(input))
        checkClaims(input)
        checkSealing(input)
        checkEdits(input)
    }

    // MARK: Text

    /// `input` with the names of tokens replaced.
    private func named(_ input: [UInt8]) -> [UInt8] {
        guard let brace = input.firstIndex(of: UInt8(ascii: "{")) else { return input }
        let rest = input[brace...]
        guard let token = tokens.all.first(where: { rest.starts(with: $0.name) }) else {
            return input
        }
        return input[..<brace] + token.text + rest.dropFirst(token.name.count)
    }

    private func checkText(_ text: [UInt8]) {
        let expected = ReferenceBase64URL.decode(text)
        guard Base64URL.decode(text.span) == expected else {
            report("base64url as RFC 4648 has it", text)
        }
        if let expected, Base64URL.encode(expected.span) != text {
            report("one spelling", text)
        }
        let keyID = expected.flatMap { bytes -> UInt32? in
            guard bytes.count >= 5 else { return nil }
            return bytes[1..<5].reduce(0) { $0 << 8 | UInt32($1) }
        }
        guard TokenText.keyID(text)?.rawValue == (keyID == 0 ? nil : keyID) else {
            report("the key id", text)
        }
        for transport in TokenTransport.allCases {
            let known = tokens.all.first { $0.text == text }
            let opens =
                known.map { token in
                    token.transport == transport
                        && (token.worth == .good || token.worth == .expired
                            || token.name.elementsEqual("{future}".utf8)
                            || token.name.elementsEqual("{revoked}".utf8))
                } ?? false
            guard isOpened(text, transport: transport) == opens else {
                report("opens: \(opens), as \(transport)", text)
            }
        }
    }

    private func isOpened(_ text: [UInt8], transport: TokenTransport) -> Bool {
        guard case .opened(let claims, _) = cipher.openSession(text.span, transport: transport)
        else { return false }
        guard tokens.all.contains(where: { $0.claims.encoded() == claims.encoded() }) else {
            report("the claims that were sealed", text)
        }
        return true
    }

    // MARK: Content

    private func checkClaims(_ bytes: [UInt8]) {
        let claims = Claims(bytes.span)
        guard (claims != nil) == ReferenceClaims.isWellFormed(bytes) else {
            report("claims as the table has them", bytes)
        }
        if let claims, claims.encoded() != bytes { report("one encoding of claims", bytes) }
    }

    /// Whatever is sealed comes back as it was, and is taken for claims only if it is some.
    private func checkSealing(_ content: [UInt8]) {
        let text: [UInt8]
        do {
            text = try cipher.seal(
                content.span, purpose: .session, transport: .cookie, entropy: tokens.entropy)
        } catch {
            let fits = (1...TokenFormat.maximumPlaintextBytes).contains(content.count)
            guard !fits else { report("sealed: \(error)", content) }
            return
        }
        guard text.count <= TokenFormat.maximumCharacters else { report("512 characters", text) }
        let opening = cipher.open(text.span, purpose: .session, transport: .cookie) { span in
            var copy: [UInt8] = []
            for index in span.indices { copy.append(span[index]) }
            return copy
        }
        guard case .opened(content, _) = opening else { report("what was sealed opens", content) }
        switch cipher.openSession(text.span, transport: .cookie) {
        case .opened:
            guard ReferenceClaims.isWellFormed(content) else {
                report("only claims open as claims", content)
            }
        case .refused(let defect, _):
            guard defect == .content, !ReferenceClaims.isWellFormed(content) else {
                report("claims open as claims, not \(defect)", content)
            }
        }
    }

    // MARK: Mutations of what was sealed

    /// The input as a list of edits, three bytes each: to the good token's text, and to its bytes.
    private func checkEdits(_ input: [UInt8]) {
        let original = tokens.all[0].text
        guard input.count >= 3, let decoded = Base64URL.decode(original.span) else { return }
        expectRefused(edited(original, by: input), unlike: original)
        expectRefused(Base64URL.encode(edited(decoded, by: input).span), unlike: original)
    }

    private func edited(_ original: [UInt8], by edits: [UInt8]) -> [UInt8] {
        var bytes = original
        for start in stride(from: 0, to: edits.count - 2, by: 3).prefix(8) {
            guard !bytes.isEmpty else { break }
            let place = (Int(edits[start]) << 1 | Int(edits[start + 1]) & 1) % bytes.count
            let value = edits[start + 2]
            switch edits[start + 1] >> 1 & 0b11 {
            case 0: bytes[place] ^= value
            case 1: bytes[place] = value
            case 2: bytes.remove(at: place)
            default: bytes.insert(value, at: place)
            }
        }
        return bytes
    }

    private func expectRefused(_ text: [UInt8], unlike original: [UInt8]) {
        guard text != original else { return }
        for transport in TokenTransport.allCases where isOpened(text, transport: transport) {
            guard tokens.all.contains(where: { $0.text == text }) else {
                report("an altered token does not open", text)
            }
        }
    }
}
