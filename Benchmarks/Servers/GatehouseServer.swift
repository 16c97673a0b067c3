// A Gatehouse server of the benchmark's own, with users, cookies and revocations.

import CBenchmark
import Foundation
import GRDB
import GatehouseCore
import Glibc

/// How the server that is measured is set up.
struct GatehouseOptions {
    /// The `gatehouse` program.
    var program: String
    var eventLoops = 1
    /// The `check.driver` setting; nil leaves it out, for programs that don't know it.
    var driver: String?
    var usesTLS = false
    /// Connections that it must be able to hold.
    var maximumConnections = 4096
    /// Where the store is; in the data directory, on SQLite, unless given.
    var storeURL: String?
    /// Settings beside those that every benchmark has.
    var settings: [String: String] = [:]
}

final class GatehouseServer {
    private let options: GatehouseOptions
    private let directory: ScratchDirectory
    /// Before the names of its files, of which several servers of one directory have different ones.
    private let prefix: String
    private let configuration: String
    private let port: UInt16
    private let admin: UInt16
    private(set) var child: ChildProcess?

    /// Several, with names of one length: every answer then has the same size.
    static let userNames = (0..<10).map { "bench-user-\($0)" }
    private static let revokedUserName = "bench-revoked"
    /// Cookies made at a time that are to have expired when the load begins.
    private static let expiredLifetimeSeconds = 1
    /// Ten million revocations take minutes to load on a slow disk.
    private static let readySeconds = 900.0

    init(_ options: GatehouseOptions) throws {
        self.options = options
        directory = try ScratchDirectory()
        prefix = ""
        port = try freePort()
        admin = try freePort()
        configuration = directory.file("gatehouse.yaml")
        if options.usesTLS { try makeCertificates() }
        try writeConfiguration()
        // The first start makes store and keys.
        try start()
        stop()
        for name in Self.userNames + [Self.revokedUserName] {
            _ = try command(["users", "add", name, "--test"])
        }
    }

    /// One more server of the same store, with the same settings.
    init(beside first: GatehouseServer) throws {
        options = first.options
        directory = first.directory
        prefix = "second-"
        port = try freePort()
        admin = try freePort()
        configuration = directory.file(prefix + "gatehouse.yaml")
        try writeConfiguration()
    }

    deinit { child?.kill() }

    var tcp: Target { .tcp(host: "127.0.0.1", port: port) }
    var unix: Target { .unix(path: unixPath) }
    var authorities: String { directory.file("certs/ca.pem") }
    var dataDirectory: String { directory.file("data") }
    /// SQLite's.
    var storeFile: String { directory.file("data/gatehouse.sqlite") }

    private func writeConfiguration() throws {
        var settings: [String: String] = [
            "check.listen": "[\(quoted("127.0.0.1:\(port)")), \(quoted("unix:\(unixPath)"))]",
            "check.event_loops": "\(options.eventLoops)",
            "check.max_connections": "\(options.maximumConnections)",
            // Idle connections are to stay for as long as anything is measured.
            "check.idle_timeout": "1h",
            "admin.listen": quoted("127.0.0.1:\(admin)"),
            "public.listen": quoted("unix:" + frontPath),
            "log.level": "warning",
        ]
        settings.merge(options.settings) { $1 }
        if let driver = options.driver { settings["check.driver"] = driver }
        if options.usesTLS {
            settings["check.tls"] = "true"
            settings["check.certificate"] = quoted(directory.file("certs/server.pem"))
            settings["check.key"] = quoted(directory.file("certs/server.key"))
        }
        let groups = Dictionary(grouping: settings) { $0.key.split(separator: ".")[0] }
        let lines = groups.flatMap { group, members in
            ["\(group):"]
                + members.map { "  \($0.key.dropFirst(group.count + 1)): \($0.value)" }
        }
        _ = try directory.write(
            lines.joined(separator: "\n") + "\n", to: prefix + "gatehouse.yaml")
    }

    private var frontPath: String { directory.file(prefix + "front.sock") }
    /// The front door.
    var front: Target { .unix(path: frontPath) }
    private var unixPath: String { directory.file(prefix + "check.sock") }
    private var log: String { directory.file(prefix + "server.log") }
    private func quoted(_ text: String) -> String { "\"\(text)\"" }

    private func makeCertificates() throws {
        let script = try SourceTree.path("Certs/make-certs")
        _ = try ChildProcess.output(of: script, [directory.file("certs")])
    }

