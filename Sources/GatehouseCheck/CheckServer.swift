// The SwiftNIO driver: carries bytes between sockets and connections, and publishes snapshots.

package import GatehouseCore
import GatehouseSystem
import Glibc
package import NIOCore
package import NIOPosix
import Synchronization

/// The check endpoint's listeners and event loops.
///
/// Each event loop has its own judge and counters, so that checks share nothing that changes.
package final class CheckServer: Sendable {
    /// How long an answered connection is drained before it is closed, so that the answer is not
    /// lost to a reset while the client still sends.
    static let lingerSeconds: Int64 = 1

    /// Pipelined requests of one read are answered together, and answers are ten times as long as
    /// the shortest requests; so a connection's unsent answers stay below a hundred kilobytes.
    static let readBytes = 8192

    private let loops: [LoopBox]
    private let connectionCount = ConnectionCount()
    private let clock: @Sendable () -> Instant
    private let limits: CheckLimits
    private let socketMode: UInt16

    /// What belongs to one event loop and is touched on it only.
    private struct LoopBox: Sendable {
        let eventLoop: any EventLoop
        let state: NIOLoopBound<CheckLoop>
        let counters: CheckCounters
        let connections: NIOLoopBound<ConnectionSet>
    }

    /// - Parameters:
    ///   - eventLoops: where connections run; made and shut down by the caller.
    ///   - socketMode: the mode of Unix sockets.
    package static func make(
        on group: MultiThreadedEventLoopGroup, audience: Audience, cookieName: String, lease: Lease,
        limits: CheckLimits, socketMode: UInt16,
        clock: @escaping @Sendable () -> Instant = SystemClock.now
    ) async throws -> CheckServer {
        var boxes: [LoopBox] = []
        let loops = Array(group.makeIterator())
        for eventLoop in loops {
            let counters = CheckCounters()
            let box = try await eventLoop.submit {
                let judge = Judge(audience: audience, lease: lease)
                let loop = CheckLoop(
                    judge: judge, counters: counters, limits: limits,
                    cookieName: Array(cookieName.utf8))
                return LoopBox(
                    eventLoop: eventLoop, state: NIOLoopBound(loop, eventLoop: eventLoop),
                    counters: counters,
                    connections: NIOLoopBound(ConnectionSet(), eventLoop: eventLoop))
            }.get()
            boxes.append(box)
        }
        return CheckServer(loops: boxes, clock: clock, limits: limits, socketMode: socketMode)
    }

    private init(
        loops: [LoopBox], clock: @escaping @Sendable () -> Instant, limits: CheckLimits,
        socketMode: UInt16
    ) {
        self.loops = loops
        self.clock = clock
        self.limits = limits
        self.socketMode = socketMode
    }

    /// Makes every event loop use `snapshot`; returns when all do, or false when one could not.
    package func publish(_ snapshot: CheckSnapshot) async -> Bool {
        var isComplete = true
        for box in loops {
            // What is replaced comes back here, and is freed on this thread.
            let replaced = try? await box.eventLoop.submit {
                box.state.value.adopt(snapshot)
            }.get()
            if replaced == nil { isComplete = false }
        }
        return isComplete
    }

    /// The sum over all event loops.
    package func count(_ count: CheckCount) -> UInt64 {
        loops.reduce(0) { $0 + $1.counters.value(count) }
    }

    /// Opens a listener.
    package func listen(
        on address: ListenAddress, group: MultiThreadedEventLoopGroup
    ) async throws -> any Channel {
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(
                .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: Self.readBytes)
            )
            .childChannelInitializer { [self] channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let box = loops.first(where: { $0.eventLoop === channel.eventLoop })
                    else { throw ChannelError.unknownLocalAddress }
                    try channel.pipeline.syncOperations.addHandler(
                        CheckHandler(
                            loop: box.state.value, connections: box.connections.value,
                            count: connectionCount,
                            limits: limits, clock: clock))
                }
            }
        switch address {
        case .tcp(let host, let port):
            return try await bootstrap.bind(host: host, port: port).get()
        case .unix(let path):
            try UnixSocketPath.prepare(path)
            let channel = try await bootstrap.bind(unixDomainSocketPath: path).get()
            // Bound under the process's umask, which lets no one else in; widened only now.
            guard unsafe chmod(path, mode_t(socketMode)) == 0 else {
                let number = errno
                try await channel.close().get()
                throw IOError(errnoCode: number, reason: "chmod \(path)")
            }
            return channel
        }
    }

    /// Closes idle connections, and those in use after their next answer, which says
    /// `connection: close` since the lease is stopping; waits for them, for `seconds` at most.
    package func drain(seconds: Int64) async {
        let end = clock().boot.advanced(bySeconds: seconds)
        while clock().boot < end {
            var open = 0
            for box in loops {
                open +=
                    (try? await box.eventLoop.submit { box.connections.value.closeIdle() }.get())
                    ?? 0
            }
            guard open > 0 else { return }
            try? await Task.sleep(for: .milliseconds(20))
        }
        for box in loops {
            _ = try? await box.eventLoop.submit { box.connections.value.closeAll() }.get()
        }
    }
}

