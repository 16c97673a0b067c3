// Every route that changes something, against every origin and every form token
// (REQUIREMENTS CSRF-1, CSRF-2, and section 10, items 39 and 40).

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

@Suite(.serialized) struct CrossSiteMatrixTests {
    /// Every state-changing route of the door's own table.
    private func routes(_ fixture: FrontFixture) -> [(HTTPRequest.Method, String)] {
        fixture.door.routes.flatMap { path, methods in
            methods.keys.filter { $0 != .get }.map { ($0, path) }
        }.sorted { $0.1 + $0.0.rawValue < $1.1 + $1.0.rawValue }
    }

    /// The type of the route's refusal, by its handler; nil when there is none.
    private func refusal(
        _ browser: Browser, _ route: (HTTPRequest.Method, String), form: String?
    ) async -> String? {
        guard let handler = browser.fixture.door.routes[route.1]?[route.0] else { return "none" }
        do throws(FrontRefusal) {
            _ = try await handler(browser.fixture.door, Self.request(browser, route, form: form))
            return nil
        } catch { return error.type }
    }

    /// The type of a route's refusal to a browser that sends its own form; nil when there is none.
    static func send(
        _ method: HTTPRequest.Method, _ path: String, as browser: inout Browser
    ) async throws -> String? {
        let form = await browser.formToken()
        guard let handler = browser.fixture.door.routes[path]?[method] else { return "none" }
        do throws(FrontRefusal) {
            _ = try await handler(
                browser.fixture.door, request(browser, (method, path), form: form))
            return nil
        } catch { return error.type }
    }

    /// A request with whatever any route takes.
    private static func request(
        _ browser: Browser, _ route: (HTTPRequest.Method, String), form: String?
    ) -> FrontRequest {
        let isAPI = route.1.hasPrefix("/v1/")
        let session = String(repeating: "ab", count: 16)
        let path = route.1.replacing("{session}", with: session)
            .replacing("{grant}", with: session)
        let body: String
        if route.1 == "/v1/device" {
            body = #"{"preferences":{"theme":"dark"}}"#
        } else if isAPI {
            body =
                #"{"username":"mallory","password":"\#(FrontFixture.password)","#
                + #""current_password":"\#(FrontFixture.password)","new_password":"a newer password","#
                + #""reason":"x","scope":"see","subject":"purpose:x","given":true}"#
        } else {
            let password = Browser.encode(FrontFixture.password)
            body =
                "username=mallory&password=\(password)&new_password=a+newer+password"
                + "&session=\(session)&last=99&token=x&new_key=theme&new_value=dark"
                + "&grant=\(session)&reason=x&scope=see"
                + (form.map { "&form=" + Browser.encode($0) } ?? "")
        }
        return browser.request(
            route.0, path, body: Array(body.utf8),
            type: isAPI ? "application/json" : "application/x-www-form-urlencoded")
    }

    private static let foreign: [(site: String?, origin: String?)] = [
        ("same-site", "https://app.example"), ("cross-site", "https://app.example"),
        ("none", "https://app.example"), ("", "https://app.example"),
        ("cross-site", "https://evil.example"), (nil, "http://app.example"),
        (nil, "https://app.example:8443"), (nil, "https://app.example."), (nil, "null"),
        (nil, "https://evil.example"), (nil, "https://sub.app.example"),
        (nil, "https://shop.example"), (nil, nil),
    ]

