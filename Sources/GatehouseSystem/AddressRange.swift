// IP addresses and ranges of them, for lists of who may connect.

import Glibc

/// An IP address in bits. One of IPv4 that is mapped into IPv6 (RFC 4291 section 2.5.5.2), as a socket for
/// both families shows it, is what it maps. A scope id is no part of it: it says by which interface one
/// gets there, and is not the peer's to choose.
package struct IPAddress: Hashable, Sendable {
    /// Of IPv4 in the lowest 32 bits.
    fileprivate let bits: UInt128
    fileprivate let isIPv4: Bool

    fileprivate init(bits: UInt128, isIPv4: Bool) {
        self.bits = bits
        self.isIPv4 = isIPv4
    }

    /// What inet_pton(3) reads; nil for anything else. A scope id behind `%` is left out.
    package init?(_ text: String) {
        let utf8 = Array(text.utf8)
        let end = utf8.firstIndex(of: UInt8(ascii: "%")) ?? utf8.count
        guard end == utf8.count || utf8[..<end].contains(UInt8(ascii: ":")), !utf8.contains(0)
        else { return nil }
        self.init(plain: String(decoding: utf8[..<end], as: UTF8.self))
    }

    fileprivate init?(plain text: String) {
        var bytes = [UInt8](repeating: 0, count: 16)
        // SAFETY: inet_pton writes 4 bytes for the one family and 16 for the other.
        if unsafe inet_pton(AF_INET, text, &bytes) == 1 {
            self.init(bytes[..<4])
        } else if unsafe inet_pton(AF_INET6, text, &bytes) == 1 {
            self.init(bytes[...])
        } else {
            return nil
        }
    }

    /// - Parameter bytes: 4 or 16, in the network's order.
    private init(_ bytes: ArraySlice<UInt8>) {
        let bits = bytes.reduce(UInt128(0)) { ($0 << 8) | UInt128($1) }
        if bytes.count == 4 || bits >> 32 == Self.mapped {
            self.init(bits: bits & 0xFFFF_FFFF, isIPv4: true)
        } else {
            self.init(bits: bits, isIPv4: false)
        }
    }

    /// The first 96 bits of a mapped address.
    private static let mapped: UInt128 = 0xFFFF

    /// Reads a `sockaddr_in` or `sockaddr_in6` of Linux (ip(7), ipv6(7)):
    ///
    /// ```
    /// offset  size  field
    /// 0       2     family
    /// 4       4     address, of AF_INET
    /// 8       16    address, of AF_INET6
    /// ```
    private init?(socketAddress bytes: [UInt8]) {
        guard bytes.count >= 2 else { return nil }
        // SAFETY: both are two bytes.
        let family = unsafe bytes.withUnsafeBytes {
            unsafe $0.loadUnaligned(as: sa_family_t.self)
        }
        switch Int32(family) {
        case AF_INET where bytes.count >= 8: self.init(bytes[4..<8])
        case AF_INET6 where bytes.count >= 24: self.init(bytes[8..<24])
        default: return nil
        }
    }

    /// The peer of a connected socket over TCP; nil when it has gone, or is of another kind.
    package init?(peerOf descriptor: Int32) {
        var address = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let isKnown = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            // SAFETY: the kernel writes at most `size` bytes.
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe getpeername(descriptor, $0, &size) == 0
            }
        }
        guard isKnown else { return nil }
        // SAFETY: copied within the call.
        self.init(
            socketAddress: unsafe withUnsafeBytes(of: address) { bytes in
                unsafe Array(bytes.prefix(Int(size)))
            })
    }

    /// The network around it, coarse enough for a log: an IPv4 /24, an IPv6 /48.
    package var network: AddressRange {
        AddressRange(around: self, length: isIPv4 ? 24 : 48)
    }
}

/// An address, or all that begin with the same bits (RFC 4632 section 3.1, RFC 4291 section 2.3).
package struct AddressRange: Hashable, Sendable, CustomStringConvertible {
    /// Why a text is no range.
    package enum Refusal: Error, Equatable, CaseIterable {
        case noAddress
        /// A scope id is the interface's, not the address's.
        case scope
        /// No whole number from 0 to 32, or 128 for IPv6, in its shortest spelling.
        case length
        /// Bits are set behind the length: it is not said which of two things was meant.
        case hostBits

        package var message: String {
            switch self {
            case .noAddress: "is no address, and no address with /LENGTH"
            case .scope: "has a scope id, which says nothing about who connects"
            case .length: "has no length that there is: 0 to 32, or to 128 for IPv6"
            case .hostBits: "has bits set behind its length"
            }
        }
    }

    private let first: IPAddress
    private let length: Int

    /// Reads `10.0.0.0/8`, `192.0.2.1`, `2001:db8::/32` or `::1`. A range of mapped IPv4 addresses is one of
    /// IPv4.
    package init(_ text: String) throws(Refusal) {
        let utf8 = Array(text.utf8)
        guard !utf8.contains(0) else { throw .noAddress }
        guard !utf8.contains(UInt8(ascii: "%")) else { throw .scope }
        let slash = utf8.firstIndex(of: UInt8(ascii: "/")) ?? utf8.count
        let written = String(decoding: utf8[..<slash], as: UTF8.self)
        guard let address = IPAddress(plain: written) else { throw .noAddress }
        // The family that it is written in, mapped or not.
        let isWrittenIPv4 = !utf8[..<slash].contains(UInt8(ascii: ":"))
        let bits = isWrittenIPv4 ? 32 : 128
        var length = bits
        if slash < utf8.count {
            guard let number = Self.number(utf8[(slash + 1)...]), number <= bits else {
                throw .length
            }
            length = number
        }
        if address.isIPv4, !isWrittenIPv4 {
            // What is shorter than the mark of a mapped address has that mark's bits behind it.
            guard length >= 96 else { throw .hostBits }
            length -= 96
        }
        self.init(around: address, length: length)
        guard first == address else { throw .hostBits }
    }

    fileprivate init(around address: IPAddress, length: Int) {
        let host = (address.isIPv4 ? 32 : 128) - length
        // A shift by all bits gives zero.
        first = IPAddress(bits: (address.bits >> host) << host, isIPv4: address.isIPv4)
        self.length = length
    }

    private static func number(_ digits: ArraySlice<UInt8>) -> Int? {
        guard (1...3).contains(digits.count),
            digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            digits.count == 1 || digits.first != UInt8(ascii: "0")
        else { return nil }
        return digits.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
    }

    /// `0.0.0.0/0` has every IPv4 address and no other, `::/0` every IPv6 address and no other.
    package func contains(_ address: IPAddress) -> Bool {
        guard address.isIPv4 == first.isIPv4 else { return false }
        let host = (address.isIPv4 ? 32 : 128) - length
        return address.bits >> host == first.bits >> host
    }

    /// In the form that ``init(_:)`` reads; IPv6 as RFC 5952 writes it.
    package var description: String { "\(first.text)/\(length)" }
}

extension IPAddress {
    fileprivate var text: String {
        let count = isIPv4 ? 4 : 16
        let bytes = (0..<count).map {
            UInt8(truncatingIfNeeded: bits >> (8 * UInt128(count - 1 - $0)))
        }
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        // SAFETY: the buffer has room for the longest text of either family.
        unsafe inet_ntop(isIPv4 ? AF_INET : AF_INET6, bytes, &text, socklen_t(text.count))
        return String(
            decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
