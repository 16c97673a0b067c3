// The few query fields that pages take, decoded strictly.

/// The fields of a query that a page asks for by name, and no others.
///
/// A field that nobody asked for is not decoded and not judged: a proxy may write the address a
/// browser wanted behind `return_to=` without encoding it, and then that address's own fields
/// follow ours. A field that is asked for is held to the rules of ``FormBody``, and is there once.
package struct QueryString: Sendable {
    /// The longest query, encoded: a return target of `ReturnTarget.maximumBytes`, three times as
    /// long when every byte is encoded, and a token beside it.
    package static let maximumBytes = 8 * 1024

    private let fields: [(name: [UInt8], value: [UInt8])]

    /// - Parameters:
    ///   - query: what stands between `?` and the end, without `?`.
    ///   - names: the fields that are asked for.
    package init(_ query: Span<UInt8>, names: [String]) throws(FormRefusal) {
        guard query.count <= Self.maximumBytes else { throw .queryTooLarge }
        var fields: [(name: [UInt8], value: [UInt8])] = []
        var start = 0
        while start < query.count {
            let encoded = EncodedField(startingAt: start, in: query)
            start = encoded.end + 1
            guard let name = try? Self.decode(query, encoded.name),
                names.contains(where: { $0.utf8.elementsEqual(name) })
            else { continue }
            guard !fields.contains(where: { $0.name == name }) else { throw .repeatedField }
            guard let value = encoded.value else { throw .noValue }
            fields.append((name, try Self.decode(query, value)))
        }
        self.fields = fields
    }

    /// A field's value, valid UTF-8; nil without such a field.
    package func value(_ name: String) -> [UInt8]? {
        fields.first { name.utf8.elementsEqual($0.name) }?.value
    }

    private static func decode(
        _ query: Span<UInt8>, _ range: Range<Int>
    ) throws(FormRefusal) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: range.count)
        var span = bytes.mutableSpan
        let end = try decodeFormText(query, range, into: &span, at: 0)
        bytes.removeSubrange(end...)
        return bytes
    }
}
