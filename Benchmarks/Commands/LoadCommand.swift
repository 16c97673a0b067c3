// The load process, which the other commands start.

import ArgumentParser
import Foundation
import Glibc

struct LoadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load", abstract: "Run one load, for the other commands.", shouldDisplay: false
    )

    @Argument(help: "A file with the plan, JSON.") var plan: String

    func run() throws {
        signal(SIGPIPE, SIG_IGN)
        let data = try Data(contentsOf: URL(fileURLWithPath: plan))
        let plan = try JSONDecoder().decode(LoadPlan.self, from: data)
        let result = try LoadLoop(plan).run()
        print(String(decoding: try JSONEncoder().encode(result), as: UTF8.self))
    }
}
