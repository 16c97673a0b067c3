// Answers of servers: what is one, and that nothing else is taken for one.

import Testing

@testable import gatehouse_bench

private func scan(_ text: String) -> AnswerScan { AnswerScan.scan(Array(text.utf8).span) }

@Suite struct AnswerHeadTests {
    @Test func `an answer without a body ends with its head`() {
        let text = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nx: y\r\n\r\n"
        #expect(
            scan(text)
                == .head(AnswerHead(status: 401, headBytes: text.utf8.count, bodyBytes: 0)))
    }

    @Test func `a 204 needs no length, a 200 does`() {
        #expect(scan("HTTP/1.1 204 No Content\r\n\r\n") != .malformed)
        #expect(scan("HTTP/1.1 200 OK\r\n\r\n") == .malformed)
    }

    @Test(arguments: ["Content-Length: 43", "content-length:43", "CONTENT-LENGTH:  43"])
    func `the length is found in any spelling`(_ line: String) {
        guard case .head(let head) = scan("HTTP/1.1 200 OK\r\n\(line)\r\nServer: x\r\n\r\n") else {
            Issue.record("no head")
            return
        }
        #expect(head.bodyBytes == 43)
    }

    @Test func `what follows is not of this answer`() {
        let first = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        #expect(
            scan(first + "HTTP/1.1 401")
                == .head(AnswerHead(status: 200, headBytes: first.utf8.count, bodyBytes: 0)))
    }

    @Test func `every beginning of an answer is incomplete`() {
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        for count in 0..<text.utf8.count {
            #expect(
                scan(String(decoding: Array(text.utf8)[..<count], as: UTF8.self)) == .incomplete)
        }
    }

    @Test(arguments: [
        "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 200 OK\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    ])
    func `anything else is malformed`(_ text: String) {
        #expect(scan(text) == .malformed)
    }
}
