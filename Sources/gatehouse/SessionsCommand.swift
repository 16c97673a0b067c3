// `gatehouse sessions`: list, issue, revoke.

import ArgumentParser
import GatehouseCheck
import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseSystem

struct SessionsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sessions", abstract: "List, issue and revoke sessions.",
        subcommands: [List.self, Issue.self, Revoke.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List a user's sessions, newest first, and their remembered browsers.")
        /// More sessions than a person has; a runaway script's are counted by its owner.
        static let maximumRows = 10_000

        @OptionGroup var options: CommonOptions
        @OptionGroup var look: LookOptions
        @Argument(help: "The username.") var name: String

        private struct Listed: Encodable {
            let sessions: [SessionOutput]
            let remembered: [RememberedOutput]
        }

        func run() async throws {
            let workshop = try await options.openWorkshop(because: look.breakGlass)
            let store = workshop.store
            let user = try await CommonOptions.user(name, in: store)
            try await look.look(at: user, .signIns, workshop)
            let floor = try await store.authenticatedFloor()
            let now = SystemClock.now().wall
            let sessions = try await store.sessions(of: user.id, limit: Self.maximumRows)
                .map { ($0, $0.status(at: now, userEpoch: user.epoch, floor: floor)) }
            let remembered = try await store.signIns(of: user.id, at: now).filter(\.isRemembered)
            if options.json {
                try Output.json(
                    Listed(
                        sessions: sessions.map { SessionOutput($0, state: $1) },
                        remembered: remembered.map { RememberedOutput($0) }))
            } else {
                Output.table(
                    [
                        "session", "state", "created", "last used", "idle until", "at most until",
                        "level", "browser", "place",
                    ],
                    sessions.map { session, state in
                        [
                            session.id.text, state.rawValue, Output.text(session.created),
                            session.lastUsed.map { Output.text($0) } ?? "",
                            Output.text(session.idleDeadline),
                            Output.text(session.absoluteDeadline), "\(session.level.rawValue)",
                            session.origin.browser ?? "", session.origin.place ?? "",
                        ]
                    })
                guard !remembered.isEmpty else { return }
                print("\nremembered browsers, which come back without a password:")
                Output.table(
                    ["last session", "since", "last used", "browser", "place"],
                    remembered.map { signIn in
                        [
                            signIn.session.text, Output.text(signIn.created),
                            Output.text(signIn.lastUsed), signIn.origin.browser ?? "",
                            signIn.origin.place ?? "",
                        ]
                    })
            }
        }
    }

    struct Issue: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Issue sessions without a sign-in, and print their tokens.",
            discussion: """
                For benchmarks and smoke tests, as users that `users add --test` made; audited. As \
                anybody else it is acting for them: that takes --grant or --break-glass, is one \
                session, and says in it who acts. Nobody has proved anything in such a \
                session, so its level is 1 and its methods are empty. A token is the value of the \
                session cookie, or with --bearer what goes behind “Authorization: Bearer”.
                """)
        /// Sessions in one transaction.
        static let batchSize = 500
        /// A million tokens are 240 MB of output.
        static let maximumCount = 1_000_000

        @OptionGroup var options: CommonOptions
        @OptionGroup var look: LookOptions
        @Argument(help: "The username.") var name: String
        @Option(help: "How many.") var count = 1
        @Option(help: "Seconds that they live, idle or not; by default the configured limits.")
        var ttl: Int64?
        @Flag(help: "For the Authorization header, not for a cookie.") var bearer = false

        func validate() throws {
            guard (1...Self.maximumCount).contains(count) else {
                throw ValidationError("--count takes 1 to \(Self.maximumCount)")
            }
            guard ttl.map({ (1...SessionLimits.maximumSeconds).contains($0) }) ?? true else {
                throw ValidationError("--ttl takes 1 to \(SessionLimits.maximumSeconds) seconds")
            }
        }

        func run() async throws {
            let workshop = try await options.openWorkshop(because: look.breakGlass)
            let limits =
                ttl.map { SessionLimits(idleSeconds: $0, absoluteSeconds: $0) }
                ?? workshop.settings.sessionLimits
            guard let limits else { throw CommandFailure.usage("--ttl is out of range") }
            var issued: [IssuedSession] = []
            let user = try await CommonOptions.user(name, in: workshop.store)
            if try await !workshop.store.isTestUser(user.id) {
                let session = try await act(for: user, limits: limits, workshop: workshop)
                if options.json { return try Output.json(["sessions": [session]]) }
                return print(session.token)
            }
            var left = count
            while left > 0 {
                let batch = try await issue(
                    min(left, Self.batchSize), limits: limits, workshop: workshop)
                left -= batch.count
                if options.json {
                    issued += batch
                } else {
                    for session in batch { print(session.token) }
                }
            }
            if options.json { try Output.json(["sessions": issued]) }
        }

        private func act(
            for user: User, limits: SessionLimits, workshop: Workshop
        ) async throws -> IssuedSession {
            guard let permission = look.permission else {
                throw LookOptions.notPermitted(user.username)
            }
            guard count == 1 else {
                throw CommandFailure.usage("--count is for users that were made for tests")
            }
            guard user.state == .enabled else {
                throw CommandFailure.refused("the user \(user.username.text) is disabled")
            }
            return try await workshop.act(
                for: user.id, under: permission, transport: bearer ? .bearer : .cookie,
                limits: limits)
        }

        /// Seals, then stores, and only then hands out: again when keys or user changed meanwhile.
        private func issue(
            _ count: Int, limits: SessionLimits, workshop: Workshop
        ) async throws -> [IssuedSession] {
            let store = workshop.store
            for _ in 0..<Workshop.maximumTries {
                let user = try await CommonOptions.user(name, in: store)
                guard user.state == .enabled else {
                    throw CommandFailure.refused("the user \(user.username.text) is disabled")
                }
                let ring = try await workshop.keyring()
                let floor = try await store.authenticatedFloor()
                let cipher = try TokenCipher(
                    keyring: ring, audience: workshop.settings.audience, purposes: [.session])
                guard let key = cipher.sealingKey else {
                    throw CommandFailure.environment(
                        "no key is active", hint: "the next one is on its way; try again")
                }
                let now = workshop.now()
                var records: [SessionRecord] = []
                var issued: [IssuedSession] = []
                for _ in 0..<count {
                    let record = try SessionRecord(
                        for: user, at: now, floor: floor, limits: limits, methods: [],
                        level: .remembered, entropy: .system)
                    let token = try cipher.sealSession(
                        record.claims(username: user.username, at: now),
                        transport: bearer ? .bearer : .cookie, entropy: .system)
                    records.append(record)
                    issued.append(IssuedSession(record, token: token, key: key))
                }
                let audit = records.map {
                    AuditEvent(.sessionCreated, by: .command, user: user.id, session: $0.id)
                }
                let outcome = try await store.createSessions(
                    SessionCreation(
                        sessions: records,
                        seal: SessionSeal(key: key, keyringVersion: ring.version)),
                    audit: audit, at: now)
                if case .created = outcome { return issued }
            }
            throw CommandFailure.environment(
                "keys or user changed under every try", hint: "try again")
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "End sessions: one, a user's, all before a time, or all.")

        @OptionGroup var options: CommonOptions
        @Argument(help: "A session's 32 hex digits.") var session: String?
        @Option(help: "End every session of this user.") var user: String?
        @Option(help: "End every session whose user signed in before this time.")
        var before: String?
        @Flag(help: "End every session.") var all = false
        @Flag(help: "Return when every live server refuses them, and say how long it took.")
        var wait = false

        private struct Revoked: Encodable {
            /// Those that were live; not counted by time.
            let sessions: Int?
            let position: UInt64
            let nodes: [NodeDelayOutput]?
        }

        func validate() throws {
            let given = [session != nil, user != nil, before != nil, all].count { $0 }
            guard given == 1 else {
                throw ValidationError("name one of SESSION, --user, --before and --all")
            }
        }

        func run() async throws {
            let store = try await options.openWorkshop().store
            let (position, ended) = try await revoke(in: store)
            let steps = Steps(
                isJSON: options.json, isTold: wait,
                interruption: "Ctrl-C ends the waiting, not the revocation: it is stored. The same "
                    + "command waits again.")
            let delays = wait ? try await steps.wait(for: .feed(position), in: store) : []
            if options.json {
                try Output.json(
                    Revoked(
                        sessions: ended, position: position,
                        nodes: wait
                            ? delays.map {
                                NodeDelayOutput(node: $0.node.text, milliseconds: $0.milliseconds)
                            } : nil))
            } else {
                print(ended.map { "ended \($0) session(s)" } ?? "ended every such session")
                for delay in delays { print("server \(delay.node.text): \(delay.milliseconds) ms") }
            }
        }

        /// Where the feed then ends, and how many sessions ended; those of a time are not counted.
        private func revoke(in store: any Store) async throws -> (UInt64, Int?) {
            let now = SystemClock.now().wall
            let outcome: RevocationOutcome
            let missing: String
            if let session {
                guard let id = Identifier(hex: session) else {
                    throw CommandFailure.usage(
                        "“\(session)” is no session: 32 lower-case hex digits")
                }
                missing = "there is no session \(session)"
                outcome = try await store.revokeSession(
                    SessionID(id),
                    audit: AuditEvent(.sessionRevoked, by: .command, session: SessionID(id)),
                    at: now)
            } else if let user {
                let user = try await CommonOptions.user(user, in: store)
                missing = "there is no user \(user.username.text)"
                outcome = try await store.revokeSessions(
                    of: user.id,
                    audit: AuditEvent(.sessionsRevokedForUser, by: .command, user: user.id), at: now
                )
            } else {
                return (try await revokeByTime(in: store, at: now), nil)
            }
            guard case .revoked(let position, let ended) = outcome else {
                throw CommandFailure.refused(missing)
            }
            return (position, ended)
        }

        private func revokeByTime(in store: any Store, at now: UnixTime) async throws -> UInt64 {
            // All: also those that began in this very second.
            let time =
                try before.map { try Output.passedTime($0, at: now) }
                ?? now.advanced(bySeconds: 1)
            return try await store.revokeSessions(
                authenticatedBefore: time,
                audit: AuditEvent(
                    .sessionsRevokedBefore, by: .command, detail: "before=\(time.seconds)"),
                at: now)
        }
    }
}
