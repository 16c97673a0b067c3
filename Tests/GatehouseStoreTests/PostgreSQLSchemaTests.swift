// What PostgreSQL's tables refuse, whoever writes to them: each statement breaks one rule and no other.

import Foundation
import GatehouseCore
import Testing

@testable import GatehouseStore

@Suite(.enabled(if: PostgreSQLTestSchema.server != nil, "no PostgreSQL server to test with"))
struct PostgreSQLSchemaTests {
    private let schema: PostgreSQLTestSchema
    private let connection: PostgreSQLConnection

    /// Of a row made up here.
    private static func id(_ number: Int) -> String { bytes(number, count: 16) }

    private static func bytes(_ number: Int, count: Int) -> String {
        "'\\x" + String(repeating: String(format: "%02x", number), count: count) + "'::bytea"
    }

    private static let ada = id(1)

    init() throws {
        schema = try PostgreSQLTestSchema()
        connection = try schema.connect()
        _ = try PostgreSQLMigrator(connection).migrate(at: UnixTime(clamping: 1_800_000_000))
        // The name comes first, as it does when somebody registers.
        try connection.run(
            """
            INSERT INTO names (canonical, skeleton, user_id, state, since)
                VALUES ('ada', 'ada', \(Self.ada), 'live', 0);
            INSERT INTO users (id, state, epoch, created) VALUES (\(Self.ada), 'enabled', 0, 0);
            """)
    }

