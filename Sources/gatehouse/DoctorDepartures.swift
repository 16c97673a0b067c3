// What `gatehouse doctor` says of people who leave: is it done in time, and is nothing left?

import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseSystem

extension Doctor {
    /// A server does what is due within a minute; after this long none does.
    static let departureLateSeconds: Int64 = 3600

    static let lateHint = "is a server running? its log says why not"

    func departures(_ store: SQLStore, _ settings: Settings) async -> [Finding] {
        let now = SystemClock.now().wall
        let late = now.advanced(bySeconds: -Self.departureLateSeconds)
        // For these hours nothing is done on purpose; a clock that was set back since holds for longer.
        let leap = try? await store.clockLeap()
        let held = leap.flatMap { $0.time <= now && $0.isHeld(at: now) ? $0.believed : nil }
        let calm =
            held.map {
                "held back until \(Output.text($0)): the clock went far ahead while no server ran"
            } ?? "nothing is late"
        return [
            await finding("deletions", ok: calm, hint: Self.lateHint) {
                if held != nil { return nil }
                let waiting = try await store.deletions(limit: 1)
                return waiting.first.flatMap { first in
                    first.due < late
                        ? "somebody was to be deleted on \(Output.text(first.due))" : nil
                }
            },
            await finding(
                "deletion ledger", ok: "nobody came back",
                hint: "`gatehouse users purge-again` deletes them again; mend or remove other lines"
            ) {
                let returned = try await store.returnedPeople()
                if !returned.isEmpty {
                    return "\(returned.count) user(s) who were deleted are in the database again"
                }
                let lines = try await store.unreadableLedgerLines()
                return lines == 0 ? nil : "\(lines) line(s) are no entries: see Leaving.md"
            },
            await finding(
                "erased data", ok: "nothing is late",
                hint: "something reads the database for long: end it"
            ) {
                let since = try await store.unerasedSince()
                return since.flatMap { since in
                    since < late
                        ? "the write-ahead log may have it since \(Output.text(since))" : nil
                }
            },
            await finding("addresses", ok: calm, hint: Self.lateHint) {
                if held != nil { return nil }
                let kept = late.advanced(bySeconds: -settings.addressKeepSeconds)
                let earliest = try await store.earliestAddress()
                return earliest.flatMap { earliest in
                    earliest < kept
                        ? "the audit trail has whole ones of \(Output.text(earliest))" : nil
                }
            },
        ]
    }
}
