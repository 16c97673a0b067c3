// The store as the rest of the service sees it: one protocol, held to one contract test suite.

/// The store let us down. Carries no values, cookies or SQL.
package enum StoreError: Error, Equatable {
    /// Locked for longer than the busy timeout, or away; a later try may succeed.
    case busy
    /// The disk is full or read-only, or the database can't be read.
    case unavailable(String)
    /// The schema is older or newer than this release works with.
    case schema(String)
    /// Another database was put in the place of the one that this process has open.
    case replaced
    /// A row doesn't have the form that this release writes.
    case damaged(String)
    /// This machine's clock is this many seconds ahead of a running node's; nothing was written,
    /// because the store's time never goes back.
    case clockAhead(seconds: Int64)
}

package struct User: Sendable, Equatable {
    package enum State: String, Sendable, CaseIterable { case enabled, disabled }

    package let id: UserID
    package let username: Username
    package let state: State
    /// Sessions with a lower epoch are dead.
    package let epoch: UInt32
    package let created: UnixTime
    /// A PHC string; nil when no password was set yet.
    package let passwordHash: String?

    package init(
        id: UserID, username: Username, state: State, epoch: UInt32, created: UnixTime,
        passwordHash: String?
    ) {
        self.id = id
        self.username = username
        self.state = state
        self.epoch = epoch
        self.created = created
        self.passwordHash = passwordHash
    }
}

/// A user's password hash as stored.
package struct StoredPasswordHash: Sendable, Equatable {
    package let user: UserID
    package let text: String
    package let isEnabled: Bool
    package init(user: UserID, text: String, isEnabled: Bool = true) {
        self.user = user
        self.text = text
        self.isEnabled = isEnabled
    }
}

/// A session as the store holds it.
package struct SessionRecord: Sendable, Equatable {
    package let id: SessionID
    package let user: UserID
    package let epoch: UInt32
    package let created: UnixTime
    package let authenticated: UnixTime
    package let idleDeadline: UnixTime
    package let absoluteDeadline: UnixTime
    package let methods: AuthenticationMethods
    package let level: AuthenticationLevel
    package let isRemembered: Bool
    package let revoked: UnixTime?
    /// The "remember me" that it belongs to.
    package let series: SeriesID?
    /// To about a minute; nil before the first use that was written.
    package let lastUsed: UnixTime?
    package let origin: SessionOrigin

    package init(
        id: SessionID, user: UserID, epoch: UInt32, created: UnixTime, authenticated: UnixTime,
        idleDeadline: UnixTime, absoluteDeadline: UnixTime, methods: AuthenticationMethods,
        level: AuthenticationLevel, isRemembered: Bool, revoked: UnixTime?,
        series: SeriesID? = nil, lastUsed: UnixTime? = nil, origin: SessionOrigin = .unknown
    ) {
        self.id = id
        self.user = user
        self.epoch = epoch
        self.created = created
        self.authenticated = authenticated
        self.idleDeadline = idleDeadline
        self.absoluteDeadline = absoluteDeadline
        self.methods = methods
        self.level = level
        self.isRemembered = isRemembered
        self.revoked = revoked
        self.series = series
        self.lastUsed = lastUsed
        self.origin = origin
    }
}

/// What is known of one key's tokens.
package struct KeyUsage: Sendable, Equatable {
    /// How many tokens it sealed for stored sessions and devices.
    package let sealed: UInt64
    /// The latest deadline of any of them.
    package let lastDeadline: UnixTime
    package init(sealed: UInt64, lastDeadline: UnixTime) {
        self.sealed = sealed
        self.lastDeadline = lastDeadline
    }
}

