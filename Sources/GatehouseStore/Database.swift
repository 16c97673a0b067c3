// SQL as the store speaks it: one text for both databases, and what little differs.

import GatehouseCore

/// What runs statements: a connection of one of the drivers, inside a transaction.
protocol DatabaseEngine: AnyObject {
    var dialect: Database.Dialect { get }
    /// A number that no other connection of this process has, or had.
    var connection: UInt64 { get }
    /// How many rows the last statement changed.
    var changesCount: Int { get throws }
    /// Runs one statement.
    func execute(_ sql: String, _ arguments: StatementArguments) throws
    /// Lets each statement of the transaction take so long, where that is longer than usual.
    func allow(_ duration: Duration) throws
    /// Has nodes look at the store once the transaction is done.
    func tellNodes()
    /// What is known of the head and of the audit trail, once this transaction is the only one that writes
    /// to them.
    var tail: LockedTail { get set }
    /// Fetches the rows of queries that the body will ask for, before anything that it writes.
    func prefetch(_ queries: [Query]) throws
    /// Has all done that waits to be sent.
    func flush() throws
    /// Runs one statement before the transaction ends.
    func count(_ sql: String, _ arguments: StatementArguments) throws
    /// Gives each row of the result, one at a time, in memory that does not grow with their number.
    func forEach(
        _ sql: String, _ arguments: StatementArguments, _ body: (Row) throws -> Void
    ) throws
    /// The rows of a result that has few.
    func rows(_ sql: String, _ arguments: StatementArguments) throws -> [Row]
}

/// A statement that gives rows, and its arguments.
struct Query: Sendable, Hashable {
    let sql: String
    let arguments: StatementArguments

    init(_ sql: String, _ arguments: StatementArguments = []) {
        self.sql = sql
        self.arguments = arguments
    }
}

/// What only the transaction that has the head to itself writes. SQLite has one writer, and asks again.
struct LockedTail {
    /// The last numbers of the feed and the audit trail.
    var head: (feed: UInt64, audit: UInt64)?
    var chain: (chain: AuditChain, end: AuditChainEnd)?
}

/// The database within a transaction. Statements are prepared once for each connection.
struct Database {
    enum Dialect: Sendable { case sqlite, postgresql }

    private let engine: any DatabaseEngine

    init(_ engine: any DatabaseEngine) { self.engine = engine }

    var dialect: Dialect { engine.dialect }
    /// A number that no other connection of this process has, or had.
    var connection: UInt64 { engine.connection }

    /// How many rows the last statement changed.
    var changesCount: Int { get throws { try engine.changesCount } }

    /// Runs one statement.
    func execute(sql: String, arguments: StatementArguments = []) throws {
        try engine.execute(sql, arguments)
    }

    /// What a statement may take that reads a whole table, or moves one.
    static let wholeTable = Duration.seconds(600)

    /// Lets each statement of the transaction take so long, where the database would end it sooner.
    func allow(_ duration: Duration) throws { try engine.allow(duration) }

    /// Has nodes look at the store once the transaction is done, where the database can tell them.
    func tellNodes() { engine.tellNodes() }

    /// What is known of the head and of the audit trail, once this transaction is the only one that writes
    /// to them.
    var tail: LockedTail {
        get { engine.tail }
        nonmutating set { engine.tail = newValue }
    }

    /// Fetches the rows of queries that the body will ask for, in one round trip where that counts. Nothing
    /// that the body writes before it asks may concern them.
    func prefetch(_ queries: [Query]) throws { try engine.prefetch(queries) }

    /// For a body that does more than SQL: from here on the transaction has what it is to have to itself.
    func holdScope() throws { try engine.flush() }

    func rows(_ query: Query) throws -> [Row] {
        try engine.rows(query.sql, query.arguments)
    }

    func row(_ query: Query) throws -> Row? { try rows(query).first }

    /// Adds to a counter that all transactions share. Done at the end of this one, where that makes others
    /// wait no longer than they must; what the body reads doesn't show it.
    func count(sql: String, arguments: StatementArguments) throws {
        try engine.count(sql, arguments)
    }

    func forEach(
        sql: String, arguments: StatementArguments = [], _ body: (Row) throws -> Void
    ) throws {
        try engine.forEach(sql, arguments, body)
    }

    func rows(sql: String, arguments: StatementArguments = []) throws -> [Row] {
        try engine.rows(sql, arguments)
    }

    /// The first row, for which the database need not look further than one.
    func row(sql: String, arguments: StatementArguments = []) throws -> Row? {
        try engine.rows(sql, arguments).first
    }

    /// The first column of the first row; nil when there is no row, or null in it.
    func integer(sql: String, arguments: StatementArguments = []) throws -> Int64? {
        guard let value = try row(sql: sql, arguments: arguments)?.values.first else { return nil }
        switch value {
        case .null: return nil
        case .integer(let integer): return integer
        default: throw StoreError.damaged("a number")
        }
    }

    /// Ends a SELECT of rows of `table` that are about to be changed by the hundred: leaves out those that
    /// another transaction is changing, which may wait for one of ours, and may make them ones to keep.
    func skippingLockedRows(of table: String) -> String {
        switch dialect {
        case .sqlite: ""
        case .postgresql: "FOR UPDATE OF \(table) SKIP LOCKED"
        }
    }

    /// Rows may refer to others that are gone until the transaction ends.
    func deferForeignKeys() throws {
        switch dialect {
        case .sqlite: try execute(sql: "PRAGMA defer_foreign_keys = ON")
        case .postgresql: try execute(sql: "SET CONSTRAINTS ALL DEFERRED")
        }
    }
}

/// A row of a result.
struct Row: Sendable {
    /// The names of a result's columns; shared by its rows.
    final class Columns: Sendable {
        let names: [String]
        private let index: [String: Int]

        init(_ names: [String]) {
            self.names = names
            index = Dictionary(
                names.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        }

        func index(of name: String) -> Int? { index[name] }
    }

    let columns: Columns
    let values: [DatabaseValue]

    /// The value of a column, which the statement has.
    func value(_ column: String) throws(StoreError) -> DatabaseValue {
        guard let index = columns.index(of: column) else { throw .damaged(column) }
        return values[index]
    }
}
