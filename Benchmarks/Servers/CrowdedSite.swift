// A server whose store has a crowd in it, and what is timed there.

import Foundation
import Glibc

final class CrowdedSite {
    let crowd: Crowd
    let server: GatehouseServer
    private let database: CrowdedDatabase
    private let url: String?
    private(set) var figures: ScaleFigures.Site

    /// Somebody who registered, so that there is a password hash as the program makes it.
    private static let model = "regular-0"

    /// - Parameter postgresql: a PostgreSQL server; nil for SQLite.
    init(_ options: GatehouseOptions, users: Int, postgresql: String?) throws {
        var options = options
        let own = try postgresql.map { try PostgreSQLDatabase(on: $0) }
        options.storeURL = own?.url
        options.settings = [
            "session.idle": "\(Crowd.sessionLifetimeSeconds)s",
            "session.absolute": "\(Crowd.sessionLifetimeSeconds)s",
            // The least that is taken: it is the store that is measured here.
            "password.argon2_memory": "19MiB", "password.argon2_iterations": "2",
            "public.tls": "false", "log.level": "error",
        ]
        let server = try GatehouseServer(options)
        self.server = server
        url = own?.url
        database = own.map { .postgresql($0) } ?? .sqlite(file: server.storeFile)
        crowd = try Crowd(count: users)
        figures = ScaleFigures.Site(
            database: postgresql == nil ? "SQLite" : "PostgreSQL", users: users)
        try server.start()
        try KnownSignIns.register(at: server.front)
        server.stop()
        try fill()
    }

    private func fill() throws {
        let empty = try database.bytes(["users", "names"])
        try crowd.addUsers(to: database, like: Self.model)
        let people = try database.bytes(["users", "names"])
        figures.bytesPerUser = Double(people - empty) / Double(crowd.count)
        let none = try database.bytes(["sessions"])
        try crowd.addSessions(to: database)
        figures.bytesPerSession =
            Double(try database.bytes(["sessions"]) - none) / Double(crowd.count)
        try database.settle()
    }

    // MARK: What is timed

    /// One value for each operation, in milliseconds: the median of `times`.
    func measure(_ operation: ScaleFigures.Operation, times: Int) throws {
        switch operation {
        case .signIn: try noteSignIns(times)
        case .start: try noteStart()
        case .list: try noteCommands(operation, times) { ["sessions", "list", $0] }
        case .revokeUser:
            try noteCommands(operation, times) { ["sessions", "revoke", "--user", $0] }
        case .revokeBefore:
            let part = Crowd.sessionAgeSeconds / Int64(ScaleFigures.maximumRounds + 1)
            let time = Int64(time(nil)) - Crowd.sessionAgeSeconds + part * Int64(rounds(operation))
            try noteCommands(operation, 1) { _ in ["sessions", "revoke", "--before", "\(time)"] }
        case .signInStore, .listStore, .pageStore, .revokeUserStore:
            try noteStore(operation, times)
        case .revokeBeforeStore:
            let time = Int64(time(nil)) - Crowd.sessionAgeSeconds
            try noteStore(operation, 1, before: time)
        }
    }

    private func rounds(_ operation: ScaleFigures.Operation) -> Int {
        figures.milliseconds[operation.rawValue, default: []].count
    }

    private func note(_ operation: ScaleFigures.Operation, _ milliseconds: [Double]) {
        figures.milliseconds[operation.rawValue, default: []].append(median(milliseconds))
    }

    private func timed(_ body: () throws -> Void) rethrows -> Double {
        let start = monotonicNanoseconds()
        try body()
        return Double(monotonicNanoseconds() - start) / 1e6
    }

    private func noteSignIns(_ times: Int) throws {
        let milliseconds = try (0..<times).map { _ in
            let request = KnownSignIns.request("/v1/login", name: crowd.anyName())
            let wire = try Wire(server.front)
            return try timed {
                let answer = try wire.exchange(request)
                guard answer.head.status == 200 else {
                    throw BenchmarkFailure("a sign-in was answered \(answer.head.status)")
                }
            }
        }
        note(.signIn, milliseconds)
    }

    private func noteStart() throws {
        server.stop()
        note(.start, [try server.start() * 1000])
    }

    private func noteCommands(
        _ operation: ScaleFigures.Operation, _ times: Int, _ arguments: (String) -> [String]
    ) throws {
        note(
            operation,
            try (0..<times).map { _ in
                let command = arguments(crowd.anyName())
                return try timed { _ = try server.command(command) }
            })
    }

    private func noteStore(
        _ operation: ScaleFigures.Operation, _ times: Int, before: Int64 = 0
    ) throws {
        let client = try client(connections: 1)
        // The first statement of each kind is prepared with it.
        var milliseconds: [Double] = []
        for _ in 0...times {
            let name = crowd.anyName()
            milliseconds.append(
                try timed {
                    try blocking {
                        switch operation {
                        case .signInStore: try await client.signIn(name)
                        case .listStore: try await client.list(name)
                        case .pageStore:
                            try await client.page(after: Crowd.prefix, limit: Self.pageSize)
                        case .revokeUserStore: try await client.revokeAll(of: name)
                        case .revokeBeforeStore: try await client.revoke(before: before)
                        default: preconditionFailure("not the store's alone")
                        }
                    }
                })
        }
        try client.close()
        note(operation, Array(milliseconds.dropFirst()))
    }

    /// As `gatehouse users list` reads them.
    private static let pageSize = 1000

    private func client(connections: Int) throws -> StoreClient {
        try StoreClient(of: server, at: url, connections: connections)
    }

    // MARK: Besides

    /// Between ready and reading the memory: what starting has freed is given back.
    private static let settleMicroseconds: UInt32 = 500_000

    /// What as many revocations as users take. Ends what else there is to measure: every later start
    /// has them.
    func measureRevocations() throws {
        usleep(Self.settleMicroseconds)
        figures.memory = try server.memory()
        server.stop()
        try crowd.addRevocations(to: database)
        figures.revokedReadySeconds = try server.start()
        usleep(Self.settleMicroseconds)
        figures.revokedMemory = try server.memory()
    }

    /// What is written in a second, by so many at once.
    func measureWrites(clients: [Int], seconds: Double) throws {
        let crowd = crowd
        for count in clients {
            let client = try client(connections: count)
            let sessions = try client.perSecond(clients: count, seconds: seconds) { client, _, _ in
                try await client.begin(crowd.anyName())
            }
            let tries = try client.perSecond(clients: count, seconds: seconds) { client, _, _ in
                try await client.charge()
            }
            let batches = try (0..<count).map { _ in
                try blocking {
                    try await client.sessions(
                        of: (0..<Self.usesAtOnce).map { _ in crowd.anyName() })
                }
            }
            let uses = try client.perSecond(clients: count, seconds: seconds) {
                try await $0.noteUses(of: batches[$1], turn: $2)
            }
            figures.writes.append(
                ScaleFigures.Writes(
                    clients: count, sessions: sessions, tries: tries,
                    uses: uses * Double(Self.usesAtOnce)))
            try client.close()
        }
    }

    /// Uses of sessions that a node writes in one transaction.
    private static let usesAtOnce = 100
}
