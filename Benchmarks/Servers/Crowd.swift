// As many users and sessions as a large site has, written as the program writes them.

import Foundation
import GRDB
import GatehouseCore
import Glibc

/// The database that a crowd is in.
enum CrowdedDatabase {
    /// Of a server that does not run meanwhile.
    case sqlite(file: String)
    case postgresql(PostgreSQLDatabase)

    /// Runs statements, one transaction for all; what the last one gives is told as text, without its
    /// columns' names.
    @discardableResult
    func run(_ statements: [String]) throws -> String {
        switch self {
        case .postgresql(let database): return try database.run(statements)
        case .sqlite(let file):
            // Rows go to places all over the file: with SQLite's usual two megabytes each is read anew.
            var configuration = Configuration()
            configuration.prepareDatabase { try $0.execute(sql: "PRAGMA cache_size = -1048576") }
            let database = try DatabaseQueue(path: file, configuration: configuration)
            let told = try database.write { db in
                db.add(function: Self.userID)
                for statement in statements.dropLast() { try db.execute(sql: statement) }
                return try statements.last.flatMap { try String.fetchOne(db, sql: $0) }
            }
            try database.close()
            return told ?? ""
        }
    }

    /// SQLite makes random bytes, but no UUIDs.
    private static let userID = DatabaseFunction("crowd_user_id", argumentCount: 0) { _ in
        Data(try UserID.random(from: .system).value.bytes)
    }

    /// A table of one column, `value`, from 1 to `count`, for `FROM`.
    fileprivate func numbers(_ count: Int) -> String {
        switch self {
        case .postgresql: "generate_series(1, \(count)) AS number (value)"
        case .sqlite:
            """
            (WITH RECURSIVE number (value) AS
                (SELECT 1 UNION ALL SELECT value + 1 FROM number WHERE value < \(count))
            SELECT value FROM number) AS number
            """
        }
    }

    fileprivate var newUserID: String {
        switch self {
        case .postgresql: "uuid_send(gen_random_uuid())"
        case .sqlite: "crowd_user_id()"
        }
    }

    fileprivate var newID: String {
        switch self {
        case .postgresql: "uuid_send(gen_random_uuid())"
        case .sqlite: "randomblob(16)"
        }
    }

    /// A whole number from 0, below `bound`.
    fileprivate func random(below bound: Int64) -> String {
        switch self {
        case .postgresql: "CAST(floor(random() * \(bound)) AS bigint)"
        case .sqlite: "abs(random() % \(bound))"
        }
    }

    /// ``Crowd/name(_:)`` of the column `number`.
    fileprivate var name: String {
        switch self {
        case .postgresql:
            return """
                '\(Crowd.prefix)' || translate(lpad(CAST(number AS text), \(Crowd.digits), '0'),
                    '0123456789', '\(String(Crowd.letters))')
                """
        case .sqlite:
            let digits = "printf('%0\(Crowd.digits)d', number)"
            return "'\(Crowd.prefix)' || "
                + Crowd.letters.enumerated().reduce(digits) { text, letter in
                    "replace(\(text), '\(letter.offset)', '\(letter.element)')"
                }
        }
    }

    /// Bytes that `tables` take, with their indexes.
    func bytes(_ tables: [String]) throws -> Int {
        let query =
            switch self {
            case .postgresql:
                """
                SELECT sum(pg_total_relation_size(coalesce(part.relid, root)))
                FROM unnest(CAST(ARRAY[\(tables.map { "'\($0)'" }.joined(separator: ", "))]
                        AS regclass[])) AS root
                    LEFT JOIN LATERAL pg_partition_tree(root) AS part ON part.isleaf
                """
            case .sqlite:
                // SQLite tells of the whole file only: with what is in it before.
                "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            }
        guard let bytes = Int(try run([query])) else {
            throw BenchmarkFailure("the database does not tell its size")
        }
        return bytes
    }

    /// What a database does by itself some time after so many rows have come.
    func settle() throws {
        guard case .postgresql(let database) = self else { return }
        try database.runOutside("VACUUM ANALYZE")
    }
}

/// Users with a session each, and their names.
struct Crowd {
    let count: Int

