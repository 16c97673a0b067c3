// The options after `/check`, read the plain way.

/// What a target asks for (DESIGN section 9).
struct OptionsAsked: Equatable {
    /// 30 days, the longest that a session lasts.
    private static let maximumFreshSeconds: Int64 = 2_592_000

    var freshSeconds: Int64?
    var level = 1
    var isPassive = false
    var renews = false
    var isBearer = false
    var isOptional = false
    var forwards = false

    /// - Returns: nil when the endpoint has to refuse them: unknown, repeated or malformed.
    init?(target: ArraySlice<UInt8>) {
        // They end at the first `/` or `?`; what follows a client may have chosen.
        let text = target.dropFirst("/check".utf8.count).prefix { !"/?".utf8.contains($0) }
        guard !text.isEmpty else { return }
        var seen: Set<String> = []
        for option in split(text.dropFirst(), at: ",") {
            // The target is visible ASCII.
            let parts = split(option, at: "=").map { String(decoding: $0, as: UTF8.self) }
            guard parts.count <= 2, seen.insert(parts[0]).inserted,
                apply(parts[0], value: parts.count == 2 ? parts[1] : nil)
            else { return nil }
        }
    }

    /// - Returns: false when there is no such option, or it takes no such value.
    private mutating func apply(_ name: String, value: String?) -> Bool {
        switch (name, value) {
        case ("fresh", let value?):
            guard let seconds = Int64(value), "\(seconds)" == value,
                (1...Self.maximumFreshSeconds).contains(seconds)
            else { return false }
            freshSeconds = seconds
        case ("level", "1"): level = 1
        case ("level", "2"): level = 2
        case ("level", "3"): level = 3
        case ("passive", nil): isPassive = true
        case ("renew", nil): renews = true
        case ("bearer", nil): isBearer = true
        case ("optional", nil): isOptional = true
        case ("forward", nil): forwards = true
        default: return false
        }
        return true
    }
}
