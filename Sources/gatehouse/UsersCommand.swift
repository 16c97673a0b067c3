// `gatehouse users`: add, invite, recover, list, show, disable, enable.

import ArgumentParser
import Foundation
import GatehouseCheck
import GatehouseCore
import GatehousePasswords
import GatehousePeople
import GatehouseStore
import GatehouseSystem
import GatehouseWeb

struct UsersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "users", abstract: "Add, list, rename, switch and delete users.",
        subcommands: [
            Add.self, Invite.self, Recover.self, List.self, Show.self, Rename.self, Disable.self,
            Enable.self, Unlock.self, Delete.self, Reindex.self, UsersImportCommand.self,
            Export.self, PurgeAgain.self,
        ])

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add a user.",
            discussion: """
                Without --password-stdin the user has no password, and nobody can sign in as them \
                with one. With --test sessions can be issued for them without a permission.
                """)

        @OptionGroup var options: CommonOptions
        @Argument(help: "The username.") var name: String
        @Flag(help: "Read the password from standard input; one line end is not part of it.")
        var passwordStdin = false
        @Flag(help: "Nobody: for tests and measurements; operators may look at it and act for it.")
        var test = false
        @Flag(help: "Take the name although it is reserved, or looks like one that is.")
        var reserved = false

        func run() async throws {
            let workshop = try await options.openWorkshop()
            let store = workshop.store
            let username = try CommonOptions.newUsername(name, workshop.settings)
            // A taken name is told before a hash is made; the constraint still decides below.
            guard try await store.user(named: username) == nil else {
                throw UsersCommand.taken(username)
            }
            var hash: String?
            if passwordStdin {
                let bare = try await hashFromStandardInput(
                    for: username, workshop.settings)
                hash = try await workshop.keyring().peppers.sealing(bare).text
            }
            let id = try UserID.random(from: .system)
            let audit = AuditEvent(
                .userCreated, by: .command, user: id, detail: test ? "test=true" : nil)
            let now = SystemClock.now().wall
            let outcome =
                test
                ? try await store.addTestUser(
                    username, id: id, passwordHash: hash, takingReserved: reserved, audit: audit,
                    at: now)
                : try await store.addUser(
                    username, id: id, passwordHash: hash, takingReserved: reserved, audit: audit,
                    at: now)
            guard case .added(let user) = outcome else {
                throw outcome == .skeletonsOutdated
                    ? UsersCommand.skeletonsOutdated : UsersCommand.taken(username)
            }
            // What strangers did to the name before is not this user's.
            try await workshop.clearAttempts([username], of: id)
            if options.json {
                try Output.json(UserOutput(user))
            } else {
                print("added \(user.username.text), user \(user.id.text)")
            }
        }

        private func hashFromStandardInput(
            for username: Username, _ settings: Settings
        ) async throws -> PasswordHash {
            let rules = try PasswordRules(settings)
            let password = try StandardInput.password()
            if let refusal = try rules.refusal(of: password, for: username) {
                throw CommandFailure.refused("the password is refused: \(refusal.message)")
            }
            let hasher = try settings.passwordHasher()
            let hash: PasswordHash
            do { hash = try await hasher.hash(password) } catch {
                await hasher.shutdown()
                throw error
            }
            await hasher.shutdown()
            return hash
        }
    }

    private struct LinkOutput: Encodable {
        let link: String
        let token: String
        let expires: Int64
    }

    /// Makes a single-use link and prints it, once: only its hash is stored.
    private static func issueLink(
        _ purpose: Link.Purpose, options: CommonOptions, settings: Settings,
        add: (Link, UnixTime) async throws -> Void
    ) async throws {
        let secret = try Entropy.system.bytes(Link.secretBytes)
        guard let hash = LinkHash(secret: secret) else {
            throw CommandFailure.environment("libcrypto failed")
        }
        let now = SystemClock.now().wall
        let expires = now.advanced(bySeconds: Link.lifetimeSeconds)
        try await add(Link(hash: hash, purpose: purpose, expires: expires), now)
        let token = String(decoding: Base64URL.encode(secret.span), as: UTF8.self)
        let page = purpose == .invitation ? "register?invite=" : "recover?token="
        let link = "\(settings.publicURL)/\(page)\(token)"
        if options.json {
            return try Output.json(
                LinkOutput(link: link, token: token, expires: expires.seconds))
        }
        print(link)
        print("It works once, until \(Output.text(expires)).")
    }

    struct Invite: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print a link with which one person can register; it works once.")
        @OptionGroup var options: CommonOptions

        func run() async throws {
            let settings = try options.settings()
            let store = try await options.openWorkshop().store
            try await UsersCommand.issueLink(.invitation, options: options, settings: settings) {
                link, now in
                try await store.addLink(
                    link, audit: AuditEvent(.userInvited, by: .command), at: now)
            }
        }
    }

    struct Recover: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print a link with which a user can set a new password; it works once.",
            discussion: """
                Whoever has the link can be signed in as the user, so they are told of it as of a \
                look without permission, with --reason, and can't put that away for seven days.
                """)
        /// What the user is told where `--reason` gives nothing.
        private static let defaultReason = "a recovery link was made"

        @OptionGroup var options: CommonOptions
        @Argument(help: "The username.") var name: String

        func run() async throws {
            let settings = try options.settings()
            let store = try await options.openWorkshop().store
            let user = try await CommonOptions.user(name, in: store)
            let isTest = try await store.isTestUser(user.id)
            let name = try LookOptions.operatorName()
            guard
                let reason = options.reason.flatMap({ LookReason($0) })
                    ?? LookReason(Self.defaultReason)
            else { preconditionFailure("no reason") }
            try await UsersCommand.issueLink(
                .recovery(user.id), options: options, settings: settings
            ) { link, now in
                let look = Look(
                    user: user.id, time: now, by: name, permission: .brokenGlass(reason),
                    seen: .recovery)
                try await store.addRecovery(
                    link, look: isTest ? nil : look,
                    audit: AuditEvent(.userRecoveryIssued, by: .command, user: user.id), at: now)
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List all users.")
        /// Users read in one go, and printed: there may be more than memory holds.
        static let pageSize = 1000

        @OptionGroup var options: CommonOptions

        func run() async throws {
            let store = try options.openStore(try options.settings())
            var table = Output.PagedTable(["username", "state", "created", "user"])
            var users = try await store.users(after: nil, limit: Self.pageSize)
            if options.json { print("{\"users\":[", terminator: "") }
            while true {
                if options.json {
                    print(
                        try users.map { try Output.jsonText(UserOutput($0)) }.joined(
                            separator: ","), terminator: "")
                } else {
                    table.add(
                        users.map {
                            [
                                $0.username.text, $0.state.rawValue, Output.text($0.created),
                                $0.id.text,
                            ]
                        })
                }
                guard users.count == Self.pageSize, let last = users.last else { break }
                users = try await store.users(after: last.username, limit: Self.pageSize)
                if options.json, !users.isEmpty { print(",", terminator: "") }
            }
            if options.json { print("]}") }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show one user.")
        @OptionGroup var options: CommonOptions
        @OptionGroup var look: LookOptions
        @Argument(help: "The username.") var name: String

        func run() async throws {
            let workshop = try await options.openWorkshop(because: look.breakGlass)
            let user = try await CommonOptions.user(name, in: workshop.store)
            try await look.look(at: user, .account, workshop)
            let former = try await workshop.store.names(of: user.id).filter { $0.state == .former }
            let key = try AttemptKey(user.username, key: try await workshop.lookUpKey())
            let attempts = try await workshop.store.attempts(key)
            guard !options.json else {
                return try Output.json(
                    UserOutput(user, failures: attempts?.failures ?? 0, formerNames: former))
            }
            print("username  \(user.username.text)")
            print("user      \(user.id.text)")
            print("state     \(user.state.rawValue)")
            print("created   \(Output.text(user.created))")
            for name in former {
                print("formerly  \(name.username.text), until \(Output.text(name.since))")
            }
            print("epoch     \(user.epoch)")
            print("password  \(user.passwordHash == nil ? "none" : "set")")
            guard let attempts, attempts.failures > 0 else { return }
            let isExhausted = attempts.failures >= AttemptRule.maximumFailures
            let next = isExhausted ? "none until it is unlocked" : Output.text(attempts.next)
            print("failures  \(attempts.failures) in a row; next try \(next)")
        }
    }

    struct Unlock: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Forget a user's failed sign-ins, so that the password may be tried again.")
        @OptionGroup var options: CommonOptions
        @Argument(help: "The username.") var name: String

        func run() async throws {
            let workshop = try await options.openWorkshop()
            let user = try await CommonOptions.user(name, in: workshop.store)
            try await workshop.clearAttempts(
                [user.username], of: user.id,
                audit: AuditEvent(.passwordAttemptsReset, by: .command, user: user.id))
            if options.json { return try Output.json(UserOutput(user, failures: 0)) }
            print("\(user.username.text) can sign in again")
        }
    }

    struct Disable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Disable a user: every session ends, and no new one begins.")
        @OptionGroup var options: CommonOptions
        @Argument(help: "The username.") var name: String
        @Flag(help: "Return when every live server refuses the user's sessions.") var wait = false

        func run() async throws {
            try await UsersCommand.set(name, .disabled, options: options, wait: wait)
        }
    }

    struct Enable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Enable a user again; sessions that were ended stay ended.")
        @OptionGroup var options: CommonOptions
        @Argument(help: "The username.") var name: String

        func run() async throws {
            try await UsersCommand.set(name, .enabled, options: options, wait: false)
        }
    }

    private static func set(
        _ name: String, _ state: User.State, options: CommonOptions, wait: Bool
    ) async throws {
        let store = try await options.openWorkshop().store
        let user = try await CommonOptions.user(name, in: store)
        let kind: AuditEvent.Kind = state == .enabled ? .userEnabled : .userDisabled
        let outcome = try await store.setUser(
            user.id, state: state, audit: AuditEvent(kind, by: .command, user: user.id),
            at: SystemClock.now().wall)
        switch outcome {
        case .notFound: throw CommandFailure.refused("there is no user \(user.username.text)")
        case .unchanged(let user):
            // Run again after an interruption, it waits for what the first run did.
            let position = try await store.head().sequence
            try await report(user, "already", position, in: store, options: options, wait: wait)
        case .changed(let user, let position):
            try await report(user, "now", position, in: store, options: options, wait: wait)
        }
    }

    private static func report(
        _ user: User, _ since: String, _ position: UInt64, in store: any Store,
        options: CommonOptions, wait: Bool
    ) async throws {
        try await report(
            UserOutput(user), "\(user.username.text) is \(since) \(user.state.rawValue)", position,
            in: store, options: options, wait: wait)
    }

    /// Says what was done, with `wait` once every live server has it.
    static func report(
        _ output: some Encodable, _ message: String, _ position: UInt64, in store: any Store,
        options: CommonOptions, wait: Bool
    ) async throws {
        let delays =
            wait ? try await NodeWait(store: store).until { $0.position >= position } : []
        if options.json { return try Output.json(output) }
        print(message)
        for delay in delays { print("server \(delay.node.text): \(delay.milliseconds) ms") }
    }
}
