// Who may look at a person: the page, the JSON, and what an operator who acts for somebody can't do.

import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

extension FrontFixture {
    /// Lets an operator in, as the person does on the page.
    func letIn(
        to user: User, _ scope: Grant.Scope = .act, seconds: Int64 = 3600
    ) async throws -> Grant {
        let reason = try #require(LookReason("the <invoice> is wrong"))
        let outcome = try await door.people.letIn(
            to: user.id, reason: reason, scope: scope, onlyFor: nil, seconds: seconds)
        guard case .given(let grant) = outcome else { throw NotReady() }
        return grant
    }

    /// A browser in which an operator acts for the user.
    func actingBrowser(
        for user: User, _ permission: Permission, until ends: UnixTime?
    ) async throws -> Browser {
        let now = clock()
        let eve = try #require(OperatorName("support.eve"))
        let acting = try ActingSession(
            for: user, by: eve, permission: permission, until: ends,
            limits: accounts.rules.sessions,
            floor: .zero, at: now.wall, entropy: .system)
        let sealed = try await sealer.seal(
            acting.claims, remember: nil, transport: .cookie, at: now)
        let outcome = try await store.beginActing(
            SessionCreation(sessions: [acting.session], seal: sealed.session.seal),
            look: acting.look, at: now.wall)
        guard case .created = outcome else { throw NotReady() }
        var browser = Browser(self)
        browser.cookies["__Host-gatehouse"] = sealed.session.text
        return browser
    }

    func actingBrowser(for user: User, under grant: Grant) async throws -> Browser {
        try await actingBrowser(for: user, .grant(grant.id), until: grant.ends)
    }
}

@Suite(.serialized) struct SupportTests {
    private struct GrantAnswer: Decodable {
        let grant: String
        let reason: String
        let scope: String
        let ends: Int64
        let revoked: Int64?
    }

    private static let fields = [("reason", "the invoice is wrong"), ("scope", "act")]

    // MARK: Giving and revoking

