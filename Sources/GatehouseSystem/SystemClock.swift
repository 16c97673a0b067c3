// The machine's clocks; the one place that reads them.

package import GatehouseCore
import Glibc

package enum SystemClock {
    /// Wall clock and the clock that counts suspended time. Whole seconds need no exact wall clock: the
    /// coarse one, a few milliseconds late, costs less.
    package static func now() -> Instant {
        Instant(
            wall: UnixTime(clamping: read(CLOCK_REALTIME_COARSE) / 1_000_000_000),
            boot: BootTime(nanoseconds: read(CLOCK_BOOTTIME)))
    }

    /// What the calling thread has had of a processor.
    package static func threadTime() -> Duration { .nanoseconds(read(CLOCK_THREAD_CPUTIME_ID)) }

    private static func read(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        // SAFETY: `time` is ours; both clocks exist on every Linux that Swift supports.
        let done = unsafe clock_gettime(clock, &time)
        precondition(done == 0, "clock_gettime failed")
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
