// PostgreSQL behind the store: for many nodes, on a database that others keep and replicate.

import Foundation
import GatehouseCore
import Glibc
import Synchronization

/// A store in a database of PostgreSQL, 15 or later. Transactions are READ COMMITTED under advisory locks
/// (``WriteScope``); what is acknowledged is as durable as the server's `synchronous_commit`, which is never
/// below `on`.
final class PostgreSQLDriver: StoreDriver {
    /// Notifications that something was written which nodes follow.
    static let channel = "gatehouse"
    /// How often a transaction is begun again that met another, or whose connection was gone before it could
    /// have been done.
    static let maximumAttempts = 5
    /// "gate" and a number that tells locks of ours apart: the lock of all writes.
    static let storeLock = "1734440037, 3"
    /// How long a statement may take with which this node follows the others, at most. Each reads a few rows;
    /// a server that doesn't answer is to be noticed while the lease lasts.
    static let followTimeout = Duration.seconds(3)

    let schemaVersion = PostgreSQLSchema.version
    let presence: any NodePresence = SharedPresence()
    private let pool: PostgreSQLPool
    /// A connection of its own for following the feed, so that no work of others delays it.
    private let follower: PostgreSQLPool
    private let listener: PostgreSQLListener
    private let identity: [UInt8]

    /// Opens the store.
    ///
    /// - Parameters:
    ///   - connections: for all but following, at most.
    ///   - createIfMissing: whether to make and migrate the tables; only the server does.
    ///   - continuingCopy: whether a part of another store may be in it.
    init(
        _ options: PostgreSQLOptions, connections: Int, createIfMissing: Bool,
        continuingCopy: Bool = false
    ) throws(StoreError) {
        do {
            identity = try Self.prepare(
                options, createIfMissing: createIfMissing, continuingCopy: continuingCopy)
        } catch { throw Self.storeError(error) }
        let silence = PostgreSQLSilence()
        pool = PostgreSQLPool(options, size: connections, silence: silence)
        var following = options
        following.statementTimeout = min(options.statementTimeout, Self.followTimeout)
        follower = PostgreSQLPool(following, size: 1, silence: silence)
        listener = PostgreSQLListener(following, silence: silence)
    }

    deinit { stop() }

    private func stop() {
        pool.close()
        follower.close()
        listener.close()
    }

    /// Migrates where it may; gives what tells this store from others.
    private static func prepare(
        _ options: PostgreSQLOptions, createIfMissing: Bool, continuingCopy: Bool
    ) throws -> [UInt8] {
        var patient = options
        if createIfMissing { patient.statementTimeout = PostgreSQLMigrator.statementTimeout }
        let connection = try PostgreSQLConnection(connecting: patient)
        defer { connection.close() }
        let migrator = PostgreSQLMigrator(connection)
        guard let now = UnixTime(seconds: Int64(time(nil))) else {
            throw StoreError.unavailable("the clock is before 1970")
        }
        if createIfMissing {
            _ = try migrator.migrate(at: now)
            try makeReady(connection, at: now)
        } else {
            _ = try migrator.check()
        }
        let engine = PostgreSQLEngine(connection)
        let isPart = try Database(engine).hasCopyMarker()
        guard continuingCopy || !isPart else { throw SQLStore.unfinishedCopy }
        guard let row = try engine.rows("SELECT store_id FROM head", []).first else {
            throw StoreError.damaged("head")
        }
        return try row.bytes("store_id")
    }

    /// What a new database lacks besides its tables.
    private static func makeReady(_ connection: PostgreSQLConnection, at now: UnixTime) throws {
        let engine = PostgreSQLEngine(connection)
        try engine.queue("BEGIN")
        try engine.queue("SELECT pg_advisory_xact_lock(\(storeLock))")
        let db = Database(engine)
        try db.execute(
            sql: """
                UPDATE skeletons SET version = ?
                WHERE version = '' AND NOT EXISTS (SELECT 1 FROM names)
                """, arguments: [Username.skeletonVersion])
        try Self.addPartitions(db, at: now)
        do { try engine.commit() } catch {
            engine.rollBack()
            throw error
        }
    }

