// Requests under keys that change: who is asked, and which answers are right.

import Foundation
import Testing

@testable import gatehouse_bench

@Suite struct LiveRequestsTests {
    /// The beginning of a token under key 01020304, and of one under another.
    private static let token = "AQECAwQFBgc"
    private static let key = "01020304"
    private static let other = "AQECAwUFBgc"

    private func requests(
        _ news: [News] = [], deadline: Int = 100
    ) throws -> Live {
        let requests = Live()
        try requests.apply(.added(token: Self.token, isBearer: false, deadline: deadline))
        for item in news { try requests.apply(item) }
        return requests
    }

    @Test(arguments: [
        News.added(token: "abc", isBearer: false, deadline: 12),
        .added(token: "abc", isBearer: true, deadline: 12), .revoking(key: "01020304"),
        .revoked(key: "01020304"), .mayLack, .hasLease, .end,
    ])
    func `news survive their line`(_ news: News) { #expect(News(line: news.line) == news) }

    @Test(arguments: ["", "cookie 12", "cookie x abc", "revoked", "revoked a b", "end now"])
    func `other lines are none`(_ line: String) { #expect(News(line: line) == nil) }

    @Test func `a token says which key sealed it`() {
        #expect(News.key(of: Self.token) == Self.key)
        // Characters that are base64url's own.
        #expect(News.key(of: "Af-_-w") == nil)
        #expect(News.key(of: "Af-_-wAA") == "ffbffb00")
    }

    @Test(arguments: ["", "AQECAwQ", "AgECAwQF", "AQ!CAwQF"])
    func `what is no token has no key`(_ text: String) {
        #expect(News.key(of: text) == nil)
        let requests = Live()
        #expect(throws: BenchmarkFailure.self) {
            try requests.apply(.added(token: text, isBearer: false, deadline: 1))
        }
    }

    @Test func `all have their turn, until shortly before their deadline`() throws {
        let requests = try requests(deadline: 100)
        #expect(requests.next(at: 0)?.request == 0)
        try requests.apply(.added(token: Self.other, isBearer: true, deadline: 50))
        #expect((0..<4).map { _ in requests.next(at: 47)?.request } == [1, 0, 1, 0])
        #expect((0..<2).map { _ in requests.next(at: 48)?.request } == [0, 0])
        #expect(requests.next(at: 97)?.request == 0)
        #expect(requests.next(at: 98) == nil)
    }

    @Test func `a bearer's token is sent as one`() throws {
        let requests = try requests()
        try requests.apply(.added(token: Self.other, isBearer: true, deadline: 50))
        let set = requests.value.requests
        let texts = (0..<2).map { String(decoding: set.bytes[set.range($0)], as: UTF8.self) }
        #expect(texts[0].contains("GET /check HTTP") && texts[0].contains("Cookie: "))
        #expect(
            texts[1]
                == "GET /check,bearer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \(Self.other)\r\n\r\n"
        )
    }

