// Connections of peers that are on no list are closed before anything is read from them.

import GatehouseCore
import GatehouseSystem
import HummingbirdCore
import Logging
import NIOCore

/// A server's connections, of those whom a gate admits.
struct GatedChannel<Base: ServerChildChannel>: ServerChildChannel {
    /// Nil where everybody who gets there may connect: at a Unix socket.
    let gate: PeerGate?
    let base: Base

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Base.Value> {
        guard gate?.admits(channel.remoteAddress?.ipAddress) != false else {
            channel.close(promise: nil)
            return channel.eventLoop.makeFailedFuture(PeerRefused())
        }
        return base.setup(channel: channel, logger: logger)
    }

    func handle(value: Base.Value, logger: Logger) async {
        await base.handle(value: value, logger: logger)
    }
}

extension HTTPServerBuilder {
    /// HTTP/1.1 without TLS, for those whom the gate admits.
    static func http1(
        _ configuration: HTTP1Channel.Configuration = HTTP1Channel.Configuration(),
        at address: ListenAddress, gate: PeerGate
    ) -> HTTPServerBuilder {
        HTTPServerBuilder { responder in
            GatedChannel(
                gate: address.isTCP ? gate : nil,
                base: HTTP1Channel(responder: responder, configuration: configuration))
        }
    }
}
