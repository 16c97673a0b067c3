// `gatehouse-bench scale`: what many users and sessions make dearer, on each store.

import ArgumentParser
import Foundation

struct ScaleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scale",
        abstract: "Measure sign-in, lists, revocations and start with few and many users.",
        discussion: """
            A store of each size gets as many users, with a session each, written in bulk; real servers \
            and commands then work on them, in turns. Told are medians, and what they are to those of \
            the smallest size. PostgreSQL's password, if there is one, comes from ~/.pgpass; databases \
            named gatehouse_bench_… are made and dropped there.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @Flag(help: "Measure SQLite; done unless PostgreSQL is given.") var sqlite = false
    @Option(help: "Measure PostgreSQL: the URL of a database whose role may make others.")
    var postgresql: String?
    @Option(parsing: .upToNextOption, help: "Numbers of users, the smallest first.")
    var users = [10_000, 1_000_000]
    @Option(help: "Rounds, in each of which every size has its turn.") var rounds = 7
    @Option(help: "How often an operation is done in each turn.") var times = 10
    @Option(parsing: .upToNextOption, help: "Writers at once, for what the largest store takes.")
    var writers = [1, 4, 16, 64]
    @Option(help: "Seconds for each number of writers.") var duration = 5.0

    func validate() throws {
        guard !users.isEmpty, users.allSatisfy({ (100...99_999_999).contains($0) }),
            users == users.sorted(), (1...ScaleFigures.maximumRounds).contains(rounds),
            (1...1000).contains(times), writers.allSatisfy({ (1...100).contains($0) }), duration > 0
        else { throw ValidationError("an option is out of its range") }
    }

    func run() throws {
        var report = Report(machine: Machine(placed: "not pinned"))
        var figures = ScaleFigures()
        if sqlite || postgresql == nil { figures.sites += try measure(postgresql: nil) }
        if let postgresql { figures.sites += try measure(postgresql: postgresql) }
        report.scale = figures
        try output.tell(report)
    }

    private func measure(postgresql: String?) throws -> [ScaleFigures.Site] {
        let name = postgresql == nil ? "SQLite" : "PostgreSQL"
        let sites = try users.map { count in
            note("\(name): \(count) users and sessions")
            return try CrowdedSite(
                try server.gatehouseOptions(), users: count, postgresql: postgresql)
        }
        for site in sites { try site.server.start() }
        // What ends the sessions of all comes last.
        for operations in [ScaleFigures.Operation.others, ScaleFigures.Operation.ofAll] {
            for round in 0..<rounds {
                note("\(name): round \(round + 1) of \(rounds)")
                for operation in operations {
                    for site in round.isMultiple(of: 2) ? sites : sites.reversed() {
                        try site.measure(operation, times: times)
                    }
                }
            }
        }
        if let largest = sites.last {
            note("\(name): writers")
            try largest.measureWrites(clients: writers, seconds: duration)
        }
        note("\(name): as many revocations")
        for site in sites { try site.measureRevocations() }
        return sites.map(\.figures)
    }
}
