// The values that both databases hold.

package import Foundation

/// A value of a row or of a statement's parameter.
///
/// The four types that SQLite and PostgreSQL have in common: NULL, a signed integer of 64 bits
/// (`bigint`), text in UTF-8 and bytes (`bytea`). It has no description, as values are people's data.
package enum DatabaseValue: Sendable, Equatable {
    case null
    case integer(Int64)
    case text(String)
    case blob(Data)
}
