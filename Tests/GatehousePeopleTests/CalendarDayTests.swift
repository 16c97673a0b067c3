// Days, weeks and times are those of the calendar.

import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseTestSupport
import Testing

struct CalendarDayTests {
    /// From the table of ISO 8601 weeks that begin or end in another year, and days around leap days.
    @Test(
        arguments: [
            (0, "1970-01-01", "1970-W01"), (3, "1970-01-04", "1970-W01"),
            (4, "1970-01-05", "1970-W02"),
            (11_016, "2000-02-29", "2000-W09"), (11_017, "2000-03-01", "2000-W09"),
            (14_244, "2008-12-31", "2009-W01"), (14_609, "2009-12-31", "2009-W53"),
            (14_612, "2010-01-03", "2009-W53"), (14_613, "2010-01-04", "2010-W01"),
            (20_781, "2026-11-24", "2026-W48"), (47_540, "2100-02-28", "2100-W08"),
            (47_541, "2100-03-01", "2100-W09"), (2_932_896, "9999-12-31", "9999-W52"),
        ] as [(Int64, String, String)])
    func `a day has a date, and a week of ISO 8601`(number: Int64, text: String, week: String) {
        let day = CalendarDay(number: number)
        #expect(day.text == text)
        #expect(day.weekText == week)
        #expect((day.weekStart.number + 3) % 7 == 0)
        #expect((0..<7).contains(number - day.weekStart.number))
    }

    @Test func `times are what Foundation makes of them`() {
        var generator = SeededGenerator()
        for _ in 0..<2000 {
            let seconds = Int64.random(in: 0...UnixTime.maximumSeconds, using: &generator)
            let expected = Date(timeIntervalSince1970: TimeInterval(seconds)).formatted(.iso8601)
            #expect(time(seconds).rfc3339 == expected, "seed \(generator.seed)")
        }
        #expect(UnixTime.maximum.rfc3339 == "9999-12-31T23:59:59Z")
    }
}
