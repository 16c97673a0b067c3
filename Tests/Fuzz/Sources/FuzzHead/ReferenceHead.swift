// A third reader of heads, written for nothing but to be read: the check contract, rule by rule.

/// What the check contract says of a head.
struct ReferenceHead {
    enum Reading {
        /// There is no empty line yet; whether it may still become a head is not looked at.
        case unfinished
        /// For what reason.
        case refused(String)
        case head(ReferenceHead)
    }

    static let maximumBytes = 16_384
    static let maximumFields = 64

    let method: ArraySlice<UInt8>
    let target: ArraySlice<UInt8>
    let isHTTP10: Bool
    let fields: [(name: ArraySlice<UInt8>, value: ArraySlice<UInt8>)]
    let end: Int

    /// HTTP/1.0, or an element `close` in any Connection field.
    var closes: Bool {
        isHTTP10
            || fields.contains { field in
                equalsIgnoringCase(field.name, "connection")
                    && split(field.value, at: ",").contains {
                        equalsIgnoringCase(trimmed($0), "close")
                    }
            }
    }

    /// Reads the head that starts at `start`.
    static func read(_ bytes: [UInt8], from start: Int) -> Reading {
        guard let empty = firstEmptyLine(bytes, from: start) else {
            return bytes.count - start >= maximumBytes ? .refused("size") : .unfinished
        }
        let end = empty + 4
        guard end - start <= maximumBytes else { return .refused("size") }
        // From here on a CR or LF that is left is bare.
        var lines = lines(bytes[start..<empty])
        for byte in lines.joined() where byte == 0x7F || byte < 0x20 && byte != 0x09 {
            return .refused("control character")
        }

        let parts = split(lines.removeFirst(), at: " ")
        guard parts.count == 3 else { return .refused("request line") }
        let (method, target, version) = (parts[0], parts[1], parts[2])
        guard !method.isEmpty, method.allSatisfy(isToken) else { return .refused("method") }
        guard !method.elementsEqual("CONNECT".utf8) else { return .refused("method") }
        guard target.allSatisfy({ (0x21...0x7E).contains($0) }), isCheck(target) else {
            return .refused("target")
        }
        let isHTTP10 = version.elementsEqual("HTTP/1.0".utf8)
        guard isHTTP10 || version.elementsEqual("HTTP/1.1".utf8) else {
            return .refused("version")
        }

        guard lines.count <= maximumFields else { return .refused("number of fields") }
        var fields: [(name: ArraySlice<UInt8>, value: ArraySlice<UInt8>)] = []
        for line in lines {
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else {
                return .refused("no colon")
            }
            let name = line[..<colon]
            guard !name.isEmpty, name.allSatisfy(isToken) else { return .refused("field name") }
            fields.append((name, trimmed(line[(colon + 1)...])))
        }
        func values(_ name: String) -> [ArraySlice<UInt8>] {
            fields.filter { equalsIgnoringCase($0.name, name) }.map(\.value)
        }
        let hosts = values("host").count
        guard hosts == 1 || hosts == 0 && isHTTP10 else { return .refused("host") }
        guard values("transfer-encoding").isEmpty else { return .refused("transfer-encoding") }
        let lengths = values("content-length")
        guard lengths.isEmpty || lengths.count == 1 && lengths[0].elementsEqual("0".utf8) else {
            return .refused("content-length")
        }
        return .head(
            ReferenceHead(
                method: method, target: target, isHTTP10: isHTTP10, fields: fields, end: end))
    }

    /// `/check` and the end, `/`, `?` or `,`.
    private static func isCheck(_ target: ArraySlice<UInt8>) -> Bool {
        guard target.starts(with: "/check".utf8) else { return false }
        guard let next = target.dropFirst(6).first else { return true }
        return "/?,".utf8.contains(next)
    }

    private static func firstEmptyLine(_ bytes: [UInt8], from start: Int) -> Int? {
        var index = start
        while index + 3 < bytes.count {
            if bytes[index] == 0x0D, bytes[index + 1] == 0x0A, bytes[index + 2] == 0x0D,
                bytes[index + 3] == 0x0A
            {
                return index
            }
            index += 1
        }
        return nil
    }

    /// Splits at CR LF.
    private static func lines(_ bytes: ArraySlice<UInt8>) -> [ArraySlice<UInt8>] {
        var lines: [ArraySlice<UInt8>] = []
        var start = bytes.startIndex
        var index = start
        while index + 1 < bytes.endIndex {
            if bytes[index] == 0x0D, bytes[index + 1] == 0x0A {
                lines.append(bytes[start..<index])
                index += 2
                start = index
            } else {
                index += 1
            }
        }
        lines.append(bytes[start...])
        return lines
    }

    /// RFC 9110 section 5.6.2.
    private static func isToken(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "a")...UInt8(ascii: "z"):
            true
        default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }
}

/// Without spaces and tabs at its ends.
func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    var bytes = bytes
    while let first = bytes.first, first == 0x20 || first == 0x09 { bytes.removeFirst() }
    while let last = bytes.last, last == 0x20 || last == 0x09 { bytes.removeLast() }
    return bytes
}

func split(
    _ bytes: ArraySlice<UInt8>, at separator: Unicode.Scalar
) -> [ArraySlice<UInt8>] {
    bytes.split(separator: UInt8(ascii: separator), omittingEmptySubsequences: false)
}

/// Whether `bytes` are `lowerCase` in any mix of ASCII case.
func equalsIgnoringCase(_ bytes: some Collection<UInt8>, _ lowerCase: String) -> Bool {
    bytes.count == lowerCase.utf8.count
        && bytes.elementsEqual(lowerCase.utf8) { byte, lower in
            byte == lower
                || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) && byte + 32 == lower
        }
}
