// The requests of a load, made before it starts.

import Foundation

/// What one request carries, and what it must get.
struct Question: Equatable {
    /// The value of the session cookie; nil for none.
    let token: String?
    let status: Int

    /// A line of a requests file: the status, and the token when there is one.
    var line: String { token.map { "\(status) \($0)" } ?? "\(status)" }

    init(token: String?, status: Int) {
        self.token = token
        self.status = status
    }

    init?(line: some StringProtocol) {
        let parts = line.split(separator: " ")
        guard (1...2).contains(parts.count), let status = Int(parts[0]) else { return nil }
        self.init(token: parts.count == 2 ? String(parts[1]) : nil, status: status)
    }
}

/// Complete requests in one block of memory, with the status that each must be answered with.
struct RequestSet {
    private(set) var bytes: [UInt8] = []
    private var starts: [Int] = [0]
    private(set) var statuses: [Int] = []
    private(set) var longest = 0

    /// `__Host-gatehouse`, the name without a shared domain (DESIGN section 4). Every peer gets the
    /// same name, so that all are sent the same bytes.
    static let cookieName = "__Host-gatehouse"

    var count: Int { statuses.count }

    init(_ questions: [Question], path: String) {
        for question in questions {
            append(Self.request(path: path, token: question.token), status: question.status)
        }
    }

    /// A sign-in for each line, a username; none of them is right.
    init(signInsOf names: String) {
        for name in names.split(separator: "\n") {
            append(Self.signIn(name: String(name)), status: 401)
        }
    }

    mutating func append(_ request: [UInt8], status: Int) {
        bytes += request
        starts.append(bytes.count)
        statuses.append(status)
        longest = max(longest, request.count)
    }

    private static func signIn(name: String) -> [UInt8] {
        let body = #"{"username":"\#(name)","password":"a password of a usual length"}"#
        return Array(
            """
            POST /v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
            Content-Length: \(body.utf8.count)\r\n\r\n\(body)
            """.utf8)
    }

    /// Reads a file of ``Question`` lines.
    init(file: String, path: String) throws {
        let text = try String(contentsOfFile: file, encoding: .utf8)
        self.init(
            try text.split(separator: "\n").map { line in
                guard let question = Question(line: line) else {
                    throw BenchmarkFailure("\(file) has a line that is no request: \(line)")
                }
                return question
            }, path: path)
        guard count > 0 else { throw BenchmarkFailure("\(file) has no requests") }
    }

    /// Where request `index` lies in ``bytes``.
    func range(_ index: Int) -> Range<Int> { starts[index]..<starts[index + 1] }

    /// A program's own token, which is no cookie.
    static func bearerRequest(token: String) -> [UInt8] {
        Array(
            "GET /check,bearer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \(token)\r\n\r\n"
                .utf8)
    }

    /// As small as a proxy's own question can be.
    static func request(path: String, token: String?) -> [UInt8] {
        let cookie = token.map { "Cookie: \(cookieName)=\($0)\r\n" } ?? ""
        return Array("GET \(path) HTTP/1.1\r\nHost: localhost\r\n\(cookie)\r\n".utf8)
    }
}
