// The benchmarks' command line. Benchmarks/README.md says what each command measures, and how.

import ArgumentParser
import Foundation
import Glibc

struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gatehouse-bench",
        abstract: "Measures Gatehouse: checks, tokens, revocations, and its peers beside it.",
        discussion: """
            Exit codes: 0 measured, 1 a wrong answer or a server that failed: no result, 2 usage.
            """,
        subcommands: [
            CheckCommand.self, TokenCommand.self, RevocationCommand.self, PeersCommand.self,
            LoginCommand.self, FloodCommand.self, RotateCommand.self, ScaleCommand.self,
            PlotCommand.self, LoadCommand.self,
        ])
}

/// Why there is no result.
struct BenchmarkFailure: Error, Equatable {
    let message: String
    let hint: String?

    init(_ message: String, hint: String? = nil) {
        self.message = message
        self.hint = hint
    }
}

@main
enum Entry {
    static func main() {
        ScratchDirectory.removeAllWhenInterrupted()
        let code = run()
        ScratchDirectory.removeAll()
        exit(code)
    }

    /// Runs the command; the exit code.
    private static func run() -> Int32 {
        do {
            var command = try Bench.parseAsRoot()
            try command.run()
            return 0
        } catch let failure as BenchmarkFailure {
            note("error: " + failure.message)
            if let hint = failure.hint { note("hint: " + hint) }
            return 1
        } catch {
            let code = Bench.exitCode(for: error)
            let message = Bench.fullMessage(for: error)
            if code.isSuccess { print(message) } else { note(message) }
            return code == .validationFailure ? 2 : code.rawValue
        }
    }
}

/// Says on standard error what is going on: standard output is for results.
func note(_ message: String) {
    FileHandle.standardError.write(Data((message + "\n").utf8))
}
