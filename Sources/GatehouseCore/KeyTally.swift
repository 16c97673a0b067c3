// What keys opened and sealed: counted where it happens, written to the store about once a minute.

/// What one thread, or one process, did with keys since it was last asked. It is for people: nothing that
/// a key's life depends on is lost with it (``KeyUsage/lastDeadline``).
package struct KeyTally: Sendable, Equatable {
    /// Tokens of one key whose deadlines lie in one span of time.
    package struct Span: Hashable, Sendable {
        package let key: KeyID
        /// No token of the span lives longer.
        package let end: UnixTime

        package init(key: KeyID, until deadline: UnixTime, at now: UnixTime) {
            self.key = key
            end = KeyTally.spanEnd(of: deadline, at: now)
        }
    }

    package struct Seals: Sendable, Equatable {
        package var count: UInt64
        package var lastDeadline: UnixTime

        package init(count: UInt64, lastDeadline: UnixTime) {
            self.count = count
            self.lastDeadline = lastDeadline
        }
    }

    package private(set) var opened: [KeyID: UInt64] = [:]
    /// Tokens that were sealed without the store, which counts the others itself.
    package private(set) var sealed: [Span: Seals] = [:]

    package init() {}

    package mutating func noteOpened(_ count: UInt64, by key: KeyID) {
        guard count > 0 else { return }
        opened[key, default: 0] &+= count
    }

    package mutating func noteSealed(by key: KeyID, until deadline: UnixTime, at now: UnixTime) {
        note(
            Seals(count: 1, lastDeadline: deadline),
            in: Span(key: key, until: deadline, at: now))
    }

    package mutating func add(_ other: KeyTally) {
        for (key, count) in other.opened { noteOpened(count, by: key) }
        for (span, seals) in other.sealed { note(seals, in: span) }
    }

    private mutating func note(_ seals: Seals, in span: Span) {
        let known = sealed[span] ?? Seals(count: 0, lastDeadline: .zero)
        sealed[span] = Seals(
            count: known.count &+ seals.count,
            lastDeadline: max(known.lastDeadline, seals.lastDeadline))
    }

    /// Deadlines nearer than this are counted by the hour, the others by the day: what a key sealed within
    /// 180 days, the longest that a token lives, stands in fewer than 240 rows.
    static let hourlySeconds: Int64 = 48 * 3600

    /// The end of the span of time that a deadline is counted in: never before it, so that what is counted
    /// as alive is never too little.
    package static func spanEnd(of deadline: UnixTime, at now: UnixTime) -> UnixTime {
        let unit: Int64 = deadline.seconds - now.seconds <= hourlySeconds ? 3600 : 86_400
        return UnixTime(clamping: (deadline.seconds + unit - 1) / unit * unit)
    }

    /// How long a key's last deadline is remembered after it has passed, in seconds: far longer than
    /// destruction waits for after it.
    package static let usageSeconds: Int64 = 30 * 86_400
    /// How long openings are remembered, in minutes.
    package static let openMinutes: Int64 = 60
    /// Rows of openings that the store keeps; past it the oldest go. A node has one for each key and minute,
    /// so that this is a ring of four keys in use on 68 nodes.
    package static let maximumOpenRows = 16_384
}

/// What is known of one key's use.
package struct KeyActivity: Sendable, Equatable {
    /// Tokens that have not expired, at most: those that were replaced or revoked count until their
    /// deadline.
    package var alive: UInt64 = 0
    /// Tokens that all nodes opened in the last hour, as far as they have written it.
    package var openedLastHour: UInt64 = 0
    package init(alive: UInt64 = 0, openedLastHour: UInt64 = 0) {
        self.alive = alive
        self.openedLastHour = openedLastHour
    }
}

extension TokenKey {
    /// Until when a key that has ended is kept: past the last deadline of what it sealed, and for a node
    /// that sealed just before it learned. Nil while it has not ended.
    package func keptUntil(leaseSeconds: Int64, lastDeadline: UnixTime?) -> UnixTime? {
        guard state == .retiring || state == .revoked, let ended else { return nil }
        return max(ended, lastDeadline ?? ended)
            .advanced(bySeconds: leaseSeconds + clockSkewSeconds)
    }
}
