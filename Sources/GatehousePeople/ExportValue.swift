// What is held about a person, as a value that JSON and a page are made of.

package import GatehouseCore

/// A part of an export. Order is kept: people read it.
package indirect enum ExportValue: Sendable, Equatable {
    case none
    case text(String)
    case number(Int64)
    case flag(Bool)
    case time(UnixTime)
    case list([ExportValue])
    case fields([Field])

    package struct Field: Sendable, Equatable {
        /// In lower case, with underscores.
        package let name: String
        package let value: ExportValue

        package init(_ name: String, _ value: ExportValue) {
            self.name = name
            self.value = value
        }
    }
}
