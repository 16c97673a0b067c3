// The SwiftNIO driver: TLS, and every platform.

import GatehouseCore
import GatehouseSystem
import Glibc
import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS
import Synchronization

/// Carries bytes between SwiftNIO's channels and connections.
final class NIODriver: CheckDriver {
    /// How long an answered connection is drained before it is closed, so that the answer is not
    /// lost to a reset while the client still sends.
    static let lingerSeconds: Int64 = 1

    /// Pipelined requests of one read are answered together, and answers are ten times as long as
    /// the shortest requests; so a connection's unsent answers stay below a hundred kilobytes.
    private static let readBytes = 8192

    let counters: [CheckCounters]
    private let group: MultiThreadedEventLoopGroup
    private let boxes: [Box]
    private let setup: CheckSetup
    private let connections: ConnectionCount
    private let listeners = Mutex<[any Channel]>([])
    private let hasEnded = Mutex(false)

    /// What belongs to one event loop and is touched on it only.
    private struct Box: Sendable {
        let eventLoop: any EventLoop
        let checks: NIOLoopBound<CheckLoop>
        let connections: NIOLoopBound<ConnectionSet>
    }

    /// Starts the threads.
    init(_ setup: CheckSetup, connections: ConnectionCount) throws {
        self.setup = setup
        self.connections = connections
        group = MultiThreadedEventLoopGroup(numberOfThreads: setup.loops)
        var boxes: [Box] = []
        var counters: [CheckCounters] = []
        for eventLoop in group.makeIterator() {
            let count = CheckCounters()
            counters.append(count)
            boxes.append(
                try eventLoop.submit {
                    Box(
                        eventLoop: eventLoop,
                        checks: NIOLoopBound(setup.makeLoop(counters: count), eventLoop: eventLoop),
                        connections: NIOLoopBound(ConnectionSet(), eventLoop: eventLoop))
                }.wait())
        }
        self.boxes = boxes
        self.counters = counters
    }

    func onEveryLoop<Value: Sendable>(
        _ body: @escaping @Sendable (CheckLoop) -> Value
    ) async -> [Value?] {
        await onEveryBox { body($0.checks.value) }
    }

    private func onEveryBox<Value: Sendable>(
        _ body: @escaping @Sendable (Box) -> Value
    ) async -> [Value?] {
        var values: [Value?] = []
        for box in boxes {
            // A loop that has ended would drop the work and never say so.
            let value = hasEnded.withLock { hasEnded in
                hasEnded ? nil : box.eventLoop.submit { body(box) }
            }
            values.append(try? await value?.get())
        }
        return values
    }

    func listen(on address: ListenAddress) async throws -> Int? {
        let tls = address.isTCP ? setup.tls : nil
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { [self] channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let box = box(of: channel) else { throw ChannelError.unknownLocalAddress }
                    try channel.pipeline.syncOperations.addHandler(
                        AcceptPause(counters: box.checks.value.counters))
                }
            }
            .childChannelOption(.tcpOption(.tcp_nodelay), value: address.isTCP ? 1 : 0)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(
                .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: Self.readBytes)
            )
            .childChannelInitializer { [self] channel in
                channel.eventLoop.makeCompletedFuture {
                    if address.isTCP, setup.gate?.admits(channel.remoteAddress?.ipAddress) == false
                    {
                        throw PeerRefused()
                    }
                    guard let box = box(of: channel) else { throw ChannelError.unknownLocalAddress }
                    if let tls {
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLServerHandler(context: tls.context))
                    }
                    let isFromTrustedProxy =
                        !address.isTCP
                        || channel.remoteAddress?.ipAddress.map(setup.trustedProxies.contains)
                            ?? false
                    try channel.pipeline.syncOperations.addHandler(
                        CheckHandler(
                            loop: box.checks.value, connections: box.connections.value,
                            count: connections, isFromTrustedProxy: isFromTrustedProxy,
                            awaitsHandshake: tls != nil, clock: setup.clock))
                }
            }
        let channel: any Channel
        switch address {
        case .tcp(let host, let port):
            channel = try await bootstrap.bind(host: host, port: port).get()
        case .unix(let path):
            try UnixSocketPath.prepare(path)
            channel = try await bootstrap.bind(unixDomainSocketPath: path).get()
            // Bound under the process's umask, which lets no one else in; widened only now.
            guard unsafe chmod(path, mode_t(setup.socketMode)) == 0 else {
                let number = errno
                try await channel.close().get()
                throw IOError(errnoCode: number, reason: "chmod \(path)")
            }
        }
        listeners.withLock { $0.append(channel) }
        return channel.localAddress?.port
    }

    private func box(of channel: any Channel) -> Box? {
        boxes.first { $0.eventLoop === channel.eventLoop }
    }

    func stopListening() async {
        for channel in listeners.withLock({ listeners in
            defer { listeners = [] }
            return listeners
        }) { try? await channel.close().get() }
    }

    func openConnections() async -> Int {
        await onEveryBox { $0.connections.value.count }.reduce(0) { $0 + ($1 ?? 0) }
    }

    func endIdle() async -> Int {
        await onEveryBox { $0.connections.value.closeIdle() }.reduce(0) { $0 + ($1 ?? 0) }
    }

    func shutdown() async {
        await stopListening()
        hasEnded.withLock { $0 = true }
        // Also closes what is still open.
        try? await group.shutdownGracefully()
    }
}