    private static func addPartitions(_ db: Database, at now: UnixTime) throws {
        let span = PostgreSQLPartitions.span(at: now)
        _ = try db.row(
            sql: "SELECT gatehouse_add_partitions(?, ?)",
            arguments: [span.lowerBound, span.upperBound])
    }

    // MARK: Transactions

    private func pool(_ lane: StoreLane) -> PostgreSQLPool { lane == .work ? pool : follower }

    func read<Value: Sendable>(
        on lane: StoreLane, _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws -> Value {
        try await Self.retrying(on: pool(lane)) { engine in
            try engine.queue("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            let value = try body(Database(engine))
            try engine.commit()
            return value
        }
    }

    func readOne<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws -> Value {
        try await Self.retrying(on: pool) { try body(Database($0)) }
    }

    func follow<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws -> Value {
        try await Self.retrying(on: follower) { try body(Database($0)) }
    }

    func write<Value: Sendable>(
        _ scope: WriteScope, at now: UnixTime, on lane: StoreLane,
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws -> Value {
        try await Self.retrying(on: pool(lane)) { [presence] engine in
            let db = Database(engine)
            try Self.begin(scope, engine, db)
            var latest: Int64?
            try engine.queue(
                """
                SELECT latest_time, CAST(extract(epoch FROM clock_timestamp()) AS bigint) FROM head
                """
            ) { result in
                guard result.rowCount == 1,
                    case .integer(let time) = try result.value(row: 0, column: 0),
                    case .integer(let clock) = try result.value(row: 0, column: 1)
                else { throw StoreError.damaged("head") }
                latest = time
                try Self.checkClock(db, presence, now: now.seconds, latest: time, clock: clock)
            }
            let value = try body(db)
            if latest == nil { try engine.flush() }
            if let latest, latest < now.seconds { try Self.noteTime(now, engine) }
            FaultPoint.pass()
            try engine.commit()
            return value
        }
    }

    /// Whoever has the row writes the time itself.
    ///
    /// - Parameter least: the least time of the store that is moved on.
    private static func noteTime(
        _ now: UnixTime, from least: Int64 = .min, _ engine: PostgreSQLEngine
    ) throws {
        try engine.queue(
            """
            UPDATE head SET latest_time = :now WHERE id IN
                (SELECT id FROM head WHERE latest_time < :now AND latest_time >= :least
                    FOR UPDATE SKIP LOCKED)
            """, ["now": now.seconds, "least": least])
    }

    /// All of it is sent at once.
    func writeOne(
        _ scope: WriteScope, at now: UnixTime, _ statement: Query
    ) async throws -> [Row] {
        try await Self.retrying(on: pool) { engine in
            try Self.begin(scope, engine, Database(engine))
            try engine.prefetch([statement])
            // Further ahead it is for a transaction that asks the database's clock.
            try Self.noteTime(now, from: now.seconds - clockSkewSeconds, engine)
            FaultPoint.pass()
            try engine.commit()
            return try engine.rows(statement.sql, statement.arguments)
        }
    }

    private static func begin(
        _ scope: WriteScope, _ engine: PostgreSQLEngine, _ db: Database
    ) throws {
        try engine.queue("BEGIN ISOLATION LEVEL READ COMMITTED")
        let isShared = scope.isExclusive ? "" : "_shared"
        try engine.queue("SELECT pg_advisory_xact_lock\(isShared)(\(storeLock))")
        let owners = Set(scope.owners + (try scope.find?(db) ?? [])).sorted()
        for owner in owners { try engine.queue("SELECT pg_advisory_xact_lock(?)", [owner]) }
    }

    /// Refuses to let one wrong clock move the store's time, unless the database's own clock agrees with it:
    /// all other nodes would be behind, and answer 503. Where the time leaps and no node is there to tell,
    /// that is noted, whatever the database's clock says, which may be the same one: what can't be undone
    /// waits (``ClockLeap``).
    private static func checkClock(
        _ db: Database, _ presence: any NodePresence, now: Int64, latest: Int64, clock: Int64
    ) throws {
        let lead = now - latest
        if lead > clockSkewSeconds, now - clock > clockSkewSeconds {
            let living = try db.rows(
                sql: "SELECT id FROM nodes WHERE heartbeat + lease_seconds + ? >= ?",
                arguments: [NodeRecord.graceSeconds + clockSkewSeconds, clock])
            for row in living where !presence.isOurs(NodeID(try row.identifier("id"))) {
                throw StoreError.clockAhead(seconds: lead)
            }
        }
        // A new store's time says nothing.
        guard lead > SQLStore.maximumClockLeadSeconds, latest > 0 else { return }
        try db.execute(sql: "UPDATE clock_leaps SET time = ?", arguments: [now])
    }

    func setClock(
        at now: UnixTime, _ body: @escaping @Sendable (Database) throws -> Void
    ) async throws {
        try await Self.retrying(on: pool) { engine in
            let db = Database(engine)
            try Self.begin(.store, engine, db)
            try db.execute(sql: "UPDATE head SET latest_time = ?", arguments: [now.seconds])
            try body(db)
            try engine.commit()
        }
    }

    /// Does `body` as often as it takes: anew where it met another transaction, and where the connection
    /// broke before its end was sent. What may have been done is never done again.
    private static func retrying<Value: Sendable>(
        on pool: PostgreSQLPool,
        _ body: @escaping @Sendable (PostgreSQLEngine) throws -> Value
    ) async throws -> Value {
        var attempt = 1
        while true {
            do {
                return try await pool.run { connection in
                    let engine = PostgreSQLEngine(connection)
                    do { return try body(engine) } catch {
                        let isEnding = engine.isEnding
                        engine.rollBack()
                        if let error = error as? PostgreSQLError {
                            // Another of the hosts may be the one that writes by now.
                            if error.isReadOnly { connection.close() }
                            if error == .timedOut { pool.silence.note() }
                            throw Failure(error: error, mayBeDone: isEnding)
                        }
                        throw error
                    }
                }
            } catch let failure as Failure {
                guard attempt < maximumAttempts, failure.isWorthAnother else { throw failure.error }
                if failure.error.isStalePreparation { pool.noteNewSchema() }
            }
            let pause = Duration.milliseconds(1 << attempt) * Double.random(in: 0.5...1)
            try await Task.sleep(for: pause)
            attempt += 1
        }
    }

    private struct Failure: Error {
        let error: PostgreSQLError
        let mayBeDone: Bool

        var isWorthAnother: Bool {
            switch error {
            case .unreachable: true
            case .lost: !mayBeDone
            case .server(let state, _, _):
                state.isSerializationFailure || state.isDeadlock || state.isStalePreparation
                    || !mayBeDone && (state.isShutdown || state.isReadOnly)
            case .timedOut, .textHasNUL, .unexpectedType: false
            }
        }
    }

    func storeError(_ error: any Error) -> StoreError { Self.storeError(error) }

    static func storeError(_ error: any Error) -> StoreError {
        switch error {
        case let error as StoreError: error
        case let error as PostgreSQLError: storeError(error)
        case is CancellationError: .unavailable("cancelled")
        default: .unavailable("\(type(of: error))")
        }
    }

    private static func storeError(_ error: PostgreSQLError) -> StoreError {
        switch error {
        case .unreachable(let text): .unavailable("PostgreSQL: \(text)")
        case .lost: .unavailable("the connection to PostgreSQL broke")
        case .timedOut: .unavailable("PostgreSQL does not answer")
        case .textHasNUL: .unavailable("PostgreSQL takes no text with a NUL")
        case .unexpectedType(let column): .damaged(column)
        case .server(let state, _, let message):
            if state.code == "55000" {
                .schema(PostgreSQLSchemaRule.newer)
            } else if state.isSerializationFailure || state.isDeadlock || state.isLockTimeout
                || state.isStatementTimeout || state.isTooManyConnections
            {
                .busy
            } else if state.isReadOnly {
                .unavailable("the database can't be written to")
            } else if state.isDiskFull {
                .unavailable("the disk is full")
            } else if state.isShutdown || state.isConnection {
                .unavailable("PostgreSQL is shutting down")
            } else if state.isDamaged {
                .damaged("the database")
            } else if state.isRaise || state.isInsufficientPrivilege || state.isUndefinedTable {
                .unavailable("PostgreSQL: \(message)")
            } else {
                .unavailable("PostgreSQL: \(state.code)")
            }
        }
    }

    // MARK: Besides SQL

    func waitForChange(milliseconds: Int) async {
        await listener.wait(milliseconds: milliseconds)
    }

    let identityQueries = [Query("SELECT store_id FROM head")]

    func checkIdentity(_ db: Database) throws {
        guard try db.row(identityQueries[0])?.bytes("store_id") == identity else {
            throw StoreError.replaced
        }
    }

    /// How long upkeep waits for a table that somebody reads, in milliseconds: others wait behind it. Longer
    /// than `deadlock_timeout`, 1 s unless set, after which an autovacuum gives way.
    static let partitionLockMilliseconds = 1200

    /// Whether there is a bucket to make, or one to drop, or a row that belongs to none.
    private static func isUpkeepDue(
        _ db: Database, before time: UnixTime, at now: UnixTime
    ) throws -> Bool {
        let queries = PostgreSQLPartitions.deadlines.map { parent, deadline in
            Query("SELECT 1 FROM \(parent)_default WHERE \(deadline) < ? LIMIT 1", [time.seconds])
        }
        let buckets = Query(
            """
            SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
            WHERE inhparent IN (CAST('sessions' AS regclass), CAST('feed' AS regclass))
            """)
        try db.prefetch(queries + [buckets])
        for query in queries where try db.row(query) != nil { return true }
        let there = Set(try db.rows(buckets).map { try $0.text("relname") })
        return PostgreSQLPartitions.deadlines.contains { parent, _ in
            !there.isSuperset(of: PostgreSQLPartitions.names(of: parent, at: now))
                || there.contains {
                    PostgreSQLPartitions.end(of: $0, in: parent) ?? .max <= time.seconds
                }
        }
    }

    func dropExpired(before time: UnixTime, limit: Int, at now: UnixTime) async throws -> Int {
        // Most of the time nothing is: the lock would make everybody wait for nothing.
        let isDue = try await readOne { try Self.isUpkeepDue($0, before: time, at: now) }
        guard isDue else { return 0 }
        return try await write(.store, at: now, on: .work) { db in
            try db.allow(SQLStore.upkeepTimeout)
            try db.execute(sql: "SET LOCAL lock_timeout = \(Self.partitionLockMilliseconds)")
            try Self.addPartitions(db, at: now)
            _ = try db.row(
                sql: "SELECT gatehouse_drop_partitions(?, ?)", arguments: [time.seconds, limit])
            // Whole tables: nothing is left for another step.
            return 0
        }
    }

    /// The server keeps its log by its own rules (README).
    func eraseLog() async throws -> Bool { true }

    /// What durability, safety and erasure rest on.
    static let settingNames = [
        "server_version", "server_encoding", "synchronous_commit", "fsync", "full_page_writes",
        "max_connections", "superuser_reserved_connections", "reserved_connections",
        "data_checksums", "ssl", "transaction_read_only",
    ]

    func settings() async throws -> [String: String] {
        try await Self.retrying(on: pool) { engine in
            let db = Database(engine)
            var settings: [String: String] = [:]
            settings["sslmode"] = engine.sslMode
            for row in try db.rows(
                sql: """
                    SELECT name, setting FROM pg_settings
                    WHERE name = ANY (string_to_array(?, ','))
                    UNION ALL SELECT 'role_is_superuser', CAST(rolsuper AS text) FROM pg_roles
                        WHERE rolname = current_user
                    UNION ALL SELECT 'role_powers', concat_ws(',',
                        CASE WHEN rolcreatedb THEN 'createdb' END,
                        CASE WHEN rolcreaterole THEN 'createrole' END,
                        CASE WHEN rolreplication THEN 'replication' END,
                        CASE WHEN rolbypassrls THEN 'bypassrls' END,
                        (SELECT string_agg(CAST(other.rolname AS text), ',' ORDER BY other.rolname)
                            FROM pg_roles AS other
                            WHERE other.rolname LIKE 'pg~_%' ESCAPE '~'
                                AND other.rolname != 'pg_database_owner' AND NOT pg_roles.rolsuper
                                AND pg_has_role(pg_roles.oid, other.oid, 'member')))
                        FROM pg_roles WHERE rolname = current_user
                    UNION ALL SELECT 'schema_is_open',
                        CAST(EXISTS (SELECT 1 FROM pg_namespace, aclexplode(nspacl)
                            WHERE nspname = current_schema() AND grantee = 0
                                AND privilege_type = 'CREATE') AS text)
                    UNION ALL SELECT 'connection_uses_tls',
                        CAST(coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()),
                            false) AS text)
                    UNION ALL SELECT 'connection_is_local',
                        CAST(inet_client_addr() IS NULL OR host(inet_client_addr()) IN
                            ('127.0.0.1', '::1') AS text)
                    UNION ALL SELECT 'clock',
                        CAST(CAST(extract(epoch FROM clock_timestamp()) AS bigint) AS text)
                    """, arguments: [Self.settingNames.joined(separator: ",")])
            {
                settings[try row.text("name")] = try row.text("setting")
            }
            return settings
        }
    }

    func integrityFindings() async throws -> [String] {
        try await readOne { db in
            try db.rows(
                sql: """
                    SELECT 'the index ' || relname || ' is not valid' AS finding
                    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
                    WHERE NOT indisvalid AND relnamespace = CAST(current_schema() AS regnamespace)
                    UNION ALL
                    SELECT 'the constraint ' || conname || ' is not valid' FROM pg_constraint
                    WHERE NOT convalidated
                        AND connamespace = CAST(current_schema() AS regnamespace)
                    UNION ALL
                    SELECT checksum_failures || ' page(s) failed their checksum'
                    FROM pg_stat_database
                    WHERE datname = current_database() AND checksum_failures > 0
                    """
            ).map { try $0.text("finding") }
        }
    }

    /// How long the end of connections may take; a statement that hangs has longer, and is left to it.
    static let closeSeconds = 2.0

    func close() throws {
        stop()
        let deadline = Date(timeIntervalSinceNow: Self.closeSeconds)
        pool.waitForThreads(until: deadline)
        follower.waitForThreads(until: deadline)
        listener.waitForThread(until: deadline)
    }

    func isSame(as other: any StoreDriver) -> Bool {
        (other as? PostgreSQLDriver)?.identity == identity
    }
}

/// Nodes of many machines: of others than this process only the rows are known.
final class SharedPresence: NodePresence {
    /// As far as clocks may be apart.
    let clockMarginSeconds = clockSkewSeconds
    private let ours = Mutex<Set<NodeID>>([])

    func hold(_ node: NodeID) throws(StoreError) { ours.withLock { _ = $0.insert(node) } }
    func release(_ node: NodeID) { ours.withLock { _ = $0.remove(node) } }
    func isOurs(_ node: NodeID) -> Bool { ours.withLock { $0.contains(node) } }
    func isGone(_ node: NodeID) -> Bool { false }
    func forget(_ node: NodeID) {}
    func strangers() -> [NodeID] { [] }
}
