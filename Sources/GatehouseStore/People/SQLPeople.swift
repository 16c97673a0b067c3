// What the SQLite store keeps of people.

package import GatehouseCore
package import GatehousePeople

extension SQLStore: PeopleStore {
    package func addUser(
        _ username: Username, id: UserID, passwordHash: String, invitation: LinkHash?,
        enrolment: Enrolment, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> AddUserOutcome {
        try await write(at: now, .user(id).and(invitation)) { db in
            if let invitation,
                try Self.link(invitation, db, at: now)?.purpose != .invitation
            {
                return .notInvited
            }
            let outcome = try Self.addUser(
                username, id: id, passwordHash: passwordHash, takingReserved: false, audit: audit,
                db, at: now)
            // A taken name leaves the invitation for another try.
            guard case .added = outcome else { return outcome }
            if let invitation { try Self.useUp(invitation, db, at: now) }
            try Self.keep(enrolment, of: id, db, at: now)
            return outcome
        }
    }

    private static func keep(
        _ enrolment: Enrolment, of user: UserID, _ db: Database, at now: UnixTime
    ) throws {
        for notice in enrolment.agreements {
            try insert(AgreementEntry(accepting: notice), of: user, session: nil, db, at: now)
        }
        if let profile = enrolment.profile { _ = try write(profile, db) }
        if let referral = enrolment.referral { try keep(referral, of: user, db, at: now) }
    }
}
