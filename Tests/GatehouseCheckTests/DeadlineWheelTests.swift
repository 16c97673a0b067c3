// The timer wheel: when alarms wake, and that each does once.

import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseCheck

@Suite struct DeadlineWheelTests {
    /// Quarters of a second, which are the wheel's ticks.
    private func quarters(_ count: Int64) -> BootTime {
        BootTime(nanoseconds: count * 250_000_000)
    }

    private func wheel(at tick: Int64 = 0) -> DeadlineWheel<Int> {
        DeadlineWheel(at: quarters(tick))
    }

    @Test func `an alarm wakes at the first tick after its deadline, once`() {
        var wheel = wheel()
        wheel.set(7, at: quarters(4))
        #expect(wheel.count == 1)
        #expect(wheel.takeDue(at: quarters(4)) == [])
        #expect(
            wheel.takeDue(at: BootTime(nanoseconds: quarters(5).nanoseconds - 1)) == [])
        #expect(wheel.takeDue(at: quarters(5)) == [7])
        #expect(wheel.count == 0)
        #expect(wheel.takeDue(at: quarters(5)) == [])
        #expect(wheel.takeDue(at: quarters(5000)) == [])
    }

    @Test func `a deadline that has passed wakes at the next tick`() {
        var wheel = wheel(at: 100)
        wheel.set(1, at: quarters(3))
        wheel.set(2, at: quarters(100))
        #expect(wheel.takeDue(at: quarters(100)) == [])
        #expect(wheel.takeDue(at: quarters(101)).sorted() == [1, 2])
    }

    @Test func `an alarm further ahead than a turn wakes early and not late`() {
        var wheel = wheel()
        wheel.set(1, at: quarters(254))
        wheel.set(2, at: quarters(255))
        wheel.set(3, at: quarters(1_000_000))
        #expect(wheel.takeDue(at: quarters(254)) == [])
        #expect(wheel.takeDue(at: quarters(255)).sorted() == [1, 2, 3])
    }

    @Test func `alarms come in the order of time, also over the turn`() {
        for start: Int64 in [0, 250, 255, 256, 1000] {
            var wheel = wheel(at: start)
            for ahead: Int64 in [200, 3, 90, 1, 40] {
                wheel.set(Int(ahead), at: quarters(start + ahead))
            }
            #expect(wheel.takeDue(at: quarters(start + 250)) == [1, 3, 40, 90, 200])
            #expect(wheel.count == 0)
        }
    }

    @Test func `after a long sleep everything is due, once`() {
        for sleep: Int64 in [255, 256, 257, 511, 100_000] {
            var wheel = wheel(at: 10)
            for alarm in 0..<300 { wheel.set(alarm, at: quarters(10 + Int64(alarm) % 260)) }
            #expect(wheel.takeDue(at: quarters(10 + sleep + 1)).sorted() == Array(0..<300))
            #expect(wheel.count == 0)
            wheel.set(1, at: quarters(10 + sleep + 2))
            #expect(wheel.takeDue(at: quarters(10 + sleep + 2)) == [])
            #expect(wheel.takeDue(at: quarters(10 + sleep + 3)) == [1])
        }
    }

    @Test func `time that stands still or goes back wakes nobody`() {
        var wheel = wheel(at: 50)
        wheel.set(1, at: quarters(50))
        #expect(wheel.takeDue(at: quarters(40)) == [])
        #expect(wheel.takeDue(at: quarters(50)) == [])
        #expect(wheel.count == 1)
        #expect(wheel.takeDue(at: quarters(51)) == [1])
    }

    /// Against a list that is searched whole.
    @Test func `whatever is set wakes within its tick, or early when far ahead`() {
        var generator = SeededGenerator()
        var wheel = wheel()
        var waiting: [Int: Int64] = [:]
        var now: Int64 = 0
        for alarm in 0..<4000 {
            let deadline = now + Int64.random(in: -5...400, using: &generator)
            let reached = min(max(deadline + 1, now + 1), now + 255)
            wheel.set(alarm, at: quarters(max(0, deadline)))
            waiting[alarm] = reached
            guard Bool.random(using: &generator) else { continue }
            let most: Int64 = alarm % 2 == 0 ? 3 : 300
            now += .random(in: 0...most, using: &generator)
            let due = wheel.takeDue(at: quarters(now))
            #expect(
                Set(due) == Set(waiting.filter { $0.value <= now }.keys),
                "seed \(generator.seed)")
            for alarm in due { waiting[alarm] = nil }
            #expect(wheel.count == waiting.count)
        }
    }
}
