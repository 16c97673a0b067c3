// Which sessions were used, as one event loop notes it until it is written.

/// The sessions that were used since the notes were last taken, each with its first use in that time.
/// Noting allocates nothing, takes no lock, and many uses of one session are one note.
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

    /// Half a session's id, in the slot's place: small enough to stay in the processor's cache, so that
    /// noting a session again, which is nearly every time, waits for no memory.
    private var tags: [UInt32]
    private var slots: [Slot]
    /// Whether there is any note.
    package private(set) var isEmpty = true

    /// How much later a session's deadline must be to be written, in seconds: a minute, or less where
    /// sessions are short.
    package static func stepSeconds(idleSeconds: Int64) -> Int64 { min(60, idleSeconds / 20) }

    package init() {
        tags = Array(repeating: 0, count: Self.slotCount)
        slots = Array(repeating: Slot(), count: Self.slotCount)
    }

    /// Notes that `session` was used at `now`. Where there is no room, or by chance another session has the
    /// same tag, the note is lost: that can end a session sooner, never later.
    package mutating func note(_ session: SessionID, at now: UnixTime) {
        // Zero is an empty slot.
        let tag = max(
            1, UInt32(truncatingIfNeeded: session.value.low ^ session.value.high >> 15))
        var index = Int(truncatingIfNeeded: session.value.high) & (Self.slotCount - 1)
        for _ in 0..<Self.probes {
            let held = tags[index]
            if held == tag { return }
            if held == 0 {
                isEmpty = false
                tags[index] = tag
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