/// A running process as the others see it.
package struct NodeRecord: Sendable, Equatable {
    /// What a lease can be, in seconds: an hour at most, by `revocation.max_staleness`.
    package static let leaseSeconds: ClosedRange<Int64> = 1...3600

    package let id: NodeID
    package let started: UnixTime
    package let heartbeat: UnixTime
    /// How long after its last heartbeat it may still say yes, in seconds.
    package let leaseSeconds: Int64
    /// The feed position that it has applied.
    package let position: UInt64
    /// The ring that it has loaded; 0 before the first.
    package let keyringVersion: UInt64
    /// The root key that it runs with; nil for a node of a release that did not say.
    package let rootKey: RootKey.Identifier64?
    /// Whether it replaces keys that are old; one that doesn't leaves that to others.
    package let rotates: Bool
    /// The highest version of claims that it opens.
    package let claimsVersion: UInt8

    package init(
        id: NodeID, started: UnixTime, heartbeat: UnixTime, leaseSeconds: Int64, position: UInt64,
        keyringVersion: UInt64, rootKey: RootKey.Identifier64? = nil, rotates: Bool = true,
        claimsVersion: UInt8 = Claims.actingVersion
    ) {
        self.id = id
        self.started = started
        self.heartbeat = heartbeat
        self.leaseSeconds = leaseSeconds
        self.position = position
        self.keyringVersion = keyringVersion
        self.rootKey = rootKey
        self.rotates = rotates
        self.claimsVersion = claimsVersion
    }

    /// For the beat that was under way.
    package static let graceSeconds: Int64 = 5

    /// When a silent node is given up.
    package var givenUp: UnixTime {
        heartbeat.advanced(bySeconds: leaseSeconds + Self.graceSeconds)
    }
}

extension Store {
    package func head() async throws(StoreError) -> StoreHead { try await head(anchor: nil) }
}

/// Where the store stands.
package struct StoreHead: Sendable, Equatable {
    /// The feed's last sequence number.
    package let sequence: UInt64
    package let keyringVersion: UInt64
    /// Bytes of the sealed ring that no other ring has; empty when there is none.
    package let keyringMark: [UInt8]
    /// The latest wall-clock time of any write.
    package let latestTime: UnixTime
    /// The feed's row that was asked for; nil when it isn't there.
    package let anchor: FeedEntry?
    /// Tells connections apart: behind another one there may be another database.
    package let connection: UInt64

    package init(
        sequence: UInt64, keyringVersion: UInt64, keyringMark: [UInt8], latestTime: UnixTime,
        anchor: FeedEntry?, connection: UInt64
    ) {
        self.sequence = sequence
        self.keyringVersion = keyringVersion
        self.keyringMark = keyringMark
        self.latestTime = latestTime
        self.anchor = anchor
        self.connection = connection
    }
}

