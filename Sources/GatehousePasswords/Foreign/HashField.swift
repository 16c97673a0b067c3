// What the fields of stored hashes hold: decimal numbers and several kinds of base64, canonical.

/// Readers of one whole field each. What they refuse has another spelling than the one.
enum HashField {
    /// A decimal number without leading zeros after `prefix`. Nine digits say more than any bound.
    static func number(
        _ field: ArraySlice<UInt8>, after prefix: String = ""
    ) throws(ForeignHashRefusal) -> Int {
        guard field.starts(with: prefix.utf8) else { throw .malformed }
        let digits = field.dropFirst(prefix.utf8.count)
        guard !digits.isEmpty, digits.allSatisfy({ (0x30...0x39).contains($0) }),
            digits.count == 1 || digits.first != 0x30
        else { throw .malformed }
        guard digits.count <= 9 else { return Int(Int32.max) }
        return digits.reduce(0) { $0 * 10 + Int($1 - 0x30) }
    }

    /// Such numbers with a comma between, each after its own prefix.
    static func numbers(
        _ field: ArraySlice<UInt8>, after prefixes: [String]
    ) throws(ForeignHashRefusal) -> [Int] {
        let parts = field.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
        guard parts.count == prefixes.count else { throw .malformed }
        var numbers: [Int] = []
        for (part, prefix) in zip(parts, prefixes) {
            numbers.append(try number(part, after: prefix))
        }
        return numbers
    }

    static func salt(
        _ field: ArraySlice<UInt8>, plus: UInt8 = UInt8(ascii: "+")
    ) throws(ForeignHashRefusal) -> [UInt8] {
        guard let bytes = base64(field, plus: plus),
            ForeignHash.acceptedSaltBytes.contains(bytes.count)
        else { throw .salt }
        return bytes
    }

    static func output(
        _ field: ArraySlice<UInt8>, plus: UInt8 = UInt8(ascii: "+")
    ) throws(ForeignHashRefusal) -> [UInt8] {
        guard let bytes = base64(field, plus: plus),
            ForeignHash.acceptedOutputBytes.contains(bytes.count)
        else { throw .output }
        return bytes
    }

    /// Unpadded base64 (RFC 4648 section 4, with 3.2 and 3.5); `plus` is the digit of 62.
    private static func base64(_ field: ArraySlice<UInt8>, plus: UInt8) -> [UInt8]? {
        var decoded: [UInt8] = []
        var buffer = 0
        var bits = 0
        for character in field {
            let digit: Int
            switch character {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): digit = Int(character) - 0x41
            case UInt8(ascii: "a")...UInt8(ascii: "z"): digit = Int(character) - 0x61 + 26
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = Int(character) - 0x30 + 52
            case plus: digit = 62
            case UInt8(ascii: "/"): digit = 63
            default: return nil
            }
            buffer = buffer << 6 | digit
            bits += 6
            if bits >= 8 {
                bits -= 8
                decoded.append(UInt8(buffer >> bits))
                buffer &= (1 << bits) - 1
            }
        }
        // Six bits over are a character that adds no byte; other bits over must be zero.
        return bits < 6 && buffer == 0 ? decoded : nil
    }

    // MARK: crypt(3)

    /// The value of a digit of crypt(3)'s base64, `./0-9A-Za-z`.
    static func crypt64Value(of character: UInt8) -> Int? {
        switch character {
        case UInt8(ascii: ".")...UInt8(ascii: "9"): Int(character) - 0x2E
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): Int(character) - 0x41 + 12
        case UInt8(ascii: "a")...UInt8(ascii: "z"): Int(character) - 0x61 + 38
        default: nil
        }
    }

    /// Whether these are whole bytes, low bits first: the bits over in the last digit are its high
    /// ones, and zero.
    static func isCrypt64(_ field: ArraySlice<UInt8>) -> Bool {
        let values = field.compactMap(crypt64Value)
        guard values.count == field.count, let last = values.last else { return false }
        switch values.count % 4 {
        case 0: return true
        case 2: return last < 4
        case 3: return last < 16
        default: return false
        }
    }

    /// The same for bcrypt: `./A-Za-z0-9`, high bits first, so that the bits over are the low ones.
    static func isBcrypt64(_ field: ArraySlice<UInt8>) -> Bool {
        let alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8
        let values = field.compactMap { digit in
            alphabet.firstIndex(of: digit).map {
                alphabet.distance(from: alphabet.startIndex, to: $0)
            }
        }
        guard values.count == field.count, let last = values.last else { return false }
        switch values.count % 4 {
        case 0: return true
        case 2: return last % 16 == 0
        case 3: return last % 4 == 0
        default: return false
        }
    }
}
