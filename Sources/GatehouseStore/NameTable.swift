// The table of names: every one that anyone has, had, or can't have. Its constraints say what is taken.

import Foundation
import GatehouseCore

enum NameTable {
    enum Claim { case claimed, taken, outdated }

    /// Whether the skeletons are ours to compare with.
    static func isCurrent(_ db: Database) throws -> Bool {
        try version(db) == Username.skeletonVersion
    }

    private static func version(_ db: Database) throws -> String {
        guard let row = try db.row(sql: "SELECT version FROM skeletons") else {
            throw StoreError.damaged("skeletons")
        }
        return try row.text("version")
    }

    /// Gives `username` to a user, in `state`.
    static func claim(
        _ username: Username, for user: UserID, as state: NameRecord.State, takingReserved: Bool,
        _ db: Database, at now: UnixTime
    ) throws -> Claim {
        guard try isCurrent(db) else { return .outdated }
        let skeleton = username.skeletonText
        if takingReserved {
            try db.execute(
                sql: """
                    DELETE FROM names WHERE state = 'reserved'
                        AND (canonical = :canonical OR skeleton = :skeleton)
                        AND NOT EXISTS (SELECT 1 FROM names WHERE state <> 'reserved'
                            AND (canonical = :canonical OR skeleton = :skeleton))
                    """,
                arguments: ["canonical": username.text, "skeleton": skeleton])
        }
        // A user's own names may look alike: the one that holds the skeleton keeps others off.
        let isOwn =
            try db.row(
                sql: "SELECT 1 FROM names WHERE skeleton = ? AND user_id = ?",
                arguments: [skeleton, user.value.data]) != nil
        // The constraints decide, not a look-up before them (REQUIREMENTS USR-1).
        try db.execute(
            sql: """
                INSERT INTO names (canonical, skeleton, user_id, state, since)
                VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
                """,
            arguments: [
                username.text, isOwn ? nil : skeleton, user.value.data, state.rawValue, now.seconds,
            ])
        return try db.changesCount == 1 ? .claimed : .taken
    }

    static func availability(of username: Username, _ db: Database) throws -> NameAvailability {
        guard try isCurrent(db) else { return .skeletonsOutdated }
        let row = try db.row(
            sql: "SELECT 1 FROM names WHERE canonical = ? OR skeleton = ?",
            arguments: [username.text, username.skeletonText])
        return row == nil ? .free : .taken
    }

    static func names(of user: UserID, _ db: Database) throws -> [NameRecord] {
        try db.rows(
            sql: """
                SELECT canonical, state, since FROM names WHERE user_id = ?
                ORDER BY state = 'live' DESC, since DESC, canonical
                """,
            arguments: [user.value.data]
        ).map { row in
            guard let state = NameRecord.State(rawValue: try row.text("state")) else {
                throw StoreError.damaged("state")
            }
            return NameRecord(
                username: try row.username("canonical"), state: state, since: try row.time("since"))
        }
    }

    /// Makes `username` the name of a user who has another.
    static func rename(
        _ user: UserID, to username: Username, takingReserved: Bool, _ db: Database,
        at now: UnixTime
    ) throws -> Claim {
        guard try isCurrent(db) else { return .outdated }
        let isTakenBack =
            try db.row(
                sql: """
                    SELECT 1 FROM names WHERE canonical = ? AND user_id = ? AND state = 'former'
                    """,
                arguments: [username.text, user.value.data]) != nil
        if !isTakenBack {
            let claim = try claim(
                username, for: user, as: .former, takingReserved: takingReserved, db, at: now)
            guard claim == .claimed else { return claim }
        }
        // One after the other, since a user has one live name at any time.
        try db.execute(
            sql:
                "UPDATE names SET state = 'former', since = ? WHERE user_id = ? AND state = 'live'",
            arguments: [now.seconds, user.value.data])
        try db.execute(
            sql: "UPDATE names SET state = 'live', since = ? WHERE canonical = ?",
            arguments: [now.seconds, username.text])
        return .claimed
    }

    static func reserve(_ names: [Username], _ db: Database, at now: UnixTime) throws -> Bool {
        guard try isCurrent(db) else { return false }
        let wanted = Set(names)
        for row in try db.rows(sql: "SELECT canonical FROM names WHERE state = 'reserved'") {
            let name = try row.username("canonical")
            guard !wanted.contains(name) else { continue }
            try db.execute(sql: "DELETE FROM names WHERE canonical = ?", arguments: [name.text])
        }
        for name in names {
            try db.execute(
                sql: """
                    INSERT INTO names (canonical, skeleton, state, since)
                    VALUES (?, ?, 'reserved', ?) ON CONFLICT DO NOTHING
                    """,
                arguments: [name.text, name.skeletonText, now.seconds])
        }
        return true
    }

    // MARK: Skeletons of another version

    private struct Change {
        let name: Username
        let skeleton: [UInt8]?
    }

    static func report(_ db: Database) throws -> SkeletonReport { try compare(db).report }

    static func rewriteSkeletons(_ db: Database) throws -> SkeletonReport {
        let (report, changes) = try compare(db)
        let update = "UPDATE names SET skeleton = ? WHERE canonical = ?"
        // First all old ones go, so that no new one meets one that is about to.
        for change in changes {
            try db.execute(sql: update, arguments: [nil, change.name.text])
        }
        for change in changes {
            guard let skeleton = change.skeleton else { continue }
            try db.execute(
                sql: update,
                arguments: [String(decoding: skeleton, as: UTF8.self), change.name.text])
        }
        try db.execute(
            sql: "UPDATE skeletons SET version = ?", arguments: [Username.skeletonVersion])
        return report
    }

    /// Every name's skeleton as it is and as it ought to be. Of those that look alike the first keeps
    /// it: users' names before reserved ones, one that has a skeleton before one that has none.
    private static func compare(
        _ db: Database
    ) throws -> (report: SkeletonReport, changes: [Change]) {
        // By skeleton, the first live name that has it: every user has one live name.
        try db.allow(Database.wholeTable)
        var held: [[UInt8]: Username?] = [:]
        var changes: [Change] = []
        var collisions: [SkeletonReport.Collision] = []
        try db.forEach(
            sql: """
                SELECT canonical, skeleton, state FROM names
                ORDER BY state = 'reserved', skeleton IS NULL, since, canonical
                """
        ) { row in
            let name = try row.username("canonical")
            let skeleton = name.skeleton
            let holder = held[skeleton]
            let change = Change(name: name, skeleton: holder == nil ? skeleton : nil)
            if try row.optionalText("skeleton").map({ Array($0.utf8) }) != change.skeleton {
                changes.append(change)
            }
            let isLive = try row.text("state") == NameRecord.State.live.rawValue
            if isLive, case .some(.some(let first)) = holder {
                collisions.append(SkeletonReport.Collision(first: first, other: name))
            } else if isLive {
                held[skeleton] = .some(name)
            } else if holder == nil {
                held[skeleton] = .some(nil)
            }
        }
        let report = SkeletonReport(
            storedVersion: try version(db), changed: changes.count, collisions: collisions)
        return (report, changes)
    }
}

extension Username {
    fileprivate var skeletonText: String { String(decoding: skeleton, as: UTF8.self) }
}
