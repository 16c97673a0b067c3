// The table that is in a database as long as a copy into it is unfinished.

import GatehouseCore

extension SQLStore {
    /// One row: what the source was when the copy began. No program opens a database that has it, but to go
    /// on with the copy.
    static let copyMarker = "unfinished_copy"

    /// What opening such a database is refused with.
    static let unfinishedCopy = StoreError.schema(
        "a copy into the database is unfinished; `gatehouse store copy` goes on with it")

    /// Has the audit trail go on behind `number`; as ``issued(_:)`` reads it.
    static func setLastAuditNumber(_ number: Int64, _ db: Database) throws {
        switch db.dialect {
        case .sqlite: try db.setLastNumber(of: "audit", "sequence", to: number)
        case .postgresql:
            try db.execute(sql: "UPDATE head SET audit_sequence = ?", arguments: [number])
        }
    }
}