    /// Expects the server to refuse each statement, for a constraint or with the words of a trigger.
    private func expectRefusals(
        _ statements: [(String, words: String)], sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        for (statement, words) in statements {
            let refusal = try connection.refusal(statement)
            guard let refusal, refusal.state.isConstraintViolation else {
                Issue.record(
                    "\(statement): \(String(describing: refusal))", sourceLocation: sourceLocation)
                continue
            }
            #expect(
                refusal.message.contains(words), "\(statement)", sourceLocation: sourceLocation)
        }
    }

    // MARK: Form

    @Test func `columns are of three types, and all text compares by its bytes`() throws {
        let odd = try connection.query(
            PostgreSQLStatement(
                """
                SELECT relname || '.' || attname FROM pg_attribute
                    JOIN pg_class ON pg_class.oid = attrelid
                    LEFT JOIN pg_collation ON pg_collation.oid = attcollation
                WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
                    AND attnum > 0
                    AND (atttypid NOT IN ('bigint'::regtype, 'bytea'::regtype, 'text'::regtype)
                        OR atttypid = 'text'::regtype AND collname IS DISTINCT FROM 'C')
                """))
        #expect(odd.rowCount == 0)
        #expect(
            try connection.integers("SELECT count(*) FROM users WHERE 'B' < 'a' COLLATE \"C\"")
                == [1])
    }

    @Test func `every foreign key can be deferred`() throws {
        let (all, deferrable) = (
            try connection.integers(
                """
                SELECT count(*) FROM pg_constraint
                WHERE connamespace = current_schema()::regnamespace AND contype = 'f'
                """),
            try connection.integers(
                """
                SELECT count(*) FROM pg_constraint
                WHERE connamespace = current_schema()::regnamespace AND contype = 'f'
                    AND condeferrable
                """)
        )
        #expect(all == deferrable)
        #expect(all.allSatisfy { $0 > 15 })
        try connection.run(
            """
            INSERT INTO profiles
                VALUES (\(Self.ada), 1, 0, 0, 1, decode(repeat('00', 40 + 256), 'hex'));
            """)
        let orphan = "DELETE FROM users WHERE id = \(Self.ada);"
        let rest = "DELETE FROM profiles; DELETE FROM names"
        try expectRefusals([(orphan + rest, "profiles_user_id_fkey")])
        try connection.run("SET CONSTRAINTS ALL DEFERRED;" + orphan + rest)
    }

    @Test func `the greater and the less of two values are null where one of them is`() throws {
        let values = try connection.integers(
            """
            SELECT coalesce(value, -1) FROM (VALUES (1, max(3, 5)), (2, max(5, 3)), (3, max(4, 4)),
                (4, max(NULL, 3)), (5, max(3, NULL)), (6, min(3, 5)), (7, min(5, 3)),
                (8, min(4, 4)), (9, min(NULL, 3)), (10, min(3, NULL))) AS pair (place, value)
            ORDER BY place
            """)
        #expect(values == [5, 5, 4, -1, -1, 3, 3, 4, -1, -1])
        #expect(try connection.integers("SELECT max(epoch) FROM users") == [0])
    }

    // MARK: Names

    @Test func `the table of names decides who has which`() throws {
        func name(_ text: String, skeleton: String? = nil, user: String?, state: String) -> String {
            """
            INSERT INTO names (canonical, skeleton, user_id, state, since)
            VALUES ('\(text)', \(skeleton.map { "'\($0)'" } ?? "NULL"), \(user ?? "NULL"),
                '\(state)', 0)
            """
        }
        let longest = String(repeating: "é", count: 32)
        try connection.run(name(longest, user: Self.ada, state: "former"))
        try connection.run(name("admin", skeleton: "adrnin", user: nil, state: "reserved"))
        try connection.run(name("Ada", skeleton: "Ada", user: Self.ada, state: "former"))
        try expectRefusals([
            (name("ada", user: Self.ada, state: "former"), "names_pkey"),
            (name("adа", skeleton: "ada", user: Self.ada, state: "former"), "names_skeleton"),
            (name("eve", user: Self.ada, state: "live"), "names_live"),
            (name("eve", user: Self.id(2), state: "live"), "names_user_id_fkey"),
            (name("eve", user: Self.ada, state: "reserved"), "names_check"),
            (name("eve", user: nil, state: "former"), "names_check"),
            (name("eve", user: Self.ada, state: "other"), "names_state_check"),
            (name(longest + "a", user: Self.ada, state: "former"), "names_canonical_check"),
            (name("", user: Self.ada, state: "former"), "names_canonical_check"),
        ])
    }

    // MARK: The audit trail

    private func entry(_ sequence: Int, mac: String? = bytes(7, count: 32)) -> String {
        """
        INSERT INTO audit (sequence, time, kind, actor, chain, position, audit_key, mac)
        VALUES (\(sequence), 0, 'user_created', 'server', \(Self.id(9)), \(sequence), 1,
            \(mac ?? "NULL"))
        """
    }

    @Test func `entries of the trail stay as they are until retention has passed them`() throws {
        for sequence in 1...3 { try connection.run(entry(sequence)) }
        let appendOnly = "the audit trail is append only"
        try expectRefusals([
            (entry(4, mac: nil), "an audit entry without a chain"),
            (entry(4, mac: Self.bytes(7, count: 31)), "audit_mac_check"),
            (entry(3), "audit_pkey"),
            ("UPDATE audit SET time = 1 WHERE sequence = 1", appendOnly),
            ("DELETE FROM audit WHERE sequence = 1", appendOnly),
            ("TRUNCATE audit", appendOnly),
        ])
        try connection.run("UPDATE head SET audit_floor = 2")
        try expectRefusals([("DELETE FROM audit", appendOnly)])
        try connection.run("DELETE FROM audit WHERE sequence <= 2")
        #expect(try connection.integers("SELECT sequence FROM audit") == [3])
        try connection.run(
            "INSERT INTO audit_personal (sequence, salt) VALUES (3, \(Self.bytes(1, count: 32)))")
        try expectRefusals([
            ("UPDATE audit_personal SET address = '::1'", "audit_personal_check"),
            (
                "UPDATE audit_personal SET address = '::1', address_salt = salt",
                "audit_personal_check"
            ),
        ])
    }

    // MARK: Notices and agreements

    private func notice(_ version: Int, published: Int, withdrawn: String = "NULL") -> String {
        """
        INSERT INTO notices VALUES ('terms', \(version), 'Terms', 'Text', \(Self.bytes(1, count: 32)),
            \(published), \(published + 10), NULL, \(withdrawn))
        """
    }

    @Test func `notices are published in order, and then stay`() throws {
        try connection.run("UPDATE head SET latest_time = 100")
        try connection.run(notice(1, published: 100))
        try connection.run(notice(2, published: 200))
        let (order, past, fixed) = (
            "versions are counted from one", "nothing is published in the past",
            "what was published does not change"
        )
        try expectRefusals([
            (notice(2, published: 200), order), (notice(4, published: 200), order),
            (notice(3, published: 205, withdrawn: "206"), order),
            (notice(3, published: 199), past),
            (notice(1, published: 99).replacing("'terms'", with: "'privacy'"), past),
            ("UPDATE notices SET title = 'Other', withdrawn = 205 WHERE version = 2", fixed),
            ("UPDATE notices SET required_from = 999, withdrawn = 205 WHERE version = 2", fixed),
            ("UPDATE notices SET withdrawn = 99 WHERE version = 1", fixed),
            ("UPDATE notices SET withdrawn = 210 WHERE version = 2", "notices_check"),
            ("DELETE FROM notices", "what was published stays"),
            ("TRUNCATE notices", "what was published stays"),
        ])
        try connection.run("UPDATE notices SET withdrawn = 205 WHERE version = 2")
        try expectRefusals([
            ("UPDATE notices SET withdrawn = 206 WHERE version = 2", fixed),
            ("UPDATE notices SET withdrawn = NULL WHERE version = 2", fixed),
        ])
        try connection.run(notice(1, published: 150).replacing("'terms'", with: "'privacy'"))
    }

    @Test func `agreements are to what was published, and stay until the person goes`() throws {
        func agreement(_ kind: String, version: Int) -> String {
            """
            INSERT INTO agreements (user_id, kind, name, version, given, time)
            VALUES (\(Self.ada), '\(kind)', 'terms', \(version), 1, 0)
            """
        }
        try connection.run(notice(1, published: 0))
        try connection.run(agreement("document", version: 1))
        try connection.run(agreement("purpose", version: 7))
        try expectRefusals([
            (agreement("document", version: 2), "there is no such notice"),
            ("UPDATE agreements SET given = 0", "what was said does not change"),
        ])
        try connection.run("DELETE FROM agreements WHERE user_id = \(Self.ada)")
    }

    // MARK: The rest

    @Test func `rows of the wrong form are refused`() throws {
        func code(_ text: String) -> String {
            "INSERT INTO referral_codes VALUES ('\(text)', 'Label', 0, NULL, NULL)"
        }
        func count(_ month: String) -> String {
            "INSERT INTO referral_counts VALUES ('a.B_9-', '\(month)', 0, 0)"
        }
        func session(idle: Int, level: Int = 1) -> String {
            """
            INSERT INTO sessions (id, user_id, epoch, created, authenticated, idle_deadline,
                absolute_deadline, methods, level, remembered)
            VALUES (\(Self.id(3)), \(Self.ada), 0, 0, 0, \(idle), 100, 1, \(level), 0)
            """
        }
        func profile(_ size: Int) -> String {
            """
            INSERT INTO profiles
            VALUES (\(Self.ada), 1, 0, 0, 1, decode(repeat('00', \(size)), 'hex'))
            """
        }
        for good in [
            code("a.B_9-"), code(String(repeating: "x", count: 64)), count("2026-12"),
            session(idle: 100), profile(40 + 512),
            "INSERT INTO activity_counts (period, start) VALUES ('day', 1), ('week', 4)",
        ] {
            try connection.run(good)
        }
        try expectRefusals([
            (code(""), "referral_codes_code_check"), (code(".."), "referral_codes_code_check"),
            (code("a b"), "referral_codes_code_check"),
            (code("é"), "referral_codes_code_check"),
            (code("a\n"), "referral_codes_code_check"),
            (code(String(repeating: "x", count: 65)), "referral_codes_code_check"),
            (count("2026-1"), "referral_counts_month_check"),
            (count("2026-20"), "referral_counts_month_check"),
            (count("2026-01\n"), "referral_counts_month_check"),
            (count("2026-02").replacing("a.B_9-", with: "b"), "referral_counts_code_fkey"),
            (session(idle: 101), "sessions_check"),
            (session(idle: 100, level: 4), "sessions_level_check"),
            (session(idle: 100), "sessions_default_pkey"),
            ("DELETE FROM profiles; " + profile(40), "profiles_sealed_check"),
            ("DELETE FROM profiles; " + profile(40 + 255), "profiles_sealed_check"),
            (
                "INSERT INTO activity_counts (period, start) VALUES ('week', 5)",
                "activity_counts_check"
            ),
            ("UPDATE activity_counts SET returned = 1", "activity_counts_check"),
            (
                "INSERT INTO feed VALUES (1, 0, 3, \(Self.id(1)), 0, 0)", "feed_check"
            ),
            ("INSERT INTO feed VALUES (1, 0, 1, NULL, 0, 0)", "feed_check"),
            ("INSERT INTO head SELECT 2, 0, 0, 0, 0, 0, store_id FROM head", "head_id_check"),
            ("UPDATE users SET epoch = 4294967296", "users_epoch_check"),
            ("DELETE FROM users", "sessions_user_id_fkey"),
        ])
        try connection.run("UPDATE users SET epoch = 4294967295")
    }

    @Test func `what belongs to a row goes with it`() throws {
        try connection.run(
            """
            INSERT INTO devices VALUES (\(Self.id(5)), \(Self.ada), 0, 0, 1);
            INSERT INTO preferences VALUES (\(Self.id(5)), 'language', 'de');
            INSERT INTO profiles
                VALUES (\(Self.ada), 1, 0, 1, 1, decode(repeat('00', 40 + 256), 'hex'));
            INSERT INTO profile_history
                VALUES (\(Self.ada), 1, 0, 1, decode(repeat('00', 40 + 256), 'hex'));
            INSERT INTO profile_digests
                VALUES ('email', \(Self.bytes(1, count: 32)), \(Self.ada), 1);
            DELETE FROM devices;
            DELETE FROM profiles;
            """)
        for table in ["preferences", "profile_history", "profile_digests"] {
            #expect(try connection.integers("SELECT count(*) FROM \(table)") == [0])
        }
    }
}

extension String {
    fileprivate func replacing(_ text: String, with other: String) -> String {
        replacingOccurrences(of: text, with: other)
    }
}
