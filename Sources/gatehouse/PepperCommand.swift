// `gatehouse passwords pepper`: list, rotate.

import ArgumentParser
import GatehouseCore
import GatehouseStore

struct PepperCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pepper",
        abstract: "Look at and rotate the peppers under which password hashes are sealed.",
        subcommands: [List.self, Rotate.self, PepperDisableCommand.self])

    /// Hashes read, and written, in one transaction.
    private static let batch = 500

    /// Gives every stored hash of ours to `body`, in batches; says how many others there are: those wait
    /// for their users' next sign-in.
    private static func forEachBatch(
        in store: any Store,
        _ body: ([(stored: StoredPasswordHash, hash: PasswordHash)]) async throws -> Void
    ) async throws -> Int {
        var last: UserID?
        var foreign = 0
        while true {
            let page = try await store.passwordHashes(after: last, limit: batch)
            let ours = page.compactMap { stored in
                (try? PasswordHash(stored.text)).map { (stored, $0) }
            }
            foreign += page.count - ours.count
            if !ours.isEmpty { try await body(ours) }
            guard page.count == batch else { return foreign }
            last = page.last?.user
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the peppers, and how many users' hashes depend on each.")
        @OptionGroup var options: CommonOptions

        private struct Pepper: Encodable {
            let key: String
            let created: Int64
            let activated: Int64?
            let users: Int
            let innermost: Int
            let only: Int
            /// Nil while it is pending.
            let not_signed_in_since: Int?
        }

        private struct Peppers: Encodable {
            let peppers: [Pepper]
            /// Hashes of ours under no pepper, and other systems' hashes.
            let without: Int
            let foreign: Int
        }

        func run() async throws {
            let workshop = try await options.openWorkshop()
            let use = try await PepperUse(of: workshop.store)
            let ring = try await workshop.keyring()
            let peppers = ring.dataKeys.filter { $0.purpose == .pepper }.map { key in
                Pepper(
                    key: key.id.text, created: key.created.seconds,
                    activated: key.activated?.seconds, users: use.users[key.id] ?? 0,
                    innermost: use.innermost[key.id] ?? 0, only: use.only[key.id] ?? 0,
                    not_signed_in_since: key.activated.map { _ in
                        use.notSignedIn(since: key.id, in: ring)
                    })
            }
            if options.json {
                return try Output.json(
                    Peppers(peppers: peppers, without: use.without, foreign: use.foreign))
            }
            let now = workshop.now()
            func day(_ seconds: Int64?) -> String {
                Output.day(seconds.flatMap { UnixTime(seconds: $0) }, at: now)
            }
            Output.table(
                [
                    "pepper", "created", "activated", "users", "innermost", "only",
                    "not signed in since",
                ],
                peppers.map {
                    [
                        $0.key, day($0.created), day($0.activated), "\($0.users)",
                        "\($0.innermost)", "\($0.only)",
                        $0.not_signed_in_since.map { "\($0)" } ?? "-",
                    ]
                })
            print("without a pepper: \(use.without); other systems' hashes: \(use.foreign)")
        }
    }

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lay a new pepper over every password hash, without the passwords.",
            discussion: """
                Works beside running servers, and may be run again after an interruption: while the \
                newest pepper does not lie over every hash, the command goes on with that one. Hashes \
                of other systems get the pepper when their users sign in.
                """)
        @OptionGroup var options: CommonOptions

        private struct Result: Encodable {
            let pepper: String
            /// False when the rotation before had not been finished.
            let new: Bool
            let layered: Int
            let already: Int
            let changed_meanwhile: Int
            let full: Int
            let foreign: Int
        }

        func run() async throws {
            let workshop = try await options.openWorkshop()
            let isNew = try await !isUnfinished(workshop)
            // No server may meet a hash whose pepper it has not loaded, nor hash a password under the one
            // before once its row has been passed.
            _ = try await workshop.takeUpDataKey(.pepper, adding: isNew)
            try await layer(workshop, isNew: isNew)
        }

        /// Whether the newest pepper is still to be activated, or laid over some hash that has an older one.
        private func isUnfinished(_ workshop: Workshop) async throws -> Bool {
            let ring = try await workshop.keyring()
            if ring.pendingDataKeys.contains(where: { $0.purpose == .pepper }) { return true }
            var isUnfinished = false
            _ = try await PepperCommand.forEachBatch(in: workshop.store) { hashes in
                isUnfinished =
                    isUnfinished
                    || hashes.contains {
                        !$0.hash.layers.isEmpty && $0.hash.layers.last != ring.peppers.current
                            && $0.hash.layers.count < PasswordHash.maximumLayers
                    }
            }
            return isUnfinished
        }

        private func layer(_ workshop: Workshop, isNew: Bool) async throws {
            let peppers = try await workshop.keyring().peppers
            guard let current = peppers.current else {
                throw CommandFailure.environment("the keyring has no pepper")
            }
            var (layered, already, tried, full) = (0, 0, 0, 0)
            let foreign = try await PepperCommand.forEachBatch(in: workshop.store) { hashes in
                var changes: [(old: StoredPasswordHash, new: String)] = []
                for (stored, hash) in hashes {
                    if hash.layers.last == current {
                        already += 1
                    } else if hash.layers.count >= PasswordHash.maximumLayers {
                        full += 1
                    } else {
                        changes.append((stored, try peppers.sealing(hash).text))
                    }
                }
                guard !changes.isEmpty else { return }
                tried += changes.count
                layered += try await workshop.store.replacePasswordHashes(
                    changes, audit: [], at: workshop.now())
            }
            try await workshop.store.note(
                AuditEvent(.pepperLayered, by: .command, key: current), at: workshop.now())
            if options.json {
                return try Output.json(
                    Result(
                        pepper: current.text, new: isNew, layered: layered, already: already,
                        changed_meanwhile: tried - layered, full: full, foreign: foreign))
            }
            print(
                "pepper \(current.text) lies over \(layered + already) password hashes, \(layered) new"
            )
            if !isNew {
                print("no new pepper: the rotation before was finished; run it again for another")
            }
            if tried > layered { print("changed meanwhile: \(tried - layered); run it again") }
            if full > 0 {
                print("under \(PasswordHash.maximumLayers) peppers already, left alone: \(full)")
            }
            if foreign > 0 { print("other systems' hashes, until the next sign-in: \(foreign)") }
        }
    }
}
