// Coming back with a session, and what every token does in every cookie.

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

@Suite(.serialized) struct ResumeTests {
    @Test func `a live session goes on under its id, and never past its absolute end`()
        async throws
    {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let first = try #require(try await browser.session())
            for step in 1...24 {
                try await fixture.advance(clock, 3599)
                let page = step % 2 == 0
                let answer =
                    page ? await browser.get("/resume") : await browser.json("/v1/resume", "{}")
                #expect(answer.status == (page ? 303 : 200))
                let now = try #require(try await browser.session())
                #expect(now.session == first.session)
                #expect((now.level, now.authenticated) == (2, noon))
                #expect(now.absolute_deadline == noon + 86_400)
                #expect(now.idle_deadline == min(clock.now.wall.seconds + 3600, noon + 86_400))
            }
            try await fixture.advance(clock, 86_400 - 24 * 3599 - 1)
            #expect(await browser.json("/v1/resume", "").status == 200)
            try await fixture.advance(clock, 1)
            #expect(await browser.json("/v1/resume", "").problem == "no_session")
            #expect(await browser.get("/resume").location == "/login")
        }
    }

    @Test func `what the store knows of its use counts where its token does not`() async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            for isUsed in [true, false] {
                var browser = Browser(fixture)
                _ = await browser.signIn("ada")
                _ = await browser.get("/v1/session")
                #expect(fixture.uses.take().isEmpty, "asking is no use")
                try await fixture.advance(clock, 1800)
                if isUsed { _ = await browser.get("/v1/account") }
                try await fixture.writeUses()
                try await fixture.advance(clock, 1800)
                #expect(try await browser.session() == nil)
                let answer = await browser.json("/v1/resume", "{}")
                #expect(answer.status == (isUsed ? 200 : 401))
                #expect(browser.sessionToken != nil, "a failure deletes no cookie")
            }
        }
    }

    @Test(arguments: ["end", "supersede", "disable", "rename", "epoch", "floor"])
    func `what has ended does not come back`(_ how: String) async throws {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            let session = try #require(try await browser.session()).session
            let now = clock.now.wall
            let store = fixture.store
            let id = SessionID(try #require(Identifier(hex: session)))
            switch how {
            case "end":
                _ = try await store.endSignIn(id, of: ada.id, audit: .sessionRevoked, at: now)
            case "supersede":
                var other = browser
                _ = await other.json("/v1/confirm", #"{"password":"\#(FrontFixture.password)"}"#)
                _ = await other.json("/v1/account/remember", "", method: .delete)
            case "disable":
                _ = try await store.setUser(
                    ada.id, state: .disabled, audit: AuditEvent(.userDisabled, by: .command),
                    at: now)
            case "rename":
                _ = try await store.renameUser(
                    ada.id, to: username("eve"), takingReserved: false,
                    audit: AuditEvent(.userRenamed, by: .command), at: now)
            case "floor":
                _ = try await store.revokeSessions(
                    authenticatedBefore: time(noon + 1),
                    audit: AuditEvent(.sessionsRevokedForUser, by: .command), at: now)
            default:
                _ = try await store.revokeSessions(
                    of: ada.id, audit: AuditEvent(.sessionsRevokedForUser, by: .command), at: now)
            }
            // The node has not heard of it yet: the store decides.
            #expect(await browser.get("/resume").location == "/login")
            #expect(await browser.json("/v1/resume", "{}").status == 401)
            browser.restart()
            #expect(await browser.get("/resume").location == "/login")
        }
    }

    @Test func `a program's token is renewed in the body`() async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var program = Browser(fixture)
            program.fields = ["sec-fetch-site": nil, "origin": nil]
            let login = await program.json(
                "/v1/login",
                #"{"username":"ada","password":"\#(FrontFixture.password)","transport":"bearer"}"#)
            let first = try login.decoded(SessionAnswer.self)
            program.fields["authorization"] = "Bearer \(try #require(first.token))"
            try await fixture.advance(clock, 3599)
            let answer = await program.json("/v1/resume", "")
            let second = try answer.decoded(SessionAnswer.self)
            #expect(second.session == first.session)
            #expect(second.idle_deadline == noon + 3599 + 3600)
            #expect(second.token != nil && second.token != first.token)
            #expect(program.cookies.isEmpty)
        }
    }

    @Test func `coming back again and again makes no row`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            let before = try await fixture.store.audit(after: 0, limit: 10_000).count
            for round in 0..<200 {
                if round % 2 == 0 { browser.restart() }
                #expect(await browser.get("/resume").status == 303)
            }
            #expect(try await fixture.store.sessions(of: ada.id, limit: 1000).count == 1)
            #expect(try await fixture.store.signIns(of: ada.id, at: time(noon)).count == 1)
            #expect(try await fixture.store.devices(of: ada.id).count == 1)
            #expect(try await fixture.store.audit(after: 0, limit: 10_000).count == before)
        }
    }

    @Test func `two cookies of one name are nobody's`() async throws {
        try await withDoor { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            let session = try #require(browser.sessionToken)
            let remember = try #require(browser.rememberToken)
            var two = Browser(fixture)
            two.cookies["__Host-gatehouse"] = session + "; __Host-gatehouse=" + session
            #expect(await two.get("/resume").location == "/login")
            two.cookies = ["__Host-gatehouse-remember": remember + "; __Host-gatehouse-remember=A"]
            #expect(await two.get("/resume").location == "/login")
            #expect(await two.json("/v1/resume", "").status == 401)
        }
    }

    @Test(
        arguments: [
            (nil, 303), ("navigate", 303), ("cors", 403), ("no-cors", 403), ("same-origin", 403),
            ("websocket", 403), ("", 403), ("Navigate", 403), ("navigate, navigate", 403),
        ] as [(String?, Int)])
    func `only navigations come back`(_ mode: String?, _ status: Int) async throws {
        try await withDoor { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            browser.restart()
            browser.fields["sec-fetch-mode"] = .some(mode)
            #expect(await browser.get("/resume").status == status)
            #expect((browser.sessionToken != nil) == (status == 303))
            browser.fields["sec-fetch-mode"] = .some(nil)
            let twice = await browser.send(
                .get, "/resume",
                more: [("sec-fetch-mode", "navigate"), ("sec-fetch-mode", "navigate")])
            #expect(twice.status == 403)
        }
    }

    @Test func `where nobody knows, nobody is signed out`() async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            let before = browser.cookies
            clock.advance(3601)  // The lease has run out.
            for path in ["/resume", "/account", "/confirm"] {
                #expect(await browser.get(path).status == 503, "\(path)")
            }
            #expect(await browser.json("/v1/resume", "").status == 503)
            #expect(browser.cookies == before)
        }
    }

    /// REQUIREMENTS CK-10, REM-5 and section 10, item 9.
    @Test func `a token is good under its own name and for its own purpose only`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.get("/login")
            let form = try #require(browser.cookies["__Host-gatehouse-form"])
            let field = await browser.formToken()
            _ = await browser.signIn("ada", remembers: true)
            var program = Browser(fixture)
            let bearer = try await program.json(
                "/v1/login",
                #"{"username":"ada","password":"\#(FrontFixture.password)","transport":"bearer"}"#
            ).decoded(SessionAnswer.self).token
            let tokens: [(String, String)] = [
                ("__Host-gatehouse", try #require(browser.sessionToken)),
                ("__Host-gatehouse-remember", try #require(browser.rememberToken)),
                ("__Host-gatehouse-device", try #require(browser.deviceToken)),
                ("__Host-gatehouse-form", form), ("field", field),
                ("bearer", try #require(bearer)),
            ]
            for (home, token) in tokens {
                #expect(await fixture.isGood(token) == (home == "__Host-gatehouse"), "\(home)")
                for (name, _) in tokens.prefix(4) {
                    let isHome = home == name
                    var other = Browser(fixture)
                    other.cookies[name] = token
                    let comes = isHome && !name.hasSuffix("-device") && !name.hasSuffix("-form")
                    #expect(
                        await other.get("/resume").location == (comes ? "/account" : "/login"),
                        "\(home) as \(name)")
                    other.cookies = [name: token]
                    let isSession = isHome && name == "__Host-gatehouse"
                    #expect(try await (other.session() != nil) == isSession)
                    let request = other.request(.get, "/")
                    let device = try await fixture.known(
                        fixture.door.deviceCookies(request), user: ada.id)
                    #expect((device != nil) == (isHome && name.hasSuffix("-device")))
                    let binding = await fixture.door.formBinding(request)
                    #expect((binding != nil) == (isSession || isHome && name.hasSuffix("-form")))
                    let series = await fixture.door.presentedSeries(request)
                    #expect(series.isEmpty == !(isHome && name.hasSuffix("-remember")))
                }
                var program = Browser(fixture)
                program.fields["authorization"] = "Bearer \(token)"
                #expect(try await (program.session() != nil) == (home == "bearer"))
            }
        }
    }
}
