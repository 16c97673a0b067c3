// Origins: as operators write them, as browsers send them, and which ones are accepted.

import GatehouseTestSupport
import GatehouseWeb
import Testing

@Suite struct OriginTests {
    private func header(_ text: String) -> Origin? { Origin(header: Array(text.utf8)) }

    @Test(arguments: [
        ("https://www.example.org", "https://www.example.org"),
        ("https://www.example.org:443", "https://www.example.org"),
        ("http://www.example.org:80", "http://www.example.org"),
        ("http://www.example.org:443", "http://www.example.org:443"),
        ("https://www.example.org:80", "https://www.example.org:80"),
        ("HTTPS://WWW.Example.ORG", "https://www.example.org"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("https://[0:0:0:0:0:0:0:1]", "https://[::1]"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ])
    func `an operator's spelling becomes the browser's`(_ written: String, _ text: String) throws {
        let origin = try #require(Origin(written))
        #expect(origin.text == text)
        #expect(Origin(text) == origin)
        #expect(header(text) == origin)
        #expect((header(written) != nil) == (written == text))
    }

    @Test func `an origin has its parts`() throws {
        let origin = try #require(Origin("https://[2001:db8::1]:8443"))
        #expect(origin.scheme == .https)
        #expect(origin.host == "[2001:db8::1]")
        #expect(origin.port == 8443)
        #expect(Origin("http://a")?.port == 80)
        #expect(Origin("https://a")?.port == 443)
    }

    @Test func `scheme, host and port each make another origin`() {
        let origins = [
            "https://a.example", "http://a.example", "https://b.example", "https://a.example:8443",
            "http://a.example:443", "https://a.example:80",
        ].map { Origin($0) }
        #expect(Set(origins).count == 6)
        #expect(!origins.contains(nil))
    }

    @Test(arguments: [
        "", "null", "NULL", "www.example.org", "//www.example.org", "https:", "https://",
        "https:www.example.org", "https:/www.example.org", "https://www.example.org/",
        "https://www.example.org/a", "https://www.example.org?", "https://www.example.org#",
        "https://a@www.example.org", "https://a:b@www.example.org", "https://www.example.org.",
        "https://www.example.org:", "https://www.example.org:0", "https://www.example.org:0443",
        "ftp://www.example.org", "file://", "ws://www.example.org", " https://www.example.org",
        "https://www.example.org ", "https://www.example.org\r\n", "https://bücher.example",
        "https://www.example.org,https://www.example.org",
        "https://www.example.org https://www.example.org", "https://*.example.org",
    ])
    func `what is no origin is refused from both`(_ text: String) {
        #expect(Origin(text) == nil)
        #expect(header(text) == nil)
    }

    @Test func `bytes that are no text are no origin`() {
        #expect(Origin(header: Array("https://a".utf8) + [0xFF]) == nil)
        #expect(Origin(header: Array("https://a".utf8) + [0x00]) == nil)
    }

    @Test func `the longest origin is read, and nothing longer looked at`() throws {
        let label = String(repeating: "a", count: 63)
        let host = "\(label).\(label).\(label)." + String(repeating: "b", count: 61)
        let text = "https://\(host):65535"
        #expect(text.utf8.count == Origin.maximumBytes)
        #expect(try #require(Origin(text)).text == text)
        #expect(header(text) != nil)
        #expect(Origin(text + "5") == nil)
        #expect(header(text + "5") == nil)
    }

    @Test func `loopback is told`() {
        #expect(Origin("http://localhost:1")?.isLoopback == true)
        #expect(Origin("https://[::1]")?.isLoopback == true)
        #expect(Origin("https://www.example.org")?.isLoopback == false)
    }

    @Test func `only what is listed is allowed`() throws {
        let allowed = AllowedOrigins([
            try #require(Origin("https://a.example")), try #require(Origin("https://b.example:1")),
        ])
        for text in ["https://a.example", "https://b.example:1"] {
            #expect(allowed.contains(try #require(Origin(text))))
        }
        for text in ["http://a.example", "https://b.example", "https://localhost"] {
            #expect(!allowed.contains(try #require(Origin(text))))
        }
    }

    @Test func `development allows three hosts at any port, with TLS`() throws {
        let allowed = AllowedOrigins([], acceptsDevelopment: true)
        for text in [
            "https://localhost", "https://localhost:1", "https://127.0.0.1:65535",
            "https://[::1]:8443",
        ] {
            #expect(allowed.contains(try #require(Origin(text))))
        }
        for text in [
            "http://localhost", "http://127.0.0.1:8443", "https://127.0.0.2", "https://[::2]",
            "https://a.localhost", "https://localhost.example", "https://www.example.org",
        ] {
            #expect(!allowed.contains(try #require(Origin(text))))
        }
    }
}
