// Coming by a code: asked, said yes or no, registered, taken back. And what refusing cookies costs.

import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

@Suite(.serialized) struct ReferralFlowTests {
    private static let cookie = "__Host-gatehouse-referral"
    private static let spring = "/r/spring-26?to=/tea"

    private static func code(_ text: String) throws -> ReferralCode {
        try #require(ReferralCode(Array(text.utf8)))
    }

    private static func add(
        _ text: String, label: String = "the Spring fair", until: Int64? = nil,
        to fixture: FrontFixture
    ) async throws {
        let outcome = try await fixture.store.addReferral(
            Referral(
                code: code(text), label: label, created: time(noon),
                until: until.map { time($0) }),
            audit: AuditEvent(.referralAdded, by: .command), at: time(noon))
        guard outcome == .added else { throw FrontFixture.NotReady() }
    }

    private static func retire(_ text: String, in fixture: FrontFixture) async throws {
        _ = try await fixture.store.retireReferral(
            code(text), audit: AuditEvent(.referralRetired, by: .command), at: time(noon))
    }

    /// A front door with the code `spring-26`.
    private func with(
        registration: Registration = .open, basePath: String = "/",
        _ body: (FrontFixture, SettableClock) async throws -> Void
    ) async throws {
        let clock = SettableClock()
        let fixture = try await FrontFixture(
            registration: registration, basePath: basePath, clock: { clock.now })
        try await Self.add("spring-26", to: fixture)
        try await body(fixture, clock)
        await fixture.stop()
    }

    /// Opens the page that asks, and says yes.
    private func accept(
        _ browser: inout Browser, _ target: String = spring
    ) async throws -> FrontResponse {
        let page = await browser.get(target)
        #expect(page.status == 200)
        let token = try #require(Browser.formToken(page.body))
        let back = try #require(page.body.firstMatch(of: /name="return_to" value="([^"]*)"/)?.1)
        return await browser.post(
            String(target.prefix { $0 != "?" }), [("form", token), ("return_to", String(back))])
    }

    private func counts(_ fixture: FrontFixture) async throws -> [[Int64]] {
        try await fixture.store.referralCounts(since: nil).map { [$0.arrivals, $0.registrations] }
    }

    private func register(_ browser: inout Browser, _ name: String) async -> FrontResponse {
        await browser.submit(
            "/register", [("username", name), ("password", FrontFixture.password)])
    }

    private func tie(of name: String, in fixture: FrontFixture) async throws -> ReferralTie? {
        let user = try #require(try await fixture.store.user(named: username(name)))
        return try await fixture.store.referralTie(of: user.id)
    }

    private func claims(_ browser: Browser, _ fixture: FrontFixture) async -> ReferralClaims? {
        guard let token = browser.cookies[Self.cookie] else { return nil }
        let content = await fixture.sealer.open(
            Array(token.utf8), purpose: .referral, transport: .cookie)
        return content.flatMap { ReferralClaims($0.span) }
    }

    // MARK: Asking