/// An entry of the audit trail: facts and ids, never names, cookies or secrets.
package struct AuditEvent: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable {
        case userCreated = "user_created"
        /// A file of users begins to be imported; each of them has an event of their own.
        case usersImported = "users_imported"
        case userDisabled = "user_disabled"
        case userEnabled = "user_enabled"
        case userRenamed = "user_renamed"
        case userDeleted = "user_deleted"
        case skeletonsRewritten = "skeletons_rewritten"
        case userInvited = "user_invited"
        case userRecoveryIssued = "user_recovery_issued"
        case passwordRecovered = "password_recovered"
        case passwordAttemptsExhausted = "password_attempts_exhausted"
        case passwordAttemptsReset = "password_attempts_reset"
        /// The stored hash can't be one that this service wrote, or names a pepper that there isn't.
        case passwordHashRefused = "password_hash_refused"
        case pepperLayered = "pepper_layered"
        case signedIn = "signed_in"
        case signedOut = "signed_out"
        case sessionCreated = "session_created"
        case sessionRevoked = "session_revoked"
        case sessionsRevokedForUser = "sessions_revoked_for_user"
        case sessionsRevokedBefore = "sessions_revoked_before"
        /// A session took its place: the password was given again.
        case sessionSuperseded = "session_superseded"
        /// It was the oldest of as many as a user may have.
        case sessionEndedForLimit = "session_ended_for_limit"
        case steppedUp = "stepped_up"
        case passwordChanged = "password_changed"
        case rememberCreated = "remember_created"
        /// A session came from it.
        case rememberUsed = "remember_used"
        case rememberEnded = "remember_ended"
        /// Two parties had its cookie.
        case rememberStolen = "remember_stolen"
        /// Its cookie is newer than the store.
        case rememberAhead = "remember_ahead"
        case deviceForgotten = "device_forgotten"
        case keyAdded = "key_added"
        case keyActivated = "key_activated"
        case keyRevoked = "key_revoked"
        case keyDestroyed = "key_destroyed"
        /// The store's time was set back after a wrong clock had written.
        case clockAccepted = "clock_accepted"
        /// Vouches for the entries of releases that made no chains, or whose key was lost.
        case auditBegan = "audit_began"
        /// Says how far the other chains had got.
        case auditCheckpoint = "audit_checkpoint"
        /// Older entries were removed, as `audit.keep` says.
        case auditPruned = "audit_pruned"
        case auditExported = "audit_exported"
        /// A notice, or terms: document and version.
        case noticePublished = "notice_published"
        /// One that has not taken effect was taken back.
        case noticeWithdrawn = "notice_withdrawn"
        /// A document was accepted, or a purpose agreed to: which, and its version.
        case agreementGiven = "agreement_given"
        case agreementWithdrawn = "agreement_withdrawn"
        /// Which fields, never what they say.
        case profileChanged = "profile_changed"
        /// All that is held about a person was handed out.
        case dataExported = "data_exported"
        case deletionRequested = "deletion_requested"
        case deletionCancelled = "deletion_cancelled"
        /// A person let support look at them, or act for them.
        case grantGiven = "grant_given"
        case grantRevoked = "grant_revoked"
        /// Somebody looked at a person: what, and by which grant.
        case personSeen = "person_seen"
        /// Somebody looked at a person without their permission.
        case glassBroken = "glass_broken"
        case adminTokenMade = "admin_token_made"
        case adminTokenRevoked = "admin_token_revoked"
        case referralAdded = "referral_added"
        case referralRetired = "referral_retired"
        /// Of a newer release, or of nobody who has the key.
        case unknown
        /// The keyring opens with one root key more or less.
        case rootKeyAdded = "root_key_added"
        case rootKeyRemoved = "root_key_removed"
    }

    /// Who did it.
    package enum Actor: String, Sendable {
        case command, server
        /// As a kind that is unknown.
        case unknown
    }

    package let kind: Kind
    package let actor: Actor
    package let user: UserID?
    package let session: SessionID?
    package let key: KeyID?
    package let series: SeriesID?
    /// What else is evidence, as `name=value` pairs; at most 256 bytes.
    package let detail: String?

    package init(
        _ kind: Kind, by actor: Actor, user: UserID? = nil, session: SessionID? = nil,
        key: KeyID? = nil, series: SeriesID? = nil, detail: String? = nil
    ) {
        self.kind = kind
        self.actor = actor
        self.user = user
        self.session = session
        self.key = key
        self.series = series
        self.detail = detail
    }
}

package enum AddUserOutcome: Sendable, Equatable {
    case added(User)
    /// Someone has or had the name or one that looks like it, or it is reserved.
    case nameTaken
    /// The store's skeletons are of another version than ours: nobody can be given a name.
    case skeletonsOutdated
    /// The invitation is unknown, used or expired.
    case notInvited
}

package enum SetPasswordOutcome: Sendable, Equatable {
    case set(UserID, position: UInt64)
    /// The link is unknown, used or expired, or its user is gone.
    case noLink
}

/// SHA-256 of a single-use link's secret: the store can't give the link away.
package struct LinkHash: Sendable, Hashable {
    package static let byteCount = 32
    package let bytes: [UInt8]

    package init?(bytes: [UInt8]) {
        guard bytes.count == Self.byteCount else { return nil }
        self.bytes = bytes
    }

    /// The hash of a secret as a link carries it; nil when libcrypto fails.
    package init?(secret: [UInt8]) {
        guard let digest = try? sha256(secret.span) else { return nil }
        bytes = digest
    }
}

/// A link that works once, for a short time.
package struct Link: Sendable, Equatable {
    package enum Purpose: Sendable, Equatable {
        /// Lets someone register.
        case invitation
        /// Lets the user set a new password.
        case recovery(UserID)
    }

    /// 15 minutes: long enough to hand over, too short to be found later.
    package static let lifetimeSeconds: Int64 = 15 * 60
    /// Random bytes of the secret.
    package static let secretBytes = 32

    package let hash: LinkHash
    package let purpose: Purpose
    package let expires: UnixTime

    package init(hash: LinkHash, purpose: Purpose, expires: UnixTime) {
        self.hash = hash
        self.purpose = purpose
        self.expires = expires
    }
}

