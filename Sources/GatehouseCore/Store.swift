// The store as the rest of the service sees it: one protocol, held to one contract test suite.

/// The store let us down. Carries no values, cookies or SQL.
package enum StoreError: Error, Equatable {
    /// Locked for longer than the busy timeout, or away; a later try may succeed.
    case busy
    /// The disk is full or read-only, or the database can't be read.
    case unavailable(String)
    /// The schema is older or newer than this release works with.
    case schema(String)
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

    package init(
        id: SessionID, user: UserID, epoch: UInt32, created: UnixTime, authenticated: UnixTime,
        idleDeadline: UnixTime, absoluteDeadline: UnixTime, methods: AuthenticationMethods,
        level: AuthenticationLevel, isRemembered: Bool, revoked: UnixTime?
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
    }
}

/// What is known of one key's tokens.
package struct KeyUsage: Sendable, Equatable {
    /// How many tokens it sealed for stored sessions.
    package let sealed: UInt64
    /// The latest absolute deadline of any of them.
    package let lastDeadline: UnixTime
    package init(sealed: UInt64, lastDeadline: UnixTime) {
        self.sealed = sealed
        self.lastDeadline = lastDeadline
    }
}

/// A running process as the others see it.
package struct NodeRecord: Sendable, Equatable {
    package let id: NodeID
    package let started: UnixTime
    package let heartbeat: UnixTime
    /// How long after its last heartbeat it may still say yes, in seconds.
    package let leaseSeconds: Int64
    /// The feed position that it has applied.
    package let position: UInt64
    /// The ring that it has loaded; 0 before the first.
    package let keyringVersion: UInt64

    package init(
        id: NodeID, started: UnixTime, heartbeat: UnixTime, leaseSeconds: Int64, position: UInt64,
        keyringVersion: UInt64
    ) {
        self.id = id
        self.started = started
        self.heartbeat = heartbeat
        self.leaseSeconds = leaseSeconds
        self.position = position
        self.keyringVersion = keyringVersion
    }

    /// When a silent node is given up: its lease, and 5 s for the beat that was under way.
    package var givenUp: UnixTime { heartbeat.advanced(bySeconds: leaseSeconds + 5) }
}

/// Where the store stands.
package struct StoreHead: Sendable, Equatable {
    /// The feed's last sequence number.
    package let sequence: UInt64
    package let keyringVersion: UInt64
    /// The latest wall-clock time of any write.
    package let latestTime: UnixTime
    package init(sequence: UInt64, keyringVersion: UInt64, latestTime: UnixTime) {
        self.sequence = sequence
        self.keyringVersion = keyringVersion
        self.latestTime = latestTime
    }
}

/// An entry of the audit trail: facts and ids, never names, cookies or secrets.
package struct AuditEvent: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable {
        case userCreated = "user_created"
        case userDisabled = "user_disabled"
        case userEnabled = "user_enabled"
        case userRenamed = "user_renamed"
        case userDeleted = "user_deleted"
        case skeletonsRewritten = "skeletons_rewritten"
        case userInvited = "user_invited"
        case userRecoveryIssued = "user_recovery_issued"
        case passwordRecovered = "password_recovered"
        case signedIn = "signed_in"
        case signedOut = "signed_out"
        case sessionCreated = "session_created"
        case sessionRevoked = "session_revoked"
        case sessionsRevokedForUser = "sessions_revoked_for_user"
        case sessionsRevokedBefore = "sessions_revoked_before"
        case keyAdded = "key_added"
        case keyActivated = "key_activated"
        case keyRevoked = "key_revoked"
        case keyDestroyed = "key_destroyed"
    }

    /// Who did it.
    package enum Actor: String, Sendable { case command, server }

    package let kind: Kind
    package let actor: Actor
    package let user: UserID?
    package let session: SessionID?
    package let key: KeyID?

    package init(
        _ kind: Kind, by actor: Actor, user: UserID? = nil, session: SessionID? = nil,
        key: KeyID? = nil
    ) {
        self.kind = kind
        self.actor = actor
        self.user = user
        self.session = session
        self.key = key
    }
}

