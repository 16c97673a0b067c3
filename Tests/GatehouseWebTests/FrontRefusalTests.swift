// What the front door refuses before anything happens: tables of requests and answers.

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

@Suite(.serialized) struct FrontRefusalTests {
    private func with(_ body: (FrontFixture) async throws -> Void) async throws {
        let fixture = try await FrontFixture()
        try await body(fixture)
        await fixture.stop()
    }

    private static let json = #"{"username":"ada","password":"\#(FrontFixture.password)"}"#

    @Test(
        arguments: [
            ("same-origin", "https://app.example", 303), ("same-origin", nil, 303),
            ("same-origin", "https://evil.example", 303),
            ("same-site", "https://app.example", 403), ("cross-site", "https://app.example", 403),
            ("none", "https://app.example", 403), ("", "https://app.example", 403),
            ("Same-Origin", "https://app.example", 403), ("same-origin, same-origin", nil, 403),
            (nil, "https://app.example", 303), (nil, "https://app.example:443", 403),
            (nil, "http://app.example", 403), (nil, "https://app.example:8443", 403),
            (nil, "https://app.example.", 403), (nil, "https://APP.example", 403),
            (nil, "https://sub.app.example", 403), (nil, "https://evil.example", 403),
            (nil, "null", 403), (nil, "", 403), (nil, nil, 403),
        ] as [(String?, String?, Int)])
    func `a form is taken from our own pages only`(
        _ fetchSite: String?, _ origin: String?, _ status: Int
    ) async throws {
        try await with { (fixture: FrontFixture) async throws in
            for page in ["/login", "/register", "/logout"] {
                var browser = Browser(fixture)
                if page == "/login" { _ = try await fixture.makeUser("ada") }
                let token = try #require(Browser.formToken(await browser.get(page).body))
                browser.fields = ["sec-fetch-site": fetchSite, "origin": origin]
                let name = page == "/login" ? "ada" : "eve"
                let answer = await browser.post(
                    page,
                    [("username", name), ("password", FrontFixture.password), ("form", token)])
                #expect(answer.status == status, "\(page)")
                #expect(browser.sessionToken == nil || status == 303)
            }
        }
    }

