// A server that is started anew between any two steps changes nothing.

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

@Suite(.serialized) struct RestartFlowTests {
    @Test func `a story goes on over restarts between any two of its steps`() async throws {
        let clock = SettableClock()
        var fixture = try await FrontFixture(clock: { clock.now })
        let ada = try await fixture.makeUser("ada")
        var browser = Browser(fixture)
        var thief = browser
        var restarts = 0
        func restart() async throws {
            await fixture.stop()
            fixture = try await FrontFixture(continuing: fixture, clock: { clock.now })
            browser.fixture = fixture
            thief.fixture = fixture
            restarts += 1
        }
        let form = await browser.formToken()
        try await restart()
        var fields = [("username", "ada"), ("password", FrontFixture.password)]
        fields += [("remember", "on"), ("form", form)]
        #expect(await browser.post("/login", fields).location == "/account")
        try await restart()
        let first = try #require(try await browser.session())
        #expect(await browser.get("/resume").location == "/account")
        try await restart()
        #expect(try await browser.session()?.session == first.session)
        clock.advance(61)
        browser.restart()
        try await restart()
        thief = browser
        #expect(await browser.get("/resume").location == "/account")
        try await restart()
        // Within the grace the old generation gives the same session, after a restart too.
        var tab = thief
        #expect(await tab.get("/resume").location == "/account")
        let second = try #require(try await browser.session())
        #expect(try await tab.session()?.session == second.session)
        #expect((second.level, second.remembered) == (1, true))
        try await restart()
        let step = await browser.act("/confirm", [("password", FrontFixture.password)])
        #expect(step.location == "/account")
        try await restart()
        #expect(try await browser.session()?.level == 2)
        clock.advance(61)
        try await restart()
        #expect(await thief.get("/resume").location == "/login?notice=stolen")
        try await restart()
        #expect(try await browser.session() == nil, "an ended session stays ended")
        #expect(await browser.get("/resume").location == "/login")
        try await restart()
        #expect(await browser.signIn("ada", remembers: true).location == "/account/warnings")
        try await restart()
        let last = try #require(try await fixture.store.warnings(of: ada.id).first).id
        #expect(await browser.act("/account/warnings", [("last", "\(last)")]).status == 303)
        try await restart()
        let change = await browser.act(
            "/account/password",
            [("current_password", FrontFixture.password), ("new_password", "a newer password")])
        #expect(change.location == "/account?notice=password")
        try await restart()
        let third = browser
        #expect(try await browser.session() != nil)
        #expect(await browser.act("/logout").status == 303)
        try await restart()
        #expect(await !fixture.isGood(third.sessionToken))
        #expect(restarts == 14)
        await fixture.stop()
    }
}
