// `gatehouse grants`: what a person let support do.

import ArgumentParser
import GatehouseCheck
import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseSystem

struct GrantsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "grants", abstract: "Use what people let support do.",
        subcommands: [Show.self, Use.self])

    /// A grant by the code that the person read out.
    private static func grant(_ code: String, in store: SQLStore) async throws -> Grant {
        guard let id = GrantID(text: code) else {
            throw CommandFailure.usage("“\(code)” is no code: 32 lower-case hex digits")
        }
        guard let grant = try await store.grant(id) else { throw LookOptions.refused(.noGrant) }
        return grant
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say whose permission a code is, for what and until when.",
            discussion: "Whose it is and why is a look at them, and told while the grant is good.")
        @OptionGroup var options: CommonOptions
        @Argument(help: "The code.") var code: String

        private struct Shown: Encodable {
            let grant: String
            /// Absent where the grant permits nothing now, as the reason is.
            let username: String?
            let reason: String?
            let scope: String
            let `operator`: String?
            let given: Int64
            let ends: Int64
            let revoked: Int64?
            let live: Bool
        }

        func run() async throws {
            let workshop = try await options.openWorkshop()
            let store = workshop.store
            let grant = try await GrantsCommand.grant(code, in: store)
            let now = workshop.now()
            let outcome = try await store.note(
                Look(
                    user: grant.user, time: now, by: try LookOptions.operatorName(),
                    permission: .grant(grant.id), seen: .account), audit: .command, at: now)
            let mayTell = outcome == .noted
            let username = mayTell ? try await store.user(grant.user)?.username.text : nil
            let reason = mayTell ? grant.reason.text : nil
            let isLive = grant.isLive(at: now)
            if options.json {
                return try Output.json(
                    Shown(
                        grant: grant.id.text, username: username, reason: reason,
                        scope: grant.scope.rawValue, operator: grant.onlyFor?.text,
                        given: grant.given.seconds, ends: grant.ends.seconds,
                        revoked: grant.revoked?.seconds, live: isLive))
            }
            print("username  \(username ?? "-")")
            print("reason    \(reason ?? "-")")
            print("allows    \(grant.scope.rawValue)")
            print("for       \(grant.onlyFor?.text ?? "any operator")")
            print("given     \(Output.text(grant.given))")
            print("until     \(Output.text(grant.ends))")
            print("state     \(grant.revoked != nil ? "revoked" : isLive ? "good" : "ended")")
        }
    }

    struct Use: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Be signed in as the person who gave the grant, and print the token.",
            discussion: """
                The session says on every page who acts, ends with the grant, and changes no \
                credentials. A token is the value of the session cookie, or with --bearer what \
                goes behind “Authorization: Bearer”.
                """)
        @OptionGroup var options: CommonOptions
        @Argument(help: "The code.") var code: String
        @Flag(help: "For the Authorization header, not for a cookie.") var bearer = false

        func run() async throws {
            let workshop = try await options.openWorkshop()
            let grant = try await GrantsCommand.grant(code, in: workshop.store)
            guard let limits = workshop.settings.sessionLimits else {
                throw CommandFailure.environment("session.idle is longer than session.absolute")
            }
            let issued = try await workshop.act(
                for: grant.user, under: .grant(grant.id), transport: bearer ? .bearer : .cookie,
                limits: limits)
            if options.json { return try Output.json(issued) }
            print(issued.token)
        }
    }
}
