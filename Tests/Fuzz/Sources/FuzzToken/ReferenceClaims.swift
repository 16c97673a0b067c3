// Which bytes are claims: the table of the token format, row by row.

enum ReferenceClaims {
    /// 9999-12-31T23:59:59Z.
    private static let maximumSeconds: UInt64 = 253_402_300_799

    static func isWellFormed(_ bytes: [UInt8]) -> Bool {
        guard bytes.count >= 75, bytes[0] == 1 else { return false }
        let times = [37, 45, 53, 61].map { offset in
            bytes[offset..<(offset + 8)].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        }
        let name = bytes[74...]
        return bytes[1..<17].contains { $0 != 0 } && bytes[17..<33].contains { $0 != 0 }
            && times.allSatisfy { $0 <= maximumSeconds } && times[2] <= times[3]
            && bytes[69] == 0 && bytes[70] <= 0b111
            && (1...3).contains(bytes[71]) && bytes[72] <= 1
            && Int(bytes[73]) == name.count && name.count <= 64
            && String(validating: name, as: UTF8.self) != nil
    }
}
