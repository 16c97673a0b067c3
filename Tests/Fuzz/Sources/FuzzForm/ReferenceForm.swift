// application/x-www-form-urlencoded, decoded in the plainest way, to the rules of FormBody.

struct ReferenceForm {
    typealias Field = (name: [UInt8], value: [UInt8])

    /// Every field in order; nil when the text is to be refused.
    static func fields(_ text: [UInt8]) -> [Field]? {
        guard !text.isEmpty else { return [] }
        var fields: [Field] = []
        for piece in split(text[...], at: UInt8(ascii: "&")) {
            guard let equals = piece.firstIndex(of: UInt8(ascii: "=")),
                let name = decoded(piece[..<equals]), !name.isEmpty,
                let value = decoded(piece[(equals + 1)...]),
                !name.contains(where: { $0 < 0x20 || $0 == 0x7F }),
                !fields.contains(where: { $0.name == name })
            else { return nil }
            fields.append((name, value))
        }
        return fields
    }

    /// The fields of a query that have one of `names`; nil when one of them is to be refused.
    static func query(_ text: [UInt8], names: [String]) -> [Field]? {
        var fields: [Field] = []
        for piece in split(text[...], at: UInt8(ascii: "&")) {
            let equals = piece.firstIndex(of: UInt8(ascii: "="))
            guard let name = decoded(piece[..<(equals ?? piece.endIndex)]),
                names.contains(where: { $0.utf8.elementsEqual(name) })
            else { continue }
            guard let equals, let value = decoded(piece[(equals + 1)...]),
                !fields.contains(where: { $0.name == name })
            else { return nil }
            fields.append((name, value))
        }
        return fields
    }

    /// Nil unless the percent-encoding and the UTF-8 are whole.
    static func decoded(_ text: ArraySlice<UInt8>) -> [UInt8]? {
        var bytes: [UInt8] = []
        var rest = text
        while let first = rest.popFirst() {
            if first == UInt8(ascii: "%") {
                let digits = rest.prefix(2)
                // UInt8 takes a sign.
                guard digits.count == 2, !digits.contains(where: "+-".utf8.contains),
                    let byte = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
                else { return nil }
                bytes.append(byte)
                rest.removeFirst(2)
            } else {
                bytes.append(first == UInt8(ascii: "+") ? UInt8(ascii: " ") : first)
            }
        }
        return String(validating: bytes, as: UTF8.self) == nil ? nil : bytes
    }

    private static func split(_ text: ArraySlice<UInt8>, at byte: UInt8) -> [ArraySlice<UInt8>] {
        text.split(separator: byte, omittingEmptySubsequences: false)
    }
}
