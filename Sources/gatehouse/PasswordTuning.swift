// Finds the strongest cost of a password hash that takes no longer than it may.

import GatehouseCore
import GatehousePasswords

/// Chooses parameters by RFC 9106 section 4: as much memory as there is for each hash, then as many
/// passes as there is time. With less than three passes' time for all of the memory it takes less of
/// that, since three passes are what the least memory is accepted with.
struct PasswordTuning {
    let targetSeconds: Double
    /// For all threads together.
    let memoryKiB: Int
    let threads: Int

    static let leastIterations = 3
    /// Each step comes closer by what was measured; more steps than this mean that the machine is too
    /// restless to be measured.
    private static let maximumSteps = 12
    private static let mebibyteKiB = 1024

    struct Measurement {
        /// Of one hash, with every thread busy.
        let seconds: Double
        let perSecond: Double
    }

    struct Result: Encodable {
        let argon2_memory_kib: Int
        let argon2_iterations: Int
        let milliseconds: Double
        let target_milliseconds: Double
        /// False when the weakest hash that is accepted takes longer.
        let meets_target: Bool
        let threads: Int
        let memory_kib: Int
        let sign_ins_per_second: Double
        let configuration: String
    }

    /// What a thread may have: its share of the memory, within the bounds of what is accepted.
    var shareKiB: Int {
        let least = Argon2Parameters.minimumMemoryKiB(iterations: Self.leastIterations)
        let share = min(memoryKiB / threads, Argon2Parameters.maximumMemoryKiB)
        return max(least, wholeMebibytes(share))
    }

    func choose(
        measuring measure: (Argon2Parameters) async throws -> Measurement
    ) async throws -> Result {
        let least = Argon2Parameters.minimumMemoryKiB(iterations: Self.leastIterations)
        var parameters = try Argon2Parameters(
            memoryKiB: shareKiB, iterations: Self.leastIterations, lanes: 1)
        var measured = try await measure(parameters)
        for _ in 0..<Self.maximumSteps where measured.seconds > targetSeconds {
            guard parameters.memoryKiB > least else { break }
            // At least a step, and never past the floor.
            let fitting = Double(parameters.memoryKiB) * targetSeconds / measured.seconds
            let smaller = min(
                wholeMebibytes(Int(fitting)), parameters.memoryKiB - Self.mebibyteKiB)
            parameters = try Argon2Parameters(
                memoryKiB: max(least, smaller), iterations: Self.leastIterations, lanes: 1)
            measured = try await measure(parameters)
        }
        if parameters.memoryKiB == shareKiB, measured.seconds <= targetSeconds {
            (parameters, measured) = try await morePasses(parameters, measured, measure)
        }
        return result(parameters, measured)
    }

    /// All of the memory fits: the rest of the time goes into passes.
    private func morePasses(
        _ least: Argon2Parameters, _ leastMeasured: Measurement,
        _ measure: (Argon2Parameters) async throws -> Measurement
    ) async throws -> (Argon2Parameters, Measurement) {
        let fitting = Double(least.iterations) * targetSeconds / leastMeasured.seconds
        var iterations = Int(min(fitting, Double(Argon2Parameters.maximumIterations)))
        while iterations > least.iterations {
            let parameters = try Argon2Parameters(
                memoryKiB: least.memoryKiB, iterations: iterations, lanes: 1)
            let measured = try await measure(parameters)
            if measured.seconds <= targetSeconds { return (parameters, measured) }
            iterations -= 1
        }
        return (least, leastMeasured)
    }

    private func wholeMebibytes(_ kibibytes: Int) -> Int {
        kibibytes / Self.mebibyteKiB * Self.mebibyteKiB
    }

    private func result(_ parameters: Argon2Parameters, _ measured: Measurement) -> Result {
        let workers = PasswordHasher.workers(
            threads: threads, memoryKiB: memoryKiB, parameters: parameters)
        return Result(
            argon2_memory_kib: parameters.memoryKiB, argon2_iterations: parameters.iterations,
            milliseconds: (measured.seconds * 10_000).rounded() / 10,
            target_milliseconds: targetSeconds * 1000,
            meets_target: measured.seconds <= targetSeconds, threads: workers,
            memory_kib: memoryKiB,
            sign_ins_per_second: (measured.perSecond * 10).rounded() / 10,
            configuration: """
                password:
                  threads: \(workers)
                  memory: \(Setting.sizeText(kibibytes: memoryKiB))
                  argon2_memory: \(Setting.sizeText(kibibytes: parameters.memoryKiB))
                  argon2_iterations: \(parameters.iterations)
                """)
    }

    // MARK: Measuring

    /// Hashes of each thread that are timed.
    private static let rounds = 5

    /// Hashes on this machine, with every thread busy and its memory warm.
    static func measure(
        _ parameters: Argon2Parameters, threads: Int, memoryKiB: Int
    ) async throws -> Measurement {
        let hasher = PasswordHasher(
            parameters: parameters, threads: threads, memoryKiB: memoryKiB,
            maximumQueued: threads * rounds, deadline: .seconds(3600))
        do {
            let workers = hasher.workers
            // The first hashes take the memory from the system.
            try await hash(workers, with: hasher)
            let clock = ContinuousClock()
            let start = clock.now
            try await hash(workers * rounds, with: hasher)
            let seconds = (clock.now - start) / .seconds(1)
            await hasher.shutdown()
            return Measurement(
                seconds: seconds / Double(rounds), perSecond: Double(workers * rounds) / seconds)
        } catch {
            await hasher.shutdown()
            throw CommandFailure.environment("cannot hash: \(error)")
        }
    }

    private static func hash(_ count: Int, with hasher: PasswordHasher) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<count {
                group.addTask {
                    _ = try await hasher.hash(
                        try Password(Array("a password of a usual length".utf8).span))
                }
            }
            try await group.waitForAll()
        }
    }
}

extension PasswordTuning.Result {
    /// For people; what is indented goes into the configuration file.
    var text: String {
        let seconds = meets_target ? "" : ", which is not met: nothing weaker is accepted"
        return """
            argon2id           \(Setting.sizeText(kibibytes: argon2_memory_kib)), \
            \(argon2_iterations) iterations
            time of a hash     \(milliseconds) ms (target \(target_milliseconds) ms\(seconds))
            hashing threads    \(threads), in \(Setting.sizeText(kibibytes: memory_kib))
            sign-ins a second  \(sign_ins_per_second)

            \(configuration)
            """
    }
}
