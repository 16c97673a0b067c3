// When to look at connections again: a timer wheel.

import GatehouseCore

/// Alarms in the order of time, to a quarter of a second. Setting one costs the same however many there
/// are, and a connection that is busy never moves its alarm: whoever wakes up looks at the true deadline
/// and sets the alarm again.
struct DeadlineWheel<Alarm> {
    /// Deadlines are whole seconds; a quarter of one later is no matter.
    static var tickNanoseconds: Int64 { 250_000_000 }
    /// An alarm further ahead than one turn, 64 seconds, wakes early and is set again.
    private static var slotCount: Int { 256 }

    private var slots = [[Alarm]](repeating: [], count: slotCount)
    /// The tick up to which alarms have been taken.
    private var tick: Int64
    private(set) var count = 0

    init(at now: BootTime) { tick = now.nanoseconds / Self.tickNanoseconds }

    /// Wakes at the first tick after `deadline`.
    mutating func set(_ alarm: Alarm, at deadline: BootTime) {
        let due = deadline.nanoseconds / Self.tickNanoseconds + 1
        let reached = min(max(due, tick + 1), tick + Int64(Self.slotCount) - 1)
        slots[Int(reached) & (Self.slotCount - 1)].append(alarm)
        count += 1
    }

    /// When to look at the clock again, in milliseconds from `now`; nil when nothing is set.
    func waitMilliseconds(from now: BootTime) -> Int32? {
        guard count > 0 else { return nil }
        let next = (tick + 1) * Self.tickNanoseconds
        return Int32(clamping: max(0, next - now.nanoseconds) / 1_000_000 + 1)
    }

    /// Takes the alarms that are due.
    mutating func takeDue(at now: BootTime) -> [Alarm] {
        let reached = now.nanoseconds / Self.tickNanoseconds
        guard reached > tick else { return [] }
        var due: [Alarm] = []
        // After a long sleep one turn finds everything.
        let first = max(tick + 1, reached - Int64(Self.slotCount) + 1)
        for index in first...reached {
            let slot = Int(index) & (Self.slotCount - 1)
            due += slots[slot]
            slots[slot].removeAll(keepingCapacity: true)
        }
        tick = reached
        count -= due.count
        return due
    }
}
