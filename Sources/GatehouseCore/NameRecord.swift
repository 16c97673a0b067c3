// What the store tells of names, beyond who has them.

/// A name that a user has or had.
package struct NameRecord: Sendable, Equatable {
    package enum State: String, Sendable {
        case live
        /// Given up for another; only the same user may have it again.
        case former
        /// Of a user who was deleted; nobody may have it again.
        case deleted
    }

    package let username: Username
    package let state: State
    /// When it got into this state.
    package let since: UnixTime

    package init(username: Username, state: State, since: UnixTime) {
        self.username = username
        self.state = state
        self.since = since
    }
}

package enum NameAvailability: Sendable, Equatable {
    case free
    /// Someone has or had it or one that looks like it, or it is reserved: never told apart.
    case taken
    /// The store's skeletons are of another version than ours.
    case skeletonsOutdated
}

package enum RenameOutcome: Sendable, Equatable {
    /// With the feed position that tells the others.
    case renamed(User, position: UInt64)
    /// The user is called that already.
    case unchanged(User)
    case nameTaken
    case notFound
    case skeletonsOutdated
}

/// The stored skeletons, compared with ours.
package struct SkeletonReport: Sendable, Equatable {
    /// Live names of two users that have one skeleton.
    package struct Collision: Sendable, Equatable {
        package let first: Username
        package let other: Username
        package init(first: Username, other: Username) {
            self.first = first
            self.other = other
        }
    }

    package let storedVersion: String
    /// How many names get another skeleton.
    package let changed: Int
    package let collisions: [Collision]

    package init(storedVersion: String, changed: Int, collisions: [Collision]) {
        self.storedVersion = storedVersion
        self.changed = changed
        self.collisions = collisions
    }

    package var isOutdated: Bool { storedVersion != Username.skeletonVersion }
}
