// Hosts and ports: one spelling each, and nothing that two parsers could read differently.

import GatehouseTestSupport
import GatehouseWeb
import Testing

@Suite struct AuthorityTests {
    private func host(_ text: String) -> String? {
        Authority(Array(text.utf8)).map { String(decoding: $0.host, as: UTF8.self) }
    }

    @Test(arguments: [
        "localhost", "a", "www.example.org", "xn--bcher-kva.example", "a-b.c-d", "1.example",
        "0x.example", "0xg", "1a", "127.0.0.1", "0.0.0.0", "255.255.255.255",
    ])
    func `names and addresses in their own spelling are kept`(_ text: String) {
        #expect(host(text) == text)
        #expect(Authority(Array(text.utf8))?.port == nil)
        #expect(Authority(Array((text + ":8443").utf8))?.port == 8443)
    }

    @Test func `the case of a name does not matter`() {
        #expect(host("WWW.Example.ORG") == "www.example.org")
        #expect(Authority(Array("A:1".utf8)) == Authority(Array("a:1".utf8)))
    }

    @Test(arguments: [
        "", ".", "a.", ".a", "a..b", "a.b.", "-a", "a-", "a.-b", "a-.b", "a_b", "a b", " a", "a ",
        "a\t", "a\r\n", "a\0", "a%2eb", "a@b", "a/b", "a\\b", "a?b", "a#b", "a,b", "a;b", "*.a",
        "bücher.example", "ａ.example", "a。b", "a\u{200B}", "\u{FEFF}a", "é", "e\u{301}",
    ])
    func `what is no name of letters, digits and hyphens is refused`(_ text: String) {
        #expect(host(text) == nil)
    }

    @Test(arguments: [
        "1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x", "0X7F.0.0.1", "127.0.0.0x1",
        "0177.0.0.1", "127.0.0.01", "127.0.0.256", "127.0.0.1.1", "a.1", "a.b.0x1f",
        "127.0.0.1000000000000000000000",
    ])
    func `a host that ends in a number is a plain IPv4 address or none`(_ text: String) {
        #expect(host(text) == nil)
    }

    @Test(arguments: [
        ("[::]", "[::]"), ("[::1]", "[::1]"), ("[1::]", "[1::]"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"), ("[2001:DB8::00a0]", "[2001:db8::a0]"),
        ("[1:0:0:2:0:0:0:3]", "[1:0:0:2::3]"), ("[1:0:0:2:3:0:0:4]", "[1::2:3:0:0:4]"),
        ("[1:0:2:3:4:5:6:7]", "[1:0:2:3:4:5:6:7]"), ("[1:2:3:4:5:6:7::]", "[1:2:3:4:5:6:7:0]"),
        ("[::2:3:4:5:6:7:8]", "[0:2:3:4:5:6:7:8]"), ("[ffff:0:0:0:0:0:0:0]", "[ffff::]"),
        ("[0:0:0:0:0:0:0:0]", "[::]"), ("[1:2::7:8]", "[1:2::7:8]"),
    ])
    func `an IPv6 address has its shortest spelling`(_ text: String, _ shortest: String) {
        #expect(host(text) == shortest)
        #expect(host(shortest) == shortest)
        #expect(Authority(Array((text + ":443").utf8))?.port == 443)
    }

    @Test(arguments: [
        "[]", "[", "]", "[:]", "[:::]", "[1]", "[::1", "::1", "[::1]]", "[[::1]]", "[1::2::3]",
        "[1:2:3:4:5:6:7]", "[1:2:3:4:5:6:7:8:9]", "[1:2:3:4:5:6:7:8::]", "[::1:2:3:4:5:6:7:8]",
        "[1:2:3:4:5:6:7:]", "[:1:2:3:4:5:6:7]", "[1:]", "[::12345]", "[::g]", "[::1%eth0]",
        "[::1%25eth0]", "[::ffff:127.0.0.1]", "[v1.a]", "[::1]a", "[::1].", "[:: 1]", "[localhost]",
    ])
    func `what is no IPv6 address is refused`(_ text: String) {
        #expect(host(text) == nil)
    }

    @Test(arguments: ["1", "80", "443", "8443", "65535"])
    func `a port is 1 to 65535`(_ digits: String) {
        #expect(Authority(Array("a:\(digits)".utf8))?.port == UInt16(digits))
    }

    @Test(arguments: [
        "", "0", "00", "080", "65536", "99999", "100000", "+80", "-1", " 80", "80 ", "8o", "80:80",
        "٣", "0x50", "1e3", "80\0",
    ])
    func `any other port is refused`(_ digits: String) {
        #expect(Authority(Array("a:\(digits)".utf8)) == nil)
    }

    @Test func `a label has at most 63 bytes and a name at most 253`() {
        let label = String(repeating: "a", count: 63)
        #expect(host(label) == label)
        #expect(host(label + "a") == nil)
        let name = "\(label).\(label).\(label)." + String(repeating: "b", count: 61)
        #expect(name.utf8.count == Authority.maximumHostBytes)
        #expect(host(name) == name)
        #expect(host(name + "b") == nil)
    }

    @Test(arguments: ["localhost", "127.0.0.1", "127.255.0.9", "[::1]", "LOCALHOST:1"])
    func `loopback is localhost and the loopback addresses`(_ text: String) throws {
        #expect(try #require(Authority(Array(text.utf8))).isLoopback)
    }

    @Test(arguments: [
        "localhost.example", "a.localhost", "127.example", "127.0.0.1.example", "128.0.0.1",
        "[::2]", "[::]", "0.0.0.0", "[::ffff:7f00:1]",
    ])
    func `nothing else is loopback`(_ text: String) throws {
        #expect(try !#require(Authority(Array(text.utf8))).isLoopback)
    }

    @Test func `no bytes stop the parser`() {
        var generator = SeededGenerator()
        let alphabet = Array("[]:.:-0123456789afgxX%@\0\u{FF}".utf8)
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0...24, using: &generator)).map { _ in
                alphabet.randomElement(using: &generator) ?? 0
            }
            guard let authority = Authority(bytes) else { continue }
            #expect(Authority(authority.host)?.host == authority.host, "\(generator.seed)")
        }
    }
}
