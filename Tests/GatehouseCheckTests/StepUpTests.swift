// The options `fresh`, `level`, `optional`, `bearer` and `passive`, in process and over real sockets.

import GatehouseCheck
import GatehouseCore
import GatehouseTestSupport
import Testing

let identityHeaders = [
    "x-auth-user", "x-auth-username", "x-auth-session", "x-auth-time", "x-auth-methods",
    "x-auth-level", "x-auth-actor",
]

extension CheckAnswer {
    var namesNobody: Bool { identityHeaders.allSatisfy { headers[$0] == "" } }
}

@Suite struct StepUpTests {
    private let fixture: CheckFixture

    init() throws { fixture = try CheckFixture() }

    private func request(_ options: String, _ cookie: String) -> String {
        fixture.request("GET /check\(options)/page HTTP/1.1", cookie: cookie)
    }

    /// Whether a session of these claims passes, and why not.
    private func expect(
        _ harness: any CheckHarness, _ options: String, _ claims: Claims, _ reason: String
    ) async throws {
        let answer = try await harness.answer(request(options, fixture.cookie(claims)))
        #expect(answer.status == (reason == "" ? 200 : 403), "\(options)")
        #expect(answer.reason == reason, "\(options)")
        #expect(answer.namesNobody == (reason != ""))
        #expect(answer.headers["www-authenticate"] == nil)
        #expect(!answer.closes)
    }

