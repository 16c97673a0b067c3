// The store of which codes people came by.

package import GatehouseCore

package protocol ReferralStore: Sendable {
    /// Adds a code. A code is given out once: also a retired one is not added again, or its counts would
    /// mix two things.
    func addReferral(
        _ referral: Referral, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> AddReferralOutcome

    /// Ends a code; what was counted stays, and accounts keep their ties.
    func retireReferral(
        _ code: ReferralCode, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RetireReferralOutcome

    func referral(_ code: ReferralCode) async throws(StoreError) -> Referral?

    /// All, by code.
    func referrals() async throws(StoreError) -> [Referral]

    /// Counts somebody who said yes; nothing for a code that is not open.
    func countArrival(by code: ReferralCode, at now: UnixTime) async throws(StoreError)

    /// - Parameter since: from the month that this time is in; nil for all there is.
    func referralCounts(since: UnixTime?) async throws(StoreError) -> [ReferralCount]

    func referralTie(of user: UserID) async throws(StoreError) -> ReferralTie?

    /// Removes the tie between a user and a code; says whether there was one.
    func removeReferralTie(
        of user: UserID, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> Bool
}

package enum AddReferralOutcome: Sendable, Equatable {
    case added
    /// It is or was there already.
    case taken
    /// There are ``Referral/maximumCount`` of them.
    case full
}

package enum RetireReferralOutcome: Sendable, Equatable {
    case retired
    /// It was before.
    case already
    case notFound
}

extension Referral {
    /// Codes of one deployment, retired ones too: more than are given out in years; a page of them is
    /// listed at once.
    package static let maximumCount = 10_000
}
