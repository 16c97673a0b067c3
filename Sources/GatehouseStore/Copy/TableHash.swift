// A hash of a table's rows that is the same on every database.

import GatehouseCore

/// SHA-256 over the table's name, the names of its columns, and its rows in the order of their key. Each
/// value is written so that no two lists of values are alike:
///
/// | value | bytes |
/// |---|---|
/// | null | `00` |
/// | integer | `01`, 8 bytes, big-endian, two's complement |
/// | text | `02`, the number of its bytes as 8 bytes, its UTF-8 |
/// | blob | `03`, the number of its bytes as 8 bytes, itself |
final class TableHash {
    private let hash: RunningHash
    private(set) var rows = 0

    init(_ layout: CopyLayout) throws(LibCryptoError) {
        hash = try RunningHash(.sha256)
        try add(([layout.table.name] + layout.columns).map { .text($0) })
    }

    func add(row: [DatabaseValue]) throws(LibCryptoError) {
        try add(row)
        rows += 1
    }

    /// Of everything so far; it begins anew.
    func finish() throws(LibCryptoError) -> [UInt8] {
        try hash.finish { span in span.indices.map { span[$0] } }
    }

    private func add(_ values: [DatabaseValue]) throws(LibCryptoError) {
        try hash.update(Self.bytes(values).span)
    }

    static func bytes(_ values: [DatabaseValue]) -> [UInt8] {
        var bytes: [UInt8] = []
        for value in values {
            switch value {
            case .null: bytes.append(0)
            case .integer(let integer):
                bytes.append(1)
                bytes += UInt64(bitPattern: integer).bigEndianBytes
            case .text(let text):
                bytes.append(2)
                bytes += UInt64(text.utf8.count).bigEndianBytes
                bytes += text.utf8
            case .blob(let data):
                bytes.append(3)
                bytes += UInt64(data.count).bigEndianBytes
                bytes += data
            }
        }
        return bytes
    }
}
