// "Remember me" at the front door: cookies, coming back, races, theft.

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

private let sessionName = "__Host-gatehouse"
private let rememberName = "__Host-gatehouse-remember"
private let sessionAttributes = "; Path=/; Secure; HttpOnly; SameSite=Lax"

@Suite(.serialized) struct RememberFlowTests {
    private static let login = #"{"username":"ada","password":"\#(FrontFixture.password)""#

    // Promise: persistent-on-request
    @Test func `the cookie is set only where it was asked for, and lasts until its series ends`()
        async throws
    {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var plain = Browser(fixture)
            let without = await plain.signIn("ada")
            #expect(without.attributes(of: sessionName) == sessionAttributes)
            // Deleted unasked: an overlapping answer may have set somebody else's.
            #expect(
                without.attributes(of: rememberName) == sessionAttributes + "; Max-Age=0")
            plain.restart()
            #expect(await plain.get("/resume").location == "/login")

            var browser = Browser(fixture)
            let with = await browser.signIn("ada", remembers: true)
            #expect(with.attributes(of: sessionName) == sessionAttributes)
            #expect(with.attributes(of: rememberName) == sessionAttributes + "; Max-Age=2592000")
            try await fixture.advance(clock, 100)
            browser.restart()
            let back = await browser.get("/resume")
            #expect(back.attributes(of: rememberName) == sessionAttributes + "; Max-Age=2591900")

