// The body of a form, decoded strictly, in memory that is wiped.

import GatehouseCore

/// The fields of an `application/x-www-form-urlencoded` body (URL Standard, section 5), by name.
///
/// Stricter than the standard, which makes something of any bytes: every field has a name and `=`,
/// no name is there twice, percent-encoding and UTF-8 are whole, and a name has no control
/// characters. A value may hold any text, NUL and line ends among it, since passwords do
/// (REQUIREMENTS PW-3); what a field takes is for the field to say.
///
/// All values lie in one piece of memory, which is wiped when the form ends (REQUIREMENTS SW-7).
package struct FormBody: ~Copyable, Sendable {
    /// The largest body, encoded (REQUIREMENTS CSRF-4). Encoding makes a byte three at most, so two
    /// of the longest passwords and the longest return target take 12 KiB; a name and a form token
    /// have room beside them.
    package static let maximumBytes = 16 * 1024

    /// The most fields: registering has ten and a profile of at most 32, and each name is compared with all
    /// before it.
    package static let maximumFields = 64

    private struct Field {
        let name: [UInt8]
        /// Where the value stands in `decoded`.
        let value: Range<Int>
    }

    private let decoded: SecretBytes
    private let fields: [Field]

    /// Decodes `body`, whose wiping stays the caller's duty.
    package init(
        _ body: Span<UInt8>, maximumBytes: Int = FormBody.maximumBytes
    ) throws(FormRefusal) {
        guard body.count <= maximumBytes else { throw .tooLarge }
        var fields: [Field] = []
        // Decoding never makes a text longer; an empty form still has a byte of memory.
        decoded = try SecretBytes(count: max(body.count, 1)) { output throws(FormRefusal) in
            guard body.count > 0 else { return }
            var written = 0
            var start = 0
            while start <= body.count {
                guard fields.count < Self.maximumFields else { throw .tooManyFields }
                let encoded = EncodedField(startingAt: start, in: body)
                let field = try Self.field(encoded, in: body, into: &output, at: written)
                guard !fields.contains(where: { $0.name == field.name }) else {
                    throw .repeatedField
                }
                written = field.value.upperBound
                start = encoded.end + 1
                fields.append(field)
            }
        }
        self.fields = fields
    }

    /// Decodes `body` and overwrites it, also when it is refused. The array must be the only one
    /// with these bytes: of a shared one Swift would wipe a copy.
    package init(
        wiping body: inout [UInt8], maximumBytes: Int = FormBody.maximumBytes
    ) throws(FormRefusal) {
        defer { unsafe body.withUnsafeMutableBytes { unsafe wipe($0) } }
        try self.init(body.span, maximumBytes: maximumBytes)
    }

    private static func field(
        _ encoded: EncodedField, in body: Span<UInt8>, into output: inout MutableSpan<UInt8>,
        at start: Int
    ) throws(FormRefusal) -> Field {
        guard let value = encoded.value else { throw .noValue }
        guard !encoded.name.isEmpty else { throw .noName }
        let nameEnd = try decodeFormText(body, encoded.name, into: &output, at: start)
        var name: [UInt8] = []
        for index in start..<nameEnd { name.append(output[index]) }
        guard !name.contains(where: \.isASCIIControl) else { throw .controlInName }
        let end = try decodeFormText(body, value, into: &output, at: nameEnd)
        return Field(name: name, value: nameEnd..<end)
    }

    /// How many fields there are, without those that were taken.
    package var count: Int { fields.count }

    /// The fields' names that begin with `prefix`.
    package borrowing func names(withPrefix prefix: String) -> [String] {
        fields.filter { $0.name.starts(with: prefix.utf8) }
            .map { String(decoding: $0.name, as: UTF8.self) }
    }

    /// Lends a field's value, valid UTF-8, to `body`, which must not keep a copy of a secret.
    ///
    /// - Returns: what `body` returns; nil without such a field.
    package borrowing func withValue<Result: ~Copyable, E: Error>(
        _ name: String, _ body: (Span<UInt8>) throws(E) -> Result
    ) throws(E) -> Result? {
        guard let range = range(of: name) else { return nil }
        return try decoded.withSpan { (bytes: Span<UInt8>) throws(E) -> Result in
            try body(bytes.extracting(range))
        }
    }

    /// A copy of a value, valid UTF-8; nil without such a field. Wiping that of a secret is the
    /// caller's duty.
    package borrowing func value(_ name: String) -> [UInt8]? {
        withValue(name) { bytes in bytes.indices.map { bytes[$0] } }
    }

    /// Names compare byte by byte (REQUIREMENTS USR-4).
    private borrowing func range(of name: String) -> Range<Int>? {
        fields.first { name.utf8.elementsEqual($0.name) }?.value
    }
}
