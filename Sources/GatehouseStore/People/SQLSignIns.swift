// What a sign-in has to know, in one round trip.

import Foundation
package import GatehouseCore
package import GatehousePeople

extension SQLStore {
    package func signInFacts(
        of username: Username, browser: DeviceClaims?, at now: UnixTime
    ) async throws(StoreError) -> SignInFacts {
        try await readOne { db in
            try Self.signInFacts(of: username, browser: browser, db, at: now)
        }
    }

    /// Each statement is a view by itself: what must hold together is asked again when the session begins.
    static func signInFacts(
        of username: Username, browser: DeviceClaims?, _ db: Database, at now: UnixTime
    ) throws -> SignInFacts {
        let name: StatementArguments = ["name": username.text]
        let user = userQuery(named: username)
        let state = Query(
            """
            SELECT * FROM agreements WHERE sequence IN
                (SELECT max(sequence) FROM agreements WHERE user_id = \(userOfName)
                    GROUP BY kind, name)
            """, name)
        let deletion = Query("SELECT * FROM deletions WHERE user_id = \(userOfName)", name)
        let untold = Query(
            """
            SELECT (SELECT count(*) FROM warnings WHERE user_id = \(userOfName))
                + (SELECT count(*) FROM (SELECT 1 FROM looks
                    WHERE user_id = \(userOfName) AND grant_id IS NULL AND told = 0
                    LIMIT :most) AS untold_looks) AS untold
            """, ["name": username.text, "most": maximumUntold])
        let all = [user, floorQuery, noticesQuery, state, deletion, untold]
        let people = browser?.people ?? []
        let named = people.map { deviceQueries($0.device, ofName: username, at: now) }
        try db.prefetch(all + named.flatMap { [$0.device, $0.preferences] })

        let found = try db.row(user).map { try $0.user() }
        var device = Result<Device?, StoreError>.success(nil)
        for (person, queries) in zip(people, named) {
            let rows = (try db.row(queries.device), try db.rows(queries.preferences))
            guard person.user == found?.id, let row = rows.0 else { continue }
            do throws(StoreError) {
                device = .success(try Self.device(person.device, of: person.user, row, rows.1))
            } catch { device = .failure(error) }
        }
        return SignInFacts(
            user: found, device: device,
            authenticatedFloor: try authenticatedFloor(db),
            board: NoticeBoard(try db.rows(noticesQuery).map { try $0.notice() }),
            agreements: AgreementState(try db.rows(state).map { try $0.agreement() }),
            deletion: try db.row(deletion)?.deletion(),
            untold: try db.row(untold)?.number("untold") ?? 0)
    }

    private static let userOfName =
        "(SELECT user_id FROM names WHERE canonical = :name AND state = 'live')"

    private static func deviceQueries(
        _ id: DeviceID, ofName username: Username, at now: UnixTime
    ) -> (device: Query, preferences: Query) {
        (
            Query(
                """
                SELECT created, last_used, proved FROM devices
                WHERE id = :id AND user_id = \(userOfName) AND last_used >= :oldest
                """,
                [
                    "id": id.value.data, "name": username.text,
                    "oldest": Device.oldestUse(at: now).seconds,
                ]), preferencesQuery(id)
        )
    }
}
