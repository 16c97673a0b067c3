// When to look at connections again: a timer wheel.

import GatehouseCore

/// Alarms in the order of time, to a sixty-fourth of a second. Setting one costs the same however many there
/// are, and a connection that is busy never moves its alarm: whoever wakes up looks at the true deadline
/// and sets the alarm again.
struct DeadlineWheel<Alarm> {
    /// Deadlines are whole seconds, and none is in a hurry; but thousands of slow clients end in one second,
    /// and a loop that ended hundreds of them at once would make the others wait.
    let tickNanoseconds: Int64 = 15_625_000
    /// An alarm further ahead than one turn, four seconds, wakes early and is set again.
    private static var slotCount: Int { 256 }

    private var slots = [[Alarm]](repeating: [], count: slotCount)
    /// The tick up to which alarms have been taken.
    private var tick: Int64
    private(set) var count = 0

    init(at now: BootTime) { tick = now.nanoseconds / tickNanoseconds }

    /// Wakes at the first tick after `deadline`.
    mutating func set(_ alarm: Alarm, at deadline: BootTime) {
        let due = deadline.nanoseconds / tickNanoseconds + 1
        let reached = min(max(due, tick + 1), tick + Int64(Self.slotCount) - 1)
        slots[Int(reached) & (Self.slotCount - 1)].append(alarm)
        count += 1
    }

    /// Takes the alarms that are due.
    mutating func takeDue(at now: BootTime) -> [Alarm] {
        let reached = now.nanoseconds / tickNanoseconds
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
