// The options of a check, as they follow `/check` in the request target.

package import GatehouseCore

/// What the caller asks of a check besides its verdict (DESIGN section 9). They end at the first `/` or
/// `?`: what follows may be a client's.
package struct CheckOptions: Equatable, Sendable {
    /// What a session must be besides good.
    package var requirement = SessionRequirement.none
    /// Notes no activity, and renews nothing.
    package var isPassive = false
    /// Renews a session that was sealed some time ago.
    package var renews = false
    /// The token comes in `Authorization: Bearer`; cookies are ignored.
    package var isBearer = false
    /// Nobody is fine: 200 with empty headers instead of 401.
    package var isOptional = false
    /// A browser that navigates is sent to the front door instead of 401.
    package var forwards = false

    package init() {}

    /// The longest time that `fresh` takes, in seconds: that of the longest session.
    static let maximumFreshSeconds = SessionLimits.maximumSeconds

    /// Reads what follows `/check` in a target; nil for an unknown, repeated or malformed option.
    ///
    /// Combinations mean the least: `passive` and `bearer` renew nothing, `optional` leaves nothing to
    /// forward, and who sends `bearer` is a program and is not forwarded.
    init?(_ rest: Span<UInt8>) {
        var seen = Seen()
        var index = 0
        while index < rest.count, rest[index] == UInt8(ascii: ",") {
            var end = index + 1
            while end < rest.count, !Self.endsOption(rest[end]) { end += 1 }
            guard let name = take(rest.extracting((index + 1)..<end)),
                seen.insert(name).inserted
            else { return nil }
            index = end
        }
    }

    private static func endsOption(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: ",") || byte == UInt8(ascii: "/") || byte == UInt8(ascii: "?")
    }

    private struct Seen: OptionSet {
        let rawValue: UInt8
    }

    /// Takes up one option; gives its place among those that were seen.
    private mutating func take(_ option: Span<UInt8>) -> Seen? {
        if option.equals("passive") {
            isPassive = true
            return Seen(rawValue: 1)
        }
        if option.equals("renew") {
            renews = true
            return Seen(rawValue: 2)
        }
        if option.equals("bearer") {
            isBearer = true
            return Seen(rawValue: 4)
        }
        if option.equals("optional") {
            isOptional = true
            return Seen(rawValue: 8)
        }
        if option.equals("forward") {
            forwards = true
            return Seen(rawValue: 16)
        }
        if let seconds = Self.number(option, after: "fresh=", 1...Self.maximumFreshSeconds) {
            requirement.freshSeconds = seconds
            return Seen(rawValue: 32)
        }
        if let number = Self.number(option, after: "level=", 1...3),
            let level = AuthenticationLevel(rawValue: UInt8(number))
        {
            requirement.level = level
            return Seen(rawValue: 64)
        }
        return nil
    }

    /// A decimal number without a sign or leading zeros, after `name`.
    private static func number(
        _ option: Span<UInt8>, after name: StaticString, _ range: ClosedRange<Int64>
    ) -> Int64? {
        let start = name.utf8CodeUnitCount
        // Nine digits are more than any limit here, and fit.
        guard (1...9).contains(option.count - start), option.extracting(0..<start).equals(name),
            option[start] != UInt8(ascii: "0")
        else { return nil }
        var value: Int64 = 0
        for index in start..<option.count {
            let byte = option[index]
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            value = value * 10 + Int64(byte - UInt8(ascii: "0"))
        }
        return range.contains(value) ? value : nil
    }
}
