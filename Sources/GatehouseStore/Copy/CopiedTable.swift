// Every table of the store, in the order in which a copy fills them.

/// How a table is copied. `CopiedTableTests` finds those that are not listed, or listed too early.
struct CopiedTable: Sendable, Equatable {
    enum Fate: Sendable, Equatable {
        /// Row by row, in the order of the key.
        case rows
        /// One row, which every new database has.
        case single
        /// Not copied, for the reason given.
        case left(String)
    }

    let name: String
    let fate: Fate
    /// Columns that tell its rows apart, with an index in this order on both databases.
    var key: [String] = []
    /// The column that the database numbers by itself, never twice the same.
    var counter: String?
    /// Columns that one of the databases has for itself.
    var own: Set<String> = []

    /// Tables come after those that they refer to.
    static let all: [CopiedTable] = [
        rows("users", by: "id"),
        rows("names", by: "canonical"),
        rows("skeletons", of: .single, by: "id"),
        rows("keyring", by: "id"),
        rows("keyring_wraps", by: "root_key_id"),
        rows("key_usage", by: "key_id"),
        rows("key_deadlines", by: "key_id", "ends"),
        rows("key_opens", by: "minute", "key_id", "node_id"),
        rows("notices", by: "document", "version"),
        rows("agreements", by: "sequence", counter: "sequence"),
        rows("audit", by: "sequence"),
        rows("audit_personal", by: "sequence"),
        rows("audit_bases", by: "chain"),
        rows("links", by: "hash"),
        rows("attempts", by: "key"),
        rows("imports", by: "file"),
        rows("devices", by: "id"),
        rows("preferences", by: "device_id", "key"),
        rows("series", by: "id"),
        rows("warnings", by: "id", counter: "id"),
        rows("profiles", by: "user_id"),
        rows("profile_history", by: "user_id", "sequence"),
        rows("profile_digests", by: "field", "digest", "user_id"),
        rows("deletions", by: "user_id"),
        rows("activity", by: "user_id"),
        rows("activity_counts", by: "period", "start"),
        rows("grants", by: "id"),
        rows("looks", by: "id", counter: "id"),
        rows("admin_tokens", by: "name"),
        rows("referral_codes", by: "code"),
        rows("referrals", by: "user_id"),
        rows("referral_counts", by: "code", "month"),
        rows("sessions", by: "id"),
        rows("feed", by: "sequence"),
        rows("erasures", of: .single, by: "id"),
        rows("clock_leaps", of: .single, by: "id"),
        // Last, with the time before which triggers let nothing be published.
        CopiedTable(
            name: "head", fate: .single, key: ["id"], own: ["audit_sequence", "store_id"]),
        CopiedTable(name: "nodes", fate: .left("servers join the store that they run on")),
    ]

    private static func rows(
        _ name: String, of fate: Fate = .rows, by key: String..., counter: String? = nil
    ) -> CopiedTable {
        CopiedTable(name: name, fate: fate, key: key, counter: counter)
    }
}

/// The columns of a table that both databases have, and the statements for them.
struct CopyLayout: Sendable, Equatable {
    let table: CopiedTable
    /// In the order of their names, which is the same everywhere.
    let columns: [String]
    /// Where the key's columns are among them.
    private let keyIndices: [Int]

    /// Nil when a column of the key is missing.
    init?(_ table: CopiedTable, columns: Set<String>) {
        self.table = table
        self.columns = columns.sorted()
        let sorted = self.columns
        keyIndices = table.key.compactMap { sorted.firstIndex(of: $0) }
        guard keyIndices.count == table.key.count else { return nil }
    }

    func key(of row: [DatabaseValue]) -> [DatabaseValue] { keyIndices.map { row[$0] } }

    private static func list(_ names: [String]) -> String {
        names.map { "\"\($0)\"" }.joined(separator: ", ")
    }

    private static func places(_ count: Int) -> String {
        "(" + Array(repeating: "?", count: count).joined(separator: ", ") + ")"
    }

    /// The next rows by their key; the arguments are a key, unless it is the beginning, and a number of rows.
    func select(fromBeginning: Bool) -> String {
        let key = Self.list(table.key)
        let rest = fromBeginning ? "" : " WHERE (\(key)) > \(Self.places(table.key.count))"
        return "SELECT \(Self.list(columns)) FROM \"\(table.name)\"\(rest) ORDER BY \(key) LIMIT ?"
    }

    /// The greatest key.
    var selectLastKey: String {
        """
        SELECT \(Self.list(table.key)) FROM "\(table.name)"
        ORDER BY \(table.key.map { "\"\($0)\" DESC" }.joined(separator: ", ")) LIMIT 1
        """
    }

    var insert: String {
        """
        INSERT INTO "\(table.name)" (\(Self.list(columns))) VALUES \(Self.places(columns.count))
        """
    }

    /// For the one row.
    var update: String {
        """
        UPDATE "\(table.name)"
        SET \(columns.map { "\"\($0)\" = ?" }.joined(separator: ", "))
        """
    }
}
