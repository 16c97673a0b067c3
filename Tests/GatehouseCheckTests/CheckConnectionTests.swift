// The connection as a value: chunks, deadlines, counters, and noise.

import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseCheck

@Suite struct CheckConnectionTests {
    private let fixture: CheckFixture

    init() throws { fixture = try CheckFixture() }

    @Test func `bytes may come in any pieces`() async throws {
        let harness = InProcessHarness(fixture: fixture)
        let requests = [
            fixture.request() + fixture.request(cookie: "X-A: b") + fixture.request(),
            fixture.request() + fixture.request(headers: ["Content-Length: 5"]),
            fixture.request(headers: ["X-A: b\u{0}"]), fixture.request("GET /checkx HTTP/1.1"),
            "GET /check HTTP/1.1\r\nHost: a\n\r\n",
            // What is wrong stands past the limit.
            "GET /check/\(String(repeating: "a", count: 16_384))\nHost: a\r\n\r\n",
        ]
        for request in requests {
            let bytes = Array(request.utf8)
            let whole = try await harness.exchange([bytes])
            for size in [1, 2, 3, 7, 64, 1000] {
                let chunks = stride(from: 0, to: bytes.count, by: size).map {
                    Array(bytes[$0..<min($0 + size, bytes.count)])
                }
                let pieces = try await harness.exchange(chunks)
                #expect(pieces.answers == whole.answers, "pieces of \(size): \(request)")
                #expect(pieces.isClosed == whole.isClosed)
            }
        }
    }

    @Test func `a head has its time from its first byte, and silence its own`() {
        let loop = fixture.loop()
        let start = instant(noon).boot
        var connection = CheckConnection(loop: loop, at: start)
        let output = AnswerBuffer()
        func receive(_ text: String, at seconds: Int64) {
            _ = connection.receive(
                Array(text.utf8).span, loop: loop, at: instant(seconds), into: output)
        }
        let limits = loop.settings.limits
        #expect(connection.deadline(limits: limits) == instant(noon + 60).boot)
        receive("GET /che", at: noon + 10)
        #expect(connection.isInHead)
        #expect(connection.deadline(limits: limits) == instant(noon + 15).boot)
        // More bytes of the same head do not extend it.
        receive("ck HTTP/1.1\r\n", at: noon + 13)
        #expect(connection.deadline(limits: limits) == instant(noon + 15).boot)
        receive("Host: a\r\n\r\nGET /check", at: noon + 14)
        #expect(!output.isEmpty)
        // The next head began with the last packet.
        #expect(connection.deadline(limits: limits) == instant(noon + 19).boot)
        receive(" HTTP/1.1\r\nHost: a\r\n\r\n", at: noon + 15)
        #expect(!connection.isInHead)
        #expect(connection.deadline(limits: limits) == instant(noon + 75).boot)
    }