/// An audit event with its place in the trail.
package struct AuditRecord: Sendable, Equatable {
    package let sequence: UInt64
    package let time: UnixTime
    package let event: AuditEvent
    package init(sequence: UInt64, time: UnixTime, event: AuditEvent) {
        self.sequence = sequence
        self.time = time
        self.event = event
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
    /// The key that sealed their tokens, and the version of the ring it was taken from.
    package let key: KeyID
    package let keyringVersion: UInt64
    /// The password hash that was verified; nil when none was.
    package let passwordHash: String?
    /// Sessions that the browser presented, which end in the same transaction.
    package let ending: [SessionID]

    package init(
        sessions: [SessionRecord], key: KeyID, keyringVersion: UInt64, passwordHash: String? = nil,
        ending: [SessionID] = []
    ) {
        precondition(
            sessions.allSatisfy {
                $0.user == sessions.first?.user && $0.epoch == sessions.first?.epoch
            })
        self.sessions = sessions
        self.key = key
        self.keyringVersion = keyringVersion
        self.passwordHash = passwordHash
        self.ending = ending
    }
}

package enum CreateSessionsOutcome: Sendable, Equatable {
    /// With the feed position that tells the others what ended.
    case created(position: UInt64)
    /// The user is gone, disabled, or has another epoch or password hash than the one that was
    /// read.
    case userChanged
    /// The ring has changed since the tokens were sealed, or a revocation by time is later than
    /// the sessions' `authenticated`; seal again.
    case outdated
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
    /// These live nodes have not loaded the version that is to be replaced.
    case waitingForNodes([NodeID])
}

/// Durable state. What a call has returned survives the process's death (DESIGN section 12).
///
/// Every method is one transaction. `now` is the caller's wall clock.
package protocol Store: Sendable {
    // MARK: The feed

    func head() async throws(StoreError) -> StoreHead
    /// Makes `now` the store's latest time although that may be earlier: the way back after a wrong
    /// clock wrote. What a wrong clock removed too early may have held revocations, so the caller
    /// has revoked every key before.
    func acceptClock(at now: UnixTime) async throws(StoreError)
    /// How many rows the feed has after `position`.
    func feedCount(after position: UInt64) async throws(StoreError) -> Int
    /// Feed rows after `position`, in order, at most `limit`.
    func feed(after position: UInt64, limit: Int) async throws(StoreError) -> [FeedEntry]

    // MARK: The keyring

    func keyring() async throws(StoreError) -> WrappedKeyring?
    /// Stores `ring` if the current version is one less (0 when there is none).
    ///
    /// - Parameter onlyWhenLoaded: whether every live node must have loaded the current version.
    func replaceKeyring(
        with ring: WrappedKeyring, onlyWhenLoaded: Bool, audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> KeyringReplacement
    func keyUsage() async throws(StoreError) -> [KeyID: KeyUsage]

    // MARK: Nodes

    /// Adds the node's row before it reads the ring, under the lock that activation takes.
    func joinNode(
        _ id: NodeID, leaseSeconds: Int64, at now: UnixTime
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
    /// In the order of their names' bytes, starting after `name`.
    func users(after name: Username?, limit: Int) async throws(StoreError) -> [User]
    /// Disabling raises the epoch, so that every session of the user is over, and uses up links.
    func setUser(
        _ id: UserID, state: User.State, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> SetStateOutcome

    /// Adds a user under a name that is not reserved, and uses up the invitation.
    func addUser(
        _ username: Username, id: UserID, passwordHash: String, invitation: LinkHash,
        audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> AddUserOutcome

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
    /// Ends every session of the user, and takes password and links away. Nobody finds the user
    /// again, and nobody is ever given one of their names.
    func deleteUser(
        _ id: UserID, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome
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

    // MARK: Single-use links

    /// A recovery link takes the place of every older one of its user.
    func addLink(_ link: Link, audit: AuditEvent, at now: UnixTime) async throws(StoreError)
    /// The link if it has not been used and has not expired.
    func link(_ hash: LinkHash, at now: UnixTime) async throws(StoreError) -> Link?
    /// Sets the password of the link's user if enabled, uses every recovery link of the user up, and
    /// ends every session of theirs.
    func setPassword(
        _ passwordHash: String, with link: LinkHash, audit: AuditEvent.Kind, at now: UnixTime
    ) async throws(StoreError) -> SetPasswordOutcome

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
    /// Ends those of `ids` that there are and that have not ended.
    func revokeSessions(
        _ ids: [SessionID], audit kind: AuditEvent.Kind, by actor: AuditEvent.Actor,
        at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome
    /// Raises the user's epoch.
    func revokeSessions(
        of user: UserID, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome
    /// Revokes every session whose user authenticated before `time`.
    func revokeSessions(
        authenticatedBefore time: UnixTime, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome
    /// The time of the latest such revocation; zero when there was none.
    func authenticatedFloor() async throws(StoreError) -> UnixTime

    // MARK: The audit trail and upkeep

    func audit(after sequence: UInt64, limit: Int) async throws(StoreError) -> [AuditRecord]
    /// Removes sessions and feed rows whose deadlines, and the clocks' skew, have passed; at most
    /// `limit` of each, so that no transaction is long. Says how many it removed.
    func prune(limit: Int, at now: UnixTime) async throws(StoreError) -> Int
    /// Reads the whole database for damage: findings in words, empty when there are none.
    func integrityFindings() async throws(StoreError) -> [String]
}

extension Store {
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
