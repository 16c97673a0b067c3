// SQLite behind the store, by GRDB: one writer, many readers, nothing acknowledged before it is on the disk.

import Foundation
import GRDB
import GatehouseCore
import Glibc

/// A store in one file. WAL, `synchronous=FULL`, `secure_delete`, foreign keys, immediate transactions, a
/// busy timeout (DESIGN section 12).
final class SQLiteDriver: StoreDriver {
    /// How often others' changes are looked for, in milliseconds.
    static let pollMilliseconds = 100

    let pool: DatabasePool
    /// A connection of its own for following the feed, so that no long query of others delays it.
    private let follower: DatabaseQueue
    private let locks: NodeLocks
    private let path: String
    private let file: FileIdentity?

    var schemaVersion: Int { SQLiteSchema.version }
    var presence: any NodePresence { locks }

    /// Opens the store in `directory`.
    ///
    /// - Parameters:
    ///   - createIfMissing: whether to make and migrate it; otherwise a missing or older database is
    ///     an error, because only the server migrates.
    ///   - continuingCopy: whether a part of another store may be in it.
    init(
        directory: String, createIfMissing: Bool, continuingCopy: Bool = false
    ) throws(StoreError) {
        let path = directory + "/" + SQLStore.fileName
        guard unsafe createIfMissing || access(path, F_OK) == 0 else {
            throw .unavailable("there is no database at \(path)")
        }
        do {
            var configuration = Configuration()
            configuration.busyMode = .timeout(SQLStore.busyTimeoutSeconds)
            configuration.maximumReaderCount = 4
            configuration.foreignKeysEnabled = true
            configuration.prepareDatabase { db in
                try db.execute(sql: "PRAGMA secure_delete = ON")
            }
            pool = try DatabasePool(path: path, configuration: configuration)
            // GRDB chooses NORMAL for WAL, which may lose the last transactions in a power cut.
            try pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = FULL") }
            if createIfMissing {
                try Self.migrate(pool, lockPath: directory + "/migrate.lock")
            }
            let applied = try pool.read { try SQLiteSchema.migrator.appliedIdentifiers($0) }
            guard applied == SQLiteSchema.currentMigrations else {
                throw StoreError.schema(
                    applied.isSubset(of: SQLiteSchema.currentMigrations)
                        ? "the database is of an older release; `gatehouse serve` migrates it"
                        : "the database is of a newer release than this program")
            }
            let isPart = try pool.read { try $0.tableExists(SQLStore.copyMarker) }
            guard continuingCopy || !isPart else { throw SQLStore.unfinishedCopy }
            var followerConfiguration = Configuration()
            followerConfiguration.readonly = true
            followerConfiguration.busyMode = .timeout(SQLStore.busyTimeoutSeconds)
            follower = try DatabaseQueue(path: path, configuration: followerConfiguration)
        } catch { throw Self.storeError(error) }
        self.path = path
        file = FileIdentity(path)
        locks = try NodeLocks(directory: directory + "/nodes", database: file)
    }

    /// Migrates under a lock file: two servers that start together do it once.
    private static func migrate(_ pool: DatabasePool, lockPath: String) throws {
        let descriptor = unsafe open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0, flock(descriptor, LOCK_EX) == 0 else {
            throw StoreError.unavailable("cannot lock \(lockPath): errno \(errno)")
        }
        defer { Glibc.close(descriptor) }
        let applied = try pool.read { try SQLiteSchema.migrator.appliedIdentifiers($0) }
        // A newer release's database is left as it is; the caller refuses it.
        guard applied.isSubset(of: SQLiteSchema.currentMigrations) else { return }
        try SQLiteSchema.migrator.migrate(pool)
    }

    // MARK: Transactions

