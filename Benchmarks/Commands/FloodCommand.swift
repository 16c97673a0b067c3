// `gatehouse-bench flood`: what a storm of sign-ins does to the server, and to its checks.

import ArgumentParser
import Foundation

struct FloodCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flood",
        abstract: "Measure checks and memory while far more sign-ins come than can be hashed.",
        discussion: """
            The check loop has a core of its own; hashing threads, front door and both loads are on the \
            others. Sign-ins are offered at a multiple of what the server can do, each with a name that \
            nobody has. Checks run in an open loop all the time, before, during and after. \
            `nice -n -10`, as root, keeps other programs off.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @Option(help: "Seconds of the flood; checks are measured alone for a third of it, twice.")
    var duration = 60.0
    @Option(help: "Sign-ins offered, as a multiple of what the server can do.") var times = 10.0
    @Option(help: "Checks a second.") var rate = 2000.0
    @Option(help: "Hashing threads, all of which share the memory.") var threads = 4
    @Option(help: "password.memory, in MiB.") var memory = 256

    static let checkConnections = 16
    /// Connections of sign-ins beside those that are hashed or wait: what waits keeps nothing else from
    /// being sent. Not many more, since the server closes those that say nothing for 10 s.
    static let spareConnections = 32
    static let names = 20_000
    static let capacitySeconds = 10.0
    static let warmupSeconds = 1.0
    /// The defaults of password.deadline and password.queue.
    static let deadlineSeconds = 5.0
    static let queue = 64

    func validate() throws {
        guard duration > 0, times > 0, rate > 0, (1...64).contains(threads),
            (256...65_536).contains(memory)
        else { throw ValidationError("an option is out of its range") }
    }

    func run() throws {
        let cores = server.cores
        let runner = try LoadRunner(cores: cores, retries: 0)
        var report = Report(machine: Machine(cores: cores))
        let gatehouse = try startServer(core: cores.server)
        if !cores.areApart { report.leftOut.append("cores of their own: there is only one") }
        // The server has made one hash by now.
        let kept = try gatehouse.metric(#"gatehouse_password_memory_bytes{state="kept"}"#)
        let idleMemory = try gatehouse.memory().residentKiB - Int(kept / 1024)
        let checks = try checkPlan(gatehouse, runner)
        let signIns = try signInPlan(gatehouse, runner)
        let known = try KnownSignIns(at: gatehouse.front)

        note("what the server can do: \(Int(Self.capacitySeconds)) s of sign-ins in a closed loop")
        var closed = signIns
        // Refusals wait for their floor: a few for each thread keep all of them busy.
        closed.connections = threads * 8
        closed.seconds = Self.capacitySeconds
        let capacity = try runner.run(closed).perSecond
        var figures = FloodFigures(
            threads: threads, budgetKiB: memory * 1024, capacityPerSecond: capacity,
            offeredPerSecond: capacity * times, seconds: duration,
            idleMemoryKiB: idleMemory)

        figures.idle.append(try idle(checks, runner))
        try gatehouse.resetPeakMemory()
        let before = try Counts(gatehouse)
        var flood = signIns
        flood.rate = figures.offeredPerSecond
        flood.seconds = duration
        note("flood: \(Int(flood.rate ?? 0)) sign-ins/s for \(Int(duration)) s")
        (figures.checks, figures.signIns, figures.known) = try atOnce(
            checks, flood, known, runner)
        figures.peakMemoryKiB = try gatehouse.memory().peakKiB
        figures.counts = try Counts(gatehouse) - before
        // What still waits is over before the checks are alone again.
        try waitUntil("the queue is empty", seconds: 30) {
            try gatehouse.metric("gatehouse_password_queue") == 0
                && gatehouse.metric(#"gatehouse_password_threads{state="busy"}"#) == 0
        }
        figures.idle.append(try idle(checks, runner))
        report.flood = figures
        if figures.checks.wasUrgent != true {
            report.leftOut.append(
                "a fixed priority for the loads (takes root): hashing threads delay them, and so do "
                    + "the latencies here")
        }
        try output.tell(report)
    }

    private func startServer(core: Int?) throws -> GatehouseServer {
        var options = try server.gatehouseOptions()
        options.settings = [
            "password.threads": "\(threads)", "password.memory": "\(memory)MiB",
            "password.queue": "\(Self.queue)",
            "password.deadline": "\(Int(Self.deadlineSeconds))s",
            "public.tls": "false", "log.level": "error",
            // All of it comes from one place.
            "throttle.address_failures": "0",
        ]
        let gatehouse = try GatehouseServer(options)
        try gatehouse.start()
        if let core { try gatehouse.separateChecks(on: core) }
        return gatehouse
    }

    private func checkPlan(_ gatehouse: GatehouseServer, _ runner: LoadRunner) throws -> LoadPlan {
        let questions = try gatehouse.questions(.valid, count: 1000)
        var plan = LoadPlan(
            target: gatehouse.tcp, spins: false,
            requests: try runner.requestsFile(questions, name: "checks"),
            connections: Self.checkConnections, warmupSeconds: Self.warmupSeconds,
            seconds: duration)
        plan.rate = rate
        plan.isUrgent = true
        plan.processes = [gatehouse.process]
        return plan
    }

    private func signInPlan(_ gatehouse: GatehouseServer, _ runner: LoadRunner) throws -> LoadPlan {
        var plan = LoadPlan(
            target: gatehouse.front, spins: false,
            requests: try runner.signInsFile(count: Self.names),
            connections: threads + Self.queue + Self.spareConnections,
            warmupSeconds: Self.warmupSeconds,
            seconds: duration)
        plan.asksToSignIn = true
        plan.isUrgent = true
        return plan
    }

    private func idle(_ checks: LoadPlan, _ runner: LoadRunner) throws -> LoadResult {
        note("checks alone")
        var plan = checks
        plan.seconds = duration / 3
        return try runner.run(plan)
    }

    /// Both loads at the same time, and people who are known; the sign-ins begin while the checks warm up.
    private func atOnce(
        _ checks: LoadPlan, _ signIns: LoadPlan, _ known: KnownSignIns, _ runner: LoadRunner
    ) throws -> (checks: LoadResult, signIns: LoadResult, known: KnownSignIns.Figures) {
        let other = Later<LoadResult>()
        Thread.detachNewThread { other.set(Result { try runner.run(signIns) }) }
        let regular = Later<KnownSignIns.Figures>()
        let seconds = duration
        Thread.detachNewThread { regular.set(Result { try known.run(seconds: seconds) }) }
        let mine = Result { try runner.run(checks) }
        let others = Result { try other.get() }
        let regulars = Result { try regular.get() }
        return (try mine.get(), try others.get(), try regulars.get())
    }
}

/// What the server counted.
struct Counts: Codable {
    var hashes: Double
    var refusedFull: Double
    var refusedLate: Double

    init(_ gatehouse: GatehouseServer) throws {
        func refused(_ reason: String) throws -> Double {
            try gatehouse.metric(#"gatehouse_password_refused_total{reason="\#(reason)"}"#)
        }
        hashes = try gatehouse.metric("gatehouse_password_hashes_total")
        refusedFull = try refused("full")
        refusedLate = try refused("deadline")
    }

    static func - (left: Counts, right: Counts) -> Counts {
        var difference = left
        difference.hashes -= right.hashes
        difference.refusedFull -= right.refusedFull
        difference.refusedLate -= right.refusedLate
        return difference
    }
}

struct FloodFigures: Codable {
    let threads: Int
    let budgetKiB: Int
    /// Sign-ins that the server answers in a closed loop, and those it was offered.
    let capacityPerSecond: Double
    let offeredPerSecond: Double
    let seconds: Double
    /// Without that of hashes.
    let idleMemoryKiB: Int
    var peakMemoryKiB = 0
    /// Checks alone, before and after.
    var idle: [LoadResult] = []
    var checks = LoadResult()
    var signIns = LoadResult()
    var known = KnownSignIns.Figures()
    var counts: Counts?

    /// What is promised: checks hardly notice, and memory is bounded.
    static let bars = (latency: 1.5, memory: 1.1)

    init(
        threads: Int, budgetKiB: Int, capacityPerSecond: Double, offeredPerSecond: Double,
        seconds: Double, idleMemoryKiB: Int
    ) {
        self.threads = threads
        self.budgetKiB = budgetKiB
        self.capacityPerSecond = capacityPerSecond
        self.offeredPerSecond = offeredPerSecond
        self.seconds = seconds
        self.idleMemoryKiB = idleMemoryKiB
    }

    /// A percentile of the checks during the flood, to the mean of those alone.
    func ratio(_ percentile: Double) -> Double {
        let alone = idle.compactMap { $0.latency?[percentile] }
        guard !alone.isEmpty, let during = checks.latency?[percentile] else { return 0 }
        return during * Double(alone.count) / alone.reduce(0, +)
    }

    var results: [LoadResult] { idle + [checks, signIns] }

    var lines: [String] {
        [
            "\(threads) hashing threads; the server can do \(text(capacityPerSecond, digits: 1)) "
                + "sign-ins/s, and was offered \(text(offeredPerSecond, digits: 0)) for "
                + "\(Int(seconds)) s", "",
        ] + checkLines + [""] + signInLines + [""] + memoryLines + [""]
    }

    private var checkLines: [String] {
        let percentiles: [Double] = [50, 90, 99, 99.9, 100]
        let rows = idle.map { ("alone", $0) } + [("during the flood", checks)]
        return Table.lines(
            ["checks, µs", "requests/s", "p50", "p90", "p99", "p99.9", "max"],
            rows.map { name, result in
                [name, grouped(result.perSecond)]
                    + percentiles.map { grouped(result.latency?[$0] ?? 0) }
            } + [
                ["during to alone", ""] + percentiles.map { text(ratio($0), digits: 2) }
            ]) + ["the bar for p99 is \(text(Self.bars.latency, digits: 1))"]
    }

    private var signInLines: [String] {
        let percentiles: [Double] = [50, 90, 99, 100]
        func row(_ name: String, _ latency: Latency?) -> [String] {
            [name, grouped(Double(latency?.count ?? 0))]
                + percentiles.map { text((latency?[$0] ?? 0) / 1000, digits: 1) }
        }
        let counts = counts.map {
            "counted by the server: \(grouped($0.hashes)) hashed, \(grouped($0.refusedFull)) refused "
                + "because the queue was full, \(grouped($0.refusedLate)) at the deadline"
        }
        return Table.lines(
            ["sign-ins, ms", "count", "p50", "p90", "p99", "max"],
            [
                row("strangers answered 401", signIns.latency),
                row("strangers refused, 503", signIns.refusals),
                ["known devices let in", "\(known.milliseconds.count)"]
                    + percentiles.map { text(known.percentile($0), digits: 1) },
                ["known devices refused", "\(known.refused)", "", "", "", ""],
            ]) + (counts.map { [$0] } ?? [])
    }

    private var memoryLines: [String] {
        let addedKiB = peakMemoryKiB - idleMemoryKiB
        func mebibytes(_ kibibytes: Int) -> String { text(Double(kibibytes) / 1024, digits: 1) }
        return Table.lines(
            ["memory, MiB", "without hashes", "peak", "added", "budget", "added to budget"],
            [
                [
                    "the server", mebibytes(idleMemoryKiB), mebibytes(peakMemoryKiB),
                    mebibytes(addedKiB), mebibytes(budgetKiB),
                    text(Double(addedKiB) / Double(budgetKiB), digits: 3),
                ]
            ]) + ["the bar is \(text(Self.bars.memory, digits: 1))"]
    }
}