    @Test(arguments: HarnessKind.allCases)
    func `fresh is to the second, counted from the proof and not from the token`(
        _ kind: HarnessKind
    ) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let claims = Claims.sample(issued: noon, authenticated: noon - 300)
            try await expect(harness, ",fresh=301", claims, "")
            try await expect(harness, ",fresh=300", claims, "")
            try await expect(harness, ",fresh=299", claims, "stale")
            try await expect(harness, ",fresh=1", claims, "stale")
            try await expect(harness, "", claims, "")
            try await expect(harness, ",fresh=1", .sample(authenticated: noon - 1), "")
            try await expect(harness, ",fresh=1", .sample(authenticated: noon - 2), "stale")
            // Within what clocks may differ by, a proof may lie ahead.
            try await expect(harness, ",fresh=1", .sample(authenticated: noon + 30), "")
            let month = noon - 2_592_000
            try await expect(harness, ",fresh=2592000", .sample(authenticated: month), "")
            try await expect(harness, ",fresh=2592000", .sample(authenticated: month - 1), "stale")
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `a level is enough for itself and for what is below`(_ kind: HarnessKind) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            for level in AuthenticationLevel.allCases {
                for asked in 1...3 {
                    try await expect(
                        harness, ",level=\(asked)", .sample(level: level),
                        Int(level.rawValue) >= asked ? "" : "level")
                }
            }
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `a remembered or issued session is good, and never fresh`(
        _ kind: HarnessKind
    ) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let remembered = Claims.sample(
                methods: [], level: .remembered, isRemembered: true)
            let issued = Claims.sample(methods: [], level: .remembered)
            // Can't be made today; it would still be no proof.
            let odd = Claims.sample(level: .password, isRemembered: true)
            for claims in [remembered, issued, odd] {
                try await expect(harness, "", claims, "")
                try await expect(harness, ",fresh=2592000", claims, "stale")
            }
            // The level is asked first: who lacks both has to prove more than freshness.
            try await expect(harness, ",fresh=60,level=2", remembered, "level")
            try await expect(
                harness, ",level=3,fresh=60", .sample(authenticated: noon - 61), "level")
            try await expect(
                harness, ",level=2,fresh=60", .sample(authenticated: noon - 61), "stale")
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `what is no good is no better for what was asked`(_ kind: HarnessKind) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let cases = [
                ("X-Nothing: here", "absent"), (fixture.cookie("x"), "invalid"),
                (fixture.cookie(fixture.expiredToken), "expired"),
                (fixture.cookie(fixture.revokedToken), "revoked"),
            ]
            for (cookie, reason) in cases {
                let answer = try await harness.answer(request(",fresh=60,level=3", cookie))
                #expect(answer.status == 401)
                #expect(answer.reason == reason)
            }
        }
    }

    // MARK: optional

    @Test(arguments: HarnessKind.allCases)
    func `optional makes nobody of every 401, and leaves all else`(
        _ kind: HarnessKind
    ) async throws {
        let name = CheckFixture.cookieName
        let nobody = [
            "X-Nothing: here", fixture.cookie(""), fixture.cookie("x"),
            "Cookie: \(name)=\(fixture.token); \(name)=\(fixture.token)",
            fixture.cookie(fixture.expiredToken), fixture.cookie(fixture.revokedToken),
            fixture.cookie(fixture.bearerToken),
        ]
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            for cookie in nobody {
                let answer = try await harness.answer(request(",optional", cookie))
                #expect(answer.status == 200, "\(cookie)")
                #expect(answer.namesNobody)
                // The same for all, so that nobody is nobody.
                #expect(answer.reason == "")
                #expect(answer.headers["www-authenticate"] == nil)
                #expect(!answer.closes)
            }
            let good = try await harness.answer(request(",optional", fixture.cookie(fixture.token)))
            #expect(good.headers["x-auth-user"] == Claims.sample().user.text)
            try await expect(
                harness, ",optional,fresh=1", .sample(authenticated: noon - 2), "stale")
            try await expect(harness, ",optional,level=3", .sample(), "level")
            let refusals: [(headers: [String], status: Int)] = [
                (["Host: b"], 400), (["Content-Length: 1"], 413),
                ((0..<70).map { "a\($0): b" }, 431),
            ]
            for (headers, status) in refusals {
                let answer = try await harness.answer(
                    fixture.request("GET /check,optional HTTP/1.1", headers: headers))
                #expect(answer.status == status)
                #expect(answer.closes)
            }
            fixture.lease.enter(.starting)
            for cookie in nobody {
                let answer = try await harness.answer(request(",optional", cookie))
                #expect(answer.status == 503, "\(cookie)")
            }
            fixture.lease.enter(.serving)
        }
    }

    // MARK: bearer

    @Test(arguments: HarnessKind.allCases)
    func `a bearer token is good in any spelling of its scheme, and cookies are ignored`(
        _ kind: HarnessKind
    ) async throws {
        let token = fixture.bearerToken
        let cookie = fixture.cookie(fixture.token)
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            for field in [
                "Authorization: Bearer \(token)", "authorization: bearer \(token)",
                "AUTHORIZATION: BEARER \(token)", "Authorization:bEaReR   \(token) \t",
                "Authorization: Bearer \(token)\r\n\(cookie)",
                "\(cookie)\r\n\(cookie)\r\nAuthorization: Bearer \(token)",
            ] {
                let answer = try await harness.answer(request(",bearer", field))
                #expect(answer.status == 200, "\(field)")
                #expect(
                    answer.headers["x-auth-username"] == "ada", "the bearer's, not the cookie's")
            }
            // Behind the path it is no option.
            let cookieOnly = try await harness.answer(
                fixture.request(
                    "GET /check/,bearer HTTP/1.1", cookie: "Authorization: Bearer \(token)"))
            #expect(cookieOnly.reason == "absent")
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `what is no bearer token is absent or invalid`(_ kind: HarnessKind) async throws {
        let token = fixture.bearerToken
        let cases = [
            ("X-Nothing: here", "absent"), (fixture.cookie(fixture.token), "absent"),
            ("Authorization:", "absent"), ("Authorization: Bearer", "absent"),
            ("Authorization: Bearer  ", "absent"), ("Authorization: Basic eDp5", "absent"),
            ("Authorization: Basic \(token)", "absent"), ("Authorization: \(token)", "absent"),
            ("Authorization: Bearer:\(token)", "absent"),
            ("Authorization: Bearer\t\(token)", "absent"),
            ("Authorization: Bearer,\(token)", "absent"),
            ("Authorization: XBearer \(token)", "absent"),
            ("Proxy-Authorization: Bearer \(token)", "absent"),
            ("Authorization: Bearer \(fixture.token)", "invalid"),
            ("Authorization: Bearer x", "invalid"),
            ("Authorization: Bearer \(token), Bearer \(token)", "invalid"),
            ("Authorization: Bearer \(token) \(token)", "invalid"),
            ("Authorization: Bearer \"\(token)\"", "invalid"),
            ("Authorization: Bearer token=\(token)", "invalid"),
            ("Authorization: Bearer \(token)\r\nAuthorization: Bearer \(token)", "invalid"),
            ("Authorization: Bearer \(token)\r\nauthorization: Basic x", "invalid"),
            ("Authorization: Basic x\r\nAuthorization: Bearer \(token)", "invalid"),
            ("Authorization:\r\nAuthorization: Bearer \(token)", "invalid"),
        ]
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            for (field, reason) in cases {
                let answer = try await harness.answer(request(",bearer", field))
                #expect(answer.status == 401, "\(field)")
                #expect(answer.reason == reason, "\(field)")
                #expect(answer.namesNobody)
            }
            // A cookie's place takes no bearer token, and without the option nobody looks elsewhere.
            let asCookie = try await harness.answer(request("", fixture.cookie(token)))
            #expect(asCookie.reason == "invalid")
            let both = try await harness.answer(
                request("", "Authorization: Bearer x\r\n" + fixture.cookie(fixture.token)))
            #expect(both.status == 200)
            #expect(
                try await harness.answer(request("", "Authorization: Bearer \(token)")).reason
                    == "absent")
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `a bearer session may be asked for more, as any other`(_ kind: HarnessKind) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let field = try fixture.bearer(.sample(authenticated: noon - 300))
            for (options, reason) in [
                (",bearer,fresh=300", ""), (",bearer,fresh=299", "stale"),
                (",bearer,level=3", "level"), (",level=3,bearer", "level"),
            ] {
                let answer = try await harness.answer(request(options, field))
                #expect(answer.reason == reason, "\(options)")
                #expect(answer.status == (reason == "" ? 200 : 403))
            }
        }
    }

    // MARK: passive

    @Test(arguments: HarnessKind.allCases)
    func `uses are noted, but for passive ones and those that were no good`(
        _ kind: HarnessKind
    ) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let cookie = fixture.cookie(fixture.token)
            let mine: Set = [Claims.sample().session]
            func noted(_ options: String, _ cookie: String) async throws -> Set<SessionID> {
                _ = try await harness.answer(request(options, cookie))
                return await harness.takeActivity()
            }
            #expect(try await noted("", cookie) == mine)
            #expect(await harness.takeActivity() == [], "they are taken once")
            #expect(try await noted(",fresh=60,optional,renew,forward", cookie) == mine)
            #expect(try await noted(",bearer", fixture.bearer(.sample())) == mine)
            #expect(try await noted(",passive", cookie) == [])
            #expect(try await noted(",renew,passive", cookie) == [])
            #expect(try await noted(",passive,bearer", fixture.bearer(.sample())) == [])
            #expect(try await noted(",level=3", cookie) == [])
            #expect(try await noted("", fixture.cookie(fixture.revokedToken)) == [])
            #expect(try await noted("", fixture.cookie(fixture.expiredToken)) == [])
            #expect(try await noted(",optional", "X-Nothing: here") == [])
        }
    }
}