    @Test func `JSON without either header is taken only without our cookies`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            for (cookies, status) in [
                ([:], 200), (["other": "x"], 200), (["__Host-gatehouse": "x"], 403),
                (["__Host-gatehouse-form": "x"], 403),
            ] as [([String: String], Int)] {
                var program = Browser(fixture)
                program.fields = ["sec-fetch-site": nil, "origin": nil]
                program.cookies = cookies
                #expect(await program.json("/v1/login", Self.json).status == status, "\(cookies)")
            }
            var foreign = Browser(fixture)
            foreign.fields = ["sec-fetch-site": "cross-site"]
            #expect(await foreign.json("/v1/login", Self.json).status == 403)
            #expect(await foreign.json("/v1/logout", "").status == 403)
        }
    }

    @Test func `a form needs its own token and its own browser`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            let fields = [("username", "ada"), ("password", FrontFixture.password)]
            var browser = Browser(fixture)
            let token = try #require(Browser.formToken(await browser.get("/login").body))
            var other = Browser(fixture)
            let foreign = try #require(Browser.formToken(await other.get("/login").body))
            let cookie = try #require(browser.cookies["__Host-gatehouse-form"])
            for (field, reason) in [
                ("", "open for too long"), (foreign, "open for too long"),
                (cookie, "open for too long"), (token + "A", "open for too long"),
            ] {
                let answer = await browser.post("/login", fields + [("form", field)])
                #expect(answer.status == 403)
                #expect(answer.alert?.contains(reason) == true)
            }
            #expect(await browser.post("/login", fields).status == 403, "without the field")
            // A browser that takes no cookies is told so.
            var blocked = Browser(fixture)
            blocked.cookies = [:]
            let answer = await blocked.post("/login", fields + [("form", token)])
            #expect(answer.status == 403)
            #expect(answer.alert?.contains("cookies") == true)
            #expect(blocked.sessionToken == nil)
            #expect(await browser.post("/login", fields + [("form", token)]).status == 303)
        }
    }

    @Test func `a form is good for twelve hours and not longer`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            let tokens = fixture.door.formTokens
            let (preSession, _) = try await tokens.newPreSession(at: instant(noon))
            let session = SessionID(preSession)
            for binding in [FormTokens.Binding.preSession(preSession), .session(session)] {
                let field = Array(try await tokens.field(for: binding, at: instant(noon)).utf8)
                func outcome(
                    _ seconds: Int64, _ other: FormTokens.Binding?
                ) async -> FormTokens.Outcome {
                    await tokens.judge(
                        field: field, binding: other, hasCookie: true, at: instant(noon + seconds))
                }
                #expect(await outcome(12 * 3600 - 1, binding) == .good)
                #expect(await outcome(12 * 3600, binding) == .stale)
                #expect(await outcome(-clockSkewSeconds, binding) == .good)
                #expect(await outcome(-clockSkewSeconds - 1, binding) == .stale)
                #expect(await outcome(0, nil) == .stale)
                // The same 16 bytes as the other kind of binding.
                let swapped: FormTokens.Binding =
                    binding == .session(session) ? .preSession(preSession) : .session(session)
                #expect(await outcome(0, swapped) == .stale)
                let blocked = await tokens.judge(
                    field: field, binding: nil, hasCookie: false, at: instant(noon))
                #expect(blocked == .noCookie)
            }
        }
    }

    @Test func `a form from before a sign-in, or of another session, is not taken after it`()
        async throws
    {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            let before = try #require(Browser.formToken(await browser.get("/login").body))
            let preSession = browser.cookies["__Host-gatehouse-form"]
            _ = await browser.signIn("ada")
            browser.cookies["__Host-gatehouse-form"] = preSession
            #expect(await browser.post("/logout", [("form", before)]).status == 403)
            var other = Browser(fixture)
            _ = await other.signIn("ada")
            let foreign = try #require(Browser.formToken(await other.get("/account").body))
            #expect(await browser.post("/logout", [("form", foreign)]).status == 403)
            #expect(await fixture.isGood(browser.sessionToken))
            #expect(await browser.submit("/logout", []).status == 303)
        }
    }

    @Test(
        arguments: [
            ("application/json", "/login", 415), ("text/plain", "/login", 415),
            ("multipart/form-data; boundary=x", "/login", 415), (nil, "/login", 415),
            ("application/x-www-form-urlencoded; charset=latin1", "/login", 415),
            ("application/x-www-form-urlencoded", "/v1/login", 415),
            ("text/plain", "/v1/login", 415),
            (nil, "/v1/logout", 415), ("application/json; charset=utf-8", "/v1/login", 400),
            ("application/x-www-form-urlencoded; charset=UTF-8", "/login", 403),
        ] as [(String?, String, Int)])
    func `a body of another type is refused`(
        _ type: String?, _ target: String, _ status: Int
    ) async throws {
        try await with { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            let answer = await browser.send(.post, target, body: Array("a=b".utf8), type: type)
            #expect(answer.status == status)
        }
    }

    @Test(arguments: [
        ("a=b&a=c", 400), ("a=%zz", 400), ("a=%ff", 400), ("a=%c0%80", 400), ("a=%ed%a0%80", 400),
        ("&", 400), ("a", 400), ("=b", 400), ("a%00=b", 400),
        (String(repeating: "x", count: 16_380) + "=y", 403),
        (String(repeating: "x", count: 16_384) + "=y", 413),
        ((1...64).map { "f\($0)=x" }.joined(separator: "&"), 403),
        ((1...65).map { "f\($0)=x" }.joined(separator: "&"), 400),
        ("password=" + String(repeating: "e%CC%81", count: 2000), 403),
        ("password=" + String(repeating: "x", count: 1 << 20), 413),
    ])
    func `a malformed or oversized form is refused with its reason`(
        _ body: String, _ status: Int
    ) async throws {
        try await with { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            for target in ["/login", "/register", "/logout", "/recover"] {
                let answer = await browser.send(
                    .post, target, body: Array(body.utf8), type: "application/x-www-form-urlencoded"
                )
                // 403: the form was read, and had no token.
                #expect(answer.status == status, "\(target)")
                #expect(answer.alert?.isEmpty == false)
            }
        }
    }

    @Test(arguments: [
        "", "{", "[]", "null", "1", #"{"username":"ada"}"#, #"{"username":1,"password":"x"}"#,
        #"{"username":"ada","password":null}"#, "\u{FEFF}{}",
        #"{"username":"\ud800","password":"x"}"#,
        String(repeating: "[", count: 10_000), #"{"username":"a","username":"b","password":"x"}"#,
        #"{"username":"a","\u0075sername":"b","password":"x"}"#,
        "{\"username\":\"a\",\"password\":\"b\0\"}",
        #"{"username":"a","password":"x","x":{"a":1,"a":2}}"#, #"{"username":"a","password":"x"}}"#,
        #"{"username":"a","password":"x\"#,
    ])
    func `a body that is not the JSON we take is 400`(_ body: String) async throws {
        try await with { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            for target in ["/v1/login", "/v1/register"] {
                let answer = await browser.json(target, body)
                #expect(answer.status == 400, "\(body.prefix(40))")
                #expect(answer.contentType == "application/problem+json")
            }
        }
    }

    @Test func `a JSON body of 16 KiB is read, a larger one is 413`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            let frame = #"{"username":"ada","password":""}"#.utf8.count
            for (size, status) in [(16_384, 401), (16_385, 413), (1 << 20, 413)] {
                let password = String(repeating: "x", count: size - frame)
                let body = #"{"username":"ada","password":"\#(password)"}"#
                #expect(await browser.json("/v1/login", body).status == status)
            }
            let transport = #"{"username":"a","password":"b","transport":"smoke"}"#
            #expect(await browser.json("/v1/login", transport).status == 422)
            let remember = #"{"username":"a","password":"b","remember":true,"transport":"bearer"}"#
            #expect(await browser.json("/v1/login", remember).status == 422)
        }
    }

    @Test func `64 header fields are taken, 65 are 431, and so are more than 16 KiB`() async throws
    {
        try await with { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            // Two are always there.
            for (count, status) in [(62, 200), (63, 431)] {
                let more = (0..<count).map { ("x-\($0)", "y") }
                #expect(
                    await browser.send(.get, "/v1/session", more: more).status
                        == (status == 200 ? 401 : 431))
                browser.cookies = [:]
            }
            let room = 16_384 - "sec-fetch-sitesame-originoriginhttps://app.examplex-pad".utf8.count
            for (extra, status) in [(0, 401), (1, 431)] {
                let more = [("x-pad", String(repeating: "p", count: room + extra))]
                #expect(await browser.send(.get, "/v1/session", more: more).status == status)
            }
        }
    }

    @Test func `each route takes its methods and says which`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            let methods: [HTTPRequest.Method] = [
                .get, .head, .post, .put, .delete, .patch, .options, .trace, .connect,
            ]
            for (path, expected) in [
                ("/login", "GET, HEAD, POST"), ("/register", "GET, HEAD, POST"),
                ("/logout", "GET, HEAD, POST"), ("/account", "GET, HEAD"),
                ("/recover", "GET, HEAD, POST"), ("/style.css", "GET, HEAD"),
                ("/v1/login", "POST"), ("/v1/register", "POST"), ("/v1/logout", "POST"),
                ("/v1/session", "GET, HEAD"),
            ] {
                for method in methods {
                    var browser = Browser(fixture)
                    let answer = await browser.send(method, path)
                    let isTaken = expected.split(separator: ", ").contains { $0 == method.rawValue }
                    #expect((answer.status == 405) != isTaken, "\(method) \(path)")
                    if !isTaken { #expect(answer.header("allow") == expected) }
                }
            }
        }
    }

    @Test(
        arguments: [
            ("app.example", 200), ("APP.example", 200), ("app.example:443", 200),
            ("app.example:8443", 421), ("app.example.", 400), ("evil.example", 421),
            ("localhost", 421), ("app_example", 400), ("app.example@evil", 400), ("", 400),
            (nil, 400),
        ] as [(String?, Int)])
    func `only our own host is served`(_ host: String?, _ status: Int) async throws {
        try await with { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            #expect(await browser.send(.get, "/login", host: host).status == status)
            let twice = await browser.send(.get, "/login", more: [("host", "app.example")])
            #expect(twice.status == 400)
            let forwarded = await browser.send(
                .get, "/login",
                more: [("x-forwarded-host", "evil.example"), ("forwarded", "host=evil")])
            #expect(forwarded.status == 200)
            #expect(!forwarded.body.contains("evil"))
        }
    }

    @Test func `every answer has the security headers`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            let answers = [
                await browser.get("/login"), await browser.get("/register"),
                await browser.get("/nothing"), await browser.get("/account"),
                await browser.get("/style.css"), await browser.get("/v1/session"),
                await browser.get("/v1/nothing"), await browser.send(.put, "/login"),
                await browser.send(.get, "/login", host: "evil.example"),
                await browser.post("/login", []), await browser.json("/v1/login", "{"),
                await browser.get("/recover?token=x"),
                await browser.get("/login?notice=a&notice=b"),
            ]
            for answer in answers {
                #expect(answer.header("cache-control") == "no-store")
                #expect(answer.header("x-content-type-options") == "nosniff")
                #expect(
                    answer.header("content-security-policy")
                        == "default-src 'none'; style-src 'self'; form-action 'self' "
                        + "https://shop.example; frame-ancestors 'none'; base-uri 'none'")
                #expect(
                    answer.header("strict-transport-security")
                        == "max-age=31536000; includeSubDomains")
                #expect(answer.header("cross-origin-opener-policy") == "same-origin")
                #expect(answer.header("cross-origin-resource-policy") == "same-origin")
                #expect(answer.header("referrer-policy") != nil)
                #expect(answer.header("server") == nil)
                #expect(!answer.body.contains("<script"))
                let names = answer.headers.map(\.0.canonicalName).filter { $0 != "set-cookie" }
                #expect(Set(names).count == names.count, "no header twice")
            }
            #expect(answers[0].header("referrer-policy") == "same-origin")
            #expect(answers[5].header("referrer-policy") == "no-referrer")
        }
    }

    @Test func `where sign-in leads is a path of ours or a listed origin`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            for (target, location) in [
                ("/a", "/a"), ("https://shop.example/cart", "https://shop.example/cart"),
                ("//evil.example", "/account"), ("/\\evil.example", "/account"),
                ("https://evil.example/", "/account"), ("javascript:alert(1)", "/account"),
                ("/a\r\nSet-Cookie: x=y", "/account"), ("", "/account"),
            ] {
                var browser = Browser(fixture)
                let answer = await browser.submit(
                    "/login",
                    [
                        ("username", "ada"), ("password", FrontFixture.password),
                        ("return_to", target),
                    ])
                #expect(answer.status == 303)
                #expect(answer.header("location") == location, "\(target)")
            }
        }
    }

    @Test(
        arguments: [
            ("/login?return_to=/a%20b?c=d&e=f", "/a%20b?c=d&amp;e=f"),
            ("/login?return_to=%2Fa%3Fc%3Dd%26e%3Df", "/a?c=d&amp;e=f"),
            ("/login?return_to=//evil.example", nil), ("/login?return_to=/%2f/evil", nil),
            ("/login?return_to=https%3A%2F%2Fshop.example%2F", "https://shop.example/"),
            ("/login?return_to=https%3A%2F%2Fevil.example%2F", nil), ("/login", nil),
        ] as [(String, String?)])
    func `the way back is read as proxies and programs write it`(
        _ target: String, _ value: String?
    ) async throws {
        try await with { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            let page = await browser.get(target)
            #expect(page.status == 200)
            let field = "name=\"return_to\" value=\""
            if let value {
                #expect(page.body.contains(field + value + "\""), "\(page.body)")
            } else {
                #expect(!page.body.contains(field))
            }
        }
    }
}