            var json = Browser(fixture)
            let answer = await json.json("/v1/login", Self.login + #","remember":true}"#)
            #expect(answer.status == 200)
            #expect(answer.attributes(of: rememberName) == sessionAttributes + "; Max-Age=2592000")
            #expect(await json.json("/v1/login", Self.login + "}").status == 200)
            #expect(json.rememberToken == nil, "the next sign-in deletes it")
        }
    }

    @Test func `a program is not remembered`() async throws {
        try await withDoor { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            var program = Browser(fixture)
            let answer = await program.json(
                "/v1/login", Self.login + #","transport":"bearer","remember":true}"#)
            #expect(answer.status == 422)
            #expect(answer.problem == "remember")
            #expect(program.cookies.isEmpty)
        }
    }

    @Test func `where nobody is remembered no cookie is set and none brings anybody back`()
        async throws
    {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            let off = try await FrontFixture(
                remember: nil, continuing: fixture, clock: { clock.now })
            browser.fixture = off
            browser.restart()
            #expect(await browser.get("/resume").location == "/login")
            let signedIn = await browser.signIn("ada", remembers: true)
            #expect(signedIn.status == 303)
            #expect(browser.rememberToken == nil)
            await off.stop()
        }
    }

    @Test func `signing in ends what the browser presents, whosever it is`() async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            _ = try await fixture.makeUser("bob")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            let ada = browser
            let answer = await browser.signIn("bob")
            #expect(answer.attributes(of: rememberName)?.hasSuffix("; Max-Age=0") == true)
            #expect(await !fixture.isGood(ada.sessionToken))
            for seconds in [0, 61] as [Int64] {
                try await fixture.advance(clock, seconds)
                var copy = ada
                #expect(await copy.get("/resume").location == "/login")
            }
            #expect(try await browser.session()?.user.username == "bob")
        }
    }

    @Test func `a sign-in for a program ends them too, and deletes the cookies`() async throws {
        try await withDoor { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            let before = browser
            let answer = await browser.json("/v1/login", Self.login + #","transport":"bearer"}"#)
            #expect(answer.status == 200)
            #expect(await !fixture.isGood(before.sessionToken))
            #expect(browser.sessionToken == nil)
            #expect(browser.rememberToken == nil)
        }
    }

    @Test func `signing out ends the series and deletes the cookies, after its session's end too`()
        async throws
    {
        for (wait, page) in [(0, true), (0, false), (7200, true), (90_000, false)]
            as [(Int64, Bool)]
        {
            try await withDoor { (fixture, clock) async throws in
                _ = try await fixture.makeUser("ada")
                var browser = Browser(fixture)
                _ = await browser.signIn("ada", remembers: true)
                let copy = browser
                try await fixture.advance(clock, wait)
                let answer =
                    page
                    ? await browser.submit("/logout", []) : await browser.json("/v1/logout", "")
                #expect(answer.status == (page ? 303 : 204))
                #expect(answer.header("clear-site-data") == #""cache", "storage""#)
                #expect(Array(browser.cookies.keys) == ["__Host-gatehouse-device"])
                var thief = copy
                #expect(await thief.get("/resume").location == "/login")
                // The session's cookie alone names the series.
                var other = Browser(fixture)
                _ = await other.signIn("ada", remembers: true)
                let whole = other
                other.cookies[rememberName] = nil
                #expect(await other.json("/v1/logout", "").status == 204)
                var restarted = whole
                restarted.restart()
                #expect(await restarted.get("/resume").location == "/login")
            }
        }
    }

    // MARK: Coming back

    @Test func `a remembered session is new, of level 1 and as old as its sign-in`() async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            let first = try #require(try await browser.session())
            #expect((first.level, first.remembered) == (2, false))
            let old = (session: browser.sessionToken, remember: browser.rememberToken)
            try await fixture.advance(clock, 60)
            browser.restart()
            #expect(await browser.get("/resume?return_to=/inbox").location == "/inbox")
            let second = try #require(try await browser.session())
            #expect(second.session != first.session)
            #expect((second.level, second.remembered) == (1, true))
            #expect(second.authenticated == noon)
            #expect(browser.rememberToken != old.remember)
            #expect(await !fixture.isGood(old.session), "its place was taken")
            let opened = await fixture.sealer.claims(
                of: Array(try #require(browser.sessionToken).utf8), transport: .cookie)
            let claims = try #require(opened)
            #expect(!fixture.door.isFresh(claims))
            #expect(await browser.json("/v1/account/attempts", "", method: .delete).status == 403)
            #expect(fixture.uses.take().count == 1, "what was used is noted; what only asks is not")
        }
    }

    @Test func `within the grace it is the same session, and of level 1`() async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            let whole = browser
            let first = try #require(try await browser.session())
            try await fixture.advance(clock, 59)
            browser.restart()
            #expect(await browser.get("/resume").location == "/account")
            let second = try #require(try await browser.session())
            #expect(second.session == first.session)
            #expect((second.level, second.remembered, second.authenticated) == (1, true, noon))
            #expect(await fixture.isGood(whole.sessionToken), "whoever has the password's keeps it")
            try await fixture.advance(clock, 1)
            browser.restart()
            _ = await browser.get("/resume")
            #expect(try await browser.session()?.session != first.session)
        }
    }

    @Test func `nobody is remembered for longer than thirty days`() async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            try await fixture.advance(clock, 30 * 86_400 - 1)
            browser.restart()
            #expect(await browser.get("/resume").location == "/account")
            #expect(try await browser.session()?.absolute_deadline == noon + 30 * 86_400)
            var thief = browser
            thief.restart()
            let token = thief.rememberToken
            try await fixture.advance(clock, 1)
            thief.cookies = [rememberName: try #require(token)]
            thief.ends = [:]
            #expect(await thief.get("/resume").location == "/login")
            #expect(await browser.get("/resume").location == "/login")
        }
    }

    @Test func `two tabs that come back at once are both signed in, with one session`()
        async throws
    {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            for _ in 0..<10 {
                try await fixture.advance(clock, 61)
                browser.restart()
                let jar = browser
                let tabs = await withTaskGroup(of: (Browser, String?).self) { group in
                    for _ in 0..<4 {
                        group.addTask {
                            var tab = jar
                            return (tab, await tab.get("/resume").location)
                        }
                    }
                    return await group.reduce(into: []) { $0.append($1) }
                }
                _ = tabs
                var sessions = Set<String>()
                for _ in 0..<2 {
                    var tab = jar
                    #expect(await tab.get("/resume").location == "/account")
                    sessions.insert(try #require(try await tab.session()).session)
                    browser = tab
                }
                #expect(tabs.allSatisfy { $0.1 == "/account" })
                #expect(sessions.count == 1)
                #expect(try await fixture.store.signIns(of: ada.id, at: clock.now.wall).count == 1)
            }
        }
    }

    @Test func `a lost response brings the browser back, or to the sign-in page; it is no theft`()
        async throws
    {
        for (wait, location) in [(59, "/account"), (60, "/login")] as [(Int64, String)] {
            try await withDoor { (fixture, clock) async throws in
                let ada = try await fixture.makeUser("ada")
                var browser = Browser(fixture)
                _ = await browser.signIn("ada", remembers: true)
                try await fixture.advance(clock, 61)
                browser.restart()
                var lost = browser
                _ = await lost.get("/resume")
                try await fixture.advance(clock, wait)
                #expect(await browser.get("/resume").location == location)
                #expect(try await fixture.store.warnings(of: ada.id).isEmpty)
            }
        }
    }

    // MARK: Theft

    @Test func `a cookie that two parties use ends for both, and its owner is told`()
        async throws
    {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var other = Browser(fixture)
            _ = await other.signIn("ada", remembers: true)
            var browser = Browser(fixture)
            browser.fields["user-agent"] = "Mozilla/5.0 (X11; Linux) Firefox/140.0"
            _ = await browser.signIn("ada", remembers: true)
            try await fixture.advance(clock, 61)
            browser.restart()
            var thief = browser
            thief.peer = "203.0.113.7"
            #expect(await thief.get("/resume").location == "/account")
            _ = await thief.get("/account")
            try await fixture.writeUses()
            try await fixture.advance(clock, 61)
            let before = browser.cookies
            let answer = await browser.get("/resume?return_to=/inbox")
            #expect(answer.location == "/login?notice=stolen&return_to=/inbox")
            #expect(browser.cookies == before, "no cookie is deleted")
            #expect(await !fixture.isGood(thief.sessionToken))
            #expect(await thief.get("/resume").location == "/login")
            #expect(await browser.get("/resume").location == "/login", "told once")
            #expect(await browser.get("/login?notice=stolen").status == 200)
            #expect(try await other.session() != nil, "other devices stay")
            other.restart()
            #expect(await other.get("/resume").location == "/account/warnings")

            let json = await other.json("/v1/login", Self.login + "}")
            #expect(try json.decoded(SessionAnswer.self).warnings == 1)
            var fields = [("username", "ada"), ("password", FrontFixture.password)]
            fields.append(("return_to", "/inbox"))
            let page = await browser.submit("/login", fields)
            #expect(page.location == "/account/warnings?return_to=/inbox")
            #expect(await browser.get("/account/warnings").status == 200)
            let listed = await browser.get("/v1/account/warnings")
            #expect(
                listed.body
                    == #"{"warnings":[{"browser":"Firefox on Linux","time":\#(noon + 122)}]}"#
                    + "\n")
            _ = try await fixture.makeUser("bob")
            var bob = Browser(fixture)
            _ = await bob.signIn("bob")
            #expect(await bob.act("/account/warnings", [("last", "99")]).status == 303)
            #expect(await bob.json("/v1/account/warnings", "", method: .delete).status == 204)
            for fields in [[], [("last", "x")], [("last", "0")]] as [[(String, String)]] {
                let status = await browser.act("/account/warnings", fields).status
                #expect(status == (fields.first?.1 == "0" ? 303 : 400))
            }
            #expect(try await fixture.store.warnings(of: ada.id).count == 1)
            let last = try #require(try await fixture.store.warnings(of: ada.id).first).id
            let read = await browser.act(
                "/account/warnings", [("last", "\(last)"), ("return_to", "/inbox")])
            #expect(read.location == "/inbox")
            #expect(await browser.get("/account/warnings?return_to=/a").location == "/a")
            #expect(await browser.signIn("ada").location == "/account")
        }
    }

    @Test func `the owner's step-up counts as use: an older copy is theft`() async throws {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            try await fixture.advance(clock, 61)
            browser.restart()
            var thief = browser
            _ = await browser.get("/resume")
            let answer = await browser.json(
                "/v1/confirm", #"{"password":"\#(FrontFixture.password)"}"#)
            #expect(answer.status == 200)
            try await fixture.advance(clock, 61)
            #expect(await thief.get("/resume").location == "/login?notice=stolen")
            #expect(try await fixture.store.warnings(of: ada.id).count == 1)
        }
    }

    // MARK: Forgetting

    @Test func `a browser that is forgotten stays signed in, and does not come back`()
        async throws
    {
        for page in [true, false] {
            try await withDoor { (fixture, clock) async throws in
                _ = try await fixture.makeUser("ada")
                _ = try await fixture.makeUser("bob")
                var bob = Browser(fixture)
                _ = await bob.signIn("bob", remembers: true)
                var browser = Browser(fixture)
                _ = await browser.signIn("ada", remembers: true)
                let token = browser.rememberToken
                // Somebody else's, planted: theirs stays.
                var mixed = browser
                mixed.cookies[rememberName] = bob.rememberToken
                let answer =
                    page
                    ? await mixed.act("/account/remember/forget")
                    : await mixed.json("/v1/account/remember", "", method: .delete)
                #expect(answer.status == (page ? 303 : 204))
                #expect(answer.attributes(of: rememberName)?.hasSuffix("; Max-Age=0") == true)
                #expect(try await browser.session() != nil)
                browser.restart()
                browser.cookies[rememberName] = token
                #expect(await browser.get("/resume").location == "/login")
                bob.restart()
                #expect(await bob.get("/resume").location == "/account")
            }
        }
    }
}
