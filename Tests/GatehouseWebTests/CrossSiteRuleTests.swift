// Cross-site requests: every combination of what the headers may say
// (REQUIREMENTS section 10, item 39).

import GatehouseTestSupport
import GatehouseWeb
import Testing

/// Sec-Fetch-Site fields, and why they alone decide against a request.
private let fetchSites: [(values: [String], refusal: CrossSiteRefusal?)] = [
    (["same-origin"], nil),
    (["same-site"], .fetchSiteSameSite), (["cross-site"], .fetchSiteCrossSite),
    (["none"], .fetchSiteNone), ([""], .fetchSiteUnknown), (["Same-Origin"], .fetchSiteUnknown),
    ([" same-origin"], .fetchSiteUnknown), (["same-origin "], .fetchSiteUnknown),
    (["same-origin, same-origin"], .fetchSiteUnknown), (["same-origin\0"], .fetchSiteUnknown),
    (["same-origin;a=b"], .fetchSiteUnknown), (["\"same-origin\""], .fetchSiteUnknown),
    (["ｓame-origin"], .fetchSiteUnknown), (["same-origins"], .fetchSiteUnknown),
    (["same-origin", "same-origin"], .fetchSiteRepeated),
    (["same-origin", "cross-site"], .fetchSiteRepeated),
    (["cross-site", "same-origin"], .fetchSiteRepeated), (["", ""], .fetchSiteRepeated),
]

/// Origin fields, and why they decide against a request without Sec-Fetch-Site.
private let origins: [(values: [String], refusal: CrossSiteRefusal?)] = [
    (["https://www.example.org"], nil), (["https://app.example.org:8443"], nil),
    (["null"], .originNull), ([""], .originMalformed), (["NULL"], .originMalformed),
    (["https://evil.example"], .originForeign),
    // A sibling of the same site, its parent, a host below it, and look-alikes.
    (["https://other.example.org"], .originForeign), (["https://example.org"], .originForeign),
    (["https://a.www.example.org"], .originForeign),
    (["https://www.example.org.evil.example"], .originForeign),
    // The same host with another scheme or port.
    (["http://www.example.org"], .originForeign),
    (["https://www.example.org:8443"], .originForeign),
    (["http://www.example.org:443"], .originForeign), (["https://app.example.org"], .originForeign),
    (["https://localhost:8443"], .originForeign), (["https://127.0.0.1"], .originForeign),
    (["https://[::1]:1"], .originForeign),
    // Spellings that no browser sends.
    (["https://www.example.org."], .originMalformed),
    (["https://www.example.org/"], .originMalformed),
    (["https://www.example.org:443"], .originMalformed),
    (["HTTPS://www.example.org"], .originMalformed),
    (["https://WWW.example.org"], .originMalformed),
    (["https://a@www.example.org"], .originMalformed), (["www.example.org"], .originMalformed),
    (["https://www.example.org https://www.example.org"], .originMalformed),
    (["https://www.example.org, https://www.example.org"], .originMalformed),
    (["https://www.example.org\0"], .originMalformed), (["file://"], .originMalformed),
    (["chrome-extension://abcdefghijklmnop"], .originMalformed),
    (["https://www.example.org", "https://www.example.org"], .originRepeated),
    (["https://www.example.org", "https://evil.example"], .originRepeated),
    (["https://evil.example", "https://www.example.org"], .originRepeated),
    (["null", "null"], .originRepeated),
]

@Suite struct CrossSiteRuleTests {
    private let rule: CrossSiteRule

    init() throws {
        rule = CrossSiteRule(
            AllowedOrigins([
                try #require(Origin("https://www.example.org")),
                try #require(Origin("https://app.example.org:8443")),
            ]))
    }

    private func outcome(
        _ fetchSites: [String], _ origins: [String], _ body: BodyKind,
        cookies: Bool, rule: CrossSiteRule? = nil
    ) -> CrossSiteOutcome {
        (rule ?? self.rule).judge(
            CrossSiteRule.Request(
                fetchSites: fetchSites.map { Array($0.utf8) },
                origins: origins.map { Array($0.utf8) }, body: body, carriesOurCookies: cookies))
    }

    /// Every body, with and without cookies: neither matters once a browser has said where a
    /// request comes from.
    private func expectAll(
        _ fetchSites: [String], _ origins: [String], _ refusal: CrossSiteRefusal?
    ) {
        for body in BodyKind.allCases {
            for cookies in [false, true] {
                #expect(
                    outcome(fetchSites, origins, body, cookies: cookies)
                        == (refusal.map { .refused($0) } ?? .allowed),
                    "\(fetchSites) \(origins) \(body) cookies: \(cookies)")
            }
        }
    }

    @Test func `Sec-Fetch-Site decides when it is there, whatever Origin says`() {
        for site in fetchSites {
            expectAll(site.values, [], site.refusal)
            for origin in origins { expectAll(site.values, origin.values, site.refusal) }
        }
    }

    @Test func `Origin decides when Sec-Fetch-Site is not there`() {
        for origin in origins { expectAll([], origin.values, origin.refusal) }
    }

    @Test func `a form with neither header is refused`() {
        #expect(outcome([], [], .form, cookies: false) == .refused(.formUnattributed))
        #expect(outcome([], [], .form, cookies: true) == .refused(.formUnattributed))
    }

    @Test func `JSON with neither header is a program, unless it carries our cookies`() {
        #expect(outcome([], [], .json, cookies: false) == .allowed)
        #expect(outcome([], [], .json, cookies: true) == .refused(.cookiesUnattributed))
    }

    @Test func `every refusal is met`() {
        let met =
            fetchSites.map(\.refusal) + origins.map(\.refusal)
            + [.formUnattributed, .cookiesUnattributed]
        #expect(Set(met.compactMap { $0 }) == Set(CrossSiteRefusal.allCases))
    }

    @Test func `development accepts this machine's origins with TLS, and no others`() {
        let rule = CrossSiteRule(AllowedOrigins([], acceptsDevelopment: true))
        func outcome(_ origin: String) -> CrossSiteOutcome {
            self.outcome([], [origin], .form, cookies: true, rule: rule)
        }
        for origin in ["https://localhost:8443", "https://127.0.0.1:1", "https://[::1]"] {
            #expect(outcome(origin) == .allowed)
        }
        for origin in [
            "http://localhost:8443", "http://127.0.0.1", "https://evil.example",
            "https://localhost.evil.example", "https://127.0.0.2:8443",
        ] {
            #expect(outcome(origin) == .refused(.originForeign))
        }
        #expect(outcome("null") == .refused(.originNull))
        #expect(outcome("https://localhost.:8443") == .refused(.originMalformed))
        #expect(
            self.outcome(
                ["same-site"], ["https://localhost:8443"], .form, cookies: true, rule: rule)
                == .refused(.fetchSiteSameSite))
        #expect(
            self.outcome([], [], .form, cookies: false, rule: rule)
                == .refused(.formUnattributed))
    }
}
