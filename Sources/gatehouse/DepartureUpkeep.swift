// What a server does in the background so that nothing stays of who has gone, and of where people came from.

import GatehouseCore
import GatehousePeople
import Logging
import Synchronization

struct DepartureUpkeep: Sendable {
    /// People deleted in one step; the next follows within a minute.
    static let batch = 20
    /// Audit entries that lose their addresses in one transaction.
    static let addressBatch = 1000
    /// A reader holds up the log's erasing for milliseconds.
    static let eraseTries = 5
    static let erasePauseMilliseconds = 50

    let store: any Store & PeopleStore
    let node: Node
    let rules: DepartureRules
    let addressSeconds: Int64
    let logger: Logger
    private let told = ToldFailures()

    init(
        store: any Store & PeopleStore, node: Node, rules: DepartureRules, addressSeconds: Int64,
        logger: Logger
    ) {
        self.store = store
        self.node = node
        self.rules = rules
        self.addressSeconds = addressSeconds
        self.logger = logger
    }

    /// Before anything listens, and in each run: whoever was deleted, and came back with a database that was
    /// restored, goes again. A ledger that can't be read holds nobody up, and one that is mended is read again.
    func deleteReturned(at now: UnixTime) async {
        await attempt("deleting people again failed") {
            for user in try await store.returnedPeople() {
                guard try await delete(user, onlyIfDue: false, detail: "again", at: now) else {
                    continue
                }
                logger.notice(
                    "deleted again: the database was restored",
                    metadata: ["event": "user_deleted", "user": "\(user.text)"])
            }
        }
        await attempt("the deletion ledger is not whole") {
            let lines = try await store.unreadableLedgerLines()
            if lines > 0 { throw UnreadableLines(count: lines) }
        }
    }

    private struct UnreadableLines: Error, CustomStringConvertible {
        let count: Int
        var description: String { "\(count) line(s) are no entries" }
    }

    /// Whether the clock is believed: until it is, nothing is removed that can't be brought back.
    func believesClock(at now: UnixTime) async -> Bool {
        do throws(StoreError) {
            guard let leap = try await store.clockLeap(), leap.isHeld(at: now) else {
                _ = told.isNew(nil, of: "leap")
                return true
            }
            if told.isNew("\(leap.time.seconds)", of: "leap") {
                logger.warning(
                    "deletions are held back: the clock is far ahead of the last server's time",
                    metadata: ["until": "\(Output.text(leap.believed))"])
            }
        } catch {
            if told.isNew("\(error)", of: "leap") {
                logger.error("deletions are held back", metadata: ["failure": "\(error)"])
            }
        }
        return false
    }

    /// - Parameter isSteady: whether the wall clock can be trusted; a wrong one removes nothing.
    func run(at now: UnixTime, isSteady: Bool) async {
        await deleteReturned(at: now)
        if isSteady {
            await attempt("deleting people failed") {
                for deletion in try await store.deletions(limit: Self.batch) {
                    guard deletion.due <= now else { break }
                    guard
                        try await delete(
                            deletion.user, onlyIfDue: true, detail: "requested", at: now)
                    else { continue }
                    logger.notice(
                        "deleted as requested",
                        metadata: ["event": "user_deleted", "user": "\(deletion.user.text)"])
                }
            }
            await attempt("cutting addresses failed") {
                let before = now.advanced(bySeconds: -addressSeconds)
                _ = try await store.cutAddresses(before: before, limit: Self.addressBatch, at: now)
            }
            await attempt("removing old counts failed") {
                let first = CalendarDay(of: now).advanced(by: -ActivityCounts.keptDays)
                _ = try await store.pruneActivity(before: first, at: now)
                _ = try await store.pruneLedger(
                    before: now.advanced(
                        bySeconds: -rules.backupSeconds - DepartureRules.ledgerMarginSeconds),
                    at: now)
            }
        }
        await attempt("erasing the write-ahead log failed") { try await Self.erase(store, at: now) }
    }

    /// Makes the log empty, unless readers hold it up.
    static func erase(_ store: any DepartureStore, at now: UnixTime) async throws {
        for _ in 0..<eraseTries {
            if try await store.eraseLog(at: now) { return }
            try await Task.sleep(for: .milliseconds(erasePauseMilliseconds))
        }
    }

    /// False when another server was faster.
    private func delete(
        _ user: UserID, onlyIfDue: Bool, detail: String, at now: UnixTime
    ) async throws -> Bool {
        guard let key = await node.loadedKeyring?.lookUpKey else { throw ExportFailure.noLookUpKey }
        let outcome = try await store.deletePerson(
            user, onlyIfDue: onlyIfDue, lookUpKey: key,
            audit: AuditEvent(.userDeleted, by: .server, user: user, detail: "why=\(detail)"),
            at: now)
        guard case .revoked(let position, _) = outcome else { return false }
        try await node.catchUp(to: position, at: now)
        return true
    }

    private func attempt(_ failure: String, _ work: () async throws -> Void) async {
        do {
            try await work()
            _ = told.isNew(nil, of: failure)
        } catch {
            if told.isNew("\(error)", of: failure) {
                logger.error("\(failure)", metadata: ["failure": "\(error)"])
            }
        }
    }
}

/// Failures that were said: each is said once until it works again.
private final class ToldFailures: Sendable {
    private let told = Mutex<[String: String]>([:])

    /// Whether `reason` was not said before; nil is success.
    func isNew(_ reason: String?, of act: String) -> Bool {
        told.withLock { told in
            defer { told[act] = reason }
            return reason != told[act]
        }
    }
}
