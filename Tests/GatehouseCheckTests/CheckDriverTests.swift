// Both drivers: several event loops, clients that are slow or fast, and ends.

import CAllocationCount
import Foundation
import GatehouseCore
import GatehouseSystem
import GatehouseTestSupport
import Glibc
import NIOCore
import Synchronization
import Testing

@testable import GatehouseCheck

@Suite struct CheckDriverTests {
    private let fixture: CheckFixture

    init() throws { fixture = try CheckFixture() }

    private func setup(_ kind: SocketHarness.Kind, loops: Int = 1) -> CheckSetup {
        var setup = CheckSetup(audience: audience(), lease: fixture.lease)
        setup.settings = fixture.settings()
        setup.loops = loops
        setup.driver = kind.driver
        setup.socketMode = 0o600
        setup.clock = noonClock()
        return setup
    }

    /// A driver without the server around it, whose loops can be looked at one by one.
    private func driver(
        _ kind: SocketHarness.Kind, loops: Int
    ) async throws -> any CheckDriver {
        let setup = setup(kind, loops: loops)
        let driver: any CheckDriver =
            kind.driver == .nio
            ? try NIODriver(setup, connections: ConnectionCount())
            : try EpollDriver(setup, connections: ConnectionCount())
        let snapshot = fixture.snapshot
        _ = await driver.onEveryLoop { $0.adopt(snapshot) }
        return driver
    }

    /// Listens where `kind` does; gives what connects there.
    private func listen(
        _ driver: any CheckDriver, _ kind: SocketHarness.Kind, _ directory: TemporaryDirectory
    ) async throws -> () throws -> RawSocket {
        let path = directory.path + "/s"
        let port = try await driver.listen(
            on: kind.isTCP ? .tcp(host: "127.0.0.1", port: 0) : .unix(path: path))
        return {
            if let port { return try RawSocket(port: UInt16(port)) }
            return try RawSocket(path: path)
        }
    }

    // MARK: Several loops

    @Test(arguments: SocketHarness.Kind.plain)
    func `connections are spread over all loops, and each loop counts its own`(
        _ kind: SocketHarness.Kind
    ) async throws {
        let directory = TemporaryDirectory()
        let driver = try await driver(kind, loops: 4)
        let connect = try await listen(driver, kind, directory)
        var sockets: [RawSocket] = []
        for _ in 0..<20 {
            let socket = try connect()
            #expect(try await socket.ask(fixture.request())?.status == 200)
            sockets.append(socket)
        }
        #expect(driver.counters.map { $0.value(.good) } == [5, 5, 5, 5])
        #expect(driver.counters.map { $0.value(.accepted) } == [5, 5, 5, 5])
        #expect(await driver.openConnections() == 20)
        await driver.shutdown()
        for socket in sockets {
            var received: [UInt8] = []
            #expect(await !socket.receive(into: &received, seconds: 2), "the end of all")
            #expect(received.isEmpty)
        }
    }

    /// Proxies open their connections all at once: then the other loops have not yet taken up what they
    /// were given before.
    @Test func `connections that come at once are spread as well`() async throws {
        let directory = TemporaryDirectory()
        let shared = try EpollShared(
            loops: 4, connections: ConnectionCount(), trustedProxies: [], clock: noonClock())
        let listener = try ListeningSocket(.unix(path: directory.path + "/s"), mode: 0o600)
        let counters = (0..<4).map { _ in CheckCounters() }
        let setup = setup(.unix)
        func run(_ place: Int, _ snapshot: CheckSnapshot) {
            Thread.detachNewThread {
                let checks = setup.makeLoop(counters: counters[place])
                _ = checks.adopt(snapshot)
                let reactor = EpollReactor(shared, place: place, checks: checks)
                if place == 0 { reactor.listen(on: listener) }
                reactor.run()
                shared.inboxes[place].takeAll(on: reactor)
            }
        }
        let sockets = try (0..<40).map { _ in try RawSocket(path: directory.path + "/s") }
        // One loop takes them all, before the others begin.
        run(0, fixture.snapshot)
        #expect(try await sockets[0].ask(fixture.request())?.status == 200)
        for place in 1..<4 { run(place, fixture.snapshot) }
        for socket in sockets.dropFirst() {
            #expect(try await socket.ask(fixture.request())?.status == 200)
        }
        #expect(counters.map { $0.value(.good) } == [10, 10, 10, 10])
        #expect(shared.loads.map(\.value) == [10, 10, 10, 10])
        for inbox in shared.inboxes { inbox.send({ $0.stop() }, orElse: {}) }
        close(listener.descriptor)
    }