    func read<Value: Sendable>(
        on lane: StoreLane, _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws -> Value {
        try await pool.read { try body(Database(SQLiteEngine($0))) }
    }

    func readOne<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws -> Value {
        try await read(on: .work, body)
    }

    func follow<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws -> Value {
        try await follower.read { try body(Database(SQLiteEngine($0))) }
    }

    /// One immediate transaction, whose scope is the store whatever it needs.
    func write<Value: Sendable>(
        _ scope: WriteScope, at now: UnixTime, on lane: StoreLane,
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws -> Value {
        try await pool.write { [locks] connection in
            let db = Database(SQLiteEngine(connection))
            try Self.checkClock(db, locks: locks, at: now)
            let value = try body(db)
            try db.execute(
                sql: "UPDATE head SET latest_time = :now WHERE latest_time < :now",
                arguments: ["now": now.seconds])
            FaultPoint.pass()
            return value
        }
    }

    func writeOne(
        _ scope: WriteScope, at now: UnixTime, _ statement: Query
    ) async throws -> [Row] {
        try await write(scope, at: now, on: .work) { try $0.rows(statement) }
    }

    /// Refuses to let one wrong clock move the store's time, after which every node would answer 503. Where
    /// no node lives to tell, the leap is noted: what can't be undone waits (``ClockLeap``).
    private static func checkClock(_ db: Database, locks: NodeLocks, at now: UnixTime) throws {
        guard
            let head = try db.row(sql: "SELECT latest_time FROM head"),
            case let lead = now.seconds - (try head.time("latest_time").seconds),
            lead > SQLStore.maximumClockLeadSeconds
        else { return }
        for row in try db.rows(sql: "SELECT id FROM nodes") {
            let id = NodeID(try row.identifier("id"))
            if !locks.isOurs(id), !locks.isGone(id) { throw StoreError.clockAhead(seconds: lead) }
        }
        // Nothing was running, or this clock is wrong; a new store's time says nothing.
        guard try head.time("latest_time").seconds > 0 else { return }
        try db.execute(
            sql: "UPDATE clock_leaps SET time = :now", arguments: ["now": now.seconds])
    }

    func setClock(
        at now: UnixTime, _ body: @escaping @Sendable (Database) throws -> Void
    ) async throws {
        try await pool.write { connection in
            let db = Database(SQLiteEngine(connection))
            try db.execute(sql: "UPDATE head SET latest_time = ?", arguments: [now.seconds])
            try body(db)
        }
    }

    func storeError(_ error: any Error) -> StoreError { Self.storeError(error) }

    static func storeError(_ error: any Error) -> StoreError {
        switch error {
        case let error as StoreError: return error
        case let error as DatabaseError:
            switch error.resultCode {
            case .SQLITE_BUSY, .SQLITE_LOCKED: return .busy
            case .SQLITE_CORRUPT, .SQLITE_NOTADB: return .damaged("the database file")
            case .SQLITE_FULL: return .unavailable("the disk is full")
            case .SQLITE_READONLY: return .unavailable("the database can't be written to")
            case .SQLITE_CANTOPEN: return .unavailable("the database can't be opened")
            default: return .unavailable("SQLite: \(error.resultCode)")
            }
        case is CancellationError: return .unavailable("cancelled")
        default: return .unavailable("\(type(of: error))")
        }
    }

    // MARK: The file

    func waitForChange(milliseconds: Int) async {
        // Cut short when the caller is cancelled.
        try? await Task.sleep(for: .milliseconds(min(milliseconds, Self.pollMilliseconds)))
    }

    var identityQueries: [Query] { [] }

    func isSame(as other: any StoreDriver) -> Bool {
        (other as? SQLiteDriver)?.file == file
    }

    /// Whoever put another file in its place left this process with one that nobody sees.
    func checkIdentity(_ db: Database) throws {
        guard FileIdentity(path) == file else { throw StoreError.replaced }
    }

    /// Writes what is in the write-ahead log to the database file and closes it: a copy of that file alone
    /// is complete then, unless another process has it open.
    func close() throws {
        try follower.close()
        try pool.writeWithoutTransaction { _ = try $0.checkpoint(.truncate) }
        try pool.close()
    }

    /// Makes the write-ahead log empty, with all that was erased since: what it holds of older pages stays
    /// else until they are written over. False while somebody reads; nobody waits for it.
    func eraseLog() async throws -> Bool {
        do {
            var configuration = Configuration()
            configuration.busyMode = .immediateError
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            let isDone = try await queue.writeWithoutTransaction { db in
                try Int.fetchOne(db, sql: "PRAGMA wal_checkpoint(TRUNCATE)") == 0
            }
            try queue.close()
            return isDone
        } catch {
            if Self.storeError(error) == .busy { return false }
            throw error
        }
    }

    func dropExpired(before time: UnixTime, limit: Int, at now: UnixTime) async throws -> Int {
        try await write(.store, at: now, on: .work) { db in
            var removed = 0
            for (table, key, deadline) in [
                ("sessions", "id", "absolute_deadline"), ("feed", "sequence", "deadline"),
            ] {
                try db.execute(
                    sql: """
                        DELETE FROM \(table) WHERE \(key) IN
                            (SELECT \(key) FROM \(table) WHERE \(deadline) < ? LIMIT ?)
                        """,
                    arguments: [time.seconds, limit])
                removed += try db.changesCount
            }
            return removed
        }
    }

    /// The pragmas that durability and erasure rest on, as the writing connection has them.
    func settings() async throws -> [String: String] {
        try await pool.writeWithoutTransaction { db in
            var settings: [String: String] = [:]
            for name in ["synchronous", "secure_delete", "foreign_keys", "journal_mode"] {
                settings[name] = try String.fetchOne(db, sql: "PRAGMA \(name)")
            }
            return settings
        }
    }

    func integrityFindings() async throws -> [String] {
        try await pool.read { db in
            let lines = try String.fetchAll(db, sql: "PRAGMA integrity_check(20)")
            let foreign = try GRDB.Row.fetchAll(db, sql: "PRAGMA foreign_key_check")
            return lines.filter { $0 != "ok" }
                + (foreign.isEmpty ? [] : ["\(foreign.count) row(s) refer to rows that are gone"])
        }
    }
}

/// A connection of GRDB, inside a transaction.
final class SQLiteEngine: DatabaseEngine {
    private let db: GRDB.Database

    init(_ db: GRDB.Database) { self.db = db }

    var dialect: Database.Dialect { .sqlite }
    /// There is one file, and whoever opened it has it.
    var connection: UInt64 { 0 }
    var changesCount: Int { db.changesCount }

    func execute(_ sql: String, _ arguments: StatementArguments) throws {
        try db.cachedStatement(sql: sql).execute(arguments: arguments.ofGRDB)
    }

    var tail = LockedTail()

    /// Nothing waits.
    func flush() {}

    /// There is no way to save.
    func prefetch(_ queries: [Query]) {}

    /// Nothing ends a statement.
    func allow(_ duration: Duration) {}

    /// Whoever follows looks often enough.
    func tellNodes() {}

    /// There is one writer, who makes nobody wait longer.
    func count(_ sql: String, _ arguments: StatementArguments) throws {
        try execute(sql, arguments)
    }

    func forEach(
        _ sql: String, _ arguments: StatementArguments, _ body: (Row) throws -> Void
    ) throws {
        let cursor = try GRDB.Row.fetchCursor(
            db.cachedStatement(sql: sql), arguments: arguments.ofGRDB)
        var columns: Row.Columns?
        while let row = try cursor.next() {
            let names = columns ?? Row.Columns(Array(row.columnNames))
            columns = names
            try body(Row(columns: names, values: row.databaseValues.map { $0.ofStore }))
        }
    }

    func rows(_ sql: String, _ arguments: StatementArguments) throws -> [Row] {
        var rows: [Row] = []
        try forEach(sql, arguments) { rows.append($0) }
        return rows
    }
}

extension StatementArguments {
    fileprivate var ofGRDB: GRDB.StatementArguments {
        named.isEmpty
            ? GRDB.StatementArguments(positional.map(\.ofGRDB))
            : GRDB.StatementArguments(named.mapValues(\.ofGRDB))
    }
}

extension DatabaseValue {
    fileprivate var ofGRDB: GRDB.DatabaseValue {
        switch self {
        case .null: .null
        case .integer(let integer): integer.databaseValue
        case .text(let text): text.databaseValue
        case .blob(let data): data.databaseValue
        }
    }
}

extension GRDB.DatabaseValue {
    /// No column has fractions; one that was put there by others is no number.
    fileprivate var ofStore: DatabaseValue {
        switch storage {
        case .null: .null
        case .int64(let integer): .integer(integer)
        case .string(let text): .text(text)
        case .blob(let data): .blob(data)
        case .double(let number): .text("\(number)")
        }
    }
}
