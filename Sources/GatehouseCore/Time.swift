// Points in time. Core reads no clock: both kinds are given to it.

/// Wall-clock time in whole seconds since 1970-01-01T00:00:00Z, as it is stored and sealed.
package struct UnixTime: Hashable, Comparable, Sendable {
    package let seconds: Int64

    /// 9999-12-31T23:59:59Z: the last second that RFC 3339 and an HTTP date can write. What stands
    /// beyond it in a token or a row is malformed, and sums below never overflow.
    package static let maximumSeconds: Int64 = 253_402_300_799

    package static let zero = UnixTime(clamping: 0)
    package static let maximum = UnixTime(clamping: maximumSeconds)

    package init?(seconds: Int64) {
        guard (0...Self.maximumSeconds).contains(seconds) else { return nil }
        self.seconds = seconds
    }

    /// Reads the time that stands big endian at `offset`, unsigned.
    package init?(bigEndianBytes bytes: Span<UInt8>, at offset: Int) {
        self.init(seconds: Int64(clamping: UInt64(bigEndianBytes: bytes, at: offset)))
    }

    /// The nearest time that can be written.
    package init(clamping seconds: Int64) {
        self.seconds = min(max(seconds, 0), Self.maximumSeconds)
    }

    package func advanced(bySeconds count: Int64) -> UnixTime {
        let (sum, overflow) = seconds.addingReportingOverflow(count)
        return overflow ? (count > 0 ? .maximum : .zero) : UnixTime(clamping: sum)
    }

    package static func < (left: UnixTime, right: UnixTime) -> Bool { left.seconds < right.seconds }
}

/// Nanoseconds on a clock that never goes back and counts suspended time (CLOCK_BOOTTIME); for
/// durations within one process.
package struct BootTime: Hashable, Comparable, Sendable {
    package let nanoseconds: Int64
    package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    package func advanced(bySeconds count: Int64) -> BootTime {
        BootTime(nanoseconds: nanoseconds + count * 1_000_000_000)
    }

    package static func < (left: BootTime, right: BootTime) -> Bool {
        left.nanoseconds < right.nanoseconds
    }
}

/// Both clocks, read together.
package struct Instant: Hashable, Sendable {
    package let wall: UnixTime
    package let boot: BootTime
    package init(wall: UnixTime, boot: BootTime) {
        self.wall = wall
        self.boot = boot
    }
}

/// How far two well-kept wall clocks may be apart, in seconds (REQUIREMENTS SES-4): a token issued
/// further in the future is refused, and an entry of the revocation index is kept that much longer.
package let clockSkewSeconds: Int64 = 60
