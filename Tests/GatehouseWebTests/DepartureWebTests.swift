// Taking one's data and leaving, as people and programs do it.

import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

@Suite(.serialized) struct DepartureWebTests {
    private static let day: Int64 = 86_400

    private func signedIn(_ fixture: FrontFixture, _ name: String = "ada") async -> Browser {
        var browser = Browser(fixture)
        browser.peer = "203.0.113.7"
        browser.fields["user-agent"] = "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0"
        #expect(await browser.signIn(name).status == 303)
        return browser
    }

    private func kinds(_ fixture: FrontFixture) async throws -> [AuditEvent.Kind] {
        try await fixture.store.audit(after: 0, limit: 1000).map(\.event.kind)
    }

    private func refresh(_ fixture: FrontFixture) async throws {
        _ = try await fixture.node.refresh(at: fixture.clock())
    }

    // MARK: Export

    // Promise: export
    @Test func `an export has all that is held, and says that it was made`() async throws {
        try await withDoor { fixture, clock in
            let ada = try await fixture.makeUser("ada")
            _ = try await fixture.makeUser("bob")
            var stranger = Browser(fixture)
            #expect(await stranger.signIn("ada", "wrong password indeed").status == 401)
            var browser = await signedIn(fixture)
            _ = await browser.act(
                "/account/device", [("new_key", "theme"), ("new_value", "dark<&")])
            let response = await browser.get("/v1/account/export")
            #expect(response.status == 200)
            #expect(response.contentType == "application/json")
            #expect(
                response.header("content-disposition")
                    == "attachment; filename=\"gatehouse-export.json\"")
            let export = try #require(
                try JSONSerialization.jsonObject(with: Data(response.body.utf8)) as? [String: Any])
            #expect(export["format"] as? String == People.exportFormat)
            #expect(export["made"] as? String == "2026-11-24T12:00:00Z")
            let account = try #require(export["account"] as? [String: Any])
            #expect(account["user"] as? String == ada.id.text)
            #expect(account["username"] as? String == "ada")
            #expect(account["last_active_day"] as? String == "2026-11-24")
            let sessions = try #require(export["sessions"] as? [[String: Any]])
            #expect(sessions.map { $0["browser"] as? String } == ["Firefox on Linux"])
            #expect(sessions.map { $0["place"] as? String } == ["203.0.113.0/24"])
            let preferences = try #require(export["preferences"] as? [[String: Any]])
            #expect(preferences.map { $0["value"] as? String } == ["dark<&"])
            #expect((export["devices"] as? [Any])?.count == 1)
            let audit = try #require(export["audit"] as? [[String: Any]])
            let kinds = audit.compactMap { $0["kind"] as? String }
            #expect(kinds == ["user_created", "signed_in", "data_exported"])
            #expect(export["deletion"] is NSNull)
            #expect(!response.body.contains("bob"))
            #expect(!response.body.contains("argon2"))
            // Her own counter was cleared by the right password; another wrong one shows.
            #expect((export["failed_sign_ins"] as? [Any])?.isEmpty == true)
            #expect(await stranger.signIn("ada", "wrong password indeed").status == 401)
            let again = await browser.get("/v1/account/export")
            #expect(again.body.contains("\"in_a_row\": 1"))
            withExtendedLifetime(clock) {}
        }
    }

    // Promise: export
    @Test func `the page says the same, with a policy of its own`() async throws {
        try await withDoor { fixture, _ in
            _ = try await fixture.makeUser("ada")
            var browser = await signedIn(fixture)
            _ = await browser.act(
                "/account/device", [("new_key", "theme"), ("new_value", "dark<&")])
            let page = await browser.submit("/account/leave", [("as", "page")])
            #expect(page.status == 400, "that is the form that deletes")
            let token = await browser.formToken()
            let shown = await browser.post("/account/export", [("as", "page"), ("form", token)])
            #expect(shown.status == 200)
            #expect(shown.body.contains("dark&lt;&amp;") && !shown.body.contains("dark<"))
            #expect(shown.body.contains("All that is held about ada"))
            let policies = shown.headers.filter { $0.0 == .contentSecurityPolicy }.map(\.1)
            #expect(
                policies.count == 1 && policies[0].hasPrefix("default-src 'none'; style-src 'sha"))
            #expect(shown.header("cache-control") == "no-store")
            let json = await browser.post("/account/export", [("as", "json"), ("form", token)])
            #expect(json.contentType == "application/json")
            #expect(json.body.contains("\"dark\\u003c\\u0026\""))
            #expect(try await kinds(fixture).count { $0 == .dataExported } == 2)
        }
    }

    @Test func `an export needs a password that was given a moment ago`() async throws {
        try await withDoor { fixture, clock in
            _ = try await fixture.makeUser("ada")
            var browser = await signedIn(fixture)
            try await fixture.advance(clock, FrontDoor.freshSeconds)
            #expect(await browser.get("/v1/account/export").status == 200)
            try await fixture.advance(clock, 1)
            let before = try await kinds(fixture)
            let json = await browser.get("/v1/account/export")
            #expect(json.status == 403 && json.problem == "stale")
            let page = await browser.act("/account/export", [("as", "page")])
            #expect(page.status == 303)
            #expect(
                page.header("location")
                    == "/confirm?return_to=/account/leave?notice=confirmed")
            #expect(try await kinds(fixture) == before)
            var nobody = Browser(fixture)
            #expect(await nobody.get("/v1/account/export").status == 401)
            browser.fields["sec-fetch-site"] = "cross-site"
            let foreign = await browser.get("/v1/account/export")
            #expect(foreign.status == 403 && foreign.problem == "cross_site")
        }
    }

    // MARK: Leaving

    // Promise: deletion
    @Test func `somebody asks, sees when, and changes their mind`() async throws {
        try await withDoor { fixture, clock in
            let ada = try await fixture.makeUser("ada")
            var browser = await signedIn(fixture)
            let page = await browser.get("/account/leave")
            #expect(page.status == 200)
            // 14 days to think, 35 more for copies.
            #expect(page.body.contains("2026-12-08 12:00 UTC"))
            #expect(page.body.contains("2027-01-12"))
            #expect(await !browser.get("/account").body.contains("Keep my account"))

            let missing = await browser.submit("/account/leave", [])
            #expect(missing.status == 400)
            let wrong = await browser.submit("/account/leave", [("password", "not the password")])
            #expect(wrong.status == 401)
            #expect(wrong.body.contains("aria-invalid=\"true\""))
            #expect(try await fixture.store.deletion(of: ada.id) == nil)

            let asked = await browser.submit(
                "/account/leave", [("password", FrontFixture.password)])
            #expect(asked.status == 303)
            #expect(asked.header("location") == "/account/leave?notice=leaving")
            let deletion = try #require(try await fixture.store.deletion(of: ada.id))
            #expect(deletion.due == time(noon + 14 * Self.day))
            // Everything goes on, and every page of the account says so.
            #expect(await browser.get("/account").body.contains("Keep my account"))
            var other = await signedIn(fixture)
            #expect(await other.get("/account").body.contains("2026-12-08 12:00 UTC"))
            let stay = await other.submit("/account/leave/cancel", [])
            #expect(stay.status == 403, "the form is on another page")
            let kept = await other.act("/account/leave/cancel")
            #expect(kept.header("location") == "/account/leave?notice=staying")
            #expect(try await fixture.store.deletion(of: ada.id) == nil)
            let none = await other.act("/account/leave/cancel")
            #expect(none.status == 409)
            #expect(
                try await kinds(fixture).filter {
                    [.deletionRequested, .deletionCancelled].contains($0)
                } == [.deletionRequested, .deletionCancelled])
            withExtendedLifetime(clock) {}
        }
    }

    // Promise: deletion
    @Test func `programs ask, see and cancel the same`() async throws {
        try await withDoor { fixture, clock in
            let ada = try await fixture.makeUser("ada")
            var browser = await signedIn(fixture)
            struct Body: Decodable {
                let requested: Int64
                let due: Int64
                let copies_gone: Int64
            }
            #expect(await browser.get("/v1/account/deletion").problem == "no_deletion")
            let password = FrontFixture.password
            let wrong = await browser.json(
                "/v1/account", #"{"password":"not the password"}"#, method: .delete)
            #expect(wrong.status == 401 && wrong.problem == "credentials")
            let asked = await browser.json(
                "/v1/account", #"{"password":"\#(password)"}"#, method: .delete)
            #expect(asked.status == 202)
            let body = try asked.decoded(Body.self)
            #expect(body.requested == noon && body.due == noon + 14 * Self.day)
            #expect(body.copies_gone == noon + 49 * Self.day)
            try await fixture.advance(clock, 60)
            let again = await browser.json(
                "/v1/account", #"{"password":"\#(password)"}"#, method: .delete)
            #expect(try again.decoded(Body.self).due == body.due, "the first request stays")
            #expect(
                try await browser.get("/v1/account/deletion").decoded(Body.self).due == body.due)
            #expect(await browser.get("/v1/account/export").body.contains("2026-12-08T12:00:00Z"))
            #expect(await browser.json("/v1/account/deletion", "", method: .delete).status == 204)
            #expect(await browser.json("/v1/account/deletion", "", method: .delete).status == 404)
            #expect(try await fixture.store.user(ada.id) != nil)
            var nobody = Browser(fixture)
            #expect(await nobody.get("/v1/account/deletion").status == 401)
            #expect(
                await nobody.json("/v1/account", #"{"password":"x"}"#, method: .delete).status
                    == 401)
        }
    }

    @Test func `when the time has come nothing stops it, and nobody can sign in`() async throws {
        try await withDoor { fixture, clock in
            let ada = try await fixture.makeUser("ada")
            var browser = await signedIn(fixture)
            _ = await browser.submit("/account/leave", [("password", FrontFixture.password)])
            try await fixture.advance(clock, 14 * Self.day)
            browser = await signedIn(fixture)
            let page = await browser.get("/account/leave")
            #expect(page.body.contains("can&#39;t be stopped any more"))
            #expect(!page.body.contains("Keep my account"))
            #expect(await browser.act("/account/leave/cancel").status == 409)
            let key = try #require(await fixture.node.loadedKeyring?.lookUpKey)
            let outcome = try await fixture.store.deletePerson(
                ada.id, onlyIfDue: true, lookUpKey: key,
                audit: AuditEvent(.userDeleted, by: .server, user: ada.id), at: clock.now.wall)
            guard case .revoked = outcome else {
                Issue.record("it is due")
                return
            }
            let token = browser.sessionToken
            try await refresh(fixture)
            #expect(await !fixture.isGood(token))
            #expect(await browser.get("/account").status == 303)
            var stranger = Browser(fixture)
            #expect(await stranger.signIn("ada").status == 401)
            let taken = await stranger.submit(
                "/register", [("username", "ada"), ("password", FrontFixture.password)])
            #expect(taken.status == 409, "the name stays reserved")
        }
    }

    // Promise: address-retention
    @Test func `nothing that a request leaves has its whole address, unless that is asked for`()
        async throws
    {
        try await withDoor { fixture, _ in
            _ = try await fixture.makeUser("ada")
            var browser = await signedIn(fixture)
            _ = await browser.act("/account/device", [("new_key", "theme"), ("new_value", "dark")])
            let export = await browser.get("/v1/account/export")
            #expect(export.body.contains("203.0.113.0/24"))
            #expect(!export.body.contains("203.0.113.7"))
        }
    }
}
