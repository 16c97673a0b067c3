// A host and port as they stand in a URL or a Host header, in one spelling.

/// `host [":" port]`, as RFC 3986 section 3.2 writes it, without user information.
///
/// The host is a name of letters, digits and hyphens (RFC 1123 section 2.1; other scripts as
/// punycode), an IPv4 address of four decimal numbers, or an IPv6 address in brackets. It is kept
/// as a browser serialises it: lower case, an IPv6 address at its shortest. Refused are a trailing
/// dot, an underscore, a percent sign, an IPv6 zone, and every other way to write an IPv4 address.
package struct Authority: Hashable, Sendable {
    /// RFC 1035 section 2.3.4, as text: 255 octets with the lengths of the first label and the
    /// root.
    package static let maximumHostBytes = 253
    /// RFC 1035 section 2.3.4.
    package static let maximumLabelBytes = 63

    /// In ASCII; an IPv6 address with its brackets.
    package let host: [UInt8]
    /// As written; nil without one.
    package let port: UInt16?

    package init?(_ bytes: [UInt8]) {
        guard let end = Self.hostEnd(of: bytes) else { return nil }
        guard let host = Self.host(Array(bytes[..<end])) else { return nil }
        if end == bytes.count {
            port = nil
        } else {
            guard bytes[end] == UInt8(ascii: ":"), let port = Self.port(bytes[(end + 1)...])
            else { return nil }
            self.port = port
        }
        self.host = host
    }

    /// Whether the host is `localhost` or a loopback address: 127.0.0.0/8 or ::1.
    package var isLoopback: Bool {
        host == Array("localhost".utf8) || host == Array("[::1]".utf8)
            || host.starts(with: "127.".utf8) && Self.isIPv4(host)
    }

    /// Where the host ends: at the closing bracket, the first colon, or the end.
    private static func hostEnd(of bytes: [UInt8]) -> Int? {
        guard bytes.first == UInt8(ascii: "[") else {
            return bytes.firstIndex(of: UInt8(ascii: ":")) ?? bytes.count
        }
        return bytes.firstIndex(of: UInt8(ascii: "]")).map { $0 + 1 }
    }

    /// 1 to 65535 without leading zeros.
    private static func port(_ digits: ArraySlice<UInt8>) -> UInt16? {
        guard (1...5).contains(digits.count), digits.first != UInt8(ascii: "0"),
            digits.allSatisfy(\.isASCIIDigit)
        else { return nil }
        return UInt16(String(decoding: digits, as: UTF8.self))
    }

    private static func host(_ bytes: [UInt8]) -> [UInt8]? {
        if bytes.first == UInt8(ascii: "[") {
            guard let groups = IPv6Groups(bytes.dropFirst().dropLast()) else { return nil }
            return [UInt8(ascii: "[")] + groups.text + [UInt8(ascii: "]")]
        }
        guard (1...maximumHostBytes).contains(bytes.count) else { return nil }
        let name = bytes.map(\.asciiLowercased)
        let labels = name.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard labels.allSatisfy(isLabel), let last = labels.last else { return nil }
        // URL Standard, "ends in a number checker": browsers read such a host as an address.
        return isNumber(last) && !isIPv4(name) ? nil : name
    }

    private static func isLabel(_ label: ArraySlice<UInt8>) -> Bool {
        let hyphen = UInt8(ascii: "-")
        return (1...maximumLabelBytes).contains(label.count) && label.first != hyphen
            && label.last != hyphen
            && label.allSatisfy { $0.isASCIILetter || $0.isASCIIDigit || $0 == hyphen }
    }

    private static func isNumber(_ label: ArraySlice<UInt8>) -> Bool {
        label.allSatisfy(\.isASCIIDigit)
            || label.starts(with: "0x".utf8)
                && label.dropFirst(2).allSatisfy { $0.hexDigitValue != nil }
    }

    private static func isIPv4(_ name: [UInt8]) -> Bool {
        let parts = name.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        return parts.count == 4
            && parts.allSatisfy { part in
                part.allSatisfy(\.isASCIIDigit)
                    && (part.count == 1 || part.first != UInt8(ascii: "0"))
                    && UInt8(String(decoding: part, as: UTF8.self)) != nil
            }
    }
}

/// An IPv6 address as its eight groups.
private struct IPv6Groups {
    private static let count = 8
    private let groups: [UInt16]

    /// Reads RFC 4291 section 2.2, forms 1 and 2; not form 3, whose end is an IPv4 address and
    /// which no browser sends.
    init?(_ text: ArraySlice<UInt8>) {
        let colon = UInt8(ascii: ":")
        var groups: [UInt16] = []
        var gap: Int?
        var rest = text
        if rest.starts(with: "::".utf8) {
            gap = 0
            rest = rest.dropFirst(2)
        }
        while !rest.isEmpty {
            let digits = rest.prefix { $0 != colon }
            guard groups.count < Self.count, let group = Self.group(digits) else { return nil }
            groups.append(group)
            rest = rest.dropFirst(digits.count)
            guard !rest.isEmpty else { break }
            rest = rest.dropFirst()
            if rest.first == colon {
                guard gap == nil else { return nil }
                gap = groups.count
                rest = rest.dropFirst()
            } else if rest.isEmpty {
                return nil
            }
        }
        if let gap {
            guard groups.count < Self.count else { return nil }
            let zeros = [UInt16](repeating: 0, count: Self.count - groups.count)
            groups.insert(contentsOf: zeros, at: gap)
        }
        guard groups.count == Self.count else { return nil }
        self.groups = groups
    }

    private static func group(_ digits: ArraySlice<UInt8>) -> UInt16? {
        guard (1...4).contains(digits.count) else { return nil }
        var group: UInt16 = 0
        for digit in digits {
            guard let value = digit.hexDigitValue else { return nil }
            group = group << 4 | UInt16(value)
        }
        return group
    }

    /// The shortest text, in lower case (RFC 5952 section 4; URL Standard, "IPv6 serializer").
    var text: [UInt8] {
        guard let gap = longestZeros else { return Self.joined(groups[...]) }
        return Self.joined(groups[..<gap.lowerBound]) + "::".utf8
            + Self.joined(groups[gap.upperBound...])
    }

    private static func joined(_ groups: ArraySlice<UInt16>) -> [UInt8] {
        Array(groups.map { String($0, radix: 16) }.joined(separator: ":").utf8)
    }

    /// The first of the longest runs of two zeros or more.
    private var longestZeros: Range<Int>? {
        var longest: Range<Int>?
        var start = 0
        while start < groups.count {
            let end = groups[start...].firstIndex { $0 != 0 } ?? groups.count
            if end - start > max(1, longest?.count ?? 0) { longest = start..<end }
            start = end + 1
        }
        return longest
    }
}
