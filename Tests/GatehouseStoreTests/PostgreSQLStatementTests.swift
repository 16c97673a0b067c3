// Placeholders as PostgreSQL wants them, values in its binary format, and which statements are kept.

import Foundation
import Testing

@testable import GatehouseStore

@Suite struct PostgreSQLStatementTests {
    @Test func `question marks are numbered in order`() {
        let statement = PostgreSQLStatement("INSERT INTO t VALUES (?, ?,?)")
        #expect(statement.text == "INSERT INTO t VALUES ($1, $2,$3)")
        #expect(statement.parameters == [nil, nil, nil])
    }

    @Test func `a name keeps its number wherever it stands`() {
        let statement = PostgreSQLStatement(
            "SELECT :owner, :after WHERE owner = :owner AND x > :after_2 OR y = :after")
        #expect(
            statement.text == "SELECT $1, $2 WHERE owner = $1 AND x > $3 OR y = $2")
        #expect(statement.parameters == ["owner", "after", "after_2"])
    }

    @Test func `names and question marks share the numbers`() {
        let statement = PostgreSQLStatement("SELECT ?, :a, ?, :a")
        #expect(statement.text == "SELECT $1, $2, $3, $2")
        #expect(statement.parameters == [nil, "a", nil])
    }

    @Test(
        arguments: [
            "SELECT ':no ?'", "SELECT 'it''s :no ?'", "SELECT '\\'", "SELECT \":no ?\"",
            "SELECT \"a\"\":no\"", "SELECT E'\\' :no ?'", "SELECT e'a'' \\':no'",
            "SELECT $$ :no ? $$", "SELECT $a$ $$ :no ' $a$", "SELECT 1 -- :no ? '",
            "SELECT /* :no ? ' */ 1", "SELECT /* /* a */ :no */ 1", "SELECT x::bigint",
            "SELECT a[1:2]", "SELECT 'open :no", "SELECT /* open :no", "SELECT $$ open :no",
            "SELECT größe$1", "SELECT a:", "", ":", "SELECT 'ü:no'",
        ])
    func `quotes, comments and casts are left as they are`(sql: String) {
        let statement = PostgreSQLStatement(sql)
        #expect(statement.text == sql)
        #expect(statement.parameters.isEmpty)
    }

    @Test(
        arguments: [
            ("'a' || :b", "'a' || $1"), ("'\\' || :b", "'\\' || $1"),
            ("E'\\\\' || :b", "E'\\\\' || $1"), ("\"a\"\"b\" = :b", "\"a\"\"b\" = $1"),
            ("$$a$$ || :b", "$$a$$ || $1"), ("$a$b$$ $a$ || :b", "$a$b$$ $a$ || $1"),
            ("-- a\n:b", "-- a\n$1"), ("/* /* */ */ :b", "/* /* */ */ $1"),
            (":b::bigint", "$1::bigint"), ("x::text=:b", "x::text=$1"), ("a - :b", "a - $1"),
            ("a / :b", "a / $1"), ("(:b)", "($1)"), ("ape'\\' || :b", "ape'\\' || $1"),
        ])
    func `a placeholder after quotes, comments and casts is found`(sql: String, text: String) {
        let statement = PostgreSQLStatement(sql)
        #expect(statement.text == text)
        #expect(statement.parameters == ["b"])
    }

    @Test func `a translation is the same when it is kept, also beyond what is kept`() {
        for number in 0..<1_100 {
            let sql = "SELECT ? + \(number)"
            #expect(PostgreSQLStatement.translating(sql) == PostgreSQLStatement(sql))
            #expect(PostgreSQLStatement.translating(sql) == PostgreSQLStatement(sql))
        }
    }
}

@Suite struct PostgreSQLFormatTests {
    private func decoded(_ type: UInt32, _ bytes: [UInt8]) -> DatabaseValue? {
        DatabaseValue(type: type, bytes: bytes.span)
    }

