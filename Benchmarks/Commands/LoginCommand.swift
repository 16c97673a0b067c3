// `gatehouse-bench login`: sign-ins a second through the hashing threads, and by bare libargon2.

import ArgumentParser
import CBenchmark
import GatehouseCore
import GatehousePasswords

struct LoginCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "login",
        abstract: "Measure password verifications per second, beside bare libargon2.",
        discussion: """
            In turns: through the service's hashing threads, with their queue and the memory they keep; \
            by libargon2 alone, which allocates for each hash; and by libargon2 with memory that is \
            kept. All with the same parameters, on as many threads of the same priority.
            """)

    @OptionGroup var output: OutputOptions
    @Option(help: "Rounds, in each of which all three are run.") var rounds = 9
    @Option(help: "Hashes of each thread in a leg.") var hashes = 8
    @Option(help: "Threads; one for each core unless given.") var threads: Int?
    @Option(help: "Memory of a hash, in MiB.") var memory = 64
    @Option(help: "Passes over it.") var iterations = 3

    func validate() throws {
        guard (1...1000).contains(rounds), (1...10_000).contains(hashes),
            (1...64).contains(threads ?? 1), memory <= 256,
            (try? Argon2Parameters(memoryKiB: memory * 1024, iterations: iterations, lanes: 1))
                != nil
        else { throw ValidationError("an option is out of its range") }
    }

    func run() throws {
        var report = Report(machine: Machine())
        let threads = threads ?? report.machine.cores
        var plan = bench_argon2(
            threads: Int32(threads), hashes: Int32(hashes), memory_kib: UInt32(memory * 1024),
            iterations: UInt32(iterations), keeps_memory: false,
            steps_back: PasswordHasher.stepsBack)
        let ours = try HashingThreads(plan)
        defer { ours.end() }
        var figures = LoginFigures(threads: threads, memoryMiB: memory, iterations: iterations)
        for round in 0..<rounds {
            note("round \(round + 1) of \(rounds)")
            // The order turns around each round.
            let legs = LoginFigures.Subject.allCases
            for subject in round.isMultiple(of: 2) ? legs : legs.reversed() {
                plan.keeps_memory = subject == .kept
                let use = subject == .service ? try ours.run() : try bare(&plan)
                figures.legs[subject.rawValue, default: []].append(
                    LoginFigures.Leg(use, hashes: threads * hashes))
            }
        }
        report.login = figures
        try output.tell(report)
    }

    private func bare(_ plan: inout bench_argon2) throws -> bench_use {
        var use = bench_use()
        // SAFETY: both are ours, for the length of the call.
        guard unsafe bench_argon2_run(&plan, &use) else {
            throw BenchmarkFailure("libargon2 failed")
        }
        return use
    }
}

/// The service's own hashing threads, all busy.
private final class HashingThreads {
    private let plan: bench_argon2
    private let hasher: PasswordHasher
    private let hash: PasswordHash

    init(_ plan: bench_argon2) throws {
        self.plan = plan
        let threads = Int(plan.threads)
        let hasher = PasswordHasher(
            parameters: try Argon2Parameters(
                memoryKiB: Int(plan.memory_kib), iterations: Int(plan.iterations), lanes: 1),
            threads: threads, memoryKiB: max(262_144, threads * Int(plan.memory_kib)),
            maximumQueued: threads * Int(plan.hashes), deadline: .seconds(3600))
        self.hasher = hasher
        hash = try blocking { try await hasher.hash(try Self.password()) }
    }

    private static func password() throws -> Password {
        try Password(Array("a password of a usual length".utf8).span)
    }

    /// What the verifications of one leg have used, after one for each thread that is not measured.
    func run() throws -> bench_use {
        try verify(Int(plan.threads))
        let before = bench_use_now()
        try verify(Int(plan.threads * plan.hashes))
        let after = bench_use_now()
        return bench_use(
            seconds: after.seconds - before.seconds, cpu: after.cpu - before.cpu,
            page_faults: after.page_faults - before.page_faults)
    }

    private func verify(_ count: Int) throws {
        let (hasher, hash) = (hasher, hash)
        try blocking {
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for _ in 0..<count {
                    group.addTask { try await hasher.verify(try Self.password(), against: hash) }
                }
                for try await isRight in group where !isRight {
                    throw BenchmarkFailure("a right password is refused")
                }
            }
        }
    }

    func end() {
        let hasher = hasher
        try? blocking { await hasher.shutdown() }
    }
}

struct LoginFigures: Codable {
    enum Subject: String, CaseIterable {
        case service = "Gatehouse's hashing threads"
        case bare = "libargon2 alone"
        case kept = "libargon2, memory kept"
    }

    struct Leg: Codable {
        let perSecond: Double
        /// Of the whole process.
        let cpuMilliseconds: Double
        let pageFaults: Double

        init(_ use: bench_use, hashes: Int) {
            let hashes = Double(hashes)
            perSecond = hashes / use.seconds
            cpuMilliseconds = use.cpu * 1000 / hashes
            pageFaults = use.page_faults / hashes
        }
    }

    let threads: Int
    let memoryMiB: Int
    let iterations: Int
    /// By ``Subject``; those with the same index are of one round.
    var legs: [String: [Leg]] = [:]

    private func legs(_ subject: Subject) -> [Leg] { legs[subject.rawValue] ?? [] }

    /// The service's to another's: the median of the rounds.
    func ratio(to subject: Subject, _ value: (Leg) -> Double) -> Double {
        median(zip(legs(.service), legs(subject)).map { value($0) / value($1) })
    }

    var lines: [String] {
        ["\(threads) thread(s), Argon2id, \(memoryMiB) MiB, \(iterations) passes", ""]
            + Table.lines(
                [
                    "sign-ins", "a second", "CPU ms each", "page faults each",
                    "ours to it: sign-ins", "CPU",
                ],
                Subject.allCases.map { subject in
                    let legs = legs(subject)
                    return [
                        subject.rawValue, text(median(legs.map(\.perSecond)), digits: 2),
                        text(median(legs.map(\.cpuMilliseconds)), digits: 1),
                        text(median(legs.map(\.pageFaults)), digits: 0),
                        text(ratio(to: subject, \.perSecond), digits: 3),
                        text(ratio(to: subject, \.cpuMilliseconds), digits: 3),
                    ]
                }) + [""]
    }
}
