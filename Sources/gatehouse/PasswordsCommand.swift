// `gatehouse passwords`: what operators do with password hashes as a whole.

import ArgumentParser

struct PasswordsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "passwords", abstract: "Peppers over password hashes.",
        subcommands: [PepperCommand.self])
}
