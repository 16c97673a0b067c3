// Days and weeks of the calendar, in UTC, and times as RFC 3339 writes them.

package import GatehouseCore

/// A day of the proleptic Gregorian calendar, UTC, by its distance from 1970-01-01.
package struct CalendarDay: Hashable, Comparable, Sendable {
    static let seconds: Int64 = 86_400

    /// Since 1970-01-01, a Thursday; the first week's Monday is before it.
    package let number: Int64

    package init(number: Int64) { self.number = number }
    package init(of time: UnixTime) { number = time.seconds / Self.seconds }

    package static func < (left: CalendarDay, right: CalendarDay) -> Bool {
        left.number < right.number
    }

    package func advanced(by days: Int64) -> CalendarDay { CalendarDay(number: number + days) }

    /// The Monday that its week begins with (ISO 8601).
    package var weekStart: CalendarDay { advanced(by: -(((number + 3) % 7 + 7) % 7)) }

    /// Year, month and day. From days to civil, by Howard Hinnant ("chrono-Compatible Low-Level Date
    /// Algorithms"): years begin in March, so that the leap day is the last.
    var parts: (year: Int64, month: Int64, day: Int64) {
        let shifted = number + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (
            yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month,
            dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        )
    }

    /// `2026-11-24`.
    package var text: String {
        let (year, month, day) = parts
        return "\(Self.digits(year, 4))-\(Self.digits(month, 2))-\(Self.digits(day, 2))"
    }

    /// `2026-W48`: the week's year is that of its Thursday (ISO 8601).
    package var weekText: String {
        let thursday = weekStart.advanced(by: 3)
        let year = thursday.parts.year
        var first = thursday
        while first.advanced(by: -7).parts.year == year { first = first.advanced(by: -7) }
        let week = (thursday.number - first.number) / 7 + 1
        return "\(Self.digits(year, 4))-W\(Self.digits(week, 2))"
    }

    static func digits(_ number: Int64, _ count: Int) -> String {
        let text = "\(number)"
        return String(repeating: "0", count: max(0, count - text.utf8.count)) + text
    }
}

extension UnixTime {
    /// `2026-11-24T12:00:00Z` (RFC 3339).
    package var rfc3339: String {
        let rest = seconds % CalendarDay.seconds
        let clock = [rest / 3600, rest / 60 % 60, rest % 60].map { CalendarDay.digits($0, 2) }
        return "\(CalendarDay(of: self).text)T\(clock.joined(separator: ":"))Z"
    }
}
