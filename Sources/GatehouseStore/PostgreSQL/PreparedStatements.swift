// Which statements a connection has prepared.

/// The prepared statements of one connection, those used last.
///
/// Names are never used twice, so that a statement which the server still has can't be taken for
/// another.
struct PreparedStatements {
    /// What a preparation depends on: the types decide how the server reads the text.
    struct Key: Hashable {
        let text: String
        let types: [UInt32]
    }

    private struct Entry {
        let name: String
        var lastUse: UInt64
    }

    /// How many statements a connection keeps: as many as the store has and more, at some 20 KiB of
    /// the server's memory each.
    static let limit = 256

    private var entries: [Key: Entry] = [:]
    private var forgotten: [String] = []
    private var clock: UInt64 = 0

    var count: Int { entries.count }

    /// The name of a statement that has been prepared.
    mutating func name(for key: Key) -> String? {
        guard let index = entries.index(forKey: key) else { return nil }
        clock += 1
        entries.values[index].lastUse = clock
        return entries.values[index].name
    }

    /// The name under which a statement is to be prepared.
    mutating func add(_ key: Key) -> String {
        clock += 1
        let name = "g\(clock)"
        entries[key] = Entry(name: name, lastUse: clock)
        return name
    }

    /// To be called where the server refused to prepare a statement.
    mutating func remove(_ key: Key) { entries[key] = nil }

    /// Has every statement prepared anew.
    mutating func forgetAll() {
        forgotten += entries.values.map(\.name)
        entries.removeAll()
    }

    /// The names of those that are too many, or are to be prepared anew: the server can drop them.
    mutating func takeSurplus() -> [String] {
        let excess = entries.count - Self.limit
        if excess > 0 {
            for (key, entry) in entries.sorted(by: { $0.value.lastUse < $1.value.lastUse })
                .prefix(excess)
            {
                forgotten.append(entry.name)
                entries[key] = nil
            }
        }
        defer { forgotten.removeAll() }
        return forgotten
    }
}