    @Test func `integers of every width keep their sign`() {
        #expect(decoded(PostgreSQLType.int2, [0xFF, 0xFE]) == .integer(-2))
        #expect(decoded(PostgreSQLType.int4, [0, 1, 0, 0]) == .integer(65_536))
        #expect(
            decoded(PostgreSQLType.int8, [0x80, 0, 0, 0, 0, 0, 0, 0]) == .integer(.min))
        #expect(decoded(PostgreSQLType.bool, [1]) == .integer(1))
        #expect(decoded(PostgreSQLType.bool, [0]) == .integer(0))
    }

    @Test func `an integer of another width is refused`() {
        #expect(decoded(PostgreSQLType.int8, [0, 0, 0, 1]) == nil)
        #expect(decoded(PostgreSQLType.int4, []) == nil)
    }

    @Test func `text and bytes may be empty`() {
        #expect(decoded(PostgreSQLType.text, []) == .text(""))
        #expect(decoded(PostgreSQLType.bytea, []) == .blob(Data()))
    }

    @Test func `text that isn't UTF-8 is refused`() {
        #expect(decoded(PostgreSQLType.text, [0xC3, 0xBC]) == .text("ü"))
        #expect(decoded(PostgreSQLType.text, [0xC3]) == nil)
    }

    @Test func `a fraction is refused, by type`() {
        #expect(decoded(701, [0x3F, 0xF0, 0, 0, 0, 0, 0, 0]) == nil)
    }

    /// The bytes of a numeric from its fields.
    private func numeric(_ fields: UInt16...) -> [UInt8] {
        fields.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xFF)] }
    }

    @Test func `a whole numeric is an integer up to the last of 64 bits`() {
        func value(_ bytes: [UInt8]) -> DatabaseValue? { decoded(PostgreSQLType.numeric, bytes) }
        #expect(value(numeric(0, 0, 0, 0)) == .integer(0))
        #expect(value(numeric(1, 1, 0, 0, 3)) == .integer(30_000))
        #expect(value(numeric(2, 0, 0, 2, 7, 0)) == .integer(7))
        let most: [UInt16] = [922, 3372, 368, 5477]
        #expect(
            value(numeric(5, 4, 0, 0, most[0], most[1], most[2], most[3], 5807)) == .integer(.max))
        #expect(value(numeric(5, 4, 0, 0, most[0], most[1], most[2], most[3], 5808)) == nil)
        #expect(
            value(numeric(5, 4, 0x4000, 0, most[0], most[1], most[2], most[3], 5808))
                == .integer(.min))
        #expect(value(numeric(5, 4, 0x4000, 0, most[0], most[1], most[2], most[3], 5809)) == nil)
    }

    @Test(
        arguments: [
            [1, 0xFFFF, 0, 1, 5000],  // 0.5
            [2, 0, 0, 1, 1, 5000],  // 1.5
            [1, 5, 0, 0, 1],  // 10,000^5
            [0, 0, 0xC000, 0],  // not a number
            [0, 0, 0xD000, 0],  // infinity
            [2, 0, 0, 0, 1],  // a digit short
            [1, 0, 0, 0, 10_000],  // no digit
        ] as [[UInt16]])
    func `a numeric that isn't a whole number of 64 bits is refused`(fields: [UInt16]) {
        let bytes = fields.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xFF)] }
        #expect(decoded(PostgreSQLType.numeric, bytes) == nil)
    }

    @Test func `values are laid out one after the other, and NULL nowhere`() throws {
        let parameters = try PostgreSQLParameters([
            .integer(-2), .null, .text("ü"), .blob(Data([7])), .text(""),
        ])
        #expect(parameters.types == [20, 0, 25, 17, 25])
        #expect(parameters.ranges == [0..<8, nil, 8..<10, 10..<11, 11..<11])
        #expect(
            parameters.bytes.prefix(11) == [255, 255, 255, 255, 255, 255, 255, 254, 0xC3, 0xBC, 7])
    }

    @Test func `a text with a NUL is refused, bytes with one aren't`() throws {
        #expect(throws: PostgreSQLError.textHasNUL) {
            try PostgreSQLParameters([.text("a\0b")])
        }
        #expect(try PostgreSQLParameters([.blob(Data([0])), .text("a")]).ranges[0] == 0..<1)
    }
}

@Suite struct PreparedStatementsTests {
    private func key(_ number: Int) -> PreparedStatements.Key {
        PreparedStatements.Key(text: "SELECT \(number)", types: [])
    }

    @Test func `types tell statements of the same text apart`() {
        var statements = PreparedStatements()
        let name = statements.add(.init(text: "SELECT $1", types: [20]))
        #expect(statements.name(for: .init(text: "SELECT $1", types: [20])) == name)
        #expect(statements.name(for: .init(text: "SELECT $1", types: [25])) == nil)
    }

    @Test func `those unused for longest are dropped beyond the limit, and no sooner`() {
        var statements = PreparedStatements()
        let names = (0..<PreparedStatements.limit).map { statements.add(key($0)) }
        #expect(statements.takeSurplus().isEmpty)
        #expect(statements.name(for: key(0)) == names[0])
        _ = statements.add(key(-1))
        #expect(statements.takeSurplus() == [names[1]])
        #expect(statements.takeSurplus().isEmpty)
        #expect(statements.name(for: key(0)) == names[0])
        #expect(statements.name(for: key(1)) == nil)
    }

    @Test func `all are prepared anew under new names once they are forgotten`() {
        var statements = PreparedStatements()
        let name = statements.add(key(0))
        statements.forgetAll()
        #expect(statements.name(for: key(0)) == nil)
        #expect(statements.add(key(0)) != name)
        #expect(statements.takeSurplus() == [name])
    }
}
