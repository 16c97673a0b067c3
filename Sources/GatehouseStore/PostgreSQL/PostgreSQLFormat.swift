// Values as they go over the wire: PostgreSQL's binary format.

import Foundation

/// The types that a parameter or a column can have, by their numbers (pg_type.dat).
enum PostgreSQLType {
    /// The server finds the type out from where the parameter stands.
    static let inferred: UInt32 = 0
    static let bool: UInt32 = 16
    static let bytea: UInt32 = 17
    static let name: UInt32 = 19
    static let int8: UInt32 = 20
    static let int2: UInt32 = 21
    static let int4: UInt32 = 23
    static let text: UInt32 = 25
    static let unknown: UInt32 = 705
    static let bpchar: UInt32 = 1042
    static let varchar: UInt32 = 1043
    static let numeric: UInt32 = 1700
    /// What functions that return nothing return, such as those that lock.
    static let void: UInt32 = 2278
}

/// The values of a statement, in one block of bytes.
struct PostgreSQLParameters {
    private(set) var types: [UInt32] = []
    private(set) var bytes: [UInt8] = []
    /// Where each value lies in `bytes`; nil for NULL.
    private(set) var ranges: [Range<Int>?] = []

    init(_ values: [DatabaseValue]) throws(PostgreSQLError) {
        types.reserveCapacity(values.count)
        ranges.reserveCapacity(values.count)
        for value in values {
            let start = bytes.count
            switch value {
            case .null:
                types.append(PostgreSQLType.inferred)
                ranges.append(nil)
                continue
            case .integer(let integer):
                types.append(PostgreSQLType.int8)
                for shift in stride(from: 56, through: 0, by: -8) {
                    bytes.append(UInt8(truncatingIfNeeded: integer >> Int64(shift)))
                }
            case .text(let text):
                types.append(PostgreSQLType.text)
                bytes.append(contentsOf: text.utf8)
                if bytes[start...].contains(0) { throw .textHasNUL }
            case .blob(let data):
                types.append(PostgreSQLType.bytea)
                bytes.append(contentsOf: data)
            }
            ranges.append(start..<bytes.count)
        }
        // So that an empty value at the end has an address too: without one it would be NULL.
        bytes.append(0)
    }
}

extension DatabaseValue {
    /// Reads a value of the type numbered `type`; nil where this can't hold it.
    ///
    /// Fractions are refused rather than rounded.
    init?(type: UInt32, bytes: Span<UInt8>) {
        switch type {
        case PostgreSQLType.bool, PostgreSQLType.int2, PostgreSQLType.int4, PostgreSQLType.int8:
            let width =
                [PostgreSQLType.bool: 1, PostgreSQLType.int2: 2, PostgreSQLType.int4: 4][type] ?? 8
            guard bytes.count == width else { return nil }
            self = .integer(Self.signedInteger(bytes))
        case PostgreSQLType.text, PostgreSQLType.varchar, PostgreSQLType.bpchar,
            PostgreSQLType.name, PostgreSQLType.unknown:
            // SAFETY: the buffer isn't kept beyond the call.
            let text = unsafe bytes.withUnsafeBufferPointer {
                unsafe String(validating: $0, as: UTF8.self)
            }
            guard let text else { return nil }
            self = .text(text)
        case PostgreSQLType.bytea:
            // SAFETY: as above; the bytes are copied.
            self = .blob(unsafe bytes.withUnsafeBufferPointer { unsafe Data($0) })
        case PostgreSQLType.numeric:
            guard let integer = Self.integer(numeric: bytes) else { return nil }
            self = .integer(integer)
        case PostgreSQLType.void:
            self = .null
        default:
            return nil
        }
    }

    /// Big-endian, in two's complement; a bool is a byte, 0 or 1.
    private static func signedInteger(_ bytes: Span<UInt8>) -> Int64 {
        var value: Int64 = bytes[0] & 0x80 == 0 ? 0 : -1
        for index in bytes.indices { value = value << 8 | Int64(bytes[index]) }
        return value
    }

    /// A numeric, which sums of bigint are, where it is a whole number of 64 bits (numeric_send):
    ///
    /// | bytes | content |
    /// |---|---|
    /// | 2 | count of digits, which are of base 10,000 |
    /// | 2 | weight: the power of 10,000 that the first digit counts |
    /// | 2 | sign: 0 or 0x4000 for negative; the others aren't numbers |
    /// | 2 | decimals to display |
    /// | 2 each | the digits |
    private static func integer(numeric bytes: Span<UInt8>) -> Int64? {
        guard bytes.count >= 8, bytes.count % 2 == 0 else { return nil }
        func field(_ index: Int) -> Int { Int(bytes[2 * index]) << 8 | Int(bytes[2 * index + 1]) }
        let count = field(0)
        let weight = Int(Int16(truncatingIfNeeded: field(1)))
        let sign = field(2)
        guard bytes.count == 8 + 2 * count, sign == 0 || sign == 0x4000 else { return nil }

        // 10,000^5 is more than 64 bits hold.
        guard count > 0 else { return 0 }
        guard weight <= 4 else { return nil }
        var value: Int64 = 0
        // Towards the negative, which reaches one further.
        for power in stride(from: max(weight, 0), through: min(weight - count + 1, 0), by: -1) {
            let index = weight - power
            let digit = index >= 0 && index < count ? field(4 + index) : 0
            guard digit < 10_000 else { return nil }
            if power < 0 {
                guard digit == 0 else { return nil }
                continue
            }
            let (product, overflows) = value.multipliedReportingOverflow(by: 10_000)
            let (next, overflowsToo) = product.subtractingReportingOverflow(Int64(digit))
            if overflows || overflowsToo { return nil }
            value = next
        }
        if sign == 0x4000 { return value }
        return value == .min ? nil : -value
    }
}