    @Test func `nothing changes for another site, on any route`() async throws {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var other = Browser(fixture)
            _ = await other.signIn("ada", remembers: true)
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            let form = await browser.formToken()
            let routes = routes(fixture)
            #expect(routes.count >= 25, "the table was walked")
            let before = try await fixture.store.audit(after: 0, limit: 10_000).count
            for route in routes {
                for (site, origin) in Self.foreign {
                    browser.fields = ["sec-fetch-site": site, "origin": origin]
                    let refusal = await refusal(browser, route, form: form)
                    #expect(
                        refusal == "cross_site",
                        "\(route) from \(site ?? "-"), \(origin ?? "-")")
                }
                // Without cookies a program is served, and a form of nobody's is not.
                var program = Browser(fixture)
                program.fields = ["sec-fetch-site": nil, "origin": nil]
                if !route.1.hasPrefix("/v1/") {
                    #expect(await self.refusal(program, route, form: form) == "cross_site")
                } else if route.1 != "/v1/register" {
                    #expect(await self.refusal(program, route, form: nil) != "cross_site")
                }
            }
            #expect(try await fixture.store.audit(after: 0, limit: 10_000).count == before)
            #expect(await fixture.isGood(browser.sessionToken))
            #expect(await fixture.isGood(other.sessionToken))
            #expect(try await fixture.store.signIns(of: ada.id, at: clock.now.wall).count == 2)
            #expect(try await fixture.store.user(ada.id)?.passwordHash == ada.passwordHash)
            #expect(try await fixture.store.user(named: username("mallory")) == nil)
        }
    }

    @Test func `our own pages are served, on every route`() async throws {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            for route in routes(fixture) {
                for (site, origin) in [
                    ("same-origin", nil), ("same-origin", "https://app.example"),
                    (nil, "https://app.example"),
                ] as [(String?, String?)] {
                    // What a change of password did before is undone.
                    let user = try #require(try await fixture.store.user(ada.id))
                    if let hash = user.passwordHash, let old = ada.passwordHash, hash != old {
                        _ = try await fixture.store.replacePasswordHashes(
                            [(StoredPasswordHash(user: ada.id, text: hash), old)], audit: [],
                            at: clock.now.wall)
                    }
                    var browser = Browser(fixture)
                    _ = await browser.signIn("ada")
                    let form = await browser.formToken()
                    browser.fields = ["sec-fetch-site": site, "origin": origin]
                    let refusal = await refusal(browser, route, form: form)
                    #expect(
                        !["cross_site", "stale_form", "no_cookie", "none"].contains(refusal),
                        "\(route): \(refusal ?? "")")
                }
            }
        }
    }

    @Test func `a form needs its own token, on every route`() async throws {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var stranger = Browser(fixture)
            let preSession = await stranger.formToken()
            let cookie = try #require(stranger.cookies["__Host-gatehouse-form"])
            var other = Browser(fixture)
            _ = await other.signIn("ada")
            let foreign = await other.formToken()
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let own = await browser.formToken()
            let before = try await fixture.store.audit(after: 0, limit: 10_000).count
            let tokens = [
                nil, "", "x", preSession, cookie, foreign, own + "A", String(own.dropLast()),
                browser.sessionToken,
            ]
            for route in routes(fixture) where !route.1.hasPrefix("/v1/") {
                for token in tokens {
                    let refusal = await refusal(browser, route, form: token)
                    #expect(refusal == "stale_form", "\(route) with \(token ?? "none")")
                }
                // Its own, without the browser's cookies.
                let blocked = Browser(fixture)
                #expect(await refusal(blocked, route, form: own) == "no_cookie", "\(route)")
                // The stranger's cookie, planted beside the session, counts for nothing.
                var planted = browser
                planted.cookies["__Host-gatehouse-form"] = cookie
                #expect(await refusal(planted, route, form: preSession) == "stale_form")
            }
            clock.advance(1800)
            #expect(try await fixture.store.audit(after: 0, limit: 10_000).count == before)
            #expect(try await fixture.store.user(ada.id)?.passwordHash == ada.passwordHash)
        }
    }

    @Test func `forms and JSON are taken as what they are, on every route`() async throws {
        try await withDoor { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            for route in routes(fixture) where route.0 == .post {
                for type in ["text/plain", "multipart/form-data; boundary=x", ""] {
                    let answer = await browser.send(
                        .post, route.1, body: Array("{}".utf8), type: type)
                    #expect(answer.status == 415, "\(route) as \(type)")
                }
                // No method in disguise.
                let disguised = await browser.send(
                    .get, route.1 + "?_method=POST", more: [("x-http-method-override", "POST")])
                #expect([200, 303, 401, 403, 405].contains(disguised.status), "\(route)")
            }
            #expect(await fixture.isGood(browser.sessionToken))
        }
    }
}