    // Promise: referral-cookie
    @Test func `who comes by a code is asked, and nothing is set before they say yes`()
        async throws
    {
        try await with { (fixture, _) async throws in
            var browser = Browser(fixture)
            // From another site, as links of affiliates come.
            browser.fields = ["sec-fetch-site": "cross-site", "origin": nil]
            let page = await browser.get(Self.spring)
            #expect(page.status == 200)
            #expect(page.body.contains("You came by the Spring fair"))
            #expect(page.body.contains("May we remember this until you register?"))
            #expect(
                page.body.contains(">Yes</button>") && page.body.contains(">No thanks</button>"))
            // Equal weight: neither is set back.
            #expect(!page.body.contains("class=\"quiet\""))
            #expect(page.attributes(of: Self.cookie) == nil)
            #expect(browser.cookies.keys.sorted() == ["__Host-gatehouse-form"])
            #expect(try await counts(fixture).isEmpty)

            // Only this question's own answer does it.
            browser.fields = [:]
            let yes = try await accept(&browser)
            #expect(yes.status == 303 && yes.location == "/tea")
            // A session cookie: no Max-Age, no Domain, not for scripts.
            #expect(
                yes.attributes(of: Self.cookie) == "; Path=/; Secure; HttpOnly; SameSite=Lax")
            let claims = try #require(await claims(browser, fixture))
            #expect(claims.code.text == "spring-26" && claims.accepted == time(noon))
            #expect(claims.deadline == time(noon + 30 * 86_400))
            #expect(try await counts(fixture) == [[1, 0]])
        }
    }

    // Promise: referral-cookie
    @Test func `who says no goes on, and nothing is kept`() async throws {
        try await with { (fixture, _) async throws in
            var browser = Browser(fixture)
            let page = await browser.get("/r/spring-26?to=/tea%3Fwith%3Dmilk")
            // What the second form sends: a GET, which no cookie and no token is needed for.
            #expect(page.body.contains("<form method=\"get\" action=\"/r/spring-26\">"))
            #expect(page.body.contains("name=\"to\" value=\"/tea?with=milk\""))
            browser.cookies = [:]
            let no = await browser.get("/r/spring-26?to=%2Ftea%3Fwith%3Dmilk&answer=no")
            #expect(no.status == 303 && no.location == "/tea?with=milk")
            #expect(!no.headers.contains { $0.0 == .setCookie })
            #expect(try await counts(fixture).isEmpty)
        }
    }

    @Test(arguments: [
        ("unknown", "/tea"), ("retired", "/tea"), ("ended", "/tea"), ("SPRING-26", "/tea"),
        ("spring%2D26", "/tea"), ("..", "/tea"), ("a%00b", "/tea"),
        (String(repeating: "x", count: 65), "/tea"),
    ])
    func `a code that nobody can come by leads on at once, and sets nothing`(
        _ code: String, _ target: String
    ) async throws {
        try await with { (fixture, clock) async throws in
            try await Self.add("retired", to: fixture)
            try await Self.retire("retired", in: fixture)
            try await Self.add("ended", until: noon + 60, to: fixture)
            clock.advance(60)
            var browser = Browser(fixture)
            let answer = await browser.get("/r/\(code)?to=\(target)")
            #expect(answer.status == 303 && answer.location == target)
            #expect(browser.cookies.isEmpty)
            let sent = await browser.act("/r/\(code)", [("return_to", target)])
            #expect(sent.status == 303 && sent.location == target)
            #expect(browser.cookies[Self.cookie] == nil)
            #expect(try await counts(fixture).isEmpty)
        }
    }

    @Test(arguments: [
        ("to=/tea", "/tea"), ("to=/tea%3Fa%3Db", "/tea?a=b"), ("", "/"), ("to=", "/"),
        ("to=https%3A%2F%2Fshop.example%2Fx", "https://shop.example/x"),
        ("to=https%3A%2F%2Fevil.example%2F", "/"), ("to=%2F%2Fevil.example", "/"),
        ("to=%2F%5Cevil.example", "/"), ("to=javascript%3Aalert(1)", "/"),
        ("utm_source=x&to=/tea&utm_medium=%zz", "/tea"),
    ])
    func `it leads on to this site or a listed one, and nowhere else`(
        _ query: String, _ target: String
    ) async throws {
        try await with { (fixture, _) async throws in
            var browser = Browser(fixture)
            #expect(await browser.get("/r/nobody?\(query)").location == target)
            #expect(await browser.get("/r/spring-26?\(query)&answer=no").location == target)
            let yes = try await accept(&browser, "/r/spring-26?\(query)")
            #expect(yes.location == target)
            // The form's own field is judged again.
            let posted = await browser.act(
                "/r/spring-26", [("return_to", "https://evil.example/")])
            #expect(posted.location == "/")
        }
    }

    @Test func `who said yes is not asked again; another code asks, and takes its place`()
        async throws
    {
        try await with { (fixture, clock) async throws in
            try await Self.add("autumn", label: "Autumn", to: fixture)
            var browser = Browser(fixture)
            _ = try await accept(&browser)
            let again = await browser.get(Self.spring)
            #expect(again.status == 303 && again.location == "/tea")
            // Sent twice, it counts once.
            _ = await browser.act("/r/spring-26")
            #expect(try await counts(fixture) == [[1, 0]])
            let other = await browser.get("/r/autumn?to=/leaves")
            #expect(other.status == 200 && other.body.contains("You came by Autumn"))
            #expect(await claims(browser, fixture)?.code.text == "spring-26")
            _ = try await accept(&browser, "/r/autumn?to=/leaves")
            #expect(await claims(browser, fixture)?.code.text == "autumn")
            #expect(try await counts(fixture) == [[1, 0], [1, 0]])
            // A month later it is forgotten, and asked again.
            try await fixture.advance(clock, 30 * 86_400 - 1)
            #expect(await browser.get("/r/autumn?to=/leaves").status == 303)
            try await fixture.advance(clock, 1)
            #expect(await browser.get("/r/autumn?to=/leaves").status == 200)
        }
    }

    @Test func `who has an account, or can make none, is not asked`() async throws {
        try await with { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let answer = await browser.get(Self.spring)
            #expect(answer.status == 303 && answer.location == "/tea")
        }
        try await with(registration: .closed) { (fixture, _) async throws in
            var browser = Browser(fixture)
            #expect(await browser.get(Self.spring).location == "/tea")
        }
        try await with(registration: .invite) { (fixture, _) async throws in
            var browser = Browser(fixture)
            #expect(await browser.get(Self.spring).status == 200)
        }
    }

    @Test func `it lies below the base path, and has one part`() async throws {
        try await with(basePath: "/auth") { (fixture, _) async throws in
            var browser = Browser(fixture)
            #expect(await browser.get("/auth" + Self.spring).status == 200)
            for path in [Self.spring, "/auth/r/", "/auth/r", "/auth/r/spring-26/", "/auth/r/a/b"] {
                #expect(await browser.get(path).status == 404, "\(path)")
            }
            let token = await browser.get("/auth" + Self.spring)
            let yes = await browser.post(
                "/auth/r/spring-26", [("form", Browser.formToken(token.body) ?? "")])
            #expect(yes.status == 303 && browser.cookies[Self.cookie] != nil)
        }
    }

    @Test func `one address is counted so often in a minute, and the cookie is set all the same`()
        async throws
    {
        try await with { (fixture, _) async throws in
            for _ in 0...FrontDoor.arrivalsPerMinute {
                var browser = Browser(fixture)
                browser.peer = "192.0.2.7"
                _ = try await accept(&browser)
                #expect(browser.cookies[Self.cookie] != nil)
            }
            let most = Int64(FrontDoor.arrivalsPerMinute)
            #expect(try await counts(fixture) == [[most, 0]])
            var other = Browser(fixture)
            other.peer = "192.0.2.8"
            _ = try await accept(&other)
            #expect(try await counts(fixture) == [[most + 1, 0]])
        }
    }

    // MARK: Registering

    // Promise: referral-cookie
    @Test func `the code is tied to the account that is registered, and the cookie deleted`()
        async throws
    {
        try await with { (fixture, _) async throws in
            var browser = Browser(fixture)
            _ = try await accept(&browser)
            #expect(await browser.submit("/register", [("username", "ada")]).status == 400)
            #expect(browser.cookies[Self.cookie] != nil, "nothing was registered yet")
            let done = await register(&browser, "ada")
            #expect(done.status == 303)
            #expect(done.attributes(of: Self.cookie)?.hasSuffix("; Max-Age=0") == true)
            #expect(browser.cookies[Self.cookie] == nil)
            let tie = try #require(try await tie(of: "ada", in: fixture))
            #expect(tie.code.text == "spring-26" && tie.accepted == time(noon))
            #expect(try await counts(fixture) == [[1, 1]])
            // The next person in this browser did not come by it.
            _ = await register(&browser, "bob")
            #expect(try await self.tie(of: "bob", in: fixture) == nil)
            #expect(try await counts(fixture) == [[1, 1]])
        }
    }

    @Test func `a program that registers with the cookie is tied too`() async throws {
        try await with { (fixture, _) async throws in
            var browser = Browser(fixture)
            _ = try await accept(&browser)
            let body = #"{"username":"ada","password":"\#(FrontFixture.password)"}"#
            let answer = await browser.json("/v1/register", body)
            #expect(answer.status == 201)
            #expect(answer.attributes(of: Self.cookie)?.hasSuffix("; Max-Age=0") == true)
            #expect(try await tie(of: "ada", in: fixture)?.code.text == "spring-26")
        }
    }

    @Test(arguments: ["altered", "other purpose", "twice", "late", "retired", "form's"])
    func `a cookie that is not good ties nobody, and registering works the same`(
        _ what: String
    ) async throws {
        try await with { (fixture, clock) async throws in
            var browser = Browser(fixture)
            _ = try await accept(&browser)
            let good = try #require(browser.cookies[Self.cookie])
            switch what {
            case "altered":
                browser.cookies[Self.cookie] =
                    String(good.dropLast()) + (good.last == "A" ? "B" : "A")
            case "other purpose":
                let claims = try #require(await claims(browser, fixture))
                browser.cookies[Self.cookie] = try await fixture.sealer.seal(
                    claims.encoded(), purpose: .device, transport: .cookie, at: clock.now
                ).text
            case "twice": browser.cookies[Self.cookie] = good + "; \(Self.cookie)=\(good)"
            case "late": try await fixture.advance(clock, 30 * 86_400)
            case "retired": try await Self.retire("spring-26", in: fixture)
            default: browser.cookies[Self.cookie] = browser.cookies["__Host-gatehouse-form"]
            }
            let done = await register(&browser, "ada")
            #expect(done.status == 303 && done.location == "/login?notice=registered")
            #expect(try await tie(of: "ada", in: fixture) == nil)
            #expect(try await counts(fixture) == [[1, 0]])
        }
    }

    // MARK: Taking it back

    // Promise: referral-cookie
    @Test func `the tie is shown on the account page, and removed from there`() async throws {
        try await with { (fixture, _) async throws in
            var browser = Browser(fixture)
            _ = try await accept(&browser)
            _ = await register(&browser, "ada")
            _ = await browser.signIn("ada")
            let page = await browser.get("/account")
            #expect(page.body.contains("<bdi>the Spring fair</bdi>"))
            #expect(
                await browser.get("/v1/account/referral").body
                    == #"{"referral":{"accepted":\#(noon),"code":"spring-26","#
                    + #""label":"the Spring fair"}}"# + "\n")
            let removed = await browser.act("/account/referral/forget")
            #expect(removed.location == "/account?notice=referral")
            let after = await browser.get("/account?notice=referral")
            #expect(after.body.contains("We have forgotten how you came here."))
            #expect(!after.body.contains("Spring fair"))
            #expect(try await tie(of: "ada", in: fixture) == nil)
            #expect(await browser.get("/v1/account/referral").body == "{}\n")
            #expect(try await counts(fixture) == [[1, 1]], "counts name nobody, and stay")
        }
    }

    @Test func `a program removes it, and nobody else can`() async throws {
        try await with { (fixture, _) async throws in
            var browser = Browser(fixture)
            _ = try await accept(&browser)
            _ = await register(&browser, "ada")
            _ = try await fixture.makeUser("bob")
            var other = Browser(fixture)
            #expect(
                await other.json("/v1/account/referral", "", method: .delete).status == 401)
            #expect(await other.get("/v1/account/referral").status == 401)
            #expect(
                await other.act("/account/referral/forget").location?
                    .hasPrefix("/resume") == true)
            _ = await other.signIn("bob")
            #expect(
                await other.json("/v1/account/referral", "", method: .delete).status == 204)
            #expect(try await tie(of: "ada", in: fixture) != nil, "bob's own")
            _ = await browser.signIn("ada")
            browser.fields = ["sec-fetch-site": "cross-site"]
            let foreign = await browser.json("/v1/account/referral", "", method: .delete)
            #expect(foreign.status == 403)
            #expect(try await tie(of: "ada", in: fixture) != nil)
            browser.fields = [:]
            #expect(
                await browser.json("/v1/account/referral", "", method: .delete).status == 204)
            #expect(try await tie(of: "ada", in: fixture) == nil)
        }
    }

    // Promise: referral-cookie
    @Test func `before registering the page of cookies deletes it`() async throws {
        try await with { (fixture, _) async throws in
            var browser = Browser(fixture)
            let before = await browser.get("/cookies")
            #expect(before.status == 200 && browser.cookies.isEmpty, "looking sets nothing")
            #expect(!before.body.contains("<form"))
            _ = try await accept(&browser)
            let page = await browser.get("/cookies")
            #expect(page.body.contains("<bdi>the Spring fair</bdi>"))
            let gone = await browser.post(
                "/cookies/referral/forget", [("form", Browser.formToken(page.body) ?? "")])
            #expect(gone.location == "/cookies?notice=referral")
            #expect(browser.cookies[Self.cookie] == nil)
            let after = await browser.get("/cookies?notice=referral")
            #expect(after.body.contains("This browser has forgotten how you came here."))
            _ = await register(&browser, "ada")
            #expect(try await tie(of: "ada", in: fixture) == nil)
        }
    }

    // MARK: Cookies told apart

    @Test func `the page of cookies names each of ours, and what it is for`() async throws {
        try await with { (fixture, _) async throws in
            var browser = Browser(fixture)
            let page = await browser.get("/cookies").body
            for name in CookieNames(domain: nil).all {
                #expect(page.contains("<code>\(name)</code>"), "\(name)")
            }
            let parts = page.split(separator: "<h2 id=\"optional\">")
            try #require(parts.count == 2)
            #expect(parts[0].matches(of: /<code>/).count == 2)
            #expect(parts[0].contains("<code>__Host-gatehouse</code>"))
            #expect(!parts[0].contains(">Optional<") && !parts[1].contains(">Necessary<"))
            #expect(parts[1].matches(of: />Optional</).count == 3)
        }
    }

    // Promise: refuse-session-cookie
    @Test(arguments: ["/login", "/register"])
    func `a browser that refuses the session cookie is told so in words, and not let in`(
        _ page: String
    ) async throws {
        try await with { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            let shown = await browser.get(page)
            let token = try #require(Browser.formToken(shown.body))
            browser.cookies = [:]
            let name = page == "/login" ? "ada" : "bob"
            let answer = await browser.post(
                page,
                [("username", name), ("password", FrontFixture.password), ("form", token)])
            #expect(answer.status == 403)
            #expect(answer.alert?.contains("did not return our cookie") == true)
            #expect(answer.body.contains("Allow cookies for this site"))
            #expect(browser.sessionToken == nil)
            #expect(try await fixture.store.signIns(of: ada.id, at: clock.now.wall).isEmpty)
            #expect(try await fixture.store.user(named: username("bob")) == nil)
        }
    }

    /// One that takes the form's cookie, and drops the session's: each page leads back to the sign-in.
    // Promise: refuse-session-cookie
    @Test func `a browser that drops the session cookie alone gets no access`() async throws {
        try await with { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            #expect(await browser.signIn("ada").status == 303)
            browser.cookies["__Host-gatehouse"] = nil
            #expect(await browser.get("/account").location?.hasPrefix("/resume") == true)
            #expect(await browser.get("/v1/session").status == 401)
        }
    }

    // Promise: refuse-others
    @Test func `refusing every other cookie costs nothing`() async throws {
        try await with { (fixture, _) async throws in
            var browser = Browser(fixture)
            let refused = ["-remember", "-device", "-referral"].map { "__Host-gatehouse" + $0 }
            var offered: Set<String> = []
            /// What a browser does that refuses these three.
            func refuse(_ browser: inout Browser) {
                for name in refused where browser.cookies.removeValue(forKey: name) != nil {
                    offered.insert(name)
                }
            }
            #expect(try await accept(&browser).location == "/tea")
            refuse(&browser)
            #expect(await register(&browser, "ada").location == "/login?notice=registered")
            refuse(&browser)
            #expect(await browser.signIn("ada", remembers: true).location == "/account")
            refuse(&browser)
            #expect(Set(refused) == offered, "each was offered once")
            #expect(try await browser.session()?.user.username == "ada")
            #expect(await browser.get("/account").status == 200)
            refuse(&browser)
            let saved = await browser.act(
                "/account/device", [("new_key", "theme"), ("new_value", "dark")])
            #expect(saved.location == "/account?notice=saved")
            refuse(&browser)
            #expect(
                await browser.submit(
                    "/confirm", [("password", FrontFixture.password)]
                ).status == 303)
            refuse(&browser)
            #expect(try await browser.session() != nil)
            #expect(await browser.act("/logout").location == "/login?notice=signed-out")
            #expect(try await browser.session() == nil)
            #expect(await browser.signIn("ada").location == "/account", "and again")
        }
    }
}
