// Waiting for many sockets at once: epoll.

import CBenchmark
import Glibc

/// Tells which of its descriptors have something to do. Level-triggered: what is not taken is told
/// again.
@safe final class Poller {
    private let descriptor: Int32
    private let events: UnsafeMutableBufferPointer<epoll_event>

    /// Descriptors told of between two looks at the clock and the schedule.
    private static let eventsPerRound = 64

    init() throws {
        descriptor = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard descriptor >= 0 else { throw BenchmarkFailure("no epoll: errno \(errno)") }
        // SAFETY: owned by this object and freed in deinit.
        unsafe events = .allocate(capacity: Self.eventsPerRound)
        unsafe events.initialize(repeating: epoll_event())
    }

    deinit {
        close(descriptor)
        unsafe events.deallocate()
    }

    enum Change { case add, modify }

    /// Watches for something to receive, and with `room` also for room to send.
    func watch(_ watched: Int32, as number: Int, room: Bool, _ change: Change) {
        var event = unsafe epoll_event()
        unsafe event.events = EPOLLIN.rawValue | (room ? EPOLLOUT.rawValue : 0)
        unsafe event.data.u64 = UInt64(number)
        // SAFETY: the kernel copies the event.
        let done = unsafe epoll_ctl(
            descriptor, change == .add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, watched, &event)
        precondition(done == 0, "an open descriptor can be watched")
    }

    /// Waits, and gives the number of each descriptor that has something to do to `body`.
    func wait(nanoseconds: UInt64, _ body: (Int) -> Void) {
        // SAFETY: the kernel writes at most as many events as there is room for, and says how many.
        let count = unsafe bench_epoll_wait(
            descriptor, events.baseAddress, Int32(Self.eventsPerRound), nanoseconds)
        guard count > 0 else { return }
        for index in 0..<Int(count) { body(Int(unsafe events[index].data.u64)) }
    }
}
