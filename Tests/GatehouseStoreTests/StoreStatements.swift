// The statements of the store's own source, as databases get them: what tests of plans read.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

/// Every literal of SQL that is a statement, with what its interpolations stand for put in.
struct StoreStatements {
    struct Statement: Hashable {
        let file: String
        let sql: String
    }

    let all: [Statement]
    /// Those with an interpolation that this doesn't know.
    let unresolved: [Statement]

    /// - Parameter files: names without a directory; all that hold SQL when there are none.
    init(of files: [String]? = nil, for backend: Backend) throws {
        let sources = Vector.path(of: "../../Sources/GatehouseStore/")
        var found: [Statement] = []
        for folder in ["", "People/"] {
            let names = try FileManager.default.contentsOfDirectory(atPath: sources + folder)
            for name in names.sorted() where files?.contains(name) ?? Self.holdsSQL(name) {
                let source = try String(
                    contentsOfFile: sources + folder + name, encoding: .utf8)
                found += try Source(text: source, backend: backend).statements()
                    .map { Statement(file: name, sql: $0) }
            }
        }
        all = found.filter { !$0.sql.contains("\\(") }
        unresolved = found.filter { $0.sql.contains("\\(") }
    }

    private static func holdsSQL(_ file: String) -> Bool {
        file == "NameTable.swift" || file.hasPrefix("SQL") && file.hasSuffix(".swift")
    }

    /// One file.
    private struct Source {
        let text: String
        let backend: Backend

        /// A literal and what stands before it.
        private struct Literal {
            let text: String
            let before: Substring
        }

        private func literals() throws -> [Literal] {
            let pattern = try Regex(
                "\"{3}\\n((?:[^\"]|\"(?!\"\"))*)\"{3}|\"((?:[^\"\\\\\\n]|\\\\[^\\n])*)\"",
                as: (Substring, Substring?, Substring?).self)
            return text.matches(of: pattern).map { match in
                Literal(
                    text: Self.dedented(String(match.output.1 ?? match.output.2 ?? "")),
                    before: text[..<match.range.lowerBound])
            }
        }

        private static func dedented(_ text: String) -> String {
            text.split(separator: "\n").map { $0.trimmingPrefix { $0 == " " } }
                .joined(separator: "\n").trimmingCharacters(in: .whitespacesAndNewlines)
        }

        private static func last(_ pattern: String, _ text: Substring) throws -> [String]? {
            let regex = try Regex(pattern)
            // What is before a literal is long: its end decides.
            return text.suffix(1500).matches(of: regex).last.map { match in
                match.output.map { String($0.substring ?? "") }
            }
        }

        /// Texts that have a name, by that.
        private func constants() throws -> [String: String] {
            var constants: [String: String] = [:]
            for literal in try literals() {
                guard let name = try Self.last("let (\\w+) =\\s*$", literal.before)?[1] else {
                    continue
                }
                constants[name] = literal.text
                let after = text[literal.before.endIndex...].prefix(200)
                // As in `"…" + notEnded`.
                if let rest = try after.firstMatch(of: Regex("^\"[^\"]*\" \\+ (\\w+)")),
                    let other = rest.output[1].substring
                {
                    constants[name] = literal.text + " \\(" + other + ")"
                }
            }
            return constants
        }

        func statements() throws -> [String] {
            let constants = try constants()
            return try literals().flatMap { literal -> [String] in
                let beginning = try Self.last("(\\w+)\\s*\\+\\s*$", literal.before)?[1]
                let prefix = beginning.flatMap { constants[$0] }
                let sql = (prefix.map { $0 + " " } ?? "") + literal.text
                guard let verb = sql.split(whereSeparator: \.isWhitespace).first,
                    ["SELECT", "INSERT", "UPDATE", "DELETE"].contains(verb)
                else { return [] }
                // What others begin with.
                let name = try Self.last("let (\\w+) =\\s*$", literal.before)?[1] ?? ""
                if name.hasSuffix("Columns") || name.hasSuffix("Rows") { return [] }
                return try expand(sql, literal.before, constants)
            }
        }

        private func expand(
            _ sql: String, _ before: Substring, _ constants: [String: String]
        ) throws -> [String] {
            var variants = try loops(before).map { values in
                values.reduce(sql) {
                    $0.replacing("\\(\($1.key))", with: $1.value)
                        .replacing("(of: \($1.key))", with: "(of: \"\($1.value)\")")
                }
            }
            if sql.contains("\\(table.name)") {
                variants = PersonalTable.all.filter { $0.fate == .removed }.map {
                    sql.replacing("\\(table.name)", with: $0.name)
                        .replacing("\\(table.column)", with: $0.column)
                }
            }
            if sql.contains("\\(condition)") {
                variants = try conditions().flatMap { condition in
                    variants.map { $0.replacing("\\(condition)", with: condition) }
                }
            }
            return try variants.map { try resolve($0, constants) }
        }

        /// What the variables of the loop around a literal take, if there is one.
        private func loops(_ before: Substring) throws -> [[String: String]] {
            guard
                let loop = try Self.last(
                    "for \\(?(table[^)\\n]*?)\\)? in \\[([^\\]]*)\\]\\s*\\{[^{}]*(?:\\{[^{}]*)*$",
                    before)
            else { return [[:]] }
            let names = loop[1].split(separator: ",").map {
                $0.trimmingCharacters(in: .whitespaces)
            }
            let rows =
                names.count == 1 ? loop[2].split(separator: ",") : loop[2].split(separator: "(")
            return rows.compactMap { row in
                let values = row.split(separator: "\"", omittingEmptySubsequences: false)
                    .enumerated()
                    .filter { !$0.offset.isMultiple(of: 2) }.map { String($0.element) }
                guard let first = values.first, !first.isEmpty else { return nil }
                return Dictionary(zip(names, values), uniquingKeysWith: { first, _ in first })
            }
        }

        private func conditions() throws -> [String] {
            try text.matches(
                of: Regex("(?:where: |Self.before\\()\"([^\"]*)\"", as: (Substring, Substring).self)
            )
            .map { String($0.output.1) }
        }

        /// Texts that functions make of a condition, by the function's name.
        private func functions() throws -> [String: String] {
            var functions: [String: String] = [:]
            for literal in try literals() {
                let pattern = "func (\\w+)\\([^)]*\\) -> String \\{\\s*$"
                guard let name = try Self.last(pattern, literal.before)?[1] else { continue }
                functions[name] = literal.text
            }
            return functions
        }

        private func resolve(_ sql: String, _ constants: [String: String]) throws -> String {
            var sql = sql
            for (name, text) in try functions() {
                let call = try Regex(
                    "\\\\\\(Self\\.\(name)\\(\"([^\"]*)\", db\\)\\)",
                    as: (Substring, Substring).self)
                sql = sql.replacing(call) {
                    text.replacing("\\(condition)", with: $0.output.1)
                }
            }
            for _ in 0..<5 {
                for (name, text) in constants {
                    sql = sql.replacing("\\(\(name))", with: text)
                        .replacing("\\(Self.\(name))", with: text)
                }
            }
            let locking = try Regex(
                "\\\\\\(db\\.skippingLockedRows\\(of: \"?(\\w+)\"?\\)\\)",
                as: (Substring, Substring).self)
            sql = sql.replacing(locking) { match in
                backend == .sqlite ? "" : "FOR UPDATE OF \(match.output.1) SKIP LOCKED"
            }
            return sql.replacing("\\(column)", with: "active")
        }
    }
}