    @Test func `after the end nothing is answered`() {
        let loop = fixture.loop()
        var connection = CheckConnection(loop: loop, at: instant(noon).boot)
        let output = AnswerBuffer()
        let bad = Array("nonsense\r\n\r\n".utf8)
        #expect(
            connection.receive(bad.span, loop: loop, at: instant(noon), into: output) == .close)
        let count = output.count
        let good = Array(fixture.request().utf8)
        #expect(
            connection.receive(good.span, loop: loop, at: instant(noon), into: output) == .close)
        #expect(output.count == count)
    }

    @Test func `every answer is counted once, by its reason`() {
        let loop = fixture.loop()
        let name = CheckFixture.cookieName
        let requests: [(String, CheckCount)] = [
            (fixture.request(), .good), (fixture.request(cookie: "X-A: b"), .absent),
            (fixture.request(cookie: "Cookie: \(name)=a; \(name)=b"), .ambiguous),
            (fixture.request(cookie: "Cookie: \(name)=a"), .length),
            (fixture.request(cookie: "Cookie: \(name)=\(fixture.token)!"), .encoding),
            (fixture.request(cookie: "Cookie: \(name)=B\(fixture.token.dropFirst())"), .version),
            (
                fixture.request(cookie: "Cookie: \(name)=AQAAAA\(fixture.token.dropFirst(6))"),
                .unknownKey
            ),
            (fixture.request(cookie: "Cookie: \(name)=\(fixture.bearerToken)"), .authentication),
            (fixture.request(cookie: "Cookie: \(name)=\(fixture.expiredToken)"), .expired),
            (fixture.request(cookie: "Cookie: \(name)=\(fixture.revokedToken)"), .revoked),
            (fixture.request("GET /x HTTP/1.1"), .badRequest),
            (fixture.request("GET /check,x HTTP/1.1"), .unknownOption),
            (fixture.request(headers: ["Content-Length: 1"]), .body),
            (fixture.request(headers: (0..<70).map { "a\($0): b" }), .tooLarge),
        ]
        for (request, expected) in requests {
            let before = CheckCount.allCases.map(loop.counters.value)
            var connection = CheckConnection(loop: loop, at: instant(noon).boot)
            let output = AnswerBuffer()
            _ = connection.receive(
                Array(request.utf8).span, loop: loop, at: instant(noon), into: output)
            for (count, old) in zip(CheckCount.allCases, before) {
                #expect(
                    loop.counters.value(count) == old + (count == expected ? 1 : 0), "\(request)")
            }
        }
    }

    /// Noise around a good request: whatever is not exactly a request with our good cookie is never
    /// answered 200. What a mutation leaves good is judged by a reader of its own below.
    @Test func `mutated requests are never good without the good cookie`() async throws {
        var generator = SeededGenerator()
        let loop = fixture.loop()
        let cookie = Array("\(CheckFixture.cookieName)=\(fixture.token)".utf8)
        let original = Array(fixture.request(headers: ["Content-Length: 0", "Accept: */*"]).utf8)
        let interesting: [UInt8] = [
            0, 9, 10, 13, 32, 34, 44, 47, 58, 59, 61, 63, 65, 97, 127, 128, 255,
        ]
        var good = 0
        for _ in 0..<20_000 {
            var bytes = original
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let index = Int.random(in: 0..<bytes.count, using: &generator)
                let byte = interesting.randomElement(using: &generator) ?? 0
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: bytes[index] = byte
                case 1: bytes.insert(byte, at: index)
                case 2: bytes.remove(at: index)
                default: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
                }
            }
            var connection = CheckConnection(loop: loop, at: instant(noon).boot)
            let output = AnswerBuffer()
            _ = connection.receive(bytes.span, loop: loop, at: instant(noon), into: output)
            let answers = try InProcessHarness.parsed(output.bytes)
            guard answers.contains(where: { $0.status == 200 }) else { continue }
            good += 1
            // Spaces and tabs around name and value are no part of them.
            let dense = bytes.filter { $0 != 0x20 && $0 != 0x09 }
            let isWhole = dense.windows(of: cookie.count).contains { $0.elementsEqual(cookie) }
            #expect(isWhole, "seed \(generator.seed): \(String(decoding: bytes, as: UTF8.self))")
        }
        #expect(good > 100, "the mutations leave some requests good")
    }

    @Test func `noise is refused and never a trap`() async throws {
        var generator = SeededGenerator()
        let loop = fixture.loop()
        for _ in 0..<5000 {
            let bytes = (0..<Int.random(in: 0...300, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            var connection = CheckConnection(loop: loop, at: instant(noon).boot)
            let output = AnswerBuffer()
            _ = connection.receive(bytes.span, loop: loop, at: instant(noon), into: output)
            let answers = try InProcessHarness.parsed(output.bytes)
            #expect(answers.allSatisfy { $0.status >= 400 }, "seed \(generator.seed)")
        }
    }
}

extension [UInt8] {
    fileprivate func windows(of size: Int) -> [ArraySlice<UInt8>] {
        guard count >= size else { return [] }
        return (0...(count - size)).map { self[$0..<($0 + size)] }
    }
}
