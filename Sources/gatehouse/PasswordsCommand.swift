// `gatehouse passwords`: what concerns all passwords. A file for each subcommand.

import ArgumentParser

struct PasswordsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "passwords", abstract: "Choose what password hashes cost.",
        subcommands: [Tune.self])
}