    @Test func `a good token must be accepted`() throws {
        let requests = try requests()
        let asked = try #require(requests.next(at: 0)).standing
        #expect(asked == .good)
        #expect(requests.judge(200, of: 0, asked: asked, at: 0) == nil)
        #expect(requests.value.counts == LiveCounts(accepted: 1))
        #expect(
            requests.judge(401, of: 0, asked: asked, at: 98)
                == "a good token under key 01020304 was refused")
    }

    @Test func `an answer that came after its token's deadline may be a refusal`() throws {
        let requests = try requests(deadline: 100)
        #expect(requests.judge(401, of: 0, asked: .good, at: 99) == nil)
        #expect(requests.value.counts == LiveCounts(expired: 1))
    }

    @Test(arguments: [News.revoking(key: key), .revoked(key: key)])
    func `what was asked for before a revocation may be refused after it`(_ news: News) throws {
        let requests = try requests([news])
        #expect(requests.judge(401, of: 0, asked: .good, at: 0) == nil)
        #expect(requests.judge(200, of: 0, asked: .good, at: 0) == nil)
    }

    @Test func `while a key is being revoked either answer is right`() throws {
        let requests = try requests([.revoking(key: Self.key)])
        let asked = try #require(requests.next(at: 0)).standing
        #expect(asked == .either)
        #expect(requests.judge(401, of: 0, asked: asked, at: 0) == nil)
        #expect(requests.judge(200, of: 0, asked: asked, at: 0) == nil)
        #expect(requests.value.counts == LiveCounts(eitherWay: 2))
    }

    @Test func `under a revoked key nothing may be accepted, and others are as before`() throws {
        let requests = try requests([.revoking(key: Self.key), .revoked(key: Self.key)])
        let asked = try #require(requests.next(at: 0)).standing
        #expect(asked == .revoked)
        #expect(requests.judge(401, of: 0, asked: asked, at: 0) == nil)
        #expect(requests.value.counts == LiveCounts(refusedRevoked: 1))
        #expect(
            requests.judge(200, of: 0, asked: asked, at: 0)
                == "accepted under the revoked key 01020304")
        try requests.apply(.added(token: Self.other, isBearer: false, deadline: 100))
        #expect(requests.next(at: 0)?.standing == .good)
    }

    @Test func `503 is right only while the server may be without a lease`() throws {
        let requests = try requests()
        let standings: [LiveRequests.Standing] = [.good, .revoked, .either]
        for asked in standings {
            #expect(requests.judge(503, of: 0, asked: asked, at: 0) != nil)
        }
        try requests.apply(.mayLack)
        for asked in standings {
            #expect(requests.judge(503, of: 0, asked: asked, at: 0) == nil)
        }
        #expect(requests.value.counts == LiveCounts(lacksLease: 3))
        #expect(requests.judge(403, of: 0, asked: .good, at: 0) != nil)
        try requests.apply(.hasLease)
        #expect(requests.judge(503, of: 0, asked: .good, at: 0) != nil)
    }

    @Test func `a line that is still being written waits for its end`() throws {
        let directory = try ScratchDirectory()
        let path = try directory.write("revoking 01020304\nrevo", to: "news")
        let reader = try NewsReader(path)
        #expect(try reader.read() == [.revoking(key: Self.key)])
        #expect(try reader.read() == [])
        let file = try #require(FileHandle(forWritingAtPath: path))
        try file.seekToEnd()
        try file.write(contentsOf: Data("ked 01020304\nend\n".utf8))
        #expect(try reader.read() == [.revoked(key: Self.key), .end])
        try file.write(contentsOf: Data("nonsense\n".utf8))
        #expect(throws: BenchmarkFailure.self) { try reader.read() }
    }

    @Test func `every load is told, or one of them`() throws {
        let directory = try ScratchDirectory()
        let files = try ["a", "b"].map { try directory.write("", to: $0) }
        let board = NewsBoard(files: files)
        try board.tell(.added(token: Self.token, isBearer: false, deadline: 1))
        try board.tell(.mayLack, to: 1)
        try board.tell(.revoked(key: Self.key))
        let readers = try files.map { try NewsReader($0).read() }
        #expect(readers.map(\.count) == [2, 3] && readers[1][1] == .mayLack)
        #expect(board.keys == [Self.key] && board.revoked == [Self.key] && board.isRunning)
        board.fail(BenchmarkFailure("first"))
        board.fail(BenchmarkFailure("second"))
        #expect(!board.isRunning)
        #expect(throws: BenchmarkFailure("first")) { try board.throwFailure() }
    }
}

/// The value in an object: what `#expect` looks at can't be changed by it.
private final class Live {
    var value = LiveRequests()

    func apply(_ news: News) throws { try value.apply(news) }
    func next(at now: Int) -> (request: Int, standing: LiveRequests.Standing)? {
        value.next(at: now)
    }
    func judge(
        _ status: Int, of request: Int, asked: LiveRequests.Standing, at now: Int
    ) -> String? {
        value.judge(status, of: request, asked: asked, at: now)
    }
}
