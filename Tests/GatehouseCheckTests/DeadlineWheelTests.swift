// The timer wheel: when alarms wake, and that each does once.

import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseCheck

@Suite struct DeadlineWheelTests {
    /// The wheel's ticks.
    private func ticks(_ count: Int64) -> BootTime {
        BootTime(nanoseconds: count * 15_625_000)
    }

    private func wheel(at tick: Int64 = 0) -> DeadlineWheel<Int> {
        DeadlineWheel(at: ticks(tick))
    }

    @Test func `an alarm wakes at the first tick after its deadline, once`() {
        var wheel = wheel()
        wheel.set(7, at: ticks(4))
        #expect(wheel.count == 1)
        #expect(wheel.takeDue(at: ticks(4)) == [])
        #expect(
            wheel.takeDue(at: BootTime(nanoseconds: ticks(5).nanoseconds - 1)) == [])
        #expect(wheel.takeDue(at: ticks(5)) == [7])
        #expect(wheel.count == 0)
        #expect(wheel.takeDue(at: ticks(5)) == [])
        #expect(wheel.takeDue(at: ticks(5000)) == [])
    }

    @Test func `a deadline that has passed wakes at the next tick`() {
        var wheel = wheel(at: 100)
        wheel.set(1, at: ticks(3))
        wheel.set(2, at: ticks(100))
        #expect(wheel.takeDue(at: ticks(100)) == [])
        #expect(wheel.takeDue(at: ticks(101)).sorted() == [1, 2])
    }

    @Test func `an alarm further ahead than a turn wakes early and not late`() {
        var wheel = wheel()
        wheel.set(1, at: ticks(254))
        wheel.set(2, at: ticks(255))
        wheel.set(3, at: ticks(1_000_000))
        #expect(wheel.takeDue(at: ticks(254)) == [])
        #expect(wheel.takeDue(at: ticks(255)).sorted() == [1, 2, 3])
    }

    @Test func `alarms come in the order of time, also over the turn`() {
        for start: Int64 in [0, 250, 255, 256, 1000] {
            var wheel = wheel(at: start)
            for ahead: Int64 in [200, 3, 90, 1, 40] {
                wheel.set(Int(ahead), at: ticks(start + ahead))
            }
            #expect(wheel.takeDue(at: ticks(start + 250)) == [1, 3, 40, 90, 200])
            #expect(wheel.count == 0)
        }
    }

    @Test func `after a long sleep everything is due, once`() {
        for sleep: Int64 in [255, 256, 257, 511, 100_000] {
            var wheel = wheel(at: 10)
            for alarm in 0..<300 { wheel.set(alarm, at: ticks(10 + Int64(alarm) % 260)) }
            #expect(wheel.takeDue(at: ticks(10 + sleep + 1)).sorted() == Array(0..<300))
            #expect(wheel.count == 0)
            wheel.set(1, at: ticks(10 + sleep + 2))
            #expect(wheel.takeDue(at: ticks(10 + sleep + 2)) == [])
            #expect(wheel.takeDue(at: ticks(10 + sleep + 3)) == [1])
        }
    }

    @Test func `time that stands still or goes back wakes nobody`() {
        var wheel = wheel(at: 50)
        wheel.set(1, at: ticks(50))
        #expect(wheel.takeDue(at: ticks(40)) == [])
        #expect(wheel.takeDue(at: ticks(50)) == [])
        #expect(wheel.count == 1)
        #expect(wheel.takeDue(at: ticks(51)) == [1])
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
            wheel.set(alarm, at: ticks(max(0, deadline)))
            waiting[alarm] = reached
            guard Bool.random(using: &generator) else { continue }
            let most: Int64 = alarm % 2 == 0 ? 3 : 300
            now += .random(in: 0...most, using: &generator)
            let due = wheel.takeDue(at: ticks(now))
            #expect(
                Set(due) == Set(waiting.filter { $0.value <= now }.keys),
                "seed \(generator.seed)")
            for alarm in due { waiting[alarm] = nil }
            #expect(wheel.count == waiting.count)
        }
    }
}
