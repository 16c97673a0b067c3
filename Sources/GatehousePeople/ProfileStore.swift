// The store of what people say of themselves, sealed.

package import GatehouseCore

/// A profile as it is stored.
package struct ProfileRow: Sendable, Equatable {
    package let user: UserID
    /// Counted from one; every change makes the next.
    package let revision: Int64
    package let updated: UnixTime
    /// Of the last entry of its history; zero before the first.
    package let lastSequence: Int64
    package let sealed: SealedRow

    package init(
        user: UserID, revision: Int64, updated: UnixTime, lastSequence: Int64, sealed: SealedRow
    ) {
        self.user = user
        self.revision = revision
        self.updated = updated
        self.lastSequence = lastSequence
        self.sealed = sealed
    }
}

/// One entry of a profile's history.
package struct ProfileHistoryRow: Sendable, Equatable {
    /// Entries of one person that are kept; the oldest go. Someone who changes a field every week fills it
    /// in four years.
    package static let maximumPerUser: Int64 = 200

    package let sequence: Int64
    package let time: UnixTime
    package let sealed: SealedRow

    package init(sequence: Int64, time: UnixTime, sealed: SealedRow) {
        self.sequence = sequence
        self.time = time
        self.sealed = sealed
    }
}

/// What a person is found by in one field.
package struct ProfileDigest: Sendable, Hashable {
    package static let byteCount = 32

    package let field: String
    package let key: KeyID
    package let digest: [UInt8]

    package init(field: String, key: KeyID, digest: [UInt8]) {
        self.field = field
        self.key = key
        self.digest = digest
    }
}

/// A profile that takes the place of the revision before it, or is the first.
package struct ProfileWrite: Sendable {
    package let row: ProfileRow
    /// What is added to its history.
    package var history: [ProfileHistoryRow] = []
    /// Entries that go, of fields that are not kept any more.
    package var removing: [Int64] = []
    /// All that the person is found by from now on.
    package var digests: [ProfileDigest] = []

    package init(_ row: ProfileRow) { self.row = row }
}

package enum ProfileWriteOutcome: Sendable, Equatable {
    case written
    /// The profile is not at the revision before any more.
    case changedMeanwhile
    /// There is no such user, or not any more.
    case noUser
}

/// Everything that is stored of one profile.
package struct ProfileRows: Sendable {
    package let profile: ProfileRow
    /// The earliest first.
    package let history: [ProfileHistoryRow]
    package let digests: [ProfileDigest]

    package init(
        profile: ProfileRow, history: [ProfileHistoryRow], digests: [ProfileDigest]
    ) {
        self.profile = profile
        self.history = history
        self.digests = digests
    }
}

/// The same profile in other bytes.
package struct ProfileRewrite: Sendable {
    /// What it is made from; when that has changed, nothing is done.
    package let old: ProfileRow
    package let sealed: SealedRow
    /// Sealed anew, by sequence; what is not here goes.
    package let history: [Int64: SealedRow]
    package let digests: [ProfileDigest]

    package init(
        _ old: ProfileRow, sealed: SealedRow, history: [Int64: SealedRow],
        digests: [ProfileDigest]
    ) {
        self.old = old
        self.sealed = sealed
        self.history = history
        self.digests = digests
    }
}

package protocol ProfileStore: Sendable {
    func profile(of user: UserID) async throws(StoreError) -> ProfileRow?
    /// The profile with its history, read together.
    func profileRows(of user: UserID) async throws(StoreError) -> ProfileRows?
    func writeProfile(
        _ write: ProfileWrite, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> ProfileWriteOutcome
    /// Profiles in the order of their users' ids.
    func profileRows(
        after user: UserID?, limit: Int
    ) async throws(StoreError) -> [ProfileRows]
    /// Does each whose profile is still as it was, in one transaction, and says how many those were.
    func rewriteProfiles(
        _ rewrites: [ProfileRewrite], audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> Int
    /// The users that have one of the digests, in the order of their ids.
    func users(with digests: [ProfileDigest], limit: Int) async throws(StoreError) -> [User]
}
