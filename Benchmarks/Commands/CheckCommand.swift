// `gatehouse-bench check`: validations per second and latencies of one server.

import ArgumentParser
import Foundation

struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Measure validations per second, CPU per check and latency.",
        discussion: """
            Without --rate: a closed loop first, in which every answer brings the next request, then \
            an open loop at 70 % of what that reached. With --rate only the open loop. With \
            --idle-connections or --slow-clients every leg is run with and without them, in turns.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var load: LoadOptions
    @OptionGroup var output: OutputOptions
    @Option(help: "tcp, unix or tls.") var transport = Transport.tcp
    @Option(help: "valid, absent, forged, expired, revoked, or the blend of them that a site sees.")
    var mix = RequestMix.valid
    @Option(help: "Requests under way on a connection at one time.") var pipelining = 1
    @Option(help: "Requests a second of the open loop.") var rate: Double?
    @Option(help: "Revoked sessions that the server has loaded.") var revocations = 0
    @Option(help: "Connections beside the busy ones that do nothing.") var idleConnections = 0
    @Flag(help: "Also with 5,000 clients that send a byte a second, or nothing, and never finish.")
    var slowClients = false
    @Option(help: "Pairs of legs with and without idle or slow connections.") var pairs = 5
    @Option(help: "Measure this running server: http://127.0.0.1:PORT/check.") var url: String?
    @Option(help: "Measure the running server behind this Unix socket.") var unix: String?
    @Option(help: "For a running server on this machine: its process, whose CPU time is counted.")
    var process: Int32?
    @Option(
        help: """
            For a running server: a file with a cookie value on each line, and before it, if it is not \
            to be answered 200, its status and a space.
            """)
    var cookies: String?

    /// What the open loop runs at: a server that people depend on is not run at its limit.
    static let openLoopShare = 0.7
    /// As many as a small attacker has (issue: slow clients).
    static let slowClientCount = 5000

    func validate() throws {
        guard (1...256).contains(pipelining), (0...100_000_000).contains(revocations),
            (0...60_000).contains(idleConnections), (1...99).contains(pairs), rate ?? 1 > 0
        else { throw ValidationError("an option is out of its range") }
        guard url == nil || unix == nil else { throw ValidationError("--url or --unix, not both") }
        if url != nil || unix != nil {
            guard cookies != nil else { throw ValidationError("a running server takes --cookies") }
        }
    }

    func run() throws {
        let cores = server.cores
        let runner = try LoadRunner(cores: cores, retries: load.retries)
        var report = Report(machine: Machine(cores: cores))
        let subject = try subject(runner)
        // A server of ours ends with the subject.
        defer { withExtendedLifetime(subject) {} }
        var figures = CheckFigures(
            transport: url == nil && unix == nil ? transport.rawValue : "a running server",
            mix: cookies == nil ? mix.rawValue : "given", connections: load.connections,
            pipelining: pipelining,
            revocations: revocations)
        let plain = subject.plan
        var crowded = plain
        crowded.idleConnections = idleConnections
        crowded.slowClients = slowClients ? Self.slowClientCount : 0
        let isCrowded = idleConnections > 0 || slowClients
        let name = [
            idleConnections > 0 ? "\(idleConnections) idle connections" : nil,
            slowClients ? "\(Self.slowClientCount) slow clients" : nil,
        ].compactMap(\.self).joined(separator: " and ")

        let closed = rate == nil ? try legs(plain, isCrowded ? crowded : nil, name, runner) : []
        var open = plain
        var openCrowded = crowded
        let reached = median(closed.filter { $0.crowd == nil }.map(\.result.perSecond))
        open.rate = rate ?? (reached * Self.openLoopShare).rounded()
        openCrowded.rate = open.rate
        figures.legs =
            closed + (try legs(open, isCrowded ? openCrowded : nil, name, runner))
        report.check = figures
        if subject.plan.processes.isEmpty {
            report.leftOut.append("CPU for each request: --process names the server's")
        }
        try output.tell(report)
    }

    private struct Subject {
        /// Nil when it was running already.
        let server: GatehouseServer?
        let plan: LoadPlan
    }

    private func subject(_ runner: LoadRunner) throws -> Subject {
        guard url == nil && unix == nil else { return try runningServer(runner) }
        var options = try server.gatehouseOptions()
        options.usesTLS = transport == .tls
        options.maximumConnections +=
            load.connections + idleConnections + (slowClients ? Self.slowClientCount : 0)
        note("setting up a server, \(load.cookiesCount) cookies, \(revocations) revocations")
        let gatehouse = try GatehouseServer(options)
        let questions = try gatehouse.questions(mix, count: load.cookiesCount)
        if revocations > 0 { try gatehouse.revokeInBulk(revocations) }
        try gatehouse.start(core: runner.cores.server)
        var plan = load.plan(
            transport == .unix ? gatehouse.unix : gatehouse.tcp,
            requests: try runner.requestsFile(questions, name: "check"))
        plan.pipelining = pipelining
        plan.authorities = transport == .tls ? gatehouse.authorities : nil
        plan.processes = [gatehouse.process]
        return Subject(server: gatehouse, plan: plan)
    }

    private func runningServer(_ runner: LoadRunner) throws -> Subject {
        var target = Target.unix(path: unix ?? "")
        var path = "/check"
        if let url {
            guard let parts = URLComponents(string: url), parts.scheme == "http",
                let host = parts.host, let port = UInt16(exactly: parts.port ?? 80)
            else { throw ValidationError("--url takes http://ADDRESS:PORT/check") }
            target = .tcp(host: host, port: port)
            path = parts.path.isEmpty ? "/" : parts.path
        }
        let text = try String(contentsOfFile: cookies ?? "", encoding: .utf8)
        let questions = text.split(separator: "\n").compactMap { line in
            line.contains(" ") || line.count == 3
                ? Question(line: line) : Question(token: String(line), status: 200)
        }
        var plan = load.plan(
            target, requests: try runner.requestsFile(questions, name: "check"))
        plan.path = path
        plan.processes = process.map { [$0] } ?? []
        plan.pipelining = pipelining
        return Subject(server: nil, plan: plan)
    }

    /// One leg, or pairs of legs in turns; in every other pair the other comes first.
    private func legs(
        _ plain: LoadPlan, _ crowded: LoadPlan?, _ crowd: String, _ runner: LoadRunner
    ) throws -> [CheckFigures.Leg] {
        guard let crowded else {
            note(plain.rate.map { "open loop at \(Int($0)) requests/s" } ?? "closed loop")
            return [CheckFigures.Leg(crowd: nil, rate: plain.rate, result: try runner.run(plain))]
        }
        return try (0..<pairs).flatMap { pair in
            note("pair \(pair + 1) of \(pairs), with and without \(crowd)")
            var legs = [(plain, String?.none), (crowded, crowd)]
            if !pair.isMultiple(of: 2) { legs.reverse() }
            return try legs.map { plan, crowd in
                CheckFigures.Leg(crowd: crowd, rate: plan.rate, result: try runner.run(plan))
            }
        }
    }
}

struct CheckFigures: Codable {
    struct Leg: Codable {
        /// What was connected beside the busy connections; nil for nothing.
        let crowd: String?
        /// Requests a second of an open loop; nil for a closed one.
        let rate: Double?
        let result: LoadResult
    }

    var transport: String
    var mix: String
    var connections: Int
    var pipelining: Int
    var revocations: Int
    var legs: [Leg] = []

    var lines: [String] {
        var lines = [
            "check over \(transport), \(mix) cookies, \(connections) connections, "
                + "pipelining \(pipelining), \(revocations) revocations", "",
        ]
        let closed = legs.filter { $0.rate == nil }
        if !closed.isEmpty {
            lines += Table.lines(
                [
                    "closed loop", "validations/s", "CPU µs/request", "user", "system",
                    "cores busy",
                ],
                closed.map { leg in
                    [
                        leg.crowd.map { "with \($0)" } ?? "alone", grouped(leg.result.perSecond),
                    ] + cpu(leg.result)
                        + [text(leg.result.serverBusy, digits: 2)]
                })
            lines += ratio("validations/s", closed) { $0.perSecond } + [""]
        }
        let open = legs.filter { $0.rate != nil }
        if !open.isEmpty {
            lines += Table.lines(
                [
                    "open loop, µs", "requests/s", "p50", "p90", "p99", "p99.9", "max",
                    "CPU µs/request", "load's longest pause",
                ],
                open.map { leg in
                    [leg.crowd.map { "with \($0)" } ?? "alone", grouped(leg.result.perSecond)]
                        + [50, 90, 99, 99.9, 100].map { percentile in
                            grouped(leg.result.latency?[percentile] ?? 0)
                        } + cpu(leg.result).prefix(1) + [
                            grouped(leg.result.longestPauseMicroseconds)
                        ]
                })
            lines += ratio("p99", open) { $0.latency?[99] ?? 0 } + [""]
        }
        return lines
    }

    var results: [LoadResult] { legs.map(\.result) }

    private func cpu(_ result: LoadResult) -> [String] {
        guard result.server.total > 0 else { return ["-", "-", "-"] }
        return [
            text(result.microsecondsPerRequest, digits: 2), text(result.userPerRequest, digits: 2),
            text(result.systemPerRequest, digits: 2),
        ]
    }

    /// With a crowd to without: the median over the pairs.
    private func ratio(
        _ name: String, _ legs: [Leg], _ value: (LoadResult) -> Double
    ) -> [String] {
        let alone = legs.filter { $0.crowd == nil }.map { value($0.result) }
        let crowded = legs.filter { $0.crowd != nil }.map { value($0.result) }
        guard !crowded.isEmpty, alone.allSatisfy({ $0 > 0 }) else { return [] }
        let ratio = median(zip(crowded, alone).map { $0 / $1 })
        return [
            "\(name) with to without: \(text(ratio, digits: 3)), median of \(alone.count) pairs"
        ]
    }
}