    // Promise: permission
    @Test func `a person lets support in on a page, and sees the code`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            #expect(await browser.get("/account/support").body.contains("Nobody."))
            let answer = await browser.act(
                "/account/support", Self.fields + [("seconds", "28800"), ("operator", "eve")])
            #expect(answer.status == 303)
            #expect(answer.location == "/account/support?notice=given")
            let grants = try await fixture.store.grants(of: ada.id, limit: 10, at: time(noon))
            #expect(grants.count == 1)
            let grant = try #require(grants.first)
            #expect(grant.scope == .act)
            #expect(grant.onlyFor?.text == "eve")
            #expect(grant.ends == time(noon + 28_800))
            let page = await browser.get("/account/support?notice=given").body
            #expect(page.contains("<code>\(grant.id.text)</code>"))
            #expect(page.contains("the invoice is wrong"))
        }
    }

    @Test func `what is wrong with a grant is said, and what was typed stays`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            for (fields, status) in [
                ([("scope", "act")], 422), ([("reason", "x")], 422),
                ([("reason", "x"), ("scope", "all")], 422),
                ([("reason", "x"), ("scope", "see"), ("seconds", "59")], 422),
                ([("reason", "x"), ("scope", "see"), ("seconds", "604801")], 422),
                ([("reason", "x"), ("scope", "see"), ("seconds", "an hour")], 422),
                ([("reason", "x"), ("scope", "see"), ("operator", "e ve")], 422),
                ([("reason", "x\u{7}"), ("scope", "see")], 422),
            ] {
                let answer = await browser.act("/account/support", fields)
                #expect(answer.status == status, "\(fields)")
                #expect(answer.alert != nil, "\(fields)")
            }
            let typed = await browser.act(
                "/account/support", [("reason", "\"quoted\""), ("scope", "x")])
            #expect(typed.body.contains("value=\"&quot;quoted&quot;\""))
            #expect(try await fixture.store.grants(of: ada.id, limit: 10, at: time(noon)).isEmpty)
        }
    }

    // Promise: permission
    @Test func `letting somebody in needs the password, just given`() async throws {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            try await fixture.advance(clock, 300)
            #expect(await browser.get("/account/support").body.contains("name=\"reason\""))
            let body = #"{"reason":"x","scope":"see"}"#
            #expect(await browser.json("/v1/account/grants", body).status == 201)
            try await fixture.advance(clock, 1)
            #expect(await !browser.get("/account/support").body.contains("name=\"reason\""))
            #expect(
                await browser.act("/account/support", Self.fields).location
                    == "/confirm?return_to=/account/support")
            let answer = await browser.json("/v1/account/grants", body)
            #expect(answer.status == 403 && answer.problem == "stale")
            #expect(
                try await fixture.store.grants(of: ada.id, limit: 10, at: time(noon)).count == 1)
        }
    }

    // Promise: grant-revocable
    @Test func `revoking ends support's session before the answer, also with an old password`()
        async throws
    {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let grant = try await fixture.letIn(to: ada)
            var support = try await fixture.actingBrowser(for: ada, under: grant)
            let token = support.sessionToken
            #expect(await fixture.isGood(token))
            try await fixture.advance(clock, 600)
            let page = await browser.get("/account").body
            #expect(page.contains("support.eve"), "the list of sign-ins says who it is")
            let answer = await browser.act("/account/support/revoke", [("grant", grant.id.text)])
            #expect(answer.location == "/account/support?notice=revoked")
            #expect(await !fixture.isGood(token))
            #expect(await support.get("/resume").location == "/login")
            #expect(await fixture.isGood(browser.sessionToken))
        }
    }

    // Promise: grant-revocable
    @Test func `a session under a grant ends with it, and no renewal changes that`() async throws {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            let grant = try await fixture.letIn(to: ada, seconds: 600)
            var support = try await fixture.actingBrowser(for: ada, under: grant)
            try await fixture.advance(clock, 500)
            #expect(await support.get("/resume").location == "/account")
            #expect(await fixture.isGood(support.sessionToken))
            #expect(try await support.session()?.actor == "support.eve", "renewed as it was")
            try await fixture.advance(clock, 99)
            #expect(await fixture.isGood(support.sessionToken))
            try await fixture.advance(clock, 1)
            #expect(await !fixture.isGood(support.sessionToken))
            #expect(await support.get("/resume").location == "/login")
        }
    }

    @Test func `grants over JSON`() async throws {
        try await withDoor { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            _ = try await fixture.makeUser("bob")
            var (ada, bob) = (Browser(fixture), Browser(fixture))
            _ = await ada.signIn("ada")
            _ = await bob.signIn("bob")
            let made = await ada.json("/v1/account/grants", #"{"reason":"help","scope":"see"}"#)
            #expect(made.status == 201)
            let grant = try made.decoded(GrantAnswer.self)
            #expect(grant.ends == noon + 3600)
            for body in [
                #"{"reason":"","scope":"see"}"#, #"{"reason":"x","scope":"none"}"#,
                #"{"reason":"x","scope":"see","seconds":59}"#,
                #"{"reason":"x","scope":"see","operator":""}"#,
            ] {
                #expect(await ada.json("/v1/account/grants", body).status == 422, "\(body)")
            }
            let path = "/v1/account/grants/" + grant.grant
            #expect(await bob.json(path, "", method: .delete).status == 404)
            let list = await ada.get("/v1/account/grants")
            #expect(list.body.contains(grant.grant))
            #expect(await !bob.get("/v1/account/grants").body.contains(grant.grant))
            #expect(await ada.json(path, "", method: .delete).status == 204)
            #expect(await ada.json(path, "", method: .delete).status == 404)
            #expect(await ada.get("/v1/account/grants").body.contains("\"revoked\":"))
            var nobody = Browser(fixture)
            #expect(await nobody.get("/v1/account/grants").status == 401)
            #expect(await nobody.get("/v1/account/looks").status == 401)
        }
    }

    // MARK: Acting

    // Promise: permission
    @Test func `every page says who acts, for whom, until when and why`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            let grant = try await fixture.letIn(to: ada, seconds: 600)
            var support = try await fixture.actingBrowser(for: ada, under: grant)
            for page in [
                "/account", "/account/support", "/logout", "/login", "/register", "/nothing",
                "/account/password", "/confirm",
            ] {
                let body = await support.get(page).body
                #expect(body.contains("support.eve of support is acting for ada."), "\(page)")
                #expect(body.contains("the &lt;invoice&gt; is wrong"), "\(page)")
                #expect(body.contains("datetime=\"2026-11-24T12:10:00Z\""), "\(page)")
                let form = try #require(Browser.formToken(body), "\(page)")
                #expect(!form.isEmpty)
            }
            var own = Browser(fixture)
            _ = await own.signIn("ada")
            #expect(await !own.get("/account").body.contains("is acting for"))
            #expect(try await own.session()?.actor == nil)
        }
    }

    // Promise: permission
    @Test func `the button of the bar ends support's session, and only that`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            var own = Browser(fixture)
            _ = await own.signIn("ada")
            let grant = try await fixture.letIn(to: ada)
            var support = try await fixture.actingBrowser(for: ada, under: grant)
            let other = try await fixture.actingBrowser(for: ada, under: grant)
            let token = support.sessionToken
            let body = await support.get("/account").body
            let form = try #require(Browser.formToken(body))
            #expect(await support.post("/logout", [("form", form)]).status == 303)
            #expect(await !fixture.isGood(token))
            #expect(await fixture.isGood(own.sessionToken))
            #expect(await fixture.isGood(other.sessionToken))
            #expect(try await fixture.store.grant(grant.id)?.revoked == nil)
        }
    }

    @Test func `ending all others ends support's sessions too`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            var own = Browser(fixture)
            _ = await own.signIn("ada")
            let grant = try await fixture.letIn(to: ada)
            let support = try await fixture.actingBrowser(for: ada, under: grant)
            #expect(
                await own.act("/account/sessions/end-others").location
                    == "/account?notice=ended-others")
            #expect(await !fixture.isGood(support.sessionToken))
            #expect(await fixture.isGood(own.sessionToken))
        }
    }

    /// What an operator may do, with the reason.
    static let open: Set<String> = [
        // Ends the session in which they act, and nothing else.
        "POST /logout", "POST /v1/logout",
        // Ends it too; then they are whoever they proved to be.
        "POST /login", "POST /v1/login",
        // About nobody who is signed in.
        "POST /register", "POST /v1/register",
        // The same session, sealed again.
        "POST /v1/resume",
        // What support is asked to correct; the history says who did.
        "POST /account/profile", "PATCH /v1/account",
        // About the browser, and nobody in it.
        "POST /r/{code}", "POST /cookies/referral/forget",
    ]

    // Promise: credentials-safe
    @Test func `whatever changes something is refused to whoever acts, on every route`()
        async throws
    {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var own = Browser(fixture)
            _ = await own.signIn("ada")
            let grant = try await fixture.letIn(to: ada)
            let before = try await fixture.store.audit(after: 0, limit: 10_000).count
            var walked = 0
            for (path, methods) in fixture.door.routes {
                for method in methods.keys where method != .get {
                    guard !Self.open.contains("\(method.rawValue) \(path)") else { continue }
                    walked += 1
                    var support = try await fixture.actingBrowser(for: ada, under: grant)
                    let answer = try await CrossSiteMatrixTests.send(
                        method, path, as: &support)
                    #expect(answer == "acting", "\(method.rawValue) \(path): \(answer ?? "done")")
                }
            }
            #expect(walked >= 20, "the table was walked")
            #expect(await fixture.isGood(own.sessionToken))
            #expect(
                try await fixture.store.user(ada.id)?.passwordHash == ada.passwordHash)
            // Nothing but the sessions themselves and the looks that they are.
            let after = try await fixture.store.audit(after: 0, limit: 10_000).dropFirst(before)
            #expect(Set(after.map(\.event.kind)) == [.sessionCreated, .personSeen])
        }
    }

    // Promise: credentials-safe
    @Test func `the pages of password and step-up are not even shown`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            let grant = try await fixture.letIn(to: ada)
            var support = try await fixture.actingBrowser(for: ada, under: grant)
            for page in ["/account/password", "/confirm"] {
                let answer = await support.get(page)
                #expect(answer.status == 403)
                #expect(!answer.body.contains("type=\"password\""), "\(page)")
            }
            let page = await support.get("/account/support").body
            #expect(!page.contains("name=\"reason\"") && !page.contains("name=\"grant\""))
        }
    }

    @Test func `another release's keys: an acting token is refused as a bearer and under no key`()
        async throws
    {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            let grant = try await fixture.letIn(to: ada)
            let support = try await fixture.actingBrowser(for: ada, under: grant)
            var program = Browser(fixture)
            program.fields["authorization"] = "Bearer " + (support.sessionToken ?? "")
            #expect(await program.get("/v1/session").status == 401)
        }
    }

    // MARK: Looks

    // Promise: looks-shown
    @Test func `the person sees who was signed in as them`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            let grant = try await fixture.letIn(to: ada)
            _ = try await fixture.actingBrowser(for: ada, under: grant)
            var own = Browser(fixture)
            #expect(await own.signIn("ada").location == "/account", "permitted: nothing to warn of")
            let page = await own.get("/account/support").body
            #expect(page.contains("Was signed in as you"))
            #expect(page.contains("<bdi>support.eve</bdi>"))
            let looks = await own.get("/v1/account/looks").body
            #expect(looks.contains("\"seen\":\"session\"") && looks.contains(grant.id.text))
        }
    }

    // Promise: break-glass
    @Test func `a look without permission is told at the next sign-in until it is put away`()
        async throws
    {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            let eve = try #require(OperatorName("eve"))
            let why = try #require(LookReason("a court's <order>"))
            let outcome = try await fixture.store.note(
                Look(
                    user: ada.id, time: time(noon), by: eve, permission: .brokenGlass(why),
                    seen: .signIns), audit: .command, at: time(noon))
            #expect(outcome == .noted)
            var program = Browser(fixture)
            let answer = await program.json(
                "/v1/login", #"{"username":"ada","password":"\#(FrontFixture.password)"}"#)
            #expect(try answer.decoded(SessionAnswer.self).warnings == 1)
            for _ in 0..<2 {
                var browser = Browser(fixture)
                #expect(await browser.signIn("ada").location == "/account/warnings")
                let page = await browser.get("/account/warnings").body
                #expect(page.contains("<h1>Somebody looked at your account</h1>"))
                #expect(page.contains("a court&#39;s &lt;order&gt;"))
                #expect(page.contains("<bdi>eve</bdi>"))
                #expect(!page.contains("Somebody may have copied"))
            }
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let shown = await browser.get("/account/warnings").body
            let last = try #require(shown.firstMatch(of: /name="last_look" value="(\d+)"/)).1
            #expect(
                await browser.act("/account/warnings", [("last_look", String(last))]).status == 303)
            #expect(await browser.signIn("ada").location == "/account")
            #expect(
                await browser.get("/account/support").body.contains("Without your permission"),
                "it stays in the list")
        }
    }

    // Promise: break-glass
    @Test func `programs read and put away looks without permission`() async throws {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            let eve = try #require(OperatorName("eve"))
            let why = try #require(LookReason("a court's order"))
            _ = try await fixture.store.note(
                Look(
                    user: ada.id, time: time(noon), by: eve, permission: .brokenGlass(why),
                    seen: .account), audit: .command, at: time(noon))
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let body = await browser.get("/v1/account/warnings").body
            #expect(body.contains("\"looks\":[{"))
            #expect(body.contains("a court's order"))
            try await fixture.advance(clock, 301)
            let stale = await browser.json("/v1/account/warnings", "", method: .delete)
            #expect(stale.problem == "stale")
            _ = await browser.signIn("ada")
            #expect(await browser.json("/v1/account/warnings", "", method: .delete).status == 204)
            #expect(await !browser.get("/v1/account/warnings").body.contains("looks"))
        }
    }

    @Test func `what is exported of grants and looks is all of them`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            let grant = try await fixture.letIn(to: ada)
            _ = try await fixture.actingBrowser(for: ada, under: grant)
            let field = try await fixture.door.people.exportedPermissions(of: ada.id)
            #expect(field.name == "support")
            guard case .fields(let parts) = field.value,
                case .list(let grants) = parts[0].value, case .list(let looks) = parts[1].value,
                case .fields(let look) = looks.first
            else {
                Issue.record("\(field)")
                return
            }
            #expect(grants.count == 1 && looks.count == 1)
            #expect(look.contains(ExportValue.Field("grant", .text(grant.id.digest))))
            #expect(look.contains(ExportValue.Field("operator", .text("support.eve"))))
        }
    }

    // MARK: What can't be gone around

    private func note(
        _ seen: Look.Seen, of user: User, in fixture: FrontFixture
    ) async throws {
        let eve = try #require(OperatorName("eve"))
        let why = try #require(LookReason("a court's order"))
        let outcome = try await fixture.store.note(
            Look(
                user: user.id, time: fixture.clock().wall, by: eve, permission: .brokenGlass(why),
                seen: seen), audit: .command, at: fixture.clock().wall)
        #expect(outcome == .noted)
    }

    @Test func `after a recovery nothing that tells of operators is put away for a week`()
        async throws
    {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            try await note(.account, of: ada, in: fixture)
            try await note(.recovery, of: ada, in: fixture)
            // Whoever used the link signs in, and would be rid of both.
            var thief = Browser(fixture)
            #expect(await thief.signIn("ada").location == "/account/warnings")
            let page = await thief.get("/account/warnings").body
            #expect(page.contains("within the last seven days"))
            let last = try #require(page.firstMatch(of: /name="last_look" value="(\d+)"/)).1
            #expect(
                await thief.act("/account/warnings", [("last_look", String(last))]).status == 303)
            #expect(await thief.json("/v1/account/warnings", "", method: .delete).status == 204)
            var own = Browser(fixture)
            #expect(await own.signIn("ada").location == "/account/warnings")
            let told = await own.get("/account/warnings").body
            #expect(told.contains("Made a link with which whoever has it sets your password"))
            #expect(told.contains("<dd>Your account</dd>"))
            try await fixture.advance(clock, PermissionRule.recoveryToldSeconds - 1)
            _ = await own.signIn("ada")
            #expect(await own.json("/v1/account/warnings", "", method: .delete).status == 204)
            #expect(await own.get("/v1/account/warnings").body.contains("recovery"))
            try await fixture.advance(clock, 1)
            _ = await own.signIn("ada")
            #expect(await own.json("/v1/account/warnings", "", method: .delete).status == 204)
            #expect(await !own.get("/v1/account/warnings").body.contains("recovery"))
        }
    }

    @Test func `whoever acts sees no code, and the person sees it`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            let grant = try await fixture.letIn(to: ada)
            let other = try await fixture.letIn(to: ada)
            var support = try await fixture.actingBrowser(for: ada, under: grant)
            var own = Browser(fixture)
            _ = await own.signIn("ada")
            for path in ["/account/support", "/v1/account/grants", "/v1/account/looks"] {
                let (acted, seen) = (await support.get(path), await own.get(path))
                #expect(acted.status == 200 && seen.status == 200, "\(path)")
                #expect(seen.body.contains(grant.id.text), "\(path)")
                for code in [grant.id.text, other.id.text] {
                    #expect(!acted.body.contains(code), "\(path)")
                }
                #expect(acted.body.contains(grant.id.digest), "\(path)")
            }
        }
    }

    @Test func `no code is in the trail or in an export`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            let grant = try await fixture.letIn(to: ada)
            _ = try await fixture.actingBrowser(for: ada, under: grant)
            #expect(try await fixture.door.people.revoke(grant.id, of: ada.id))
            let details = try await fixture.store.audit(after: 0, limit: 1000)
                .compactMap(\.event.detail)
            #expect(details.filter { $0.contains("grant=\(grant.id.digest)") }.count == 3)
            #expect(!details.contains { $0.contains(grant.id.text) })
            let export = try await fixture.door.people.export(of: ada.id, by: .command)
            let json = try #require(export).json
            #expect(json.contains(grant.id.digest))
            #expect(!json.contains(grant.id.text))
        }
    }

    @Test func `a grant's digest is of eight hex digits`() throws {
        let id = try #require(GrantID(text: "3f786850e387550fdab836ed7e6dc881"))
        #expect(id.digest == "194ec39e")
    }

    @Test func `whoever comes back by a remember cookie is told before anything else`()
        async throws
    {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            #expect(await !browser.get("/account").body.contains("have not been told of"))
            try await note(.account, of: ada, in: fixture)
            #expect(await browser.get("/account").body.contains("have not been told of"))
            #expect(try await browser.session()?.warnings == 1)
            // Its session lives still: nothing begins.
            #expect(
                await browser.get("/resume?return_to=/account/support").location
                    == "/account/support")
            // Past the grace, in which it is handed out again.
            try await fixture.advance(clock, 61)
            browser.cookies["__Host-gatehouse"] = nil
            #expect(
                await browser.get("/resume?return_to=/account/support").location
                    == "/account/warnings?return_to=/account/support")
            let page = await browser.get("/account/warnings?return_to=/account/support").body
            #expect(page.contains("<a href=\"/account/support\">Not now</a>"))
            browser.cookies["__Host-gatehouse"] = nil
            let answer = await browser.json("/v1/resume", "{}")
            #expect(try answer.decoded(SessionAnswer.self).warnings == 1)
            let broken = try #require(LookReason("x"))
            var support = try await fixture.actingBrowser(
                for: ada, .brokenGlass(broken), until: nil)
            #expect(try await support.session()?.warnings == nil)
        }
    }
}
