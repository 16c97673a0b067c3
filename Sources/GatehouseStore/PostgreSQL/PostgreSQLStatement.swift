// A statement as PostgreSQL takes it: placeholders numbered, values apart.

import Synchronization

/// A statement of SQL whose placeholders are PostgreSQL's.
///
/// The store's SQL is written with SQLite's placeholders, which PostgreSQL knows as `$n` only:
///
/// | as written | as sent |
/// |---|---|
/// | `?` | the next number |
/// | `:name` | the name's number: the next one where it is new |
/// | `'…'`, `E'…'`, `"…"`, `$tag$…$tag$`, `-- …`, `/* … */`, `::type` | itself |
///
/// A name starts with a letter of ASCII or `_`, so that `a[1:2]` has none; PostgreSQL's operators with
/// a `?` can't be written (their functions can). The text must hold no NUL, where C would end it.
package struct PostgreSQLStatement: Sendable, Equatable {
    /// The statement with `$1`, `$2`…
    package let text: String
    /// For each of the parameters in order: its name, or nil where it was a `?`.
    package let parameters: [String?]

    /// Translates `sql`.
    package init(_ sql: String) {
        var scanner = Scanner(Array(sql.utf8))
        scanner.scan()
        text = String(decoding: scanner.output, as: UTF8.self)
        parameters = scanner.parameters
    }

    /// How many translations are kept: more than the store has statements, each of about a kilobyte.
    /// Where texts are made up as they are needed, all are dropped at the limit and begun anew.
    private static let translationLimit = 1_000

    private static let translations = Mutex<[String: PostgreSQLStatement]>([:])

    /// The translation of `sql`, which is made once and then kept.
    package static func translating(_ sql: String) -> PostgreSQLStatement {
        if let known = translations.withLock({ $0[sql] }) { return known }
        let made = PostgreSQLStatement(sql)
        translations.withLock { translations in
            if translations.count >= translationLimit { translations.removeAll() }
            translations[sql] = made
        }
        return made
    }
}

/// Copies SQL from front to back and numbers the placeholders that it meets outside of quotes and
/// comments.
///
/// Works on bytes: everything that it looks for is ASCII, which no other character of UTF-8 contains.
private struct Scanner {
    private let input: [UInt8]
    private var position = 0
    private(set) var output: [UInt8] = []
    private(set) var parameters: [String?] = []

    init(_ input: [UInt8]) {
        precondition(!input.contains(0), "a statement with a NUL")
        self.input = input
        output.reserveCapacity(input.count)
    }

    private func byte(_ offset: Int) -> UInt8? {
        let index = position + offset
        return index >= 0 && index < input.count ? input[index] : nil
    }

    private func isNext(_ first: Character, _ second: Character) -> Bool {
        byte(0) == first.asciiValue && byte(1) == second.asciiValue
    }

    private mutating func copy(_ count: Int = 1) {
        let end = min(position + count, input.count)
        output.append(contentsOf: input[position..<end])
        position = end
    }

    mutating func scan() {
        while let next = byte(0) {
            switch next {
            case UInt8(ascii: "'"):
                copyQuoted(by: next, withBackslashes: isEscapeString)
            case UInt8(ascii: "\""):
                copyQuoted(by: next, withBackslashes: false)
            case UInt8(ascii: "-") where isNext("-", "-"):
                copyLine()
            case UInt8(ascii: "/") where isNext("/", "*"):
                copyComment()
            case UInt8(ascii: "$") where !(byte(-1).map(Self.isNamePart) ?? false):
                copyDollarQuoted()
            case UInt8(ascii: ":") where isNext(":", ":"):
                copy(2)
            case UInt8(ascii: ":") where byte(1).map(Self.isNameStart) ?? false:
                number(named: takeName())
            case UInt8(ascii: "?"):
                position += 1
                number(named: nil)
            default:
                copy()
            }
        }
    }

    /// Whether the quote that is next opens a string of the form `E'…'`.
    private var isEscapeString: Bool {
        guard byte(-1) == UInt8(ascii: "E") || byte(-1) == UInt8(ascii: "e") else { return false }
        return !(byte(-2).map(Self.isNamePart) ?? false)
    }

    /// A doubled quote inside ends one string and starts the next, which comes to the same.
    private mutating func copyQuoted(by quote: UInt8, withBackslashes: Bool) {
        copy()
        while let next = byte(0), next != quote {
            copy(withBackslashes && next == UInt8(ascii: "\\") ? 2 : 1)
        }
        copy()
        // After a doubled quote the string goes on with the same rules about backslashes.
        if withBackslashes, byte(0) == quote { copyQuoted(by: quote, withBackslashes: true) }
    }

    private mutating func copyLine() {
        while let next = byte(0), next != UInt8(ascii: "\n") { copy() }
    }

    /// Comments nest in PostgreSQL, as the standard has it.
    private mutating func copyComment() {
        var depth = 0
        repeat {
            if isNext("/", "*") {
                depth += 1
                copy(2)
            } else if isNext("*", "/") {
                depth -= 1
                copy(2)
            } else {
                copy()
            }
        } while depth > 0 && position < input.count
    }

    private mutating func copyDollarQuoted() {
        var length = 1
        while let next = byte(length), Self.isNamePart(next), next != UInt8(ascii: "$") {
            length += 1
        }
        let opensQuote =
            byte(length) == UInt8(ascii: "$")
            && (length == 1 || byte(1).map(Self.isNameStart) ?? false)
        guard opensQuote else { return copy() }
        let tag = Array(input[position...(position + length)])
        copy(tag.count)
        while position < input.count {
            if input[position...].starts(with: tag) { return copy(tag.count) }
            copy()
        }
    }

    private mutating func takeName() -> String {
        let start = position + 1
        position = start
        while let next = byte(0), Self.isNamePart(next), next != UInt8(ascii: "$") {
            position += 1
        }
        return String(decoding: input[start..<position], as: UTF8.self)
    }

    private mutating func number(named name: String?) {
        let index: Int
        if let name, let known = parameters.firstIndex(of: name) {
            index = known
        } else {
            index = parameters.count
            parameters.append(name)
        }
        output.append(UInt8(ascii: "$"))
        output.append(contentsOf: "\(index + 1)".utf8)
    }

    private static func isNameStart(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "_"):
            true
        default: false
        }
    }

    /// What goes on with an identifier; all that isn't ASCII is a letter to PostgreSQL.
    private static func isNamePart(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "$"), 0x80...: true
        default: isNameStart(byte)
        }
    }
}
