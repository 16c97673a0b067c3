// How long a refused sign-in takes at least, so that its time says nothing.

import GatehouseCore
import GatehousePasswords
import GatehouseSystem
import Synchronization

/// A little above the slowest hash: by the clock on the wall, of late, and by its processor time, since the
/// start. Refusals wait until then: those of an unknown name, of a
/// cheap old hash, of a name that has to wait, and of a wrong password all take the same time.
final class FailureFloor: Sendable {
    /// What the slowest hash is multiplied with: the rest of a refused sign-in is a few milliseconds.
    static let factor = 1.25
    /// Up to so much of the floor is added at random: a timer is late by more after a long sleep than after a
    /// short one, and a tenth of a millisecond drowns in this.
    static let jitter = 0.04
    /// A hash that took longer, on a machine that was busy with something else, doesn't count in full.
    /// Above the dearest foreign hash that is accepted.
    static let maximum = Duration.seconds(4)
    /// How long a slow hash is remembered, once or twice over.
    static let windowSeconds: Int64 = 600

    private struct State {
        var current = Duration.zero
        var previous = Duration.zero
        var windowEnds: BootTime?
        /// What the dearest hash took of a processor, whatever else ran; never forgotten.
        var dearest = Duration.zero
    }

    private let state = Mutex(State())
    private let clock: @Sendable () -> Instant

    init(clock: @escaping @Sendable () -> Instant) { self.clock = clock }

    /// From a request's start to its refusal, this time.
    var drawn: Duration { duration * (1 + Double.random(in: 0...Self.jitter)) }

    /// The least of them.
    var duration: Duration {
        state.withLock { state in
            advance(&state)
            let slowest = max(state.current, state.previous, state.dearest)
            return min(Self.maximum, slowest * Self.factor)
        }
    }

    func observe(_ duration: Duration, processor: Duration = .zero) {
        state.withLock { state in
            advance(&state)
            state.current = max(state.current, duration)
            state.dearest = max(state.dearest, processor)
        }
    }

    private func advance(_ state: inout State) {
        let now = clock().boot
        guard let end = state.windowEnds else {
            state.windowEnds = now.advanced(bySeconds: Self.windowSeconds)
            return
        }
        guard now >= end else { return }
        // Nothing slower came: what is known stays known until something does.
        state.previous = state.current == .zero ? state.previous : state.current
        state.current = .zero
        state.windowEnds = now.advanced(bySeconds: Self.windowSeconds)
    }

    /// A hash whose verifying is observed, and that says when it began.
    func observed<Hash: VerifiableHash>(_ hash: Hash, _ turn: HashingTurn) -> some VerifiableHash {
        ObservedHash(hash: hash, floor: self, turn: turn)
    }

    private struct ObservedHash<Hash: VerifiableHash>: VerifiableHash {
        let hash: Hash
        let floor: FailureFloor
        let turn: HashingTurn

        var memoryKiB: Int { hash.memoryKiB }
        var usesArena: Bool { hash.usesArena }

        func matches(_ password: Span<UInt8>) throws(PasswordHasherError) -> Bool {
            let clock = ContinuousClock()
            let start = clock.now
            turn.begin(at: start)
            let processor = SystemClock.threadTime()
            let isRight = try hash.matches(password)
            floor.observe(
                start.duration(to: clock.now), processor: SystemClock.threadTime() - processor)
            return isRight
        }
    }
}

/// How long a try waited for a hashing thread.
final class HashingTurn: Sendable {
    private let times = Mutex((asked: ContinuousClock.now, began: ContinuousClock.now))

    /// Zero before it began.
    var wait: Duration { times.withLock { max(.zero, $0.asked.duration(to: $0.began)) } }

    func ask() {
        let now = ContinuousClock.now
        times.withLock { $0 = (now, now) }
    }

    func begin(at now: ContinuousClock.Instant) { times.withLock { $0.began = now } }
}
