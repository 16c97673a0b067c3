// `gatehouse store copy`: a store moved to another database, of either kind.

import ArgumentParser
import Foundation
import GatehouseCore
import GatehouseStore
import GatehouseSystem

struct StoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store", abstract: "Move the store to another database.",
        subcommands: [Copy.self])

    struct Copy: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Copy everything from one store to another, and compare them.",
            discussion: """
                Stop the servers first. URLs are written as in store.url: sqlite: is the data \
                directory. The destination is a database without tables, or in which a copy of the \
                same store was interrupted: run again, it goes on. What is copied is compared row by \
                row at the end; until then no server starts on the destination. Sessions stay valid. \
                The root key is not part of a store.
                """)

        @OptionGroup var options: CommonOptions
        @Option(help: "The store to copy, which stays as it is.") var from: String
        @Option(help: "Where to.") var to: String
        @Option(help: "PostgreSQL's password to copy from; else store.password_file.")
        var fromPasswordFile: String?
        @Option(help: "PostgreSQL's password to copy to; else store.password_file.")
        var toPasswordFile: String?

        /// The rows of a large table are counted in one statement.
        private static let statementTimeout = Duration.seconds(600)

        func run() async throws {
            let settings = try options.settings()
            let source = try address(from, "--from", fromPasswordFile, settings)
            let destination = try address(to, "--to", toPasswordFile, settings)
            if case .sqlite(let directory) = destination { try DataDirectory.create(directory) }
            let copy = StoreCopy(
                from: try settings.openStore(at: source),
                to: try settings.openStore(
                    at: destination, createIfMissing: true, continuingCopy: true))
            var bar = ProgressBar()
            let report: StoreCopy.Report
            do throws(StoreCopyFailure) {
                report = try await copy.run(at: SystemClock.now().wall) { progress in
                    let verb = progress.phase == .copying ? "copying" : "comparing"
                    bar.show(
                        progress.done, of: progress.total, since: progress.first,
                        "\(verb) \(progress.table)")
                }
            } catch {
                bar.clear()
                throw error
            }
            bar.clear()
            try tell(report, source, destination)
        }

        /// A relative directory is the command's own.
        private func address(
            _ text: String, _ option: String, _ passwordFile: String?, _ settings: Settings
        ) throws -> StoreAddress {
            var text = text
            let prefix = StoreAddress.inDataDirectory
            if text == prefix {
                text += settings.dataDirectory
            } else if text.hasPrefix(prefix) {
                text = prefix + CommonOptions.absolute(String(text.dropFirst(prefix.count)))
            }
            do throws(StoreAddressRefusal) {
                let address = settings.configured(try StoreAddress(text))
                guard case .postgresql(var database) = address else { return address }
                database.connections = PostgreSQLAddress.commandConnections
                database.statementTimeout = max(database.statementTimeout, Self.statementTimeout)
                if let passwordFile {
                    database.passwordFile = CommonOptions.absolute(passwordFile)
                }
                return .postgresql(database)
            } catch { throw CommandFailure.usage("\(option) \(error.message)") }
        }

        private func tell(
            _ report: StoreCopy.Report, _ source: StoreAddress, _ destination: StoreAddress
        ) throws {
            let rows = report.tables.reduce(0) { $0 + $1.rows }
            if options.json {
                try Output.json(
                    Summary(
                        from: source.description, to: destination.description, rows: rows,
                        rows_before: report.resumed,
                        unreadable_ledger_lines: report.unreadableLedgerLines,
                        tables: report.tables.map {
                            Summary.Table(table: $0.table, rows: $0.rows, sha256: $0.hash.hex)
                        }))
            } else {
                Output.table(
                    ["table", "rows", "SHA-256"],
                    report.tables.map { [$0.table, "\($0.rows)", $0.hash.hex] })
                print(
                    "copied \(rows) row(s) to \(destination)"
                        + (report.resumed > 0 ? ", \(report.resumed) of them before" : "")
                        + "; both sides are the same")
            }
            if report.unreadableLedgerLines > 0 {
                printError(
                    "warning: \(report.unreadableLedgerLines) line(s) of the deletion ledger can't "
                        + "be read and were left where they are")
            }
        }

        private struct Summary: Encodable {
            struct Table: Encodable {
                let table: String
                let rows: Int
                let sha256: String
            }

            let from: String
            let to: String
            let rows: Int
            /// Of them, what an earlier run had copied.
            let rows_before: Int
            let unreadable_ledger_lines: Int
            let tables: [Table]
        }
    }
}

extension CommandFailure {
    init(_ failure: StoreCopyFailure) {
        switch failure {
        case .source(let error):
            let cause = CommandFailure(error)
            self = .environment("the store to copy: \(cause.message)", hint: cause.hint)
        case .destination(let error):
            let cause = CommandFailure(error)
            self = .environment("the store to copy to: \(cause.message)", hint: cause.hint)
        case .sourceIsServed(let nodes):
            self = .refused(
                "\(Self.list(nodes)) on the store to copy", hint: Self.stopServers)
        case .destinationIsServed(let nodes):
            self = .refused(
                "\(Self.list(nodes)) on the store to copy to", hint: Self.stopServers)
        case .sourceIsNew:
            self = .refused("no server has ever run on the store to copy: it has no keyring")
        case .destinationIsUsed(let table):
            self = .refused(
                "the store to copy to is in use: there is something in \(table)",
                hint: "copy to a database without tables")
        case .otherSource:
            self = .refused(
                "the store to copy to has a part of another one, or of this one before it changed",
                hint: "make that database anew, and run this again")
        case .overtaken:
            self = .refused("another command copies to that store", hint: "wait for it")
        case .sourceChanged:
            self = .refused(
                "the store was changed while it was copied",
                hint:
                    "make the database to copy to anew, and run this again while nothing else runs")
        case .differs(let table):
            self = .environment(
                "\(table) is not the same on both sides",
                hint:
                    "make the database to copy to anew, and run this again while nothing else runs")
        case .tables(let problem):
            self = .environment(
                "the databases are not of this release: \(problem)",
                hint: "start this release's server once on the store to copy")
        case .hashing: self = .environment("libcrypto failed")
        }
    }

    private static let stopServers =
        "stop them; one that was killed counts until its lease has run out"

    private static func list(_ nodes: [NodeID]) -> String {
        nodes.count == 1
            ? "server \(nodes[0].text) runs" : "\(nodes.count) servers run"
    }
}
