// Deadlines of the front door's connections: a head in time, and no body after the answer.

import NIOCore
import NIOHTTPTypes

/// Stands behind the HTTP codec of a connection, or of one stream in HTTP/2.
///
/// Counting only silence as idle, as servers do, lets a client keep its place for ever by sending a
/// little now and then. Here each head has a deadline of its own (REQUIREMENTS SW-3), and a client
/// that was answered before its body had come loses its connection instead of sending it.
final class RequestDeadlines: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// From the connection's begin to its first head; TLS has a limit of its own before.
    static let firstHeadSeconds: Int64 = 10

    /// From an answer to the end of the next head, idle time included.
    private let nextHeadSeconds: Int64
    private var timer: Scheduled<Void>?
    private var isReceiving = false

    init(nextHeadSeconds: Int64) { self.nextHeadSeconds = nextHeadSeconds }

    func handlerAdded(context: ChannelHandlerContext) { arm(Self.firstHeadSeconds, context) }
    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func channelInactive(context: ChannelHandlerContext) {
        timer?.cancel()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head:
            timer?.cancel()
            isReceiving = true
        case .body: break
        case .end: isReceiving = false
        }
        context.fireChannelRead(data)
    }

    /// A client of HTTP/1 that sends no more has gone: none that waits for an answer ends its side
    /// first. In HTTP/2 the end of a request is just that, on a stream below its connection.
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        let isStream = context.channel.parent?.parent != nil
        if case ChannelEvent.inputClosed = event, !isStream { return context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard case .end = unwrapOutboundIn(data) else {
            return context.write(data, promise: promise)
        }
        if isReceiving {
            let sent = promise ?? context.eventLoop.makePromise()
            sent.futureResult.assumeIsolated().whenComplete { _ in context.close(promise: nil) }
            context.writeAndFlush(data, promise: sent)
        } else {
            arm(nextHeadSeconds, context)
            context.write(data, promise: promise)
        }
    }

    private func arm(_ seconds: Int64, _ context: ChannelHandlerContext) {
        timer?.cancel()
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: .seconds(seconds)) {
            context.close(promise: nil)
        }
    }
}
