// The epoll loop: one thread, one buffer for what comes, one for what goes, and the connections.

import CEpoll
import GatehouseCore
import GatehouseSystem
import Glibc

/// One connection of the loop.
@safe final class EpollPeer {
    let descriptor: Int32
    /// Tells it from an earlier connection with the same descriptor.
    let serial: UInt64
    /// Behind a pointer, since Swift would note each use of a class's variable that lasts over a call.
    fileprivate let connection: UnsafeMutablePointer<CheckConnection>
    /// What the kernel did not take yet. While there is any, nothing is read (back-pressure).
    fileprivate var unsent: [UInt8] = []
    /// The last answer is given; when it is sent, our side ends.
    fileprivate var isAnswered = false
    /// Our side has ended: what still comes is dropped until the peer ends, or until then.
    fileprivate var lingersUntil: BootTime?

    fileprivate init(descriptor: Int32, serial: UInt64, connection: CheckConnection) {
        self.descriptor = descriptor
        self.serial = serial
        // SAFETY: owned by this object and freed in deinit; used on the loop's thread, one use at a time.
        unsafe self.connection = .allocate(capacity: 1)
        unsafe self.connection.initialize(to: connection)
    }

    deinit {
        unsafe connection.deinitialize(count: 1)
        unsafe connection.deallocate()
    }

    fileprivate var isInHead: Bool { unsafe connection.pointee.isInHead }

    fileprivate func deadline(_ limits: CheckLimits) -> BootTime {
        unsafe lingersUntil ?? connection.pointee.deadline(limits: limits)
    }
}

/// Runs on one thread and is touched there only.
///
/// Sockets are watched edge-triggered. A read that fills the buffer, or that came with the end of the
/// peer's side, may have left something: then the kernel is asked to look again, so that no connection
/// keeps the loop for itself.
@safe final class EpollReactor {
    /// Bytes of one read: dozens of requests as proxies send them, and with answers up to ten times as
    /// long as the shortest requests a connection's unsent answers stay below 200 kB.
    private static let readBytes = 16 * 1024
    /// How long an answered connection is drained before it is closed, so that the answer is not lost to
    /// a reset while the client still sends.
    private static let lingerSeconds: Int64 = 1
    /// Events taken from the kernel at once.
    private static let eventsAtOnce = 256
    /// Connections taken from a listener, and alarms looked at, before others have their turn: each takes
    /// as long as several checks, and a thousand slow clients come and go in a second.
    private static let acceptsAtOnce = 2
    private static let alarmsAtOnce = 2

    private typealias Alarm = (descriptor: Int32, serial: UInt64)

    private let driver: EpollShared
    private let place: Int
    private let checks: CheckLoop
    private let limits: CheckLimits
    private let epoll: Int32
    private let input: UnsafeMutableRawBufferPointer
    private let events: UnsafeMutableBufferPointer<epoll_event>
    /// By descriptor.
    private var peers: [EpollPeer?] = []
    private var peerCount = 0
    private var nextSerial: UInt64 = 0
    private var listeners: [ListeningSocket] = []
    /// Whether listeners are unwatched for a moment, since there was no descriptor for a connection.
    private var isAcceptPaused = false
    private var acceptResumes = BootTime(nanoseconds: 0)
    /// How long that moment is.
    private static let acceptPauseNanoseconds: Int64 = 250_000_000
    private var wheel: DeadlineWheel<Alarm>
    /// Alarms that are due and were not looked at yet.
    private var due: [Alarm] = []
    private let timer: Int32
    private var isTimerSet = false
    private var now: Instant
    private var isRunning = true

    init(_ driver: EpollShared, place: Int, checks: CheckLoop) {
        self.driver = driver
        self.place = place
        self.checks = checks
        limits = checks.settings.limits
        now = driver.clock()
        wheel = DeadlineWheel(at: now.boot)
        epoll = driver.inboxes[place].epoll
        timer = driver.inboxes[place].timer
        // SAFETY: both owned by this object and freed in deinit. What was read last stays in the buffer, with
        // its cookies, until the next request comes.
        unsafe input = UnsafeMutableRawBufferPointer(
            start: SecretMemory.bytes(Self.readBytes), count: Self.readBytes)
        unsafe events = .allocate(capacity: Self.eventsAtOnce)
        unsafe events.initialize(repeating: epoll_event())
        watch(driver.inboxes[place].wakeup, EPOLLIN.rawValue)
        watch(timer, EPOLLIN.rawValue)
    }

