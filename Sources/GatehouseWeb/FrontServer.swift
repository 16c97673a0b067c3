// The front door's listener: HTTP/1.1 and HTTP/2 over TLS, or plain behind a trusted proxy.

package import GatehouseCore
package import GatehouseSystem
import Glibc
import HTTPTypes
import Hummingbird
import HummingbirdCore
import HummingbirdHTTP2
package import Logging
import NIOCore
import NIOSSL
import ServiceLifecycle

/// Where the front door listens, and how.
package struct FrontListener: Sendable {
    package enum Security: Sendable {
        /// PEM files of the certificate chain and its key.
        case tls(certificate: String, key: String)
        /// Plain HTTP, for the listed proxies only.
        case plain
    }

    package let address: ListenAddress
    package let security: Security
    /// Peers whose `X-Forwarded-For` is taken; a Unix socket's peers count as listed.
    package let trustedProxies: [String]
    /// The mode of a Unix socket.
    package let socketMode: UInt16
    /// Who may connect over TCP.
    package let gate: PeerGate

    package init(
        address: ListenAddress, security: Security, trustedProxies: [String], socketMode: UInt16,
        gate: PeerGate
    ) {
        self.address = address
        self.security = security
        self.trustedProxies = trustedProxies
        self.socketMode = socketMode
        self.gate = gate
    }
}

package struct FrontServer: Service {
    /// Idle connections of browsers and proxies.
    static let idleSeconds: Int64 = 60
    package static let maximumConnections = 4096
    /// Heads up to so many times the door's limits are read, and answered by the door in words; of more
    /// than that the codec says 400, and closes.
    static let headSlack = 2

    private let listener: FrontListener
    private let door: FrontDoor
    private let logger: Logger
    private let builder: HTTPServerBuilder

    /// - Throws: when certificate or key can't be read.
    package init(
        listener: FrontListener, door: FrontDoor, isDevelopment: Bool, logger: Logger
    ) throws {
        self.listener = listener
        self.door = door
        self.logger = logger
        var http1 = HTTP1Channel.Configuration(
            additionalChannelHandlers: [RequestDeadlines(nextHeadSeconds: Self.idleSeconds)],
            idleTimeout: .seconds(Self.idleSeconds))
        http1.httpDecoder = .init(
            maxHeaderFieldSize: FrontDoor.maximumFieldBytes * Self.headSlack,
            maxHeaderListSize: FrontDoor.maximumFieldBytes * Self.headSlack,
            maxHeaderFieldCount: FrontDoor.maximumFields * Self.headSlack)
        switch listener.security {
        case .plain: builder = .http1(http1, at: listener.address, gate: listener.gate)
        case .tls(let certificate, let key):
            let tls = try ServerTLS.configuration(
                ServerTLS.Files(certificate: certificate, key: key), protocols: [],
                acceptsDevelopment: isDevelopment)
            let gate = listener.address.isTCP ? listener.gate : nil
            builder = HTTPServerBuilder { [tls, http1] responder in
                GatedChannel(
                    gate: gate,
                    base: TimedHandshake(
                        base: try HTTP2UpgradeChannel(
                            tlsConfiguration: tls,
                            configuration: .init(
                                idleTimeout: .seconds(Self.idleSeconds), streamConfiguration: http1
                            ), responder: responder)))
            }
        }
    }

    package func run() async throws {
        let bind: BindAddress =
            switch listener.address {
            case .tcp(let host, let port): .hostname(host, port: port)
            case .unix(let path): .unixDomainSocket(path: path)
            }
        let application = Application(
            responder: Responder(door: door, listener: listener), server: builder,
            configuration: ApplicationConfiguration(
                address: bind,
                availableConnectionsDelegate: MaximumAvailableConnections(
                    Self.maximumConnections)),
            onServerRunning: { [listener] _ in
                // Bound under the process's umask, which lets no one else in; widened only now.
                guard case .unix(let path) = listener.address else { return }
                _ = unsafe chmod(path, mode_t(listener.socketMode))
            }, logger: logger)
        try await application.runService(gracefulShutdownSignals: [])
    }

    private struct Context: RequestContext {
        var coreContext: CoreRequestContextStorage
        let channel: any Channel

        init(source: ApplicationRequestContextSource) {
            coreContext = .init(source: source)
            channel = source.channel
        }
    }

    private struct Responder: HTTPResponder {
        let door: FrontDoor
        let listener: FrontListener

        func respond(to request: Request, context: Context) async throws -> Response {
            let front = FrontRequest(
                method: request.method, target: request.head.path ?? "",
                authority: request.head.authority, fields: request.headers,
                // A TCP peer that has gone is nobody's, and trusted by nobody.
                peer: listener.address.isTCP
                    ? context.channel.remoteAddress?.ipAddress ?? "unknown" : nil,
                addresses: ClientAddressRule(trustedProxies: listener.trustedProxies)
            ) { limit in
                do { return try await request.body.collect(upTo: limit) } catch {
                    guard error is NIOTooManyBytesError else { throw error }
                    return nil
                }
            }
            guard isTrusted(context.channel.remoteAddress) else {
                let refusal = FrontRefusal(403, "proxy", "refusal.proxy")
                return response(door.refuse(refusal, front), to: request)
            }
            let answer = try? await withTimeLimit(seconds: FrontDoor.requestSeconds) { [door] in
                await whileConnected(context.channel) { await door.respond(to: front) }
            }
            guard let answer else { return response(await door.late(front), to: request) }
            return response(answer, to: request)
        }

        /// Plain HTTP is for listed peers; everybody who reaches a Unix socket is one. A TCP peer
        /// whose address can't be told any more has reset its connection, and is nobody.
        private func isTrusted(_ peer: SocketAddress?) -> Bool {
            guard case .plain = listener.security, listener.address.isTCP else { return true }
            return peer?.ipAddress.map { listener.trustedProxies.contains($0) } ?? false
        }

        private func response(_ front: FrontResponse, to request: Request) -> Response {
            var fields = HTTPFields()
            for (name, value) in front.headers {
                fields.append(HTTPField(name: name, value: value))
            }
            if let type = front.contentType { fields[.contentType] = type }
            let body = front.bytes.map { ByteBuffer(bytes: $0) } ?? ByteBuffer(string: front.body)
            if front.status != 204 { fields[.contentLength] = "\(body.readableBytes)" }
            // The answer to HEAD has the length of GET's body, and no body.
            return Response(
                status: .init(code: front.status), headers: fields,
                body: request.method == .head ? ResponseBody() : ResponseBody(byteBuffer: body))
        }
    }
}

/// Does `work`, and cancels it when the connection closes: nobody waits for its answer, and a
/// password that waits to be hashed leaves the queue (REQUIREMENTS PW-12).
private func whileConnected(
    _ channel: any Channel, _ work: @escaping @Sendable () async -> FrontResponse
) async -> FrontResponse {
    let closed = AsyncStream.makeStream(of: Void.self)
    channel.closeFuture.whenComplete { _ in closed.continuation.finish() }
    return await withTaskGroup(of: FrontResponse?.self) { group in
        group.addTask { await work() }
        group.addTask {
            for await _ in closed.stream {}
            return nil
        }
        for await response in group {
            group.cancelAll()
            if let response { return response }
        }
        return .text(503, "The connection was closed.")
    }
}
