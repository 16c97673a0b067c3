// No table with rows about people is forgotten when one of them goes.

import GatehouseTestSupport
import Testing

@testable import GatehouseStore

struct PersonalTableContractTests {
    /// Columns that name a user, directly or by what is theirs.
    static let columns: Set<String> = ["user_id", "device_id"]

    @Test func `every table that names a user says what becomes of it`() async throws {
        let directory = TemporaryDirectory()
        let store = try Backend.inForce.open(directory)
        let found = try await store.read { db in
            try db.tableNames().flatMap { table in
                try db.columnNames(of: table).intersection(Self.columns).map { "\(table).\($0)" }
            }
        }
        let listed = PersonalTable.all.map { "\($0.name).\($0.column)" }
        // A sign-in's device is the series' own affair.
        let others: Set<String> = ["series.device_id"]
        #expect(Set(found).subtracting(others) == Set(listed).subtracting(["users.id"]))
        withExtendedLifetime(directory) {}
    }
}
