// The results of one command, as a table for people and as JSON for programs and pictures.

import ArgumentParser
import Foundation

/// One document; the part that its command measured is there, the others are not.
struct Report: Codable {
    var machine: Machine
    /// What could not be measured here, and why.
    var leftOut: [String] = []
    var check: CheckFigures?
    var token: TokenFigures?
    var revocation: RevocationFigures?
    var peers: PeersFigures?
    var login: LoginFigures?
    var flood: FloodFigures?
    var rotate: RotateFigures?
    var scale: ScaleFigures?

    init(machine: Machine) { self.machine = machine }

    static func read(_ path: String) throws -> Report {
        guard let data = FileManager.default.contents(atPath: path),
            let report = try? JSONDecoder().decode(Report.self, from: data)
        else { throw BenchmarkFailure("\(path) is no report of gatehouse-bench") }
        return report
    }

    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self)
    }

    /// What people read.
    var lines: [String] {
        var lines = machine.lines + [""]
        lines += check?.lines ?? []
        lines += token?.lines ?? []
        lines += revocation?.lines ?? []
        lines += peers?.lines ?? []
        lines += login?.lines ?? []
        lines += flood?.lines ?? []
        lines += rotate?.lines ?? []
        lines += scale?.lines ?? []
        return lines + disturbance + leftOut.map { "left out: \($0)" }
    }

    private var disturbance: [String] {
        let results =
            (check?.results ?? []) + (revocation?.results ?? []) + (peers?.results ?? [])
        let disturbed = results.filter(\.isDisturbed)
        guard !disturbed.isEmpty else { return [] }
        let share = text(median(disturbed.map(\.loadBusy)), digits: 2)
        let others = text(median(disturbed.map(\.othersBusy)), digits: 2)
        return [
            "disturbed: \(disturbed.count) of \(results.count) legs; in these the load got \(share) of "
                + "its core, and other programs took \(others) cores (medians). Latencies and requests "
                + "a second are then worth little, CPU for each request more."
        ]
    }
}

/// How a command tells its results.
struct OutputOptions: ParsableArguments {
    @Flag(help: "Print JSON.") var json = false
    @Option(help: "Also write the JSON to this file.") var save: String?

    func tell(_ report: Report) throws {
        let text = try report.json()
        if let save { try (text + "\n").write(toFile: save, atomically: true, encoding: .utf8) }
        print(json ? text : report.lines.joined(separator: "\n"))
    }
}
