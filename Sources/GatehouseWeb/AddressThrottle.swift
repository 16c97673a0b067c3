// How many passwords one address may try, whatever the names: in memory, bounded.

import GatehouseCore
import Synchronization

/// One allowance for each address prefix, which refills evenly (a token bucket). A right password is not
/// charged, so that a large office behind one address can sign in.
package final class AddressThrottle: Sendable {
    /// Prefixes that are remembered. Each costs about 50 bytes; whoever has more addresses than this is
    /// met by the accounts' own counters.
    static let maximumPrefixes = 65_536

    private struct Bucket {
        var left: Double
        var at: BootTime
    }

    private struct State {
        var buckets: [AddressPrefix?: Bucket] = [:]
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
    func charge(_ prefix: AddressPrefix?, at now: BootTime) -> Int64? {
        guard perMinute > 0 else { return nil }
        return state.withLock { state in
            var left = refilled(state.buckets[prefix], at: now)
            guard left >= 1 else {
                return Int64(((1 - left) * 60 / Double(perMinute)).rounded(.up))
            }
            left -= 1
            if state.buckets[prefix] == nil { makeRoom(&state, at: now) }
            state.buckets[prefix] = Bucket(left: left, at: now)
            return nil
        }
    }

    /// Takes a charge back.
    func refund(_ prefix: AddressPrefix?, at now: BootTime) {
        guard perMinute > 0 else { return }
        state.withLock { state in
            guard let bucket = state.buckets[prefix] else { return }
            let left = min(Double(perMinute), refilled(bucket, at: now) + 1)
            state.buckets[prefix] = Bucket(left: left, at: now)
        }
    }

    private func refilled(_ bucket: Bucket?, at now: BootTime) -> Double {
        guard let bucket else { return Double(perMinute) }
        let seconds = Double(now.nanoseconds - bucket.at.nanoseconds) / 1e9
        return min(Double(perMinute), bucket.left + max(0, seconds) * Double(perMinute) / 60)
    }

    /// Forgets what is full again, once a second at most, else any one.
    private func makeRoom(_ state: inout State, at now: BootTime) {
        guard state.buckets.count >= Self.maximumPrefixes else { return }
        if now >= state.swept.advanced(bySeconds: 1) {
            state.swept = now
            state.buckets = state.buckets.filter {
                refilled($0.value, at: now) < Double(perMinute)
            }
        }
        if state.buckets.count >= Self.maximumPrefixes, let any = state.buckets.keys.first {
            state.buckets[any] = nil
        }
    }
}
