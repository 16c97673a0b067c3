// How long a refused sign-in takes at least, so that its time says nothing.

import GatehouseCore
import GatehousePasswords
import Synchronization

/// A little above the slowest hash of late. Refusals wait until then: those of an unknown name, of a
/// cheap old hash, of a name that has to wait, and of a wrong password all take the same time.
final class FailureFloor: Sendable {
    /// What the slowest hash is multiplied with: the rest of a refused sign-in is a few milliseconds.
    static let factor = 1.25
    /// A hash that took longer, on a machine that was busy with something else, doesn't count in full.
    static let maximum = Duration.seconds(3)
    /// How long a slow hash is remembered, once or twice over.
    static let windowSeconds: Int64 = 600

    private struct State {
        var current = Duration.zero
        var previous = Duration.zero
        var windowEnds: BootTime?
    }

    private let state = Mutex(State())
    private let clock: @Sendable () -> Instant

    init(clock: @escaping @Sendable () -> Instant) { self.clock = clock }

    /// From a request's start to its refusal.
    var duration: Duration {
        state.withLock { state in
            advance(&state)
            return min(Self.maximum, max(state.current, state.previous) * Self.factor)
        }
    }

    func observe(_ duration: Duration) {
        state.withLock { state in
            advance(&state)
            state.current = max(state.current, duration)
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

    /// A hash whose verifying is observed.
    func observed<Hash: VerifiableHash>(_ hash: Hash) -> some VerifiableHash {
        ObservedHash(hash: hash, floor: self)
    }

    private struct ObservedHash<Hash: VerifiableHash>: VerifiableHash {
        let hash: Hash
        let floor: FailureFloor

        var memoryKiB: Int { hash.memoryKiB }
        var usesArena: Bool { hash.usesArena }

        func matches(_ password: Span<UInt8>) throws(PasswordHasherError) -> Bool {
            let clock = ContinuousClock()
            let start = clock.now
            let isRight = try hash.matches(password)
            floor.observe(start.duration(to: clock.now))
            return isRight
        }
    }
}
