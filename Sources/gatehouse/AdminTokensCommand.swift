// `gatehouse admin-tokens`: operators who ask over the admin endpoint.

import ArgumentParser
import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseSystem

struct AdminTokensCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "admin-tokens",
        abstract: "Add, list and revoke the tokens of operators who ask the admin endpoint.",
        subcommands: [Add.self, List.self, Revoke.self])

    private static func name(_ text: String) throws -> OperatorName {
        guard let name = OperatorName(text) else {
            throw CommandFailure.usage(
                "“\(text)” is no operator's name",
                hint: "1 to \(OperatorName.maximumBytes) ASCII letters, digits, and . _ - @")
        }
        return name
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a token and print it, once: only its hash is stored.")
        @OptionGroup var options: CommonOptions
        @Argument(help: "Who uses it, as people see it; never given again.") var name: String

        private struct Made: Encodable {
            let name: String
            let token: String
        }

        func run() async throws {
            let name = try AdminTokensCommand.name(name)
            let workshop = try await options.openWorkshop()
            let secret = try Entropy.system.bytes(AdminToken.secretBytes)
            let text = Base64URL.encode(secret.span)
            let now = workshop.now()
            let isAdded = try await workshop.store.addAdminToken(
                AdminToken(name: name, hash: try sha256(text.span), created: now),
                audit: AuditEvent(.adminTokenMade, by: .command, detail: "name=\(name.text)"),
                at: now)
            guard isAdded else {
                throw CommandFailure.refused(
                    "the name was given before, or there are \(AdminToken.maximumCount) tokens",
                    hint: "`gatehouse admin-tokens list` shows them, revoked ones too")
            }
            let token = String(decoding: text, as: UTF8.self)
            if options.json { return try Output.json(Made(name: name.text, token: token)) }
            print(token)
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List tokens by name, revoked ones too.")
        @OptionGroup var options: CommonOptions

        private struct Listed: Encodable {
            let name: String
            let created: Int64
            let last_used: Int64?
            let revoked: Int64?
        }

        func run() async throws {
            let store = try options.openStore(try options.settings())
            let tokens = try await store.adminTokens()
            if options.json {
                return try Output.json([
                    "tokens": tokens.map {
                        Listed(
                            name: $0.name.text, created: $0.created.seconds,
                            last_used: $0.lastUsed?.seconds, revoked: $0.revoked?.seconds)
                    }
                ])
            }
            Output.table(
                ["name", "made", "last used", "revoked"],
                tokens.map {
                    [
                        $0.name.text, Output.text($0.created), Output.text($0.lastUsed),
                        Output.text($0.revoked),
                    ]
                })
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Revoke a token; the next request with it is refused.")
        @OptionGroup var options: CommonOptions
        @Argument(help: "Whose.") var name: String

        func run() async throws {
            let name = try AdminTokensCommand.name(name)
            let workshop = try await options.openWorkshop()
            let isRevoked = try await workshop.store.revokeAdminToken(
                name,
                audit: AuditEvent(.adminTokenRevoked, by: .command, detail: "name=\(name.text)"),
                at: workshop.now())
            guard isRevoked else {
                throw CommandFailure.refused("there is no token of \(name.text)")
            }
            if options.json {
                try Output.json(["revoked": name.text])
            } else {
                print("revoked the token of \(name.text)")
            }
        }
    }
}
