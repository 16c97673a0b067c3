// Times on the command line, and what a failure's exit code is.

import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import gatehouse

@Suite struct OutputTests {
    @Test(arguments: [
        ("0", 0), ("1795521600", 1_795_521_600), ("2026-11-24T12:00:00Z", 1_795_521_600),
        ("253402300799", 253_402_300_799),
    ])
    func `a time is Unix seconds or RFC 3339`(_ text: String, _ seconds: Int64) throws {
        #expect(try Output.time(text) == time(seconds))
    }

    @Test(arguments: ["", "-1", "253402300800", "yesterday", "2026-13-01T00:00:00Z", "1.5", "0x10"])
    func `what is no time is a usage error`(_ text: String) throws {
        let failure = #expect(throws: CommandFailure.self) { try Output.time(text) }
        #expect(failure?.code == .usage)
    }

    @Test func `store and configuration failures are 3, refusals 1`() {
        for error in [
            StoreError.busy, StoreError.unavailable("x"), StoreError.damaged("x"),
            SettingsErrors(findings: ["x"]), FileRefusal(message: "x", hint: "y"),
            RefreshFailure.noKeyring, KeyringWrapFailure.damaged, KeyringDefect.noPendingKey,
        ] as [any Error] {
            #expect(CommandFailure(error).code == .environment)
        }
        for error in [CommandFailure.refused("x"), KeyringDefect.tooManyKeys] as [any Error] {
            #expect(CommandFailure(error).code == .refused)
        }
    }

    @Test func `no failure's text holds what a store or key would keep secret`() {
        #expect(!CommandFailure(StoreError.damaged("level")).message.contains("SELECT"))
    }
}
