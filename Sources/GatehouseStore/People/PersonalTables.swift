// Every table that has rows about people, and what becomes of them when a person goes.

/// A table with a column that names a user. `PersonalTableContractTests` finds those that are not listed.
struct PersonalTable: Sendable {
    enum Fate: Sendable, Equatable {
        /// Removed with the person.
        case removed
        /// Removed with the row of another table that it belongs to.
        case removedWith(String)
        /// Stays, for the reason given.
        case kept(String)
    }

    let name: String
    /// The column that names the user.
    let column: String
    let fate: Fate

    init(_ name: String, column: String = "user_id", _ fate: Fate) {
        self.name = name
        self.column = column
        self.fate = fate
    }

    static let all: [PersonalTable] = [
        PersonalTable("users", column: "id", .kept("the tombstone that reserves the name")),
        PersonalTable("names", .kept("nobody else is given the name")),
        // The feed's entry about the user refuses their tokens.
        PersonalTable("sessions", .removed),
        PersonalTable("series", .removed),
        PersonalTable("devices", .removed),
        PersonalTable("preferences", column: "device_id", .removedWith("devices")),
        PersonalTable("links", .removed),
        PersonalTable("warnings", .removed),
        PersonalTable("grants", .removed),
        PersonalTable("looks", .removed),
        PersonalTable("agreements", .removed),
        PersonalTable("profiles", .removed),
        PersonalTable("profile_history", .removedWith("profiles")),
        PersonalTable("profile_digests", .removedWith("profiles")),
        PersonalTable("referrals", .removed),
        PersonalTable("deletions", .removed),
        PersonalTable("activity", .removed),
        PersonalTable("audit", .kept("facts by user id; what is personal in them is erased")),
    ]
}
