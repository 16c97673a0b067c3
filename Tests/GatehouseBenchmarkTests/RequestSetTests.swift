// Requests and mixes: as many as asked, each with the status that it must get.

import Testing

@testable import gatehouse_bench

@Suite struct RequestSetTests {
    @Test func `each request lies in the block with its own status`() {
        let requests = RequestSet(
            [Question(token: "abc", status: 200), Question(token: nil, status: 401)],
            path: "/check")
        #expect(requests.count == 2)
        #expect(requests.statuses == [200, 401])
        let texts = (0..<2).map {
            String(decoding: requests.bytes[requests.range($0)], as: UTF8.self)
        }
        #expect(
            texts == [
                "GET /check HTTP/1.1\r\nHost: localhost\r\nCookie: __Host-gatehouse=abc\r\n\r\n",
                "GET /check HTTP/1.1\r\nHost: localhost\r\n\r\n",
            ])
        #expect(requests.longest == texts[0].utf8.count)
    }

    @Test func `a sign-in is whole, and expected to be refused`() {
        let requests = RequestSet(signInsOf: "ada\nbob\n")
        #expect(requests.statuses == [401, 401])
        let text = String(decoding: requests.bytes[requests.range(1)], as: UTF8.self)
        let parts = text.split(separator: "\r\n\r\n")
        #expect(parts.count == 2 && parts[0].hasPrefix("POST /v1/login HTTP/1.1\r\n"))
        #expect(parts[0].hasSuffix("Content-Length: \(parts[1].utf8.count)"))
        #expect(parts[1].hasPrefix(#"{"username":"bob","password":""#) && parts[1].hasSuffix("}"))
    }

    @Test(arguments: [Question(token: "abc", status: 200), Question(token: nil, status: 401)])
    func `a question survives its line`(_ question: Question) {
        #expect(Question(line: question.line) == question)
    }

    @Test(arguments: ["", "abc", "200 a b"])
    func `other lines are none`(_ line: String) {
        #expect(Question(line: line) == nil)
    }

    @Test(arguments: RequestMix.allCases, [1, 99, 10_000])
    func `a mix has as many requests as asked`(_ mix: RequestMix, _ count: Int) {
        #expect(mix.counts(of: count).reduce(0) { $0 + $1.1 } == count)
    }

    @Test func `a forged token differs in one character`() {
        let token = String(repeating: "A", count: 100)
        let forged = RequestMix.forged(token)
        #expect(zip(token, forged).count { $0 != $1 } == 1)
        #expect(forged.utf8.count == token.utf8.count)
    }
}
