// What a server does beside answering: it follows the store, cleans up, and writes which sessions were used.

import GatehouseCheck
import GatehouseCore
import GatehouseSystem
import GatehouseWeb
import Logging
import ServiceLifecycle

/// Follows the store: refreshes when it changes, and cleans up now and then.
struct Follower: Service {
    /// How long nothing may be looked at where the database tells of changes.
    static let refreshMilliseconds = 500
    static let upkeepSeconds: Int64 = 60
    /// Between two steps of upkeep, in which others write.
    static let upkeepPauseMilliseconds = 100
    /// How far the wall clock may have moved against the clock that doesn't step, since the start, for old
    /// entries of the audit trail to be removed.
    static let maximumStepSeconds: Int64 = 3600
    /// How often certificates are looked at.
    static let certificateSeconds: Int64 = 10
    /// Rows removed in one transaction; no writer waits long.
    static let upkeepBatch = 1000
    static let longUpkeepSeconds: Int64 = 3600

    let node: Node
    let store: any Store
    let checkTLS: ServerTLS?
    let auditKeepSeconds: Int64
    let departures: DepartureUpkeep
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            await withTaskGroup { group in
                group.addTask { await follow() }
                // By itself: the lease waits for none of it, however long it takes.
                group.addTask { await keepUp() }
            }
        }
    }

    private func follow() async {
        var failure: RefreshFailure?
        var rotationFailure: KeyringDefect?
        var certificateFailure: String?
        var nextCertificates = SystemClock.now().boot.advanced(bySeconds: Self.certificateSeconds)
        while !Task.isCancelled {
            await store.waitForChange(milliseconds: Self.refreshMilliseconds)
            guard !Task.isCancelled else { return }
            let now = SystemClock.now()
            do throws(RefreshFailure) {
                let report = try await node.refresh(at: now)
                log(report, recoveredFrom: failure)
                failure = nil
                // Tried again every few seconds, and said once for each reason.
                if let defect = report.rotationFailure, defect != rotationFailure {
                    logger.error(
                        "no key could be added to the ring",
                        metadata: [
                            "failure": "\(CommandFailure(defect).message)",
                            "hint": "see keys.rotate_every",
                        ])
                    rotationFailure = defect
                }
                if report.rotated != nil { rotationFailure = nil }
            } catch {
                // Said once, not ten times a second; /readyz and metrics go on saying it.
                if failure != error {
                    logger.error("refresh failed", metadata: ["failure": "\(error)"])
                }
                failure = error
            }
            if now.boot >= nextCertificates {
                certificateFailure = reloadCertificates(after: certificateFailure)
                nextCertificates = now.boot.advanced(bySeconds: Self.certificateSeconds)
            }
        }
    }

    private func keepUp() async {
        var auditFailure: StoreError?
        let start = SystemClock.now()
        var nextUpkeep = start.boot.advanced(bySeconds: Self.upkeepSeconds)
        var nextLongUpkeep = start.boot.advanced(bySeconds: Self.longUpkeepSeconds)
        while true {
            do { try await Task.sleep(for: .milliseconds(Self.upkeepPauseMilliseconds)) } catch {
                return
            }
            let now = SystemClock.now()
            if now.boot >= nextUpkeep {
                let isSteady =
                    if Self.isSteady(at: now, since: start) {
                        await departures.believesClock(at: now.wall)
                    } else { false }
                // One step after each pause; while there is more, the next one follows.
                let audit = await pruneAudit(at: now.wall, isSteady: isSteady, after: auditFailure)
                auditFailure = audit.failure
                if await !cleanUp(at: now.wall), !audit.hasMore {
                    await departures.run(at: now.wall, isSteady: isSteady)
                    nextUpkeep = now.boot.advanced(bySeconds: Self.upkeepSeconds)
                }
            }
            if now.boot >= nextLongUpkeep {
                await node.dropExpired(at: now.wall)
                ProcessLimits.trimMemory()
                await destroyKeys(at: now.wall)
                await checkpointAudit(at: now.wall)
                nextLongUpkeep = now.boot.advanced(bySeconds: Self.longUpkeepSeconds)
            }
        }
    }

    private func log(_ report: RefreshReport, recoveredFrom failure: RefreshFailure?) {
        if failure != nil { logger.notice("refresh works again") }
        if report.keyringChanged { logger.info("keyring loaded") }
        if report.feedRows > 0 {
            logger.info("revocations applied", metadata: ["rows": "\(report.feedRows)"])
        }
        if let key = report.rotated {
            logger.notice(
                "key added: the active one is old enough", metadata: ["key": "\(key.text)"])
        }
        if let key = report.activated {
            logger.notice("key activated", metadata: ["key": "\(key.text)"])
        }
    }

    /// Gives what is wrong with new files, which is said once.
    private func reloadCertificates(after failure: String?) -> String? {
        do {
            if try checkTLS?.reloadIfChanged() == true {
                logger.notice("certificates of the check endpoint loaded again")
            }
            return nil
        } catch {
            if failure != "\(error)" {
                logger.error(
                    "new certificates can't be used; the old ones stay",
                    metadata: ["failure": "\(error)"])
            }
            return "\(error)"
        }
    }

    /// Removes some of what has expired; says whether there may be more.
    private func cleanUp(at now: UnixTime) async -> Bool {
        do {
            return try await store.prune(limit: Self.upkeepBatch, at: now) >= Self.upkeepBatch
        } catch {
            logger.error("upkeep failed", metadata: ["failure": "\(error)"])
            return false
        }
    }

    /// Removes old entries of the audit trail; says whether there may be more. Gives what is wrong, which is
    /// said once. A clock that has stepped, or leapt before the start, removes nothing: it may be wrong.
    private func pruneAudit(
        at now: UnixTime, isSteady: Bool, after failure: StoreError?
    ) async -> (hasMore: Bool, failure: StoreError?) {
        guard isSteady else { return (false, failure) }
        do throws(StoreError) {
            let removed = try await store.pruneAudit(
                before: now.advanced(bySeconds: -auditKeepSeconds), limit: Self.upkeepBatch,
                at: now)
            return (removed >= Self.upkeepBatch, nil)
        } catch {
            if failure != error {
                logger.error(
                    "old entries of the audit trail stay", metadata: ["failure": "\(error)"])
            }
            return (false, error)
        }
    }

    /// Whether the wall clock is where it ought to be by the clock that doesn't step.
    static func isSteady(at now: Instant, since start: Instant) -> Bool {
        let byWall = now.wall.seconds - start.wall.seconds
        let byBoot = (now.boot.nanoseconds - start.boot.nanoseconds) / 1_000_000_000
        return abs(byWall - byBoot) <= maximumStepSeconds
    }

    private func checkpointAudit(at now: UnixTime) async {
        do { try await store.checkpointAudit(at: now) } catch {
            logger.error("no checkpoint of the trail", metadata: ["failure": "\(error)"])
        }
    }

    private func destroyKeys(at now: UnixTime) async {
        do {
            for key in try await node.destroyExpiredKeys(at: now) {
                logger.notice("key destroyed", metadata: ["key": "\(key.text)"])
            }
        } catch {
            logger.error("destroying keys failed", metadata: ["failure": "\(error)"])
        }
    }
}