/// A user as a file of another system's users has them.
package struct ImportedUser: Sendable, Equatable {
    /// Counted from one.
    package let line: Int
    package let username: Username
    package let id: UserID
    /// Nil for a user who has no password yet.
    package let passwordHash: String?

    package init(line: Int, username: Username, id: UserID, passwordHash: String?) {
        self.line = line
        self.username = username
        self.id = id
        self.passwordHash = passwordHash
    }
}

/// A line that was not imported. Says nothing of what is in it.
package struct RefusedLine: Sendable, Equatable, Codable {
    package let line: Int
    package let reason: String

    package init(line: Int, reason: String) {
        self.line = line
        self.reason = reason
    }
}

/// How far a file of users has been imported. Moves with the users, in one transaction.
package struct ImportProgress: Sendable, Equatable {
    /// Names the file: SHA-256 of its path.
    package let file: [UInt8]
    /// SHA-256 over what was read, in a chain.
    package var digest = [UInt8](repeating: 0, count: 32)
    /// Bytes and lines that were read.
    package var position = 0
    package var lines = 0
    package var added = 0
    package var refused = 0
    /// What the last step refused: whoever goes on reports it again, since the one who stopped may
    /// not have.
    package var unreported: [RefusedLine] = []

    package init(file: [UInt8]) { self.file = file }
}

package enum ImportOutcome: Sendable, Equatable {
    /// With the names counted and refused that were taken.
    case imported(ImportProgress)
    /// The stored progress is not the one that the step began with: someone else imports the file.
    case overtaken
    /// Nobody can be added before `users reindex`; nothing was written.
    case skeletonsOutdated
}

package enum SetStateOutcome: Sendable, Equatable {
    /// With the feed position that tells the others.
    case changed(User, position: UInt64)
    case unchanged(User)
    case notFound
}

/// Sessions that are to begin, and what must still hold when they do.
package struct SessionCreation: Sendable {
    /// Of one user and one epoch.
    package let sessions: [SessionRecord]
    /// What sealed their tokens.
    package let seal: SessionSeal
    /// The password hash that was verified; nil when none was.
    package let passwordHash: String?
    /// What the browser presented, which ends in the same transaction.
    package let ending: PresentedIDs
    /// The counter that the right password clears.
    package let clearing: AttemptKey?
    /// A "remember me" that begins with them.
    package var series: RememberSeries?
    /// The browser's device, which is used or made with them.
    package var device: DeviceUse?
    /// The live session whose place they take; its series goes on.
    package var superseding: SessionID?
    /// Nil where operators issue as many as they like.
    package var limit: SessionLimit?

    package init(
        sessions: [SessionRecord], seal: SessionSeal, passwordHash: String? = nil,
        ending: PresentedIDs = PresentedIDs(), clearing: AttemptKey? = nil
    ) {
        precondition(
            sessions.allSatisfy {
                $0.user == sessions.first?.user && $0.epoch == sessions.first?.epoch
            })
        self.sessions = sessions
        self.seal = seal
        self.passwordHash = passwordHash
        self.ending = ending
        self.clearing = clearing
    }
}

package enum CreateSessionsOutcome: Sendable, Equatable {
    /// With the feed position that tells the others what ended.
    case created(position: UInt64)
    /// The user is gone, disabled, or has another epoch or password hash than the one that was
    /// read; or the session that is to be superseded has ended.
    case userChanged
    /// The ring has changed since the tokens were sealed, a revocation by time is later than the
    /// sessions' `authenticated`, or the device has ended; seal again.
    case outdated
    /// The user has as many sessions as one may have, and none is to end for another.
    case limitReached
}

package enum RevocationOutcome: Sendable, Equatable {
    /// The feed position that tells the others, and how many live sessions ended.
    case revoked(position: UInt64, sessions: Int)
    case notFound
}