    deinit {
        for case .some(let peer) in peers { close(peer.descriptor) }
        unsafe SecretMemory.free(input.baseAddress)
        unsafe events.deallocate()
    }

    var openConnections: Int { peerCount }

    /// Serves until ``stop()``.
    func run() {
        while isRunning {
            let count = unsafe epoll_wait(
                epoll, events.baseAddress, Int32(Self.eventsAtOnce), due.isEmpty ? -1 : 0)
            // All but EINTR would be a mistake in this file.
            precondition(count >= 0 || errno == EINTR, "epoll_wait: \(errno)")
            now = driver.clock()
            for index in 0..<max(0, Int(count)) {
                // SAFETY: the kernel filled `count` events.
                let event = unsafe events[index]
                unsafe take(descriptor: event.data.fd, events: event.events)
            }
            for _ in 0..<min(Self.alarmsAtOnce, due.count) {
                if let alarm = due.popLast() { wake(alarm.descriptor, alarm.serial) }
            }
        }
    }

    /// Ends ``run()``; from now on nobody's work is taken.
    func stop() {
        isRunning = false
        driver.inboxes[place].refuse()
    }

    /// Does `body` with what this loop's connections share.
    func withChecks<Result>(_ body: (CheckLoop) -> Result) -> Result { body(checks) }

    private func take(descriptor: Int32, events: UInt32) {
        if let peer = peer(descriptor) {
            serve(peer, events)
        } else if descriptor == timer {
            tick()
        } else if descriptor == driver.inboxes[place].wakeup {
            driver.inboxes[place].takeAll(on: self)
        } else if let listener = listeners.first(where: { $0.descriptor == descriptor }) {
            accept(listener)
        }
        // Else it was closed by an earlier event of the same batch.
    }

    private func peer(_ descriptor: Int32) -> EpollPeer? {
        peers.indices.contains(Int(descriptor)) ? peers[Int(descriptor)] : nil
    }

    // MARK: Bytes

    private func serve(_ peer: EpollPeer, _ events: UInt32) {
        if !peer.unsent.isEmpty, !sendUnsent(peer) { return }
        let received = unsafe gatehouse_receive(
            peer.descriptor, input.baseAddress, Self.readBytes)
        guard received > 0 else {
            let isOpen = received < 0 && (errno == EAGAIN || errno == EINTR)
            // An interrupted read has lost its edge.
            if isOpen { rearm(peer) } else { end(peer) }
            return
        }
        let mayHaveMore = received == Self.readBytes || events & EPOLLRDHUP.rawValue != 0
        if peer.lingersUntil == nil, !answer(peer, byteCount: received) { return }
        if mayHaveMore { rearm(peer) }
    }

    /// Answers what was read; says whether the connection goes on being read.
    private func answer(_ peer: EpollPeer, byteCount: Int) -> Bool {
        let output = checks.output
        output.removeAll()
        // SAFETY: the kernel wrote `byteCount` bytes; the span ends with the call.
        let bytes = unsafe Span<UInt8>(
            _unsafeBytes: UnsafeRawBufferPointer(rebasing: input[..<byteCount]))
        let disposition = unsafe peer.connection.pointee.receive(
            bytes, loop: checks, at: now, into: output)
        peer.isAnswered = disposition == .close
        guard !output.isEmpty else { return true }
        let sent = unsafe output.withBytes { bytes in
            unsafe gatehouse_send(peer.descriptor, bytes.baseAddress, bytes.count)
        }
        if sent == output.count { return peer.isAnswered ? endOutput(peer) : true }
        guard sent >= 0 || errno == EAGAIN || errno == EINTR else {
            end(peer)
            return false
        }
        peer.unsent = unsafe output.withBytes { unsafe Array($0[max(0, sent)...]) }
        rearm(peer)
        return false
    }

