// What `gatehouse doctor` says of people who leave: is it done in time, and is nothing left?

import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseSystem

extension Doctor {
    /// A server does what is due within a minute; after this long none does.
    static let departureLateSeconds: Int64 = 3600

    func departures(_ store: SQLiteStore, _ settings: Settings) async -> [Finding] {
        let now = SystemClock.now().wall
        let late = now.advanced(bySeconds: -Self.departureLateSeconds)
        return [
            await finding(
                "deletions", ok: "nothing is late",
                hint: "is a server running? its log says why not"
            ) {
                let waiting = try await store.deletions(limit: 1)
                return waiting.first.flatMap { first in
                    first.due < late
                        ? "somebody was to be deleted on \(Output.text(first.due))" : nil
                }
            },
            await finding(
                "deletion ledger", ok: "nobody came back",
                hint: "`gatehouse users purge-again` deletes them again"
            ) {
                let returned = try await store.returnedPeople()
                return returned.isEmpty
                    ? nil : "\(returned.count) user(s) who were deleted are in the database again"
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
            await finding(
                "addresses", ok: "nothing is late",
                hint: "is a server running? its log says why not"
            ) {
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
