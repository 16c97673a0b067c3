// How PostgreSQL finds what the store asks for, among as many users as there may be.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

@Suite(.serialized, .enabled(if: PostgreSQLFixture.url != nil, "no PostgreSQL server to test with"))
struct PostgreSQLPlanTests {
    /// In the thousands, so that indexes are worth it; as many as asked for where that is.
    private static let users =
        ProcessInfo.processInfo.environment["GATEHOUSE_TEST_SCALE"].flatMap { Int64($0) } ?? 20_000
    /// A table of fewer pages is read faster than its index.
    private static let bigPages: Int64 = 60

    /// Statements that read a whole table, by a part of their text.
    private static let readAll = [
        // Counts by key, for operators and before a key goes.
        "GROUP BY audit_key", "FROM attempts WHERE next <= ?",
        // Every person whose entries an operator has seen.
        "SELECT DISTINCT audit.user_id",
        // Every name, when Unicode has a new version.
        "ORDER BY state = 'reserved', skeleton IS NULL",
        // The first row answers it.
        "EXISTS (SELECT 1 FROM audit)",
    ]
    /// The same, where it is so large that this is faster than its index.
    private static let readAllOfMany = [
        // What `doctor` looks through: every acting session that there was.
        "LEFT JOIN grants ON grants.id = looks.grant_id"
    ]

    private let database: PostgreSQLTestDatabase
    private let connection: PostgreSQLConnection

    init() throws {
        database = try PostgreSQLTestDatabase()
        try database.open(connections: 1).close()
        connection = try database.connect()
        try fill()
    }

    // MARK: Rows

