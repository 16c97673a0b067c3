// A database of the benchmark's own on a PostgreSQL server that is there.

import Foundation

/// Dropped with this object.
final class PostgreSQLDatabase {
    /// Of this database.
    let url: String
    private let server: String
    private let name: String

    /// Databases of this name are ours, should an interrupted benchmark leave one behind.
    private static let prefix = "gatehouse_bench_"

    /// Makes it.
    ///
    /// - Parameter server: the URL of another database there, whose role may make databases.
    init(on server: String) throws {
        guard var parts = URLComponents(string: server) else {
            throw BenchmarkFailure("\(server) is no URL")
        }
        name = Self.prefix + String(UInt64.random(in: 0 ... .max), radix: 36)
        parts.path = "/" + name
        guard let url = parts.string else { throw BenchmarkFailure("\(server) is no URL") }
        self.url = url
        self.server = server
        _ = try Self.psql(server, "CREATE DATABASE \(name) TEMPLATE template0 ENCODING 'UTF8'")
    }

    deinit {
        do { _ = try Self.psql(server, "DROP DATABASE \(name) WITH (FORCE)") } catch {
            note("the database \(name) is left behind")
        }
    }

    /// Runs statements in one transaction; what the last one gives, as text.
    func run(_ statements: [String]) throws -> String {
        try Self.psql(url, "BEGIN; \(statements.joined(separator: ";\n")); COMMIT;")
    }

    /// Runs what can't be in a transaction.
    func runOutside(_ statement: String) throws { _ = try Self.psql(url, statement) }

    private static func psql(_ url: String, _ script: String) throws -> String {
        guard let program = ChildProcess.find("psql") else {
            throw BenchmarkFailure("there is no psql", hint: "apt-get install postgresql-client")
        }
        return try ChildProcess.output(
            of: program,
            [
                "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1",
                url,
            ],
            standardInput: script
        ).trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
