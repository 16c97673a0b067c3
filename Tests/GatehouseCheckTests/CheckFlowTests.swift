// What the check endpoint answers: one suite, in process and over real sockets.

import GatehouseCheck
import GatehouseCore
import GatehouseTestSupport
import Testing

private let headerNames = [
    "x-auth-user", "x-auth-username", "x-auth-session", "x-auth-time", "x-auth-methods",
    "x-auth-level", "x-auth-actor", "x-auth-reason",
]

enum HarnessKind: CaseIterable {
    case inProcess, tcp, unix, nioTCP, nioUnix

    private var socketKind: SocketHarness.Kind? {
        switch self {
        case .inProcess: nil
        case .tcp: .tcp
        case .unix: .unix
        case .nioTCP: .nioTCP
        case .nioUnix: .nioUnix
        }
    }

    /// Whether peers count as listed proxies without being listed.
    var isUnix: Bool { self == .unix || self == .nioUnix }

    /// Runs `body` against an endpoint of this kind.
    ///
    /// - Parameter trustsPeer: whether the peer is listed as a proxy whose forwarded fields are believed.
    func run(
        _ fixture: CheckFixture, settings: CheckSettings? = nil, trustsPeer: Bool = false,
        _ body: (any CheckHarness) async throws -> Void
    ) async throws {
        guard let socketKind else {
            return try await body(
                InProcessHarness(
                    fixture: fixture, settings: settings, isFromTrustedProxy: trustsPeer))
        }
        let harness = try await SocketHarness(
            socketKind, fixture: fixture, settings: settings,
            trustedProxies: trustsPeer ? ["127.0.0.1"] : [])
        try await body(harness)
        try await harness.stop()
    }
}

@Suite struct CheckFlowTests {
    private let fixture: CheckFixture

    init() throws { fixture = try CheckFixture() }

    private func one(_ harness: any CheckHarness, _ request: String) async throws -> CheckAnswer {
        try await harness.answer(request)
    }

