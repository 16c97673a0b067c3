// What the audit trail says of a request: where it came from, and that every act leaves a trace.

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import GatehouseWeb
import Testing

@testable import GatehouseWeb

@Suite struct AuditOriginTests {
    @Test func `everything that a request does says where it came from`() async throws {
        try await withDoor { fixture, _ in
            _ = try await fixture.makeUser("ada")
            let before = try await fixture.store.audit(after: 0, limit: 100).last?.sequence ?? 0
            var browser = Browser(fixture)
            browser.peer = "203.0.113.7"
            browser.fields["user-agent"] = "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0"
            #expect(await browser.signIn("ada", remembers: true).status == 303)
            #expect(await browser.act("/logout").status == 303)
            let entries = try await fixture.store.audit(after: before, limit: 100)
            #expect(
                Set(entries.map(\.event.kind)).isSuperset(of: [
                    .signedIn, .rememberCreated, .signedOut,
                ]))
            for entry in entries {
                #expect(entry.personal?.origin.place == "203.0.113.0/24", "\(entry)")
                #expect(entry.personal?.origin.browser == "Firefox on Linux")
                #expect(entry.operatorName == nil)
            }
        }
    }

    @Test(arguments: [
        ("203.0.113.7", "203.0.113.0/24", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48", "2001:db8:1:2::/64"),
    ])
    func `an address is cut as the setting says`(
        peer: String, network: String, address: String
    ) throws {
        let prefix = try #require(AddressPrefix(Array(peer.utf8)))
        #expect(AuditAddresses.network.place(prefix) == network)
        #expect(AuditAddresses.address.place(prefix) == network)
        #expect(AuditAddresses.address.full(prefix) == address)
        #expect(AuditAddresses.network.full(prefix) == nil)
        #expect(AuditAddresses.none.full(prefix) == nil)
        #expect(AuditAddresses.none.place(prefix) == nil)
        #expect(AuditAddresses.address.place(nil) == nil)
    }
}
