// TLS of the check endpoint: handshakes, clients' certificates, and new files without a restart.

import Foundation
import GatehouseCore
import GatehouseSystem
import GatehouseTestSupport
import NIOSSL
import Testing

@testable import GatehouseCheck

@Suite struct CheckTLSTests {
    private let fixture: CheckFixture
    private let directory = TemporaryDirectory()

    init() throws { fixture = try CheckFixture() }

    private func serve(
        _ tls: ServerTLS, headSeconds: Int64 = 5
    ) async throws -> (server: CheckServer, port: Int) {
        var limits = CheckLimits()
        limits.headSeconds = headSeconds
        var setup = CheckSetup(audience: audience(), lease: fixture.lease)
        setup.settings = fixture.settings(limits: limits)
        setup.tls = tls
        setup.clock = noonClock()
        let server = try CheckServer(setup)
        #expect(await server.publish(fixture.snapshot))
        let port = try await server.listen(on: .tcp(host: "127.0.0.1", port: 0))
        return (server, try #require(port))
    }

    /// The status of a good request over a connection of its own; nil when there was no answer.
    private func status(_ port: Int, _ client: TLSConfiguration) async throws -> Int? {
        let tunnel = try await TLSTunnel(port: port, client)
        let answer = try await RawSocket(path: tunnel.path).ask(fixture.request())
        try await tunnel.stop()
        return answer?.status
    }

    @Test func `the verdicts over TLS are those of every other way`() async throws {
        let harness = try await SocketHarness(.nioTLS, fixture: fixture)
        let due = try fixture.cookie(.sample(issued: noon - 300, idle: noon + 3300))
        let requests: [(request: String, status: Int)] = try [
            (fixture.request(), 200), (fixture.request(cookie: "X-A: b"), 401),
            (fixture.request("GET /check,level=3 HTTP/1.1"), 403),
            (fixture.request("GET /check,optional HTTP/1.1", cookie: "X-A: b"), 200),
            (
                fixture.request("GET /check,bearer HTTP/1.1", cookie: fixture.bearer(.sample())),
                200
            ), (fixture.request("GET /check,renew HTTP/1.1", cookie: due), 200),
            (fixture.request("GET /check,x HTTP/1.1"), 400),
        ]
        let answers = try await harness.answers(requests.map(\.request).joined())
        try #require(answers.map(\.status) == requests.map(\.status))
        #expect(answers[5].headers["set-cookie"] != nil)
        // A peer over TLS is not listed for that.
        let forwarded = try await harness.answer(
            fixture.request(
                "GET /check,forward HTTP/1.1", cookie: "X-A: b",
                headers: [
                    "Sec-Fetch-Mode: navigate", "X-Forwarded-Proto: https",
                    "X-Forwarded-Host: evil.example", "X-Forwarded-Uri: /",
                ]))
        #expect(forwarded.headers["location"] == "https://app.example/auth/resume")
        try await harness.stop()
    }

    @Test func `plain bytes to a TLS port get no answer, and others don't notice`() async throws {
        let harness = try await SocketHarness(.nioTLS, fixture: fixture)
        let socket = try harness.connectPlainly()
        socket.send(Array(fixture.request().utf8))
        var received: [UInt8] = []
        #expect(await !socket.receive(into: &received, seconds: 2))
        #expect(CheckAnswer.parse(received)?.isEmpty != false, "an alert at most")
        #expect(harness.server.count(.accepted) == 1)
        // Counted on the event loop, a moment after the client has seen it.
        for _ in 0..<500 where harness.server.count(.closed) == 0 {
            try await Task.sleep(for: .milliseconds(10))
        }
        #expect(harness.server.count(.closed) == 1)
        #expect(harness.server.count(.good) == 0)
        #expect(try await harness.answers(fixture.request()).map(\.status) == [200])
        try await harness.stop()
    }

    @Test func `a Unix socket beside TLS is plain`() async throws {
        let certificate = try ServerCertificate.shared.get()
        let (server, port) = try await serve(
            ServerTLS(certificate.files, acceptsDevelopment: false))
        let path = directory.path + "/s"
        _ = try await server.listen(on: .unix(path: path))
        #expect(try await RawSocket(path: path).ask(fixture.request())?.status == 200)
        #expect(try await status(port, .client(trusting: certificate.authority)) == 200)
        // One loop of each driver, and both count.
        #expect(server.loopCount == 2)
        #expect(server.count(.good) == 2)
        #expect(await server.takeActivity().filter { !$0.isEmpty }.count == 2)
        await server.shutdown()
    }

    @Test func `a handshake that doesn't end is cut off`() async throws {
        let certificate = try ServerCertificate.shared.get()
        let (server, port) = try await serve(
            ServerTLS(certificate.files, acceptsDevelopment: false), headSeconds: 1)
        let silent = try RawSocket(port: UInt16(port))
        let slow = try RawSocket(port: UInt16(port))
        // The first bytes of a ClientHello that is announced to be longer.
        slow.send([0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
        let start = SystemClock.now().boot.nanoseconds
        for socket in [silent, slow] {
            var received: [UInt8] = []
            #expect(await !socket.receive(into: &received, seconds: 5))
            #expect(received.isEmpty)
        }
        #expect(SystemClock.now().boot.nanoseconds - start > 800_000_000)
        #expect(server.count(.headTimeout) == 2)
        #expect(server.count(.idleTimeout) == 0)
        await server.shutdown()
    }

    // MARK: Clients' certificates

    @Test func `where clients need a certificate, only the authority's are let in`() async throws {
        let authority = try TestCertificate(authority: "ca", in: directory)
        let other = try TestCertificate(authority: "other-ca", in: directory)
        let own = try ServerCertificate.shared.get()
        let (server, port) = try await serve(
            ServerTLS(
                own.files(clientAuthority: authority.certificate), acceptsDevelopment: false))
        func status(_ name: String, _ usage: String, _ issuer: TestCertificate) async throws -> Int?
        {
            let certificate = try TestCertificate(
                name, for: usage, signedBy: issuer, in: directory)
            return try await self.status(
                port, .client(trusting: own.authority, showing: certificate))
        }
        #expect(try await status("proxy", "clientAuth", authority) == 200)
        #expect(
            try await self.status(port, .client(trusting: own.authority)) == nil,
            "none shown")
        #expect(try await status("stranger", "clientAuth", other) == nil)
        #expect(try await status("server", "serverAuth", authority) == nil, "not a client's")
        #expect(server.count(.good) == 1)
        await server.shutdown()
    }

    // MARK: Files

    private func developmentFiles() throws -> ServerTLS.Files {
        let made = try #require(DevelopmentCertificate())
        let files = ServerTLS.Files(
            certificate: directory.path + "/development.pem",
            key: directory.path + "/development.key")
        try made.certificate.write(toFile: files.certificate, atomically: true, encoding: .utf8)
        try made.key.write(toFile: files.key, atomically: true, encoding: .utf8)
        return files
    }

    @Test func `a development certificate is for development`() throws {
        let files = try developmentFiles()
        #expect(throws: DevelopmentCertificateRefused.self) {
            try ServerTLS(files, acceptsDevelopment: false)
        }
        _ = try ServerTLS(files, acceptsDevelopment: true)
        _ = try ServerTLS(ServerCertificate.shared.get().files, acceptsDevelopment: false)
    }

    @Test func `new files hold for the next connection, and broken ones change nothing`()
        async throws
    {
        let (first, second) = (TemporaryDirectory(), TemporaryDirectory())
        let authorities = try [first, second].map { try TestCertificate(authority: "ca", in: $0) }
        let certificates = try zip(authorities, [first, second]).map { authority, directory in
            try TestCertificate("server", for: "serverAuth", signedBy: authority, in: directory)
        }
        let files = ServerTLS.Files(
            certificate: directory.path + "/tls.pem", key: directory.path + "/tls.key")
        func install(_ certificate: String, _ key: String) throws {
            for (from, to) in [(certificate, files.certificate), (key, files.key)] {
                // As an operator would: written beside, then moved.
                try Data(contentsOf: URL(fileURLWithPath: from)).write(
                    to: URL(fileURLWithPath: to), options: .atomic)
            }
        }
        try install(certificates[0].certificate, certificates[0].key)
        let tls = try ServerTLS(files, acceptsDevelopment: false)
        let (server, port) = try await serve(tls)
        /// Which of both authorities' clients are answered.
        func answered() async throws -> [Bool] {
            var answered: [Bool] = []
            for authority in authorities {
                let client = try TLSConfiguration.client(trusting: authority)
                answered.append(try await status(port, client) == 200)
            }
            return answered
        }
        #expect(try await answered() == [true, false])
        #expect(try !tls.reloadIfChanged())

        let tunnel = try await TLSTunnel(
            port: port, .client(trusting: authorities[0]))
        let connected = try RawSocket(path: tunnel.path)
        #expect(try await connected.ask(fixture.request())?.status == 200)

        try install(certificates[1].certificate, certificates[1].key)
        #expect(try await answered() == [true, false], "nobody has looked yet")
        #expect(try tls.reloadIfChanged())
        #expect(try !tls.reloadIfChanged())
        #expect(try await answered() == [false, true])
        #expect(
            try await connected.ask(fixture.request())?.status == 200,
            "who is connected keeps what it has")

        // A key that doesn't fit, half a file, no file, and one for development.
        let half = directory.path + "/half.pem"
        try String(readText(certificates[0].certificate).prefix(200))
            .write(toFile: half, atomically: true, encoding: .utf8)
        let development = try developmentFiles()
        for (certificate, key) in [
            (certificates[0].certificate, certificates[1].key), (half, certificates[0].key),
            (certificates[0].certificate, half),
            (development.certificate, development.key),
        ] {
            try install(certificate, key)
            // It is told each time, until it is mended.
            for _ in 0..<2 { #expect(throws: (any Error).self) { try tls.reloadIfChanged() } }
        }
        try FileManager.default.removeItem(atPath: files.certificate)
        #expect(throws: (any Error).self) { try tls.reloadIfChanged() }
        #expect(try await answered() == [false, true])

        try install(certificates[0].certificate, certificates[0].key)
        #expect(try tls.reloadIfChanged())
        #expect(try await answered() == [true, false])
        try await tunnel.stop()
        await server.shutdown()
    }
}
