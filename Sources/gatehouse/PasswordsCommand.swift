// `gatehouse passwords`: filter.

import ArgumentParser

struct PasswordsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "passwords", abstract: "What concerns all passwords.",
        subcommands: [PasswordFilterCommand.self])
}
