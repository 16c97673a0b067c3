// The epoll driver: its threads, and how others reach them.

import CEpoll
import GatehouseCore
import GatehouseSystem
import Glibc
import Synchronization

/// What the loops of the driver share.
final class EpollShared: Sendable {
    let clock: @Sendable () -> Instant
    let connections: ConnectionCount
    let trustedProxies: [String]
    /// Nil where everybody may connect.
    let gate: PeerGate?
    /// One for each loop.
    let inboxes: [EpollInbox]
    /// How many connections each loop has.
    let loads: [Load]

    init(
        loops: Int, connections: ConnectionCount, trustedProxies: [String], gate: PeerGate? = nil,
        clock: @escaping @Sendable () -> Instant
    ) throws(SystemCallFailure) {
        self.clock = clock
        self.connections = connections
        self.trustedProxies = trustedProxies
        self.gate = gate
        var inboxes: [EpollInbox] = []
        for _ in 0..<loops { inboxes.append(try EpollInbox()) }
        self.inboxes = inboxes
        loads = inboxes.map { _ in Load() }
    }

    /// Gives a connection to the loop that has the fewest.
    func assign() -> Int {
        var least = 0
        for index in loads.indices where loads[index].value < loads[least].value { least = index }
        loads[least].add(1)
        return least
    }

    /// A connection of loop `place` has ended, or was never taken up.
    func leave(_ place: Int) {
        loads[place].add(-1)
        connections.leave()
    }

    /// Connections of one loop, those included that wait in its inbox.
    final class Load: Sendable {
        private let connections = Atomic<Int>(0)
        var value: Int { connections.load(ordering: .relaxed) }
        func add(_ count: Int) { connections.wrappingAdd(count, ordering: .relaxed) }
    }
}

/// The kernel's part of one loop, and work for it from other threads, done between two batches of events.
final class EpollInbox: Sendable {
    typealias Work = @Sendable (EpollReactor) -> Void

    private struct State {
        var work: [Work] = []
        var isClosed = false
    }

    let epoll: Int32
    /// Rings at every tick while there are alarms. A time-out of `epoll_wait` would be a timer of the
    /// kernel set and taken back for every batch.
    let timer: Int32
    /// Readable when there is work (eventfd).
    let wakeup: Int32
    private let state = Mutex(State())

    init() throws(SystemCallFailure) {
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        timer = timerfd_create(CLOCK_BOOTTIME, Int32(TFD_NONBLOCK) | Int32(TFD_CLOEXEC))
        wakeup = eventfd(0, Int32(EFD_NONBLOCK) | Int32(EFD_CLOEXEC))
        // Of several that fail the last is told: they fail for one reason, too few descriptors.
        guard epoll >= 0, timer >= 0, wakeup >= 0 else {
            throw SystemCallFailure("epoll_create1, timerfd_create, eventfd", errno: errno)
        }
    }

    deinit {
        for descriptor in [epoll, timer, wakeup] where descriptor >= 0 { Glibc.close(descriptor) }
    }

    /// Hands over `work`, or does `orElse` when the loop has ended.
    func send(_ work: @escaping Work, orElse: () -> Void) {
        let isTaken = state.withLock { state in
            guard !state.isClosed else { return false }
            state.work.append(work)
            return true
        }
        guard isTaken else { return orElse() }
        // It fails only when the counter is full, and then the loop is awake.
        eventfd_write(wakeup, 1)
    }

    /// Does what was handed over.
    func takeAll(on reactor: EpollReactor) {
        var count: eventfd_t = 0
        // Empty when another wake-up was faster.
        unsafe eventfd_read(wakeup, &count)
        let work = state.withLock { state in
            defer { state.work = [] }
            return state.work
        }
        for item in work { item(reactor) }
    }

    /// Takes no more work; what was handed over is still done.
    func refuse() { state.withLock { $0.isClosed = true } }
}

/// Plain TCP and Unix sockets on Linux: `recv`, connection, `send`, and nothing else.
final class EpollDriver: CheckDriver {
    let counters: [CheckCounters]
    private let shared: EpollShared
    private let socketMode: UInt16

    /// Starts the threads.
    init(_ setup: CheckSetup, connections: ConnectionCount) throws {
        shared = try EpollShared(
            loops: setup.loops, connections: connections, trustedProxies: setup.trustedProxies,
            gate: setup.gate, clock: setup.clock)
        counters = (0..<setup.loops).map { _ in CheckCounters() }
        socketMode = setup.socketMode
        for place in 0..<setup.loops {
            try startThread { [shared, counters] in
                let reactor = EpollReactor(
                    shared, place: place, checks: setup.makeLoop(counters: counters[place]))
                unsafe gatehouse_name_thread("check-\(place)")
                reactor.run()
                shared.inboxes[place].takeAll(on: reactor)
            }
        }
    }

    func onEveryLoop<Value: Sendable>(
        _ body: @escaping @Sendable (CheckLoop) -> Value
    ) async -> [Value?] {
        await onEveryReactor { $0.withChecks(body) }
    }

    /// Does `body` on every loop, one after the other; nil where a loop has ended.
    private func onEveryReactor<Value: Sendable>(
        _ body: @escaping @Sendable (EpollReactor) -> Value
    ) async -> [Value?] {
        var values: [Value?] = []
        for inbox in shared.inboxes {
            values.append(
                await withCheckedContinuation { continuation in
                    inbox.send {
                        continuation.resume(returning: body($0))
                    } orElse: {
                        continuation.resume(returning: nil)
                    }
                })
        }
        return values
    }

    func listen(on address: ListenAddress) async throws -> Int? {
        let listener = try ListeningSocket(address, mode: socketMode)
        _ = await onEveryReactor { $0.listen(on: listener) }
        return listener.port
    }

    func stopListening() async { _ = await onEveryReactor { $0.stopListening() } }

    func endIdle() async -> Int {
        await onEveryReactor { $0.endIdle() }.reduce(0) { $0 + ($1 ?? 0) }
    }

    func openConnections() async -> Int {
        await onEveryReactor { $0.openConnections }.reduce(0) { $0 + ($1 ?? 0) }
    }

    func shutdown() async {
        await stopListening()
        _ = await onEveryReactor { $0.stop() }
    }
}

/// Starts a thread that runs `body` once and ends.
private func startThread(_ body: @escaping @Sendable () -> Void) throws(SystemCallFailure) {
    final class Box {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    let box = unsafe Unmanaged.passRetained(Box(body))
    // SAFETY: the box is released by the thread, or here when there is none.
    let failure = unsafe pthread_create(
        &thread, nil,
        { argument in
            if let argument = unsafe argument {
                let box = unsafe Unmanaged<Box>.fromOpaque(argument).takeRetainedValue()
                box.body()
            }
            return nil
        }, unsafe box.toOpaque())
    guard failure == 0 else {
        unsafe box.release()
        throw SystemCallFailure("pthread_create", errno: failure)
    }
    pthread_detach(thread)
}
