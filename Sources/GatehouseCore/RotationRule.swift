// When the active key is old enough to be replaced, by clocks that nobody can step.

/// How old the active key is for this process.
///
/// The wall clock is read once a key: when this process first loads it as the active one. From then on
/// its age grows with the clock that never goes back, so that a wall clock that steps, either way and
/// as often as it likes, neither rotates twice nor keeps a key for longer.
package struct RotationRule: Sendable {
    /// The shortest time between two rotations, in seconds: the least that a lease can be. In less, one
    /// may not be done before the next is due.
    package static let minimumSeconds: Int64 = 10
    /// The longest, in seconds: a year of one key's tokens is all that may ever depend on it.
    package static let maximumSeconds: Int64 = 365 * 86_400
    package static let defaultSeconds: Int64 = 30 * 86_400

    /// Nil when keys are rotated by command only.
    package let everySeconds: Int64?
    private var watched: (key: KeyID, ageSeconds: Int64, since: BootTime)?

    package init(everySeconds: Int64?) { self.everySeconds = everySeconds }

    /// Notes the ring that is loaded.
    ///
    /// - Parameter now: read after it was: a clock that was read before the key became active would make it
    ///   older than it is by whatever came between.
    package mutating func watch(_ ring: Keyring, at now: Instant) {
        guard let active = ring.active, let activated = active.activated else {
            watched = nil
            return
        }
        guard watched?.key != active.id else { return }
        // Not below zero: what was activated by a clock ahead of ours is new, not of the future.
        watched = (active.id, max(0, now.wall.seconds - activated.seconds), now.boot)
    }

    /// The age of the active key; nil when there is none.
    package func ageSeconds(at now: BootTime) -> Int64? {
        watched.map { $0.ageSeconds + (now.nanoseconds - $0.since.nanoseconds) / 1_000_000_000 }
    }

    /// Whether a key is to be added to `ring`: the active one is watched and old enough and none is under
    /// way, or a revocation found no room or no randomness for the next.
    package func isDue(in ring: Keyring, at now: BootTime) -> Bool {
        guard let everySeconds, ring.pending == nil else { return false }
        guard let active = ring.active else { return true }
        guard watched?.key == active.id, let age = ageSeconds(at: now) else { return false }
        return age >= everySeconds
    }
}
