// `gatehouse-bench revocation`: what revoked sessions cost, and how soon they are refused.

import ArgumentParser
import Foundation
import Glibc

struct RevocationCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revocation",
        abstract: "Measure memory, throughput and start with many revocations, and their delay.",
        discussion: """
            Beside a server with none, one with each number of revoked sessions is started. Both are \
            run under the same load in turns. The delay is from the end of `gatehouse sessions revoke`, \
            another process, to the first 401 that a client sees which asks all the time.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var load: LoadOptions
    @OptionGroup var output: OutputOptions
    @Option(parsing: .upToNextOption, help: "Numbers of revoked sessions.")
    var entries = [100_000, 1_000_000, 10_000_000]
    @Option(help: "Pairs of legs with and without revocations.") var pairs = 5
    @Option(help: "Revocations whose delay is measured, for each number.") var delays = 50

    /// Between ready and reading the memory: what starting has freed is given back.
    private static let settleMicroseconds: UInt32 = 500_000

    func validate() throws {
        guard entries.allSatisfy({ (1...100_000_000).contains($0) }), (1...99).contains(pairs),
            (1...100_000).contains(delays)
        else { throw ValidationError("an option is out of its range") }
    }

    func run() throws {
        let runner = try LoadRunner(cores: server.cores, retries: load.retries)
        var report = Report(machine: Machine(cores: server.cores))
        note("setting up a server without revocations")
        let empty = try loaded(0, runner)
        // Its server ends with it.
        defer { withExtendedLifetime(empty) {} }
        var figures = RevocationFigures(
            emptyMemory: empty.memory, emptyReadySeconds: empty.readySeconds)
        for count in entries {
            note("setting up a server with \(count) revocations")
            let full = try loaded(count, runner)
            var row = RevocationFigures.Row(
                entries: count, readySeconds: full.readySeconds, memory: full.memory)
            for pair in 0..<pairs {
                note("pair \(pair + 1) of \(pairs), with and without \(count) revocations")
                if pair.isMultiple(of: 2) { row.empty.append(try runner.run(empty.plan)) }
                row.full.append(try runner.run(full.plan))
                if !pair.isMultiple(of: 2) { row.empty.append(try runner.run(empty.plan)) }
            }
            note("delay of \(delays) revocations")
            row.delays = try measureDelays(full.server)
            figures.rows.append(row)
            full.server.stop()
        }
        report.revocation = figures
        try output.tell(report)
    }

    private struct Loaded {
        let server: GatehouseServer
        let plan: LoadPlan
        let readySeconds: Double
        let memory: ProcessMemory
    }

    private func loaded(_ count: Int, _ runner: LoadRunner) throws -> Loaded {
        let gatehouse = try GatehouseServer(try server.gatehouseOptions())
        let good = try gatehouse.questions(.valid, count: load.cookiesCount)
        if count > 0 { try gatehouse.revokeInBulk(count) }
        let readySeconds = try gatehouse.start(core: runner.cores.server)
        usleep(Self.settleMicroseconds)
        let memory = try gatehouse.memory()
        var plan = load.plan(
            gatehouse.tcp, requests: try runner.requestsFile(good, name: "revoked-\(count)"))
        plan.processes = [gatehouse.process]
        return Loaded(server: gatehouse, plan: plan, readySeconds: readySeconds, memory: memory)
    }

    private func measureDelays(_ gatehouse: GatehouseServer) throws -> [RevocationDelay] {
        let sessions = try gatehouse.issue(delays)
        let wire = try Wire(gatehouse.tcp)
        return try sessions.map { session in
            // The server looks at fixed times; without this every command would meet the same phase.
            usleep(.random(in: 0..<RevocationDelay.phaseMicroseconds))
            return try RevocationDelay(of: session, at: gatehouse, asking: wire)
        }
    }
}

/// How soon one revoked session was refused, in milliseconds.
struct RevocationDelay: Codable {
    /// From the start of the command, which includes starting a process.
    let fromStart: Double
    /// From its end; 0 when the server refused the session before the command had ended.
    let fromEnd: Double

    /// More than twice the 100 ms in which a node looks for news (DESIGN section 6).
    static let phaseMicroseconds: UInt32 = 250_000
    /// Between two questions: a delay is told to this much.
    private static let pauseMicroseconds: UInt32 = 200
    /// No delay is this long; DESIGN wants a second.
    private static let maximumSeconds: UInt64 = 30

    init(
        of session: GatehouseServer.Issued, at gatehouse: GatehouseServer, asking wire: Wire
    ) throws {
        let request = RequestSet.request(path: "/check", token: session.token)
        guard try wire.exchange(request).head.status == 200 else {
            throw BenchmarkFailure("a session is refused before it is revoked")
        }
        let start = monotonicNanoseconds()
        let command = try gatehouse.startCommand(["sessions", "revoke", session.session])
        var end: UInt64?
        var refused: UInt64?
        while end == nil || refused == nil {
            if refused == nil {
                let status = try wire.exchange(request).head.status
                if status == 401 { refused = monotonicNanoseconds() }
                guard status == 200 || status == 401 else {
                    throw BenchmarkFailure("answered \(status) while a session is revoked")
                }
            }
            if end == nil, !command.isRunning { end = monotonicNanoseconds() }
            guard monotonicNanoseconds() - start < Self.maximumSeconds * 1_000_000_000 else {
                throw BenchmarkFailure("a revoked session is still good")
            }
            usleep(Self.pauseMicroseconds)
        }
        guard command.exitCode() == 0, let end, let refused else {
            throw BenchmarkFailure("`gatehouse sessions revoke` failed")
        }
        fromStart = Double(refused - start) / 1e6
        fromEnd = refused > end ? Double(refused - end) / 1e6 : 0
    }
}

struct RevocationFigures: Codable {
    struct Row: Codable {
        let entries: Int
        let readySeconds: Double
        let memory: ProcessMemory
        /// One of each pair, with these revocations and without any.
        var full: [LoadResult] = []
        var empty: [LoadResult] = []
        var delays: [RevocationDelay] = []

        /// With to without: the median of the pairs.
        func ratio(_ value: (LoadResult) -> Double) -> Double {
            median(zip(full, empty).map { value($0) / value($1) })
        }

        /// The value that this part of the samples does not exceed.
        func delay(_ value: (RevocationDelay) -> Double, part: Double) -> Double {
            let sorted = delays.map(value).sorted()
            guard let last = sorted.last else { return 0 }
            let index = Int((Double(sorted.count) * part).rounded(.up)) - 1
            return sorted.indices.contains(index) ? sorted[index] : last
        }
    }

    let emptyMemory: ProcessMemory
    let emptyReadySeconds: Double
    var rows: [Row] = []

    var lines: [String] {
        let empty = [
            "none", text(emptyReadySeconds, digits: 2), mebibytes(emptyMemory.residentKiB), "-",
            mebibytes(emptyMemory.peakKiB), "-", "-", "-",
        ]
        return Table.lines(
            [
                "revocations", "ready, s", "memory, MiB", "added", "peak", "CPU µs/request",
                "CPU to none", "validations to none",
            ],
            [empty]
                + rows.map { row in
                    [
                        grouped(Double(row.entries)), text(row.readySeconds, digits: 2),
                        mebibytes(row.memory.residentKiB),
                        mebibytes(row.memory.residentKiB - emptyMemory.residentKiB),
                        mebibytes(row.memory.peakKiB),
                        text(median(row.full.map(\.microsecondsPerRequest)), digits: 2),
                        text(row.ratio(\.microsecondsPerRequest), digits: 3),
                        text(row.ratio(\.perSecond), digits: 3),
                    ]
                }) + [""]
            + Table.lines(
                [
                    "refused, ms after the command's end", "p50", "p99", "max",
                    "after its start: p50",
                    "p99", "max",
                ],
                rows.map { row in
                    ["with \(grouped(Double(row.entries)))"]
                        + [0.5, 0.99, 1].map { text(row.delay(\.fromEnd, part: $0), digits: 1) }
                        + [0.5, 0.99, 1].map { text(row.delay(\.fromStart, part: $0), digits: 1) }
                }) + [""]
    }

    var results: [LoadResult] { rows.flatMap { $0.full + $0.empty } }

    private func mebibytes(_ kibibytes: Int) -> String {
        text(Double(kibibytes) / 1024, digits: 1)
    }
}
