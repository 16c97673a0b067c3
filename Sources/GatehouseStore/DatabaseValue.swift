// What is sent to a database and read from it: four kinds of value that both know.

package import Foundation

/// A value of a row or an argument. Numbers are 64 bits wide on both databases, texts compare by their bytes.
package enum DatabaseValue: Sendable, Hashable {
    case null
    case integer(Int64)
    case text(String)
    case blob(Data)

    package var isNull: Bool { self == .null }
}

/// What can be an argument of a statement.
protocol DatabaseArgument: Sendable {
    var argumentValue: DatabaseValue { get }
}

extension Int64: DatabaseArgument {
    var argumentValue: DatabaseValue { .integer(self) }
}

extension Int: DatabaseArgument {
    var argumentValue: DatabaseValue { .integer(Int64(self)) }
}

extension Bool: DatabaseArgument {
    /// Tables have no truth values: 0 and 1.
    var argumentValue: DatabaseValue { .integer(self ? 1 : 0) }
}

extension String: DatabaseArgument {
    var argumentValue: DatabaseValue { .text(self) }
}

extension Data: DatabaseArgument {
    var argumentValue: DatabaseValue { .blob(self) }
}

/// The arguments of a statement, in its order for `?`, by name for `:name`.
struct StatementArguments: Sendable, Hashable, ExpressibleByArrayLiteral,
    ExpressibleByDictionaryLiteral
{
    private(set) var positional: [DatabaseValue] = []
    private(set) var named: [String: DatabaseValue] = [:]

    init() {}

    init(arrayLiteral elements: (any DatabaseArgument)?...) {
        positional = elements.map { $0?.argumentValue ?? .null }
    }

    init(dictionaryLiteral elements: (String, (any DatabaseArgument)?)...) {
        named = Dictionary(
            elements.map { ($0, $1?.argumentValue ?? .null) }, uniquingKeysWith: { $1 })
    }

    mutating func append(_ value: any DatabaseArgument) { positional.append(value.argumentValue) }

    /// The values for a statement whose placeholders have these names, nil for `?`; nil when one is missing
    /// or too many are there.
    func values(for placeholders: [String?]) -> [DatabaseValue]? {
        if named.isEmpty { return positional.count == placeholders.count ? positional : nil }
        var values: [DatabaseValue] = []
        for placeholder in placeholders {
            guard let placeholder, let value = named[placeholder] else { return nil }
            values.append(value)
        }
        return values
    }
}
