// The option `forward`: who is sent to come back with a session, and the way back.

import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseCheck

@Suite struct ForwardTests {
    private let fixture: CheckFixture
    private static let resume = "https://app.example/auth/resume"

    init() throws { fixture = try CheckFixture() }

    private func answer(
        _ harness: any CheckHarness, cookie: String = "X-Nothing: here",
        options: String = ",forward", _ headers: [String]
    ) async throws -> CheckAnswer {
        try await harness.answer(
            fixture.request("GET /check\(options) HTTP/1.1", cookie: cookie, headers: headers))
    }

    private static let navigation = "Sec-Fetch-Mode: navigate"

    private static func forwarded(
        _ uri: String = "/", proto: String = "https", host: String = "app.example"
    ) -> [String] {
        [
            navigation, "X-Forwarded-Proto: \(proto)", "X-Forwarded-Host: \(host)",
            "X-Forwarded-Uri: \(uri)",
        ]
    }

    @Test(arguments: HarnessKind.allCases)
    func `a browser that navigates is sent to resume, others are told 401`(
        _ kind: HarnessKind
    ) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            for headers in [
                [Self.navigation], [Self.navigation, "Accept: application/json"],
                ["Accept: text/html"], ["Accept: application/xml, Text/HTML,*/*;q=0.8"],
            ] {
                let answer = try await answer(harness, headers)
                #expect(answer.status == 302, "\(headers)")
                #expect(answer.headers["location"] == Self.resume)
                #expect(answer.reason == "absent")
                #expect(answer.namesNobody)
                #expect(answer.headers["www-authenticate"] == nil)
                #expect(answer.headers["cache-control"] == "no-store")
                #expect(!answer.closes)
            }
            for headers in [
                [], ["Sec-Fetch-Mode: cors"], ["Sec-Fetch-Mode: no-cors", "Accept: text/html"],
                ["Sec-Fetch-Mode: Navigate"], ["Sec-Fetch-Mode:", "Accept: text/html"],
                [Self.navigation, Self.navigation], ["Accept: */*"], ["Accept: text/html;q=0"],
                ["Accept: text/htmlx"], ["Accept: text/html", "Accept: text/html"],
                ["X-Sec-Fetch-Mode: navigate"],
            ] {
                let answer = try await answer(harness, headers)
                #expect(answer.status == 401, "\(headers)")
                #expect(answer.headers["location"] == nil)
                #expect(answer.headers["www-authenticate"] == "Gatehouse")
            }
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `every 401 is forwarded with its reason, and nothing else is`(
        _ kind: HarnessKind
    ) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            for (cookie, reason) in [
                (fixture.cookie("x"), "invalid"),
                (fixture.cookie(fixture.expiredToken), "expired"),
                (fixture.cookie(fixture.revokedToken), "revoked"),
            ] {
                let answer = try await answer(harness, cookie: cookie, [Self.navigation])
                #expect(answer.status == 302)
                #expect(answer.reason == reason)
            }
            let good = fixture.cookie(fixture.token)
            let stale = try fixture.cookie(.sample(authenticated: noon - 2))
            for (cookie, options, status) in [
                (good, ",forward", 200), (stale, ",forward,fresh=1", 403),
                (good, ",forward,level=3", 403), ("X-A: b", "", 401),
                ("X-A: b", "/,forward", 401), ("X-A: b", ",forward,optional", 200),
                ("X-A: b", ",optional,forward", 200), ("X-A: b", ",forward,bearer", 401),
            ] {
                let answer = try await answer(
                    harness, cookie: cookie, options: options, [Self.navigation])
                #expect(answer.status == status, "\(options)")
                #expect(answer.headers["location"] == nil)
            }
            fixture.lease.enter(.starting)
            let unknown = try await answer(harness, [Self.navigation])
            fixture.lease.enter(.serving)
            #expect(unknown.status == 503)
            #expect(unknown.headers["location"] == nil)
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `without a front door nobody is forwarded`(_ kind: HarnessKind) async throws {
        var settings = fixture.settings()
        settings.resumeURL = nil
        try await kind.run(fixture, settings: settings, trustsPeer: true) {
            (harness: any CheckHarness) async throws in
            let answer = try await answer(harness, Self.forwarded("no path"))
            #expect(answer.status == 401)
            #expect(answer.headers["location"] == nil)
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `a listed proxy tells the way back, percent-encoded whole`(
        _ kind: HarnessKind
    ) async throws {
        let cases = [
            ("/", "https", "app.example", "https%3A%2F%2Fapp.example%2F"),
            ("/a-b_c.d~e", "http", "10.0.0.1:8080", "http%3A%2F%2F10.0.0.1%3A8080%2Fa-b_c.d~e"),
            (
                "/a?b=c&d=e#f;g,h", "https", "[2001:db8::1]:443",
                "https%3A%2F%2F%5B2001%3Adb8%3A%3A1%5D%3A443%2Fa%3Fb%3Dc%26d%3De%23f%3Bg%2Ch"
            ),
            // What was encoded stays what it was.
            (
                "/%0d%0aset-cookie:%20x=y", "https", "a",
                "https%3A%2F%2Fa%2F%250d%250aset-cookie%3A%2520x%3Dy"
            ),
            ("//evil.example/", "https", "a", "https%3A%2F%2Fa%2F%2Fevil.example%2F"),
            (
                "/\"<>\\^`{|}'()*!$+@", "https", "A.EXAMPLE",
                "https%3A%2F%2FA.EXAMPLE%2F%22%3C%3E%5C%5E%60%7B%7C%7D%27%28%29%2A%21%24%2B%40"
            ),
        ]
        try await kind.run(fixture, trustsPeer: true) { (harness: any CheckHarness) async throws in
            for (uri, proto, host, encoded) in cases {
                let answer = try await answer(
                    harness, Self.forwarded(uri, proto: proto, host: host))
                #expect(answer.status == 302, "\(uri)")
                #expect(answer.headers["location"] == Self.resume + "?return_to=" + encoded)
                // No other line came of it: names are those of every such answer.
                #expect(
                    Set(answer.names)
                        == Set(
                            identityHeaders + [
                                "location", "content-length", "cache-control", "date",
                                "x-auth-reason",
                            ]))
            }
            // With one of the three missing there is no way back.
            for missing in 1...3 {
                var headers = Self.forwarded()
                headers.remove(at: missing)
                let answer = try await answer(harness, headers)
                #expect(answer.status == 302)
                #expect(answer.headers["location"] == Self.resume)
            }
        }
    }

    /// What a listed proxy can't have meant.
    private static let malformed: [[String]] =
        [
            "", "a", "a/b", "?x", "*", "http://a/", "/a b", "/a\tb", "/é", "/\u{A0}", "/a\u{2028}b",
            "\\/a",
        ].map { forwarded($0) }
        + ["", "HTTPS", "ftp", "javascript", "https:", "https://", "https, http", "wss", "on"].map {
            forwarded(proto: $0)
        }
        + [
            "", "a b", "a/b", "a\\b", "a@b", "a?b", "a#b", "a%b", "a,b", "a\"b", "é", "a\tb",
            "a;b", "*", "a&b", String(repeating: "a", count: 261),
        ].map { forwarded(host: $0) }
        + [
            forwarded() + ["X-Forwarded-Proto: https"], forwarded() + ["x-forwarded-host: evil"],
            forwarded() + ["X-FORWARDED-URI: /"],
            // Doubt counts also where there would be no way back.
            [navigation, "X-Forwarded-Uri: /a", "X-Forwarded-Uri: /b"],
        ]

    @Test(arguments: HarnessKind.allCases)
    func `a listed proxy's fields that can't be read are 400, and the connection closes`(
        _ kind: HarnessKind
    ) async throws {
        try await kind.run(fixture, trustsPeer: true) { (harness: any CheckHarness) async throws in
            for headers in Self.malformed {
                let refused = try await answer(harness, headers)
                #expect(refused.status == 400, "\(headers)")
                #expect(refused.closes)
                #expect(refused.headers["location"] == nil)
                #expect(refused.namesNobody)
            }
            // They matter only where they are read.
            for headers in Self.malformed {
                let scripted = headers.map {
                    $0 == Self.navigation ? "Sec-Fetch-Mode: cors" : $0
                }
                #expect(try await answer(harness, scripted).status == 401, "\(headers)")
            }
            let good = try await answer(
                harness, cookie: fixture.cookie(fixture.token), Self.malformed[0])
            #expect(good.status == 200)
        }
    }

    @Test(arguments: HarnessKind.allCases.filter { !$0.isUnix })
    func `a peer that is not listed is believed nothing`(_ kind: HarnessKind) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            for headers in Self.malformed + [Self.forwarded()] {
                let answer = try await answer(harness, headers)
                #expect(answer.status == 302, "\(headers)")
                #expect(answer.headers["location"] == Self.resume)
            }
        }
    }

    @Test(arguments: HarnessKind.allCases.filter(\.isUnix))
    func `the peer of a Unix socket counts as listed`(_ kind: HarnessKind) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            let answer = try await answer(harness, Self.forwarded("/a"))
            #expect(
                answer.headers["location"]
                    == Self.resume + "?return_to=https%3A%2F%2Fapp.example%2Fa")
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `a way back of 2048 bytes is kept, one byte more begins at the entrance`(
        _ kind: HarnessKind
    ) async throws {
        try await kind.run(fixture, trustsPeer: true) { (harness: any CheckHarness) async throws in
            func location(_ count: Int) async throws -> String? {
                let path = "/" + String(repeating: "a", count: count - 1)
                let answer = try await answer(harness, Self.forwarded(path))
                #expect(answer.status == 302)
                return answer.headers["location"]
            }
            let whole = Self.resume + "?return_to=https%3A%2F%2Fapp.example%2F"
            #expect(
                try await location(2048) == whole + String(repeating: "a", count: 2047))
            #expect(try await location(2049) == Self.resume)
        }
    }

    @Test(arguments: HarnessKind.allCases)
    func `a host of 260 bytes is read`(_ kind: HarnessKind) async throws {
        try await kind.run(fixture, trustsPeer: true) { (harness: any CheckHarness) async throws in
            let host = String(repeating: "a", count: 260)
            let answer = try await answer(harness, Self.forwarded(host: host))
            #expect(
                answer.headers["location"]
                    == Self.resume + "?return_to=https%3A%2F%2F\(host)%2F")
        }
    }
}
