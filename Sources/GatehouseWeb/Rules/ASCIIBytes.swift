// What single bytes are in ASCII. The rules read bytes: in Swift "\r\n" is one Character, and `==`
// of strings is canonical equivalence (REQUIREMENTS USR-4, SW-2).

extension UInt8 {
    var isASCII: Bool { self < 0x80 }

    /// A control character: NUL to unit separator, or delete.
    var isASCIIControl: Bool { self < 0x20 || self == 0x7F }

    var isASCIIDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }

    var isASCIILetter: Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(asciiLowercased)
    }

    var asciiLowercased: UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(self) ? self | 0x20 : self
    }

    /// The value of a hex digit in either case; nil where it is none.
    var hexDigitValue: UInt8? {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}

extension Span<UInt8> {
    /// The byte that `%` and two hex digits at `index` stand for; nil when they do not.
    func percentEncodedByte(at index: Int) -> UInt8? {
        guard index + 2 < count, self[index] == UInt8(ascii: "%"),
            let high = self[index + 1].hexDigitValue, let low = self[index + 2].hexDigitValue
        else { return nil }
        return high << 4 | low
    }
}
