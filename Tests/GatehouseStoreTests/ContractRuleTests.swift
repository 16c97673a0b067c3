// That the contract is one: what is said of the store is said of it on every database.

import Foundation
import Testing

/// Looks at the sources of the store's tests. Those of the contract are the ones that `make contract` picks
/// by their names.
@Suite struct ContractRuleTests {
    private static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    /// Tests of what is no store.
    private static let storeless: Set<String> = [
        "ContractRuleTests.swift", "StoreAddressTests.swift",
    ]
    /// What opens SQLite whatever database is in force, and why.
    private static let exceptions = [
        "Backend.swift": "chooses the database",
        "PostgreSQLParityTests.swift": "compares both",
        "StoreCopyTests.swift": "copies from one to the other",
    ]

    private struct Source {
        let file: String
        let text: String

        var isTest: Bool { text.contains("@Test") }
        var isOfSQLite: Bool { file.hasPrefix("SQLite") }
        var suites: [String] {
            text.matches(of: /(?m)^(?:@Suite.* )?(?:struct|final class) (\w+Tests)\b/).map {
                String($0.output.1)
            }
        }
        var opensSQLite: Bool {
            let ways =
                /SQLStore\(\s*directory:|\.sqlite(?:\(|\.open| \{ db)|SQLiteDriver\(|Database(?:Queue|Pool)\(/
            return text.contains(ways)
        }
    }

    private static func sources() throws -> [Source] {
        try FileManager.default.contentsOfDirectory(atPath: directory.path)
            .filter { $0.hasSuffix(".swift") }.sorted().map {
                Source(
                    file: $0,
                    text: try String(
                        contentsOf: directory.appendingPathComponent($0), encoding: .utf8))
            }
    }

    /// What `make contract` picks tests by: the names of their suites and files.
    private static func filter() throws -> Regex<AnyRegexOutput> {
        let script = directory.deletingLastPathComponent()
            .appendingPathComponent("Integration/contract")
        let text = try String(contentsOf: script, encoding: .utf8)
        return try Regex(String(try #require(text.firstMatch(of: /FILTER = "(.*)"/)).output.1))
    }

    @Test func `each suite runs on every database, or is SQLite's by its name`() throws {
        let filter = try Self.filter()
        let tests = try Self.sources().filter { $0.isTest && !Self.storeless.contains($0.file) }
        #expect(tests.count > 30, "the search finds them")
        for source in tests {
            #expect(!source.suites.isEmpty, "\(source.file)")
            for suite in source.suites {
                let isPicked = source.file.contains(filter) || suite.contains(filter)
                #expect(isPicked == !source.isOfSQLite, "\(source.file): \(suite)")
                #expect(suite.hasPrefix("SQLite") == source.isOfSQLite, "\(source.file): \(suite)")
            }
        }
    }

    @Test func `nothing but SQLite's own tests opens SQLite whatever database is in force`() throws
    {
        for source in try Self.sources() where !Self.storeless.contains(source.file) {
            let mayOpen = source.isOfSQLite || Self.exceptions[source.file] != nil
            #expect(source.opensSQLite == mayOpen, "\(source.file)")
        }
    }
}
