// The Host a request names (REQUIREMENTS section 10, item 42).

import GatehouseTestSupport
import GatehouseWeb
import Testing

@Suite struct HostRuleTests {
    private let rule: HostRule
    private let development = HostRule(AllowedOrigins([], acceptsDevelopment: true))

    init() throws {
        rule = HostRule(
            AllowedOrigins([
                try #require(Origin("https://www.example.org")),
                try #require(Origin("https://app.example.org:8443")),
                try #require(Origin("http://intranet.example.org")),
                try #require(Origin("https://[2001:db8::1]:8443")),
            ]))
    }

    private func judge(_ rule: HostRule, _ values: String...) -> HostOutcome {
        rule.judge(values.map { Array($0.utf8) })
    }

    @Test(arguments: [
        "www.example.org", "www.example.org:443", "WWW.Example.ORG", "app.example.org:8443",
        "intranet.example.org", "intranet.example.org:80", "[2001:db8::1]:8443",
        "[2001:DB8:0::1]:8443",
    ])
    func `a configured host and port is ours`(_ value: String) {
        #expect(judge(rule, value) == .allowed)
    }

    @Test(arguments: [
        "evil.example", "example.org", "www.example.org.evil.example", "xwww.example.org",
        "www.example.org:8443", "www.example.org:80", "app.example.org", "app.example.org:443",
        "intranet.example.org:443", "[2001:db8::1]", "[2001:db8::2]:8443", "localhost",
        "127.0.0.1", "[::1]", "localhost:8443",
    ])
    func `another host or port is foreign`(_ value: String) {
        #expect(judge(rule, value) == .refused(.foreign))
    }

    @Test(arguments: [
        "", " ", "www.example.org.", "www.example.org.:443", "www_example.org", "www.example.org:",
        "www.example.org:0", "www.example.org:0443", "www.example.org:443:443",
        "www.example.org, evil.example", "www.example.org,www.example.org",
        "www.example.org www.example.org", "www.example.org@evil.example",
        "evil.example@www.example.org", "https://www.example.org", "www.example.org/",
        "www.example.org/a", "www.example.org?", "www.example.org#", "www.example.org\\",
        "www.example.org%00", "www.example.org\r\nX: y", "www.example.org\0", "[::1", "2001:db8::1",
        "ｗww.example.org", "www.example。org",
    ])
    func `a malformed host is refused`(_ value: String) {
        #expect(judge(rule, value) == .refused(.malformed))
        #expect(judge(development, value) == .refused(.malformed))
    }

    @Test func `a request names one host`() {
        #expect(judge(rule) == .refused(.missing))
        #expect(judge(rule, "www.example.org", "www.example.org") == .refused(.repeated))
        #expect(judge(rule, "www.example.org", "evil.example") == .refused(.repeated))
        #expect(judge(rule, "evil.example", "www.example.org") == .refused(.repeated))
        #expect(judge(rule, "www.example.org", "") == .refused(.repeated))
    }

    @Test(arguments: [
        "localhost", "localhost:1", "LocalHost:8443", "127.0.0.1", "127.0.0.1:65535", "[::1]",
        "[::1]:8443", "[0:0:0:0:0:0:0:1]:8443",
    ])
    func `during development this machine is ours at any port`(_ value: String) {
        #expect(judge(development, value) == .allowed)
    }

    @Test(arguments: [
        "127.0.0.2", "[::2]", "0.0.0.0", "a.localhost", "localhost.example",
        "localhost.evil.example",
        "127.0.0.1.example", "www.example.org",
    ])
    func `during development nothing else is`(_ value: String) {
        #expect(judge(development, value) == .refused(.foreign))
    }

    @Test func `each refusal has its status`() {
        for refusal in HostRefusal.allCases {
            #expect(refusal.status == (refusal == .foreign ? 421 : 400))
        }
    }
}
