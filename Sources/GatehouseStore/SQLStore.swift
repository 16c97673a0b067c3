// The store in SQL: one class for both databases, held to one contract.

import Foundation
package import GatehouseCore

/// A `Store` in a database. What it asks is the same SQL on each; how it is asked is the driver's.
package final class SQLStore: Store {
    /// Of SQLite's database, in its directory.
    package static let fileName = "gatehouse.sqlite"
    /// How long a statement waits for another process's transaction, in seconds. Ours take
    /// milliseconds; a wait this long means that something is wrong.
    package static let busyTimeoutSeconds = 5.0
    /// How long a statement of upkeep may take that others wait for.
    static let upkeepTimeout = Duration.seconds(30)
    /// How far a writer's clock may be ahead of the last heartbeat of a node that lives, in seconds.
    /// Above a node's longest silence and any skew; a clock that is off by years is what it catches.
    package static let maximumClockLeadSeconds: Int64 = 3600

    let driver: any StoreDriver
    var presence: any NodePresence { driver.presence }
    let ledger: DeletionLedger
    let signer = AuditSigner()

    /// - Parameter directory: where the ledger of deletions is.
    init(_ driver: any StoreDriver, directory: String) {
        self.driver = driver
        ledger = DeletionLedger(directory: directory)
    }

    /// Opens the store on SQLite in `directory`.
    ///
    /// - Parameter createIfMissing: whether to make and migrate it; otherwise a missing or older
    ///   database is an error, because only the server migrates.
    package convenience init(directory: String, createIfMissing: Bool) throws(StoreError) {
        self.init(
            try SQLiteDriver(directory: directory, createIfMissing: createIfMissing),
            directory: directory)
    }

    /// Opens the store on PostgreSQL.
    ///
    /// - Parameters:
    ///   - connections: at most, besides two for following.
    ///   - directory: where the ledger of deletions is.
    ///   - createIfMissing: as for SQLite; the database itself is there.
    package convenience init(
        _ options: PostgreSQLOptions, connections: Int, directory: String, createIfMissing: Bool
    ) throws(StoreError) {
        self.init(
            try PostgreSQLDriver(
                options, connections: connections, createIfMissing: createIfMissing),
            directory: directory)
    }

    /// Opens the store at `address`.
    ///
    /// - Parameters:
    ///   - createIfMissing: whether to make and migrate it, which only the server does.
    ///   - directory: where the ledger of deletions is, unless it is beside SQLite's database.
    ///   - continuingCopy: whether a part of another store may be in it (``StoreCopy``).
    package convenience init(
        at address: StoreAddress, createIfMissing: Bool, directory: String,
        continuingCopy: Bool = false
    ) throws(StoreError) {
        switch address {
        case .sqlite(let directory):
            self.init(
                try SQLiteDriver(
                    directory: directory, createIfMissing: createIfMissing,
                    continuingCopy: continuingCopy),
                directory: directory)
        case .postgresql(let database):
            self.init(
                try PostgreSQLDriver(
                    PostgreSQLOptions(database), connections: database.connections,
                    createIfMissing: createIfMissing, continuingCopy: continuingCopy),
                directory: directory)
        }
    }

    func read<Value: Sendable>(
        on lane: StoreLane = .work, _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(StoreError) -> Value {
        do { return try await driver.read(on: lane, body) } catch { throw driver.storeError(error) }
    }

    /// For a body of one statement, or of several that need not be one view.
    func readOne<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(StoreError) -> Value {
        do { return try await driver.readOne(body) } catch { throw driver.storeError(error) }
    }

    private func follow<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(StoreError) -> Value {
        do { return try await driver.follow(body) } catch { throw driver.storeError(error) }
    }

    /// One transaction that also notes the time.
    func write<Value: Sendable>(
        at now: UnixTime, _ scope: WriteScope = .store, on lane: StoreLane = .work,
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(StoreError) -> Value {
        let writing = signer.writing(AuditContext.current)
        FaultPoint.pass()
        do {
            let value = try await driver.write(scope, at: now, on: lane) { db in
                try AuditWriting.$current.withValue(writing) { try body(db) }
            }
            FaultPoint.pass()
            return value
        } catch { throw driver.storeError(error) }
    }

    /// One of a single statement that writes no audit entry, and that changes nothing where `now` is more
    /// than ``maximumClockLeadSeconds`` ahead of the store.
    func writeOne(
        at now: UnixTime, _ scope: WriteScope, _ statement: Query
    ) async throws(StoreError) -> [Row] {
        FaultPoint.pass()
        do {
            let rows = try await driver.writeOne(scope, at: now, statement)
            FaultPoint.pass()
            return rows
        } catch { throw driver.storeError(error) }
    }

    package static func storeError(_ error: any Error) -> StoreError {
        SQLiteDriver.storeError(error)
    }

    // MARK: The feed

    package func head(anchor: UInt64?) async throws(StoreError) -> StoreHead {
        try await follow { [driver] db in
            let anchors = anchor.map { [Self.anchorQuery($0)] } ?? []
            try db.prefetch(driver.identityQueries + [Self.newsQuery] + anchors)
            try driver.checkIdentity(db)
            guard let row = try db.row(Self.newsQuery) else { throw StoreError.damaged("head") }
            return StoreHead(
                sequence: try row.number("sequence"),
                keyringVersion: try row.number("keyring_version"),
                keyringMark: try row.optionalBytes("keyring_mark") ?? [],
                latestTime: try row.time("latest_time"),
                anchor: try anchors.first.flatMap { try db.row($0)?.feedEntry() },
                connection: db.connection)
        }
    }

    /// A sealed ring begins with a random nonce (``KeyringEnvelope``).
    private static let newsQuery = Query(
        """
        SELECT sequence, latest_time,
            coalesce((SELECT max(version) FROM keyring), 0) AS keyring_version,
            (SELECT substr(sealed, 1, 64) FROM keyring) AS keyring_mark
        FROM head
        """)

    private static func anchorQuery(_ sequence: UInt64) -> Query {
        Query(
            "SELECT sequence, kind, subject, value, deadline FROM feed WHERE sequence = ?",
            [Int64(clamping: sequence)])
    }

    package func waitForChange(milliseconds: Int) async {
        await driver.waitForChange(milliseconds: milliseconds)
    }

    package func strangers() async throws(StoreError) -> [NodeID] { presence.strangers() }

    package func close() throws(StoreError) {
        do { try driver.close() } catch { throw driver.storeError(error) }
    }

    package func acceptClock(at now: UnixTime) async throws(StoreError) {
        let writing = signer.writing(AuditContext.current)
        do {
            try await driver.setClock(at: now) { db in
                try db.execute(sql: "UPDATE clock_leaps SET time = NULL")
                try AuditWriting.$current.withValue(writing) {
                    try Self.append(AuditEvent(.clockAccepted, by: .command), to: db, at: now)
                }
            }
        } catch { throw driver.storeError(error) }
    }

    package func feedCount(
        after position: UInt64, neededAt now: UnixTime
    ) async throws(StoreError) -> Int {
        try await read(on: .following) { db in
            try db.allow(Database.wholeTable)
            return Int(
                try db.integer(
                    sql: "SELECT count(*) FROM feed WHERE sequence > ? AND deadline >= ?",
                    arguments: [Int64(clamping: position), now.seconds - clockSkewSeconds]) ?? 0)
        }
    }

    package func feed(
        after position: UInt64, limit: Int, neededAt now: UnixTime?
    ) async throws(StoreError) -> [FeedEntry] {
        let oldest = now.map { $0.seconds - clockSkewSeconds } ?? 0
        let body = { @Sendable (db: Database) throws -> [FeedEntry] in
            // Before the first that is needed there may be many that aren't.
            if now != nil { try db.allow(Database.wholeTable) }
            return try db.rows(
                sql: """
                    SELECT sequence, kind, subject, value, deadline FROM feed
                    WHERE sequence > ? AND deadline >= ? ORDER BY sequence LIMIT ?
                    """,
                arguments: [Int64(clamping: position), oldest, limit]
            ).map { try $0.feedEntry() }
        }
        return now == nil ? try await follow(body) : try await read(on: .following, body)
    }

    /// Appends a feed row; its number comes from the head row, so that order is commit order.
    static func appendFeed(
        _ db: Database, kind: FeedKind, subject: Identifier?, value: Int64, deadline: UnixTime,
        at now: UnixTime
    ) throws -> UInt64 {
        try lockHead(db)
        let sequence: Int64
        if let head = db.tail.head {
            sequence = Int64(clamping: head.feed) + 1
            try db.execute(sql: "UPDATE head SET sequence = ?", arguments: [sequence])
            db.tail.head?.feed = UInt64(clamping: sequence)
        } else {
            let row = try db.row(sql: "UPDATE head SET sequence = sequence + 1 RETURNING sequence")
            guard let row else { throw StoreError.damaged("head") }
            sequence = try row.integer("sequence")
        }
        try db.execute(
            sql: """
                INSERT INTO feed (sequence, time, kind, subject, value, deadline)
                VALUES (?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                sequence, now.seconds, kind.rawValue, subject?.data, value, deadline.seconds,
            ])
        db.tellNodes()
        return UInt64(clamping: sequence)
    }

    // MARK: The keyring

    package func keyring() async throws(StoreError) -> WrappedKeyring? {
        try await read(on: .following) { try Self.keyring($0) }
    }

    private static func keyring(_ db: Database) throws -> WrappedKeyring? {
        guard let row = try db.row(sql: "SELECT * FROM keyring") else { return nil }
        let wraps = try db.rows(sql: "SELECT * FROM keyring_wraps ORDER BY root_key_id")
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
        try await write(at: now) { [presence] db in
            let stored = try Self.keyring(db)
            let current = stored?.version ?? 0
            let live = try Self.liveNodes(db, presence, at: now)
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
            db.tellNodes()
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
        try await readOne { db in
            var usage: [KeyID: KeyUsage] = [:]
            for row in try db.rows(sql: "SELECT * FROM key_usage") {
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
        try presence.hold(id)
        try await write(at: now, on: .following) { [schemaVersion = driver.schemaVersion] db in
            try db.execute(
                sql: """
                    INSERT INTO nodes
                        (id, started, heartbeat, lease_seconds, position, keyring_version,
                            root_key_id, rotates, claims_version, schema_version)
                    VALUES (?, ?, ?, ?, 0, 0, ?, ?, ?, ?)
                    ON CONFLICT (id) DO UPDATE SET
                        heartbeat = excluded.heartbeat, position = 0, keyring_version = 0
                    """,
                arguments: [
                    id.value.data, now.seconds, now.seconds, leaseSeconds,
                    rootKey.map { Data($0.rawValue.bigEndianBytes) }, rotates,
                    Int64(Claims.actingVersion), schemaVersion,
                ])
        }
    }

    package func beat(
        _ id: NodeID, position: UInt64, keyringVersion: UInt64, at now: UnixTime
    ) async throws(StoreError) -> Bool {
        try await write(at: now, .rows, on: .following) { db in
            try db.execute(
                sql: """
                    UPDATE nodes SET heartbeat = ?, position = ?, keyring_version = ? WHERE id = ?
                    """,
                arguments: [
                    now.seconds, Int64(clamping: position), Int64(clamping: keyringVersion),
                    id.value.data,
                ])
            return try db.changesCount == 1
        }
    }

    package func leaveNode(_ id: NodeID, at now: UnixTime) async throws(StoreError) {
        try await write(at: now, .rows, on: .following) { db in
            try db.execute(sql: "DELETE FROM nodes WHERE id = ?", arguments: [id.value.data])
        }
        presence.release(id)
    }

    package func liveNodes(at now: UnixTime) async throws(StoreError) -> [NodeRecord] {
        try await readOne { [presence] db in try Self.liveNodes(db, presence, at: now) }
    }

    static func liveNodes(
        _ db: Database, _ presence: any NodePresence, at now: UnixTime
    ) throws -> [NodeRecord] {
        let nodes = try db.rows(sql: "SELECT * FROM nodes ORDER BY id")
            .map { try $0.node() }
        return Barrier.live(nodes, at: now.advanced(bySeconds: -presence.clockMarginSeconds))
            .filter { !presence.isGone($0.id) }
    }

    // MARK: Users

    static let userColumns = """
        SELECT users.id, users.state, users.epoch, users.created, users.password_hash,
            names.canonical
        FROM names JOIN users ON users.id = names.user_id
        """

    package func addUser(
        _ username: Username, id: UserID, passwordHash: String?, takingReserved: Bool,
        audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> AddUserOutcome {
        try await write(at: now, .user(id)) { db in
            try Self.addUser(
                username, id: id, passwordHash: passwordHash, takingReserved: takingReserved,
                audit: audit, db, at: now)
        }
    }

    static func addUser(
        _ username: Username, id: UserID, passwordHash: String?, takingReserved: Bool,
        audit: AuditEvent?, _ db: Database, at now: UnixTime
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
        if let audit { try append(audit, to: db, at: now) }
        return .added(user)
    }

    // MARK: Names

    package func availability(
        of username: Username
    ) async throws(StoreError) -> NameAvailability {
        try await read { try NameTable.availability(of: username, $0) }
    }

    package func names(of user: UserID) async throws(StoreError) -> [NameRecord] {
        try await readOne { try NameTable.names(of: user, $0) }
    }

    package func renameUser(
        _ id: UserID, to username: Username, takingReserved: Bool, audit: AuditEvent,
        at now: UnixTime
    ) async throws(StoreError) -> RenameOutcome {
        try await write(at: now, .user(id)) { db in
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
        try await readOne { db in try Self.importProgress(of: file, db) }
    }

    private static func importProgress(
        of file: [UInt8], _ db: Database
    ) throws -> ImportProgress? {
        try db.row(sql: "SELECT * FROM imports WHERE file = ?", arguments: [Data(file)])
            .map { try $0.importProgress() }
    }

    package func importUsers(
        _ users: [ImportedUser], from old: ImportProgress?, to new: ImportProgress,
        audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> ImportOutcome {
        try await write(at: now, .imports) { db in
            guard try Self.importProgress(of: new.file, db) == old else { return .overtaken }
            var new = new
            var events = audit
            for user in users {
                let outcome = try Self.addUser(
                    user.username, id: user.id, passwordHash: user.passwordHash,
                    takingReserved: false, audit: nil, db, at: now)
                switch outcome {
                case .added:
                    new.added += 1
                    events.append(AuditEvent(.userCreated, by: .command, user: user.id))
                case .skeletonsOutdated: return .skeletonsOutdated
                // Nobody is invited here.
                case .nameTaken, .notInvited:
                    new.refused += 1
                    new.unreported.append(
                        RefusedLine(line: user.line, reason: "The username is taken."))
                }
            }
            // Last, since nobody else writes to the trail from then on.
            for event in events { try Self.append(event, to: db, at: now) }
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
        try await write(at: now, link.scope) { db in
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
        try await readOne { db in try Self.link(hash, db, at: now) }
    }

    static func link(_ hash: LinkHash, _ db: Database, at now: UnixTime) throws -> Link? {
        try db.row(
            sql: "SELECT * FROM links WHERE hash = ? AND used IS NULL AND expires > ?",
            arguments: [Data(hash.bytes), now.seconds]
        ).map { row in
            Link(
                hash: hash,
                purpose: try row.optionalIdentifier("user_id").map { .recovery(UserID($0)) }
                    ?? .invitation,
                expires: try row.time("expires"))
        }
    }

    /// Whose password the link sets; nobody's when there is none.
    private static func owner(
        of hash: LinkHash, _ db: Database, at now: UnixTime
    ) throws -> [UserID] {
        guard case .recovery(let user) = try link(hash, db, at: now)?.purpose else { return [] }
        return [user]
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
        let owner: @Sendable (Database) throws -> [UserID] = {
            try Self.owner(of: link, $0, at: now)
        }
        let scope = WriteScope.users(nil, owner).and({ db in
            try owner(db).compactMap { try Self.user($0, db) }
                .map { try AttemptKey($0.username, key: lookUpKey) }
        })
        return try await write(at: now, scope) { db in
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
        try await readOne { db in
            try db.row(Self.userQuery(named: username)).map { try $0.user() }
        }
    }

    package func user(_ id: UserID) async throws(StoreError) -> User? {
        try await readOne { db in try Self.user(id, db) }
    }

    package func users(after name: Username?, limit: Int) async throws(StoreError) -> [User] {
        try await readOne { db in
            try db.rows(
                sql: Self.userColumns + """
                     WHERE names.state = 'live' AND names.canonical > ?
                    ORDER BY names.canonical LIMIT ?
                    """,
                arguments: [name?.text ?? "", limit]
            ).map { try $0.user() }
        }
    }

    static func user(_ id: UserID, _ db: Database) throws -> User? {
        try db.row(userQuery(id)).map { try $0.user() }
    }

    static func userQuery(named username: Username) -> Query {
        Query(
            userColumns + " WHERE names.canonical = ? AND names.state = 'live'", [username.text])
    }

    static func userQuery(_ id: UserID) -> Query {
        Query(
            userColumns + " WHERE users.id = ? AND names.state = 'live'", [id.value.data])
    }

    package func setUser(
        _ id: UserID, state: User.State, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> SetStateOutcome {
        try await write(at: now, .user(id)) { db in
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
        try await write(at: now, .users { _ in users.map(\.hash.user) }) { db in
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
        if let head = db.tail.head { return head.feed }
        guard let row = try db.row(sql: "SELECT sequence FROM head") else {
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
        let row = try db.row(
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
        let oldest = now.advanced(bySeconds: -clockSkewSeconds)
        var dropped = 0
        var failure: StoreError?
        do { dropped = try await driver.dropExpired(before: oldest, limit: limit, at: now) } catch {
            failure = driver.storeError(error)
        }
        // Whatever keeps tables from being dropped, a backup for one, keeps nothing else.
        let removed = try await pruneRows(before: oldest, limit: limit, at: now)
        if let failure { throw failure }
        return dropped + removed
    }

    private func pruneRows(
        before oldest: UnixTime, limit: Int, at now: UnixTime
    ) async throws(StoreError) -> Int {
        try await write(at: now, .rows) { [presence] db in
            let live = Set(try Self.liveNodes(db, presence, at: now).map(\.id))
            for row in try db.rows(sql: "SELECT id, heartbeat FROM nodes ORDER BY id") {
                let id = NodeID(try row.identifier("id"))
                guard !live.contains(id) else { continue }
                // Conditional: it may be heard of again meanwhile.
                try db.execute(
                    sql: "DELETE FROM nodes WHERE id = ? AND heartbeat = ?",
                    arguments: [id.value.data, try row.integer("heartbeat")])
                guard try db.changesCount == 1 else { continue }
                presence.forget(id)
            }
            var removed = 0
            for (table, key, deadline, lifetime) in [
                ("links", "hash", "expires", 0), ("attempts", "key", "expires", 0),
                ("devices", "id", "last_used", DeviceClaims.lifetimeSeconds),
                ("series", "id", "deadline", 0),
                ("warnings", "id", "time", RememberLimits.maximumAbsoluteSeconds),
            ] {
                try db.execute(
                    sql: """
                        DELETE FROM \(table) WHERE \(key) IN
                            (SELECT \(key) FROM \(table) WHERE \(deadline) < ?
                                ORDER BY \(deadline) LIMIT ?
                                \(db.skippingLockedRows(of: table)))
                        """,
                    arguments: [oldest.seconds - lifetime, limit])
                removed += try db.changesCount
            }
            return removed
        }
    }

    /// What durability and erasure rest on, by the database's own names.
    package func settings() async throws(StoreError) -> [String: String] {
        do { return try await driver.settings() } catch { throw driver.storeError(error) }
    }

    package func integrityFindings() async throws(StoreError) -> [String] {
        do { return try await driver.integrityFindings() } catch { throw driver.storeError(error) }
    }
}

extension Link {
    var scope: WriteScope {
        switch purpose {
        case .recovery(let user): .user(user)
        case .invitation: .rows
        }
    }
}
