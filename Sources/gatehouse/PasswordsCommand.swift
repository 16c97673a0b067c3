// `gatehouse passwords`: filter, pepper.

import ArgumentParser

struct PasswordsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "passwords", abstract: "What concerns all passwords.",
        subcommands: [PasswordFilterCommand.self, PepperCommand.self])
}
