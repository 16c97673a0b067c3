// Both drivers: deadlines, limits, snapshots and ends, over real sockets.

import Foundation
import GatehouseCore
import GatehouseSystem
import GatehouseTestSupport
import Glibc
import Testing

@testable import GatehouseCheck

@Suite struct CheckServerTests {
    private let fixture: CheckFixture

    init() throws { fixture = try CheckFixture() }

    @Test(arguments: SocketHarness.Kind.allCases)
    func `a head that doesn't end is cut off, and others don't notice`(
        _ kind: SocketHarness.Kind
    ) async throws {
        var limits = CheckLimits()
        limits.headSeconds = 1
        let harness = try await SocketHarness(kind, fixture: fixture, limits: limits)
        let slow = try harness.connect()
        slow.send(Array("GET /check HTTP/1.1\r\nHost: a\r\n".utf8))
        #expect(try await harness.answers(fixture.request()).map(\.status) == [200])
        var received: [UInt8] = []
        #expect(await !slow.receive(into: &received, seconds: 4), "it is closed")
        #expect(received.isEmpty)
        #expect(harness.server.count(.headTimeout) == 1)
        try await harness.stop()
    }

    @Test(arguments: SocketHarness.Kind.allCases)
    func `an idle connection is closed at its limit and not before`(
        _ kind: SocketHarness.Kind
    ) async throws {
        var limits = CheckLimits()
        limits.idleSeconds = 1
        let harness = try await SocketHarness(kind, fixture: fixture, limits: limits)
        let socket = try harness.connect()
        socket.send(Array(fixture.request().utf8))
        var received: [UInt8] = []
        #expect(await socket.receive(into: &received, seconds: 0.4), "still open")
        #expect(await !socket.receive(into: &received, seconds: 4), "closed")
        #expect(harness.server.count(.idleTimeout) == 1)
        try await harness.stop()
    }

    @Test(arguments: SocketHarness.Kind.allCases)
    func `connections up to the limit are served, the next is closed at once`(
        _ kind: SocketHarness.Kind
    ) async throws {
        var limits = CheckLimits()
        limits.maximumConnections = 3
        let harness = try await SocketHarness(kind, fixture: fixture, limits: limits)
        var sockets: [RawSocket] = []
        for _ in 0..<3 {
            let socket = try harness.connect()
            socket.send(Array(fixture.request().utf8))
            var received: [UInt8] = []
            #expect(await socket.receive(into: &received, seconds: 0.2))
            #expect(!received.isEmpty)
            sockets.append(socket)
        }
        var received: [UInt8] = []
        let refused = try harness.connect()
        #expect(await !refused.receive(into: &received, seconds: 2))
        #expect(received.isEmpty)
        #expect(harness.server.count(.overLimit) == 1)
        sockets.removeLast()
        // The place of one that left is free once the server has noticed.
        var answers: [CheckAnswer] = []
        for _ in 0..<50 where answers.isEmpty {
            answers = (try? await harness.answers(fixture.request())) ?? []
        }
        #expect(answers.map(\.status) == [200])
        try await harness.stop()
    }

    @Test(arguments: SocketHarness.Kind.allCases)
    func `an answer arrives although the client still sends`(
        _ kind: SocketHarness.Kind
    ) async throws {
        let harness = try await SocketHarness(kind, fixture: fixture)
        let socket = try harness.connect()
        // Far more than the limit, in one go: the refusal must not be lost to a reset.
        socket.send([UInt8](repeating: 97, count: 300_000))
        var received: [UInt8] = []
        #expect(await !socket.receive(into: &received, seconds: 4))
        #expect(CheckAnswer.parse(received)?.map(\.status) == [431])
        try await harness.stop()
    }

    @Test(arguments: SocketHarness.Kind.allCases)
    func `a client that has sent all it will gets its answer`(
        _ kind: SocketHarness.Kind
    ) async throws {
        let harness = try await SocketHarness(kind, fixture: fixture)
        let socket = try harness.connect()
        socket.send(Array(fixture.request().utf8))
        socket.shutdownWrites()
        var received: [UInt8] = []
        #expect(await !socket.receive(into: &received, seconds: 2))
        #expect(CheckAnswer.parse(received)?.map(\.status) == [200])
        try await harness.stop()
    }

