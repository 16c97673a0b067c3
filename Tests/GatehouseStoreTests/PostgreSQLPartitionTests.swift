// Weekly partitions on a real server: rows go where they belong, and go with their week.

import Foundation
import GatehouseCore
import Testing

@testable import GatehouseStore

@Suite(.enabled(if: PostgreSQLTestSchema.server != nil, "no PostgreSQL server to test with"))
struct PostgreSQLPartitionTests {
    private static let week = PostgreSQLPartitions.bucketSeconds

    private let schema: PostgreSQLTestSchema
    private let connection: PostgreSQLConnection

    init() throws {
        schema = try PostgreSQLTestSchema()
        connection = try schema.connect()
        _ = try PostgreSQLMigrator(connection).migrate(at: UnixTime(clamping: 1_800_000_000))
        try connection.run(
            """
            INSERT INTO users (id, state, epoch, created)
            VALUES (decode(repeat('0a', 16), 'hex'), 'enabled', 0, 0)
            """)
    }

    /// A session and a feed row for each of the deadlines.
    private func fill(_ deadlines: [Int64]) throws {
        for deadline in deadlines {
            _ = try connection.query(
                PostgreSQLStatement(
                    """
                    INSERT INTO sessions (id, user_id, epoch, created, authenticated, idle_deadline,
                        absolute_deadline, methods, level, remembered)
                    SELECT uuid_send(gen_random_uuid()), id, 0, 0, 0, 0, ?, 1, 1, 0 FROM users
                    """), [.integer(deadline)])
            _ = try connection.query(
                PostgreSQLStatement(
                    """
                    INSERT INTO feed (sequence, time, kind, value, deadline)
                    SELECT (SELECT count(*) FROM feed) + 1, 0, 3, 0, ?
                    """), [.integer(deadline)])
        }
    }

    private func add(_ first: Int64, _ last: Int64) throws -> [Int64] {
        try connection.integers(
            "SELECT gatehouse_add_partitions(?, ?)", [.integer(first), .integer(last)])
    }

    private func drop(before time: Int64, most: Int64 = 100) throws -> [Int64] {
        try connection.integers(
            "SELECT gatehouse_drop_partitions(?, ?)", [.integer(time), .integer(most)])
    }

    /// The deadlines that a table has.
    private func deadlines(_ table: String) throws -> [Int64] {
        let column = table.hasPrefix("feed") ? "deadline" : "absolute_deadline"
        return try connection.integers("SELECT \(column) FROM \(table) ORDER BY 1")
    }

    private func isThere(_ table: String) throws -> Bool {
        try connection.integers("SELECT 1 WHERE to_regclass('\(table)') IS NOT NULL") == [1]
    }

    @Test func `rows that lay outside move into their week, to both of its ends`() throws {
        let week = Self.week
        let all = [10 * week - 1, 10 * week, 11 * week - 1, 11 * week, 12 * week]
        try fill(all)
        #expect(try add(10 * week + 5, 11 * week) == [4], "two of each")
        for table in ["sessions", "feed"] {
            #expect(try deadlines(table) == all)
            #expect(try deadlines("\(table)_10") == Array(all[1...2]))
            #expect(try deadlines("\(table)_11") == [11 * week])
            #expect(try deadlines("\(table)_default") == [10 * week - 1, 12 * week])
        }
        try fill([10 * week + 7])
        #expect(try deadlines("sessions_10").count == 3, "new ones go there too")
        #expect(try add(10 * week, 12 * week - 1) == [0])
    }

    @Test func `only weeks that have ended go, and of other rows at most so many`() throws {
        let week = Self.week
        try fill([1, 2, 3, 10 * week, 11 * week - 1, 11 * week])
        _ = try add(10 * week, 11 * week)
        #expect(try drop(before: 11 * week - 1, most: 2) == [4], "two rows of each")
        #expect(try deadlines("sessions") == [3, 10 * week, 11 * week - 1, 11 * week])
        #expect(try drop(before: 11 * week, most: 0) == [2], "a week of each")
        for table in ["sessions", "feed"] {
            #expect(try deadlines(table) == [3, 11 * week])
            #expect(try !isThere("\(table)_10"))
            #expect(try isThere("\(table)_11"))
        }
        #expect(try drop(before: 3) == [0], "of that second itself nothing goes")
        #expect(try drop(before: 4) == [2])
    }

