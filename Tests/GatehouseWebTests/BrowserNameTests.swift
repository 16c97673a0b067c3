// What a browser calls itself, and the network that it is in.

import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseWeb

@Suite struct BrowserNameTests {
    private static let chrome = "(KHTML, like Gecko) Chrome/140.0.0.0"

    @Test(
        arguments: [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Firefox on Linux"
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) \(chrome) Safari/537.36",
                "Chrome on Windows"
            ),
            ("Mozilla/5.0 (Windows NT 10.0) \(chrome) Safari/537.36 Edg/140.0", "Edge on Windows"),
            ("Mozilla/5.0 (Windows NT 10.0) \(chrome) Safari/537.36 OPR/120", "Opera on Windows"),
            ("Mozilla/5.0 (Linux; Android 15) \(chrome) Mobile Safari/537.36", "Chrome on Android"),
            (
                "Mozilla/5.0 (Linux; Android 15) SamsungBrowser/27.0 Chrome/140",
                "Samsung Internet on Android"
            ),
            ("Mozilla/5.0 (X11; CrOS x86_64 1) \(chrome) Safari/537.36", "Chrome on ChromeOS"),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) Version/18.0 Safari/605.1",
                "Safari on macOS"
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1",
                "Safari on iOS"
            ),
            (
                "Mozilla/5.0 (iPad; CPU OS 18_0 like Mac OS X) CriOS/140 Safari/604.1",
                "Chrome on iPadOS"
            ),
            ("curl/8.5.0", "curl"), ("Something (Linux)", "Linux"), ("Unknown/1", nil), ("", nil),
            (String(repeating: "x", count: 504) + "Firefox/", "Firefox"),
            (String(repeating: "x", count: 505) + "Firefox/", nil),
        ] as [(String, String?)])
    func `a browser has a short name`(_ field: String, _ label: String?) {
        #expect(BrowserName.label([Array(field.utf8)]) == label)
    }

    @Test func `two names are none, and bytes of any kind are no name`() {
        let firefox = Array("Firefox/1 Linux".utf8)
        #expect(BrowserName.label([firefox, firefox]) == nil)
        #expect(BrowserName.label([]) == nil)
        #expect(BrowserName.label([[0xFF, 0x00, 0xC3]]) == nil)
    }

    @Test(arguments: [
        ("203.0.113.7", "203.0.113.0/24"), ("::ffff:203.0.113.7", "203.0.113.0/24"),
        ("255.255.255.255", "255.255.255.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("::1", "0:0:0::/48"),
    ])
    func `a place is a network, never an address`(_ address: String, _ network: String) {
        #expect(AddressPrefix(Array(address.utf8))?.network == network)
    }
}
