// TLS of a listener: certificate, key and client certificates from files, loaded again when they change.

package import GatehouseCore
import Glibc
import NIOCore
package import NIOSSL
import Synchronization

/// A certificate of `serve --dev` or `make certs` was given to a server that is not for development.
package struct DevelopmentCertificateRefused: Error, CustomStringConvertible {
    package let description = "it is a development certificate"
}

/// What a TLS listener shows and asks for. All files are PEM.
package final class ServerTLS: Sendable {
    package struct Files: Sendable, Equatable {
        package let certificate: String
        package let key: String
        /// Who signs the certificates that clients must show; nil when they need none.
        package let clientAuthority: String?

        package init(certificate: String, key: String, clientAuthority: String? = nil) {
            self.certificate = certificate
            self.key = key
            self.clientAuthority = clientAuthority
        }
    }

    private let files: Files
    private let acceptsDevelopment: Bool
    private struct State {
        var context: NIOSSLContext
        var stamps: [FileStamp?]
    }
    private let state: Mutex<State>

    /// - Throws: when a file can't be read, or a development certificate is given where none may be.
    package init(_ files: Files, acceptsDevelopment: Bool) throws {
        self.files = files
        self.acceptsDevelopment = acceptsDevelopment
        let stamps = Self.stamps(of: files)
        state = Mutex(
            State(
                context: try NIOSSLContext(
                    configuration: Self.configuration(
                        files, protocols: ["http/1.1"], acceptsDevelopment: acceptsDevelopment)),
                stamps: stamps))
    }

    /// For the next connection.
    package var context: NIOSSLContext { state.withLock { $0.context } }

    /// Takes up files that have changed; those who are connected keep what they have.
    ///
    /// - Returns: whether anything changed.
    /// - Throws: when the new files can't be used; then the old ones stay in use, and the next call
    ///   tries again.
    package func reloadIfChanged() throws -> Bool {
        let stamps = Self.stamps(of: files)
        guard state.withLock({ $0.stamps != stamps }) else { return false }
        let context = try NIOSSLContext(
            configuration: Self.configuration(
                files, protocols: ["http/1.1"], acceptsDevelopment: acceptsDevelopment))
        state.withLock { $0 = State(context: context, stamps: stamps) }
        return true
    }

    /// When the first of the certificates ends, if all files can be used.
    package static func lastValidity(
        _ files: Files, acceptsDevelopment: Bool
    ) throws -> UnixTime {
        _ = try ServerTLS(files, acceptsDevelopment: acceptsDevelopment)
        let ends = try NIOSSLCertificate.fromPEMFile(files.certificate).map(\.notValidAfter)
        return UnixTime(clamping: Int64(ends.min() ?? 0))
    }

    /// TLS 1.2 and later, with authenticated encryption and forward secrecy only (REQUIREMENTS SW-6).
    package static func configuration(
        _ files: Files, protocols: [String], acceptsDevelopment: Bool
    ) throws -> TLSConfiguration {
        let certificates = try NIOSSLCertificate.fromPEMFile(files.certificate)
        guard acceptsDevelopment || !certificates.contains(where: isForDevelopment) else {
            throw DevelopmentCertificateRefused()
        }
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: certificates.map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: files.key, format: .pem)))
        tls.minimumTLSVersion = .tlsv12
        // TLS 1.3 has nothing else.
        tls.cipherSuiteValues = [
            .TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, .TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            .TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, .TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            .TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            .TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ]
        // How long a closed connection waits for its peer's goodbye; it keeps its place until then.
        tls.shutdownTimeout = .seconds(1)
        tls.applicationProtocols = protocols
        if let authority = files.clientAuthority {
            tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(authority))
            // Any name that the authority signed is a client; without a certificate nobody is.
            tls.certificateVerification = .noHostnameVerification
        }
        return tls
    }

    /// Whether a certificate has the mark of those that `serve --dev` and `make certs` make, in its
    /// issuer or subject (REQUIREMENTS SW-6).
    private static func isForDevelopment(_ certificate: NIOSSLCertificate) -> Bool {
        let mark = Array("Gatehouse development, not for production".utf8)
        guard let bytes = try? certificate.toDERBytes(), bytes.count >= mark.count else {
            return false
        }
        return (0...(bytes.count - mark.count)).contains {
            bytes[$0..<($0 + mark.count)].elementsEqual(mark)
        }
    }

    /// Nil for a file that isn't there.
    private static func stamps(of files: Files) -> [FileStamp?] {
        [files.certificate, files.key, files.clientAuthority ?? ""].map { FileStamp($0) }
    }
}
