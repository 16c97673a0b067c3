// Whom to ask: what is taken as contact, the foot of the pages, and security.txt.

import GatehouseCore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

@Suite(.serialized) struct ContactTests {
    private static func uri(_ text: String) throws -> ContactURI {
        try #require(ContactURI(text), "\(text)")
    }

    @Test(arguments: [
        "mailto:privacy@example.org", "mailto:a+b@example.org?subject=x",
        "https://example.org/contact?x=1#y", "https://example.org:8443", "https://[::1]/",
        "tel:+49-30-1234", "tel:112", "https://" + String(repeating: "a", count: 63) + ".org",
    ])
    func `what people can be written or called by is taken`(_ text: String) {
        #expect(ContactURI(text)?.text == text)
    }

    @Test(arguments: [
        "", "privacy@example.org", "mailto:", "mailto:@example.org", "mailto:a@", "mailto:a@b@c",
        "http://example.org", "https://", "https:///x", "https://a b", "javascript:alert(1)",
        "data:text/html,x", "tel:", "tel:+", "tel:abc", "ftp://example.org", "HTTPS://example.org",
        "https://example.org/\"onclick=", "https://example.org/<b>", "https://example.org/\n",
        "https://exämple.org/", "https://user@example.org/",
        "https://example.org/" + String(repeating: "a", count: 237),
    ])
    func `nothing else is`(_ text: String) {
        #expect(ContactURI(text) == nil)
    }

    @Test func `the longest is taken`() {
        #expect(
            ContactURI("https://example.org/" + String(repeating: "a", count: 236)) != nil)
    }

    @Test func `people are shown an address, a number or words`() throws {
        for (text, shown, link) in [
            ("mailto:a@example.org?subject=x", "a@example.org", "mailto:a@example.org?subject=x"),
            ("tel:+49-30", "+49-30", "tel:+49-30"),
            ("https://example.org/x", "https://example.org/x", "https://example.org/x"),
            ("The office", "The office", nil),
        ] as [(String, String, String?)] {
            let contact = try #require(PeopleContact(text))
            #expect(contact.shown == shown && contact.link == link)
        }
    }

    @Test func `security_txt has what RFC 9116 asks for, in a fixed order`() throws {
        var security = SecurityContact()
        #expect(security.file(origin: Origin("https://a.example"), at: time(noon)) == nil)
        security.contacts = [
            try Self.uri("mailto:security@example.org"), try Self.uri("https://example.org/r"),
        ]
        #expect(
            security.file(origin: nil, at: time(0)) == """
                Contact: mailto:security@example.org
                Contact: https://example.org/r
                Expires: 1970-06-30T00:00:00Z

                """)
        security.languages = ["en", "pt-BR"]
        security.policy = try Self.uri("https://example.org/policy")
        #expect(
            security.file(origin: Origin("https://a.example"), at: time(86_399)) == """
                Contact: mailto:security@example.org
                Contact: https://example.org/r
                Expires: 1970-06-30T00:00:00Z
                Preferred-Languages: en, pt-BR
                Canonical: https://a.example/.well-known/security.txt
                Policy: https://example.org/policy

                """)
        // Section 2.5.5: less than a year ahead, and never past.
        #expect(SecurityContact.lifetimeSeconds < 365 * 86_400)
        #expect(SecurityContact.lifetimeSeconds > 2 * 86_400)
    }

    // Promise: contact
    @Test(arguments: ["/", "/auth"])
    func `security_txt is at the host's well-known place, whatever the base path`(
        _ base: String
    ) async throws {
        let clock = SettableClock()
        var security = SecurityContact()
        security.contacts = [try Self.uri("mailto:security@example.org")]
        let fixture = try await FrontFixture(
            basePath: base, security: security, clock: { clock.now })
        var browser = Browser(fixture)
        for age: Int64 in [0, 86_400 * 400] {
            try await fixture.advance(clock, age)
            let answer = await browser.get("/.well-known/security.txt")
            #expect(answer.status == 200)
            #expect(answer.contentType == "text/plain; charset=utf-8")
            #expect(answer.body.hasPrefix("Contact: mailto:security@example.org\nExpires: "))
            #expect(
                answer.body.contains("\nCanonical: https://app.example/.well-known/security.txt\n"))
            let expires = try #require(answer.body.firstMatch(of: /Expires: (\d{4})-(\d\d)-\d\d/))
            #expect(expires.1 == (age == 0 ? "2027" : "2028"), "\(answer.body)")
            #expect(answer.headers.allSatisfy { $0.0 != .setCookie })
        }
        let post = await browser.post("/.well-known/security.txt", [])
        #expect(post.status == 405)
        if base != "/" {
            #expect(await browser.get(base + "/.well-known/security.txt").status == 404)
        }
        await fixture.stop()
    }

    @Test func `without a contact there is no security_txt`() async throws {
        try await withDoor { (fixture, _) async throws in
            var browser = Browser(fixture)
            #expect(await browser.get("/.well-known/security.txt").status == 404)
        }
    }

    // Promise: contact
    @Test func `the foot of every page says whom to ask`() throws {
        for (text, html) in [
            (
                "mailto:a@example.org",
                "<a href=\"mailto:a@example.org\"><bdi>a@example.org</bdi></a>"
            ),
            ("Room 3 <b>", "<bdi>Room 3 &lt;b&gt;</bdi>"),
        ] {
            var settings = PageSettings()
            settings.contact = PeopleContact(text)
            let pages = try Pages(
                basePath: "/auth", host: "x", cookies: CookieNames(domain: nil),
                settings: settings)
            for kind in Page.Kind.allCases {
                var page = Page(kind: kind)
                page.link = "the-secret-of-a-link"
                let foot = try #require(
                    pages.render(page).split(separator: "<footer>", maxSplits: 1).last)
                #expect(foot.contains("Questions about your data: " + html), "\(kind)")
                #expect(foot.contains("<a href=\"/auth/cookies\">Cookies</a>"))
                #expect(!foot.contains("the-secret"), "\(kind)")
            }
        }
        let plain = try Pages(
            basePath: "", host: "x", cookies: CookieNames(domain: nil), settings: PageSettings())
        #expect(!plain.render(Page(kind: .login)).contains("Questions about"))
    }
}
