// `gatehouse choices`: for whom a purpose holds now.

import ArgumentParser
import GatehouseCore
import GatehousePeople
import GatehouseStore

struct ChoicesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "choices", abstract: "For whom purposes hold.", subcommands: [List.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the users for whom a purpose holds now.",
            discussion: """
                What a mailer asks each time before it sends: who has withdrawn since is not on it. \
                Disabled users are not either.
                """)
        /// Users read in one go.
        static let pageSize = 1000

        @OptionGroup var options: CommonOptions
        @Argument(help: "The purpose, as people.schema names it.") var purpose: String

        private struct Row: Encodable {
            let user: String
            let username: String
        }

        func run() async throws {
            let settings = try options.settings()
            let purposes = try settings.peopleSchema().purposes
            guard let purpose = purposes.first(where: { $0.name.text == purpose }) else {
                throw CommandFailure.refused(
                    "there is no purpose \(purpose)",
                    hint: purposes.isEmpty
                        ? "people.schema names none"
                        : "there are " + purposes.map(\.name.text).joined(separator: ", "))
            }
            let store = try options.openStore(settings)
            var all: [Chooser] = []
            while true {
                let page = try await store.choosers(
                    of: purpose, after: all.last?.username, limit: Self.pageSize)
                all += page
                guard page.count == Self.pageSize else { break }
            }
            guard !options.json else {
                return try Output.json([
                    "users": all.map { Row(user: $0.user.text, username: $0.username.text) }
                ])
            }
            Output.table(["username", "user"], all.map { [$0.username.text, $0.user.text] })
        }
    }
}
