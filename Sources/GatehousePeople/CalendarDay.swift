// Days and weeks of the calendar in UTC, by arithmetic alone, and times as RFC 3339 writes them.

package import GatehouseCore

/// A day in UTC of the Gregorian calendar, as ISO 8601 counts and writes it.
package struct CalendarDay: Hashable, Comparable, Sendable {
    package static let seconds: Int64 = 86_400

    /// Days since 1970-01-01.
    package let number: Int64

    /// Days before 1970-01-01 are none; the first is the earliest.
    package init(number: Int64) { self.number = max(0, number) }

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

    /// Year, month and day.
    private var parts: (year: Int64, month: Int64, day: Int64) {
        // Eras of 400 years, which have 146,097 days each.
        let shifted = number + 719_468
        let era = shifted / 146_097
        let ofEra = shifted % 146_097
        let yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
        let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let fromMarch = (5 * ofYear + 2) / 153
        let month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9
        return (
            400 * era + yearOfEra + (month <= 2 ? 1 : 0), month,
            ofYear - (153 * fromMarch + 2) / 5 + 1
        )
    }

    /// `2026-01-31`.
    package var text: String {
        let (year, month, day) = parts
        return "\(Self.padded(year, 4))-\(Self.padded(month, 2))-\(Self.padded(day, 2))"
    }

    fileprivate static func padded(_ number: Int64, _ count: Int) -> String {
        let digits = "\(number)"
        return String(repeating: "0", count: max(0, count - digits.utf8.count)) + digits
    }

    package func advanced(by days: Int64) -> CalendarDay { CalendarDay(number: number + days) }

    /// How many days its week had before it (ISO 8601); 1970-01-01 was a Thursday.
    private var dayOfWeek: Int64 { (number + 3) % 7 }

    /// The Monday that its week begins with; of the first week, which begins in 1969, its first day.
    package var weekStart: CalendarDay { advanced(by: -dayOfWeek) }

    /// `2026-W48`: the week's year is that of its Thursday.
    package var weekText: String {
        let thursday = advanced(by: 3 - dayOfWeek)
        let year = thursday.parts.year
        var week = 1
        while week < 54, thursday.number >= 7 * Int64(week),
            thursday.advanced(by: -7 * Int64(week)).parts.year == year
        {
            week += 1
        }
        return "\(Self.padded(year, 4))-W\(Self.padded(Int64(week), 2))"
    }

    /// Its midnight.
    package var start: UnixTime { UnixTime(clamping: number * Self.seconds) }

    package var next: CalendarDay { CalendarDay(number: number + 1) }

    /// Saturday or Sunday.
    package var isWeekend: Bool { dayOfWeek >= 5 }

    package static func < (left: CalendarDay, right: CalendarDay) -> Bool {
        left.number < right.number
    }
}

extension UnixTime {
    /// `2026-11-24T12:00:00Z` (RFC 3339).
    package var rfc3339: String {
        let rest = seconds % CalendarDay.seconds
        let clock = [rest / 3600, rest / 60 % 60, rest % 60].map { CalendarDay.padded($0, 2) }
        return "\(CalendarDay(of: self).text)T\(clock.joined(separator: ":"))Z"
    }
}
