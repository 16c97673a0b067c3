// A client's side of TLS: what plain sockets send to a Unix socket goes through TLS to a server.

import GatehouseTestSupport
import NIOCore
import NIOPosix
import NIOSSL

/// Takes plain connections, makes a TLS connection to the server for each, and carries bytes between
/// them, ends and back-pressure included. A handshake that fails ends the plain connection.
final class TLSTunnel: Sendable {
    private let directory = TemporaryDirectory()
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    var path: String { directory.path + "/tunnel" }

    init(port: Int, _ configuration: TLSConfiguration) async throws {
        let context = try NIOSSLContext(configuration: configuration)
        _ = try await ServerBootstrap(group: group)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { plain in
                ClientBootstrap(group: plain.eventLoop)
                    .channelOption(.allowRemoteHalfClosure, value: true)
                    .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                    .channelInitializer { secure in
                        secure.eventLoop.makeCompletedFuture {
                            try secure.pipeline.syncOperations.addHandler(
                                NIOSSLClientHandler(context: context, serverHostname: "localhost"))
                        }
                    }
                    .connect(host: "127.0.0.1", port: port)
                    .flatMapThrowing { secure in
                        let (near, far) = Glue.pair()
                        try plain.pipeline.syncOperations.addHandler(near)
                        try secure.pipeline.syncOperations.addHandler(far)
                    }
            }
            .bind(unixDomainSocketPath: path).get()
    }

    func stop() async throws { try await group.shutdownGracefully() }
}

/// One of two handlers on one event loop; each hands to the other what it reads.
private final class Glue: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var partner: Glue?
    private var context: ChannelHandlerContext?
    private var waitsToRead = false

    static func pair() -> (Glue, Glue) {
        let (near, far) = (Glue(), Glue())
        near.partner = far
        far.partner = near
        return (near, far)
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        partner = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        partner?.context?.write(wrapOutboundOut(unwrapInboundIn(data)), promise: nil)
    }

    func channelReadComplete(context: ChannelHandlerContext) { partner?.context?.flush() }

    func channelInactive(context: ChannelHandlerContext) {
        partner?.context?.close(promise: nil)
        partner?.readOn()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case ChannelEvent.inputClosed = event else { return }
        partner?.context?.close(mode: .output, promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    func read(context: ChannelHandlerContext) {
        if let target = partner?.context?.channel, target.isActive, !target.isWritable {
            waitsToRead = true
        } else {
            context.read()
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { partner?.readOn() }
    }

    private func readOn() {
        guard waitsToRead else { return }
        waitsToRead = false
        context?.read()
    }
}
