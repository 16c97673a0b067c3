// Begins a session in which an operator acts for a user, and seals its token.

import GatehouseCheck
import GatehouseCore
import GatehousePeople
import GatehouseStore

/// A session that a command made, as it is handed out.
struct IssuedSession: Encodable {
    let session: String
    let token: String
    let key: String
    let idle_deadline: Int64
    let absolute_deadline: Int64
    /// Who acts for the user; absent for a test user's.
    var actor: String?

    init(_ record: SessionRecord, token: [UInt8], key: KeyID) {
        session = record.id.text
        self.token = String(decoding: token, as: UTF8.self)
        self.key = key.text
        idle_deadline = record.idleDeadline.seconds
        absolute_deadline = record.absoluteDeadline.seconds
    }
}

extension Workshop {
    /// Seals, then stores session and look in one transaction, and only then hands out.
    ///
    /// - Parameter limits: of the session; it ends with the grant in any case.
    func act(
        for id: UserID, under permission: Permission, transport: TokenTransport,
        limits: SessionLimits
    ) async throws -> IssuedSession {
        let actor = try LookOptions.operatorName()
        for _ in 0..<Self.maximumTries {
            guard let user = try await store.user(id), user.state == .enabled else {
                throw CommandFailure.refused("the user is gone or disabled")
            }
            var ends: UnixTime?
            if case .grant(let grant) = permission {
                guard let grant = try await store.grant(grant) else {
                    throw LookOptions.refused(.noGrant)
                }
                ends = grant.ends
            }
            let (ring, now) = (try await keyring(), now())
            let cipher = try TokenCipher(
                keyring: ring, audience: settings.audience, purposes: [.session])
            guard let key = cipher.sealingKey else {
                throw CommandFailure.environment(
                    "no key is active", hint: "the next one is on its way; try again")
            }
            let acting = try ActingSession(
                for: user, by: actor, permission: permission, until: ends, limits: limits,
                floor: try await store.authenticatedFloor(), at: now, entropy: .system)
            let token = try cipher.sealSession(
                acting.claims, transport: transport, entropy: .system)
            let outcome = try await store.beginActing(
                SessionCreation(
                    sessions: [acting.session],
                    seal: SessionSeal(key: key, keyringVersion: ring.version)),
                look: acting.look, at: now)
            switch outcome {
            case .created:
                var issued = IssuedSession(acting.session, token: token, key: key)
                issued.actor = actor.text
                return issued
            case .userChanged, .outdated: continue
            case .refused(let refusal): throw LookOptions.refused(refusal)
            case .olderNodes(let nodes):
                throw CommandFailure.refused(
                    "server \(nodes.map(\.text).joined(separator: ", ")) is of a release that "
                        + "knows no actors", hint: "replace it first")
            }
        }
        throw CommandFailure.environment(
            "keys or user changed under every try", hint: "try again")
    }
}
