// The date header (RFC 9110 section 5.6.7).

import GatehouseCore

enum HTTPDate {
    /// The length of every date, in bytes.
    static let byteCount = 29

    /// IMF-fixdate, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
    static func format(_ time: UnixTime) -> [UInt8] {
        let days = time.seconds / 86_400
        let second = time.seconds % 86_400
        let (year, month, day) = civil(daysSinceEpoch: days)
        let weekday = weekdays[Int((days + 4) % 7)]
        func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let yearText = String(repeating: "0", count: max(0, 4 - "\(year)".count)) + "\(year)"
        return Array(
            """
            \(weekday), \(two(day)) \(months[Int(month) - 1]) \(yearText) \
            \(two(second / 3600)):\(two(second / 60 % 60)):\(two(second % 60)) GMT
            """.utf8)
    }

    private static let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// The proleptic Gregorian date of a day number. Counts years from March, so that the leap day
    /// is a year's last, in eras of 400 years, which all have 146,097 days.
    private static func civil(
        daysSinceEpoch: Int64
    ) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = daysSinceEpoch + 719_468  // days since 0000-03-01
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }
}
