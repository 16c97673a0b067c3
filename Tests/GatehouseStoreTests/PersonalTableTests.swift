// No table with rows about people is forgotten when one of them goes.

import GRDB
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

struct PersonalTableTests {
    /// Columns that name a user, directly or by what is theirs.
    static let columns: Set<String> = ["user_id", "device_id"]

    @Test func `every table that names a user says what becomes of it`() async throws {
        let directory = TemporaryDirectory()
        let store = try SQLStore(directory: directory.path, createIfMissing: true)
        let found = try await store.sqlite { db in
            try String.fetchAll(db, sql: "SELECT name FROM sqlite_schema WHERE type = 'table'")
                .flatMap { table in
                    try db.columns(in: table).map(\.name).filter { Self.columns.contains($0) }
                        .map { "\(table).\($0)" }
                }
        }
        let listed = PersonalTable.all.map { "\($0.name).\($0.column)" }
        // A sign-in's device is the series' own affair.
        let others: Set<String> = ["series.device_id"]
        #expect(Set(found).subtracting(others) == Set(listed).subtracting(["users.id"]))
        withExtendedLifetime(directory) {}
    }
}
