// Certificates of the tests, which the openssl program makes.

import Foundation
import GatehouseSystem
import GatehouseTestSupport
import NIOCore
import NIOSSL

/// PEM files: an authority, or what one signed.
struct TestCertificate: Sendable {
    let certificate: String
    let key: String

    struct Failure: Error {
        let output: String
    }

    /// Makes an authority.
    init(authority name: String, in directory: TemporaryDirectory) throws {
        try self.init(name, directory, ["-addext", "basicConstraints=critical,CA:TRUE"])
    }

    /// Makes a certificate of `authority` for a client or for localhost.
    init(
        _ name: String, for usage: String, signedBy authority: TestCertificate,
        in directory: TemporaryDirectory
    ) throws {
        try self.init(
            name, directory,
            [
                "-CA", authority.certificate, "-CAkey", authority.key, "-addext",
                "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=\(usage)",
                "-addext", "subjectAltName=DNS:localhost",
            ])
    }

    private init(
        _ name: String, _ directory: TemporaryDirectory, _ arguments: [String]
    ) throws {
        certificate = "\(directory.path)/\(name).pem"
        key = "\(directory.path)/\(name).key"
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments =
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=\(name)", "-out",
                certificate, "-keyout", key,
            ] + arguments
        let output = Pipe()
        process.standardError = output
        try process.run()
        let text = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failure(output: String(decoding: text, as: UTF8.self))
        }
    }
}

/// A server's certificate and its authority, made once for all tests.
struct ServerCertificate: Sendable {
    static let shared = Result { try ServerCertificate() }

    private let directory = TemporaryDirectory()
    let authority: TestCertificate
    let server: TestCertificate

    private init() throws {
        authority = try TestCertificate(authority: "server-ca", in: directory)
        server = try TestCertificate(
            "server", for: "serverAuth", signedBy: authority, in: directory)
    }

    var files: ServerTLS.Files { files(clientAuthority: nil) }

    func files(clientAuthority: String?) -> ServerTLS.Files {
        ServerTLS.Files(
            certificate: server.certificate, key: server.key, clientAuthority: clientAuthority)
    }
}

extension TLSConfiguration {
    /// A client that trusts one authority, and shows a certificate if it has one.
    static func client(
        trusting authority: TestCertificate, showing certificate: TestCertificate? = nil
    ) throws -> TLSConfiguration {
        var tls = TLSConfiguration.makeClientConfiguration()
        // At a test's end nobody waits for the other's goodbye.
        tls.shutdownTimeout = .milliseconds(100)
        tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(authority.certificate))
        if let certificate {
            tls.certificateChain = try NIOSSLCertificate.fromPEMFile(certificate.certificate)
                .map { .certificate($0) }
            tls.privateKey = .privateKey(try NIOSSLPrivateKey(file: certificate.key, format: .pem))
        }
        return tls
    }
}