    /// Starts the server, and returns how long it took until it was ready, in seconds.
    @discardableResult
    func start(core: Int? = nil) throws -> Double {
        let log = unsafe open(
            self.log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        defer { close(log) }
        let began = monotonicNanoseconds()
        let child = try ChildProcess(
            options.program, ["serve", "--dev"] + location, core: core, errors: log)
        self.child = child
        let question = Array("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8)
        try waitUntil("the server is ready", seconds: Self.readySeconds) {
            guard child.isRunning else {
                let text = try String(contentsOfFile: self.log, encoding: .utf8)
                throw BenchmarkFailure("the server ended:\n\(text)")
            }
            guard let wire = try? Wire(.tcp(host: "127.0.0.1", port: admin)) else { return false }
            return try wire.exchange(question).head.status == 200
        }
        return Double(monotonicNanoseconds() - began) / 1e9
    }

    func stop() {
        child?.stop()
        child = nil
    }

    var process: Int32 { child?.process ?? -1 }

    /// Memory of the server.
    func memory() throws -> ProcessMemory {
        guard let memory = ProcessMemory.now(of: process) else {
            throw BenchmarkFailure("the server's memory can't be read")
        }
        return memory
    }

    /// A metric of the admin endpoint, named with its labels.
    func metric(_ name: String) throws -> Double {
        let wire = try Wire(.tcp(host: "127.0.0.1", port: admin))
        let question = Array("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8)
        let text = String(decoding: try wire.exchange(question).bytes, as: UTF8.self)
        guard
            let line = text.split(whereSeparator: \.isNewline).first(where: {
                $0.hasPrefix(name + " ")
            }),
            let value = Double(line.dropFirst(name.count + 1))
        else { throw BenchmarkFailure("the server has no metric \(name)") }
        return value
    }

    /// Keeps the event loops of the check endpoint on one core, and everything else off it.
    func separateChecks(on core: Int) throws {
        let tasks = "/proc/\(process)/task"
        var loops = 0
        for name in KernelFile.names(tasks) {
            guard let thread = Int32(name),
                let threadName = KernelFile.text("\(tasks)/\(name)/comm")
            else { continue }
            let isLoop = threadName.hasPrefix("check-")
            loops += isLoop ? 1 : 0
            guard bench_pin_thread(thread, Int32(core), !isLoop) == 0 else {
                throw BenchmarkFailure("cannot move a thread of the server")
            }
        }
        guard loops > 0 else { throw BenchmarkFailure("the server has no check loop of its own") }
    }

    /// Forgets the most memory that the server had: from here on it counts anew (proc(5)).
    func resetPeakMemory() throws {
        try Data("5".utf8).write(to: URL(fileURLWithPath: "/proc/\(process)/clear_refs"))
    }

    /// Runs a command of the `gatehouse` program on this server's store.
    func command(_ arguments: [String], core: Int? = nil) throws -> String {
        try ChildProcess.output(
            of: options.program, arguments + location, core: core)
    }

    /// The same, of what it prints for programs.
    func answer<Value: Decodable>(_ arguments: [String], as type: Value.Type) throws -> Value {
        try JSONDecoder().decode(type, from: Data(try command(arguments + ["--json"]).utf8))
    }

    /// The same without waiting for it.
    func startCommand(_ arguments: [String]) throws -> ChildProcess {
        try ChildProcess(options.program, arguments + location)
    }

    /// With --dev data directory and store come from the command line alone.
    private var location: [String] {
        ["--config", configuration, "--data-dir", dataDirectory]
            + (options.storeURL.map { ["--store-url", $0] } ?? [])
    }

    struct Issued: Decodable {
        let session: String
        let token: String
    }

    private struct IssuedList: Decodable { let sessions: [Issued] }

    /// New sessions of all the users, good ones unless `lifetimeSeconds` is short.
    func issue(_ count: Int, lifetimeSeconds: Int? = nil) throws -> [Issued] {
        let users = Self.userNames.count
        return try Self.userNames.enumerated().flatMap { index, name in
            // The first ones take what is left over.
            try issue(
                count / users + (index < count % users ? 1 : 0), of: name,
                lifetimeSeconds: lifetimeSeconds)
        }
    }

    func issue(
        _ count: Int, of name: String, lifetimeSeconds: Int? = nil
    ) throws -> [Issued] {
        guard count > 0 else { return [] }
        let lifetime = lifetimeSeconds.map { ["--ttl", "\($0)"] } ?? []
        let text = try command(
            ["sessions", "issue", name, "--count", "\(count)", "--json"] + lifetime)
        return try JSONDecoder().decode(IssuedList.self, from: Data(text.utf8)).sessions
    }

    /// The requests of a mix, `count` with different cookies.
    func questions(_ mix: RequestMix, count: Int) throws -> [Question] {
        var questions: [Question] = []
        for (kind, share) in mix.counts(of: count) where share > 0 {
            switch kind {
            case .valid:
                questions += try issue(share).map { Question(token: $0.token, status: 200) }
            case .absent:
                questions += Array(repeating: Question(token: nil, status: 401), count: share)
            case .forged:
                questions += try issue(share).map {
                    Question(token: RequestMix.forged($0.token), status: 401)
                }
            case .expired:
                let issued = try issue(share, lifetimeSeconds: Self.expiredLifetimeSeconds)
                questions += issued.map { Question(token: $0.token, status: 401) }
                // To the second after the last one's, and one more for the clock's own second.
                sleep(UInt32(Self.expiredLifetimeSeconds) + 1)
            case .revoked:
                let issued = try issue(share, of: Self.revokedUserName)
                questions += issued.map { Question(token: $0.token, status: 401) }
                _ = try command(["sessions", "revoke", "--user", Self.revokedUserName])
            }
        }
        return RequestMix.shuffled(questions)
    }

    /// Puts `count` revoked sessions into the feed, as if as many people had signed out. The server
    /// must not be running: it loads them when it starts.
    func revokeInBulk(_ count: Int) throws {
        precondition(child == nil)
        let now = Int64(time(nil))
        let database = try DatabaseQueue(path: storeFile)
        // The rows that SQLStore.appendFeed writes, and the head row as it leaves it.
        try database.write { db in
            try db.execute(
                sql: """
                    WITH RECURSIVE number (value) AS
                        (SELECT 1 UNION ALL SELECT value + 1 FROM number WHERE value < :count)
                    INSERT INTO feed (sequence, time, kind, subject, value, deadline)
                    SELECT (SELECT sequence FROM head) + value, :now, 1, randomblob(16), 0, :deadline
                    FROM number
                    """,
                arguments: [
                    "count": count, "now": now, "deadline": now + Self.revocationLifetimeSeconds,
                ])
            try db.execute(
                sql: """
                    UPDATE head SET sequence = sequence + :count,
                        latest_time = max(latest_time, :now)
                    """,
                arguments: ["count": count, "now": now])
        }
        try database.close()
    }

    /// The default of `session.absolute`: the revocations outlive every benchmark.
    static let revocationLifetimeSeconds: Int64 = 24 * 3600
}
