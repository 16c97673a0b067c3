// The store's SQL on a connection to PostgreSQL, with as few round trips as its answers allow.

import GatehouseCore

/// A transaction, or one statement outside of one. What only writes is kept until an answer is needed, and
/// sent with the statement that asks for it.
final class PostgreSQLEngine: DatabaseEngine {
    /// Statements that are sent at once; more of them is more memory and no fewer round trips to speak of.
    static let maximumPending = 256
    /// Rows that are fetched at once where there may be many.
    static let fetchRows = 1000

    private struct Step {
        let statement: PostgreSQLStatement
        let values: [DatabaseValue]
        /// What becomes of the answer.
        var take: ((PostgreSQLResult) throws -> Void)?
    }

    private let link: PostgreSQLConnection
    private var pending: [Step] = []
    private var lastChanges = 0
    private var counters: [(text: String, step: Step)] = []
    private var cursors = 0
    /// Whether nodes are told when the transaction is done.
    private(set) var tellsNodes = false
    /// Whether its end has been sent, so that nobody knows what became of it when the connection breaks.
    private(set) var isEnding = false
    var tail = LockedTail()
    /// Rows that were fetched before they are asked for.
    private var fetched: [Query: [Row]] = [:]
    private var awaitsFetched = false

    init(_ connection: PostgreSQLConnection) {
        link = connection
        connection.patience = .zero
    }

    var dialect: Database.Dialect { .postgresql }
    var connection: UInt64 { link.number }
    var sslMode: String? { link.sslMode }

    var changesCount: Int {
        get throws {
            try flush()
            return lastChanges
        }
    }

    private func step(
        _ sql: String, _ arguments: StatementArguments,
        _ take: ((PostgreSQLResult) throws -> Void)? = nil
    ) throws(StoreError) -> Step {
        let statement = PostgreSQLStatement.translating(sql)
        guard let values = arguments.values(for: statement.parameters) else {
            throw .damaged("the arguments of a statement")
        }
        return Step(statement: statement, values: values, take: take)
    }

    /// Sends a statement with the next one that needs its answer.
    func queue(
        _ sql: String, _ arguments: StatementArguments = [],
        _ take: ((PostgreSQLResult) throws -> Void)? = nil
    ) throws {
        pending.append(try step(sql, arguments, take))
        if pending.count >= Self.maximumPending { try flush() }
    }

    func execute(_ sql: String, _ arguments: StatementArguments) throws {
        try queue(sql, arguments) { [unowned self] in lastChanges = $0.affected }
    }

    func count(_ sql: String, _ arguments: StatementArguments) throws {
        let step = try step(sql, arguments)
        // In one order in all transactions, so that none of them waits for another in a circle. They have
        // numbers and texts for arguments, and no blobs.
        counters.append(("\(step.statement.text) \(step.values)", step))
    }

    func allow(_ duration: Duration) throws {
        link.patience = duration
        try queue("SET LOCAL statement_timeout = \(link.statementTimeout.wholeMilliseconds)")
    }

    func tellNodes() { tellsNodes = true }

    /// Sends what waits.
    func flush() throws {
        guard !pending.isEmpty else { return }
        let steps = pending
        pending = []
        let results = try link.pipeline(steps.map { ($0.statement, $0.values) })
        for (step, result) in zip(steps, results) { try step.take?(result) }
    }

    func prefetch(_ queries: [Query]) throws {
        awaitsFetched = true
        for query in queries {
            try queue(query.sql, query.arguments) { [unowned self] in
                fetched[query] = try Self.rows($0)
            }
        }
    }

    func rows(_ sql: String, _ arguments: StatementArguments) throws -> [Row] {
        if awaitsFetched {
            try flush()
            awaitsFetched = false
        }
        if !fetched.isEmpty, let rows = fetched.removeValue(forKey: Query(sql, arguments)) {
            return rows
        }
        var rows: [Row] = []
        pending.append(try step(sql, arguments) { rows = try Self.rows($0) })
        try flush()
        return rows
    }

    private static func rows(_ result: PostgreSQLResult) throws -> [Row] {
        let count = result.columnCount
        let columns = Row.Columns((0..<count).map { result.name(of: $0) })
        return try (0..<result.rowCount).map { row in
            Row(
                columns: columns,
                values: try (0..<count).map { try result.value(row: row, column: $0) })
        }
    }

    func forEach(
        _ sql: String, _ arguments: StatementArguments, _ body: (Row) throws -> Void
    ) throws {
        cursors += 1
        let name = "gatehouse_\(cursors)"
        try queue("DECLARE \(name) NO SCROLL CURSOR FOR \(sql)", arguments)
        var rows: [Row] = []
        repeat {
            rows = try self.rows("FETCH \(Self.fetchRows) FROM \(name)", [])
            for row in rows { try body(row) }
        } while rows.count == Self.fetchRows
        try queue("CLOSE \(name)")
    }

    // MARK: The end

    /// Ends the transaction: what waits, the counters, and the commit, in one round trip.
    func commit() throws {
        for counter in counters.sorted(by: { $0.text < $1.text }) { pending.append(counter.step) }
        counters = []
        if tellsNodes {
            try queue("SELECT pg_notify(?, '')", [PostgreSQLDriver.channel])
        }
        pending.append(try step("COMMIT", []))
        isEnding = true
        try flush()
    }

    /// Gives the transaction up, if there is one and the connection is good for another.
    func rollBack() {
        pending = []
        guard !link.isBroken, link.isInTransaction else { return }
        do { try link.run("ROLLBACK") } catch { link.close() }
    }
}
