// What people have to accept before they sign in. No HTTP here.

import GatehouseCore
package import GatehousePeople

extension SessionLimits {
    /// The same, but that a session which begins at `now` ends at `deadline`; nil when that has passed.
    func ending(by deadline: UnixTime, at now: UnixTime) -> SessionLimits? {
        let absolute = min(absoluteSeconds, deadline.seconds - now.seconds)
        return SessionLimits(idleSeconds: min(idleSeconds, absolute), absoluteSeconds: absolute)
    }
}

extension Deletion {
    /// Whether it was asked for in a session that may have begun before a notice was required. One that is
    /// asked for later doesn't count, or asking and cancelling in turn would put off acceptance for ever.
    func goesBefore(_ required: UnixTime?, sessionSeconds: Int64) -> Bool {
        required.map { requested < $0.advanced(bySeconds: sessionSeconds) } ?? false
    }
}

extension Accounts {
    /// What somebody has to accept before a session begins (empty for nothing).
    func missingAgreements(of user: UserID) async throws(StoreError) -> [Notice] {
        let board = try await store.noticeBoard()
        let now = clock().wall
        guard board.documents.contains(where: { board.required($0, at: now) != nil }) else {
            return []
        }
        let state = try await store.agreementState(of: user)
        guard !board.missing(state, at: now).isEmpty else { return [] }
        return missing(state, on: board, leaving: try await store.deletion(of: user))
    }

    private func missing(
        _ state: AgreementState, on board: NoticeBoard, leaving deletion: Deletion?
    ) -> [Notice] {
        let now = clock().wall
        return board.missing(state, at: now).filter { notice in
            // Who is leaving can still cancel, or take their data.
            let since = board.required(notice.id.document, at: now)?.requiredFrom
            return deletion?.goesBefore(
                since, sessionSeconds: rules.sessions.absoluteSeconds) != true
        }
    }

    /// Records what somebody whose password was right accepts; gives what they still have to. When it is
    /// not all, nothing is recorded.
    func accept(
        _ accepted: [NoticeID], by user: UserID, _ facts: SignInFacts
    ) async throws(StoreError) -> [Notice] {
        let missing = missing(facts.agreements, on: facts.board, leaving: facts.deletion)
        guard !missing.isEmpty else { return [] }
        let now = clock().wall
        guard let met = facts.board.meeting(missing, with: accepted, at: now) else {
            return missing
        }
        let outcome = try await store.record(
            met.map { AgreementEntry(accepting: $0) }, of: user, session: nil, purposes: [],
            at: now)
        switch outcome {
        case .recorded, .full: return []
        // The sign-in finds out itself that there is nobody.
        case .noUser: return []
        case .noNotice: return missing
        }
    }

    /// What somebody who registers accepts, of what they have to.
    package enum EnrolmentOutcome: Sendable {
        case complete([NoticeID])
        case missing([Notice])
    }

    func enrolment(accepting accepted: [NoticeID]) async throws(StoreError) -> EnrolmentOutcome {
        let board = try await store.noticeBoard()
        let now = clock().wall
        let missing = board.missing(AgreementState(), at: now)
        return board.meeting(missing, with: accepted, at: now).map { .complete($0) }
            ?? .missing(missing)
    }
}
