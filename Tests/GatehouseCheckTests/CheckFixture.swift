// A check endpoint with one good session, in process and over real sockets.

import Foundation
import GatehouseCheck
import GatehouseCore
import GatehouseSystem
import GatehouseTestSupport
import Glibc
import NIOSSL
import Synchronization

/// Keys, tokens and a snapshot that every check test starts from.
struct CheckFixture {
    static let cookieName = "__Host-gatehouse"

    let lease: Lease
    let ring: Keyring
    var snapshot: CheckSnapshot
    /// A good session's token, as text.
    let token: String
    let bearerToken: String
    let revokedToken: String
    let expiredToken: String

    init() throws {
        lease = Lease(maximumStalenessSeconds: 120)
        lease.enter(.serving)
        lease.renew(started: instant(noon).boot, storeLatest: time(noon))
        let ring = try Keyring.first(at: time(noon), entropy: .system)
        self.ring = ring
        var index = RevocationIndex()
        index.apply(
            [
                FeedEntry(
                    sequence: 1, change: .session(Claims.sample(session: 66).session),
                    deadline: time(noon + 86_400))
            ], at: time(noon))
        snapshot = CheckSnapshot(keyring: ring, revocations: index.snapshot)
        token = try Self.sealed(.sample(name: "zoë"), ring)
        bearerToken = try Self.sealed(.sample(), ring, .bearer)
        revokedToken = try Self.sealed(.sample(session: 66), ring)
        expiredToken = try Self.sealed(.sample(idle: noon), ring)
    }

    private static func sealed(
        _ claims: Claims, _ ring: Keyring, _ transport: TokenTransport = .cookie
    ) throws -> String {
        let cipher = try TokenCipher(keyring: ring, audience: audience(), purposes: [.session])
        return String(
            decoding: try cipher.sealSession(claims, transport: transport, entropy: .system),
            as: UTF8.self)
    }

    /// The header field with a session of these claims.
    func cookie(_ claims: Claims) throws -> String { try cookie(Self.sealed(claims, ring)) }

    func cookie(_ token: String) -> String { "Cookie: \(Self.cookieName)=\(token)" }

    func bearer(_ claims: Claims) throws -> String {
        try "Authorization: Bearer \(Self.sealed(claims, ring, .bearer))"
    }

    /// What a session cookie's token says; nil when it doesn't open.
    func opened(_ token: String) throws -> Claims? {
        let cipher = try TokenCipher(keyring: ring, audience: audience(), purposes: [.session])
        let opening = cipher.openSession(Array(token.utf8).span, transport: .cookie)
        guard case .opened(let claims, _) = opening else { return nil }
        return claims
    }

    /// What a check endpoint of the tests is told.
    func settings(limits: CheckLimits = CheckLimits()) -> CheckSettings {
        var settings = CheckSettings()
        settings.limits = limits
        settings.cookieName = Self.cookieName
        settings.resumeURL = Array("https://app.example/auth/resume".utf8)
        return settings
    }

    func loop(limits: CheckLimits = CheckLimits()) -> CheckLoop { loop(settings(limits: limits)) }

    func loop(_ settings: CheckSettings) -> CheckLoop {
        let loop = CheckLoop(
            judge: Judge(audience: audience(), lease: lease), counters: CheckCounters(),
            settings: settings)
        _ = loop.adopt(snapshot)
        return loop
    }

    /// A request with the good cookie; `line` and `headers` take the place of the usual ones.
    func request(
        _ line: String = "GET /check HTTP/1.1", cookie: String? = nil, headers: [String] = [],
        host: String? = "app.example"
    ) -> String {
        var lines = [line]
        if let host { lines.append("Host: \(host)") }
        lines.append(cookie ?? "Cookie: \(Self.cookieName)=\(token)")
        lines += headers
        return lines.joined(separator: "\r\n") + "\r\n\r\n"
    }
}

