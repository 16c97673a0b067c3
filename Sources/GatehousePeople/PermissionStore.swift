// The store of who may look at a person, who did, and why.

package import GatehouseCore

package protocol PermissionStore: Sendable {
    // MARK: Grants

    func giveGrant(
        _ grant: Grant, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> GiveGrantOutcome
    /// Ends the grant, and every session under it in the same transaction.
    func revokeGrant(
        _ id: GrantID, of user: UserID, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome
    func grant(_ id: GrantID) async throws(StoreError) -> Grant?
    /// Those that are open at `now`, then the others; each the latest first.
    func grants(of user: UserID, limit: Int, at now: UnixTime) async throws(StoreError) -> [Grant]

    // MARK: Looks

    /// Notes a look, if its permission is good now. What is looked at may be shown only after `noted`.
    func note(
        _ look: Look, audit: AuditEvent.Actor, at now: UnixTime
    ) async throws(StoreError) -> LookOutcome
    /// Notes a look without permission at everybody whose personal fields are in the audit trail; says
    /// how many people they are.
    func noteAuditLook(
        by operatorName: OperatorName, reason: LookReason, at now: UnixTime
    ) async throws(StoreError) -> Int
    /// Notes that a search in profiles found these users: no warning, but they can see it.
    func noteFound(
        _ users: [UserID], by operatorName: OperatorName, reason: LookReason, field: String,
        at now: UnixTime
    ) async throws(StoreError)
    /// Adds a link with which a password is recovered, and the look that tells the user of it.
    func addRecovery(
        _ link: Link, look: Look?, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError)
    /// The latest first. Of more than `limit`, untold ones stay rather than others; then those without
    /// permission, or in which somebody acted.
    func looks(of user: UserID, limit: Int) async throws(StoreError) -> [Look]
    /// Whether an operator made a recovery link so lately that nothing can be put away.
    func keepsLooks(of user: UserID, at now: UnixTime) async throws(StoreError) -> Bool
    /// Looks without permission that the user has not been told of, the latest first.
    func untoldLooks(of user: UserID) async throws(StoreError) -> [Look]
    /// They were told of all up to `last`; of none while ``keepsLooks(of:at:)``.
    func putAwayLooks(
        of user: UserID, upTo last: Int64, at now: UnixTime
    ) async throws(StoreError)

    // MARK: Acting

    /// Creates the one session of `creation` as ``Store/createSessions(_:audit:at:)`` does, notes the look
    /// that goes with it, and refuses while a live node doesn't open claims with an actor.
    func beginActing(
        _ creation: SessionCreation, look: Look, at now: UnixTime
    ) async throws(StoreError) -> ActingOutcome
    /// Who acts in the session; nil where nobody does.
    func acting(in session: SessionID) async throws(StoreError) -> Acting?
    /// Which of the user's sessions somebody acts in, and who.
    func actors(of user: UserID) async throws(StoreError) -> [SessionID: OperatorName]

    /// Sessions in which somebody acts whose grant has ended or never was: there are none.
    func unpermittedActing(at now: UnixTime) async throws(StoreError) -> [SessionID]

    // MARK: Test users

    /// Adds a user who is nobody: operators need no permission to look at them and act for them.
    func addTestUser(
        _ username: Username, id: UserID, passwordHash: String?, takingReserved: Bool,
        audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> AddUserOutcome
    func isTestUser(_ id: UserID) async throws(StoreError) -> Bool

    // MARK: Admin tokens

    /// False when the name was given before, or there are as many as there may be.
    func addAdminToken(
        _ token: AdminToken, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> Bool
    /// Revoked ones too.
    func adminTokens() async throws(StoreError) -> [AdminToken]
    /// False when there is none, or it is revoked already.
    func revokeAdminToken(
        _ name: OperatorName, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> Bool
    /// Notes a use, to about an hour.
    func useAdminToken(_ name: OperatorName, at now: UnixTime) async throws(StoreError)
}

package enum GiveGrantOutcome: Sendable, Equatable {
    case given
    /// As many are open as there may be.
    case tooMany
    /// The user is gone or disabled.
    case userChanged
}

package enum LookOutcome: Sendable, Equatable {
    case noted
    case refused(LookRefusal)
}

package enum ActingOutcome: Sendable, Equatable {
    case created(position: UInt64)
    /// As for ``CreateSessionsOutcome``.
    case userChanged, outdated
    case refused(LookRefusal)
    /// These live nodes are of a release that doesn't open the session's token.
    case olderNodes([NodeID])
}