    /// Sends on; says whether all is sent and the connection can be read.
    private func sendUnsent(_ peer: EpollPeer) -> Bool {
        let sent = unsafe peer.unsent.withUnsafeBytes { bytes in
            unsafe gatehouse_send(peer.descriptor, bytes.baseAddress, bytes.count)
        }
        guard sent >= 0 || errno == EAGAIN || errno == EINTR else {
            end(peer)
            return false
        }
        peer.unsent.removeFirst(max(0, sent))
        if peer.unsent.isEmpty, peer.isAnswered { return endOutput(peer) }
        rearm(peer)
        return peer.unsent.isEmpty
    }

    /// Ends our side after the last answer, and gives the peer a moment to end its own.
    private func endOutput(_ peer: EpollPeer) -> Bool {
        peer.lingersUntil = now.boot.advanced(bySeconds: Self.lingerSeconds)
        setAlarm(peer)
        guard shutdown(peer.descriptor, Int32(SHUT_WR)) == 0 else {
            end(peer)
            return false
        }
        rearm(peer)
        return true
    }

    // MARK: Connections

    /// Takes connections, each for the loop that has the fewest; says whether there may be more.
    @discardableResult
    private func accept(_ listener: ListeningSocket) -> Bool {
        for _ in 0..<Self.acceptsAtOnce {
            let descriptor = gatehouse_accept(listener.descriptor)
            guard descriptor >= 0 else {
                switch errno {
                case EMFILE, ENFILE, ENOBUFS, ENOMEM: pauseAccepting()
                // Taken by another loop, or reset by the peer before we came (accept(2)).
                default: break
                }
                return false
            }
            if listener.isTCP, let gate = driver.gate, !gate.isOpen,
                !gate.admits(IPAddress(peerOf: descriptor))
            {
                close(descriptor)
                continue
            }
            guard driver.connections.enter(maximum: limits.maximumConnections) else {
                checks.counters.add(.overLimit)
                close(descriptor)
                continue
            }
            let target = driver.assign()
            let isFromTrustedProxy =
                !listener.isTCP
                || (!driver.trustedProxies.isEmpty
                    && peerAddress(descriptor).map(driver.trustedProxies.contains) ?? false)
            if listener.isTCP {
                // An answer must not wait for the acknowledgement of the one before.
                var yes: Int32 = 1
                unsafe setsockopt(
                    descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes,
                    socklen_t(MemoryLayout<Int32>.size))
            }
            if target == place {
                adopt(descriptor, isFromTrustedProxy: isFromTrustedProxy)
            } else {
                driver.inboxes[target].send { reactor in
                    reactor.adopt(descriptor, isFromTrustedProxy: isFromTrustedProxy)
                } orElse: {
                    close(descriptor)
                    driver.leave(target)
                }
            }
        }
        return true
    }

    private func adopt(_ descriptor: Int32, isFromTrustedProxy: Bool) {
        let peer = EpollPeer(
            descriptor: descriptor, serial: nextSerial,
            connection: CheckConnection(
                loop: checks, isFromTrustedProxy: isFromTrustedProxy, at: now.boot))
        nextSerial += 1
        while peers.count <= Int(descriptor) { peers.append(nil) }
        peers[Int(descriptor)] = peer
        peerCount += 1
        checks.counters.add(.accepted)
        setAlarm(peer)
        watch(descriptor, Self.reading)
    }

    private func end(_ peer: EpollPeer) {
        // Closing the only descriptor of a socket also ends its watch (epoll(7)).
        close(peer.descriptor)
        peers[Int(peer.descriptor)] = nil
        peerCount -= 1
        driver.leave(place)
        checks.counters.add(.closed)
    }

    /// Ends connections that are not in the middle of a request; gives how many are left.
    func endIdle() -> Int {
        for case .some(let peer) in peers
        where !peer.isInHead && peer.unsent.isEmpty && !peer.isAnswered {
            end(peer)
        }
        return peerCount
    }

    // MARK: Deadlines

    /// Looks at a connection again at its deadline, or when a head that begins now would have to be
    /// complete.
    private func setAlarm(_ peer: EpollPeer) {
        let look = min(peer.deadline(limits), now.boot.advanced(bySeconds: limits.headSeconds))
        wheel.set((peer.descriptor, peer.serial), at: look)
        setTimer(true)
    }