/// An answer, read strictly: what our own endpoint may send and nothing else.
struct CheckAnswer: Equatable {
    let status: Int
    let headers: [String: String]
    /// In the order they came.
    let names: [String]

    var reason: String { headers["x-auth-reason"] ?? "missing" }
    var closes: Bool { headers["connection"] == "close" }

    /// Reads all answers; nil if anything is left over or malformed.
    static func parse(_ bytes: [UInt8]) -> [CheckAnswer]? {
        var text = String(decoding: bytes, as: UTF8.self)[...]
        var answers: [CheckAnswer] = []
        while !text.isEmpty {
            guard let end = text.firstRange(of: "\r\n\r\n") else { return nil }
            let lines = text[..<end.lowerBound].split(
                separator: "\r\n", omittingEmptySubsequences: false)
            text = text[end.upperBound...]
            guard let first = lines.first, first.hasPrefix("HTTP/1.1 "),
                let status = Int(first.dropFirst(9).prefix(3))
            else { return nil }
            var headers: [String: String] = [:]
            var names: [String] = []
            for line in lines.dropFirst() {
                guard let colon = line.firstIndex(of: ":") else { return nil }
                let name = String(line[..<colon])
                guard headers[name] == nil, line[line.index(after: colon)...].hasPrefix(" ") else {
                    return nil
                }
                headers[name] = String(line[line.index(colon, offsetBy: 2)...])
                names.append(name)
            }
            answers.append(CheckAnswer(status: status, headers: headers, names: names))
        }
        return answers
    }
}

/// Sends bytes to a connection made for them, and gives what came back.
protocol CheckHarness: Sendable {
    /// - Returns: every answer, and whether the endpoint closed the connection.
    func exchange(_ chunks: [[UInt8]]) async throws -> (answers: [CheckAnswer], isClosed: Bool)
    /// Sends `request` as all there is, and gives every answer.
    func answers(_ request: String) async throws -> [CheckAnswer]
    /// Takes the notes of which sessions were used.
    func takeActivity() async -> Set<SessionID>
}

extension CheckHarness {
    /// The answer to `request`, which is one.
    func answer(_ request: String) async throws -> CheckAnswer {
        let answers = try await answers(request)
        guard let answer = answers.first, answers.count == 1 else {
            throw UnexpectedAnswers(answers: answers)
        }
        return answer
    }
}

struct UnexpectedAnswers: Error {
    let answers: [CheckAnswer]
}

/// The connection as a value.
struct InProcessHarness: CheckHarness {
    let fixture: CheckFixture
    let settings: CheckSettings
    let isFromTrustedProxy: Bool
    private let activity = Activity()

    /// What the loops of the exchanges have noted.
    private final class Activity: Sendable {
        let sessions = Mutex<Set<SessionID>>([])
    }

    init(
        fixture: CheckFixture, settings: CheckSettings? = nil, isFromTrustedProxy: Bool = false
    ) {
        self.fixture = fixture
        self.settings = settings ?? fixture.settings()
        self.isFromTrustedProxy = isFromTrustedProxy
    }

    func takeActivity() async -> Set<SessionID> {
        activity.sessions.withLock { sessions in
            defer { sessions = [] }
            return sessions
        }
    }

    func exchange(_ chunks: [[UInt8]]) async throws -> (answers: [CheckAnswer], isClosed: Bool) {
        let loop = fixture.loop(settings)
        defer {
            var notes = ActivityNotes()
            loop.exchangeActivity(&notes)
            activity.sessions.withLock { $0.formUnion(notes.all.map(\.session)) }
        }
        var connection = CheckConnection(
            loop: loop, isFromTrustedProxy: isFromTrustedProxy, at: instant(noon).boot)
        let output = AnswerBuffer()
        for chunk in chunks {
            let disposition = connection.receive(
                chunk.span, loop: loop, at: instant(noon), into: output)
            if disposition == .close { return (try Self.parsed(output.bytes), true) }
        }
        return (try Self.parsed(output.bytes), false)
    }

