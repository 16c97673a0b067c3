// Starts load processes.

import CBenchmark
import Foundation

/// The cores that server and load run on; nil where there is only one.
struct Cores: Equatable, Sendable {
    let server: Int?
    let load: Int?

    /// The first two that this process may use, or those that are asked for.
    init(server: Int? = nil, load: Int? = nil) {
        let first = Int(bench_next_core(-1))
        let second = first < 0 ? -1 : Int(bench_next_core(Int32(first)))
        let hasTwo = second >= 0
        self.server = server ?? (hasTwo ? first : nil)
        self.load = load ?? (hasTwo ? second : nil)
    }

    /// None of its own for anybody.
    static let shared = Cores(none: ())
    private init(none: Void) {
        server = nil
        load = nil
    }

    /// Whether the load has a core that the server doesn't use.
    var areApart: Bool { server != nil && load != nil && server != load }
}

/// Runs plans, each in a process of its own.
struct LoadRunner: Sendable {
    let cores: Cores
    /// How often a leg that was disturbed is run again.
    private let retries: Int
    private let directory: ScratchDirectory

    init(cores: Cores, retries: Int) throws {
        self.cores = cores
        self.retries = retries
        directory = try ScratchDirectory()
    }

    /// Writes usernames that nobody has, for a load that signs in.
    func signInsFile(count: Int) throws -> String {
        let names = (0..<count).map { "made-up-\($0)-\(UInt32.random(in: 0 ... .max))" }
        return try directory.write(names.joined(separator: "\n") + "\n", to: "sign-ins.requests")
    }

    /// Writes the requests of a load to a file that plans can name.
    func requestsFile(_ questions: [Question], name: String) throws -> String {
        try directory.write(
            questions.map(\.line).joined(separator: "\n") + "\n", to: "\(name).requests")
    }

    /// A file for ``News``, empty.
    func newsFile(name: String) throws -> String { try directory.write("", to: "\(name).news") }

    /// Runs one load to its end, and again when it was disturbed. That says nothing about the server,
    /// so that it chooses no result.
    func run(_ plan: LoadPlan) throws -> LoadResult {
        var result = try runOnce(plan)
        for _ in 0..<retries where result.isDisturbed {
            note("disturbed by other programs; once more")
            result = try runOnce(plan)
        }
        return result
    }

    /// A wrong answer is an error: it makes every figure worthless.
    private func runOnce(_ plan: LoadPlan) throws -> LoadResult {
        var plan = plan
        plan.core = cores.load
        plan.spins = plan.spins && cores.areApart
        let data = try JSONEncoder().encode(plan)
        // Several may run at once.
        let name = "plan-\(UInt32.random(in: 0 ... .max)).json"
        let file = try directory.write(String(decoding: data, as: UTF8.self), to: name)
        let text = try ChildProcess.output(of: ChildProcess.ownProgram(), ["load", file])
        let result = try JSONDecoder().decode(LoadResult.self, from: Data(text.utf8))
        guard result.errors == 0 else {
            throw BenchmarkFailure(
                "\(result.errors) error(s) under load, the first: \(result.firstError ?? "unknown")",
                hint: "a benchmark that got wrong answers is no result")
        }
        return result
    }
}
