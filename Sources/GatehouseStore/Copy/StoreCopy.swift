// Everything of one store into another, of either kind: row by row, resumable, and compared at the end.

import Foundation
package import GatehouseCore

/// Why a store was not copied.
package enum StoreCopyFailure: Error, Equatable {
    case source(StoreError)
    case destination(StoreError)
    /// Servers would change it meanwhile.
    case sourceIsServed([NodeID])
    case destinationIsServed([NodeID])
    /// No server has ever run on it.
    case sourceIsNew
    /// There are rows in it that are not of an unfinished copy.
    case destinationIsUsed(table: String)
    /// It holds a part of another store, or of what this one was.
    case otherSource
    /// Another copy writes to it.
    case overtaken
    /// While it was copied.
    case sourceChanged
    case differs(table: String)
    /// The databases' tables are not those that this release knows.
    case tables(String)
    case hashing
}

/// A copy of a store. The destination's marker is there from its first row to its last, so that nobody
/// takes a part for the whole (``SQLStore/unfinishedCopy``).
package struct StoreCopy {
    package struct Progress: Sendable {
        package enum Phase: Sendable { case copying, comparing }

        package let phase: Phase
        package let table: String
        /// Rows of all tables.
        package let done: Int
        package let total: Int
        /// What an earlier run had done.
        package let first: Int
    }

    package struct TableReport: Sendable, Equatable {
        package let table: String
        package let rows: Int
        /// SHA-256 (``TableHash``), the same on both sides.
        package let hash: [UInt8]
    }

    package struct Report: Sendable, Equatable {
        package var tables: [TableReport] = []
        /// Rows that an earlier run had copied.
        package var resumed = 0
        /// Lines of the source's deletion ledger that are no entries, and were not copied.
        package var unreadableLedgerLines = 0
    }

    /// Rows of a transaction: many, since each waits for the disk, and few enough for memory: the largest
    /// that are stored have some 64 KiB.
    package static let batchRows = 500
    /// Everything is written at a time before any other: the store's time comes with the last row.
    private static let noTime = UnixTime.zero

    private enum Side { case source, destination }

    private let source: SQLStore
    private let destination: SQLStore
    private let batchRows: Int

    package init(
        from source: SQLStore, to destination: SQLStore, batchRows: Int = StoreCopy.batchRows
    ) {
        self.source = source
        self.destination = destination
        self.batchRows = batchRows
    }

    /// Copies what is missing, compares everything, and makes the destination a store. What is a whole copy
    /// already, because an earlier run ended before it could say so, is compared.
    ///
    /// - Parameter progress: is told after each batch.
    package func run(
        at now: UnixTime, _ progress: (Progress) -> Void
    ) async throws(StoreCopyFailure) -> Report {
        try await checkUnserved(at: now)
        let layouts = try await layouts()
        guard let state = try await state(layouts, .source) else { throw .sourceIsNew }
        let isWhole = try await begin(state, layouts) == .whole
        var report = Report()
        let tables = layouts.filter { $0.table.fate == .rows }
        var total = 0
        for layout in tables {
            total += try await count(layout, .source)
            report.resumed += try await count(layout, .destination)
        }
        var done = report.resumed
        for layout in tables where !isWhole {
            try await copy(layout, state.fingerprint) { rows in
                done += rows
                progress(
                    Progress(
                        phase: .copying, table: layout.table.name, done: done, total: total,
                        first: report.resumed))
            }
        }
        done = 0
        for layout in tables {
            let hashes = try await compare(layout) { rows in
                done += rows
                progress(
                    Progress(
                        phase: .comparing, table: layout.table.name, done: done, total: total,
                        first: 0))
            }
            report.tables.append(hashes)
        }
        try await checkUnserved(at: now)
        guard try await self.state(layouts, .source) == state else { throw .sourceChanged }
        if !isWhole { report.unreadableLedgerLines = try await finish(state, layouts) }
        for single in state.singles {
            report.tables.append(
                TableReport(table: single.layout.table.name, rows: 1, hash: try single.hash()))
        }
        report.tables.sort { $0.table < $1.table }
        return report
    }

    // MARK: What there is

    private func checkUnserved(at now: UnixTime) async throws(StoreCopyFailure) {
        var nodes = try await nodes(of: .source, at: now)
        guard nodes.isEmpty else { throw .sourceIsServed(nodes) }
        nodes = try await self.nodes(of: .destination, at: now)
        guard nodes.isEmpty else { throw .destinationIsServed(nodes) }
    }

    private func nodes(
        of side: Side, at now: UnixTime
    ) async throws(StoreCopyFailure) -> [NodeID] {
        do throws(StoreError) {
            let live = try await store(side).liveNodes(at: now).map(\.id)
            return live + (try await store(side).strangers())
        } catch { throw failure(side, error) }
    }

    /// Both databases must have the tables and columns that this release knows, and no others.
    private func layouts() async throws(StoreCopyFailure) -> [CopyLayout] {
        let here = try await columns(.source)
        let there = try await columns(.destination)
        var layouts: [CopyLayout] = []
        for table in CopiedTable.all {
            let (left, right) = (here[table.name] ?? [], there[table.name] ?? [])
            if case .left = table.fate { continue }
            guard left.symmetricDifference(right).isSubset(of: table.own),
                let layout = CopyLayout(table, columns: left.intersection(right))
            else { throw .tables("\(table.name) has other columns") }
            layouts.append(layout)
        }
        return layouts
    }

    private func columns(_ side: Side) async throws(StoreCopyFailure) -> [String: Set<String>] {
        let found = try await read(side) { db in
            var columns: [String: Set<String>] = [:]
            for table in try db.tableNames() where table != SQLStore.copyMarker {
                columns[table] = try db.columnNames(of: table)
            }
            return columns
        }
        let known = Set(CopiedTable.all.map(\.name))
        guard let other = Set(found.keys).symmetricDifference(known).min() else { return found }
        throw .tables(known.contains(other) ? "\(other) is missing" : "\(other) is not known")
    }

    /// What a store is at a time: any write of a server or a command changes it.
    private struct State: Sendable, Equatable {
        let singles: [Single]
        /// The last number of each counter, and of the audit trail.
        let counters: [String: Int64]
        let fingerprint: [UInt8]
    }

    /// The row of a table that has one.
    private struct Single: Sendable, Equatable {
        let layout: CopyLayout
        let row: [DatabaseValue]

        func hash() throws(StoreCopyFailure) -> [UInt8] {
            do throws(LibCryptoError) {
                let hash = try TableHash(layout)
                try hash.add(row: row)
                return try hash.finish()
            } catch { throw .hashing }
        }
    }

    /// Nil when no server has ever run on it.
    private func state(
        _ layouts: [CopyLayout], _ side: Side
    ) async throws(StoreCopyFailure) -> State? {
        let found = try await read(side) { db in
            let singles = try layouts.filter { $0.table.fate == .single }.map { layout in
                Single(layout: layout, row: try Self.single(layout, db))
            }
            var counters: [String: Int64] = [:]
            for table in CopiedTable.all {
                guard let column = table.counter else { continue }
                counters[table.name] = try db.lastNumber(of: table.name, column)
            }
            counters["audit"] = Int64(clamping: try SQLStore.issued(db))
            let rings = try layouts.filter { $0.table.name.hasPrefix("keyring") }.flatMap {
                try Self.batch($0, after: nil, limit: Self.batchRows, db)
            }
            return (singles, counters, rings)
        }
        guard !found.2.isEmpty else { return nil }
        do throws(LibCryptoError) {
            let hash = try RunningHash(.sha256)
            for values in found.0.map(\.row) + found.2 {
                try hash.update(TableHash.bytes(values).span)
            }
            for (table, number) in found.1.sorted(by: { $0.key < $1.key }) {
                try hash.update(TableHash.bytes([.text(table), .integer(number)]).span)
            }
            return State(
                singles: found.0, counters: found.1,
                fingerprint: try hash.finish { span in span.indices.map { span[$0] } })
        } catch { throw .hashing }
    }

    private static func single(_ layout: CopyLayout, _ db: Database) throws -> [DatabaseValue] {
        let rows = try batch(layout, after: nil, limit: 2, db)
        guard rows.count == 1 else { throw StoreError.damaged(layout.table.name) }
        return rows[0]
    }

    private func count(_ layout: CopyLayout, _ side: Side) async throws(StoreCopyFailure) -> Int {
        try await read(side) { db in
            Int(try db.integer(sql: "SELECT count(*) FROM \"\(layout.table.name)\"") ?? 0)
        }
    }

    // MARK: Copying

    private enum Beginning: Sendable, Equatable {
        case begun, whole, used(table: String), otherSource
    }

    /// Marks the destination, or finds it marked by a copy of the same source, or a whole copy.
    private func begin(
        _ state: State, _ layouts: [CopyLayout]
    ) async throws(StoreCopyFailure) -> Beginning {
        let beginning = try await write { db in
            if let source = try Self.markedSource(db) {
                return Data(state.fingerprint) == source ? Beginning.begun : .otherSource
            }
            for layout in layouts {
                guard layout.table.fate == .rows,
                    try !Self.batch(layout, after: nil, limit: 1, db).isEmpty
                else { continue }
                return .used(table: layout.table.name)
            }
            guard try db.integer(sql: "SELECT latest_time FROM head") == 0 else {
                return .used(table: "head")
            }
            try db.makeCopyMarker()
            try db.execute(
                sql: "INSERT INTO \(SQLStore.copyMarker) (id, source) VALUES (1, ?)",
                arguments: [Data(state.fingerprint)])
            return .begun
        }
        switch beginning {
        case .begun, .whole: return beginning
        case .used(let table):
            // Only a copy has the other's counters and time to the second.
            guard !source.driver.isSame(as: destination.driver),
                try await self.state(layouts, .destination) == state
            else {
                throw .destinationIsUsed(table: table)
            }
            return .whole
        case .otherSource: throw .otherSource
        }
    }

    private static func markedSource(_ db: Database) throws -> Data? {
        guard try db.hasCopyMarker() else { return nil }
        let row = try db.row(sql: "SELECT source FROM \(SQLStore.copyMarker)")
        guard case .blob(let source) = try row?.value("source") else {
            throw StoreError.damaged(SQLStore.copyMarker)
        }
        return source
    }

    /// Copies the rows behind those that are there.
    private func copy(
        _ layout: CopyLayout, _ fingerprint: [UInt8], _ progress: (Int) -> Void
    ) async throws(StoreCopyFailure) {
        var last = try await read(.destination) { try Self.lastKey(layout, $0) }
        while true {
            let rows = try await batch(layout, .source, after: last)
            guard let end = rows.last else { return }
            let isWritten = try await write { [last] db in
                guard try Self.markedSource(db) == Data(fingerprint),
                    try Self.lastKey(layout, db) == last
                else { return false }
                // Of what earlier releases wrote some triggers would let nothing in.
                try db.withoutTriggers(on: layout.table.name) {
                    for row in rows {
                        try db.execute(sql: layout.insert, arguments: StatementArguments(row))
                    }
                }
                return true
            }
            guard isWritten else { throw .overtaken }
            last = layout.key(of: end)
            progress(rows.count)
        }
    }

    private static func lastKey(
        _ layout: CopyLayout, _ db: Database
    ) throws -> [DatabaseValue]? {
        try db.row(sql: layout.selectLastKey)?.values
    }

    private func batch(
        _ layout: CopyLayout, _ side: Side, after key: [DatabaseValue]?
    ) async throws(StoreCopyFailure) -> [[DatabaseValue]] {
        try await read(side) { [batchRows] db in
            try Self.batch(layout, after: key, limit: batchRows, db)
        }
    }

    private static func batch(
        _ layout: CopyLayout, after key: [DatabaseValue]?, limit: Int, _ db: Database
    ) throws -> [[DatabaseValue]] {
        try db.rows(
            sql: layout.select(fromBeginning: key == nil),
            arguments: StatementArguments((key ?? []) + [.integer(Int64(limit))])
        ).map(\.values)
    }

    // MARK: Comparing

    private func compare(
        _ layout: CopyLayout, _ progress: (Int) -> Void
    ) async throws(StoreCopyFailure) -> TableReport {
        let here = try await hash(layout, .source, progress)
        let there = try await hash(layout, .destination) { _ in }
        guard here == there else { throw .differs(table: layout.table.name) }
        return here
    }

    private func hash(
        _ layout: CopyLayout, _ side: Side, _ progress: (Int) -> Void
    ) async throws(StoreCopyFailure) -> TableReport {
        let hash: TableHash
        do throws(LibCryptoError) { hash = try TableHash(layout) } catch { throw .hashing }
        var last: [DatabaseValue]?
        while true {
            let rows = try await batch(layout, side, after: last)
            guard let end = rows.last else { break }
            last = layout.key(of: end)
            do throws(LibCryptoError) { for row in rows { try hash.add(row: row) } } catch {
                throw .hashing
            }
            progress(rows.count)
        }
        do throws(LibCryptoError) {
            return TableReport(
                table: layout.table.name, rows: hash.rows, hash: try hash.finish())
        } catch { throw .hashing }
    }

    // MARK: The end

    private enum Ending: Sendable { case done(unreadable: Int), overtaken, differs(table: String) }

    /// Brings the rows that every database has, the counters and the deletion ledger, and takes the marker
    /// away: from then on the destination is a store.
    private func finish(
        _ state: State, _ layouts: [CopyLayout]
    ) async throws(StoreCopyFailure) -> Int {
        let ledger = destination.ledger
        let deletions: DeletionLedger.Contents
        do throws(StoreError) { deletions = try source.ledger.contents() } catch {
            throw .source(error)
        }
        let ending = try await write { db in
            guard try Self.markedSource(db) == Data(state.fingerprint) else {
                return Ending.overtaken
            }
            for single in state.singles {
                try db.execute(
                    sql: single.layout.update, arguments: StatementArguments(single.row))
                guard try Self.single(single.layout, db) == single.row else {
                    return .differs(table: single.layout.table.name)
                }
            }
            for table in CopiedTable.all {
                guard let column = table.counter, let last = state.counters[table.name] else {
                    continue
                }
                try db.setLastNumber(of: table.name, column, to: last)
            }
            try SQLStore.setLastAuditNumber(state.counters["audit"] ?? 0, db)
            try ledger.append(deletions.entries)
            try db.execute(sql: "DROP TABLE \(SQLStore.copyMarker)")
            return .done(unreadable: deletions.unreadable)
        }
        switch ending {
        case .done(let unreadable): return unreadable
        case .overtaken: throw .overtaken
        case .differs(let table): throw .differs(table: table)
        }
    }

    // MARK: Either side

    private func store(_ side: Side) -> SQLStore { side == .source ? source : destination }

    private func failure(_ side: Side, _ error: StoreError) -> StoreCopyFailure {
        side == .source ? .source(error) : .destination(error)
    }

    private func read<Value: Sendable>(
        _ side: Side, _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(StoreCopyFailure) -> Value {
        do throws(StoreError) { return try await store(side).read(body) } catch {
            throw failure(side, error)
        }
    }

    private func write<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(StoreCopyFailure) -> Value {
        do throws(StoreError) {
            return try await destination.write(at: Self.noTime, .store, body)
        } catch { throw .destination(error) }
    }
}
