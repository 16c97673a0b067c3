// What every command that runs servers takes.

import ArgumentParser
import Foundation

enum Transport: String, ExpressibleByArgument, CaseIterable, Codable {
    case tcp, unix, tls
}

/// The values of `check.driver`.
enum Driver: String, ExpressibleByArgument, CaseIterable {
    case auto, nio
}

struct ServerOptions: ParsableArguments {
    @Option(help: "The gatehouse program; the one beside this program unless given.")
    var gatehouse: String?
    @Option(help: "Event loops of the server.") var eventLoops = 1
    @Option(help: "The server's check.driver; its own default unless given.") var driver: Driver?
    @Option(help: "The core of the server; the first one unless given.") var serverCore: Int?
    @Option(help: "The core of the load; the second one unless given.") var loadCore: Int?

    var cores: Cores { Cores(server: serverCore, load: loadCore) }

    func gatehouseOptions() throws -> GatehouseOptions {
        let beside = URL(fileURLWithPath: try ChildProcess.ownProgram())
            .deletingLastPathComponent().appendingPathComponent("gatehouse")
        let program = gatehouse ?? beside.path
        guard FileManager.default.isExecutableFile(atPath: program) else {
            throw BenchmarkFailure(
                "there is no gatehouse program at \(program)",
                hint: "`make release` builds it; --gatehouse names another")
        }
        return GatehouseOptions(
            program: program, eventLoops: eventLoops, driver: driver?.rawValue)
    }
}

struct LoadOptions: ParsableArguments {
    @Option(help: "Busy keep-alive connections.") var connections = 32
    @Option(help: "Different cookies, each of which has its turn.") var cookiesCount = 10_000
    @Option(help: "Seconds that are measured in each leg.") var duration = 5.0
    @Option(help: "Seconds of load before measuring.") var warmup = 1.0
    @Option(help: "Run a leg that other programs disturbed again, at most so often.")
    var retries = 0

    func validate() throws {
        guard (1...10_000).contains(connections), (1...1_000_000).contains(cookiesCount),
            duration > 0, warmup >= 0, retries >= 0
        else {
            throw ValidationError(
                "--connections takes 1 to 10000, --cookies-count 1 to 1000000, --duration more than 0"
            )
        }
    }

    func plan(_ target: Target, requests: String) -> LoadPlan {
        LoadPlan(
            target: target, spins: true, requests: requests, connections: connections,
            warmupSeconds: warmup, seconds: duration)
    }
}
