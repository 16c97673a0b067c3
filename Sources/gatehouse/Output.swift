// Tables for people, JSON for programs.

import Foundation
import GatehouseCore

enum Output {
    /// Prints `value` as one JSON document with sorted keys.
    static func json(_ value: some Encodable) throws {
        print(try jsonText(value))
    }

    static func jsonText(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    /// Prints rows under a heading, columns aligned.
    static func table(_ heading: [String], _ rows: [[String]]) {
        var table = PagedTable(heading)
        table.add(rows)
    }

    /// A table of any length: a page of it is printed as soon as it is there, columns as wide as in all
    /// pages before.
    struct PagedTable {
        private let heading: [String]
        private var widths: [Int]
        private var isBegun = false

        init(_ heading: [String]) {
            self.heading = heading
            widths = heading.map(\.count)
        }

        mutating func add(_ rows: [[String]]) {
            for row in rows {
                for (column, cell) in row.enumerated() {
                    widths[column] = max(widths[column], cell.count)
                }
            }
            for row in isBegun ? rows : [heading] + rows {
                let cells = zip(row, widths).map { cell, width in
                    cell + String(repeating: " ", count: width - cell.count)
                }
                print(Output.trimEnd(cells.joined(separator: "  ")))
            }
            isBegun = true
        }
    }

    private static func trimEnd(_ line: String) -> String {
        var line = line
        while line.last == " " { line.removeLast() }
        return line
    }

    /// A time for people, UTC.
    static func text(_ time: UnixTime?) -> String {
        guard let time else { return "-" }
        return Date(timeIntervalSince1970: TimeInterval(time.seconds)).formatted(.iso8601)
    }

    /// The same to the minute.
    static func minute(_ time: UnixTime) -> String {
        "\(text(time).prefix(16))".replacing("T", with: " ")
    }

    /// The day, or the time of day when that was less than a day ago, UTC.
    static func day(_ time: UnixTime?, at now: UnixTime) -> String {
        guard let time else { return "-" }
        let text = minute(time)
        return age(of: time, at: now) < 86_400 && time <= now
            ? "\(text.suffix(5))" : "\(text.prefix(10))"
    }

    /// How long ago something was, in seconds; 0 where another clock was ahead.
    static func age(of time: UnixTime, at now: UnixTime) -> Int64 {
        max(0, now.seconds - time.seconds)
    }

    /// A duration for people, in its largest whole unit.
    static func duration(_ seconds: Int64) -> String {
        for (unit, size) in [("d", 86_400), ("h", 3600), ("m", 60)] as [(String, Int64)]
        where seconds >= size {
            return "\(seconds / size)\(unit)"
        }
        return "\(seconds)s"
    }

    /// Reads Unix seconds or RFC 3339 in UTC.
    static func time(_ text: String) throws -> UnixTime {
        if let seconds = Int64(text), let time = UnixTime(seconds: seconds) { return time }
        if let date = try? Date(text, strategy: .iso8601),
            let time = UnixTime(seconds: Int64(date.timeIntervalSince1970))
        {
            return time
        }
        throw CommandFailure.usage(
            "“\(text)” is no time", hint: "write Unix seconds or 2026-01-31T12:00:00Z")
    }

    /// The same for a revocation: a time to come selects everything, which `--all` says.
    static func passedTime(_ text: String, at now: UnixTime) throws -> UnixTime {
        let time = try time(text)
        guard time <= now.advanced(bySeconds: 1) else {
            throw CommandFailure.usage("--before takes a time that has passed")
        }
        return time
    }
}

struct UserOutput: Encodable {
    let id: String
    let username: String
    let state: String
    let epoch: UInt32
    let created: Int64
    let has_password: Bool
    /// In a row; only where one user is shown.
    let failed_sign_ins: Int?
    /// Where one user is shown.
    let former_usernames: [String]?

    init(_ user: User, failures: Int? = nil, formerNames: [NameRecord]? = nil) {
        id = user.id.text
        username = user.username.text
        state = user.state.rawValue
        epoch = user.epoch
        created = user.created.seconds
        has_password = user.passwordHash != nil
        failed_sign_ins = failures
        former_usernames = formerNames?.map(\.username.text)
    }
}

struct SessionOutput: Encodable {
    let session: String
    let state: String
    let created: Int64
    let authenticated: Int64
    let idle_deadline: Int64
    let absolute_deadline: Int64
    let methods: [String]
    let level: UInt8
    let remembered: Bool
    let series: String?
    let last_used: Int64?
    let browser: String?
    let place: String?

    init(_ session: SessionRecord, state: SessionRecord.Status) {
        self.session = session.id.text
        self.state = state.rawValue
        created = session.created.seconds
        authenticated = session.authenticated.seconds
        idle_deadline = session.idleDeadline.seconds
        absolute_deadline = session.absoluteDeadline.seconds
        methods = session.methods.names
        level = session.level.rawValue
        remembered = session.isRemembered
        series = session.series?.text
        last_used = session.lastUsed?.seconds
        browser = session.origin.browser
        place = session.origin.place
    }
}

/// A browser that is remembered, with a live session or without.
struct RememberedOutput: Encodable {
    /// What `sessions revoke` takes to end it.
    let session: String
    let created: Int64
    let last_used: Int64
    let browser: String?
    let place: String?

    init(_ signIn: SignIn) {
        session = signIn.session.text
        created = signIn.created.seconds
        last_used = signIn.lastUsed.seconds
        browser = signIn.origin.browser
        place = signIn.origin.place
    }
}

struct KeyOutput: Encodable {
    let id: String
    let state: String
    let created: Int64
    let activated: Int64?
    let ended: Int64?
    let sealed: UInt64
    let last_deadline: Int64?
    let age_seconds: Int64
    /// Tokens that have not expired, at most.
    let alive: UInt64
    let opened_last_hour: UInt64
    /// The key goes after this; nil before it has been rotated.
    let destroyed_after: Int64?

    init(
        _ key: TokenKey, usage: KeyUsage?, activity: KeyActivity, life: KeyLife, at now: UnixTime
    ) {
        id = key.id.text
        state = key.state.name
        created = key.created.seconds
        activated = key.activated?.seconds
        ended = key.ended?.seconds
        sealed = usage?.sealed ?? 0
        last_deadline = usage?.lastDeadline.seconds
        age_seconds = Output.age(of: key.created, at: now)
        alive = activity.alive
        opened_last_hour = activity.openedLastHour
        destroyed_after = life.end?.seconds
    }
}

struct NodeDelayOutput: Encodable {
    let node: String
    let milliseconds: Int
}