    /// A few rows of everything for each user, without the triggers, which look at each by itself.
    private func fill() throws {
        let count = Self.users
        try connection.run("SET session_replication_role = replica; SET synchronous_commit = off")
        func id(_ kind: String, _ number: String = "n") -> String {
            "decode(md5('\(kind)' || \(number)), 'hex')"
        }
        func digest(_ kind: String, _ number: String = "n") -> String {
            "sha256(convert_to('\(kind)' || \(number), 'UTF8'))"
        }
        let now = "CAST(extract(epoch FROM now()) AS bigint)"
        let sealed = "decode(repeat('00', 296), 'hex')"
        func insert(_ table: String, _ times: Int64, _ columns: String, _ values: String) throws {
            try connection.run(
                """
                INSERT INTO \(table) (\(columns)) SELECT \(values)
                FROM generate_series(1, \(count)) AS n, generate_series(1, \(times)) AS m
                """)
        }
        func few(_ table: String, _ columns: String, _ values: String) throws {
            try connection.run(
                """
                INSERT INTO \(table) (\(columns)) SELECT \(values)
                FROM generate_series(1, \(max(count / 10, 1))) AS n
                """)
        }
        let user = id("user")
        try insert(
            "users", 1, "id, state, epoch, created, password_hash",
            "\(user), 'enabled', 0, n, repeat('x', 90)")
        try insert(
            "names", 1, "canonical, skeleton, user_id, state, since",
            "'name' || n, 'skeleton' || n, \(user), 'live', n")
        try few(
            "names", "canonical, skeleton, user_id, state, since",
            "'old' || n, 'old' || n, \(user), 'former', n")
        try few("names", "canonical, skeleton, state, since", "'no' || n, 'no' || n, 'reserved', n")
        try insert(
            "sessions", 3,
            """
            id, user_id, epoch, created, authenticated, idle_deadline, absolute_deadline, methods,
            level, remembered, revoked, series_id
            """,
            """
            \(id("session", "n || '-' || m")), \(user), 0, \(now), \(now), \(now) + 3600,
            \(now) + (n + m) % 2500000 + 3600, 1, 1, 0, CASE WHEN n % 9 = 0 THEN \(now) END,
            CASE WHEN m = 1 THEN \(id("series")) END
            """)
        try insert(
            "series", 1,
            """
            id, user_id, epoch, created, authenticated, methods, deadline, generation, made,
            presented, session_id, device_id
            """,
            """
            \(id("series")), \(user), 0, \(now), \(now), 1, \(now) + n % 2500000, 1, \(now), 0,
            \(id("session", "n || '-1'")), \(id("device", "n || '-1'"))
            """)
        try insert(
            "feed", 1, "sequence, time, kind, subject, value, deadline",
            "n, n, 1, \(id("session", "n || '-1'")), 0, \(now) + n % 2500000")
        try insert(
            "devices", 2, "id, user_id, created, last_used",
            "\(id("device", "n || '-' || m")), \(user), n, \(now) - n")
        try insert(
            "preferences", 2, "device_id, key, value",
            "\(id("device", "n || '-' || m")), 'theme', 'dark'")
        try insert(
            "attempts", 1, "key, failures, next, expires",
            "\(digest("attempt")), 1, \(now), \(now) + n")
        try few(
            "links", "hash, kind, user_id, expires",
            "\(digest("link")), 'recovery', \(user), \(now) + n")
        try few("warnings", "user_id, time", "\(user), \(now)")
        try insert("activity", 1, "user_id, day", "\(user), 20000 + n % 30")
        try insert(
            "agreements", 2, "user_id, kind, name, version, given, time",
            "\(user), 'purpose', 'news' || m, 1, m % 2, \(now)")
        try insert(
            "profiles", 1, "user_id, revision, updated, last_sequence, key_id, sealed",
            "\(user), 1, n, 1, 1, \(sealed)")
        try insert(
            "profile_history", 1, "user_id, sequence, time, key_id, sealed",
            "\(user), 1, n, 1, \(sealed)")
        try insert(
            "profile_digests", 1, "field, digest, user_id, key_id",
            "'email', \(digest("digest")), \(user), 1")
        try few("deletions", "user_id, requested, due", "\(user), n, n")
        try few(
            "grants", "id, user_id, reason, scope, given, ends",
            "\(id("grant")), \(user), 'asked', 'see', n, n + 1")
        try few(
            "looks", "user_id, time, operator, grant_id, seen, session_id",
            """
            \(user), n, 'op', \(id("grant")), CASE WHEN n % 9 = 0 THEN 'session' ELSE 'account' END,
            CASE WHEN n % 9 = 0 THEN \(id("session", "n || '-1'")) END
            """)
        try few("referrals", "user_id, code, time", "\(user), 'spring', n")
        try insert(
            "audit", 5,
            "sequence, time, kind, actor, user_id, session_id, chain, position, audit_key, mac",
            """
            n * 5 + m, n * 5 + m, CASE WHEN (n * 5 + m) % 1000 = 0 THEN 'audit_checkpoint'
                ELSE 'signed_in' END,
            'server', \(user), \(id("session", "n || '-1'")), \(id("chain", "n % 3")),
            n * 5 + m, 1, \(digest("mac"))
            """)
        try insert(
            "audit_personal", 2, "sequence, salt, place, address, address_salt, address_hash",
            """
            n * 5 + m, \(digest("salt")), '203.0.113.0/24',
            CASE WHEN n > \(count - count / 50) THEN '203.0.113.7' END,
            CASE WHEN n > \(count - count / 50) THEN \(digest("as")) END, \(digest("ah"))
            """)
        try connection.run("VACUUM (ANALYZE)")
    }

    // MARK: Plans

    private func bigTables() throws -> Set<String> {
        let rows = try connection.query(
            PostgreSQLStatement(
                """
                SELECT CAST(relname AS text) FROM pg_class
                WHERE relnamespace = CAST('public' AS regnamespace) AND relkind = 'r'
                    AND relpages > \(Self.bigPages)
                """))
        return try Set(
            (0..<rows.rowCount).compactMap {
                guard case .text(let name) = try rows.value(row: $0, column: 0) else { return nil }
                return name
            })
    }

    /// Of a parameter with a name; what is a `?` stands where its type is clear.
    private static func type(of parameter: String?) -> String {
        switch parameter {
        case nil: "unknown"
        case "id", "user", "session", "kept", "node", "chain", "sealed", "counter": "bytea"
        case "canonical", "skeleton", "purpose", "after", "operator", "reason", "name": "text"
        default: "bigint"
        }
    }

