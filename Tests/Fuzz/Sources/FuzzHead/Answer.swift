// The lane's answers, read strictly: every one whole, with the complete set of headers.

import FuzzSupport

/// One answer.
struct Answer {
    /// What `x-auth-` headers say, all but the reason; in this order.
    static let identityNames = [
        "x-auth-user", "x-auth-username", "x-auth-session", "x-auth-time", "x-auth-methods",
        "x-auth-level", "x-auth-actor",
    ]

    /// Status, reason, identity and what else depends on the request.
    let said: Expectation
    let closes: Bool

    var status: Int { said.status }

    /// Headers that answers of a status have besides the usual ones.
    private static func extra(_ status: Int) -> [String: String] {
        switch status {
        case 401: ["www-authenticate": "Gatehouse"]
        case 503: ["retry-after": "1"]
        default: [:]
        }
    }

    /// Reads one whole answer, or says what is wrong with it.
    static func read(_ bytes: ArraySlice<UInt8>) throws(Malformed) -> Answer {
        for byte in bytes where byte > 0x7E || byte < 0x20 && byte != 0x0D && byte != 0x0A {
            throw Malformed(reason: "a byte that no header has")
        }
        let text = String(decoding: bytes, as: UTF8.self)
        // "\r\n" is one character.
        var lines = text.split(separator: "\r\n", omittingEmptySubsequences: false)
        guard lines.count > 3, lines.suffix(2) == ["", ""] else { throw Malformed(reason: "lines") }
        lines.removeLast(2)
        let phrases = [
            "200 OK": 200, "302 Found": 302, "400 Bad Request": 400, "401 Unauthorized": 401,
            "403 Forbidden": 403,
            "413 Content Too Large": 413, "431 Request Header Fields Too Large": 431,
            "503 Service Unavailable": 503,
        ]
        let first = lines.removeFirst()
        guard first.hasPrefix("HTTP/1.1 "), let status = phrases[String(first.dropFirst(9))] else {
            throw Malformed(reason: "status line")
        }
        var headers: [String: String] = [:]
        for line in lines {
            guard let colon = line.firstRange(of: ": "),
                headers.updateValue(
                    String(line[colon.upperBound...]), forKey: String(line[..<colon.lowerBound]))
                    == nil
            else { throw Malformed(reason: "header line \(line)") }
        }
        func take(_ name: String) throws(Malformed) -> String {
            guard let value = headers.removeValue(forKey: name) else {
                throw Malformed(reason: "no \(name)")
            }
            return value
        }
        var identity: [String] = []
        for name in identityNames { identity.append(try take(name)) }
        let reason = try take("x-auth-reason")
        let expected = [
            "content-length": "0", "cache-control": "no-store",
            "date": "Tue, 24 Nov 2026 12:00:00 GMT",
        ].merging(extra(status)) { first, _ in first }
        for (name, value) in expected {
            guard try take(name) == value else { throw Malformed(reason: "value of \(name)") }
        }
        let connection = headers.removeValue(forKey: "connection")
        guard connection == nil || connection == "close" else {
            throw Malformed(reason: "connection")
        }
        let location = headers.removeValue(forKey: "location")
        let setCookie = headers.removeValue(forKey: "set-cookie")
        guard headers.isEmpty else { throw Malformed(reason: "more headers: \(headers.keys)") }
        var said = Expectation.refused
        said.status = status
        said.reason = reason
        said.identity = identity
        said.location = location
        said.setCookie = setCookie
        return Answer(said: said, closes: connection != nil)
    }

    struct Malformed: Error {
        let reason: String
    }
}

/// Reads streams of answers. There are few different ones, so that each is read once.
struct AnswerReader {
    private var known: [ArraySlice<UInt8>: Answer] = [:]

    mutating func read(_ stream: [UInt8]) throws(Answer.Malformed) -> [Answer] {
        var answers: [Answer] = []
        var start = 0
        while start < stream.count {
            var end = start
            while !(stream[end] == 0x0D && end + 3 < stream.count && stream[end + 1] == 0x0A
                && stream[end + 2] == 0x0D && stream[end + 3] == 0x0A)
            {
                end += 1
                guard end < stream.count else { throw Answer.Malformed(reason: "an end") }
            }
            let bytes = stream[start..<(end + 4)]
            if let answer = known[bytes] {
                answers.append(answer)
            } else {
                let answer = try Answer.read(bytes)
                // A copy, which does not keep the stream.
                known[Array(bytes)[...]] = answer
                answers.append(answer)
            }
            start = end + 4
        }
        return answers
    }
}
