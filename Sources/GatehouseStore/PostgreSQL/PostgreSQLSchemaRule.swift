// Which migrations are applied, and whether a program works with the schema that there is.

/// A migration that a database has, as it is noted there.
struct AppliedMigration: Equatable {
    let version: Int
    let compatible: Int
}

/// The schema that a program works with.
struct SchemaState: Equatable {
    let version: Int
    /// The first migration that waits until servers of an older release have stopped.
    var withheld: Int?
}

/// Servers of two releases share a database while one replaces the other. What a release adds to the schema
/// (it expands it) leaves the other one's statements as they are and is applied at once; what it takes away
/// (it contracts it) shuts the older program out, and waits until no such server lives. Until then the newer
/// program goes on without: to take away is never what it needs.
struct PostgreSQLSchemaRule {
    enum Verdict: Equatable {
        /// To be applied, and then looked at again.
        case apply(version: Int)
        case work(SchemaState)
        /// In words for the operator.
        case refuse(String)
    }

    /// Those that the program knows, from the first.
    let migrations: [PostgreSQLMigration]

    /// The newest that the program knows.
    var version: Int { migrations.count }

    /// Whether the migration after `version` shuts a program out that worked until then.
    func isContracting(after version: Int) -> Bool {
        guard version > 0, version < migrations.count else { return false }
        return migrations[version].compatible > migrations[version - 1].compatible
    }

    /// - Parameters:
    ///   - applied: what the database has, in order.
    ///   - nodes: the versions that the programs of living nodes know; asked for only where the next
    ///     migration is contracting.
    ///   - mayMigrate: whether this is the server: commands change no schema.
    func verdict(applied: [AppliedMigration], nodes: [Int], mayMigrate: Bool) -> Verdict {
        let newest = applied.last?.version ?? 0
        guard applied.map(\.version) == Array(1..<newest + 1) else {
            return .refuse("the database's list of its migrations has gaps")
        }
        if newest >= version {
            let isShutOut = applied.dropFirst(version).contains { $0.compatible > version }
            return isShutOut ? .refuse(Self.newer) : .work(SchemaState(version: newest))
        }
        let canGoWithout =
            newest > 0 && (newest..<version).allSatisfy { isContracting(after: $0) }
        let isWaiting =
            isContracting(after: newest)
            && nodes.contains { $0 < migrations[newest].compatible }
        switch (mayMigrate, isWaiting) {
        case (true, false): return .apply(version: newest + 1)
        case _ where canGoWithout:
            return .work(SchemaState(version: newest, withheld: newest + 1))
        case (true, true): return .refuse(Self.waiting)
        case (false, _): return .refuse(newest == 0 ? Self.empty : Self.older)
        }
    }

    static let newer = "the database is of a newer release than this program"
    static let older = "the database is of an older release; `gatehouse serve` migrates it"
    static let empty = "the database has no tables of ours; `gatehouse serve` makes them"
    static let waiting =
        "servers of an older release are running; once they have stopped, `gatehouse serve` migrates"
        + " the database"
}