    // Promise: permission
    @Test(arguments: HarnessKind.allCases)
    func `whoever acts for the user is told apart`(_ kind: HarnessKind) async throws {
        let actor = try #require(OperatorName("eve@support"))
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let acted = Claims.sample(name: "ada", methods: [], level: .remembered).acted(by: actor)
            let answer = try await one(harness, fixture.request(cookie: fixture.cookie(acted)))
            #expect(answer.status == 200)
            #expect(answer.headers["x-auth-username"] == "ada")
            #expect(answer.headers["x-auth-actor"] == "eve%40support")
            #expect(answer.headers["x-auth-reason"] == "")
            let refused = try await one(
                harness,
                fixture.request("GET /check,level=2 HTTP/1.1", cookie: fixture.cookie(acted)))
            #expect(refused.status == 403)
            #expect(refused.headers["x-auth-actor"] == "")
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `a good session is 200 with every identity header`(_ kind: HarnessKind) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let (answers, isClosed) = try await harness.exchange([Array(fixture.request().utf8)])
            let answer = try #require(answers.first)
            #expect(!isClosed)
            #expect(answer.status == 200)
            let claims = Claims.sample(name: "zoë")
            #expect(answer.headers["x-auth-user"] == claims.user.text)
            #expect(answer.headers["x-auth-username"] == "zo%C3%AB")
            #expect(answer.headers["x-auth-session"] == claims.session.text)
            #expect(answer.headers["x-auth-time"] == "\(noon)")
            #expect(answer.headers["x-auth-methods"] == "pwd")
            #expect(answer.headers["x-auth-level"] == "2")
            #expect(answer.headers["x-auth-actor"] == "")
            #expect(answer.headers["x-auth-reason"] == "")
            #expect(answer.headers["cache-control"] == "no-store")
            #expect(answer.headers["content-length"] == "0")
            #expect(answer.headers["date"]?.hasPrefix("Tue, 24 Nov 2026 12:") == true)
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `every refusal has its status and reason, and every identity header empty`(
        _ kind: HarnessKind
    ) async throws {
        let name = CheckFixture.cookieName
        let token = fixture.token
        let cases: [(cookie: String, reason: String)] = [
            ("X-Nothing: here", "absent"),
            ("Cookie: other=1", "absent"),
            ("Cookie: \(name)=", "absent"),
            ("Cookie: __host-gatehouse=\(token)", "absent"),
            ("Cookie: %5f%5fHost-gatehouse=\(token)", "absent"),
            ("Cookie: \u{A0}\(name)=\(token)", "absent"),
            ("Cookie: \u{2000}\(name)=\(token)", "absent"),
            ("Cookie: =\(name)=\(token)", "absent"),
            ("Cookie: \(name)", "absent"),
            ("Cookie: x=\(name)=\(token)", "absent"),
            ("Authorization: Bearer \(fixture.bearerToken)", "absent"),
            ("Cookie: \(name)=\(token); \(name)=\(token)", "invalid"),
            ("Cookie: \(name)=\(token)\r\nCookie: \(name)=\(token)", "invalid"),
            ("Cookie: \(name)=x; \(name)=\(token)", "invalid"),
            ("Cookie: \(name)=\(token); \(name)=", "invalid"),
            ("Cookie: \(name)=\"\(token)\"", "invalid"),
            ("Cookie: $Version=1; \(name)=\"\(token)\"; $Path=/", "invalid"),
            ("Cookie: \(name)=\(token)=", "invalid"),
            ("Cookie: \(name)=\(token) x", "invalid"),
            ("Cookie: \(name)=\(token)%20", "invalid"),
            ("Cookie: \(name)=\(token.dropLast())", "invalid"),
            ("Cookie: \(name)=\(token)AAAA", "invalid"),
            ("Cookie: \(name)=x", "invalid"),
            ("Cookie: \(name)=\(String(repeating: "A", count: 4097))", "invalid"),
            ("Cookie: \(name)=\(fixture.bearerToken)", "invalid"),
            ("Cookie: \(name)=\(fixture.expiredToken)", "expired"),
            ("Cookie: \(name)=\(fixture.revokedToken)", "revoked"),
        ]
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            for (cookie, reason) in cases {
                let answer = try await one(harness, fixture.request(cookie: cookie))
                #expect(answer.status == 401, "\(cookie)")
                #expect(answer.reason == reason, "\(cookie)")
                #expect(answer.headers["www-authenticate"] == "Gatehouse")
                #expect(!answer.closes)
                for header in headerNames.dropLast() { #expect(answer.headers[header] == "") }
            }
        }
    }

    @Test(arguments: [
        "Cookie: a=1; __Host-gatehouse=TOKEN; b=2", "Cookie: a=1;__Host-gatehouse=TOKEN",
        "Cookie:__Host-gatehouse=TOKEN", "cookie: \t __Host-gatehouse=TOKEN \t ",
        "COOKIE: __Host-gatehouse=TOKEN;", "Cookie: ;;; __Host-gatehouse=TOKEN;;",
        "Cookie: a=1\r\nCookie: __Host-gatehouse=TOKEN",
        "Cookie: a=\"x;__Host-x=1\"; __Host-gatehouse=TOKEN",
        "Cookie: __host-gatehouse=x; __Host-gatehouse=TOKEN", "Cookie: __Host-gatehouse =\tTOKEN",
        "Cookie: __Host-gatehouse2=x; __Host-gatehouse=TOKEN",
    ])
    func `our cookie is found among others, and its neighbours are not ours`(
        _ cookie: String
    ) async throws {
        let harness = InProcessHarness(fixture: fixture)
        let answer = try await one(
            harness, fixture.request(cookie: cookie.replacing("TOKEN", with: fixture.token)))
        #expect(answer.status == 200)
    }

    @Test(arguments: HarnessKind.allCases)
    func `any method and any path below the prefix give the same verdict`(
        _ kind: HarnessKind
    ) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            for method in [
                "GET", "HEAD", "POST", "DELETE", "OPTIONS", "TRACE", "M-SEARCH", "QUERY",
            ] {
                for target in [
                    "/check", "/check/", "/check?x=1", "/check/../../etc?/check",
                    "/check//a,fresh=1",
                    "/check/%00%0d%0a", "/check?,level=3", "/check/#x", "/check/;/..", "/check/\\",
                ] {
                    let answer = try await one(
                        harness, fixture.request("\(method) \(target) HTTP/1.1"))
                    #expect(answer.status == 200, "\(method) \(target)")
                }
            }
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `headers that steer other requests change nothing`(_ kind: HarnessKind) async throws {
        let headers = [
            "If-None-Match: *", "If-Match: \"x\"",
            "If-Modified-Since: Tue, 24 Nov 2026 12:00:00 GMT",
            "Range: bytes=0-0", "Expect: 100-continue", "Content-Type: text/html",
            "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: evil", "X-Original-URL: /livez",
            "X-Auth-User: admin", "User-Agent: GoogleHC/1.0", "Upgrade: h2c", "TE: trailers",
            "Content-Length: 0", "Connection: keep-alive", "X-HTTP-Method-Override: CONNECT",
            "Accept-Encoding: gzip", "Authorization: Basic eDp5",
        ]
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let (answers, isClosed) = try await harness.exchange([
                Array(fixture.request(headers: headers).utf8)
            ])
            #expect(answers.map(\.status) == [200])
            #expect(!isClosed)
            #expect(answers.first?.headers["etag"] == nil)
            let denied = try await one(harness, fixture.request(cookie: "X-A: b", headers: headers))
            #expect(denied.status == 401)
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `what is not a request that we accept is refused, and the connection closes`(
        _ kind: HarnessKind
    ) async throws {
        let cookie = "Cookie: \(CheckFixture.cookieName)=\(fixture.token)"
        let cases: [(request: String, status: Int)] = [
            (fixture.request("GET /check,fresh HTTP/1.1"), 400),
            (fixture.request("GET /check, HTTP/1.1"), 400),
            (fixture.request("GET /checkx HTTP/1.1"), 400),
            (fixture.request("GET /Check HTTP/1.1"), 400),
            (fixture.request("GET / HTTP/1.1"), 400),
            (fixture.request("GET //check HTTP/1.1"), 400),
            (fixture.request("GET check HTTP/1.1"), 400),
            (fixture.request("GET http://a/check HTTP/1.1"), 400),
            (fixture.request("OPTIONS * HTTP/1.1"), 400),
            (fixture.request("CONNECT a:1 HTTP/1.1"), 400),
            (fixture.request("CONNECT /check HTTP/1.1"), 400),
            (fixture.request("FOO /check HTTP/1.1"), 400),
            (fixture.request("get /check HTTP/1.1"), 400),
            (fixture.request("GET /check HTTP/1.2"), 400),
            (fixture.request("GET /check HTTP/2.0"), 400),
            (fixture.request("GET /check HTTP/0.9"), 400),
            (fixture.request("GET /check http/1.1"), 400),
            (fixture.request("GET /check"), 400),
            (fixture.request("GET  /check HTTP/1.1"), 400),
            (fixture.request("GET /check  HTTP/1.1"), 400),
            (fixture.request("GET /check HTTP/1.1 "), 400),
            (fixture.request(" GET /check HTTP/1.1"), 400),
            (fixture.request("\r\nGET /check HTTP/1.1"), 400),
            (fixture.request("GET\t/check HTTP/1.1"), 400),
            (fixture.request("GET /check/é HTTP/1.1"), 400),
            (fixture.request("GET /check/\u{1} HTTP/1.1"), 400),
            (fixture.request(host: nil), 400),
            (fixture.request(headers: ["Host: b"]), 400),
            (fixture.request(headers: ["Content-Length: 5"]), 413),
            (fixture.request(headers: ["Content-Length: 18446744073709551617"]), 413),
            (fixture.request(headers: ["Content-Length: 00"]), 400),
            (fixture.request(headers: ["Content-Length: +0"]), 400),
            (fixture.request(headers: ["Content-Length: -0"]), 400),
            (fixture.request(headers: ["Content-Length: 0x0"]), 400),
            (fixture.request(headers: ["Content-Length: 0, 0"]), 400),
            (fixture.request(headers: ["Content-Length: 5x"]), 400),
            (fixture.request(headers: ["Content-Length:"]), 400),
            (fixture.request(headers: ["Content-Length: 0\t"]), 400),
            (fixture.request(headers: ["Content-Length: 0 \t "]), 400),
            (fixture.request(headers: ["Content-Length: 0", "Content-Length: 0"]), 400),
            (fixture.request(headers: ["content-length: 0", "CONTENT-LENGTH: 5"]), 400),
            (fixture.request(headers: ["Transfer-Encoding: chunked"]), 400),
            (fixture.request(headers: ["Transfer-Encoding: identity"]), 400),
            (fixture.request(headers: ["Transfer-Encoding:"]), 400),
            (fixture.request(headers: ["Content-Length: 0", "Transfer-Encoding: chunked"]), 400),
            (fixture.request(headers: ["X-A : b"]), 400),
            (fixture.request(headers: [" X-A: b"]), 400),
            (fixture.request(headers: ["X-A: b", "\tfolded"]), 400),
            (fixture.request(headers: ["X-A"]), 400),
            (fixture.request(headers: [": b"]), 400),
            (fixture.request(headers: ["X A: b"]), 400),
            (fixture.request(headers: ["X-É: b"]), 400),
            (fixture.request(headers: ["X-A: b\u{0}"]), 400),
            (fixture.request(headers: ["X-A: b\u{7F}"]), 400),
            (fixture.request(headers: ["X-A: b\u{B}"]), 400),
            ("GET /check HTTP/1.1\nHost: a\n\(cookie)\n\n", 400),
            ("GET /check HTTP/1.1\r\nHost: a\n\(cookie)\r\n\r\n", 400),
            ("GET /check HTTP/1.1\r\nHost: a\r\r\n\(cookie)\r\n\r\n", 400),
            ("GET /check HTTP/1.1\r\nHost: a\r\n\(cookie)\r\n\n", 400),
            ("GET /check HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\(cookie)\r\n\r\n", 400),
        ]
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            for (request, status) in cases {
                let (answers, isClosed) = try await harness.exchange([Array(request.utf8)])
                #expect(answers.map(\.status) == [status], "\(request)")
                #expect(answers.first?.closes == true)
                #expect(isClosed, "\(request)")
                for header in headerNames { #expect(answers.first?.headers[header] == "") }
            }
            // And it is still there for others.
            #expect(try await one(harness, fixture.request()).status == 200)
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `a head of 16 KiB is read, one byte more is 431`(_ kind: HarnessKind) async throws {
        let base = fixture.request(headers: ["X-Pad: "])
        let room = 16_384 - base.utf8.count
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let full = fixture.request(headers: ["X-Pad: " + String(repeating: "p", count: room)])
            #expect(full.utf8.count == 16_384)
            #expect(try await one(harness, full).status == 200)
            for extra in [1, 2, 3, 5000] {
                let (answers, isClosed) = try await harness.exchange([
                    Array(
                        fixture.request(headers: [
                            "X-Pad: " + String(repeating: "p", count: room + extra)
                        ]).utf8)
                ])
                #expect(answers.map(\.status) == [431], "\(extra) more")
                #expect(isClosed)
            }
            let endless = [UInt8](repeating: UInt8(ascii: "a"), count: 1 << 20)
            #expect(try await harness.exchange([endless]).answers.map(\.status) == [431])
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `64 header fields are read, 65 are 431`(_ kind: HarnessKind) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let filler = (0..<62).map { "X-\($0): y" }
            #expect(try await one(harness, fixture.request(headers: filler)).status == 200)
            #expect(
                try await one(harness, fixture.request(headers: filler + ["X-Y: z"])).status == 431)
            let flood = (0..<2000).map { "a\($0):b" }
            #expect(try await one(harness, fixture.request(headers: flood)).status == 431)
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `pipelined requests are answered in order, up to the first that closes`(
        _ kind: HarnessKind
    ) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let good = fixture.request()
            let bad = fixture.request(cookie: "X-A: b")
            let many = String(repeating: good + bad, count: 50)
            let (answers, isClosed) = try await harness.exchange([Array(many.utf8)])
            #expect(answers.map(\.status) == (0..<100).map { $0 % 2 == 0 ? 200 : 401 })
            #expect(!isClosed)

            let closing = good + fixture.request(headers: ["Connection: close"]) + good
            let (some, ended) = try await harness.exchange([Array(closing.utf8)])
            #expect(some.map(\.status) == [200, 200])
            #expect(some.map(\.closes) == [false, true])
            #expect(ended)

            let broken = good + "nonsense\r\n\r\n" + good
            #expect(try await harness.answers(broken).map(\.status) == [200, 400])
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `HTTP/1.0 is answered, then closed, with or without Host`(_ kind: HarnessKind) async throws
    {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            for host in ["a", nil] {
                let (answers, isClosed) = try await harness.exchange([
                    Array(
                        fixture.request(
                            "GET /check HTTP/1.0", headers: ["Connection: keep-alive"], host: host
                        ).utf8)
                ])
                #expect(answers.map(\.status) == [200])
                #expect(answers.first?.closes == true)
                #expect(isClosed)
            }
        }
    }

    @Test(arguments: ["close", "Close", "keep-alive, close", " close ,x", "x,\tCLOSE"])
    func `connection close is a list element in any case`(_ value: String) async throws {
        let harness = InProcessHarness(fixture: fixture)
        let closing = try await one(harness, fixture.request(headers: ["Connection: \(value)"]))
        #expect(closing.closes)
        for other in ["closed", "x-close", "keep-alive", "clos e"] {
            #expect(
                try await !one(harness, fixture.request(headers: ["Connection: \(other)"])).closes)
        }
        // What llhttp reads as the same field ends a connection here too.
        let proxy = try await one(harness, fixture.request(headers: ["Proxy-Connection: \(value)"]))
        #expect(proxy.closes)
    }

    @Test(arguments: HarnessKind.allCases)
    func `a node that can't know says 503 to everybody`(_ kind: HarnessKind) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            fixture.lease.enter(.starting)
            for request in [
                fixture.request(), fixture.request(cookie: "X-A: b"),
                fixture.request(cookie: "Cookie: \(CheckFixture.cookieName)=x"),
            ] {
                let answer = try await one(harness, request)
                #expect(answer.status == 503)
                #expect(answer.headers["retry-after"] == "1")
                for header in headerNames { #expect(answer.headers[header] == "") }
            }
            // What is no request is still that.
            #expect(try await one(harness, fixture.request(headers: ["Host: b"])).status == 400)
            fixture.lease.enter(.serving)
        }
    }

    @Test func `a stopping node closes after its answer`() async throws {
        fixture.lease.enter(.stopping)
        let answer = try await one(InProcessHarness(fixture: fixture), fixture.request())
        #expect(answer.status == 503)
        #expect(answer.closes)
    }
}
