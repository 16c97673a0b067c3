// What somebody with a copy of another's cookies can't do with them.

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

@Suite(.serialized) struct StolenSessionTests {
    /// The owner was remembered, and a thief has come back with a copy of the cookies.
    private func withThief(
        _ body: (FrontFixture, SettableClock, _ owner: Browser, _ thief: Browser) async throws ->
            Void
    ) async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var owner = Browser(fixture)
            owner.fields["user-agent"] = "Mozilla/5.0 (X11; Linux) Firefox/140.0"
            _ = await owner.signIn("ada", remembers: true)
            try await fixture.advance(clock, 61)
            owner.restart()
            var thief = owner
            thief.fields["user-agent"] = "Mozilla/5.0 (Windows NT 10.0) Chrome/140.0"
            thief.cookies["__Host-gatehouse-device"] = nil
            #expect(await thief.get("/resume").location == "/account")
            #expect(try await thief.session()?.level == 1)
            try await body(fixture, clock, owner, thief)
        }
    }

    @Test func `devices that no password was given with give no more guesses`() async throws {
        try await withThief { (fixture, clock, _, thief) async throws in
            var thief = thief
            var statuses: [Int] = []
            for _ in 0..<8 {
                thief.cookies["__Host-gatehouse-device"] = nil
                let made = await thief.json("/v1/device", #"{"preferences":{}}"#, method: .put)
                #expect(made.status == 204)
                #expect(thief.cookies["__Host-gatehouse-device"] != nil)
                statuses.append(
                    await thief.json("/v1/confirm", #"{"password":"a wrong one, made up"}"#).status)
            }
            #expect(statuses.allSatisfy { $0 == 401 })
            // All were charged to the name, as a stranger's are; then nothing is tried any more.
            let count = try await fixture.accounts.gate.attempts(on: username("ada"))
            #expect(count?.failures == AttemptRule.allowance)
            let right = #"{"password":"\#(FrontFixture.password)"}"#
            #expect(await thief.json("/v1/confirm", right).status == 401)
        }
    }

    @Test func `an owner's device has its place before those that were made without a password`()
        async throws
    {
        try await withThief { (fixture, clock, owner, thief) async throws in
            let (owner, before) = (owner, owner.cookies["__Host-gatehouse-device"])
            try await fixture.advance(clock, 600)
            var thief = thief
            for _ in 0..<40 {
                thief.cookies["__Host-gatehouse-device"] = nil
                _ = await thief.json(
                    "/v1/device", #"{"preferences":{"theme":"dark"}}"#, method: .put)
            }
            let ada = try #require(try await fixture.store.user(named: username("ada")))
            let cookie = Array(try #require(before).utf8)
            #expect(try await fixture.known([cookie], user: ada.id) != nil)
            _ = owner
        }
    }

    @Test(arguments: [true, false])
    func `forgetting the browser ends what came from the cookie`(_ isPage: Bool) async throws {
        try await withThief { (fixture, clock, owner, thief) async throws in
            var (owner, thief) = (owner, thief)
            let token = thief.sessionToken
            let answer =
                isPage
                ? await thief.act("/account/remember/forget")
                : await thief.json("/v1/account/remember", "", method: .delete)
            #expect(answer.status == (isPage ? 303 : 204))
            #expect(await !fixture.isGood(token), "the thief gains nothing by it")
            #expect(thief.sessionToken == nil)
            #expect(await thief.get("/resume").location == "/login")
            #expect(await owner.get("/resume").location == "/login")
        }
    }

    @Test func `theft ends the device of the sign-in, and tells of its browser`() async throws {
        try await withThief { (fixture, clock, owner, thief) async throws in
            var (owner, thief) = (owner, thief)
            let ada = try #require(try await fixture.store.user(named: username("ada")))
            let device = Array(try #require(owner.cookies["__Host-gatehouse-device"]).utf8)
            #expect(try await fixture.known([device], user: ada.id) != nil)
            _ = await thief.get("/account")
            try await fixture.writeUses()
            try await fixture.advance(clock, 61)
            #expect(await owner.get("/resume").location == "/login?notice=stolen")
            #expect(try await fixture.known([device], user: ada.id) == nil)
            let warnings = try await fixture.store.warnings(of: ada.id)
            #expect(warnings.map(\.browser) == ["Firefox on Linux"])
        }
    }

    @Test func `nobody puts a warning away who has not just given the password`() async throws {
        try await withThief { (fixture, clock, owner, thief) async throws in
            var (owner, thief) = (owner, thief)
            var other = Browser(fixture)
            _ = await other.signIn("ada", remembers: true)
            _ = await thief.get("/account")
            try await fixture.writeUses()
            try await fixture.advance(clock, 61)
            #expect(await owner.get("/resume").location == "/login?notice=stolen")
            other.restart()
            #expect(await other.get("/resume").location == "/account/warnings")
            let json = await other.json("/v1/account/warnings", "", method: .delete)
            #expect((json.status, json.problem) == (403, "stale"))
            #expect(
                await other.act("/account/warnings", [("last", "99")]).location
                    == "/confirm?return_to=/account/warnings")
            let confirmation = #"{"password":"\#(FrontFixture.password)"}"#
            #expect(await other.json("/v1/confirm", confirmation).status == 200)
            #expect(await other.json("/v1/account/warnings", "", method: .delete).status == 204)
            #expect(
                await other.get("/v1/account/warnings").body == #"{"warnings":[]}"# + "\n")
        }
    }

    @Test(arguments: [true, false])
    func `signing out in a tab that is behind ends what took the session's place`(
        _ isConfirmed: Bool
    ) async throws {
        try await withDoor { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            var behind = browser
            let changed =
                isConfirmed
                ? await browser.json(
                    "/v1/confirm", #"{"password":"\#(FrontFixture.password)"}"#)
                : await browser.json(
                    "/v1/account/password",
                    #"{"current_password":"\#(FrontFixture.password)","#
                        + #""new_password":"another fine horse battery"}"#)
            #expect(changed.status == 200)
            #expect(await fixture.isGood(browser.sessionToken))
            #expect(await behind.json("/v1/logout", "{}").status == 204)
            #expect(await !fixture.isGood(browser.sessionToken))
        }
    }

    @Test func `the cookie alone tells nothing of a step-up`() async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            try await fixture.advance(clock, 61)
            browser.restart()
            _ = await browser.get("/resume")
            try await fixture.advance(clock, 10)
            _ = await browser.json(
                "/v1/confirm", #"{"password":"\#(FrontFixture.password)"}"#)
            #expect(try await browser.session()?.authenticated == noon + 71)
            browser.restart()
            _ = await browser.get("/resume")
            let again = try #require(try await browser.session())
            #expect((again.level, again.authenticated) == (1, noon))
        }
    }

    @Test func `a page takes no bearer token`() async throws {
        try await withDoor { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            var program = Browser(fixture)
            let answer = await program.json(
                "/v1/login",
                #"{"username":"ada","password":"\#(FrontFixture.password)","transport":"bearer"}"#)
            let token = try #require(try answer.decoded(SessionAnswer.self).token)
            var browser = Browser(fixture)
            browser.fields["authorization"] = "Bearer " + token
            #expect(await browser.get("/resume").location == "/login")
            #expect(browser.sessionToken == nil)
            #expect(await browser.json("/v1/resume", "{}").status == 200)
        }
    }

    @Test func `the sign-in page tells of theft only where somebody was remembered`() async throws {
        try await withDoor { (fixture, _) async throws in
            var stranger = Browser(fixture)
            let told = "used in two places"
            #expect(await !stranger.get("/login?notice=stolen").body.contains(told))
            stranger.cookies["__Host-gatehouse-remember"] = "x"
            #expect(await stranger.get("/login?notice=stolen").body.contains(told))
        }
    }
}
