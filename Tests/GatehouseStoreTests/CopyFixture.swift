// A store with rows in every table, and in some more than a batch has.

import Foundation
import GatehouseCore
import GatehouseTestSupport

@testable import GatehouseStore

/// Fills SQLite's tables with what is hard to copy: nulls and empty blobs, the largest numbers, texts that
/// locales order otherwise than bytes, entries of releases that knew no chains, what was withdrawn.
enum CopyFixture {
    /// Rows of a transaction, in tests.
    static let batch = 50
    /// More than two batches.
    static let users = 2 * batch + 3

    /// Rows `i` from 1 to `count`.
    private static func numbers(_ count: Int) -> String {
        """
        (WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < \(count))
            SELECT i FROM n)
        """
    }

    private static func blob(_ bytes: Int, _ number: String = "i") -> String {
        "CAST(printf('%0\(bytes)d', \(number)) AS BLOB)"
    }

    /// In the order in which foreign keys allow it. The values are of columns in the order of their tables.
    private static let statements = [
        """
        INSERT INTO users (id, state, epoch, created, password_hash, test)
        SELECT \(blob(16)), CASE i % 9 WHEN 0 THEN 'disabled' ELSE 'enabled' END,
            CASE i WHEN 1 THEN 4294967295 ELSE i END, \(noon) - i,
            CASE i % 3 WHEN 0 THEN NULL ELSE '$argon2id$' || i END, i % 2
        FROM \(numbers(users))
        """,
        """
        INSERT INTO names (canonical, skeleton, user_id, state, since)
        SELECT 'user' || i, CASE i % 5 WHEN 0 THEN NULL ELSE 'skeleton' || i END, \(blob(16)),
            'live', \(noon) FROM \(numbers(users))
        """,
        """
        INSERT INTO names (canonical, skeleton, state, since) VALUES
            ('a', 'a', 'reserved', 1), ('B', 'B', 'reserved', 1), ('c', 'c', 'reserved', 1),
            ('a-b', 'a-b', 'reserved', 1), ('ab', 'ab', 'reserved', 1), ('ä', 'ä', 'reserved', 1),
            ('Ä', 'Ä', 'reserved', 1), ('_', '_', 'reserved', 1), ('ﬁ', 'fi', 'reserved', 1),
            ('𝔄', '𝔄', 'reserved', 1), ('ß', 'ss', 'reserved', 1), (char(65533), '?', 'reserved', 1)
        """,
        "UPDATE skeletons SET version = 'one'",
        "INSERT INTO keyring VALUES (1, 7, \(blob(8, "3")), x'00ff00')",
        "INSERT INTO keyring_wraps VALUES (\(blob(8, "1")), x''), (\(blob(8, "2")), x'00')",
        "INSERT INTO key_usage VALUES (1, 0, 0), (4294967295, 9223372036854775807, \(noon))",
        "INSERT INTO key_deadlines VALUES (1, 1, 1), (1, -9223372036854775808, 2), (2, 0, 3)",
        "INSERT INTO key_opens SELECT i / 3, i % 3, \(blob(16, "i % 7")), i FROM \(numbers(30))",
        """
        INSERT INTO notices VALUES
            ('terms', 1, 'T', 'text', \(blob(32, "1")), 100, 100, NULL, NULL),
            ('terms', 2, 'T', 'text', \(blob(32, "2")), 200, 300, 400, 250),
            ('terms', 3, 'T', 'ẗext' || char(10), \(blob(32, "3")), 250, 300, 400, NULL),
            ('privacy', 1, 'P', 'text', \(blob(32, "4")), 50, 60, NULL, 55)
        """,
        """
        INSERT INTO agreements (sequence, user_id, kind, name, version, given, time)
        SELECT i * 2, \(blob(16)), CASE i % 2 WHEN 0 THEN 'document' ELSE 'purpose' END, 'terms',
            1 + i % 3, i % 2, i FROM \(numbers(60))
        """,
        // Of releases before there were chains, and then of two.
        """
        INSERT INTO audit (sequence, time, kind, actor) SELECT i, i, 'user_created', 'server'
        FROM \(numbers(52))
        """,
        """
        INSERT INTO audit
            (sequence, time, kind, actor, user_id, session_id, key_id, series_id, detail, operator,
                personal, ends, chain, position, audit_key, mac)
        SELECT 600 + i, \(noon), 'signed_in', 'server', \(blob(16)), NULL, NULL, NULL, NULL, NULL,
            \(blob(32)), NULL, \(blob(16, "i % 2")), 1 + i / 2, 5, \(blob(32, "i + 1"))
        FROM \(numbers(40))
        """,
        """
        INSERT INTO audit_personal (sequence, salt, place, browser, reason) SELECT 600 + i, \(blob(32)),
            CASE i % 2 WHEN 0 THEN '10.0.0.0/24' ELSE NULL END, 'Firefox', 'ω' FROM \(numbers(30))
        """,
        "INSERT INTO audit_bases VALUES (\(blob(16, "9")), 4, \(blob(32, "9")), 5, \(blob(32, "8")))",
        """
        INSERT INTO links VALUES (\(blob(32, "1")), 'invitation', NULL, 1, NULL),
            (\(blob(32, "2")), 'recovery', \(blob(16, "1")), \(noon), 3)
        """,
        "INSERT INTO attempts SELECT \(blob(32)), i, i, i FROM \(numbers(51))",
        "INSERT INTO imports VALUES (\(blob(32, "1")), \(blob(32, "2")), 5, 4, 3, 2, '[]', \(noon))",
        "INSERT INTO devices SELECT \(blob(16)), \(blob(16)), 1, i, i % 2 FROM \(numbers(50))",
        """
        INSERT INTO preferences SELECT \(blob(16, "i % 40 + 1")), 'k' || i, 'v''"' || char(9) || i
        FROM \(numbers(120))
        """,
        """
        INSERT INTO series
        SELECT \(blob(16)), \(blob(16)), i, 1, 1, 65535, \(noon), 4294967295, 1, i % 2, \(blob(16)),
            NULL, NULL, 'here' FROM \(numbers(20))
        """,
        "INSERT INTO warnings SELECT i, \(blob(16)), i, NULL, 'there' FROM \(numbers(20))",
        // Numbers are never given again.
        "DELETE FROM warnings WHERE id > 10",
        """
        INSERT INTO profiles SELECT \(blob(16)), 1, \(noon), 0, 4, zeroblob(40 + 256)
        FROM \(numbers(20))
        """,
        """
        INSERT INTO profile_history SELECT \(blob(16, "i % 20 + 1")), i, 1, 4, zeroblob(40 + 512)
        FROM \(numbers(40))
        """,
        "INSERT INTO profile_digests SELECT 'mail', \(blob(32)), \(blob(16)), 4 FROM \(numbers(20))",
        "INSERT INTO deletions VALUES (\(blob(16, "1")), 5, 6)",
        "INSERT INTO activity SELECT \(blob(16)), i FROM \(numbers(30))",
        "INSERT INTO activity_counts VALUES ('day', 3, 4, 5, 1), ('week', 4, 4, 5, 1)",
        "INSERT INTO grants VALUES (\(blob(16, "1")), \(blob(16, "1")), 'why', 'see', NULL, 1, 2, NULL)",
        """
        INSERT INTO looks (id, user_id, time, operator, grant_id, reason, seen, session_id, told)
        SELECT i + 100, \(blob(16)), i, 'eve', NULL, 'why', 'account', NULL, i % 2
        FROM \(numbers(20))
        """,
        "INSERT INTO admin_tokens VALUES ('eve', \(blob(32, "1")), 1, NULL, NULL)",
        "INSERT INTO referral_codes VALUES ('Spring-1', 'Spring', 1, NULL, NULL), ('s.2', 'S', 1, 2, 3)",
        "INSERT INTO referrals VALUES (\(blob(16, "1")), 's.2', 5)",
        "INSERT INTO referral_counts VALUES ('s.2', '2026-01', 1, 2), ('Spring-1', '2026-11', 1, 2)",
        """
        INSERT INTO sessions
        SELECT \(blob(16)), \(blob(16)), i, 1, 1, \(noon) + i * 3600, \(noon) + i * 3600, i % 2, 1,
            i % 2, CASE i % 4 WHEN 0 THEN 5 ELSE NULL END, NULL, NULL, 'ブラウザ', NULL, NULL
        FROM \(numbers(users))
        """,
        """
        INSERT INTO feed SELECT i, \(noon), 1, \(blob(16)), 0, \(noon) + i * 3600
        FROM \(numbers(61))
        """,
        "INSERT INTO feed VALUES (62, \(noon), 3, NULL, 5, \(noon))",
        "UPDATE erasures SET count = 3, since = 8",
        "UPDATE clock_leaps SET time = 9",
        """
        UPDATE head SET sequence = 62, latest_time = \(noon), authenticated_floor = 77,
            audit_floor = 3
        """,
    ]

    /// - Precondition: `store` is new, and on SQLite.
    static func fill(_ store: SQLStore) async throws {
        try await store.write(at: .zero) { db in
            try db.withoutTriggers(on: "audit") {
                try db.withoutTriggers(on: "notices") {
                    for statement in statements { try db.execute(sql: statement) }
                }
            }
        }
    }

    /// All rows of all tables but `own` columns, in an order of their own.
    static func contents(_ store: SQLStore) async throws -> [String: [String]] {
        try await store.read { db in
            var contents: [String: [String]] = [:]
            for table in CopiedTable.all where table.name != "nodes" {
                let columns = try db.columnNames(of: table.name).subtracting(table.own).sorted()
                let list = columns.map { "\"\($0)\"" }.joined(separator: ", ")
                contents[table.name] = try db.rows(sql: "SELECT \(list) FROM \"\(table.name)\"")
                    .map { "\($0.values)" }.sorted()
            }
            return contents
        }
    }
}
