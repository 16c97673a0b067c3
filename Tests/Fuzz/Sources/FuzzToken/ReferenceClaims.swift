// Which bytes are claims: the table of the token format, row by row.

enum ReferenceClaims {
    /// 9999-12-31T23:59:59Z.
    private static let maximumSeconds: UInt64 = 253_402_300_799

    static func isWellFormed(_ bytes: [UInt8]) -> Bool {
        guard bytes.count >= 75, bytes[0] == 1 || bytes[0] == 2 else { return false }
        let times = [37, 45, 53, 61].map { offset in
            bytes[offset..<(offset + 8)].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        }
        let end = 74 + Int(bytes[73])
        guard (75...138).contains(end), bytes.count >= end else { return false }
        let name = bytes[74..<end]
        let actor = bytes[end...]
        return isActor(Array(actor), version: bytes[0]) && bytes[1..<17].contains { $0 != 0 }
            && bytes[17..<33].contains { $0 != 0 }
            && times.allSatisfy { $0 <= maximumSeconds } && times[2] <= times[3]
            && bytes[69] == 0 && bytes[70] <= 0b111
            && (1...3).contains(bytes[71]) && bytes[72] <= 1
            && String(validating: name, as: UTF8.self) != nil
    }

    private static func isActor(_ bytes: [UInt8], version: UInt8) -> Bool {
        guard version == 2 else { return bytes.isEmpty }
        guard let count = bytes.first, (1...32).contains(count), bytes.count == Int(count) + 1
        else { return false }
        let allowed = Set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_@".utf8)
        return bytes.dropFirst().allSatisfy { allowed.contains($0) }
    }
}