package enum KeyringReplacement: Sendable, Equatable {
    case replaced
    /// Another writer was faster; read again.
    case versionConflict(current: UInt64)
    /// These live nodes have not loaded the version that is to be replaced, or run with a root key that
    /// the new one can't be opened with.
    case waitingForNodes([NodeID])
    /// Another live node is the one that rotates.
    case notLeader
}

/// Durable state. What a call has returned survives the process's death (DESIGN section 12).
///
/// Every method is one transaction. `now` is the caller's wall clock.
package protocol Store: Sendable {
    // MARK: The feed

    /// - Parameter anchor: the number of a feed row to tell as well.
    func head(anchor: UInt64?) async throws(StoreError) -> StoreHead
    /// Returns when another process may have written what nodes follow, at once where the database tells and
    /// else after a moment; after `milliseconds` in any case.
    func waitForChange(milliseconds: Int) async
    /// Servers of this machine that go on with a database that was replaced.
    func strangers() async throws(StoreError) -> [NodeID]
    /// Makes `now` the store's latest time although that may be earlier: the way back after a wrong
    /// clock wrote. What a wrong clock removed too early may have held revocations, so the caller
    /// has revoked every key before.
    func acceptClock(at now: UnixTime) async throws(StoreError)
    /// How many rows the feed has after `position` that a token alive at `now` may need.
    func feedCount(after position: UInt64, neededAt now: UnixTime) async throws(StoreError) -> Int
    /// Feed rows after `position`, in order, at most `limit`; those only that may be needed at `now`, for
    /// whoever reads all of it.
    func feed(
        after position: UInt64, limit: Int, neededAt now: UnixTime?
    ) async throws(StoreError) -> [FeedEntry]

    // MARK: The keyring

    func keyring() async throws(StoreError) -> WrappedKeyring?
    /// Stores `ring` if the current version is one less (0 when there is none), and no wrap is removed
    /// while a live node runs with another root key than those that stay.
    ///
    /// - Parameters:
    ///   - onlyWhenLoaded: whether every live node must have loaded the current version.
    ///   - node: the node that must be the one that rotates (``Barrier/leader(of:)``); nil for any
    ///     writer.
    func replaceKeyring(
        with ring: WrappedKeyring, onlyWhenLoaded: Bool, onlyAsLeader node: NodeID?,
        audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> KeyringReplacement
    func keyUsage() async throws(StoreError) -> [KeyID: KeyUsage]
    /// Adds what a node did with keys since it last told, and removes what is too old to count.
    func noteKeyTally(
        _ tally: KeyTally, by node: NodeID, at now: UnixTime
    ) async throws(StoreError)
    func keyActivity(at now: UnixTime) async throws(StoreError) -> [KeyID: KeyActivity]

    // MARK: Nodes

    /// Adds the node's row before it reads the ring, under the lock that activation takes.
    ///
    /// - Parameters:
    ///   - rootKey: the one that the node runs with.
    ///   - rotates: whether it replaces keys that are old.
    func joinNode(
        _ id: NodeID, leaseSeconds: Int64, rootKey: RootKey.Identifier64?, rotates: Bool,
        at now: UnixTime
    ) async throws(StoreError)
    /// False when the row is gone: the node was given up, and must join and load again.
    func beat(
        _ id: NodeID, position: UInt64, keyringVersion: UInt64, at now: UnixTime
    ) async throws(StoreError) -> Bool
    func leaveNode(_ id: NodeID, at now: UnixTime) async throws(StoreError)
    /// The nodes that may still be saying yes.
    func liveNodes(at now: UnixTime) async throws(StoreError) -> [NodeRecord]

    // MARK: Users

    /// - Parameter takingReserved: whether the name may be a reserved one, or look like one.
    func addUser(
        _ username: Username, id: UserID, passwordHash: String?, takingReserved: Bool,
        audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> AddUserOutcome
    func user(named username: Username) async throws(StoreError) -> User?
    func user(_ id: UserID) async throws(StoreError) -> User?
    /// In the order of their names' bytes, starting after `name`.
    func users(after name: Username?, limit: Int) async throws(StoreError) -> [User]
    /// Disabling raises the epoch, so that every session of the user is over, uses up links, and ends
    /// devices.
    func setUser(
        _ id: UserID, state: User.State, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> SetStateOutcome

    /// Disables those users who are enabled and whose password hash is still what was read, as
    /// ``setUser(_:state:audit:at:)`` does; says how many, and the feed position that tells the others.
    func disableUsers(
        _ users: [(hash: StoredPasswordHash, audit: AuditEvent)], at now: UnixTime
    ) async throws(StoreError) -> (disabled: Int, position: UInt64)

    // MARK: Names

    /// Whether a user can be given the name, as things stand; adding the user decides.
    func availability(of username: Username) async throws(StoreError) -> NameAvailability
    /// What the user is and was called, the latest first.
    func names(of user: UserID) async throws(StoreError) -> [NameRecord]
    /// Gives the user another name. The old one stays theirs, to take back; every session ends.
    func renameUser(
        _ id: UserID, to username: Username, takingReserved: Bool, audit: AuditEvent,
        at now: UnixTime
    ) async throws(StoreError) -> RenameOutcome
    /// Makes `names` the reserved ones, but for those that a user has or had. False, and nothing is
    /// changed, when the store's skeletons are of another version than ours.
    func reserveNames(_ names: [Username], at now: UnixTime) async throws(StoreError) -> Bool
    /// What ``rewriteSkeletons(audit:at:)`` would do.
    func skeletonReport() async throws(StoreError) -> SkeletonReport
    /// Makes the skeletons ours. Of names that look alike the oldest keeps its skeleton, and with it
    /// the place that no new name takes; all of them stay.
    func rewriteSkeletons(
        audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> SkeletonReport

    // MARK: Import

    /// How far a file has been imported; nil when that was never begun.
    func importProgress(of file: [UInt8]) async throws(StoreError) -> ImportProgress?
    /// Adds each of `users` whose name is free, as ``addUser(_:id:passwordHash:audit:at:)`` does, and
    /// stores the progress, if what is stored now is `old` (nil for none).
    ///
    /// - Parameters:
    ///   - new: counts and refusals of the lines that are no users, and of nothing else.
    ///   - audit: beside an event for each user.
    func importUsers(
        _ users: [ImportedUser], from old: ImportProgress?, to new: ImportProgress,
        audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> ImportOutcome

    // MARK: Single-use links

    /// A recovery link takes the place of every older one of its user.
    func addLink(_ link: Link, audit: AuditEvent, at now: UnixTime) async throws(StoreError)
    /// The link if it has not been used and has not expired.
    func link(_ hash: LinkHash, at now: UnixTime) async throws(StoreError) -> Link?
    /// Sets the password of the link's user if enabled, uses every recovery link of the user up, ends
    /// every session and device of theirs, and clears the counter of failed tries.
    func setPassword(
        _ passwordHash: String, with link: LinkHash, lookUpKey: LookUpKey,
        audit: AuditEvent.Kind, at now: UnixTime
    ) async throws(StoreError) -> SetPasswordOutcome

    // MARK: Passwords

    /// Charges a try as a failure before it is made, unless its counter says to wait: of any number that
    /// come at once, no more are admitted than the rule allows (REQUIREMENTS PW-11).
    func chargeAttempt(
        _ key: AttemptKey, user: UserID?, at now: UnixTime
    ) async throws(StoreError) -> AttemptOutcome
    /// Takes back the charge of a try that was admitted and not made: the hasher was full, or the client
    /// has gone.
    func refundAttempt(_ key: AttemptKey, at now: UnixTime) async throws(StoreError)
    /// Forgets the failures, as the owner or an operator wants.
    func clearAttempts(
        _ keys: [AttemptKey], audit: AuditEvent?, at now: UnixTime
    ) async throws(StoreError)
    /// The user's devices that have not ended.
    func devices(of user: UserID) async throws(StoreError) -> [DeviceID]
    /// Nil when there was no failure since the counter was cleared.
    func attempts(_ key: AttemptKey) async throws(StoreError) -> AttemptCount?
    /// How many counters there are whose next try is allowed at `time` or before; every one that was last
    /// charged before `time`, less the longest wait, is among them.
    func attemptCount(upTo time: UnixTime) async throws(StoreError) -> Int
    /// Makes at most `limit` of those counters expire at `deadline` that would later; says how many.
    func expireAttempts(
        upTo time: UnixTime, by deadline: UnixTime, limit: Int, at now: UnixTime
    ) async throws(StoreError) -> Int
    /// In the order of the users' ids.
    func passwordHashes(
        after user: UserID?, limit: Int
    ) async throws(StoreError) -> [StoredPasswordHash]
    /// Replaces those hashes that are still what was read; says how many. `audit` is written if any was.
    func replacePasswordHashes(
        _ changes: [(old: StoredPasswordHash, new: String)], audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> Int

    // MARK: Sessions

    /// Creates sessions of one user if the user is enabled and has the sessions' epoch and the
    /// password hash, and the ring has the version. Tokens may be handed out only after `created`.
    func createSessions(
        _ creation: SessionCreation, audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> CreateSessionsOutcome
    /// Newest first.
    func sessions(
        of user: UserID, limit: Int
    ) async throws(StoreError) -> [SessionRecord]
    func session(_ id: SessionID) async throws(StoreError) -> SessionRecord?
    /// Moves the idle deadlines of sessions that were used, unless they have ended or hardly move: a
    /// session's deadline is written about once a minute.
    func noteActivity(
        _ uses: [(session: SessionID, used: UnixTime)], idleSeconds: Int64, at now: UnixTime
    ) async throws(StoreError)
    func revokeSession(
        _ id: SessionID, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome
    /// Ends what a browser presented, as far as there is any that has not ended.
    func revokeSessions(
        _ ids: PresentedIDs, audit kind: AuditEvent.Kind, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome
    /// Raises the user's epoch.
    func revokeSessions(
        of user: UserID, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome
    /// Revokes every session whose user authenticated before `time`. They are not counted: whoever does
    /// this is in a hurry, and there may be millions.
    ///
    /// - Returns: the feed position that tells the others.
    func revokeSessions(
        authenticatedBefore time: UnixTime, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> UInt64
    /// The time of the latest such revocation; zero when there was none.
    func authenticatedFloor() async throws(StoreError) -> UnixTime

    /// Seals a live session again: moves its idle deadline and notes the use, unless it has ended.
    func renewSession(
        _ renewal: SessionRenewal, at now: UnixTime
    ) async throws(StoreError) -> RenewSessionOutcome
    /// Where the user is signed in, what was used last first, at most ``SessionLimit/highest``: live
    /// sessions, and series that can bring a browser back.
    func signIns(of user: UserID, at now: UnixTime) async throws(StoreError) -> [SignIn]
    /// Ends one of the user's sign-ins by its session, with its series and what came of it.
    func endSignIn(
        _ session: SessionID, of user: UserID, audit kind: AuditEvent.Kind, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome
    /// Ends every sign-in of the user but the one that `session` belongs to.
    func endSignIns(
        of user: UserID, except session: SessionID, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome
    /// Sets a password in the place of the one that was verified, ends every session, series and device
    /// of the user, uses up links, clears failures, and begins a session in the place of the one that asked.
    func changePassword(
        _ change: PasswordChange, at now: UnixTime
    ) async throws(StoreError) -> CreateSessionsOutcome

    // MARK: Remember me

    /// The series with all that decides what presenting it means; nil when it has ended or never was.
    func remembered(_ id: SeriesID, at now: UnixTime) async throws(StoreError) -> RememberView?
    /// Does what the rule says of a presented generation, if the series is still as it was read.
    func presentSeries(
        _ presentation: RememberPresentation, at now: UnixTime
    ) async throws(StoreError) -> PresentSeriesOutcome
    /// Ends a series and spares the session that came of it: the browser is no longer remembered.
    func forgetSeries(
        _ ids: [SeriesID], of user: UserID, at now: UnixTime
    ) async throws(StoreError)
    /// What happened to the user's sign-ins that they have not been told.
    func warnings(of user: UserID) async throws(StoreError) -> [SignInWarning]
    /// They were told of all up to `last`.
    func dismissWarnings(
        of user: UserID, upTo last: Int64, at now: UnixTime
    ) async throws(StoreError)

    // MARK: Devices

    /// The device if it is the user's and has not ended.
    func device(
        _ id: DeviceID, of user: UserID, at now: UnixTime
    ) async throws(StoreError) -> Device?
    /// Makes a device, of which the user has ``Device/maximumPerUser`` at most: then the one that was
    /// unused longest ends, those without preferences first. Or notes the use of one, unless it has
    /// ended. The cookie may be handed out only after `done`.
    func useDevice(_ use: DeviceUse, at now: UnixTime) async throws(StoreError) -> DeviceOutcome
    /// Ends the user's device, with its preferences, for good; nothing of it is kept.
    ///
    /// - Parameter seal: of the cookie that is left for others, nil when there is none.
    func endDevice(
        _ id: DeviceID, of user: UserID, seal: DeviceSeal?, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> DeviceOutcome

    // MARK: The audit trail and upkeep

    /// Which chain this process's entries go to, and the keys that they are chained under. Without them
    /// nothing that leaves a trace can be done.
    ///
    /// - Parameter context: what is noted where no request or task says otherwise.
    func signTrail(as chain: AuditChain, with keys: AuditKeys, for context: AuditContext)
    /// In the order of their numbers.
    func audit(after sequence: UInt64, limit: Int) async throws(StoreError) -> [AuditRecord]
    /// The latest entries of those that `query` asks for, the earliest of them first.
    func audit(_ query: AuditQuery) async throws(StoreError) -> [AuditRecord]
    /// How many entries, and ends of what was removed, were made with each key.
    func auditKeyUse() async throws(StoreError) -> [KeyID: Int]
    /// How many profiles, entries of their history and digests depend on each key.
    func profileKeyUse() async throws(StoreError) -> [KeyID: Int]
    /// What the trail begins and ends with.
    func auditExtent() async throws(StoreError) -> AuditExtent
    /// Appends an entry that says how far every other chain has got since the last such entry.
    func checkpointAudit(at now: UnixTime) async throws(StoreError)
    /// Vouches for entries that no key proves any more, as they are, and seals the ends of what retention
    /// removed under this ring's key: after every root key was lost.
    func restartAudit(
        vouching: String, resealing ends: [AuditChainEnd], at now: UnixTime
    ) async throws(StoreError)
    /// Removes what is older than `time`, once there is a day's worth, at most `limit` entries; says how
    /// many it removed. Nothing goes that is not whole: that is ``StoreError/damaged(_:)``.
    func pruneAudit(
        before time: UnixTime, limit: Int, at now: UnixTime
    ) async throws(StoreError) -> Int
    /// Erases what entries about the user say of the person besides ids; the chains stay whole.
    func eraseAuditPersonal(of user: UserID, at now: UnixTime) async throws(StoreError) -> Int
    /// Writes an event that no other change goes with.
    func note(_ event: AuditEvent, at now: UnixTime) async throws(StoreError)
    /// Removes sessions, devices and feed rows whose deadlines, and the clocks' skew, have passed; at
    /// most `limit` of each, so that no transaction is long. Says how many it removed.
    func prune(limit: Int, at now: UnixTime) async throws(StoreError) -> Int
    /// Reads the whole database for damage: findings in words, empty when there are none.
    func integrityFindings() async throws(StoreError) -> [String]
}

extension Store {
    /// Stores `ring`, whichever node or command it comes from.
    package func replaceKeyring(
        with ring: WrappedKeyring, onlyWhenLoaded: Bool, audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> KeyringReplacement {
        try await replaceKeyring(
            with: ring, onlyWhenLoaded: onlyWhenLoaded, onlyAsLeader: nil, audit: audit, at: now)
    }

    /// Adds a user under a name that is not reserved.
    package func addUser(
        _ username: Username, id: UserID, passwordHash: String?, audit: AuditEvent,
        at now: UnixTime
    ) async throws(StoreError) -> AddUserOutcome {
        try await addUser(
            username, id: id, passwordHash: passwordHash, takingReserved: false, audit: audit,
            at: now)
    }
}
