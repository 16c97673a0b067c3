// The audit trail in SQLite: each entry is chained in the transaction that it tells of.

import Foundation
package import GatehouseCore
import Synchronization

/// Who writes the entries of a transaction, and for whom.
struct AuditWriting: Sendable {
    /// Bound on the writer's thread as long as a transaction's body runs.
    @TaskLocal static var current: AuditWriting?

    let chain: AuditChain
    let keys: AuditKeys
    let context: AuditContext
}

/// The chain and key of this process.
final class AuditSigner: Sendable {
    private let own = Mutex<AuditWriting?>(nil)

    func use(_ writing: AuditWriting) { own.withLock { $0 = writing } }

    /// What the entries of a transaction are written with; nil before the key is known.
    func writing(_ context: AuditContext) -> AuditWriting? {
        own.withLock { $0 }.map { own in
            AuditWriting(
                chain: own.chain, keys: own.keys,
                context: context == AuditContext() ? own.context : context)
        }
    }
}

extension SQLStore {
    /// Chains that one checkpoint names, those that were written to last: some 60 KB. A deployment that
    /// restarts more servers than that while it keeps the trail doesn't have the eldest in a new one's first.
    static let maximumCheckpointEnds = 1000

    /// Old entries are removed a day's worth at a time: each removal leaves an entry itself.
    static let auditPruneSeconds: Int64 = 86_400

    package func signTrail(
        as chain: AuditChain, with keys: AuditKeys, for context: AuditContext
    ) {
        signer.use(AuditWriting(chain: chain, keys: keys, context: context))
    }

    /// Appends an entry at the end of this process's chain.
    static func append(_ event: AuditEvent, to db: Database, at now: UnixTime) throws {
        try append(event, ends: [], to: db, at: now)
    }