    @Test(arguments: SocketHarness.Kind.allCases)
    func `a published snapshot holds on every loop`(_ kind: SocketHarness.Kind) async throws {
        let harness = try await SocketHarness(kind, fixture: fixture, loops: 4)
        let sockets = try (0..<12).map { _ in try harness.connect() }
        for socket in sockets {
            #expect(try await socket.ask(fixture.request())?.status == 200)
        }
        var index = RevocationIndex()
        index.apply(
            [
                FeedEntry(
                    sequence: 1, change: .session(Claims.sample().session),
                    deadline: time(noon + 86_400))
            ], at: time(noon))
        #expect(
            await harness.server.publish(
                CheckSnapshot(keyring: fixture.ring, revocations: index.snapshot)))
        for socket in sockets {
            #expect(try await socket.ask(fixture.request())?.reason == "revoked")
        }
        #expect(harness.server.loopCount == 4)
        #expect(harness.server.count(.good) == 12)
        #expect(harness.server.count(.revoked) == 12)
        #expect(await harness.takeActivity() == [Claims.sample().session])
        try await harness.stop()
    }

    // MARK: Slow and fast

    @Test(arguments: SocketHarness.Kind.allCases)
    func `a head may come byte by byte`(_ kind: SocketHarness.Kind) async throws {
        let harness = try await SocketHarness(kind, fixture: fixture)
        let socket = try harness.connect()
        let request = fixture.request() + fixture.request(cookie: "X-A: b")
        for byte in request.utf8 { socket.send([byte]) }
        socket.shutdownWrites()
        var received: [UInt8] = []
        #expect(await !socket.receive(into: &received, seconds: 5))
        #expect(try InProcessHarness.parsed(received).map(\.status) == [200, 401])
        try await harness.stop()
    }

    @Test(arguments: SocketHarness.Kind.allCases)
    func `two thousand requests in one write are answered in order`(
        _ kind: SocketHarness.Kind
    ) async throws {
        let harness = try await SocketHarness(kind, fixture: fixture)
        let socket = try harness.connect()
        let pair = Array((fixture.request() + fixture.request(cookie: "X-A: b")).utf8)
        // A sender of its own: it blocks when the kernel holds enough.
        Thread.detachNewThread {
            socket.send(Array((0..<1000).map { _ in pair }.joined()))
            socket.shutdownWrites()
        }
        var received: [UInt8] = []
        #expect(await !socket.receive(into: &received, seconds: 5))
        // Reading two thousand answers as text is slow; their first lines tell enough.
        let statuses = received.split(separator: 10).filter { $0.starts(with: "HTTP/1.1 ".utf8) }
            .map { String(decoding: $0.dropFirst(9).prefix(3), as: UTF8.self) }
        #expect(statuses == (0..<2000).map { $0 % 2 == 0 ? "200" : "401" })
        #expect(harness.server.count(.good) == 1000)
        #expect(harness.server.count(.absent) == 1000)
        try await harness.stop()
    }

    // MARK: Ends

    @Test(arguments: HarnessKind.allCases)
    func `a draining node answers truthfully, and ends each connection with its answer`(
        _ kind: HarnessKind
    ) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            fixture.lease.enter(.draining)
            let cases: [(request: String, status: Int)] = [
                (fixture.request(), 200), (fixture.request(cookie: "X-A: b"), 401),
                (fixture.request("GET /check,level=3 HTTP/1.1"), 403),
                (fixture.request("GET /check,optional HTTP/1.1", cookie: "X-A: b"), 200),
                (
                    fixture.request(
                        "GET /check,forward HTTP/1.1", cookie: "X-A: b",
                        headers: ["Accept: text/html"]), 302
                ),
            ]
            for (request, status) in cases {
                let (answers, isClosed) = try await harness.exchange([
                    Array((request + request).utf8)
                ])
                #expect(answers.map(\.status) == [status])
                #expect(answers.first?.closes == true)
                #expect(isClosed)
            }
            fixture.lease.enter(.serving)
            #expect(try await !harness.answer(fixture.request()).closes)
        }
    }

    @Test(arguments: SocketHarness.Kind.allCases)
    func `when listeners close, new connections are refused and open ones answered`(
        _ kind: SocketHarness.Kind
    ) async throws {
        let harness = try await SocketHarness(kind, fixture: fixture)
        let open = try harness.connect()
        #expect(try await open.ask(fixture.request())?.status == 200)
        await harness.server.stopListening()
        #expect(throws: RawSocket.Failure.self) { try harness.connectPlainly() }
        fixture.lease.enter(.draining)
        let last = try await open.ask(fixture.request())
        #expect(last?.status == 200)
        #expect(last?.closes == true)
        var received: [UInt8] = []
        #expect(await !open.receive(into: &received, seconds: 2))
        await harness.server.drain(seconds: 5)
        #expect(harness.server.count(.closed) == 1)
        try await harness.stop()
    }

    @Test(arguments: SocketHarness.Kind.allCases)
    func `draining ends idle connections after a second, and waits for no one without end`(
        _ kind: SocketHarness.Kind
    ) async throws {
        var limits = CheckLimits()
        limits.headSeconds = 60
        let harness = try await SocketHarness(kind, fixture: fixture, limits: limits)
        let idle = try harness.connect()
        #expect(try await idle.ask(fixture.request())?.status == 200)
        let endless = try harness.connect()
        endless.send(Array("GET /check HTTP/1.1\r\n".utf8))
        let late = try harness.connect()
        // The server has all three.
        #expect(try await late.ask(fixture.request())?.status == 200)
        await harness.server.stopListening()
        fixture.lease.enter(.draining)

        let start = SystemClock.now().boot.nanoseconds
        func elapsed() -> Double { Double(SystemClock.now().boot.nanoseconds - start) / 1e9 }
        async let drained: Void = harness.server.drain(seconds: 3)
        // A request that was on its way is answered.
        let answer = try await late.ask(fixture.request())
        #expect(answer?.status == 200)
        #expect(answer?.closes == true)
        var received: [UInt8] = []
        // Beside tests that leave few threads it may take longer; without the drain it would be a minute.
        #expect(await !idle.receive(into: &received, seconds: 30))
        #expect(received.isEmpty)
        #expect((0.9..<30).contains(elapsed()), "idle ended after \(elapsed()) s")
        await drained
        #expect((2.9..<40).contains(elapsed()), "drained after \(elapsed()) s")
        // Who is in the middle of a request has it to the last moment.
        endless.send(Array("Host: a\r\n\r\n".utf8))
        #expect(await endless.receive(into: &received, seconds: 5) { $0.suffix(2) == [13, 10] })
        try await harness.stop()
        #expect(await !endless.receive(into: &received, seconds: 2))
        #expect(try InProcessHarness.parsed(received).map(\.status) == [401])
    }

    @Test(arguments: SocketHarness.Kind.allCases)
    func `draining without connections takes no time`(_ kind: SocketHarness.Kind) async throws {
        let harness = try await SocketHarness(kind, fixture: fixture)
        #expect(try await harness.answers(fixture.request()).map(\.status) == [200])
        await harness.server.stopListening()
        let start = SystemClock.now().boot.nanoseconds
        await harness.server.drain(seconds: 60)
        #expect(SystemClock.now().boot.nanoseconds - start < 10_000_000_000)
        try await harness.stop()
    }

    @Test(arguments: SocketHarness.Kind.allCases)
    func `a server that has ended publishes nothing and takes nothing`(
        _ kind: SocketHarness.Kind
    ) async throws {
        let harness = try await SocketHarness(kind, fixture: fixture)
        try await harness.stop()
        #expect(await !harness.server.publish(fixture.snapshot))
        #expect(await harness.takeActivity() == [])
        #expect(throws: RawSocket.Failure.self) { try harness.connectPlainly() }
    }

    // MARK: Listeners

    @Test(arguments: SocketHarness.Kind.allCases.filter { !$0.isTCP })
    func `a Unix socket has the mode that was asked for`(_ kind: SocketHarness.Kind) async throws {
        let harness = try await SocketHarness(kind, fixture: fixture)
        var status = stat()
        #expect(unsafe stat(harness.socketPath, &status) == 0)
        #expect(status.st_mode & S_IFMT == S_IFSOCK)
        #expect(status.st_mode & 0o7777 == 0o600)
        try await harness.stop()
    }

    @Test(arguments: [SocketHarness.Kind.tcp, .nioTCP])
    func `a port that is taken is told`(_ kind: SocketHarness.Kind) async throws {
        let first = try await driver(.tcp, loops: 1)
        let port = try #require(try await first.listen(on: .tcp(host: "127.0.0.1", port: 0)))
        let second = try await driver(kind, loops: 1)
        do {
            _ = try await second.listen(on: .tcp(host: "127.0.0.1", port: port))
            Issue.record("it listens")
        } catch let error as SystemCallFailure {
            #expect(kind == .tcp)
            #expect(error.call == "bind")
            #expect(error.number == EADDRINUSE)
            #expect("\(error)" == "bind: Address already in use")
        } catch let error as IOError {
            #expect(kind == .nioTCP)
            #expect(error.errnoCode == EADDRINUSE)
        }
        // It can be tried elsewhere.
        #expect(try await second.listen(on: .tcp(host: "127.0.0.1", port: 0)) != nil)
        await second.shutdown()
        await first.shutdown()
    }

    @Test(arguments: [SocketHarness.Kind.tcp, .nioTCP])
    func `a listener of IPv6 serves as well`(_ kind: SocketHarness.Kind) async throws {
        let driver = try await driver(kind, loops: 1)
        let port = try #require(try await driver.listen(on: .tcp(host: "::1", port: 0)))
        let socket = try RawSocket(port: UInt16(port), isIPv6: true)
        #expect(try await socket.ask(fixture.request())?.status == 200)
        await driver.shutdown()
    }

    @Test func `a call that failed says which and why`() {
        #expect(
            "\(SystemCallFailure("chmod /a/b", errno: EACCES))" == "chmod /a/b: Permission denied")
        #expect("\(SystemCallFailure("epoll_create1", errno: EMFILE))".hasSuffix("open files"))
    }

    @Test func `a socket's directory that is missing is told`() async throws {
        let directory = TemporaryDirectory()
        let driver = try await driver(.unix, loops: 1)
        await #expect(throws: SystemCallFailure("bind", errno: ENOENT)) {
            try await driver.listen(on: .unix(path: directory.path + "/none/s"))
        }
        await driver.shutdown()
    }

    @Test func `without descriptors a connection waits, and is served when there is one`()
        async throws
    {
        let directory = TemporaryDirectory()
        let loop = StarvedLoop(path: directory.path + "/s", fixture: fixture)
        await loop.finishes(.start)
        let open = try RawSocket(path: loop.path)
        #expect(try await open.ask(fixture.request())?.status == 200)
        let start = SystemClock.now().boot.nanoseconds
        await loop.finishes(.fill)
        let waiting = try RawSocket(path: loop.path)
        waiting.send(Array(fixture.request().utf8))
        var received: [UInt8] = []
        #expect(await waiting.receive(into: &received, seconds: 0.6))
        #expect(received.isEmpty)
        let paused = loop.counters.value(.acceptPaused)
        // Four times a second at most, and not in a circle.
        let quarters = (SystemClock.now().boot.nanoseconds - start) / 250_000_000
        #expect((1...UInt64(quarters + 1)).contains(paused), "\(paused) in \(quarters) quarters")
        #expect(try await open.ask(fixture.request())?.status == 200, "others don't notice")
        await loop.finishes(.free)
        _ = await waiting.receive(into: &received, seconds: 5) { $0.suffix(2) == [13, 10] }
        #expect(try InProcessHarness.parsed(received).map(\.status) == [200])
        await loop.finishes(.stop)
    }
}

