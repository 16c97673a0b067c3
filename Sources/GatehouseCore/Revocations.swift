// The revocation index: what the feed says is revoked, ready for checks without the store.

/// An immutable view for readers: a large base and a small recent part of each table.
package struct RevocationSnapshot: Sendable {
    private let sessionsBase: RevocationTable
    private let sessionsRecent: RevocationTable
    private let usersBase: RevocationTable
    private let usersRecent: RevocationTable
    /// Sessions whose user authenticated before this are revoked.
    package let authenticatedFloor: UnixTime

    package static let empty = RevocationIndex().snapshot

    fileprivate init(
        sessions: RevocationIndex.Layers, users: RevocationIndex.Layers, floor: UnixTime
    ) {
        sessionsBase = sessions.base
        sessionsRecent = sessions.recent
        usersBase = users.base
        usersRecent = users.recent
        authenticatedFloor = floor
    }

    /// What the large table says of `session` at first sight, for ``revoke(_:absence:)``.
    func absence(_ session: Identifier) -> UInt64 { sessionsBase.absence(session) }

    /// Whether anything revokes the session of `claims`.
    ///
    /// - Parameter absence: of this very session; zero when it was not asked for.
    package func revoke(_ claims: borrowing Claims, absence: UInt64 = 0) -> Bool {
        let session = claims.session.value
        let user = claims.user.value
        let epoch = claims.epoch
        guard claims.authenticated >= authenticatedFloor else { return true }
        return sessionsRecent.contains(session)
            || absence == 0 && sessionsBase.contains(session)
            || epoch < usersRecent.minimumEpoch(user) || epoch < usersBase.minimumEpoch(user)
    }

    /// The number of entries, sessions and users.
    package var counts: (sessions: Int, users: Int) {
        (sessionsBase.count + sessionsRecent.count, usersBase.count + usersRecent.count)
    }
}

/// The writer's side: applies the feed in order and makes snapshots.
package struct RevocationIndex: Sendable {
    /// The recent part is copied with each batch; past this many entries it is merged to the base,
    /// which copies the base. 4,096 entries are 120 KB.
    static let maximumRecentEntries = 4096

    fileprivate struct Layers: Sendable {
        var base = RevocationTable.empty
        var recent = RevocationTable.empty

        mutating func add(_ entries: [RevocationEntry], at now: UnixTime) {
            guard !entries.isEmpty else { return }
            if recent.count + entries.count > RevocationIndex.maximumRecentEntries {
                base = RevocationTable(merging: [base, recent], adding: entries, at: now)
                recent = .empty
            } else {
                recent = RevocationTable(merging: [recent], adding: entries, at: now)
            }
        }

        /// Adds to the base in place, or to one of twice the size where there is no room.
        mutating func load(
            _ entries: [RevocationEntry], expected: Int, hasEpochs: Bool, at now: UnixTime
        ) {
            guard !entries.isEmpty else { return }
            if !base.hasRoom(for: entries.count) {
                var larger = RevocationTable(
                    roomFor: max(base.count * 2, base.count + entries.count, expected),
                    hasEpochs: hasEpochs)
                larger.insert(all: base)
                base = larger
            }
            for entry in entries { base.insert(entry, at: now) }
        }

        mutating func dropExpired(at now: UnixTime) {
            base = RevocationTable(merging: [base, recent], adding: [], at: now)
            recent = .empty
        }
    }

    private var sessions = Layers()
    private var users = Layers()
    private var floor = UnixTime.zero

    package init() {}

    /// Applies what is read before anything was published: in place, since nobody else holds the tables.
    ///
    /// - Parameter expected: how many more entries may come, so that the table is made once.
    package mutating func load(_ entries: [FeedEntry], expected: Int, at now: UnixTime) {
        let (sessionEntries, userEntries) = sort(entries)
        sessions.load(sessionEntries, expected: expected, hasEpochs: false, at: now)
        users.load(userEntries, expected: 0, hasEpochs: true, at: now)
    }

    package mutating func apply(_ entries: [FeedEntry], at now: UnixTime) {
        let (sessionEntries, userEntries) = sort(entries)
        sessions.add(sessionEntries, at: now)
        users.add(userEntries, at: now)
    }

    /// What the tables take; the revocation by time is taken up here.
    private mutating func sort(
        _ entries: [FeedEntry]
    ) -> (sessions: [RevocationEntry], users: [RevocationEntry]) {
        var sessionEntries: [RevocationEntry] = []
        var userEntries: [RevocationEntry] = []
        for entry in entries {
            switch entry.change {
            case .session(let id):
                sessionEntries.append(
                    RevocationEntry(subject: id.value, minimumEpoch: 0, deadline: entry.deadline))
            case .user(let id, let minimumEpoch):
                userEntries.append(
                    RevocationEntry(
                        subject: id.value, minimumEpoch: minimumEpoch, deadline: entry.deadline))
            case .authenticatedBefore(let time): floor = max(floor, time)
            }
        }
        return (sessionEntries, userEntries)
    }

    /// Forgets entries that no unexpired token can need, to give their memory back.
    package mutating func dropExpired(at now: UnixTime) {
        sessions.dropExpired(at: now)
        users.dropExpired(at: now)
    }

    package var snapshot: RevocationSnapshot {
        RevocationSnapshot(sessions: sessions, users: users, floor: floor)
    }
}

/// One row of the revocation feed.
package struct FeedEntry: Sendable, Hashable {
    package enum Change: Sendable, Hashable {
        /// This session is over.
        case session(SessionID)
        /// Sessions of this user with a lower epoch are over.
        case user(UserID, minimumEpoch: UInt32)
        /// Sessions whose user authenticated before this are over.
        case authenticatedBefore(UnixTime)
    }

    /// The position in the feed; commit order is sequence order.
    package let sequence: UInt64
    package let change: Change
    /// The latest absolute deadline of any session that the row concerns.
    package let deadline: UnixTime

    package init(sequence: UInt64, change: Change, deadline: UnixTime) {
        self.sequence = sequence
        self.change = change
        self.deadline = deadline
    }
}
