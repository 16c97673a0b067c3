// The notes of which sessions were used: many uses are one note, and what has no room is lost alone.

import CAllocationCount
import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct ActivityNotesTests {
    private func id(_ high: UInt64, _ low: UInt64 = 1) -> SessionID {
        SessionID(Identifier(high: high, low: low))
    }

    private func noted(_ notes: ActivityNotes) -> [SessionID: Int64] {
        let all = notes.all
        let table = Dictionary(all.map { ($0.session, $0.used.seconds) }) { first, _ in first }
        #expect(table.count == all.count, "each session stands once")
        return table
    }

    @Test func `fresh notes are empty`() {
        let notes = ActivityNotes()
        #expect(notes.isEmpty)
        #expect(notes.all.isEmpty)
    }

    @Test func `many uses of a session are one note, the first`() {
        var notes = ActivityNotes()
        for second in 0..<1000 {
            notes.note(id(5), at: time(noon + Int64(second)))
            if second == 500 { notes.note(id(6), at: time(noon)) }
        }
        #expect(!notes.isEmpty)
        #expect(noted(notes) == [id(5): noon, id(6): noon])
    }

    @Test func `sessions that differ in any half are two`() {
        var notes = ActivityNotes()
        notes.note(id(5, 1), at: time(noon))
        notes.note(id(5, 2), at: time(noon + 1))
        // The same place, since the table has 32,768.
        let other = id(5 + 7 * 32_768, 1)
        notes.note(other, at: time(noon + 2))
        #expect(noted(notes) == [id(5, 1): noon, id(5, 2): noon + 1, other: noon + 2])
    }

    @Test func `what has no room is lost, and nothing else`() {
        // All of these belong to one place, the last of the table and the first ones behind it.
        let sessions = (1...8).map { id(32_767, UInt64($0)) }
        var notes = ActivityNotes()
        for (index, session) in sessions.enumerated() {
            notes.note(session, at: time(noon + Int64(index)))
        }
        let first = noted(notes)
        #expect(Set(first.keys) == Set(sessions.prefix(6)))
        for (index, session) in sessions.prefix(6).enumerated() {
            #expect(first[session] == noon + Int64(index))
        }
        // Those that have a place keep it, with their first use.
        for session in sessions { notes.note(session, at: time(noon + 60)) }
        #expect(noted(notes) == first)
    }

    @Test func `thousands of sessions are noted, and a flood loses notes only`() throws {
        var generator = SeededGenerator()
        var notes = ActivityNotes()
        var used: [SessionID: Int64] = [:]
        func noteMore(_ count: Int) {
            for index in 0..<count {
                let session = id(
                    .random(in: 0 ... .max, using: &generator),
                    .random(in: 1 ... .max, using: &generator))
                used[session] = noon + Int64(index)
                notes.note(session, at: time(noon + Int64(index)))
            }
        }
        noteMore(4000)
        let some = noted(notes)
        #expect(some.count > 3990, "seed \(generator.seed)")
        #expect(some.allSatisfy { used[$0.key] == $0.value })
        noteMore(60_000)
        let many = noted(notes)
        #expect((20_000...32_768).contains(many.count))
        #expect(many.allSatisfy { used[$0.key] == $0.value }, "seed \(generator.seed)")
        // What was there is there.
        #expect(some.keys.allSatisfy { many[$0] != nil })
    }

    @Test func `noting allocates nothing`() {
        var notes = ActivityNotes()
        func allocations() -> UInt64 {
            let before = gatehouse_allocation_count()
            for number in 0..<1000 {
                notes.note(id(UInt64(number) &* 0x9E37_79B9_7F4A_7C15), at: time(noon))
            }
            return gatehouse_allocation_count() - before
        }
        _ = allocations()
        #expect(allocations() == 0)
    }
}
