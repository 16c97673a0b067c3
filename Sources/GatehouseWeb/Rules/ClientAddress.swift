// Where a request came from: the socket's peer, or what a listed proxy says.

import Glibc

/// The part of an address that one party holds: an IPv4 address, or the /64 of an IPv6 one
/// (RFC 4291 section 2.5.4).
package struct AddressPrefix: Hashable, Sendable {
    private let bits: UInt64
    private let isIPv6: Bool

    /// Reads an address as text; nil when it is none. An IPv4 address mapped into IPv6 (RFC 4291 section
    /// 2.5.5.2) counts as what it is.
    package init?(_ text: [UInt8]) {
        guard !text.isEmpty, text.count <= Self.maximumCharacters, !text.contains(0) else {
            return nil
        }
        let text = String(decoding: text, as: UTF8.self)
        var four = in_addr()
        if unsafe inet_pton(AF_INET, text, &four) == 1 {
            self.init(bits: UInt64(UInt32(bigEndian: four.s_addr)), isIPv6: false)
            return
        }
        var six = in6_addr()
        guard unsafe inet_pton(AF_INET6, text, &six) == 1 else { return nil }
        // SAFETY: copied within the call.
        let bytes = unsafe withUnsafeBytes(of: six) { unsafe Array($0) }
        func number(_ range: Range<Int>) -> UInt64 {
            bytes[range].reduce(0) { $0 << 8 | UInt64($1) }
        }
        if number(0..<8) == 0, number(8..<12) == 0xFFFF {
            self.init(bits: number(12..<16), isIPv6: false)
        } else {
            self.init(bits: number(0..<8), isIPv6: true)
        }
    }

    private init(bits: UInt64, isIPv6: Bool) {
        self.bits = bits
        self.isIPv6 = isIPv6
    }

    /// The address, or of IPv6 the /64.
    var text: String {
        isIPv6
            ? parts(4).map { String($0, radix: 16) }.joined(separator: ":") + "::/64"
            : (0..<4).map { "\(bits >> (24 - 8 * UInt64($0)) & 0xFF)" }.joined(separator: ".")
    }

    /// The first groups of an IPv6 address.
    private func parts(_ count: Int) -> [UInt64] {
        (0..<count).map { bits >> (48 - 16 * UInt64($0)) & 0xFFFF }
    }

    /// The network around it, coarse enough to show and to keep: an IPv4 /24, an IPv6 /48.
    var network: String {
        func part(_ shift: UInt64, _ width: UInt64) -> UInt64 { bits >> shift & (1 << width - 1) }
        guard isIPv6 else {
            return "\(part(24, 8)).\(part(16, 8)).\(part(8, 8)).0/24"
        }
        return parts(3).map { String($0, radix: 16) }.joined(separator: ":") + "::/48"
    }

    /// The longest spelling of an IPv6 address (INET6_ADDRSTRLEN without its NUL).
    private static let maximumCharacters = 45
}

/// Finds the client's address (REQUIREMENTS attack list, 48).
struct ClientAddressRule: Sendable {
    /// Peers whose word is taken.
    let trustedProxies: [String]

    /// - Parameters:
    ///   - peer: the socket's peer; nil for a Unix socket, whose peers are all listed.
    ///   - forwardedFor: the `X-Forwarded-For` fields. Proxies append: read from the end, the first
    ///     address that is no listed proxy's is the client. Whatever stands before it, anyone can write.
    /// - Returns: nil when nobody says; such requests share one allowance.
    func client(peer: String?, forwardedFor: [[UInt8]]) -> AddressPrefix? {
        let own = peer.flatMap { AddressPrefix(Array($0.utf8)) }
        if let peer, !trustedProxies.contains(peer) { return own }
        let hops = forwardedFor.flatMap {
            $0.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
        }
        for hop in hops.reversed() {
            let text = Self.trimmed(hop)
            if trustedProxies.contains(where: { $0.utf8.elementsEqual(text) }) { continue }
            // What can't be read came through a listed proxy all the same: it counts as that one.
            return AddressPrefix(text) ?? own
        }
        return own
    }

    private static func trimmed(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        let isBlank = { (byte: UInt8) in byte == 0x20 || byte == 0x09 }
        return Array(bytes.drop(while: isBlank).reversed().drop(while: isBlank).reversed())
    }
}
