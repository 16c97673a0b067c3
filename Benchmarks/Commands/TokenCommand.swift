// `gatehouse-bench token`: what sealing, opening and checking one token costs.

import ArgumentParser
import CBenchmark
import Foundation

struct TokenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token",
        abstract: "Measure sealing, opening and checking a token, beside the bare libcrypto calls.",
        discussion: """
            “check” is a whole check without sockets: from a request's bytes to an answer's. \
            --instruction-limit counts and doesn't time: it holds on a machine of any speed.
            """,
        subcommands: [Loop.self])

    @OptionGroup var output: OutputOptions
    @Option(help: "Rounds, in each of which both are run, in turns.") var rounds = 25
    @Option(help: "Operations in a round.") var count = 20_000
    @Option(help: "The core to run on; the second one unless given.") var core: Int?
    @Option(
        help: """
            Only count, and fail when opening or checking allocates, or a check takes more \
            instructions than this beyond libcrypto's.
            """)
    var instructionLimit: Double?

    func validate() throws {
        guard (1...1000).contains(rounds), (1...10_000_000).contains(count) else {
            throw ValidationError("--rounds takes 1 to 1000, --count 1 to 10000000")
        }
    }

    func run() throws {
        var report = Report(machine: Machine())
        if let core = core ?? Cores().load, bench_pin(Int32(core)) != 0 {
            throw BenchmarkFailure("cannot run on core \(core)")
        }
        let loop = try TokenLoop()
        let instructions = InstructionCounter()
        if let reason = instructions.missing { report.leftOut.append(reason) }
        let rounds = instructionLimit == nil ? rounds : 1
        var figures = TokenFigures()
        for operation in TokenOperation.allCases {
            note("\(operation.rawValue): \(rounds) rounds of \(count)")
            var row = try row(operation, loop, rounds: rounds)
            row.instructions = try instructions.count(operation, isBare: false)
            row.bareInstructions = try instructions.count(operation, isBare: true)
            figures.rows.append(row)
        }
        report.token = figures
        try output.tell(report)
        if let instructionLimit { try figures.check(instructionLimit: instructionLimit) }
    }

    private func row(
        _ operation: TokenOperation, _ loop: TokenLoop, rounds: Int
    ) throws -> TokenFigures.Row {
        _ = try loop.run(operation, count)
        _ = try loop.runBare(operation, count)
        var ours: [TokenLoop.Cost] = []
        var bare: [TokenLoop.Cost] = []
        for round in 0..<rounds {
            if round.isMultiple(of: 2) { ours.append(try loop.run(operation, count)) }
            bare.append(try loop.runBare(operation, count))
            if !round.isMultiple(of: 2) { ours.append(try loop.run(operation, count)) }
        }
        return TokenFigures.Row(
            operation: operation, nanoseconds: median(ours.map(\.nanoseconds)),
            bareNanoseconds: median(bare.map(\.nanoseconds)),
            ratio: median(zip(ours, bare).map { $0.nanoseconds / $1.nanoseconds }),
            allocations: median(ours.map(\.allocations)))
    }

    /// One loop and nothing else, for counting its instructions from outside.
    struct Loop: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "loop", abstract: "Only run a loop, to be counted.", shouldDisplay: false)
        @Argument var operation: TokenOperation
        @Argument var count: Int
        @Flag var bare = false

        func run() throws {
            let loop = try TokenLoop()
            _ = try bare ? loop.runBare(operation, count) : loop.run(operation, count)
        }
    }
}

/// Instructions for each operation, by callgrind: the same number on every run and, unlike time, on
/// a busy machine.
private struct InstructionCounter {
    private let valgrind = ChildProcess.find("valgrind")
    private let strip = ChildProcess.find("strip")

    var missing: String? {
        valgrind == nil || strip == nil
            ? "instructions: valgrind or strip is not installed (make bench-tools)" : nil
    }

    /// Two runs that differ by this many operations differ by nothing else: what starting costs
    /// falls out.
    private static let difference = 2000
    private static let base = 100

    /// Nil when they can't be counted here.
    func count(_ operation: TokenOperation, isBare: Bool) throws -> Double? {
        guard let valgrind, let strip else { return nil }
        let directory = try ScratchDirectory()
        defer { withExtendedLifetime(directory) {} }
        // Debian 12's valgrind gives up at the debug information that Swift writes.
        let program = directory.file("gatehouse-bench")
        _ = try ChildProcess.output(
            of: strip, ["-g", "-o", program, ChildProcess.ownProgram()])
        let arguments = ["token", "loop", operation.rawValue] + (isBare ? ["--bare"] : [])
        let counts = try [Self.base, Self.base + Self.difference].map { count in
            let log = directory.file("\(count).log")
            _ = try ChildProcess.output(
                of: valgrind,
                ["--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-file=\(log)"]
                    + [program] + arguments + ["\(count)"])
            return try Self.collected(try String(contentsOfFile: log, encoding: .utf8))
        }
        return Double(counts[1] - counts[0]) / Double(Self.difference)
    }

    private static func collected(_ log: String) throws -> Int {
        guard let line = log.split(separator: "\n").last(where: { $0.contains("Collected :") }),
            let number = line.split(separator: " ").last.flatMap({ Int($0) })
        else { throw BenchmarkFailure("valgrind counted nothing:\n\(log)") }
        return number
    }
}

struct TokenFigures: Codable {
    struct Row: Codable {
        let operation: TokenOperation
        let nanoseconds: Double
        let bareNanoseconds: Double
        /// Ours to the bare calls: the median of the rounds.
        let ratio: Double
        let allocations: Double
        /// Counted by callgrind, on the processor that it imitates.
        var instructions: Double?
        var bareInstructions: Double?
    }

    var rows: [Row] = []

    /// What must hold on every machine. What could not be counted does not hold.
    func check(instructionLimit limit: Double) throws {
        for row in rows where row.operation != .seal && row.allocations > 0 {
            throw BenchmarkFailure(
                "\(row.operation.rawValue) allocates \(text(row.allocations, digits: 3)) times")
        }
        let check = rows.first { $0.operation == .check }
        guard let all = check?.instructions, let libcryptos = check?.bareInstructions else {
            throw BenchmarkFailure("no instructions were counted")
        }
        // libcrypto's own differ from release to release, and are not ours to keep few.
        guard all - libcryptos <= limit else {
            throw BenchmarkFailure(
                "a check takes \(grouped(all - libcryptos)) instructions beyond libcrypto's, "
                    + "more than \(grouped(limit))")
        }
    }

    var lines: [String] {
        Table.lines(
            [
                "token", "ns", "libcrypto's calls alone", "ratio", "allocations", "instructions",
                "libcrypto's",
            ],
            rows.map { row in
                [
                    row.operation.rawValue, text(row.nanoseconds, digits: 0),
                    text(row.bareNanoseconds, digits: 0), text(row.ratio, digits: 2),
                    text(row.allocations, digits: 2),
                    row.instructions.map(grouped) ?? "-", row.bareInstructions.map(grouped) ?? "-",
                ]
            }) + [""]
    }
}
