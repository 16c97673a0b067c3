// Where and when a figure was measured.

import CBenchmark
import Foundation
import Glibc

/// Stands in every report and every picture: a figure without its machine says nothing.
struct Machine: Codable, Equatable {
    let processor: String
    let cores: Int
    let kernel: String
    /// ISO 8601, UTC.
    let date: String
    let command: String
    /// Where server and load ran, or that they were not pinned.
    let placement: String

    /// - Parameter text: says where they ran, if it is not told by the cores.
    init(cores placement: Cores? = nil, placed text: String = "one thread") {
        processor = Self.processorName() ?? "unknown"
        var count = 0
        var core = bench_next_core(-1)
        while core >= 0 {
            count += 1
            core = bench_next_core(core)
        }
        cores = count
        kernel = (KernelFile.text("/proc/sys/kernel/osrelease") ?? "unknown")
            .trimmingCharacters(in: .whitespacesAndNewlines)
        date = Date().formatted(.iso8601)
        command = (["gatehouse-bench"] + CommandLine.arguments.dropFirst())
            .joined(separator: " ")
        self.placement =
            placement.map { cores in
                if let server = cores.server, let load = cores.load {
                    return cores.areApart
                        ? "server on core \(server), load on core \(load)"
                        : "server and load on the same core"
                }
                return "not pinned: one core for server and load"
            } ?? text
    }

    private static func processorName() -> String? {
        let lines = (KernelFile.text("/proc/cpuinfo") ?? "").split(separator: "\n")
        return lines.first { $0.hasPrefix("model name") }?.split(separator: ":").last
            .map { $0.trimmingCharacters(in: .whitespaces) }
    }

    /// Two lines for people.
    var lines: [String] {
        ["\(processor), \(cores) core(s), Linux \(kernel), \(date); \(placement)", "$ \(command)"]
    }
}
