// The lease: how long a node may go on answering from what it last read.

import Synchronization

/// Whether this node may say yes or no, shared by its event loops, sealers and health page.
///
/// Every verdict and every seal needs the last complete refresh to have *started* less than
/// `maximumStalenessSeconds` ago (DESIGN section 6). Reading takes no lock.
package final class Lease: Sendable {
    package enum Phase: UInt8, Sendable {
        case starting, serving
        /// On its way out: still follows the store and answers what arrives, and ends connections.
        case draining
        case stopping
    }

    package let maximumStalenessSeconds: Int64
    private let phase = Atomic<UInt8>(Phase.starting.rawValue)
    private let refreshStarted = Atomic<Int64>(.min)
    private let refreshWall = Atomic<Int64>(.min)
    private let storeLatest = Atomic<Int64>(0)
    private let sealingStopped = Atomic<Bool>(false)

    package init(maximumStalenessSeconds: Int64) {
        precondition(maximumStalenessSeconds > 0)
        self.maximumStalenessSeconds = maximumStalenessSeconds
    }

    package func enter(_ phase: Phase) { self.phase.store(phase.rawValue, ordering: .releasing) }

    /// Notes a refresh that read feed and keyring up to their heads and has been applied
    /// everywhere.
    ///
    /// - Parameters:
    ///   - started: when the refresh began, before its first read.
    ///   - wall: the wall clock at that time, by which the others judge this node's silence: a lease that
    ///     has run out by either clock has run out. Nil where no others wait for this one.
    ///   - storeLatest: the latest wall-clock time that the store has recorded.
    package func renew(started: BootTime, wall: UnixTime? = nil, storeLatest: UnixTime) {
        refreshWall.store(wall?.seconds ?? .min, ordering: .releasing)
        self.storeLatest.store(storeLatest.seconds, ordering: .releasing)
        refreshStarted.store(started.nanoseconds, ordering: .releasing)
    }

    /// Why this node can't answer now; nil when it can.
    package func unavailability(at now: Instant) -> Unavailability? {
        switch phase.load(ordering: .acquiring) {
        case Phase.serving.rawValue, Phase.draining.rawValue: break
        case Phase.stopping.rawValue: return .stopping
        default: return .starting
        }
        let started = refreshStarted.load(ordering: .acquiring)
        guard started != .min else { return .starting }
        let age = now.boot.nanoseconds - started
        guard age < maximumStalenessSeconds * 1_000_000_000 else { return .leaseExpired }
        let wall = refreshWall.load(ordering: .acquiring)
        guard wall == .min || now.wall.seconds - wall <= maximumStalenessSeconds else {
            return .leaseExpired
        }
        let latest = storeLatest.load(ordering: .acquiring)
        guard now.wall.seconds >= latest - clockSkewSeconds else { return .clockBehind }
        return nil
    }

    /// Whether this node may seal: not while it has seen a newer ring that it can't take up. What it has
    /// still opens, as long as the lease lasts.
    package var maySeal: Bool { !sealingStopped.load(ordering: .acquiring) }
    package func stopSealing() { sealingStopped.store(true, ordering: .releasing) }
    package func allowSealing() { sealingStopped.store(false, ordering: .releasing) }

    /// Ends the lease: what this node knows is of a store that is not there any more.
    package func end() { refreshStarted.store(.min / 2, ordering: .releasing) }

    /// How long ago the last complete refresh started, in seconds; nil before the first.
    package func ageSeconds(at now: BootTime) -> Double? {
        let started = refreshStarted.load(ordering: .acquiring)
        guard started != .min else { return nil }
        return Double(now.nanoseconds - started) / 1e9
    }

    /// Whether the node has begun to stop.
    package var isEnding: Bool { phase.load(ordering: .acquiring) >= Phase.draining.rawValue }
}
