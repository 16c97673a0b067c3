// Who is counted, and as what.

import GatehousePeople
import Testing

struct ActivityStepTests {
    /// 2026-11-23, a Monday.
    private let monday: Int64 = 20_780

    private func step(
        _ day: Int64, last: Int64?, registered: Int64
    ) -> ActivityStep {
        ActivityStep(
            on: CalendarDay(number: monday + day),
            last: last.map { CalendarDay(number: monday + $0) },
            registered: CalendarDay(number: monday + registered))
    }

    // Promise: statistics
    @Test func `somebody counts once a day and once a week`() {
        #expect(step(0, last: nil, registered: 0).periods == [.day, .week])
        #expect(step(0, last: 0, registered: 0).periods == [])
        #expect(step(1, last: 0, registered: 0).periods == [.day])
        #expect(step(6, last: 0, registered: 0).periods == [.day], "Sunday")
        #expect(step(7, last: 6, registered: 0).periods == [.day, .week], "the next Monday")
        #expect(step(0, last: -1, registered: -1).periods == [.day, .week])
        #expect(step(0, last: 1, registered: 0).periods == [], "the clock went back")
    }

    @Test func `returning is who had registered before the period`() {
        #expect(step(0, last: nil, registered: 0).returned == [])
        #expect(step(1, last: 0, registered: 0).returned == [.day])
        #expect(step(1, last: nil, registered: 0).returned == [.day], "the week is their first")
        #expect(step(7, last: 0, registered: 0).returned == [.day, .week])
        #expect(step(0, last: nil, registered: -1).returned == [.day, .week])
        #expect(step(1, last: 1, registered: -1).returned == [])
    }
}
