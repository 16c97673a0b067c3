// Devices and their preferences in SQLite.

package import GatehouseCore

extension SQLStore {
    package func device(
        _ id: DeviceID, of user: UserID, at now: UnixTime
    ) async throws(StoreError) -> Device? {
        try await readOne { db in
            let (device, preferences) = (
                Self.deviceQuery(id, of: user, at: now), Self.preferencesQuery(id)
            )
            try db.prefetch([device, preferences])
            guard let row = try db.row(device) else { return nil }
            return try Self.device(id, of: user, row, db.rows(preferences))
        }
    }

    private static func deviceQuery(_ id: DeviceID, of user: UserID, at now: UnixTime) -> Query {
        Query(
            """
            SELECT created, last_used, proved FROM devices
            WHERE id = ? AND user_id = ? AND last_used >= ?
            """, [id.value.data, user.value.data, Device.oldestUse(at: now).seconds])
    }

    static func preferencesQuery(_ id: DeviceID) -> Query {
        Query("SELECT key, value FROM preferences WHERE device_id = ?", [id.value.data])
    }

    /// A device from its row and those of its preferences.
    static func device(
        _ id: DeviceID, of user: UserID, _ row: Row, _ preferences: [Row]
    ) throws(StoreError) -> Device {
        Device(
            id: id, user: user, created: try row.time("created"),
            lastUsed: try row.time("last_used"), preferences: try Self.preferences(preferences),
            isProved: try row.integer("proved") != 0)
    }

    static func preferences(_ rows: [Row]) throws(StoreError) -> Preferences {
        var values: [String: String] = [:]
        for row in rows { values[try row.text("key")] = try row.text("value") }
        do throws(PreferenceRefusal) { return try Preferences(values) } catch {
            throw StoreError.damaged("preferences")
        }
    }

    package func useDevice(
        _ use: DeviceUse, at now: UnixTime
    ) async throws(StoreError) -> DeviceOutcome {
        try await write(at: now, .user(use.user)) { db in
            try db.prefetch(
                [Self.keyringVersionQuery, Self.userQuery(use.user)]
                    + Self.queries(of: use, at: now))
            guard try Self.keyringVersion(db) == use.seal.keyringVersion else { return .outdated }
            guard let user = try Self.user(use.user, db), user.state == .enabled,
                user.epoch == use.epoch
            else { return .userChanged }
            guard try Self.isPossible(use, db, at: now) else { return .gone }
            try Self.note(use, db, at: now)
            return .done
        }
    }

    /// What ``isPossible(_:_:at:)`` asks.
    static func queries(of use: DeviceUse, at now: UnixTime) -> [Query] {
        use.isNew ? [] : [deviceQuery(use.id, of: use.user, at: now)]
    }

    /// Whether the device is to be made, or has not ended: none is brought back (REQUIREMENTS CK-17).
    static func isPossible(_ use: DeviceUse, _ db: Database, at now: UnixTime) throws -> Bool {
        try use.isNew || db.row(deviceQuery(use.id, of: use.user, at: now)) != nil
    }

    /// Writes a use that is possible.
    static func note(_ use: DeviceUse, _ db: Database, at now: UnixTime) throws {
        let day = Device.day(of: now).seconds
        if use.isNew {
            try makeRoom(for: use.user, db)
            try db.execute(
                sql: """
                    INSERT INTO devices (id, user_id, created, last_used, proved)
                    VALUES (?, ?, ?, ?, ?)
                    """,
                arguments: [
                    use.id.value.data, use.user.value.data, now.seconds, day, use.isProved,
                ])
        } else {
            try db.execute(
                sql: """
                    UPDATE devices SET last_used = max(last_used, ?), proved = max(proved, ?)
                    WHERE id = ? AND user_id = ? AND last_used >= ?
                    """,
                arguments: [
                    day, use.isProved, use.id.value.data, use.user.value.data,
                    Device.oldestUse(at: now).seconds,
                ])
        }
        if let preferences = use.preferences {
            try replacePreferences(of: use.id, with: preferences, db)
        }
        if let series = use.series {
            try db.execute(
                sql: """
                    UPDATE series SET device_id = ? WHERE id = ? AND user_id = ?
                        AND NOT EXISTS (SELECT 1 FROM devices WHERE id = series.device_id)
                    """,
                arguments: [use.id.value.data, series.value.data, use.user.value.data])
        }
        try noteSeals(1, by: use.seal.key, until: use.seal.deadline, db, at: now)
    }

    private static func keyringVersion(_ db: Database) throws -> UInt64 {
        try db.row(keyringVersionQuery)?.number("version") ?? 0
    }

    private static let keyringVersionQuery = Query(
        "SELECT coalesce(max(version), 0) AS version FROM keyring")

    /// Ends the devices of a user for which there is no place beside one more. Of those that were
    /// used on one day the newest ends: it may never come back, as a program's that keeps no cookie.
    /// Those that no password was given with end first: a stolen session makes them.
    private static func makeRoom(for user: UserID, _ db: Database) throws {
        try db.execute(
            sql: """
                DELETE FROM devices WHERE id IN (
                    SELECT id FROM devices WHERE user_id = ?
                    ORDER BY proved DESC, EXISTS (SELECT 1 FROM preferences WHERE device_id = devices.id) DESC,
                        last_used DESC, created, id
                    LIMIT ? OFFSET ?)
                """,
            arguments: [
                user.value.data, Device.maximumPerUser, Device.maximumPerUser - 1,
            ])
    }

    private static func replacePreferences(
        of id: DeviceID, with preferences: Preferences, _ db: Database
    ) throws {
        try db.execute(
            sql: "DELETE FROM preferences WHERE device_id = ?", arguments: [id.value.data])
        for (key, value) in preferences.values {
            try db.execute(
                sql: "INSERT INTO preferences (device_id, key, value) VALUES (?, ?, ?)",
                arguments: [id.value.data, key, value])
        }
    }

    package func endDevice(
        _ id: DeviceID, of user: UserID, seal: DeviceSeal?, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> DeviceOutcome {
        try await write(at: now, .user(user)) { db in
            if let seal {
                guard try Self.keyringVersion(db) == seal.keyringVersion else { return .outdated }
                try Self.noteSeals(1, by: seal.key, until: seal.deadline, db, at: now)
            }
            try db.execute(
                sql: "DELETE FROM devices WHERE id = ? AND user_id = ?",
                arguments: [id.value.data, user.value.data])
            guard try db.changesCount == 1 else { return .gone }
            try Self.append(audit, to: db, at: now)
            return .done
        }
    }

    /// Ends every device of a user, within the transaction of what is the reason: a new password, a
    /// disabled account, a stolen remember series.
    static func endDevices(of user: UserID, _ db: Database) throws {
        try db.execute(sql: "DELETE FROM devices WHERE user_id = ?", arguments: [user.value.data])
    }
}