    static let prefix = "scale-"
    /// Digits of a number: a hundred million is as many as anybody measures.
    static let digits = 8
    /// What stands for digits. None of them looks like another letter, so that a name is its own skeleton;
    /// ``init(count:)`` sees to it.
    static let letters = Array("bcdfghjkpq")
    /// Of the first that a session was begun before.
    static let sessionAgeSeconds: Int64 = 3600
    /// `session.idle` and `session.absolute`: as long as anybody measures.
    static let sessionLifetimeSeconds: Int64 = 24 * 3600

    init(count: Int) throws {
        self.count = count
        for number in 1...10 {
            let name = try Username(Self.name(number * 11_111_111 % 100_000_000))
            guard name.skeleton == name.utf8 else {
                throw BenchmarkFailure("\(name.text) has a skeleton that is not itself")
            }
        }
    }

    static func name(_ number: Int) -> String {
        let text = String(number)
        let zeros = String(repeating: "0", count: max(0, digits - text.count))
        return prefix
            + String((zeros + text).compactMap { $0.wholeNumberValue.map { letters[$0] } })
    }

    /// One of them.
    func anyName() -> String { Self.name(.random(in: 1...count)) }

    /// Users, whose password is that of `model`.
    func addUsers(to database: CrowdedDatabase, like model: String) throws {
        let now = time(nil)
        try database.run([
            """
            INSERT INTO users (id, state, epoch, created, password_hash, test)
            SELECT \(database.newUserID), 'enabled', 0, \(now), model.password_hash, 1
            FROM \(database.numbers(count)),
                (SELECT password_hash FROM users JOIN names ON names.user_id = users.id
                    WHERE canonical = '\(model)') AS model
            """,
            """
            INSERT INTO names (canonical, skeleton, user_id, state, since)
            SELECT \(database.name), \(database.name), id, 'live', \(now)
            FROM (SELECT id, row_number() OVER (ORDER BY \(database.random(below: 1 << 40))) AS number
                FROM users WHERE NOT EXISTS (SELECT 1 FROM names WHERE user_id = users.id)) AS crowd
            """,
            // A transaction's last statement tells something.
            "SELECT count(*) FROM names",
        ])
        let added = try database.run([
            "SELECT count(*) FROM names WHERE canonical LIKE '\(Self.prefix)%'"
        ])
        guard added == String(count) else {
            throw BenchmarkFailure("\(added) users instead of \(count)")
        }
    }

    /// A session of each, from a sign-in within the last hour.
    func addSessions(to database: CrowdedDatabase) throws {
        let now = time(nil)
        let deadline = Int64(now) + Self.sessionLifetimeSeconds
        let added = try database.run([
            """
            INSERT INTO sessions (id, user_id, epoch, created, authenticated, idle_deadline,
                absolute_deadline, methods, level, remembered, browser, place)
            SELECT \(database.newID), id, 0, born, born, \(deadline), \(deadline),
                \(AuthenticationMethods.password.rawValue),
                \(AuthenticationLevel.password.rawValue), 0, 'Firefox on Linux', '203.0.113.0/24'
            FROM (SELECT user_id AS id,
                    \(now) - \(database.random(below: Self.sessionAgeSeconds)) AS born
                FROM names WHERE canonical LIKE '\(Self.prefix)%') AS crowd
            """,
            "SELECT count(*) FROM sessions WHERE methods != 0",
        ])
        guard added == String(count) else {
            throw BenchmarkFailure("\(added) sessions instead of \(count)")
        }
    }

    /// As many revocations of sessions. The server must not be running: it loads them when it starts.
    func addRevocations(to database: CrowdedDatabase) throws {
        let now = Int64(time(nil))
        try database.run([
            """
            INSERT INTO feed (sequence, time, kind, subject, value, deadline)
            SELECT (SELECT sequence FROM head) + value, \(now), 1, \(database.newID), 0,
                \(now + GatehouseServer.revocationLifetimeSeconds)
            FROM \(database.numbers(count))
            """,
            "UPDATE head SET sequence = sequence + \(count)",
            "SELECT sequence FROM head",
        ])
    }
}