    func answers(_ request: String) async throws -> [CheckAnswer] {
        try await exchange([Array(request.utf8)]).answers
    }

    static func parsed(_ bytes: [UInt8]) throws -> [CheckAnswer] {
        guard let answers = CheckAnswer.parse(bytes) else { throw MalformedAnswer(bytes: bytes) }
        return answers
    }
}

struct MalformedAnswer: Error {
    let bytes: [UInt8]
}

extension AnswerBuffer {
    /// A copy of what was written.
    var bytes: [UInt8] { unsafe withBytes { unsafe Array($0) } }
}

/// Noon on the wall for as long as a test runs, so that a session's time limits are met to the second;
/// the clock of deadlines goes on as in reality.
func noonClock() -> @Sendable () -> Instant {
    let start = SystemClock.now().boot.nanoseconds
    return {
        let elapsed = SystemClock.now().boot.nanoseconds - start
        return Instant(
            wall: time(noon), boot: BootTime(nanoseconds: noon * 1_000_000_000 + elapsed))
    }
}

/// The same through a kernel's sockets and one of the drivers.
final class SocketHarness: CheckHarness {
    enum Kind: CaseIterable {
        case tcp, unix, nioTCP, nioUnix, nioTLS

        static let plain: [Kind] = [.tcp, .unix, .nioTCP, .nioUnix]

        var isTCP: Bool { self == .tcp || self == .nioTCP || self == .nioTLS }
        var driver: CheckDriverKind { self == .tcp || self == .unix ? .automatic : .nio }
    }

    private let directory = TemporaryDirectory()
    private let port: Int?
    let server: CheckServer
    private let kind: Kind
    /// What makes TLS of the client's plain bytes.
    private let tunnel: TLSTunnel?

    init(
        _ kind: Kind, fixture: CheckFixture, limits: CheckLimits = CheckLimits(),
        settings: CheckSettings? = nil, trustedProxies: [String] = [], loops: Int = 1,
        gate: PeerGate? = nil
    ) async throws {
        self.kind = kind
        var setup = CheckSetup(audience: audience(), lease: fixture.lease)
        setup.settings = settings ?? fixture.settings(limits: limits)
        setup.driver = kind.driver
        setup.trustedProxies = trustedProxies
        setup.loops = loops
        setup.gate = gate
        setup.socketMode = 0o600
        setup.clock = noonClock()
        let certificate = kind == .nioTLS ? try ServerCertificate.shared.get() : nil
        setup.tls = try certificate.map { try ServerTLS($0.files, acceptsDevelopment: false) }
        server = try CheckServer(setup)
        guard await server.publish(fixture.snapshot) else { throw RawSocket.Failure() }
        port = try await server.listen(
            on: kind.isTCP
                ? .tcp(host: "127.0.0.1", port: 0) : .unix(path: directory.path + "/check.sock"))
        guard let certificate, let port else {
            tunnel = nil
            return
        }
        tunnel = try await TLSTunnel(port: port, .client(trusting: certificate.authority))
    }

    func takeActivity() async -> Set<SessionID> {
        Set(await server.takeActivity().flatMap(\.all).map(\.session))
    }

    var socketPath: String { directory.path + "/check.sock" }

    func stop() async throws {
        await server.shutdown()
        try await tunnel?.stop()
    }

    func connect() throws -> RawSocket {
        if let tunnel { return try RawSocket(path: tunnel.path) }
        return try connectPlainly()
    }

    /// Without TLS, also where the server expects it.
    func connectPlainly() throws -> RawSocket {
        guard kind.isTCP else { return try RawSocket(path: directory.path + "/check.sock") }
        guard let port else { throw RawSocket.Failure() }
        return try RawSocket(port: UInt16(port))
    }

