// How long a change is known before it takes effect.

package import GatehouseCore

/// Business days that lie, whole, between the day on which people could first read a change and the one on
/// which it takes effect: Monday to Friday in UTC, less the holidays.
package struct NoticePeriod: Sendable, Equatable {
    /// Six weeks, as the promise says.
    package static let defaultBusinessDays = 30
    /// At least a day, or the promise would be none; at most about a year.
    package static let businessDayRange = 1...250
    /// Fifty years' worth.
    package static let maximumHolidays = 1000

    package let businessDays: Int
    package let holidays: Set<CalendarDay>

    package init(businessDays: Int = defaultBusinessDays, holidays: Set<CalendarDay> = []) {
        self.businessDays = businessDays
        self.holidays = holidays
    }

    package func isBusinessDay(_ day: CalendarDay) -> Bool {
        !day.isWeekend && !holidays.contains(day)
    }

    /// The first day on which a change may take effect that is published at `time`.
    package func earliestDay(after time: UnixTime) -> CalendarDay {
        var day = CalendarDay(of: time)
        var left = businessDays
        while left > 0 {
            day = day.next
            if isBusinessDay(day) { left -= 1 }
        }
        return day.next
    }
}
