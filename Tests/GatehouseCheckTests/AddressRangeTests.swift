// Ranges of addresses: how they are read, and what is in them.

import GatehouseSystem
import Testing

struct AddressRangeTests {
    private static func contains(_ range: String, _ address: String) throws -> Bool {
        try AddressRange(range).contains(try #require(IPAddress(address), "\(address)"))
    }

    @Test(arguments: [
        // The whole of a family, and not the other.
        ("0.0.0.0/0", "0.0.0.0", true), ("0.0.0.0/0", "255.255.255.255", true),
        ("0.0.0.0/0", "::1", false), ("0.0.0.0/0", "::", false),
        ("::/0", "::", true), ("::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
        ("::/0", "127.0.0.1", false), ("::/0", "::ffff:127.0.0.1", false),
        // One address.
        ("192.0.2.1", "192.0.2.1", true), ("192.0.2.1", "192.0.2.0", false),
        ("192.0.2.1/32", "192.0.2.1", true), ("192.0.2.1/32", "192.0.2.3", false),
        ("::1", "::1", true), ("::1/128", "::1", true), ("::1/128", "::", false),
        ("::1", "0.0.0.1", false),
        // On both sides of a length.
        ("10.0.0.0/8", "10.255.255.255", true), ("10.0.0.0/8", "11.0.0.0", false),
        ("10.0.0.0/8", "9.255.255.255", false), ("128.0.0.0/1", "128.0.0.0", true),
        ("128.0.0.0/1", "127.255.255.255", false), ("192.0.2.2/31", "192.0.2.3", true),
        ("192.0.2.2/31", "192.0.2.4", false), ("192.0.2.2/31", "192.0.2.1", false),
        ("2001:db8::/32", "2001:db8:ffff::", true), ("2001:db8::/32", "2001:db9::", false),
        ("2001:db8::/65", "2001:db8::7fff:ffff:ffff:ffff", true),
        ("2001:db8::/65", "2001:db8::8000:0:0:0", false), ("fe80::/10", "febf::1", true),
        ("fe80::/10", "fec0::1", false), ("8000::/1", "7fff::", false),
        ("2001:db8::2/127", "2001:db8::3", true), ("2001:db8::2/127", "2001:db8::1", false),
        // IPv4 as a socket for both families shows it, and so written.
        ("10.0.0.0/8", "::ffff:10.1.2.3", true), ("10.0.0.0/8", "::ffff:a01:203", true),
        ("10.0.0.0/8", "::ffff:11.1.2.3", false), ("10.0.0.0/8", "::10.1.2.3", false),
        ("10.0.0.0/8", "64:ff9b::10.1.2.3", false),
        ("::ffff:10.0.0.0/104", "10.1.2.3", true), ("::ffff:10.0.0.0/104", "11.1.2.3", false),
        ("::ffff:0:0/96", "203.0.113.9", true), ("::ffff:0:0/96", "::1", false),
        ("::ffff:10.0.0.1", "10.0.0.1", true), ("::ffff:10.0.0.1/128", "10.0.0.2", false),
        // By which interface one gets there is not the peer's to say.
        ("fe80::/10", "fe80::1%eth0", true), ("fe80::1", "fe80::1%2", true),
        ("fe80::1", "fe80::2%eth0", false),
    ])
    func `an address is in a range when it begins with its bits`(
        _ range: String, _ address: String, _ isIn: Bool
    ) throws {
        #expect(try Self.contains(range, address) == isIn)
    }

    @Test(
        arguments: [
            ("", .noAddress), ("/8", .noAddress), ("localhost", .noAddress),
            ("10.0.0/8", .noAddress),
            ("10.0.0.256", .noAddress), ("010.0.0.1", .noAddress), ("10.0.0.1:80", .noAddress),
            ("[::1]", .noAddress), (" 10.0.0.1", .noAddress), ("10.0.0.1 ", .noAddress),
            ("10.0.0.1\n", .noAddress), ("10.0.0.1\u{0}", .noAddress), ("*", .noAddress),
            (":::", .noAddress), ("1::2::3", .noAddress), ("12345::", .noAddress),
            ("0x0a000001", .noAddress), ("167772161", .noAddress), ("١٠.0.0.1", .noAddress),
            ("fe80::1%eth0", .scope), ("fe80::%1/64", .scope), ("10.0.0.1%1", .scope),
            ("10.0.0.0/", .length), ("10.0.0.0/33", .length), ("10.0.0.0/08", .length),
            ("10.0.0.0/-1", .length), ("10.0.0.0/+8", .length), ("10.0.0.0/8/8", .length),
            ("10.0.0.0/ 8", .length), ("10.0.0.0/255.0.0.0", .length), ("::/129", .length),
            ("::/1000", .length), ("::/99999999999999999999", .length), ("::/٨", .length),
            ("10.0.0.1/8", .hostBits), ("10.0.0.1/31", .hostBits), ("0.0.0.1/0", .hostBits),
            ("::1/0", .hostBits), ("::1/127", .hostBits), ("2001:db8::1/64", .hostBits),
            ("::ffff:10.0.0.1/127", .hostBits), ("::ffff:10.0.0.0/95", .hostBits),
            ("::ffff:0:0/80", .hostBits), ("::ffff:0.0.0.0/0", .hostBits),
        ] as [(String, AddressRange.Refusal)])
    func `what is no range is refused with its reason`(
        _ text: String, _ reason: AddressRange.Refusal
    ) {
        #expect(throws: reason) { try AddressRange(text) }
    }

    @Test(arguments: [
        ("10.0.0.0/8", "10.0.0.0/8"), ("192.0.2.1", "192.0.2.1/32"), ("::", "::/128"),
        ("2001:DB8:0::/32", "2001:db8::/32"), ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"), ("::/0", "::/0"),
    ])
    func `a range is written in one way, which reads the same`(
        _ text: String, _ written: String
    ) throws {
        let range = try AddressRange(text)
        #expect(range.description == written)
        #expect(try AddressRange(range.description) == range)
    }

    @Test func `what is logged of an address is the network around it`() throws {
        func network(_ text: String) throws -> String {
            try #require(IPAddress(text)).network.description
        }
        #expect(try network("192.0.2.77") == "192.0.2.0/24")
        #expect(try network("::ffff:192.0.2.77") == "192.0.2.0/24")
        #expect(try network("2001:db8:1:2:3:4:5:6") == "2001:db8:1::/48")
    }

    @Test func `what is no address is none`() {
        for text in ["", "%", "%eth0", "10.0.0.1%eth0", "localhost", "10.0.0.1/32", "::1\u{0}"] {
            #expect(IPAddress(text) == nil, "\(text)")
        }
    }

    @Test func `what is no connected socket has no peer`() {
        #expect(IPAddress(peerOf: -1) == nil)
    }

    @Test func `a gate without ranges admits all, one with them whom they have`() throws {
        let open = PeerGate(endpoint: "check", ranges: [])
        #expect(open.isOpen && open.admits(IPAddress?.none))
        let gate = PeerGate(
            endpoint: "check",
            ranges: [try AddressRange("10.0.0.0/8"), try AddressRange("::1")])
        #expect(!gate.isOpen)
        #expect(gate.admits(IPAddress("10.9.9.9")) && gate.admits(IPAddress("::1")))
        #expect(gate.refused.count == 0 && gate.refused.lastNetwork == nil)
        #expect(!gate.admits(IPAddress("192.0.2.9")))
        #expect(gate.refused.count == 1)
        #expect(gate.refused.lastNetwork == (try AddressRange("192.0.2.0/24")))
        #expect(!gate.admits(IPAddress?.none), "a peer that can't be told is on no list")
        #expect(gate.admits("::ffff:10.0.0.1") && gate.admits("::1%lo"))
        #expect(gate.refused.count == 2 && gate.refused.lastNetwork == nil)
    }
}
