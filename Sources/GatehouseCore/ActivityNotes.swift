// Which sessions were used, as one event loop notes it until it is written.

/// The latest use of each session since the notes were last taken. Noting allocates nothing, takes no
/// lock, and many uses of one session are one note.
package struct ActivityNotes: Sendable {
    /// Room for the sessions that are used on one event loop in the seconds between two takings; 768 KiB,
    /// a power of two.
    private static let slotCount = 32_768
    /// How far from where its id points to a session may stand.
    private static let probes = 6

    private struct Slot {
        var session = Identifier.zero
        var seconds: Int64 = 0
    }

    private var slots: [Slot]
    /// Whether there is any note.
    package private(set) var isEmpty = true

    package init() { slots = Array(repeating: Slot(), count: Self.slotCount) }

    /// Notes that `session` was used at `now`. Where there is no room the session's next use is noted: a
    /// note that is lost can end a session sooner, never later.
    package mutating func note(_ session: SessionID, at now: UnixTime) {
        isEmpty = false
        var index = Int(truncatingIfNeeded: session.value.high) & (Self.slotCount - 1)
        for _ in 0..<Self.probes {
            let held = slots[index].session
            if held == session.value || held == .zero {
                slots[index] = Slot(session: session.value, seconds: now.seconds)
                return
            }
            index = (index + 1) & (Self.slotCount - 1)
        }
    }

    package var all: [(session: SessionID, used: UnixTime)] {
        guard !isEmpty else { return [] }
        return slots.compactMap { slot in
            slot.session == .zero
                ? nil : (SessionID(slot.session), UnixTime(clamping: slot.seconds))
        }
    }
}
