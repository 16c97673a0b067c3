// The option `renew`: when a check sets a cookie, and what that cookie says.

import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseCheck

@Suite struct RenewTests {
    private var fixture: CheckFixture

    init() throws { fixture = try CheckFixture() }

    /// A session whose token is due to be renewed: sealed 300 s ago.
    private static let due = Claims.sample(
        session: 9, user: 8, name: "zoë", epoch: 3, issued: noon - 300, authenticated: noon - 400,
        idle: noon + 3300, methods: [.password, .oneTimeCode], level: .secondFactor)

    private func answer(
        _ harness: any CheckHarness, _ claims: Claims = due, options: String = ",renew",
        headers: [String] = []
    ) async throws -> CheckAnswer {
        try await harness.answer(
            fixture.request(
                "GET /check\(options)/x HTTP/1.1", cookie: fixture.cookie(claims),
                headers: headers))
    }

    private func setsCookie(
        _ harness: any CheckHarness, _ claims: Claims = due, options: String = ",renew",
        headers: [String] = []
    ) async throws -> Bool {
        let answer = try await answer(harness, claims, options: options, headers: headers)
        // Whatever becomes of the cookie, the session is good.
        #expect(answer.status == 200)
        return answer.headers["set-cookie"] != nil
    }

    /// The token in a `Set-Cookie` whose attributes are exactly these.
    private func token(
        _ answer: CheckAnswer, attributes: String = "; Path=/; Secure; HttpOnly; SameSite=Lax",
        name: String = CheckFixture.cookieName
    ) throws -> String {
        let value = try #require(answer.headers["set-cookie"])
        #expect(value.hasPrefix(name + "="))
        #expect(value.hasSuffix(attributes))
        let token = value.dropFirst(name.count + 1).dropLast(attributes.count)
        #expect(!token.contains(";"))
        return String(token)
    }

    @Test(arguments: HarnessKind.allCases)
    func `the new cookie is the same session, sealed anew and used until now`(
        _ kind: HarnessKind
    ) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let old = Self.due
            let first = try await answer(harness)
            #expect(first.status == 200)
            #expect(first.headers["x-auth-session"] == old.session.text)
            #expect(first.headers["x-auth-time"] == "\(noon - 400)", "no new proof")
            #expect(first.headers["cache-control"] == "no-store")
            let text = try token(first)
            let claims = try #require(try fixture.opened(text))
            #expect(claims.session == old.session)
            #expect(claims.user == old.user)
            #expect(claims.username == old.username)
            #expect(claims.epoch == old.epoch)
            #expect(claims.authenticated == old.authenticated)
            #expect(claims.absoluteDeadline == old.absoluteDeadline)
            #expect(claims.methods == old.methods)
            #expect(claims.level == old.level)
            #expect(claims.isRemembered == old.isRemembered)
            #expect(claims.issued == time(noon))
            #expect(claims.idleDeadline == time(noon + 3600))

            // Nonces are new each time: bytes 5 to 28 of a token.
            let second = try token(try await answer(harness))
            let nonces = try [text, second].map {
                try #require(Base64URL.bytes(Array($0.utf8)))[5..<29]
            }
            #expect(nonces[0] != nonces[1])

