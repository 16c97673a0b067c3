// The front door's listener: HTTP/1.1 and HTTP/2 over TLS, or plain behind a trusted proxy.

package import GatehouseCore
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
        /// Plain HTTP, for these peers only; a Unix socket's peers count as listed.
        case plain(trustedProxies: [String])
    }

    package let address: ListenAddress
    package let security: Security

    /// The mode of a Unix socket.
    package let socketMode: UInt16

    package init(address: ListenAddress, security: Security, socketMode: UInt16) {
        self.address = address
        self.security = security
        self.socketMode = socketMode
    }
}

package struct FrontServer: Service {
    /// Idle connections of browsers and proxies.
    static let idleSeconds: Int64 = 60
    static let maximumConnections = 4096

    private let listener: FrontListener
    private let door: FrontDoor
    private let logger: Logger
    private let builder: HTTPServerBuilder

    /// - Throws: when certificate or key can't be read.
    package init(listener: FrontListener, door: FrontDoor, logger: Logger) throws {
        self.listener = listener
        self.door = door
        self.logger = logger
        var http1 = HTTP1Channel.Configuration(idleTimeout: .seconds(Self.idleSeconds))
        http1.httpDecoder = .init(
            maxHeaderFieldSize: FrontDoor.maximumFieldBytes,
            maxHeaderListSize: FrontDoor.maximumFieldBytes,
            maxHeaderFieldCount: FrontDoor.maximumFields)
        switch listener.security {
        case .plain: builder = .http1(configuration: http1)
        case .tls(let certificate, let key):
            var tls = TLSConfiguration.makeServerConfiguration(
                certificateChain: try NIOSSLCertificate.fromPEMFile(certificate).map {
                    .certificate($0)
                },
                privateKey: .privateKey(try NIOSSLPrivateKey(file: key, format: .pem)))
            tls.minimumTLSVersion = .tlsv12
            // AEAD with forward secrecy only (REQUIREMENTS SW-6); TLS 1.3 has nothing else.
            tls.cipherSuiteValues = [
                .TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, .TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                .TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, .TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
                .TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                .TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
            ]
            builder = HTTPServerBuilder { [tls] responder in
                TimedHandshake(
                    base: try HTTP2UpgradeChannel(
                        tlsConfiguration: tls,
                        configuration: .init(idleTimeout: .seconds(Self.idleSeconds)),
                        responder: responder))
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
            responder: Responder(door: door, security: listener.security), server: builder,
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

    private struct Context: RequestContext, RemoteAddressRequestContext {
        var coreContext: CoreRequestContextStorage
        let remoteAddress: SocketAddress?

        init(source: ApplicationRequestContextSource) {
            coreContext = .init(source: source)
            remoteAddress = source.channel.remoteAddress
        }
    }

    private struct Responder: HTTPResponder {
        let door: FrontDoor
        let security: FrontListener.Security

        func respond(to request: Request, context: Context) async throws -> Response {
            guard isTrusted(context.remoteAddress) else {
                return Self.response(
                    .text(403, "This port is for the proxy in front of it.", retry: false))
            }
            let front = FrontRequest(
                method: request.method, target: request.head.path ?? "",
                authority: request.head.authority, fields: request.headers
            ) { limit in
                do { return try await request.body.collect(upTo: limit) } catch {
                    guard error is NIOTooManyBytesError else { throw error }
                    return nil
                }
            }
            let response = try? await withTimeLimit(seconds: FrontDoor.requestSeconds) { [door] in
                await door.respond(to: front)
            }
            return Self.response(
                response ?? .text(503, "This took too long; please try again.", retry: true))
        }

        private func isTrusted(_ peer: SocketAddress?) -> Bool {
            guard case .plain(let trusted) = security else { return true }
            switch peer {
            case .unixDomainSocket: return true
            case .v4, .v6: return peer?.ipAddress.map { trusted.contains($0) } ?? false
            // A Unix socket's peer has no address.
            case nil: return true
            }
        }

        private static func response(_ front: FrontResponse) -> Response {
            var fields = HTTPFields()
            for (name, value) in front.headers {
                fields.append(HTTPField(name: name, value: value))
            }
            if let type = front.contentType { fields[.contentType] = type }
            if front.status != 204 { fields[.contentLength] = "\(front.body.utf8.count)" }
            return Response(
                status: .init(code: front.status), headers: fields,
                body: ResponseBody(byteBuffer: ByteBuffer(string: front.body)))
        }
    }
}
