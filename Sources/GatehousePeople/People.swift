// What is kept of people besides their accounts, and what they may do about it. Core and the check endpoint
// know nothing of it.

package import GatehouseCore

/// The store and the rules that the promises made to people are kept with.
package struct People: Sendable {
    package let store: any Store & PeopleStore
    package let schema: PeopleSchema
    /// Whose ring has the keys that profiles are sealed under.
    package let node: Node
    package let entropy: Entropy
    package let clock: @Sendable () -> Instant
    /// How long people let support in.
    package var permission = PermissionRule()
    package var departure = DepartureRules()

    package init(
        store: any Store & PeopleStore, schema: PeopleSchema, node: Node, entropy: Entropy,
        clock: @escaping @Sendable () -> Instant
    ) {
        self.store = store
        self.schema = schema
        self.node = node
        self.entropy = entropy
        self.clock = clock
    }
}

/// What the store keeps of people. One protocol for each thing that is promised.
package protocol PeopleStore: AgreementStore, ProfileStore, DepartureStore, PermissionStore,
    ReferralStore
{
    /// Adds a user with what they said when they registered, in one transaction.
    ///
    /// - Parameter invitation: what is used up; nil where anybody may register.
    func addUser(
        _ username: Username, id: UserID, passwordHash: String, invitation: LinkHash?,
        enrolment: Enrolment, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> AddUserOutcome

    /// What a sign-in under a name has to know. It asks the same of the database whether anyone has the
    /// name or not (REQUIREMENTS PW-9).
    ///
    /// - Parameter browser: whom the device cookie names; a device is only found as the user's own.
    func signInFacts(
        of username: Username, browser: DeviceClaims?, at now: UnixTime
    ) async throws(StoreError) -> SignInFacts
}

/// What is stored with a new user besides name and password.
package struct Enrolment: Sendable {
    /// The documents that they accepted.
    package var agreements: [NoticeID] = []
    /// Of the user that is added.
    package var profile: ProfileWrite?
    /// The code that they came by, and agreed to have remembered.
    package var referral: ReferralClaims?

    package init() {}
}
