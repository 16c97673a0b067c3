// What a kind of database does for the store: transactions, and all that is not SQL.

import GatehouseCore

/// A kind of database. Bodies may run more than once: what they do besides SQL must bear that.
protocol StoreDriver: Sendable {
    /// One view of the database, in which nothing changes.
    func read<Value: Sendable>(
        on lane: StoreLane, _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws -> Value

    /// The same for one statement, or several, each of which is a view by itself.
    func readOne<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws -> Value

    /// The same beside all others: no long query delays it.
    func follow<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws -> Value

    /// One transaction that is on disk when this returns, and that also notes the time.
    ///
    /// - Throws: ``StoreError/clockAhead(seconds:)`` besides what the body throws.
    func write<Value: Sendable>(
        _ scope: WriteScope, at now: UnixTime, on lane: StoreLane,
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws -> Value

    /// One transaction of one statement, whose rows it gives once they are on disk. Whether `now` is possible
    /// is for the statement to tell; where it changes nothing, the time is noted or not.
    func writeOne(_ scope: WriteScope, at now: UnixTime, _ statement: Query) async throws -> [Row]

    /// One that takes `now` as the store's time, whatever that was.
    func setClock(
        at now: UnixTime, _ body: @escaping @Sendable (Database) throws -> Void
    ) async throws

    /// What an error of the driver means to the rest of the service.
    func storeError(_ error: any Error) -> StoreError

    /// Returns when something may have been written that nodes follow, or `milliseconds` have passed.
    func waitForChange(milliseconds: Int) async

    /// What ``checkIdentity(_:)`` asks.
    var identityQueries: [Query] { get }
    /// - Throws: ``StoreError/replaced`` when another database is in the place of this one.
    func checkIdentity(_ db: Database) throws

    /// Whether the other's database is this one.
    func isSame(as other: any StoreDriver) -> Bool

    /// The newest migration that this release knows.
    var schemaVersion: Int { get }
    /// What is known of the processes behind nodes, besides their rows.
    var presence: any NodePresence { get }

    /// Removes sessions and feed rows whose deadlines are before `time`, at most `limit` of each where they go
    /// one by one; says how many of those it removed. Where they go by tables, some stay until the table goes.
    func dropExpired(before time: UnixTime, limit: Int, at now: UnixTime) async throws -> Int

    /// Makes what was erased go from where the database keeps older pages; false while that can't be.
    func eraseLog() async throws -> Bool
    /// What durability and erasure rest on, by the database's own names.
    func settings() async throws -> [String: String]
    /// What is damaged, in words.
    func integrityFindings() async throws -> [String]
    func close() throws
}

/// Which line a transaction waits in, where there are several.
enum StoreLane {
    case work
    /// What the lease rests on: no work of others delays it, however much there is.
    case following
}

/// What is known of the processes behind nodes, besides their rows.
protocol NodePresence: Sendable {
    /// Says that the process behind a node lives: this one.
    func hold(_ node: NodeID) throws(StoreError)
    func release(_ node: NodeID)
    /// Whether it is a node of this process.
    func isOurs(_ node: NodeID) -> Bool
    /// Whether the process behind a node is gone for certain.
    func isGone(_ node: NodeID) -> Bool
    /// Removes what is left of a node that is gone.
    func forget(_ node: NodeID)
    /// Nodes of other processes that live on another database than ours.
    func strangers() -> [NodeID]
    /// How far the clocks of nodes may be apart, in seconds, when one judges by another's heartbeat.
    var clockMarginSeconds: Int64 { get }
}

/// What a write transaction needs to itself. SQLite has one writer; on PostgreSQL these are advisory locks,
/// so that a body sees of its scope what it would see there.
struct WriteScope: Sendable {
    /// Nothing else is written meanwhile: for what concerns all, and is rare and short.
    static let store = WriteScope(isExclusive: true, owners: [], find: nil)
    /// Every statement decides by itself.
    static let rows = WriteScope(isExclusive: false, owners: [], find: nil)

    /// A user's sessions, series, devices and whatever else is theirs.
    static func user(_ id: UserID) -> WriteScope {
        WriteScope(isExclusive: false, owners: [WriteScope.owner(id.value.bytes)], find: nil)
    }

    /// Those of the users that are found by a look before it, and of `id`.
    static func users(
        _ id: UserID? = nil, _ find: @escaping @Sendable (Database) throws -> [UserID]
    ) -> WriteScope {
        WriteScope(
            isExclusive: false, owners: id.map { [WriteScope.owner($0.value.bytes)] } ?? [],
            find: { try find($0).map { WriteScope.owner($0.value.bytes) } })
    }

    /// Names that are taken by the hundred: two imports that took the same ones in another order would wait
    /// for each other in a circle.
    static let imports = WriteScope(isExclusive: false, owners: [1], find: nil)

    /// What is removed of a user, and the file that tells who was (``DeletionLedger``).
    static func deletion(of id: UserID) -> WriteScope {
        WriteScope(isExclusive: false, owners: [2, owner(id.value.bytes)], find: nil)
    }

    /// Nobody is removed meanwhile.
    static let noDeletion = WriteScope(isExclusive: false, owners: [2], find: nil)

    /// Counters of tries.
    static func attempts(_ keys: [AttemptKey]) -> WriteScope { rows.and(keys) }

    /// Counters of tries too.
    func and(_ keys: [AttemptKey]) -> WriteScope {
        WriteScope(
            isExclusive: isExclusive, owners: owners + keys.map { Self.owner($0.bytes) }, find: find
        )
    }

    /// A counter of tries too.
    func and(_ key: AttemptKey?) -> WriteScope { and(key.map { [$0] } ?? []) }

    /// Counters of tries too, which are found as the users are.
    func and(
        _ counters: @escaping @Sendable (Database) throws -> [AttemptKey]
    ) -> WriteScope {
        WriteScope(isExclusive: isExclusive, owners: owners) { [find] db in
            let found = try find?(db) ?? []
            return found + (try counters(db).map { Self.owner($0.bytes) })
        }
    }

    /// A link too, which is used once.
    func and(_ link: LinkHash?) -> WriteScope {
        guard let link else { return self }
        return WriteScope(
            isExclusive: isExclusive, owners: owners + [Self.owner(link.bytes)], find: find)
    }

    let isExclusive: Bool
    /// Two owners of one number wait for each other, and that is all. The least are not users': theirs are
    /// random.
    let owners: [Int64]
    /// More of them, found in the transaction before the locks are taken. Who owns a row never changes.
    let find: (@Sendable (Database) throws -> [Int64])?

    /// The first eight bytes of an id that is random, or of a keyed hash.
    private static func owner(_ bytes: [UInt8]) -> Int64 {
        Int64(bitPattern: UInt64(bigEndianBytes: bytes.span, at: 0))
    }
}
