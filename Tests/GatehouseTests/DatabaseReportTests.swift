// What doctor says of a PostgreSQL database: each fault by itself, and none where all is well.

import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import gatehouse

@Suite struct DatabaseReportTests {
    private static let now: Int64 = 1_800_000_000
    private static let good = [
        "server_version": "15.14", "transaction_read_only": "off", "fsync": "on",
        "full_page_writes": "on", "synchronous_commit": "on", "connection_is_local": "false",
        "connection_uses_tls": "true", "sslmode": "verify-full", "role_is_superuser": "false",
        "role_powers": "", "schema_is_open": "false", "max_connections": "100",
        "superuser_reserved_connections": "3",
        "clock": "\(now)",
    ]

    private func findings(
        _ changes: [String: String?] = [:], connections: Int = 8, servers: Int = 3
    ) -> [Finding] {
        var values = Self.good
        for (name, value) in changes { values[name] = value }
        return DatabaseReport(
            name: "postgresql://h/d", connections: connections, servers: servers, values: values
        ).findings(at: time(Self.now))
    }

    /// Those that are not well.
    private func faults(
        _ changes: [String: String?], connections: Int = 8, servers: Int = 3
    ) -> [String] {
        findings(changes, connections: connections, servers: servers)
            .filter { $0.level != .ok }.map { "\($0.level): \($0.check): \($0.message)" }
    }

    @Test func `a database that is well has no fault, and is named`() {
        #expect(findings().allSatisfy { $0.level == .ok && $0.hint == nil })
        #expect(findings()[0].message == "PostgreSQL 15.14 at postgresql://h/d")
        #expect(faults(["synchronous_commit": "remote_apply"]).isEmpty)
    }

    @Test(
        arguments: [
            ("transaction_read_only", "on", "error: database: PostgreSQL 15.14"),
            ("fsync", "off", "error: durability: fsync is off"),
            ("full_page_writes", "off", "error: durability: full_page_writes is off"),
            ("synchronous_commit", "off", "error: durability: synchronous_commit is off"),
            ("synchronous_commit", "local", "error: durability: synchronous_commit is local"),
            ("connection_uses_tls", "false", "error: database connection: it crosses the network"),
            ("sslmode", "require", "warning: database connection: TLS, but sslmode is require"),
            ("sslmode", "verify-ca", "warning: database connection: TLS, but sslmode is verify-ca"),
            ("sslmode", nil, "warning: database connection: TLS, but sslmode is unknown"),
            (
                "role_is_superuser", "true",
                "warning: database role: it has more than it needs: superuser"
            ),
            (
                "role_powers", "createdb,createrole",
                "warning: database role: it has more than it needs: createdb, createrole"
            ),
            (
                "schema_is_open", "true",
                "warning: database role: every role may add functions and tables"
            ),
            ("max_connections", nil, "warning: database connections: max_connections is not known"),
            ("clock", nil, "warning: database clock: it is not known"),
        ] as [(String, String?, String)])
    func `each fault is told by itself`(_ name: String, _ value: String?, _ expected: String) {
        let found = faults([name: value])
        #expect(found.count == 1)
        #expect(found.first?.hasPrefix(expected) ?? false, "\(found)")
    }

    @Test func `a connection that stays on the machine needs no TLS`() {
        #expect(
            faults(["connection_is_local": "true", "connection_uses_tls": "false", "sslmode": nil])
                .isEmpty)
    }

    @Test func `the servers' connections have room below the reserved ones`() {
        // Three servers with 8 and 2 each, and a command with 1 and 2.
        #expect(faults(["max_connections": "36"]).isEmpty)
        #expect(faults(["max_connections": "35"]).count == 1)
        #expect(faults(["max_connections": "35", "superuser_reserved_connections": "2"]).isEmpty)
        #expect(faults(["max_connections": "36", "reserved_connections": "1"]).count == 1)
        #expect(faults(["max_connections": "16"], servers: 0).isEmpty, "one that is to start")
        #expect(faults(["max_connections": "15"], servers: 0).count == 1)
        #expect(faults(["max_connections": "37"], connections: 9).count == 1)
    }

    @Test func `clocks may be a little apart`() {
        for (apart, level) in [
            (0, Finding.Level.ok), (2, .ok), (3, .warning), (clockSkewSeconds, .warning),
            (clockSkewSeconds + 1, .error),
        ] {
            for clock in [Self.now - apart, Self.now + apart] {
                let finding = findings(["clock": "\(clock)"]).first { $0.check == "database clock" }
                #expect(finding?.level == level, "\(apart)")
            }
        }
    }
}