/// How many connections all event loops have.
final class ConnectionCount: Sendable {
    private let open = Atomic<Int>(0)

    /// Takes a place, unless `maximum` are taken.
    func enter(maximum: Int) -> Bool {
        if open.wrappingAdd(1, ordering: .relaxed).newValue <= maximum { return true }
        leave()
        return false
    }

    func leave() { open.wrappingSubtract(1, ordering: .relaxed) }
}

/// The connections of one event loop.
final class ConnectionSet {
    private var handlers: [ObjectIdentifier: CheckHandler] = [:]

    func insert(_ handler: CheckHandler) { handlers[ObjectIdentifier(handler)] = handler }

    /// Says whether it was there.
    func remove(_ handler: CheckHandler) -> Bool {
        handlers.removeValue(forKey: ObjectIdentifier(handler)) != nil
    }

    /// Closes the connections that are not in the middle of a request; gives how many are left.
    func closeIdle() -> Int {
        for handler in Array(handlers.values) { handler.closeIfIdle() }
        return handlers.count
    }

    func closeAll() {
        for handler in Array(handlers.values) { handler.closeNow() }
    }
}

/// Carries one connection.
final class CheckHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let loop: CheckLoop
    private let connections: ConnectionSet
    private let count: ConnectionCount
    private let limits: CheckLimits
    private let clock: @Sendable () -> Instant
    private var connection: CheckConnection
    private var context: ChannelHandlerContext?
    private var timer: Scheduled<Void>?
    /// The answer that ends the connection has been sent; what still comes is dropped.
    private var isEnding = false

    init(
        loop: CheckLoop, connections: ConnectionSet, count: ConnectionCount,
        limits: CheckLimits, clock: @escaping @Sendable () -> Instant
    ) {
        self.loop = loop
        self.connections = connections
        self.count = count
        self.limits = limits
        self.clock = clock
        connection = CheckConnection(loop: loop, at: clock().boot)
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelActive(context: ChannelHandlerContext) {
        guard count.enter(maximum: limits.maximumConnections) else {
            loop.counters.add(.overLimit)
            context.close(promise: nil)
            return
        }
        loop.counters.add(.accepted)
        connections.insert(self)
        armTimer(context)
    }

    func channelInactive(context: ChannelHandlerContext) {
        timer?.cancel()
        timer = nil
        if connections.remove(self) {
            count.leave()
            loop.counters.add(.closed)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isEnding else { return }
        let buffer = unwrapInboundIn(data)
        loop.output.removeAll(keepingCapacity: true)
        let now = clock()
        let disposition = unsafe buffer.withUnsafeReadableBytes { bytes in
            // SAFETY: the span ends with the closure, and the buffer outlives it.
            connection.receive(
                unsafe Span(_unsafeElements: bytes.bindMemory(to: UInt8.self)), loop: loop,
                at: now, into: &loop.output)
        }
        if !loop.output.isEmpty {
            context.write(
                wrapOutboundOut(context.channel.allocator.buffer(bytes: loop.output)), promise: nil)
        }
        if disposition == .close { end(context) }
    }

    func channelReadComplete(context: ChannelHandlerContext) { context.flush() }

    /// Back-pressure: a client that doesn't read its answers is not read from.
    func channelWritabilityChanged(context: ChannelHandlerContext) {
        context.channel.setOption(.autoRead, value: context.channel.isWritable)
            .whenFailure { _ in }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event {
            // The client has sent all it will; what was answered goes out before the end.
            context.writeAndFlush(wrapOutboundOut(ByteBuffer())).assumeIsolated().whenComplete {
                _ in context.close(promise: nil)
            }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    func closeIfIdle() {
        guard !connection.isInHead, !isEnding else { return }
        context?.close(promise: nil)
    }

    func closeNow() { context?.close(promise: nil) }

    /// Sends what is written, ends our side, and drains the other for a moment.
    private func end(_ context: ChannelHandlerContext) {
        isEnding = true
        timer?.cancel()
        context.flush()
        context.close(mode: .output, promise: nil)
        timer = context.eventLoop.assumeIsolated().scheduleTask(
            in: .seconds(CheckServer.lingerSeconds)
        ) { context.close(promise: nil) }
    }

    /// One timer a connection: when it fires early because something came since, it is set again.
    private func armTimer(_ context: ChannelHandlerContext) {
        let now = clock().boot
        // While nothing has begun, the shorter of both deadlines is when to look again.
        let look = min(
            connection.deadline(limits: limits), now.advanced(bySeconds: limits.headSeconds))
        let wait = max(1_000_000, look.nanoseconds - now.nanoseconds)
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(wait)) { [self] in
            guard !isEnding else { return }
            if clock().boot < connection.deadline(limits: limits) {
                armTimer(context)
            } else {
                loop.counters.add(connection.isInHead ? .headTimeout : .idleTimeout)
                context.close(promise: nil)
            }
        }
    }
}