/// Leaves a listener alone for a moment when there is no descriptor for a connection. SwiftNIO waits
/// before it reads again, but goes on watching, and the loop would wake at once, over and over.
private final class AcceptPause: ChannelInboundHandler {
    typealias InboundIn = any Channel

    private static let milliseconds: Int64 = 250
    private let counters: CheckCounters

    init(counters: CheckCounters) { self.counters = counters }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // Anything else is one connection's, or the end of the listener.
        guard let number = (error as? IOError)?.errnoCode,
            [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(number)
        else { return }
        counters.add(.acceptPaused)
        let channel = context.channel
        channel.setOption(.autoRead, value: false).whenFailure { _ in }
        channel.eventLoop.scheduleTask(in: .milliseconds(Self.milliseconds)) {
            channel.setOption(.autoRead, value: true).whenFailure { _ in }
        }
    }
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

    var count: Int { handlers.count }
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
    /// Used again for each answer: while no other reference to its bytes is left, that allocates nothing.
    private var outgoing = ByteBuffer()
    /// Until when a TLS handshake must be complete; nil when it is, or there is none.
    private var handshakeDeadline: BootTime?
    /// The answer that ends the connection has been sent; what still comes is dropped.
    private var isEnding = false

    init(
        loop: CheckLoop, connections: ConnectionSet, count: ConnectionCount,
        isFromTrustedProxy: Bool, awaitsHandshake: Bool, clock: @escaping @Sendable () -> Instant
    ) {
        self.loop = loop
        self.connections = connections
        self.count = count
        limits = loop.settings.limits
        self.clock = clock
        let now = clock().boot
        connection = CheckConnection(
            loop: loop, isFromTrustedProxy: isFromTrustedProxy, at: now)
        handshakeDeadline = awaitsHandshake ? now.advanced(bySeconds: limits.headSeconds) : nil
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
        loop.output.removeAll()
        let now = clock()
        let disposition = unsafe buffer.withUnsafeReadableBytes { bytes in
            // SAFETY: the span ends with the closure, and the buffer outlives it.
            connection.receive(
                unsafe Span(_unsafeElements: bytes.bindMemory(to: UInt8.self)), loop: loop,
                at: now, into: loop.output)
        }
        if !loop.output.isEmpty {
            outgoing.clear()
            unsafe loop.output.withBytes { _ = unsafe outgoing.writeBytes($0) }
            context.write(wrapOutboundOut(outgoing), promise: nil)
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
        if case TLSUserEvent.handshakeCompleted = event, !isEnding {
            handshakeDeadline = nil
            // The deadline may have come nearer.
            timer?.cancel()
            armTimer(context)
        }
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

    /// Sends what is written, ends our side, and drains the other for a moment.
    private func end(_ context: ChannelHandlerContext) {
        isEnding = true
        timer?.cancel()
        context.flush()
        context.close(mode: .output, promise: nil)
        timer = context.eventLoop.assumeIsolated().scheduleTask(
            in: .seconds(NIODriver.lingerSeconds)
        ) { context.close(promise: nil) }
    }

    private var deadline: BootTime { handshakeDeadline ?? connection.deadline(limits: limits) }

    /// One timer a connection: when it fires early because something came since, it is set again.
    private func armTimer(_ context: ChannelHandlerContext) {
        let now = clock().boot
        // While nothing has begun, the shorter of both deadlines is when to look again.
        let look = min(deadline, now.advanced(bySeconds: limits.headSeconds))
        let wait = max(1_000_000, look.nanoseconds - now.nanoseconds)
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(wait)) { [self] in
            guard !isEnding else { return }
            if clock().boot < deadline {
                armTimer(context)
            } else {
                let isInHead = connection.isInHead || handshakeDeadline != nil
                loop.counters.add(isInHead ? .headTimeout : .idleTimeout)
                context.close(promise: nil)
            }
        }
    }
}