            // It is accepted, and not due again.
            let again = try await harness.answer(
                fixture.request("GET /check,renew HTTP/1.1", cookie: fixture.cookie(text)))
            #expect(again.status == 200)
            #expect(again.headers["x-auth-session"] == old.session.text)
            #expect(again.headers["set-cookie"] == nil)
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `a token is renewed from its age on, and only when asked`(
        _ kind: HarnessKind
    ) async throws {
        var settings = fixture.settings()
        settings.renewal.afterSeconds = 120
        try await kind.run(fixture, settings: settings) {
            (harness: any CheckHarness) async throws in
            let young = Claims.sample(issued: noon - 119, idle: noon + 3481)
            let old = Claims.sample(issued: noon - 120, idle: noon + 3480)
            #expect(try await !setsCookie(harness, young))
            #expect(try await setsCookie(harness, old))
            #expect(try await !setsCookie(harness, old, options: ""))
            #expect(try await !setsCookie(harness, old, options: "/,renew"))
            #expect(
                try await setsCookie(harness, old, options: ",renew,optional,forward,fresh=900"))
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `a passive check renews nothing, nor one of a bearer`(_ kind: HarnessKind) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            #expect(try await !setsCookie(harness, options: ",renew,passive"))
            #expect(try await !setsCookie(harness, options: ",passive,renew"))
            let bearer = try await harness.answer(
                fixture.request(
                    "GET /check,renew,bearer HTTP/1.1",
                    cookie: fixture.bearer(Self.due) + "\r\n" + fixture.cookie(Self.due)))
            #expect(bearer.status == 200)
            #expect(bearer.headers["set-cookie"] == nil)
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `only what is asked for as a document gets a cookie`(_ kind: HarnessKind) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            for headers in [
                [], ["Sec-Fetch-Dest: document"], ["SEC-FETCH-DEST:document"],
                ["Sec-Fetch-Mode: cors", "sec-fetch-dest: \tdocument "],
                ["X-Sec-Fetch-Dest: image"],
            ] { #expect(try await setsCookie(harness, headers: headers), "\(headers)") }
            for headers in [
                ["Sec-Fetch-Dest: image"], ["Sec-Fetch-Dest: empty"], ["Sec-Fetch-Dest: iframe"],
                ["Sec-Fetch-Dest: script"], ["Sec-Fetch-Dest:"], ["Sec-Fetch-Dest: Document"],
                ["Sec-Fetch-Dest: documents"], ["Sec-Fetch-Dest: image, document"],
                ["Sec-Fetch-Dest: document", "Sec-Fetch-Dest: document"],
                ["Sec-Fetch-Dest: document", "sec-fetch-dest: image"],
            ] { #expect(try await !setsCookie(harness, headers: headers), "\(headers)") }
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `a session that is not good, or not enough, is not renewed`(
        _ kind: HarnessKind
    ) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let cases: [(claims: Claims, options: String, status: Int)] = [
                (.sample(issued: noon - 4000, idle: noon), ",renew", 401),
                (.sample(session: 66, issued: noon - 300), ",renew", 401),
                (.sample(session: 66, issued: noon - 300), ",renew,optional", 200),
                (.sample(issued: noon - 300), ",renew,level=3", 403),
                (.sample(issued: noon - 300, authenticated: noon - 300), ",renew,fresh=9", 403),
            ]
            for (claims, options, status) in cases {
                let answer = try await answer(harness, claims, options: options)
                #expect(answer.status == status, "\(options)")
                #expect(answer.headers["set-cookie"] == nil)
            }
            fixture.lease.enter(.starting)
            let unknown = try await answer(harness)
            fixture.lease.enter(.serving)
            #expect(unknown.status == 503)
            #expect(unknown.headers["set-cookie"] == nil)
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `the absolute deadline stands, and nothing is sealed that gains nothing`(
        _ kind: HarnessKind
    ) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let late = Claims.sample(
                issued: noon - 300, idle: noon + 500, absolute: noon + 1000)
            let text = try token(try await answer(harness, late))
            let claims = try #require(try fixture.opened(text))
            #expect(claims.idleDeadline == time(noon + 1000))
            #expect(claims.absoluteDeadline == time(noon + 1000))
            let last = Claims.sample(issued: noon - 300, idle: noon + 1000, absolute: noon + 1000)
            #expect(try await !setsCookie(harness, last))
            // A longer idle limit of before is not cut.
            let long = Claims.sample(issued: noon - 300, idle: noon + 7200)
            #expect(try await !setsCookie(harness, long))
            // A remembered session is renewed as such.
            let remembered = Claims.sample(
                issued: noon - 300, idle: noon + 60, methods: [], level: .remembered,
                isRemembered: true)
            let renewed = try #require(
                try fixture.opened(try token(try await answer(harness, remembered))))
            #expect(renewed.isRemembered)
            #expect(renewed.level == .remembered)
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `the cookie is for the configured name and domain`(_ kind: HarnessKind) async throws {
        var settings = fixture.settings()
        settings.cookieName = "__Secure-gatehouse"
        settings.cookieDomain = "example.org"
        try await kind.run(fixture, settings: settings) {
            (harness: any CheckHarness) async throws in
            let cookie = try fixture.cookie(Self.due)
                .replacing(CheckFixture.cookieName, with: "__Secure-gatehouse")
            let answer = try await harness.answer(
                fixture.request("GET /check,renew HTTP/1.1", cookie: cookie))
            let text = try token(
                answer,
                attributes: "; Path=/; Secure; HttpOnly; SameSite=Lax; Domain=example.org",
                name: "__Secure-gatehouse")
            #expect(try fixture.opened(text)?.session == Self.due.session)
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `while no key seals, a good session stays good without a cookie`(
        _ kind: HarnessKind
    ) async throws {
        var fixture = fixture
        let key = try #require(fixture.ring.active)
        let retiring = TokenKey(
            id: key.id, state: .retiring, created: key.created, activated: key.activated,
            ended: time(noon), secret: key.secret)
        // What an emergency leaves.
        let next = try #require(
            try fixture.ring.addingPendingKey(at: time(noon), entropy: .system).pending)
        fixture.snapshot = CheckSnapshot(
            keyring: try Keyring(version: 2, keys: [retiring, next]), revocations: .empty)
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            #expect(try await !setsCookie(harness))
        }
    }

    /// Another node has activated a key that this one holds as pending: it opens, and is left to the
    /// nodes that have the newer ring.
    @Test(arguments: HarnessKind.allCases)
    func `a token under a key that is pending here is good, and not renewed under the older one`(
        _ kind: HarnessKind
    ) async throws {
        var fixture = fixture
        let behind = try fixture.ring.addingPendingKey(at: time(noon), entropy: .system)
        let ahead = try behind.activatingPendingKeys(at: time(noon))
        fixture.snapshot = CheckSnapshot(keyring: behind, revocations: .empty)
        let cipher = try TokenCipher(keyring: ahead, audience: audience(), purposes: [.session])
        let token = String(
            decoding: try cipher.sealSession(Self.due, transport: .cookie, entropy: .system),
            as: UTF8.self)
        try await kind.run(fixture) { [fixture] (harness: any CheckHarness) async throws in
            for (cookie, isRenewed) in [
                (fixture.cookie(token), false), (try fixture.cookie(Self.due), true),
                (fixture.cookie(token), false),
            ] {
                let answer = try await harness.answer(
                    fixture.request("GET /check,renew HTTP/1.1", cookie: cookie))
                #expect(answer.status == 200)
                #expect((answer.headers["set-cookie"] != nil) == isRenewed)
            }
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `a node that has seen a ring that it can't take up renews nothing until it can`(
        _ kind: HarnessKind
    ) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            fixture.lease.stopSealing()
            #expect(try await !setsCookie(harness))
            fixture.lease.allowSealing()
            #expect(try await setsCookie(harness))
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `pipelined requests are renewed each for itself`(_ kind: HarnessKind) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let requests = try [",renew", "", ",renew"].map { options in
                try fixture.request(
                    "GET /check\(options) HTTP/1.1", cookie: fixture.cookie(Self.due))
            }
            let answers = try await harness.answers(requests.joined())
            #expect(answers.map(\.status) == [200, 200, 200])
            #expect(answers.map { $0.headers["set-cookie"] != nil } == [true, false, true])
        }
    }
}
