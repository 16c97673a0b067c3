// Points at which a test has a command die, to see that nothing is lost and that it can be run again.

import Glibc
import Synchronization

/// Before the first statement of every write, before its commit, and after it. Passing one does nothing
/// unless the process has armed them, which only commands do (never `serve`).
package enum FaultPoint {
    /// How many are left to pass; 0 when the points are not armed.
    private static let remaining = Atomic<Int>(0)

    /// Has the process kill itself, as a power cut would, at the `count`-th point from now.
    package static func arm(killAt count: Int) { remaining.store(count, ordering: .relaxed) }

    static func pass() {
        guard remaining.load(ordering: .relaxed) > 0,
            remaining.subtract(1, ordering: .relaxed).newValue == 0
        else { return }
        kill(getpid(), SIGKILL)
    }
}
