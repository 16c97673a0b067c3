// Passwords as they are hashed: NFC, in UTF-8, whole, in memory that is wiped.

/// A password that someone typed, normalised and ready to be hashed.
///
/// Any text is a password: spaces, NUL and line ends are kept, nothing is trimmed, folded or cut off
/// (REQUIREMENTS PW-3, PW-4). Only NFC is applied, so that one text is one password whatever
/// keyboard or system composed its accents.
package struct Password: ~Copyable, Sendable {
    /// The longest password, as given and in NFC. Sixteen times what NIST SP 800-63B-4 asks to
    /// accept, and small enough that normalising it costs nothing beside hashing it.
    package static let maximumBytes = 1024

    private let bytes: SecretBytes

    /// Its length as NIST SP 800-63B-4 section 3.1.1.2 counts it: code points, after normalising.
    package let codePointCount: Int

    /// Normalises `utf8`, whose wiping stays the caller's duty.
    package init(_ utf8: Span<UInt8>) throws(PasswordRefusal) {
        guard utf8.count > 0 else { throw .empty }
        // Before normalising, which is where an attacker's megabytes would cost time.
        guard utf8.count <= Self.maximumBytes else { throw .tooLong }

        var count = 0
        let normalised = try SecretBytes(count: Self.maximumBytes) { span throws(PasswordRefusal) in
            do throws(UnicodeText.Failure) {
                count = try UnicodeText.map(.nfc, utf8, into: &span)
            } catch { throw PasswordRefusal(error) }
        }
        codePointCount = try normalised.withSpan { span throws(PasswordRefusal) in
            try Self.assignedCodePointCount(of: span.extracting(0..<count))
        }
        bytes = normalised.withSpan { SecretBytes(copying: $0.extracting(0..<count)) }
    }

    /// Lends the bytes that are hashed to `body`, which must not keep a copy.
    package borrowing func withSpan<Result: ~Copyable, E: Error>(
        _ body: (Span<UInt8>) throws(E) -> Result
    ) throws(E) -> Result {
        try bytes.withSpan(body)
    }

    /// The password in lower case and NFC, in which lists and words are compared with it. Never hashed: a
    /// password is what was typed (REQUIREMENTS PW-3). Where lower case does not fit `maximumBytes`, as typed:
    /// no list has anything that long.
    package borrowing func folded() -> SecretBytes {
        var count = 0
        let folded = try? SecretBytes(count: Self.maximumBytes) {
            span throws(UnicodeText.Failure) in
            let lower = try SecretBytes(count: Self.maximumBytes) {
                span throws(UnicodeText.Failure) in
                count = try bytes.withSpan { typed throws(UnicodeText.Failure) in
                    try UnicodeText.map(.lowerCase, typed, into: &span)
                }
            }
            count = try lower.withSpan { lower throws(UnicodeText.Failure) in
                try UnicodeText.map(.nfc, lower.extracting(0..<count), into: &span)
            }
        }
        guard let folded else { return bytes.copy() }
        return folded.withSpan { SecretBytes(copying: $0.extracting(0..<count)) }
    }

    /// How many code points there are; all must be assigned, since a later Unicode may normalise the
    /// others differently, and the password would then no longer match its hash.
    private static func assignedCodePointCount(
        of utf8: Span<UInt8>
    ) throws(PasswordRefusal) -> Int {
        guard let text = try? UTF8Span(validating: utf8) else { throw .invalidUTF8 }
        var scalars = text.makeUnicodeScalarIterator()
        var count = 0
        while let scalar = scalars.next() {
            guard CodePointProperties(of: scalar).contains(.assigned) else {
                throw .unassignedCharacter
            }
            count += 1
        }
        return count
    }
}