    private func tick() {
        var rings: UInt64 = 0
        // Empty when the timer was set anew in the meantime.
        unsafe read(timer, &rings, MemoryLayout<UInt64>.size)
        due += wheel.takeDue(at: now.boot)
        if isAcceptPaused, now.boot >= acceptResumes { resumeAccepting() }
        if wheel.count == 0, due.isEmpty, !isAcceptPaused { setTimer(false) }
    }

    private func setTimer(_ isSet: Bool) {
        guard isTimerSet != isSet else { return }
        isTimerSet = isSet
        let done = gatehouse_set_timer(timer, isSet ? Int(wheel.tickNanoseconds) : 0)
        precondition(done == 0, "timerfd_settime: \(errno)")
    }

    private func wake(_ descriptor: Int32, _ serial: UInt64) {
        guard let peer = peer(descriptor), peer.serial == serial else { return }
        guard now.boot >= peer.deadline(limits) else { return setAlarm(peer) }
        if peer.lingersUntil == nil {
            checks.counters.add(peer.isInHead ? .headTimeout : .idleTimeout)
        }
        end(peer)
    }

    // MARK: What the kernel watches

    private static let reading = EPOLLIN.rawValue | EPOLLRDHUP.rawValue | EPOLLET.rawValue
    private static let sending = EPOLLOUT.rawValue | EPOLLET.rawValue

    private func watch(_ descriptor: Int32, _ events: UInt32) {
        control(EPOLL_CTL_ADD, descriptor, events)
    }

    /// Asks the kernel to look again: what is there already counts as new.
    private func rearm(_ peer: EpollPeer) {
        control(
            EPOLL_CTL_MOD, peer.descriptor, peer.unsent.isEmpty ? Self.reading : Self.sending)
    }

    private func control(_ operation: Int32, _ descriptor: Int32, _ events: UInt32) {
        var event = unsafe epoll_event()
        unsafe event.events = events
        unsafe event.data.fd = descriptor
        // SAFETY: the kernel reads the event during the call.
        let done = unsafe epoll_ctl(epoll, operation, descriptor, &event)
        // ENOSPC and ENOMEM: the user's limit of watches, or no memory. The connection gets no events
        // and ends at its deadline; any other failure would be a mistake in this file.
        precondition(
            done == 0 || errno == ENOSPC || errno == ENOMEM, "epoll_ctl: \(errno)")
    }

    // MARK: Listeners

    /// Every loop watches every listener; the kernel wakes one of them for a connection.
    func listen(on listener: ListeningSocket) {
        listeners.append(listener)
        watch(listener.descriptor, EPOLLIN.rawValue | EPOLLEXCLUSIVE.rawValue)
    }

    /// Loops do so in turn, and the last one closes the listeners.
    func stopListening() {
        if !isAcceptPaused { unwatchListeners() }
        let stopped = listeners
        listeners = []
        for listener in stopped where place == driver.inboxes.count - 1 {
            // Those who wait in the queue were told that they are connected, until the very end; more than
            // the queue holds came later.
            var taken = 0
            while taken < Int(ListeningSocket.backlog), accept(listener) {
                taken += Self.acceptsAtOnce
            }
            close(listener.descriptor)
        }
    }

    private func unwatchListeners() {
        for listener in listeners { control(EPOLL_CTL_DEL, listener.descriptor, 0) }
    }

    /// Without a free descriptor a connection stays in the queue, and would wake the loop again at once.
    private func pauseAccepting() {
        guard !isAcceptPaused else { return }
        checks.counters.add(CheckCount.acceptPaused)
        isAcceptPaused = true
        acceptResumes = BootTime(
            nanoseconds: now.boot.nanoseconds + Self.acceptPauseNanoseconds)
        unwatchListeners()
        setTimer(true)
    }

    private func resumeAccepting() {
        isAcceptPaused = false
        for listener in listeners {
            watch(listener.descriptor, EPOLLIN.rawValue | EPOLLEXCLUSIVE.rawValue)
        }
    }
}
