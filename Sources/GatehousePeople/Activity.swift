// How many people are here, by day and week, and never who: what is counted and when.

package import GatehouseCore

/// What one user's being here adds to the counts. Each is counted once a day and once a week.
package struct ActivityStep: Sendable, Equatable {
    package enum Period: String, Sendable, CaseIterable { case day, week }

    /// Periods in which the user is active for the first time.
    package let periods: [Period]
    /// Of those, the ones that began after the user had registered.
    package let returned: [Period]

    /// - Parameters:
    ///   - last: the last day on which the user was here; nil for the first time.
    ///   - registered: when the account was made.
    package init(on day: CalendarDay, last: CalendarDay?, registered: CalendarDay) {
        // A clock that went back counts nobody twice.
        let isNew = last.map { $0 < day } ?? true
        periods =
            !isNew
            ? [] : last.map { $0.weekStart < day.weekStart } ?? true ? [.day, .week] : [.day]
        returned = periods.filter { period in registered < period.start(of: day) }
    }
}

extension ActivityStep.Period {
    package func start(of day: CalendarDay) -> CalendarDay {
        self == .day ? day : day.weekStart
    }
}

/// Counts without identities.
package struct ActivityCounts: Sendable, Equatable {
    /// How long counts are kept, in days: any day beside that of the year before.
    package static let keptDays: Int64 = 400
    /// Days that are told when nobody says how many.
    package static let defaultDays: Int64 = 28

    package struct Count: Sendable, Equatable {
        /// Of a week, its Monday.
        package let start: CalendarDay
        /// Users who were here.
        package let active: Int64
        /// Users who registered, here afterwards or not.
        package let new: Int64
        /// Users who were here and had registered before.
        package let returning: Int64

        package init(start: CalendarDay, active: Int64, new: Int64, returning: Int64) {
            self.start = start
            self.active = active
            self.new = new
            self.returning = returning
        }
    }

    package let days: [Count]
    package let weeks: [Count]

    package init(days: [Count], weeks: [Count]) {
        self.days = days
        self.weeks = weeks
    }

    /// The last `count` days up to `now`, with the weeks that they are in, those without anybody too.
    package static func recent(
        _ count: Int64, from store: any DepartureStore, at now: UnixTime
    ) async throws(StoreError) -> ActivityCounts {
        let today = CalendarDay(of: now)
        let first = max(today.advanced(by: 1 - count), CalendarDay(number: 0))
        let stored = try await store.activity(from: first.weekStart)
        return ActivityCounts(
            days: fill(stored.days, from: first, to: today, by: 1),
            weeks: fill(stored.weeks, from: first.weekStart, to: today.weekStart, by: 7))
    }

    private static func fill(
        _ counts: [Count], from first: CalendarDay, to last: CalendarDay, by days: Int64
    ) -> [Count] {
        let known = Dictionary(counts.map { ($0.start, $0) }, uniquingKeysWith: { $1 })
        return stride(from: first.number, through: last.number, by: Int(days)).map { number in
            let start = CalendarDay(number: number)
            return known[start] ?? Count(start: start, active: 0, new: 0, returning: 0)
        }
    }

    /// One JSON document.
    package var json: String {
        func rows(_ counts: [Count], _ label: (CalendarDay) -> [ExportValue.Field]) -> ExportValue {
            .list(
                counts.map { count in
                    .fields(
                        label(count.start) + [
                            .init("active", .number(count.active)),
                            .init("new", .number(count.new)),
                            .init("returning", .number(count.returning)),
                        ])
                })
        }
        return ExportValue.fields([
            .init("days", rows(days) { [.init("day", .text($0.text))] }),
            .init(
                "weeks",
                rows(weeks) { [.init("week", .text($0.weekText)), .init("from", .text($0.text))] }),
        ]).json
    }
}
