// `gatehouse passwords tune`: measures this machine, and says which settings suit it.

import ArgumentParser
import GatehouseCore
import GatehousePasswords

extension PasswordsCommand {
    struct Tune: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Measure this machine and print parameters for password hashes.",
            discussion: """
                Hashes with every hashing thread busy, as in a rush of sign-ins, and prints the \
                strongest parameters with which a hash takes no longer than the target. Run it on the \
                machine that will serve, while it does little else.
                """)

        @OptionGroup var options: CommonOptions
        @Option(help: "How long a hash may take, 10ms to 10s.") var target = "250ms"
        @Option(help: "What all hashes together may take; password.memory unless given.")
        var memory: String?

        func run() async throws {
            guard let targetSeconds = Self.seconds(target), (0.01...10).contains(targetSeconds)
            else {
                throw CommandFailure.usage("--target takes 10ms to 10s, such as 250ms")
            }
            let settings = try options.settings(
                flags: memory.map { ["password.memory": [$0]] } ?? [:])
            let tuning = PasswordTuning(
                targetSeconds: targetSeconds, memoryKiB: settings.passwordMemoryKiB,
                threads: settings.passwordThreadCount)
            let result = try await tuning.choose { parameters in
                try await PasswordTuning.measure(
                    parameters, threads: tuning.threads, memoryKiB: tuning.memoryKiB)
            }
            if options.json { try Output.json(result) } else { print(result.text) }
        }

        /// Reads `250ms` or `2s`.
        static func seconds(_ text: String) -> Double? {
            if text.hasSuffix("ms") {
                return Setting.number(text.dropLast(2)).map { Double($0) / 1000 }
            }
            return text.hasSuffix("s") ? Setting.number(text.dropLast()).map { Double($0) } : nil
        }
    }
}
