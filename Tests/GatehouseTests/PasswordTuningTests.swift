// Parameters for machines of any speed, without a machine.

import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import gatehouse

@Suite struct PasswordTuningTests {
    /// A machine that takes so long for a pass over a mebibyte.
    private func choose(
        _ tuning: PasswordTuning, secondsPerMiB: Double, overhead: Double = 0
    ) async throws -> PasswordTuning.Result {
        try await tuning.choose { parameters in
            let seconds =
                overhead + secondsPerMiB * Double(parameters.memoryKiB) / 1024
                * Double(parameters.iterations)
            return PasswordTuning.Measurement(
                seconds: seconds, perSecond: Double(tuning.threads) / seconds)
        }
    }

    private func tuning(
        _ targetSeconds: Double = 0.25, memoryMiB: Int = 512, threads: Int = 4
    ) -> PasswordTuning {
        PasswordTuning(
            targetSeconds: targetSeconds, memoryKiB: memoryMiB * 1024, threads: threads)
    }

    @Test func `a machine with time to spare takes all its memory, then more passes`() async throws
    {
        // 128 MiB for each of four; a pass takes 32 ms, and seven fit.
        let result = try await choose(tuning(), secondsPerMiB: 0.00025)
        #expect(result.argon2_memory_kib == 128 * 1024)
        #expect(result.argon2_iterations == 7)
        #expect(result.meets_target && result.threads == 4)
        #expect(abs(result.sign_ins_per_second - 17.9) < 0.05)
    }

    @Test func `a slower machine takes less memory, and three passes`() async throws {
        // 250 ms are enough for 83.3 MiB.
        let result = try await choose(tuning(), secondsPerMiB: 0.001)
        #expect(result.argon2_memory_kib == 83 * 1024)
        #expect(result.argon2_iterations == 3)
        #expect(result.meets_target)
    }

    @Test func `a machine that is too slow gets the least that is accepted, and is told`()
        async throws
    {
        let result = try await choose(tuning(), secondsPerMiB: 0.01)
        #expect(result.argon2_memory_kib == 12 * 1024)
        #expect(result.argon2_iterations == 3)
        #expect(!result.meets_target)
        #expect(result.text.contains("not met"))
        // Just fast enough.
        let other = try await choose(tuning(0.36), secondsPerMiB: 0.01)
        #expect(other.argon2_memory_kib == 12 * 1024 && other.meets_target)
        #expect(!other.text.contains("not met"))
    }

    @Test func `memory and passes have an end`() async throws {
        let result = try await choose(
            tuning(10, memoryMiB: 65_536, threads: 1), secondsPerMiB: 0.000001)
        #expect(result.argon2_memory_kib == 256 * 1024)
        #expect(result.argon2_iterations == 16)
    }

    @Test func `more threads than the memory is enough for are not counted`() async throws {
        let result = try await choose(
            tuning(memoryMiB: 256, threads: 64), secondsPerMiB: 0.0001)
        #expect(result.argon2_memory_kib == 12 * 1024)
        #expect(result.threads == 21)
    }

    @Test func `whatever the machine, the target is met where the least meets it`() async throws {
        var generator = SeededGenerator()
        for _ in 0..<1000 {
            let tuning = PasswordTuning(
                targetSeconds: .random(in: 0.01...10, using: &generator),
                memoryKiB: .random(in: 256 * 1024...4096 * 1024, using: &generator),
                threads: .random(in: 1...64, using: &generator))
            let speed = Double.random(in: 0.000_05...0.01, using: &generator)
            let overhead = Double.random(in: 0...0.01, using: &generator)
            let result = try await choose(tuning, secondsPerMiB: speed, overhead: overhead)
            let leastSeconds = overhead + speed * 36
            #expect(
                result.meets_target == (leastSeconds <= tuning.targetSeconds),
                "seed \(generator.seed)")
            #expect(
                result.threads * result.argon2_memory_kib <= tuning.memoryKiB,
                "seed \(generator.seed)")
        }
    }

    @Test func `what is printed is a configuration, of just what was chosen`() async throws {
        let result = try await choose(tuning(), secondsPerMiB: 0.00025)
        let settings = try SettingsLoader(file: (result.configuration, "tuned.yaml")).load()
        #expect(settings.argon2Parameters?.memoryKiB == result.argon2_memory_kib)
        #expect(settings.argon2Parameters?.iterations == result.argon2_iterations)
        #expect(settings.passwordMemoryKiB == result.memory_kib)
        #expect(settings.passwordThreads == result.threads)
        #expect(
            result.text == """
                argon2id           128MiB, 7 iterations
                time of a hash     224.0 ms (target 250.0 ms)
                hashing threads    4, in 512MiB
                sign-ins a second  17.9

                password:
                  threads: 4
                  memory: 512MiB
                  argon2_memory: 128MiB
                  argon2_iterations: 7
                """)
    }

    @Test func `this machine is measured with real hashes`() async throws {
        let parameters = try Argon2Parameters(memoryKiB: 12_288, iterations: 3, lanes: 1)
        let measured = try await PasswordTuning.measure(
            parameters, threads: 2, memoryKiB: 262_144)
        // 36 MiB are filled in no less than a millisecond.
        #expect(measured.seconds > 0.001)
        #expect(abs(measured.perSecond * measured.seconds - 2) < 0.01)
    }

    @Test func `targets are read with their unit, and nothing else is`() {
        #expect(PasswordsCommand.Tune.seconds("250ms") == 0.25)
        #expect(PasswordsCommand.Tune.seconds("2s") == 2)
        for text in ["", "250", "ms", "s", "0.5s", "-1s", "1m", "1 s", "٣s"] {
            #expect(PasswordsCommand.Tune.seconds(text) == nil, "\(text)")
        }
    }
}