    /// A page, or what upkeep does at once.
    private static let limit = 20

    /// The steps that the statement is done by: whatever its values are, or with those that are usual.
    private func plan(_ sql: String, isGeneric: Bool = true) throws -> [String] {
        try connection.run("SET plan_cache_mode = force_\(isGeneric ? "generic" : "custom")_plan")
        let statement = PostgreSQLStatement(sql)
        let types = statement.parameters.map(Self.type)
        let list = types.isEmpty ? "" : "(\(types.joined(separator: ", ")))"
        try connection.run("PREPARE planned\(list) AS \(statement.text)")
        defer { try? connection.run("DEALLOCATE planned") }
        let found = try connection.query(
            PostgreSQLStatement(
                """
                SELECT coalesce(array_to_string(parameter_types, ','), '')
                FROM pg_prepared_statements WHERE name = 'planned'
                """))
        guard case .text(let found) = try found.value(row: 0, column: 0) else {
            throw Unexpected("no types")
        }
        let now = try connection.integer("SELECT CAST(extract(epoch FROM now()) AS bigint)")
        let values = found.split(separator: ",").enumerated().map { index, type in
            switch type {
            case "bytea": "'\\x00000000000000000000000000000001'"
            case "text": "'name'"
            case _ where statement.text.contains("LIMIT $\(index + 1)"): "\(Self.limit)"
            default: "\(now)"
            }
        }
        let arguments = values.isEmpty ? "" : "(\(values.joined(separator: ", ")))"
        let rows = try connection.query(
            PostgreSQLStatement("EXPLAIN (COSTS off) EXECUTE planned\(arguments)"))
        return try (0..<rows.rowCount).compactMap {
            guard case .text(let line) = try rows.value(row: $0, column: 0) else { return nil }
            return line
        }
    }

    private func scanned(_ plan: [String], of big: Set<String>) throws -> Set<String> {
        let pattern = try Regex("Seq Scan on (\\w+)", as: (Substring, Substring).self)
        return Set(
            plan.compactMap { $0.firstMatch(of: pattern).map { String($0.output.1) } }
        ).intersection(big)
    }

    @Test func `no statement reads a whole large table, but those that are about all of it`() throws
    {
        let big = try bigTables()
        for table in [
            "users", "names", "series", "devices", "attempts", "audit", "audit_personal",
            "activity",
            "agreements", "profiles",
        ] { #expect(big.contains(table)) }
        #expect(big.contains { $0.hasPrefix("sessions_") && $0 != "sessions_default" })
        let statements = try StoreStatements(for: .postgresql)
        #expect(statements.unresolved.map(\.sql) == [])
        #expect(statements.all.count > 200, "the search finds them")
        var unused = Set(Self.readAll)
        for statement in Set(statements.all) where !statement.sql.contains("sqlite_sequence") {
            var plan: [String]
            do { plan = try self.plan(statement.sql) } catch {
                Issue.record("\(error): \(statement.sql)")
                continue
            }
            var tables = try scanned(plan, of: big)
            // The server takes a limit that it doesn't know for a tenth of all, and such a plan for dear: it
            // goes on making others.
            if !tables.isEmpty, statement.sql.contains("LIMIT") {
                plan = try self.plan(statement.sql, isGeneric: false)
                tables = try scanned(plan, of: big)
            }
            guard !tables.isEmpty else { continue }
            if let known = Self.readAll.first(where: statement.sql.contains) {
                unused.remove(known)
                continue
            }
            if Self.readAllOfMany.contains(where: statement.sql.contains) { continue }
            Issue.record(
                """
                \(statement.file) reads all of \(tables.sorted()): \(statement.sql)
                \(plan.joined(separator: "\n"))
                """)
        }
        #expect(unused.isEmpty, "what no longer reads all is no exception")
        #expect(try !scanned(plan("SELECT * FROM users WHERE epoch = ?"), of: big).isEmpty)
    }
}