    @Test func `a week's table is made as the others are`() throws {
        let week = Self.week
        try fill([10 * week])
        _ = try add(10 * week, 10 * week)
        let id = "uuid_send(gen_random_uuid())"
        let stranger = try #require(
            try connection.refusal(
                """
                INSERT INTO sessions (id, user_id, epoch, created, authenticated, idle_deadline,
                    absolute_deadline, methods, level, remembered)
                VALUES (\(id), \(id), 0, 0, 0, 0, \(10 * week), 1, 1, 0)
                """))
        #expect(stranger.state.isForeignKeyViolation)
        let late = try #require(
            try connection.refusal("UPDATE sessions_10 SET idle_deadline = \(10 * week + 1)"))
        #expect(late.state.isCheckViolation)
        let twice = try #require(
            try connection.refusal("INSERT INTO feed SELECT * FROM feed"))
        #expect(twice.state.isUniqueViolation)
    }

    @Test func `the feed is read from its end, whatever number of weeks it spans`() throws {
        let week = Self.week
        _ = try add(10 * week, 14 * week)
        try fill((0..<5).reversed().map { (10 + $0) * week })
        #expect(try deadlines("feed_14") == [14 * week])
        // As of a table that is too large to read.
        try connection.run("SET enable_seqscan = off; SET enable_sort = off")
        for query in [
            "SELECT sequence FROM feed WHERE sequence > 2 ORDER BY sequence LIMIT 2",
            "SELECT max(sequence) FROM feed",
        ] {
            let plan = try connection.query(PostgreSQLStatement("EXPLAIN " + query))
            let lines = try (0..<plan.rowCount).map { "\(try plan.value(row: $0, column: 0))" }
            #expect(lines.contains { $0.contains("Merge Append") })
            #expect(!lines.contains { $0.contains("->  Sort") || $0.contains("Seq Scan") })
        }
        #expect(
            try connection.integers(
                "SELECT sequence FROM feed WHERE sequence > 2 ORDER BY sequence LIMIT 2")
                == [3, 4])
    }

    @Test func `servers that make the same weeks at once make them once`() async throws {
        let week = Self.week
        try fill((10..<16).map { $0 * week })
        let made = try await withThrowingTaskGroup(of: [Int64].self) { group in
            for _ in 0..<4 {
                group.addTask { [schema] in
                    try schema.connect().integers(
                        "SELECT gatehouse_add_partitions(?, ?)",
                        [.integer(10 * week), .integer(15 * week)])
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(made.sorted() == [0, 0, 0, 12])
        #expect(try deadlines("sessions_default").isEmpty)
        #expect(try deadlines("sessions").count == 6)
    }

    @Test func `it doesn't matter where the caller looks for tables`() throws {
        try connection.run("SET search_path = pg_catalog")
        let made = try connection.integers(
            "SELECT \(schema.name).gatehouse_add_partitions(?, ?)",
            [.integer(Self.week), .integer(Self.week)])
        #expect(made == [2])
        try connection.run("SET search_path = \(schema.name)")
        #expect(try isThere("sessions_1"))
    }

    @Test func `a span without sense is refused`() throws {
        for span in ["-1, 5", "5, 4", "0, \(50 * Self.week)"] {
            let refusal = try #require(
                try connection.refusal("SELECT gatehouse_add_partitions(\(span))"), "\(span)")
            #expect(refusal.state.code == "22023")
        }
        #expect(try add(0, 50 * Self.week - 1) == [100])
    }

    @Test func `the span reaches beyond the longest session, in few weeks`() throws {
        let now = UnixTime(clamping: 1_800_000_000)
        let span = PostgreSQLPartitions.span(at: now)
        #expect(span.contains(now.seconds - clockSkewSeconds))
        #expect(span.contains(now.seconds + SessionLimits.maximumSeconds + 6 * 86_400))
        #expect(span.upperBound / Self.week - span.lowerBound / Self.week < 7)
        #expect(PostgreSQLPartitions.span(at: .zero).lowerBound == 0)
        _ = try add(span.lowerBound, span.upperBound)
    }
}