/// An epoll loop on a thread with a table of descriptors of its own, so that it can be left without any
/// while the other tests of this process don't notice. All that is opened for it is opened there.
private final class StarvedLoop: Sendable {
    enum Step: Int {
        case start, fill, free, stop
    }

    let path: String
    let counters = CheckCounters()
    private let step = Atomic(-1)
    private let finished = Atomic(-1)
    private let inbox = Mutex<EpollInbox?>(nil)
    private let last = Atomic<Int32>(-1)

    init(path: String, fixture: CheckFixture) {
        self.path = path
        var setup = CheckSetup(audience: audience(), lease: fixture.lease)
        setup.settings = fixture.settings()
        let snapshot = fixture.snapshot
        Thread.detachNewThread { [self, setup] in
            guard gatehouse_own_empty_descriptors() == 0 else { return }
            try? run(setup, snapshot)
        }
    }

    private func run(_ setup: CheckSetup, _ snapshot: CheckSnapshot) throws {
        let clock = noonClock()
        let shared = try EpollShared(
            loops: 1, connections: ConnectionCount(), trustedProxies: []
        ) { [self] in
            // Read once for every batch of events, and so at every tick of the loop's timer.
            takeStep()
            return clock()
        }
        inbox.withLock { $0 = shared.inboxes[0] }
        defer { inbox.withLock { $0 = nil } }
        let checks = setup.makeLoop(counters: counters)
        _ = checks.adopt(snapshot)
        let listener = try ListeningSocket(.unix(path: path), mode: 0o600)
        let reactor = EpollReactor(shared, place: 0, checks: checks)
        reactor.listen(on: listener)
        reactor.run()
    }

    private func takeStep() {
        let now = step.load(ordering: .acquiring)
        guard now != finished.load(ordering: .relaxed) else { return }
        switch Step(rawValue: now) {
        case .fill: last.store(gatehouse_fill_descriptors(), ordering: .relaxed)
        case .free: close(last.load(ordering: .relaxed))
        case .stop: inbox.withLock { $0 }?.send({ $0.stop() }, orElse: {})
        default: break
        }
        finished.store(now, ordering: .releasing)
    }

    /// Waits until the loop has taken a step. Before its first connection it has no reason to wake up.
    func finishes(_ next: Step) async {
        step.store(next.rawValue, ordering: .releasing)
        for _ in 0..<500 where finished.load(ordering: .acquiring) != next.rawValue {
            if next == .start { _ = try? RawSocket(path: path) }
            try? await Task.sleep(for: .milliseconds(10))
        }
        #expect(finished.load(ordering: .acquiring) == next.rawValue)
    }
}
