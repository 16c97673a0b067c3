// How many passwords one address may try, whatever the names: in memory, bounded.

import GatehouseCore
import Synchronization

/// One allowance for each address; nil stands for those that nobody tells. A right password is given back,
/// so that a large office behind one address can sign in.
package typealias AddressThrottle = Throttle<AddressPrefix?>

/// One allowance for each key, which refills evenly (a token bucket).
package final class Throttle<Key: Hashable & Sendable>: Sendable {
    /// Keys that are remembered, at about 50 bytes each. Whoever has more addresses than this is met by the
    /// accounts' own counters.
    static var maximumKeys: Int { 65_536 }

    private struct Bucket {
        var left: Double
        var at: BootTime
    }

    private struct State {
        var buckets: [Key: Bucket] = [:]
        var swept = BootTime(nanoseconds: 0)
    }

    /// Failures that are allowed at once, and that come back in a minute; 0 for no limit.
    private let perMinute: Int
    private let state = Mutex(State())

    package init(perMinute: Int) { self.perMinute = perMinute }

    var count: Int { state.withLock { $0.buckets.count } }

    /// Charges a try.
    ///
    /// - Returns: nil when it is admitted, else the seconds after which the next one would be.
    func charge(_ key: Key, at now: BootTime) -> Int64? {
        guard perMinute > 0 else { return nil }
        return state.withLock { state in
            var left = refilled(state.buckets[key], at: now)
            guard left >= 1 else {
                return Int64(((1 - left) * 60 / Double(perMinute)).rounded(.up))
            }
            left -= 1
            if state.buckets[key] == nil { makeRoom(&state, at: now) }
            state.buckets[key] = Bucket(left: left, at: now)
            return nil
        }
    }

    /// Takes a charge back.
    func refund(_ key: Key, at now: BootTime) {
        guard perMinute > 0 else { return }
        state.withLock { state in
            guard let bucket = state.buckets[key] else { return }
            let left = min(Double(perMinute), refilled(bucket, at: now) + 1)
            state.buckets[key] = Bucket(left: left, at: now)
        }
    }

    private func refilled(_ bucket: Bucket?, at now: BootTime) -> Double {
        guard let bucket else { return Double(perMinute) }
        let seconds = Double(now.nanoseconds - bucket.at.nanoseconds) / 1e9
        return min(Double(perMinute), bucket.left + max(0, seconds) * Double(perMinute) / 60)
    }

    /// Forgets what is full again, once a second at most, else any one.
    private func makeRoom(_ state: inout State, at now: BootTime) {
        guard state.buckets.count >= Self.maximumKeys else { return }
        if now >= state.swept.advanced(bySeconds: 1) {
            state.swept = now
            state.buckets = state.buckets.filter {
                refilled($0.value, at: now) < Double(perMinute)
            }
        }
        if state.buckets.count >= Self.maximumKeys, let any = state.buckets.keys.first {
            state.buckets[any] = nil
        }
    }
}