/// Writes which sessions were used, and what keys did, in the background.
struct ActivityWriter: Service {
    /// How often the loops' notes are taken.
    static let seconds: Int64 = 10
    /// Sessions written in one transaction, and the pause after it: a transaction takes about a
    /// millisecond, so that neither the store's other writers nor checks on the same core wait long.
    static let batch = 100
    static let pauseMilliseconds = 10
    /// Sessions whose last writing is remembered; beyond it some are written more often than they must be.
    static let maximumRemembered = 262_144

    let checks: CheckServer
    let uses: SessionUses
    let store: any Store
    let keys: KeyMeter
    let idleSeconds: Int64
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            // Nothing is written twice within the step that the store notes, though it is used all the time.
            var written: [SessionID: UnixTime] = [:]
            while !Task.isCancelled {
                do { try await Task.sleep(for: .seconds(Self.seconds)) } catch { return }
                await write(&written)
                await keys.writeIfDue(at: SystemClock.now())
            }
        }
    }

    private func write(_ written: inout [SessionID: UnixTime]) async {
        let step = ActivityNotes.stepSeconds(idleSeconds: idleSeconds)
        var due: [(session: SessionID, used: UnixTime)] = []
        var latest: UnixTime?
        for note in await checks.takeActivity().flatMap(\.all) + uses.take() {
            latest = max(latest ?? note.used, note.used)
            if let last = written[note.session], note.used.seconds - last.seconds <= step {
                continue
            }
            due.append(note)
        }
        do {
            for start in stride(from: 0, to: due.count, by: Self.batch) {
                let batch = Array(due[start..<min(start + Self.batch, due.count)])
                try await store.noteActivity(
                    batch, idleSeconds: idleSeconds, at: SystemClock.now().wall)
                for note in batch { written[note.session] = note.used }
                // Cut short when the server ends; the rest is written at once.
                try? await Task.sleep(for: .milliseconds(Self.pauseMilliseconds))
            }
        } catch {
            // What was not written is lost: such a session may count as idle sooner, never longer.
            logger.error("writing activity failed", metadata: ["failure": "\(error)"])
        }
        if written.count > Self.maximumRemembered { written = [:] }
        if let latest {
            written = written.filter { latest.seconds - $0.value.seconds <= step }
        }
    }
}