    func exchange(_ chunks: [[UInt8]]) async throws -> (answers: [CheckAnswer], isClosed: Bool) {
        let socket = try connect()
        for chunk in chunks { socket.send(chunk) }
        var received: [UInt8] = []
        var isIdle = await socket.receive(into: &received, seconds: 0.1)
        // A slow machine may take longer to the first answer, or to the end that was announced.
        for _ in 0..<50 where isIdle {
            guard received.isEmpty || CheckAnswer.parse(received)?.last?.closes == true else {
                break
            }
            isIdle = await socket.receive(into: &received, seconds: 0.1)
        }
        return (try InProcessHarness.parsed(received), !isIdle)
    }

    func answers(_ request: String) async throws -> [CheckAnswer] {
        let socket = try connect()
        socket.send(Array(request.utf8))
        // Half-closing says that no more comes; the endpoint ends after its answers.
        socket.shutdownWrites()
        var received: [UInt8] = []
        let isIdle = await socket.receive(into: &received, seconds: 5)
        guard !isIdle else { throw RawSocket.Failure() }
        return try InProcessHarness.parsed(received)
    }
}

/// A blocking socket with a receive time-out.
final class RawSocket: Sendable {
    struct Failure: Error {}
    private let descriptor: Int32

    init(port: UInt16, isIPv6: Bool) throws {
        precondition(isIPv6)
        descriptor = socket(AF_INET6, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in6()
        address.sin6_family = sa_family_t(AF_INET6)
        address.sin6_port = port.bigEndian
        address.sin6_addr = in6addr_loopback
        let done = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
            }
        }
        guard done == 0 else { throw Failure() }
    }

    init(port: UInt16) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let done = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard done == 0 else { throw Failure() }
    }

    init(path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) {
            unsafe $0.copyBytes(from: path.utf8)
        }
        let done = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard done == 0 else { throw Failure() }
    }

    deinit { close(descriptor) }

    /// Sends what it can; a peer that has closed takes no more.
    func send(_ bytes: [UInt8]) {
        var sent = 0
        while sent < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { buffer in
                unsafe Glibc.send(
                    descriptor, buffer.baseAddress?.advanced(by: sent), bytes.count - sent,
                    Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            sent += count
        }
    }

    /// Ends our side.
    func shutdownWrites() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Appends what comes until the peer closes (false), `isEnough` of it is here or nothing came for
    /// `seconds` (true). Waits on a thread of its own: the tests' own threads are few.
    func receive(
        into bytes: inout [UInt8], seconds: Double,
        until isEnough: @escaping @Sendable ([UInt8]) -> Bool = { _ in false }
    ) async -> Bool {
        let (received, isIdle) = await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                var received: [UInt8] = []
                let isIdle = self.receiveNow(
                    into: &received, seconds: seconds, until: isEnough)
                continuation.resume(returning: (received, isIdle))
            }
        }
        bytes += received
        return isIdle
    }

    /// Sends one request, and gives its answer; nil when there is none within five seconds.
    func ask(_ request: String) async throws -> CheckAnswer? {
        send(Array(request.utf8))
        var received: [UInt8] = []
        _ = await receive(into: &received, seconds: 5) { $0.suffix(4) == [13, 10, 13, 10] }
        return try InProcessHarness.parsed(received).first
    }

    func receiveNow(
        into bytes: inout [UInt8], seconds: Double,
        until isEnough: ([UInt8]) -> Bool = { _ in false }
    ) -> Bool {
        var wait = timeval(
            tv_sec: Int(seconds), tv_usec: Int((seconds - seconds.rounded(.down)) * 1e6))
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &wait, socklen_t(MemoryLayout<timeval>.size))
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = unsafe buffer.withUnsafeMutableBytes {
                unsafe recv(descriptor, $0.baseAddress, $0.count, 0)
            }
            if count > 0 {
                bytes += buffer[..<count]
                if isEnough(bytes) { return true }
            } else {
                return count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)
            }
        }
    }
}
