// `gatehouse-bench rotate`: that rotations refuse no good token, and that revoked keys are refused.

import ArgumentParser
import Foundation
import Glibc

struct RotateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate",
        abstract: "Rotate keys every second under full load; stop a server while keys are revoked.",
        discussion: """
            Two servers of one store; both are asked to check, and to sign people in, as fast as they \
            can. First a rotation is begun every second. Then one of the servers is stopped (SIGSTOP) for \
            less and for more than its lease, while keys are rotated and revoked. Every answer is \
            judged by what was true when its request was sent: one that is wrong ends the command with 1 \
            and without figures.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @Option(help: "Seconds with a rotation in each.") var seconds = 120
    @Option(help: "Seconds in which a server is stopped now and then, in whole turns.")
    var pausedSeconds = 60
    @Option(help: "Connections to each server.") var connections = 16

    func validate() throws {
        guard (1...3600).contains(seconds), (1...3600).contains(pausedSeconds),
            (1...1000).contains(connections)
        else { throw ValidationError("an option is out of its range") }
    }

    func run() throws {
        var report = Report(
            machine: Machine(placed: "two servers and two loads, not pinned"))
        // Nothing is pinned: two servers and two loads share what there is.
        let runner = try LoadRunner(cores: Cores.shared, retries: 0)
        note("\(seconds) s of rotations")
        let rotations = try RotationTrial(
            server.gatehouseOptions(), runner, connections: connections,
            sessionSeconds: RotationTrial.shortSessionSeconds, isBearer: true
        ).rotate(seconds: seconds)
        note("a server is stopped now and then, for \(pausedSeconds) s")
        let pauses = try RotationTrial(
            server.gatehouseOptions(), runner, connections: connections,
            sessionSeconds: RotationTrial.longSessionSeconds, isBearer: false
        ).pause(seconds: pausedSeconds)
        report.rotate = RotateFigures(rotations: rotations, pauses: pauses)
        try output.tell(report)
    }
}

/// Two servers of one store, under load from the beginning to the end of one run.
final class RotationTrial {
    /// Short ones, so that keys are destroyed while others rotate: a key is kept until the last session
    /// under it or an earlier one has ended, and then for the lease and a minute.
    static let shortSessionSeconds = 15
    /// Longer than the run: no token may become invalid by itself while a server is stopped.
    static let longSessionSeconds = 3600
    /// The least that `revocation.max_staleness` takes.
    static let leaseSeconds = 10
    /// A server without a sign of life is given up this long after its lease.
    private static let givenUpSeconds = 5
    /// How long the second server is stopped, by turns, with time to run before each.
    private static let pauses = [3, leaseSeconds + givenUpSeconds + 3]
    private static let runningSeconds = 3
    private static let turnSeconds = pauses.reduce(0) { $0 + $1 + runningSeconds }
    private static let pruneEverySeconds = 3
    private static let issuedAtOnce = 5

    private let servers: [GatehouseServer]
    private let runner: LoadRunner
    private let connections: Int
    private let sessionSeconds: Int
    private let isBearer: Bool
    private let board: NewsBoard

    init(
        _ options: GatehouseOptions, _ runner: LoadRunner, connections: Int, sessionSeconds: Int,
        isBearer: Bool
    ) throws {
        var options = options
        options.settings = [
            "session.idle": "\(sessionSeconds)s", "session.absolute": "\(sessionSeconds)s",
            "session.max_per_user": "1000",
            "revocation.max_staleness": "\(Self.leaseSeconds)s", "store.connect_timeout": "2s",
            // The least that is taken: it is keys that are measured here, and a sign-in needs one.
            "password.argon2_memory": "19MiB", "password.argon2_iterations": "2",
            "public.tls": "false", "log.level": "error",
        ]
        let first = try GatehouseServer(options)
        servers = [first, try GatehouseServer(beside: first)]
        for server in servers { try server.start() }
        try KnownSignIns.register(at: first.front)
        self.runner = runner
        self.connections = connections
        self.sessionSeconds = sessionSeconds
        self.isBearer = isBearer
        let run = UInt32.random(in: 0 ... .max)
        board = NewsBoard(
            files: try (0..<servers.count).map { try runner.newsFile(name: "\(run)-\($0)") })
    }

    // MARK: Rotations

    func rotate(seconds: Int) throws -> RotateFigures.Rotations {
        var figures = RotateFigures.Rotations(seconds: seconds)
        figures.loads = try underLoad {
            let start = monotonicNanoseconds()
            for second in 0..<seconds where board.isRunning {
                figures.attempted += 1
                // While the one before goes on, another would only go on with the same key.
                guard waits(until: start + UInt64(second) * 1_000_000_000) else {
                    figures.underWay += 1
                    continue
                }
                try rotate(&figures)
                if second % Self.pruneEverySeconds == 0 { figures.destroyed += try prune() }
            }
        }
        figures.signIns = board.signIns
        figures.keys = board.keys.count
        return figures
    }

    /// Waits for a second to begin; false when it has gone by.
    private func waits(until due: UInt64) -> Bool {
        let now = monotonicNanoseconds()
        guard now < due + 1_000_000_000 else { return false }
        if due > now { usleep(UInt32((due - now) / 1000)) }
        return true
    }

    private func rotate(_ figures: inout RotateFigures.Rotations) throws {
        do {
            _ = try rotate(noting: &figures.waits)
            figures.tookEffect += 1
        } catch is BenchmarkFailure {
            // Refused, and said so: the ring is full, or the disk too slow for this much.
            if try ring().keys.count >= Self.fullRing {
                figures.ringFull += 1
            } else {
                figures.failed += 1
            }
            return
        }
        try issue()
    }

    /// `Keyring.maximumKeys`.
    private static let fullRing = 64

    private struct Destroyed: Decodable { let destroyed: [String] }

    private func prune() throws -> Int {
        try servers[0].answer(["keys", "prune"], as: Destroyed.self).destroyed.count
    }

    // MARK: Pauses

    func pause(seconds: Int) throws -> RotateFigures.Pauses {
        let turns = max(1, (seconds + Self.turnSeconds / 2) / Self.turnSeconds)
        var figures = RotateFigures.Pauses(
            seconds: turns * Self.turnSeconds, pauseSeconds: Self.pauses, turns: turns)
        figures.loads = try underLoad {
            let stopping = Later<Void>()
            let (server, board) = (servers[1].process, board)
            let check = servers[1].unix
            Thread.detachNewThread {
                stopping.set(
                    Result {
                        for _ in 0..<turns {
                            for seconds in Self.pauses where board.isRunning {
                                try Self.stop(server, at: check, seconds: seconds, board: board)
                            }
                        }
                    })
                board.stoppingIsOver()
            }
            var round = 0
            while board.isStopping, board.isRunning {
                try revoke(&figures, round: round)
                round += 1
            }
            try stopping.get()
        }
        figures.signIns = board.signIns
        figures.keys = board.keys.count
        return figures
    }

    private static func stop(
        _ server: Int32, at check: Target, seconds: Int, board: NewsBoard
    ) throws {
        sleep(UInt32(runningSeconds))
        let isLong = seconds >= leaseSeconds
        // For less than its lease there is no reason for 503.
        if isLong { try board.tell(.mayLack, to: 1) }
        guard kill(server, SIGSTOP) == 0 else { throw BenchmarkFailure("a server has ended") }
        sleep(UInt32(seconds))
        guard kill(server, SIGCONT) == 0 else { throw BenchmarkFailure("a server has ended") }
        guard isLong else { return }
        let question = RequestSet.request(path: "/check", token: nil)
        try waitUntil("the server has a lease again", seconds: 30) {
            try Wire(check).exchange(question).head.status == 401
        }
        // What it answered before that has been read by then.
        sleep(1)
        try board.tell(.hasLease, to: 1)
    }

    private struct Ring: Decodable {
        struct Key: Decodable {
            let id: String
            let state: String
        }
        let keys: [Key]
    }

    private struct Change: Decodable {
        let key: String
        let state: String
        let revoked: [String]?
    }

    private func ring() throws -> Ring { try servers[0].answer(["keys", "list"], as: Ring.self) }

    /// Rotates, and revokes the key before, the one that seals, or all of them, by turns.
    private func revoke(_ figures: inout RotateFigures.Pauses, round: Int) throws {
        let before = try rotate(noting: &figures.waits)
        figures.rotated += 1
        try issue()
        switch round % 3 {
        case 0: try revoke([before.retired], &figures)
        case 1: try revoke([before.active], &figures)
        default:
            let good = try ring().keys.filter { $0.state != "revoked" }.map(\.id)
            try revoke(good, &figures, all: true)
        }
        try issue()
    }

    private func revoke(
        _ keys: [String], _ figures: inout RotateFigures.Pauses, all: Bool = false
    ) throws {
        for key in keys { try board.tell(.revoking(key: key)) }
        let start = monotonicNanoseconds()
        let change = try servers[0].answer(
            ["keys", "revoke", all ? "--all" : keys[0], "--wait"], as: Change.self)
        figures.waits.append(Double(monotonicNanoseconds() - start) / 1e6)
        guard let revoked = change.revoked, Set(revoked) == Set(keys) else {
            throw BenchmarkFailure("`gatehouse keys revoke` did not revoke \(keys)")
        }
        for key in keys { try board.tell(.revoked(key: key)) }
        figures.revoked += keys.count
    }

    // MARK: Both

    /// One rotation that has taken effect on every server, and how long that took, in milliseconds.
    private func rotate(
        noting waits: inout [Double]
    ) throws -> (active: String, retired: String) {
        let before = active
        let start = monotonicNanoseconds()
        let change = try servers[0].answer(["keys", "rotate", "--wait"], as: Change.self)
        waits.append(Double(monotonicNanoseconds() - start) / 1e6)
        guard change.state == "active", change.key != before else {
            throw BenchmarkFailure("after a rotation key \(change.key) is \(change.state)")
        }
        active = change.key
        return (change.key, before)
    }

    private var active = ""

    /// Cookies under the key that seals now, given to both loads.
    private func issue() throws {
        let start = Int(Date().timeIntervalSince1970)
        let name = GatehouseServer.userNames[issues % GatehouseServer.userNames.count]
        issues += 1
        for session in try servers[0].issue(Self.issuedAtOnce, of: name) {
            try board.tell(
                .added(token: session.token, isBearer: false, deadline: start + sessionSeconds))
        }
    }

    private var issues = 0

    /// Runs `body` while both servers check and sign in; what the loads have seen.
    private func underLoad(_ body: () throws -> Void) throws -> [LoadResult] {
        guard let first = try ring().keys.first(where: { $0.state == "active" }) else {
            throw BenchmarkFailure("there is no active key")
        }
        active = first.id
        try issue()
        let board = board
        let loads = servers.enumerated().map { number, server in
            let load = Later<LoadResult>()
            let (runner, plan) = (runner, plan(server, number))
            Thread.detachNewThread {
                let result = Result { try runner.run(plan) }
                if case .failure(let error) = result { board.fail(error) }
                load.set(result)
            }
            return load
        }
        let signIns = servers.enumerated().map { number, server in
            let done = Later<Void>()
            let (front, isBearer, lifetime) = (server.front, isBearer, sessionSeconds)
            Thread.detachNewThread {
                board.signIn(
                    at: front, number: number, isBearer: isBearer, lifetimeSeconds: lifetime)
                done.set(.success(()))
            }
            return done
        }
        let outcome = Result { try body() }
        // A server that stays stopped would keep its load waiting.
        for server in servers { kill(server.process, SIGCONT) }
        try board.tell(.end)
        for signIn in signIns { try signIn.get() }
        let results = loads.map { load in Result { try load.get() } }
        try board.throwFailure()
        try outcome.get()
        return try results.map { try $0.get() }
    }

    private func plan(_ server: GatehouseServer, _ number: Int) -> LoadPlan {
        var plan = LoadPlan(
            target: server.unix, spins: false, requests: "", connections: connections,
            warmupSeconds: 0, seconds: Self.longestSeconds)
        plan.news = board.files[number]
        plan.processes = [server.process]
        return plan
    }

    /// A load is told when to end.
    private static let longestSeconds = 7200.0
}
