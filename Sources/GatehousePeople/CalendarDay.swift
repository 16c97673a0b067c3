// Days of the calendar in UTC, by arithmetic alone.

package import GatehouseCore

/// A day in UTC of the Gregorian calendar, as ISO 8601 counts and writes it.
package struct CalendarDay: Hashable, Comparable, Sendable {
    package static let seconds: Int64 = 86_400

    /// Days since 1970-01-01.
    package let number: Int64

    private init(number: Int64) { self.number = number }

    package init(of time: UnixTime) { number = time.seconds / Self.seconds }

    /// Reads `2026-01-31`, of the years 1970 to 9999.
    package init?(text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count == 10, bytes[4] == UInt8(ascii: "-"), bytes[7] == UInt8(ascii: "-"),
            let year = Self.number(bytes[0..<4]), let month = Self.number(bytes[5..<7]),
            let day = Self.number(bytes[8..<10]), year >= 1970, (1...12).contains(month),
            (1...Self.days(in: month, of: year)).contains(day)
        else { return nil }
        // Years that begin in March end with the leap day; 719,468 days lie before 1970-01-01.
        let shifted = month > 2 ? year : year - 1
        let fromMarch = (month + 9) % 12
        let ofYear = (153 * fromMarch + 2) / 5 + day - 1
        number = 365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + ofYear - 719_468
    }

    private static func number(_ digits: ArraySlice<UInt8>) -> Int64? {
        var number: Int64 = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            number = 10 * number + Int64(digit - UInt8(ascii: "0"))
        }
        return number
    }

    private static func days(in month: Int64, of year: Int64) -> Int64 {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// `2026-01-31`.
    package var text: String {
        // Eras of 400 years, which have 146,097 days each.
        let shifted = number + 719_468
        let era = shifted / 146_097
        let ofEra = shifted % 146_097
        let yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
        let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let fromMarch = (5 * ofYear + 2) / 153
        let day = ofYear - (153 * fromMarch + 2) / 5 + 1
        let month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9
        let year = 400 * era + yearOfEra + (month <= 2 ? 1 : 0)
        func padded(_ number: Int64, _ count: Int) -> String {
            let digits = "\(number)"
            return String(repeating: "0", count: max(0, count - digits.utf8.count)) + digits
        }
        return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
    }

    /// Its midnight.
    package var start: UnixTime { UnixTime(clamping: number * Self.seconds) }

    package var next: CalendarDay { CalendarDay(number: number + 1) }

    /// Saturday or Sunday; 1970-01-01 was a Thursday.
    package var isWeekend: Bool { (number + 3) % 7 >= 5 }

    package static func < (left: CalendarDay, right: CalendarDay) -> Bool {
        left.number < right.number
    }
}
