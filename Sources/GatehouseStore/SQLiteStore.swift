// The store on SQLite: one writer, many readers, nothing acknowledged before it is on the disk.

import Foundation
import GRDB
package import GatehouseCore
import Glibc

/// A `Store` in one file. WAL, `synchronous=FULL`, `secure_delete`, foreign keys, immediate
/// transactions, a busy timeout (DESIGN section 12).
package final class SQLiteStore: Store {
    package static let fileName = "gatehouse.sqlite"
    /// How long a statement waits for another process's transaction, in seconds. Ours take
    /// milliseconds; a wait this long means that something is wrong.
    package static let busyTimeoutSeconds = 5.0

    private let pool: DatabasePool
    /// A connection of its own for following the feed, so that no long query of others delays it.
    private let follower: DatabaseQueue
    let locks: NodeLocks
    private let path: String
    let ledger: DeletionLedger
    private let file: FileIdentity?
    let signer = AuditSigner()

    /// Opens the store in `directory`.
    ///
    /// - Parameter createIfMissing: whether to make and migrate it; otherwise a missing or older
    ///   database is an error, because only the server migrates.
    package init(directory: String, createIfMissing: Bool) throws(StoreError) {
        let path = directory + "/" + Self.fileName
        guard unsafe createIfMissing || access(path, F_OK) == 0 else {
            throw .unavailable("there is no database at \(path)")
        }
        do {
            var configuration = Configuration()
            configuration.busyMode = .timeout(Self.busyTimeoutSeconds)
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
            let applied = try pool.read { try Schema.migrator.appliedIdentifiers($0) }
            guard applied == Schema.currentMigrations else {
                throw StoreError.schema(
                    applied.isSubset(of: Schema.currentMigrations)
                        ? "the database is of an older release; `gatehouse serve` migrates it"
                        : "the database is of a newer release than this program")
            }
            var followerConfiguration = Configuration()
            followerConfiguration.readonly = true
            followerConfiguration.busyMode = .timeout(Self.busyTimeoutSeconds)
            follower = try DatabaseQueue(path: path, configuration: followerConfiguration)
        } catch { throw Self.storeError(error) }
        self.path = path
        ledger = DeletionLedger(directory: directory)
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
        let applied = try pool.read { try Schema.migrator.appliedIdentifiers($0) }
        // A newer release's database is left as it is; the caller refuses it.
        guard applied.isSubset(of: Schema.currentMigrations) else { return }
        try Schema.migrator.migrate(pool)
    }

    func read<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(StoreError) -> Value {
        do { return try await pool.read(body) } catch { throw Self.storeError(error) }
    }

    /// One immediate transaction that also notes the time.
    func write<Value: Sendable>(
        at now: UnixTime, _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(StoreError) -> Value {
        let writing = signer.writing(AuditContext.current)
        FaultPoint.pass()
        do {
            let value = try await pool.write { [locks] db in
                try Self.checkClock(db, locks: locks, at: now)
                let value = try AuditWriting.$current.withValue(writing) { try body(db) }
                try db.execute(
                    sql: "UPDATE head SET latest_time = :now WHERE latest_time < :now",
                    arguments: ["now": now.seconds])
                FaultPoint.pass()
                return value
            }
            FaultPoint.pass()
            return value
        } catch { throw Self.storeError(error) }
    }

    /// How far a writer's clock may be ahead of the last heartbeat of a node that lives, in seconds.
    /// Above a node's longest silence and any skew; a clock that is off by years is what it catches.
    package static let maximumClockLeadSeconds: Int64 = 3600

    /// Refuses to let one wrong clock move the store's time, after which every node would answer 503. Where
    /// no node lives to tell, the leap is noted: what can't be undone waits (``ClockLeap``).
    private static func checkClock(_ db: Database, locks: NodeLocks, at now: UnixTime) throws {
        guard
            let head = try Row.fetchOne(db, sql: "SELECT latest_time FROM head"),
            case let lead = now.seconds - (try head.time("latest_time").seconds),
            lead > maximumClockLeadSeconds
        else { return }
        for row in try Row.fetchAll(db, sql: "SELECT id FROM nodes") {
            let id = NodeID(try row.identifier("id"))
            if !locks.isOurs(id), !locks.isGone(id) { throw StoreError.clockAhead(seconds: lead) }
        }
        // Nothing was running, or this clock is wrong; a new store's time says nothing.
        guard try head.time("latest_time").seconds > 0 else { return }
        try db.execute(
            sql: "UPDATE clock_leaps SET time = :now", arguments: ["now": now.seconds])
    }

    package static func storeError(_ error: any Error) -> StoreError {
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

    // MARK: The feed

    package func head() async throws(StoreError) -> StoreHead {
        // Whoever put another file in its place left this process with one that nobody sees.
        guard FileIdentity(path) == file else { throw .replaced }
        do {
            return try await follower.read { db in
                let row = try Row.fetchOne(
                    db,
                    sql: """
                        SELECT sequence, latest_time,
                            coalesce((SELECT max(version) FROM keyring), 0) AS keyring_version
                        FROM head
                        """)
                guard let row else { throw StoreError.damaged("head") }
                return StoreHead(
                    sequence: try row.number("sequence"),
                    keyringVersion: try row.number("keyring_version"),
                    latestTime: try row.time("latest_time"))
            }
        } catch { throw Self.storeError(error) }
    }

    package func strangers() async throws(StoreError) -> [NodeID] { locks.strangers() }

    /// Writes what is in the write-ahead log to the database file and closes it: a copy of that file alone
    /// is complete then, unless another process has it open.
    package func close() throws(StoreError) {
        do {
            try follower.close()
            try pool.writeWithoutTransaction { _ = try $0.checkpoint(.truncate) }
            try pool.close()
        } catch { throw Self.storeError(error) }
    }

    /// Makes the write-ahead log empty, with all that was erased since: what it holds of older pages stays
    /// else until they are written over. False while somebody reads; nobody waits for it.
    func truncateLog() throws(StoreError) -> Bool {
        do {
            var configuration = Configuration()
            configuration.busyMode = .immediateError
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            let isDone = try queue.writeWithoutTransaction { db in
                try Row.fetchOne(db, sql: "PRAGMA wal_checkpoint(TRUNCATE)")?.integer("busy") == 0
            }
            try queue.close()
            return isDone
        } catch {
            if Self.storeError(error) == .busy { return false }
            throw Self.storeError(error)
        }
    }

    package func acceptClock(at now: UnixTime) async throws(StoreError) {
        let writing = signer.writing(AuditContext.current)
        do {
            try await pool.write { db in
                try db.execute(
                    sql: "UPDATE head SET latest_time = ?", arguments: [now.seconds])
                try db.execute(sql: "UPDATE clock_leaps SET time = NULL")
                try AuditWriting.$current.withValue(writing) {
                    try Self.append(AuditEvent(.clockAccepted, by: .command), to: db, at: now)
                }
            }
        } catch { throw Self.storeError(error) }
    }

    package func feedCount(after position: UInt64) async throws(StoreError) -> Int {
        do {
            return try await follower.read { db in
                try Int.fetchOne(
                    db, sql: "SELECT count(*) FROM feed WHERE sequence > ?",
                    arguments: [Int64(clamping: position)]) ?? 0
            }
        } catch { throw Self.storeError(error) }
    }

    package func feed(
        after position: UInt64, limit: Int
    ) async throws(StoreError) -> [FeedEntry] {
        do {
            return try await follower.read { db in
                try Row.fetchAll(
                    db,
                    sql: """
                        SELECT sequence, kind, subject, value, deadline FROM feed
                        WHERE sequence > ? ORDER BY sequence LIMIT ?
                        """,
                    arguments: [Int64(clamping: position), limit]
                ).map { try $0.feedEntry() }
            }
        } catch { throw Self.storeError(error) }
    }

    /// Appends a feed row; its number comes from the head row, so that order is commit order.
    static func appendFeed(
        _ db: Database, kind: FeedKind, subject: Identifier?, value: Int64, deadline: UnixTime,
        at now: UnixTime
    ) throws -> UInt64 {
        let row = try Row.fetchOne(
            db, sql: "UPDATE head SET sequence = sequence + 1 RETURNING sequence")
        guard let sequence = try row?.integer("sequence") else { throw StoreError.damaged("head") }
        try db.execute(
            sql: """
                INSERT INTO feed (sequence, time, kind, subject, value, deadline)
                VALUES (?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                sequence, now.seconds, kind.rawValue, subject?.data, value, deadline.seconds,
            ])
        return UInt64(clamping: sequence)
    }

    // MARK: The keyring

    package func keyring() async throws(StoreError) -> WrappedKeyring? {
        try await read { try Self.keyring($0) }
    }

    private static func keyring(_ db: Database) throws -> WrappedKeyring? {
        guard let row = try Row.fetchOne(db, sql: "SELECT * FROM keyring") else { return nil }
        let wraps = try Row.fetchAll(db, sql: "SELECT * FROM keyring_wraps ORDER BY root_key_id")
        return WrappedKeyring(
            version: try row.number("version"),
            ringKey: try row.optionalWord("ring_key_id").map { RingKeyID(rawValue: $0) },
            sealed: try row.bytes("sealed"),
            wraps: try wraps.map { wrap in
                guard let root = try wrap.rootKey() else {
                    throw StoreError.damaged("root_key_id")
                }
                return WrappedKeyring.Wrap(rootKey: root, sealed: try wrap.bytes("sealed"))
            })
    }

    package func replaceKeyring(
        with ring: WrappedKeyring, onlyWhenLoaded: Bool, onlyAsLeader node: NodeID?,
        audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> KeyringReplacement {
        try await write(at: now) { [locks] db in
            let stored = try Self.keyring(db)
            let current = stored?.version ?? 0
            let live = try Self.liveNodes(db, locks: locks, at: now)
            let verdict = Barrier.verdict(
                replacing: current, with: ring.version, live: live, onlyWhenLoaded: onlyWhenLoaded,
                onlyAsLeader: node)
            guard verdict == .replaced else { return verdict }
            let stay = Set(ring.rootKeys)
            if !stay.isSuperset(of: stored?.rootKeys ?? []) {
                let waiting = live.filter { !($0.rootKey.map(stay.contains) ?? false) }
                guard waiting.isEmpty else { return .waitingForNodes(waiting.map(\.id)) }
            }
            try db.execute(
                sql: """
                    INSERT INTO keyring (id, version, ring_key_id, sealed) VALUES (1, ?, ?, ?)
                    ON CONFLICT (id) DO UPDATE SET version = excluded.version,
                        ring_key_id = excluded.ring_key_id, sealed = excluded.sealed
                    """,
                arguments: [
                    Int64(clamping: ring.version),
                    ring.ringKey.map { Data($0.rawValue.bigEndianBytes) }, Data(ring.sealed),
                ])
            try db.execute(sql: "DELETE FROM keyring_wraps")
            for wrap in ring.wraps {
                try db.execute(
                    sql: "INSERT INTO keyring_wraps (root_key_id, sealed) VALUES (?, ?)",
                    arguments: [
                        Data(wrap.rootKey.rawValue.bigEndianBytes), Data(wrap.sealed),
                    ])
            }
            for event in audit { try Self.append(event, to: db, at: now) }
            return .replaced
        }
    }

    package func keyUsage() async throws(StoreError) -> [KeyID: KeyUsage] {
        try await read { db in
            var usage: [KeyID: KeyUsage] = [:]
            for row in try Row.fetchAll(db, sql: "SELECT * FROM key_usage") {
                guard let id = KeyID(rawValue: try row.number("key_id")) else {
                    throw StoreError.damaged("key_id")
                }
                usage[id] = KeyUsage(
                    sealed: try row.number("sealed"), lastDeadline: try row.time("last_deadline"))
            }
            return usage
        }
    }

    // MARK: Nodes

    package func joinNode(
        _ id: NodeID, leaseSeconds: Int64, rootKey: RootKey.Identifier64?, rotates: Bool,
        at now: UnixTime
    ) async throws(StoreError) {
        try locks.hold(id)
        try await write(at: now) { db in
            try db.execute(
                sql: """
                    INSERT INTO nodes
                        (id, started, heartbeat, lease_seconds, position, keyring_version,
                            root_key_id, rotates, claims_version)
                    VALUES (?, ?, ?, ?, 0, 0, ?, ?, ?)
                    ON CONFLICT (id) DO UPDATE SET
                        heartbeat = excluded.heartbeat, position = 0, keyring_version = 0
                    """,
                arguments: [
                    id.value.data, now.seconds, now.seconds, leaseSeconds,
                    rootKey.map { Data($0.rawValue.bigEndianBytes) }, rotates,
                    Int64(Claims.actingVersion),
                ])
        }
    }

    package func beat(
        _ id: NodeID, position: UInt64, keyringVersion: UInt64, at now: UnixTime
    ) async throws(StoreError) -> Bool {
        try await write(at: now) { db in
            try db.execute(
                sql: """
                    UPDATE nodes SET heartbeat = ?, position = ?, keyring_version = ? WHERE id = ?
                    """,
                arguments: [
                    now.seconds, Int64(clamping: position), Int64(clamping: keyringVersion),
                    id.value.data,
                ])
            return db.changesCount == 1
        }
    }

    package func leaveNode(_ id: NodeID, at now: UnixTime) async throws(StoreError) {
        try await write(at: now) { db in
            try db.execute(sql: "DELETE FROM nodes WHERE id = ?", arguments: [id.value.data])
        }
        locks.release(id)
    }

    package func liveNodes(at now: UnixTime) async throws(StoreError) -> [NodeRecord] {
        try await read { [locks] db in try Self.liveNodes(db, locks: locks, at: now) }
    }

    static func liveNodes(
        _ db: Database, locks: NodeLocks, at now: UnixTime
    ) throws -> [NodeRecord] {
        let nodes = try Row.fetchAll(db, sql: "SELECT * FROM nodes ORDER BY id")
            .map { try $0.node() }
        return Barrier.live(nodes, at: now).filter { !locks.isGone($0.id) }
    }

    // MARK: Users

    private static let userColumns = """
        SELECT users.id, users.state, users.epoch, users.created, users.password_hash,
            names.canonical
        FROM names JOIN users ON users.id = names.user_id
        """

    package func addUser(
        _ username: Username, id: UserID, passwordHash: String?, takingReserved: Bool,
        audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> AddUserOutcome {
        try await write(at: now) { db in
            try Self.addUser(
                username, id: id, passwordHash: passwordHash, takingReserved: takingReserved,
                audit: audit, db, at: now)
        }
    }

    static func addUser(
        _ username: Username, id: UserID, passwordHash: String?, takingReserved: Bool,
        audit: AuditEvent, _ db: Database, at now: UnixTime
    ) throws -> AddUserOutcome {
        let user = User(
            id: id, username: username, state: .enabled, epoch: 0, created: now,
            passwordHash: passwordHash)
        switch try NameTable.claim(
            username, for: id, as: .live, takingReserved: takingReserved, db, at: now)
        {
        case .claimed: break
        case .taken: return .nameTaken
        case .outdated: return .skeletonsOutdated
        }
        try db.execute(
            sql: """
                INSERT INTO users (id, state, epoch, created, password_hash)
                VALUES (?, ?, ?, ?, ?)
                """,
            arguments: [
                id.value.data, user.state.rawValue, Int64(user.epoch), now.seconds, passwordHash,
            ])
        try noteRegistration(db, at: now)
        try append(audit, to: db, at: now)
        return .added(user)
    }

    // MARK: Names

    package func availability(
        of username: Username
    ) async throws(StoreError) -> NameAvailability {
        try await read { try NameTable.availability(of: username, $0) }
    }

    package func names(of user: UserID) async throws(StoreError) -> [NameRecord] {
        try await read { try NameTable.names(of: user, $0) }
    }

    package func renameUser(
        _ id: UserID, to username: Username, takingReserved: Bool, audit: AuditEvent,
        at now: UnixTime
    ) async throws(StoreError) -> RenameOutcome {
        try await write(at: now) { db in
            guard let user = try Self.user(id, db) else { return .notFound }
            guard user.username != username else { return .unchanged(user) }
            switch try NameTable.rename(
                id, to: username, takingReserved: takingReserved, db, at: now)
            {
            case .claimed: break
            case .taken: return .nameTaken
            case .outdated: return .skeletonsOutdated
            }
            try Self.append(audit, to: db, at: now)
            let position = try Self.raiseEpoch(of: user, db, at: now)
            guard let renamed = try Self.user(id, db) else { throw StoreError.damaged("names") }
            return .renamed(renamed, position: position)
        }
    }

    package func deleteUser(
        _ id: UserID, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome {
        try await write(at: now) { [ledger] db in
            guard let user = try Self.user(id, db) else { return .notFound }
            return try Self.delete(
                user, lookUpKey: nil, audit: audit, ledger: ledger, db, at: now)
        }
    }

    package func reserveNames(
        _ names: [Username], at now: UnixTime
    ) async throws(StoreError) -> Bool {
        try await write(at: now) { try NameTable.reserve(names, $0, at: now) }
    }

    package func skeletonReport() async throws(StoreError) -> SkeletonReport {
        try await read { try NameTable.report($0) }
    }

    package func rewriteSkeletons(
        audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> SkeletonReport {
        try await write(at: now) { db in
            let report = try NameTable.rewriteSkeletons(db)
            try Self.append(audit, to: db, at: now)
            return report
        }
    }

    // MARK: Import

    package func importProgress(
        of file: [UInt8]
    ) async throws(StoreError) -> ImportProgress? {
        try await read { db in try Self.importProgress(of: file, db) }
    }

    private static func importProgress(
        of file: [UInt8], _ db: Database
    ) throws -> ImportProgress? {
        try Row.fetchOne(db, sql: "SELECT * FROM imports WHERE file = ?", arguments: [Data(file)])
            .map { try $0.importProgress() }
    }

    package func importUsers(
        _ users: [ImportedUser], from old: ImportProgress?, to new: ImportProgress,
        audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> ImportOutcome {
        try await write(at: now) { db in
            guard try Self.importProgress(of: new.file, db) == old else { return .overtaken }
            for event in audit { try Self.append(event, to: db, at: now) }
            var new = new
            for user in users {
                let outcome = try Self.addUser(
                    user.username, id: user.id, passwordHash: user.passwordHash,
                    takingReserved: false,
                    audit: AuditEvent(.userCreated, by: .command, user: user.id), db, at: now)
                switch outcome {
                case .added: new.added += 1
                case .skeletonsOutdated: return .skeletonsOutdated
                // Nobody is invited here.
                case .nameTaken, .notInvited:
                    new.refused += 1
                    new.unreported.append(
                        RefusedLine(line: user.line, reason: "The username is taken."))
                }
            }
            new.unreported.sort { $0.line < $1.line }
            let unreported = try JSONEncoder().encode(new.unreported)
            try db.execute(
                sql: """
                    INSERT INTO imports
                        (file, digest, position, lines, added, refused, unreported, updated)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                    ON CONFLICT (file) DO UPDATE SET
                        digest = excluded.digest, position = excluded.position,
                        lines = excluded.lines, added = excluded.added,
                        refused = excluded.refused, unreported = excluded.unreported,
                        updated = excluded.updated
                    """,
                arguments: [
                    Data(new.file), Data(new.digest), new.position, new.lines, new.added,
                    new.refused, String(decoding: unreported, as: UTF8.self), now.seconds,
                ])
            return .imported(new)
        }
    }

    // MARK: Single-use links

    package func addLink(
        _ link: Link, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) {
        try await write(at: now) { db in
            try Self.addLink(link, audit: audit, db, at: now)
        }
    }

    static func addLink(
        _ link: Link, audit: AuditEvent, _ db: Database, at now: UnixTime
    ) throws {
        var user: UserID?
        if case .recovery(let id) = link.purpose {
            user = id
            try useUpLinks(of: id, db, at: now)
        }
        try db.execute(
            sql: "INSERT INTO links (hash, kind, user_id, expires) VALUES (?, ?, ?, ?)",
            arguments: [
                Data(link.hash.bytes), user == nil ? "invitation" : "recovery",
                user?.value.data, link.expires.seconds,
            ])
        try append(audit, to: db, at: now)
    }

    package func link(_ hash: LinkHash, at now: UnixTime) async throws(StoreError) -> Link? {
        try await read { db in try Self.link(hash, db, at: now) }
    }

    static func link(_ hash: LinkHash, _ db: Database, at now: UnixTime) throws -> Link? {
        try Row.fetchOne(
            db, sql: "SELECT * FROM links WHERE hash = ? AND used IS NULL AND expires > ?",
            arguments: [Data(hash.bytes), now.seconds]
        ).map { row in
            Link(
                hash: hash,
                purpose: try row.optionalIdentifier("user_id").map { .recovery(UserID($0)) }
                    ?? .invitation,
                expires: try row.time("expires"))
        }
    }

    static func useUp(_ hash: LinkHash, _ db: Database, at now: UnixTime) throws {
        try db.execute(
            sql: "UPDATE links SET used = ? WHERE hash = ?",
            arguments: [now.seconds, Data(hash.bytes)])
    }

    /// Every recovery link of a user: an older one may be in other hands.
    static func useUpLinks(of user: UserID, _ db: Database, at now: UnixTime) throws {
        try db.execute(
            sql: "UPDATE links SET used = ? WHERE user_id = ? AND used IS NULL",
            arguments: [now.seconds, user.value.data])
    }

    package func setPassword(
        _ passwordHash: String, with link: LinkHash, lookUpKey: LookUpKey,
        audit: AuditEvent.Kind, at now: UnixTime
    ) async throws(StoreError) -> SetPasswordOutcome {
        try await write(at: now) { db in
            guard case .recovery(let id) = try Self.link(link, db, at: now)?.purpose,
                let user = try Self.user(id, db), user.state == .enabled
            else { return .noLink }
            try Self.clearAttempts(AttemptKey(user.username, key: lookUpKey), db)
            try Self.useUpLinks(of: id, db, at: now)
            try Self.endDevices(of: id, db)
            try db.execute(
                sql: "UPDATE users SET password_hash = ? WHERE id = ?",
                arguments: [passwordHash, id.value.data])
            try Self.append(AuditEvent(audit, by: .server, user: id), to: db, at: now)
            return .set(id, position: try Self.raiseEpoch(of: user, db, at: now))
        }
    }

    package func user(named username: Username) async throws(StoreError) -> User? {
        try await read { db in
            try Row.fetchOne(
                db,
                sql: Self.userColumns + " WHERE names.canonical = ? AND names.state = 'live'",
                arguments: [username.text]
            ).map { try $0.user() }
        }
    }

    package func user(_ id: UserID) async throws(StoreError) -> User? {
        try await read { db in try Self.user(id, db) }
    }

    package func users(after name: Username?, limit: Int) async throws(StoreError) -> [User] {
        try await read { db in
            try Row.fetchAll(
                db,
                sql: Self.userColumns + """
                     WHERE names.state = 'live' AND names.canonical > ?
                    ORDER BY names.canonical LIMIT ?
                    """,
                arguments: [name?.text ?? "", limit]
            ).map { try $0.user() }
        }
    }

    static func user(_ id: UserID, _ db: Database) throws -> User? {
        try Row.fetchOne(
            db, sql: Self.userColumns + " WHERE users.id = ? AND names.state = 'live'",
            arguments: [id.value.data]
        ).map { try $0.user() }
    }

    package func setUser(
        _ id: UserID, state: User.State, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> SetStateOutcome {
        try await write(at: now) { db in
            guard let user = try Self.user(id, db) else { return .notFound }
            guard user.state != state else { return .unchanged(user) }
            let position = try Self.set(user, state, audit: audit, db, at: now)
            guard let changed = try Self.user(id, db) else { return .notFound }
            return .changed(changed, position: position)
        }
    }

    private static func set(
        _ user: User, _ state: User.State, audit: AuditEvent, _ db: Database, at now: UnixTime
    ) throws -> UInt64 {
        try db.execute(
            sql: "UPDATE users SET state = ? WHERE id = ?",
            arguments: [state.rawValue, user.id.value.data])
        try append(audit, to: db, at: now)
        guard state == .disabled else { return try sequence(db) }
        try useUpLinks(of: user.id, db, at: now)
        try endDevices(of: user.id, db)
        return try raiseEpoch(of: user, db, at: now)
    }

    package func disableUsers(
        _ users: [(hash: StoredPasswordHash, audit: AuditEvent)], at now: UnixTime
    ) async throws(StoreError) -> (disabled: Int, position: UInt64) {
        try await write(at: now) { db in
            var disabled = 0
            for (hash, audit) in users {
                // Whoever signed in or changed the password in the meantime is left alone.
                guard let user = try Self.user(hash.user, db), user.state == .enabled,
                    user.passwordHash == hash.text
                else { continue }
                _ = try Self.set(user, .disabled, audit: audit, db, at: now)
                disabled += 1
            }
            return (disabled, try Self.sequence(db))
        }
    }

    static func sequence(_ db: Database) throws -> UInt64 {
        guard let row = try Row.fetchOne(db, sql: "SELECT sequence FROM head") else {
            throw StoreError.damaged("head")
        }
        return try row.number("sequence")
    }

    /// Makes every session and series of the user dead: a higher epoch, and a feed row that says so until
    /// the last session would have expired.
    static func raiseEpoch(
        of user: User, _ db: Database, at now: UnixTime
    ) throws -> UInt64 {
        guard user.epoch < UInt32.max else { throw StoreError.damaged("epoch") }
        try db.execute(
            sql: "UPDATE users SET epoch = epoch + 1 WHERE id = ?",
            arguments: [user.id.value.data])
        try db.execute(sql: "DELETE FROM series WHERE user_id = ?", arguments: [user.id.value.data])
        let row = try Row.fetchOne(
            db,
            sql: """
                SELECT max(absolute_deadline) AS deadline FROM sessions WHERE user_id = ?
                """,
            arguments: [user.id.value.data])
        let deadline = try row?.optionalTime("deadline") ?? now
        return try appendFeed(
            db, kind: .user, subject: user.id.value, value: Int64(user.epoch) + 1,
            deadline: max(deadline, now), at: now)
    }

    // MARK: Upkeep

    package func prune(limit: Int, at now: UnixTime) async throws(StoreError) -> Int {
        let oldest = now.advanced(bySeconds: -clockSkewSeconds).seconds
        return try await write(at: now) { [locks] db in
            let live = Set(try Self.liveNodes(db, locks: locks, at: now).map(\.id))
            for row in try Row.fetchAll(db, sql: "SELECT id FROM nodes") {
                let id = NodeID(try row.identifier("id"))
                guard !live.contains(id) else { continue }
                try db.execute(sql: "DELETE FROM nodes WHERE id = ?", arguments: [id.value.data])
                locks.forget(id)
            }
            var removed = 0
            for (table, key, deadline, lifetime) in [
                ("sessions", "id", "absolute_deadline", 0), ("feed", "sequence", "deadline", 0),
                ("links", "hash", "expires", 0), ("attempts", "key", "expires", 0),
                ("devices", "id", "last_used", DeviceClaims.lifetimeSeconds),
                ("series", "id", "deadline", 0),
                ("warnings", "id", "time", RememberLimits.maximumAbsoluteSeconds),
            ] {
                try db.execute(
                    sql: """
                        DELETE FROM \(table) WHERE \(key) IN
                            (SELECT \(key) FROM \(table) WHERE \(deadline) < ? LIMIT ?)
                        """,
                    arguments: [oldest - lifetime, limit])
                removed += db.changesCount
            }
            return removed
        }
    }

    /// The pragmas that durability and erasure rest on, as the writing connection has them.
    package func settings() async throws(StoreError) -> [String: String] {
        do {
            return try await pool.writeWithoutTransaction { db in
                var settings: [String: String] = [:]
                for name in ["synchronous", "secure_delete", "foreign_keys", "journal_mode"] {
                    settings[name] = try String.fetchOne(db, sql: "PRAGMA \(name)")
                }
                return settings
            }
        } catch { throw Self.storeError(error) }
    }

    package func integrityFindings() async throws(StoreError) -> [String] {
        try await read { db in
            let lines = try String.fetchAll(db, sql: "PRAGMA integrity_check(20)")
            let foreign = try Row.fetchAll(db, sql: "PRAGMA foreign_key_check")
            return lines.filter { $0 != "ok" }
                + (foreign.isEmpty ? [] : ["\(foreign.count) row(s) refer to rows that are gone"])
        }
    }
}