    private static func append(
        _ event: AuditEvent, ends: [AuditChainEnd], to db: Database, at now: UnixTime
    ) throws {
        guard let writing = AuditWriting.current else { throw noKey }
        try lockHead(db)
        var end = try end(of: writing.chain, db)
        if end == nil, event.kind != .auditBegan {
            try vouchForUnchained(db, at: now)
            end = try self.end(of: writing.chain, db)
        }
        let issued = try issued(db)
        guard issued < UInt64(Int64.max) else {
            throw StoreError.damaged("the audit trail's numbers have come to their end")
        }
        var record = AuditRecord(sequence: issued + 1, time: now, event: event)
        record.operatorName = writing.context.operatorName
        record.ends = ends
        if let personal = try personal(writing.context) {
            record.personal = personal
            record.commitment = try personal.commitment()
        }
        let link = try writing.keys.current.link(record, to: writing.chain, after: end)
        try db.execute(
            sql: """
                INSERT INTO audit
                    (sequence, time, kind, actor, user_id, session_id, key_id, series_id, detail,
                     operator, personal, ends, chain, position, audit_key, mac)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                Int64(clamping: record.sequence), now.seconds, event.kind.rawValue,
                event.actor.rawValue, event.user?.value.data, event.session?.value.data,
                event.key.map { Int64($0.rawValue) }, event.series?.value.data, event.detail,
                record.operatorName, record.commitment.map { Data($0) },
                ends.isEmpty ? nil : Data(ends.flatMap(\.bytes)), link.chain.value.data,
                Int64(clamping: link.position), Int64(link.key.rawValue), Data(link.mac),
            ])
        try noteIssued(record.sequence, db)
        db.tail.chain = (
            link.chain, AuditChainEnd(chain: link.chain, position: link.position, mac: link.mac)
        )
        guard let personal = record.personal else { return }
        try db.execute(
            sql: """
                INSERT INTO audit_personal
                    (sequence, salt, place, browser, reason, address, address_salt, address_hash)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                Int64(clamping: record.sequence), Data(personal.salt), personal.origin.place,
                personal.origin.browser, personal.reason, personal.address?.text,
                personal.address?.salt.map { Data($0) }, personal.address.map { Data($0.hash) },
            ])
    }

    /// Nil where nothing personal is known.
    private static func personal(_ context: AuditContext) throws -> AuditPersonal? {
        guard context.origin != .unknown || context.reason != nil || context.address != nil else {
            return nil
        }
        func salt() throws -> [UInt8] { try Entropy.system.bytes(AuditPersonal.saltBytes) }
        return AuditPersonal(
            salt: try salt(), origin: context.origin, reason: context.reason,
            address: try context.address.map { try AuditAddress($0, salt: try salt()) })
    }

    /// Nil for a chain without entries.
    private static func end(of chain: AuditChain, _ db: Database) throws -> AuditChainEnd? {
        if let known = db.tail.chain, known.chain == chain { return known.end }
        return try db.row(endQuery(of: chain))?.chainEnd()
    }

    /// The last entry, or where the chain goes on after what retention removed.
    private static func endQuery(of chain: AuditChain) -> Query {
        Query(
            """
            SELECT chain, position, mac FROM
                (SELECT chain, position, mac FROM audit
                    WHERE chain = :chain ORDER BY position DESC LIMIT 1) AS last
            UNION ALL SELECT chain, position, mac FROM audit_bases WHERE chain = :chain
            ORDER BY position DESC LIMIT 1
            """, ["chain": chain.value.data])
    }

    /// What appending needs, to be fetched with what else a body asks for before it writes.
    static func appendQueries(_ db: Database) -> [Query] {
        guard db.dialect == .postgresql, let chain = AuditWriting.current?.chain else { return [] }
        return [headQuery, endQuery(of: chain)]
    }

    package func note(_ event: AuditEvent, at now: UnixTime) async throws(StoreError) {
        try await write(at: now, .rows) { db in try Self.append(event, to: db, at: now) }
    }

    // MARK: Reading

    static let auditRows = """
        SELECT audit.*, salt, place, browser, reason, address, address_salt, address_hash
        FROM audit LEFT JOIN audit_personal USING (sequence)
        """

    package func audit(
        after sequence: UInt64, limit: Int
    ) async throws(StoreError) -> [AuditRecord] {
        try await readOne { db in
            try db.rows(
                sql: Self.auditRows + " WHERE sequence > ? ORDER BY sequence LIMIT ?",
                arguments: [Int64(clamping: sequence), limit]
            ).map { try Self.record($0) }
        }
    }

    /// A row that was made unreadable is one entry that is wrong, and hides no other.
    static func record(_ row: Row) throws -> AuditRecord {
        do { return try row.auditRecord() } catch { return .damaged(try row.number("sequence")) }
    }

    package func audit(_ query: AuditQuery) async throws(StoreError) -> [AuditRecord] {
        var conditions: [String] = []
        var arguments = StatementArguments()
        func add(_ condition: String, _ value: (any DatabaseArgument)?) {
            guard let value else { return }
            conditions.append(condition)
            arguments.append(value)
        }
        add("user_id = ?", query.user?.value.data)
        add("kind = ?", query.kind?.rawValue)
        add("time >= ?", query.since?.seconds)
        add("time < ?", query.until?.seconds)
        arguments.append(min(query.limit, AuditQuery.maximumEntries))
        let filter = conditions.isEmpty ? "" : " WHERE " + conditions.joined(separator: " AND ")
        return try await readOne { [arguments] db in
            try db.rows(
                sql: Self.auditRows + filter + " ORDER BY sequence DESC LIMIT ?",
                arguments: arguments
            ).reversed().map { try Self.record($0) }
        }
    }

    package func auditKeyUse() async throws(StoreError) -> [KeyID: Int] {
        try await read { db in
            try db.allow(Database.wholeTable)
            var use: [KeyID: Int] = [:]
            for table in ["audit", "audit_bases"] {
                for row in try db.rows(
                    sql: """
                        SELECT audit_key, count(*) AS count FROM \(table)
                        WHERE audit_key IS NOT NULL GROUP BY audit_key
                        """)
                {
                    use[try row.keyID("audit_key"), default: 0] += try row.number("count")
                }
            }
            return use
        }
    }

    package func auditExtent() async throws(StoreError) -> AuditExtent {
        try await read { db in
            AuditExtent(
                floor: try Self.auditFloor(db),
                bases: try db.rows(sql: "SELECT * FROM audit_bases").map { row in
                    AuditBase(
                        end: try row.chainEnd(), key: try row.keyID("audit_key"),
                        seal: try row.bytes("seal"))
                }, issued: try Self.issued(db))
        }
    }

    /// The last number that an entry was given. A transaction that is rolled back gives none.
    static func issued(_ db: Database) throws -> UInt64 {
        if let head = db.tail.head { return head.audit }
        let sql =
            switch db.dialect {
            case .sqlite: "SELECT seq FROM sqlite_sequence WHERE name = 'audit'"
            case .postgresql: "SELECT audit_sequence AS seq FROM head"
            }
        return try db.row(sql: sql)?.number("seq") ?? 0
    }

    private static let headQuery = Query("SELECT sequence, audit_sequence FROM head FOR UPDATE")

    /// From here to its end the transaction is alone: entries and feed rows are numbered without gaps, in
    /// the order of commits. SQLite has one writer anyway.
    static func lockHead(_ db: Database) throws {
        guard db.dialect == .postgresql, db.tail.head == nil else { return }
        guard let row = try db.row(headQuery) else { throw StoreError.damaged("head") }
        db.tail.head = (try row.number("sequence"), try row.number("audit_sequence"))
    }

    /// SQLite counts by itself.
    private static func noteIssued(_ sequence: UInt64, _ db: Database) throws {
        guard db.dialect == .postgresql else { return }
        try db.execute(
            sql: "UPDATE head SET audit_sequence = ?", arguments: [Int64(clamping: sequence)])
        db.tail.head?.audit = sequence
    }

    private static func auditFloor(_ db: Database) throws -> UInt64 {
        guard let row = try db.row(sql: "SELECT audit_floor FROM head") else {
            throw StoreError.damaged("head")
        }
        return try row.number("audit_floor")
    }

    // MARK: Checkpoints and retention

    package func checkpointAudit(at now: UnixTime) async throws(StoreError) {
        try await write(at: now, .rows) { db in
            try db.allow(Self.upkeepTimeout)
            // Alone from here on: what came between the look and the checkpoint would be in none.
            try Self.lockHead(db)
            let last = try db.integer(
                sql: """
                    SELECT max(sequence) FROM audit WHERE kind = 'audit_checkpoint' AND chain = ?
                    """,
                arguments: [AuditWriting.current?.chain.value.data])
            // By its number, so that a database sees how few entries came later.
            let rows = try db.rows(
                sql: """
                    SELECT chain, position, mac FROM audit
                    JOIN (SELECT chain, max(position) AS position FROM audit
                        WHERE chain IS NOT NULL AND sequence > ?
                        GROUP BY chain) AS last USING (chain, position)
                    ORDER BY sequence DESC LIMIT ?
                    """,
                arguments: [last ?? 0, Self.maximumCheckpointEnds])
            try Self.append(
                AuditEvent(.auditCheckpoint, by: .server), ends: try rows.map { try $0.chainEnd() },
                to: db, at: now)
        }
    }

    /// The digest of what earlier releases wrote, in the first entry of all chains: whatever has no chain
    /// and comes later was written by somebody else.
    private static func vouchForUnchained(_ db: Database, at now: UnixTime) throws {
        let isFirst = try db.integer(
            sql: """
                SELECT NOT EXISTS (SELECT 1 FROM audit WHERE chain IS NOT NULL)
                    AND NOT EXISTS (SELECT 1 FROM audit_bases)
                    AND EXISTS (SELECT 1 FROM audit)
                """)
        guard isFirst == 1 else { return }
        var count = 0
        var digest = AuditVerifier.beginning
        try db.forEach(sql: Self.auditRows + " ORDER BY sequence") { row in
            digest = try AuditVerifier.digest(digest, try row.auditRecord())
            count += 1
        }
        try append(
            AuditEvent(
                .auditBegan, by: .server,
                detail: AuditVerifier.vouching(count: count, digest: digest)), to: db, at: now)
    }

    package func restartAudit(
        vouching: String, resealing ends: [AuditChainEnd], at now: UnixTime
    ) async throws(StoreError) {
        try await write(at: now) { db in
            for end in ends { try Self.seal(end, db) }
            try Self.append(
                AuditEvent(.auditBegan, by: .command, detail: vouching), to: db, at: now)
        }
    }

    /// Makes `end` the beginning of what is kept of its chain.
    private static func seal(_ end: AuditChainEnd, _ db: Database) throws {
        guard let key = AuditWriting.current?.keys.current else { throw noKey }
        try db.execute(
            sql: """
                INSERT INTO audit_bases (chain, position, mac, audit_key, seal)
                VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (chain) DO UPDATE SET position = excluded.position,
                    mac = excluded.mac, audit_key = excluded.audit_key, seal = excluded.seal
                """,
            arguments: [
                end.chain.value.data, Int64(clamping: end.position), Data(end.mac),
                Int64(key.id.rawValue), Data(try key.base(end).seal),
            ])
    }

    /// What leaves no trace isn't done.
    private static let noKey = StoreError.unavailable("no key for the audit trail")

    package func pruneAudit(
        before time: UnixTime, limit: Int, at now: UnixTime
    ) async throws(StoreError) -> Int {
        guard let keys = signer.writing(AuditContext())?.keys else { throw Self.noKey }
        var extent = try await auditExtent()
        if let floor = try await nextAuditFloor(after: extent.floor, before: time),
            let ends = try await provedEnds(extent, upTo: floor, keys)
        {
            try await raiseAuditFloor(from: extent.floor, to: floor, ends, at: now)
            extent = try await auditExtent()
        }
        // Whoever can write to the file could otherwise have it all removed.
        let end = AuditChainEnd.floor(extent.floor)
        guard extent.floor > 0 else { return 0 }
        guard let base = extent.bases.first(where: { $0.end.chain == .floor }),
            let key = keys.all[base.key], (try? key.base(end)) == base
        else { throw .damaged("audit_floor") }
        return try await removeAudit(upTo: extent.floor, limit: limit, at: now)
    }

    /// The last number that may go; nil when there is less than a day's worth.
    private func nextAuditFloor(
        after floor: UInt64, before time: UnixTime
    ) async throws(StoreError) -> UInt64? {
        try await read { db in
            let row = try db.row(
                sql: """
                    SELECT (SELECT time FROM audit WHERE sequence > :floor
                            ORDER BY sequence LIMIT 1) AS oldest,
                        coalesce(
                            (SELECT sequence - 1 FROM audit
                                WHERE time >= :time ORDER BY sequence LIMIT 1),
                            (SELECT max(sequence) FROM audit), 0) AS floor
                    """,
                arguments: ["floor": Int64(clamping: floor), "time": time.seconds])
            guard let row, let oldest = try row.optionalTime("oldest"),
                oldest < time.advanced(bySeconds: -Self.auditPruneSeconds),
                case let next:UInt64 = try row.number("floor"), next > floor
            else { return nil }
            return next
        }
    }

    /// How far each chain gets by the entries up to `floor`, which are whole. Nil when an entry that vouches
    /// for some of them stands behind it: those go together.
    private func provedEnds(
        _ extent: AuditExtent, upTo floor: UInt64, _ keys: AuditKeys
    ) async throws(StoreError) -> [AuditChainEnd]? {
        do {
            var verifier = try AuditVerifier(
                keys: keys.all,
                extent: AuditExtent(floor: extent.floor, bases: extent.bases, issued: floor))
            var last = extent.floor
            while last < floor {
                let entries = try await audit(after: last, limit: Self.auditPage)
                    .prefix { $0.sequence <= floor }
                guard let next = entries.last?.sequence else { break }
                for entry in entries { try verifier.take(entry) }
                last = next
            }
            guard verifier.vouching == nil else { return nil }
            _ = try verifier.finish()
            guard verifier.faultCount == 0 else {
                throw StoreError.damaged("the audit trail; nothing of it is removed")
            }
            return verifier.ends
        } catch let error as StoreError { throw error } catch {
            throw .unavailable("libcrypto")
        }
    }

    /// Entries read in one go.
    private static let auditPage = 1000

    /// Seals where each chain goes on; only then may what lies before it be removed.
    private func raiseAuditFloor(
        from old: UInt64, to floor: UInt64, _ ends: [AuditChainEnd], at now: UnixTime
    ) async throws(StoreError) {
        try await write(at: now) { db in
            // Another server may have been faster.
            guard try Self.auditFloor(db) == old else { return }
            let end = AuditChainEnd.floor(floor)
            for end in ends + [end] { try Self.seal(end, db) }
            try Self.append(
                AuditEvent(.auditPruned, by: .server, detail: "up_to=\(floor)"), to: db, at: now)
            try db.execute(
                sql: "UPDATE head SET audit_floor = ?", arguments: [Int64(clamping: floor)])
        }
    }

    private func removeAudit(
        upTo floor: UInt64, limit: Int, at now: UnixTime
    ) async throws(StoreError) -> Int {
        let isLeft = try await readOne { db in
            try db.integer(
                sql: "SELECT 1 FROM audit WHERE sequence <= ? ORDER BY sequence LIMIT 1",
                arguments: [Int64(clamping: floor)]) != nil
        }
        guard isLeft else { return 0 }
        return try await write(at: now, .rows) { db in
            var removed = 0
            for table in ["audit_personal", "audit"] {
                try db.execute(
                    sql: """
                        DELETE FROM \(table) WHERE sequence IN
                            (SELECT sequence FROM \(table) WHERE sequence <= ?
                                ORDER BY sequence LIMIT ?
                                \(db.skippingLockedRows(of: table)))
                        """, arguments: [Int64(clamping: floor), limit])
                removed = try db.changesCount
            }
            return removed
        }
    }

    package func eraseAuditPersonal(
        of user: UserID, at now: UnixTime
    ) async throws(StoreError) -> Int {
        try await write(at: now, .user(user)) { db in try Self.eraseAuditPersonal(of: user, db) }
    }

    static func eraseAuditPersonal(of user: UserID, _ db: Database) throws -> Int {
        try db.execute(
            sql: """
                DELETE FROM audit_personal WHERE sequence IN
                    (SELECT sequence FROM audit WHERE user_id = ?)
                """, arguments: [user.value.data])
        return try db.changesCount
    }
}

extension Row {
    func chainEnd() throws(StoreError) -> AuditChainEnd {
        let bytes = try bytes("chain")
        guard bytes.count == Identifier.byteCount else { throw .damaged("chain") }
        return AuditChainEnd(
            chain: AuditChain(Identifier(bytes.span)), position: try number("position"),
            mac: try self.bytes("mac"))
    }

    func keyID(_ column: String) throws(StoreError) -> KeyID {
        guard let id = KeyID(rawValue: try number(column)) else { throw .damaged(column) }
        return id
    }

    func optionalBytes(_ column: String) throws(StoreError) -> [UInt8]? {
        return try value(column).isNull ? nil : try bytes(column)
    }
}
