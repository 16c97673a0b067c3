// `gatehouse-bench plot`: pictures of what was measured.

import ArgumentParser
import Foundation

struct PlotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plot", abstract: "Draw SVG pictures of reports that --json or --save wrote.")

    @Argument(help: "Reports, JSON.") var reports: [String]
    @Option(help: "The directory for the pictures.") var output = "Benchmarks/results"

    func run() throws {
        try FileManager.default.createDirectory(
            atPath: output, withIntermediateDirectories: true)
        var written: Set<String> = []
        for path in reports {
            for picture in Pictures.of(try Report.read(path)) {
                let file = "\(output)/\(picture.name).svg"
                guard written.insert(file).inserted else {
                    throw BenchmarkFailure("two reports would both be drawn in \(file)")
                }
                try picture.svg.write(toFile: file, atomically: true, encoding: .utf8)
                print(file)
            }
        }
    }
}
