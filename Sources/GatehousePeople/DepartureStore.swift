// The store of how people leave, and what is done so that nothing stays.

package import GatehouseCore

package protocol DepartureStore: Sendable {
    // MARK: Leaving

    /// Notes that the user wants to go, if their password is still the one that was verified. A second
    /// request leaves the first one as it is.
    func requestDeletion(
        _ request: DeletionRequest, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> DeletionRequestOutcome
    /// Forgets the request. False when there is none, or its time has come: then nothing stops it.
    func cancelDeletion(
        of user: UserID, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> Bool
    /// Nil for who stays.
    func deletion(of user: UserID) async throws(StoreError) -> Deletion?
    /// All that wait, the earliest first, at most `limit`.
    func deletions(limit: Int) async throws(StoreError) -> [Deletion]

    /// Removes everything about the user but the reserved name and the facts of the audit trail, and writes
    /// so to the deletion ledger before that is done.
    ///
    /// - Parameters:
    ///   - onlyIfDue: whether nothing is done unless the user's own request has come to its time: of many
    ///     nodes that try, one does it.
    ///   - lookUpKey: what counters of failed tries are found with.
    func deletePerson(
        _ user: UserID, onlyIfDue: Bool, lookUpKey: LookUpKey, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome

    /// Who is in the store although the ledger says that they were deleted: it was restored from a backup.
    func returnedPeople() async throws(StoreError) -> [UserID]
    /// Lines of the ledger that are no entries: who was to be in them may have come back.
    func unreadableLedgerLines() async throws(StoreError) -> Int
    /// Drops entries of the ledger that no backup is old enough to need; says how many.
    func pruneLedger(before time: UnixTime, at now: UnixTime) async throws(StoreError) -> Int
    /// When the store's time last went forward by more than an hour while no server ran; nil when it never
    /// did, or an operator accepted the clock since.
    func clockLeap() async throws(StoreError) -> ClockLeap?
    /// Since when something is erased that older pages in the write-ahead log may still have; nil when none.
    func unerasedSince() async throws(StoreError) -> UnixTime?
    /// Writes the log to the database and makes it empty. False while somebody reads: try again.
    func eraseLog(at now: UnixTime) async throws(StoreError) -> Bool

    // MARK: What is held

    /// Everything about the user that this release keeps itself, as of one moment.
    func held(about user: UserID) async throws(StoreError) -> HeldRecords

    // MARK: Addresses and counts

    /// Cuts addresses of audit entries before `time` down to their networks, at most `limit`; says how many.
    func cutAddresses(
        before time: UnixTime, limit: Int, at now: UnixTime
    ) async throws(StoreError) -> Int
    /// When the earliest entry was written that still has a full address.
    func earliestAddress() async throws(StoreError) -> UnixTime?
    /// The counts of days and weeks from `first` on, those without any left out.
    func activity(from first: CalendarDay) async throws(StoreError) -> ActivityCounts
    /// Removes counts of what came before; says how many.
    func pruneActivity(before first: CalendarDay, at now: UnixTime) async throws(StoreError) -> Int
}

/// That a user goes, and when.
package struct Deletion: Sendable, Equatable {
    package let user: UserID
    package let requested: UnixTime
    /// Until then it can be cancelled.
    package let due: UnixTime

    package init(user: UserID, requested: UnixTime, due: UnixTime) {
        self.user = user
        self.requested = requested
        self.due = due
    }
}

/// What somebody asked who had given the password.
package struct DeletionRequest: Sendable {
    package let user: UserID
    package let epoch: UInt32
    /// The hash that was verified.
    package let passwordHash: String
    /// The counter that the right password clears.
    package let clearing: AttemptKey
    package let due: UnixTime

    package init(
        user: UserID, epoch: UInt32, passwordHash: String, clearing: AttemptKey, due: UnixTime
    ) {
        self.user = user
        self.epoch = epoch
        self.passwordHash = passwordHash
        self.clearing = clearing
        self.due = due
    }
}

package enum DeletionRequestOutcome: Sendable, Equatable {
    /// With what holds now, which may have been asked before.
    case requested(Deletion)
    /// User, epoch or password are no longer what was read.
    case userChanged
}

/// How long people wait before they are gone.
package struct DepartureRules: Sendable {
    /// 14 days: long enough to notice what a thief asked for, short enough to be a promise.
    package static let defaultWaitSeconds: Int64 = 14 * 86_400
    package static let maximumWaitSeconds: Int64 = 90 * 86_400
    /// Five weeks: a month of daily copies.
    package static let defaultBackupSeconds: Int64 = 35 * 86_400
    package static let maximumBackupSeconds: Int64 = 400 * 86_400
    /// How much longer the ledger keeps an entry than backups are kept: a copy may be found late.
    package static let ledgerMarginSeconds: Int64 = 30 * 86_400

    /// Between request and deletion.
    package var waitSeconds = defaultWaitSeconds
    /// How long the operator keeps copies of the store.
    package var backupSeconds = defaultBackupSeconds

    package init() {}

    /// Until when copies that were made before may have the person; to the end of that day.
    package func copiesGone(after deletion: UnixTime) -> UnixTime {
        deletion.advanced(bySeconds: backupSeconds)
    }
}

/// What is held about a user, but for what the account itself says.
package struct HeldRecords: Sendable {
    /// A "remember me", as it is stored.
    package struct Series: Sendable, Equatable {
        package let id: SeriesID
        package let created: UnixTime
        package let authenticated: UnixTime
        package let methods: AuthenticationMethods
        package let deadline: UnixTime
        package let generation: UInt32
        package let made: UnixTime
        package let session: SessionID
        package let device: DeviceID?
        package let origin: SessionOrigin

        package init(
            id: SeriesID, created: UnixTime, authenticated: UnixTime,
            methods: AuthenticationMethods, deadline: UnixTime, generation: UInt32, made: UnixTime,
            session: SessionID, device: DeviceID?, origin: SessionOrigin
        ) {
            self.id = id
            self.created = created
            self.authenticated = authenticated
            self.methods = methods
            self.deadline = deadline
            self.generation = generation
            self.made = made
            self.session = session
            self.device = device
            self.origin = origin
        }
    }

    /// A link with which a new password can be, or was, set.
    package struct RecoveryLink: Sendable, Equatable {
        package let expires: UnixTime
        package let used: UnixTime?

        package init(expires: UnixTime, used: UnixTime?) {
            self.expires = expires
            self.used = used
        }
    }

    package let sessions: [SessionRecord]
    package let series: [Series]
    package let devices: [Device]
    package let warnings: [SignInWarning]
    package let links: [RecoveryLink]
    package let audit: [AuditRecord]
    /// The last one on which they were active.
    package let activeDay: CalendarDay?

    package init(
        sessions: [SessionRecord], series: [Series], devices: [Device], warnings: [SignInWarning],
        links: [RecoveryLink], audit: [AuditRecord], activeDay: CalendarDay?
    ) {
        self.sessions = sessions
        self.series = series
        self.devices = devices
        self.warnings = warnings
        self.links = links
        self.audit = audit
        self.activeDay = activeDay
    }
}
