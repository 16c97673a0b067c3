// `gatehouse passwords`: what concerns all passwords. A file for each subcommand.

import ArgumentParser

struct PasswordsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "passwords", abstract: "What concerns all passwords.",
        subcommands: [Tune.self, PasswordFilterCommand.self, PepperCommand.self])
}