    @Test(arguments: SocketHarness.Kind.allCases)
    func `a published snapshot holds from the next request on`(
        _ kind: SocketHarness.Kind
    ) async throws {
        let harness = try await SocketHarness(kind, fixture: fixture)
        #expect(try await harness.answers(fixture.request()).map(\.status) == [200])
        var index = RevocationIndex()
        index.apply(
            [
                FeedEntry(
                    sequence: 1, change: .session(Claims.sample().session),
                    deadline: time(noon + 86_400))
            ], at: time(noon))
        let isPublished = await harness.server.publish(
            CheckSnapshot(keyring: fixture.ring, revocations: index.snapshot))
        #expect(isPublished)
        let answers = try await harness.answers(fixture.request())
        #expect(answers.map(\.reason) == ["revoked"])
        try await harness.stop()
    }

    @Test(arguments: SocketHarness.Kind.allCases)
    func `a client that reads nothing is not read from without end`(
        _ kind: SocketHarness.Kind
    ) async throws {
        var limits = CheckLimits()
        // The client that waits is in the middle of a head.
        limits.headSeconds = 60
        let harness = try await SocketHarness(kind, fixture: fixture, limits: limits)
        let socket = try harness.connect()
        // A sender of its own: it blocks once the server stops reading.
        let request = Array(fixture.request().utf8)
        let batch = Array((0..<200).map { _ in request }.joined())
        let isSent = AsyncStream.makeStream(of: Void.self)
        Thread.detachNewThread {
            for _ in 0..<200 { socket.send(batch) }
            isSent.continuation.finish()
        }
        var last: UInt64 = 0
        var current = harness.server.count(.good)
        repeat {
            try await Task.sleep(for: .milliseconds(300))
            last = current
            current = harness.server.count(.good)
        } while current != last
        // 40,000 requests were to be sent; the kernel's and the server's buffers hold fewer answers.
        #expect(current < 40_000)
        #expect(try await harness.answers(fixture.request()).map(\.status) == [200])
        // Reading what is there lets it go on to the end.
        var received: [UInt8] = []
        let server = harness.server
        _ = await socket.receive(into: &received, seconds: 10) { _ in
            server.count(.good) == 40_001
        }
        for await _ in isSent.stream {}
        #expect(harness.server.count(.good) == 40_001)
        try await harness.stop()
    }

    @Test func `a socket's path is freed from a dead server only`() throws {
        let directory = TemporaryDirectory()
        let path = directory.path + "/s"
        try UnixSocketPath.prepare(path)
        let descriptor = unsafe open(path, O_CREAT | O_WRONLY, 0o600)
        #expect(descriptor >= 0)
        close(descriptor)
        #expect(throws: UnixSocketPath.Refusal.notASocket) { try UnixSocketPath.prepare(path) }
        let isThere = unsafe access(path, F_OK) == 0
        #expect(isThere)
    }

    @Test func `a second server does not take a living one's socket`() async throws {
        let first = try await SocketHarness(.unix, fixture: fixture)
        #expect(throws: UnixSocketPath.Refusal.inUse) { try first.prepareItsPath() }
        #expect(try await first.answers(fixture.request()).map(\.status) == [200])
        try await first.stop()
        // What is left behind by an end like that is free.
        try first.prepareItsPath()
    }
}

extension SocketHarness {
    fileprivate func prepareItsPath() throws(UnixSocketPath.Refusal) {
        try UnixSocketPath.prepare(socketPath)
    }
}

@Suite struct HTTPDateTests {
    @Test(arguments: [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ])
    func `a time is written as RFC 9110 says`(_ seconds: Int64, _ text: String) {
        #expect(String(decoding: HTTPDate.format(time(seconds)), as: UTF8.self) == text)
    }
}
