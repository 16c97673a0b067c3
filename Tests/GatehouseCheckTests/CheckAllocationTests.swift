// A check allocates nothing: as a value, and on the epoll driver's own thread.

import CAllocationCount
import Foundation
import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseCheck

@Suite struct CheckAllocationTests {
    private let fixture: CheckFixture

    init() throws { fixture = try CheckFixture() }

    /// Somebody acts for the user.
    private func actedClaims() throws -> Claims {
        .sample().acted(by: try #require(OperatorName("eve")))
    }

    private func requests() throws -> [(request: String, status: String)] {
        try [
            (fixture.request(), "200"), (fixture.request(cookie: "X-A: b"), "401"),
            (fixture.request(cookie: fixture.cookie(fixture.expiredToken)), "401"),
            (fixture.request(cookie: fixture.cookie(fixture.revokedToken)), "401"),
            (fixture.request(cookie: fixture.cookie("x")), "401"),
            (fixture.request(cookie: fixture.cookie(fixture.bearerToken)), "401"),
            (
                fixture.request(
                    "GET /check,fresh=60,level=2,optional,passive/a?b HTTP/1.1",
                    headers: ["Accept: text/html", "Content-Length: 0", "Connection: keep-alive"]),
                "200"
            ),
            (
                fixture.request(
                    "GET /check,bearer HTTP/1.1", cookie: fixture.bearer(.sample())), "200"
            ),
            (fixture.request(cookie: fixture.cookie(actedClaims())), "200"),
            (fixture.request("GET /check,level=3 HTTP/1.1"), "403"),
            // Due to be renewed by none of these: not old enough, or no document.
            (fixture.request("GET /check,renew HTTP/1.1"), "200"),
            (
                fixture.request(
                    "GET /check,renew HTTP/1.1",
                    cookie: fixture.cookie(.sample(issued: noon - 600)),
                    headers: ["Sec-Fetch-Dest: image"]), "200"
            ),
        ]
    }

    /// What `count` chunks on one connection allocate; `.max` when not all are answered so.
    private func allocations(
        _ count: Int, _ bytes: [UInt8], answeredBy size: Int, status: [UInt8]
    ) -> UInt64 {
        let loop = fixture.loop()
        var connection = CheckConnection(loop: loop, at: instant(noon).boot)
        let output = AnswerBuffer()
        func run(_ count: Int) -> Bool {
            for _ in 0..<count {
                output.removeAll()
                let disposition = connection.receive(
                    bytes.span, loop: loop, at: instant(noon), into: output)
                let isAsBefore = unsafe output.withBytes { answer in
                    unsafe answer.count == size && answer[9] == status[0]
                        && answer[11] == status[2]
                }
                if disposition != .open || !isAsBefore { return false }
            }
            return true
        }
        // The first makes the date, and grows the buffer.
        guard run(2) else { return .max }
        let before = gatehouse_allocation_count()
        guard run(count) else { return .max }
        return gatehouse_allocation_count() - before
    }

    private func answerSize(_ request: String, _ loop: CheckLoop) -> Int {
        var connection = CheckConnection(loop: loop, at: instant(noon).boot)
        let output = AnswerBuffer()
        _ = connection.receive(
            Array(request.utf8).span, loop: loop, at: instant(noon), into: output)
        return output.count
    }

    @Test func `good, absent, expired and revoked checks allocate nothing, alone and pipelined`()
        throws
    {
        for (request, status) in try requests() {
            let size = answerSize(request, fixture.loop())
            #expect(
                allocations(
                    100, Array(request.utf8), answeredBy: size, status: Array(status.utf8)) == 0,
                "\(request)")
            let many = String(repeating: request, count: 20)
            #expect(
                allocations(
                    10, Array(many.utf8), answeredBy: size * 20, status: Array(status.utf8)) == 0,
                "pipelined: \(request)")
        }
    }

    @Test(arguments: [SocketHarness.Kind.tcp, .unix])
    func `the epoll driver's loop allocates nothing for a check`(
        _ kind: SocketHarness.Kind
    ) async throws {
        let directory = TemporaryDirectory()
        var setup = CheckSetup(audience: audience(), lease: fixture.lease)
        setup.settings = fixture.settings()
        // Time stands still: what the timer does at its ticks is no part of a check.
        setup.clock = { instant(noon) }
        let driver = try EpollDriver(setup, connections: ConnectionCount())
        let snapshot = fixture.snapshot
        _ = await driver.onEveryLoop { $0.adopt(snapshot) }
        let path = directory.path + "/s"
        let port = try await driver.listen(
            on: kind.isTCP ? .tcp(host: "127.0.0.1", port: 0) : .unix(path: path))
        let socket = try port.map { try RawSocket(port: UInt16($0)) } ?? RawSocket(path: path)
        let chunks = try requests().map { Array($0.request.utf8) }

        /// What the loop's thread has allocated since it began.
        func allocated() async -> UInt64 {
            await driver.onEveryLoop { _ in gatehouse_allocation_count() }[0] ?? .max
        }
        /// Sends all requests `times` times, one after the other.
        func ask(_ times: Int) async -> Bool {
            await withCheckedContinuation { continuation in
                Thread.detachNewThread {
                    var isAnswered = true
                    for _ in 0..<times {
                        for chunk in chunks {
                            socket.send(chunk)
                            var answer: [UInt8] = []
                            _ = socket.receiveNow(into: &answer, seconds: 5) {
                                $0.suffix(4) == [13, 10, 13, 10]
                            }
                            isAnswered = isAnswered && !answer.isEmpty
                        }
                    }
                    continuation.resume(returning: isAnswered)
                }
            }
        }
        // Twice before: what is made once is made by then.
        for _ in 0..<2 {
            #expect(await ask(1))
            _ = await allocated()
        }
        // Asking the loop allocates a little. Each kind of check is done a hundred times: one that
        // allocated would be seen.
        let before = await allocated()
        #expect(await ask(100))
        #expect(await allocated() - before < 50)
        await driver.shutdown()
    }
}
