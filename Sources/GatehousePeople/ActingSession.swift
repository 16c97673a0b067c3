// A session in which an operator acts for a user.

package import GatehouseCore

/// Record, claims and look of it, which are stored together. Nobody has proved anything in it, it comes back
/// by no remember cookie, and it never outlives what permits it.
package struct ActingSession: Sendable {
    package let session: SessionRecord
    package let claims: Claims
    package let look: Look

    /// - Parameters:
    ///   - ends: of the grant; nil where the operator broke the glass.
    ///   - floor: as for a sign-in.
    ///   - limits: of the deployment's sessions.
    package init(
        for user: User, by actor: OperatorName, permission: Permission, until ends: UnixTime?,
        limits: SessionLimits, floor: UnixTime, at now: UnixTime, entropy: Entropy
    ) throws(EntropyFailure) {
        let latest = ends ?? now.advanced(bySeconds: PermissionRule.brokenGlassSeconds)
        let absolute = min(now.advanced(bySeconds: limits.absoluteSeconds), latest)
        session = SessionRecord(
            id: SessionID(try Identifier.random(from: entropy)), user: user.id, epoch: user.epoch,
            created: now, authenticated: max(now, floor),
            idleDeadline: min(now.advanced(bySeconds: limits.idleSeconds), absolute),
            absoluteDeadline: absolute, methods: [], level: .remembered, isRemembered: false,
            revoked: nil)
        claims = session.claims(username: user.username, at: now).acted(by: actor)
        look = Look(
            user: user.id, time: now, by: actor, permission: permission, seen: .session,
            session: session.id)
    }
}
