// `gatehouse keys data`: list, rotate, prune.

import ArgumentParser
import GatehouseCore
import GatehouseStore

struct DataKeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "data",
        abstract: "Look at, rotate and destroy the keys that stored rows depend on.",
        subcommands: [List.self, Rotate.self, Prune.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the data keys by purpose, and how many rows depend on each.")
        @OptionGroup var options: CommonOptions

        private struct Key: Encodable {
            let id: String
            let purpose: String
            let created: Int64
            let activated: Int64?
            let age_seconds: Int64
            /// `newest` is what is written under; `former` is kept while a row depends on it.
            let state: String
            /// Nil where rows don't say which key is theirs.
            let rows: Int?
        }

        private struct Keys: Encodable {
            let keys: [Key]
            /// Counters of failed sign-ins, under all look-up keys together.
            let look_up_rows: Int
        }

        func run() async throws {
            let workshop = try await options.openWorkshop()
            let ring = try await workshop.keyring()
            let peppers = try await PepperUse(of: workshop.store)
            let now = workshop.now()
            var keys: [Key] = []
            var together = 0
            for key in ring.dataKeys.sorted(by: { $0.purpose.rawValue < $1.purpose.rawValue }) {
                var counted: Int?
                switch try await DataKeyUpkeep.rows(
                    of: key, peppers: peppers, store: workshop.store)
                {
                case .counted(let count): counted = count
                case .together(let count): together = count
                }
                let isNewest = ring.newestDataKey(key.purpose)?.id == key.id
                keys.append(
                    Key(
                        id: key.id.text, purpose: key.purpose.name, created: key.created.seconds,
                        activated: key.activated?.seconds,
                        age_seconds: Output.age(of: key.created, at: now),
                        state: key.activated == nil
                            ? "pending" : isNewest ? "newest" : "former", rows: counted))
            }
            if options.json {
                return try Output.json(Keys(keys: keys, look_up_rows: together))
            }
            Output.table(
                ["key", "purpose", "state", "age", "created", "rows"],
                keys.map {
                    [
                        $0.id, $0.purpose, $0.state, Output.duration($0.age_seconds),
                        Output.text(UnixTime(seconds: $0.created)),
                        $0.rows.map { "\($0)" } ?? "-",
                    ]
                })
            print(
                "look-up: \(together) counters of failed sign-ins, which don't say under which key")
        }
    }

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take a new data key into use.",
            discussion: """
                A new look-up key begins every counter of failed sign-ins anew: waits end, and users \
                whose tries were used up can be tried again. Under a new audit key new entries of the \
                audit trail are made; the one before stays as long as an entry was made with it. Under a new \
                profile key every profile and its history are sealed anew. Works beside running servers; run again \
                after an interruption, it goes on with the key that is pending, or with the profiles that are left.
                """)
        @OptionGroup var options: CommonOptions
        @Argument(help: "The purpose: look-up, audit or profile.") var purpose: String

        private struct Result: Encodable {
            let key: String
            let purpose: String
            let version: UInt64
        }

        func run() async throws {
            guard let purpose = DataKeyPurpose.allCases.first(where: { $0.name == purpose }) else {
                throw CommandFailure.usage(
                    "“\(self.purpose)” is no purpose of a data key",
                    hint: "write look-up, audit or profile")
            }
            switch purpose {
            case .lookUp, .audit: break
            case .profile:
                return try await ProfileRotation(
                    workshop: try await options.openWorkshop(), json: options.json
                ).run()
            case .pepper:
                throw CommandFailure.usage(
                    "a new pepper is laid over every password hash",
                    hint: "gatehouse passwords pepper rotate")
            }
            let workshop = try await options.openWorkshop()
            let ring = try await workshop.takeUpDataKey(purpose)
            guard let key = ring.newestDataKey(purpose)?.id else {
                throw CommandFailure.environment("the keyring has no \(purpose.name) key")
            }
            if options.json {
                return try Output.json(
                    Result(key: key.text, purpose: purpose.name, version: ring.version))
            }
            print("\(purpose.name) key \(key.text) is in use")
            if purpose == .lookUp {
                print("counters of failed sign-ins begin anew; `keys data prune` ends the old ones")
            }
        }
    }

    struct Prune: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Destroy former data keys that no row depends on.",
            discussion: """
                A former look-up key goes in two runs: the first, two hours after the newer key was \
                taken into use, makes the counters from before expire within a day; one after that \
                destroys the key.
                """)
        @OptionGroup var options: CommonOptions

        private struct Kept: Encodable {
            let key: String
            let reason: String
            let until: Int64?
            let rows: Int?
        }

        private struct Result: Encodable {
            let destroyed: [String]
            let kept: [Kept]
        }

        func run() async throws {
            let workshop = try await options.openWorkshop()
            let pruning = try await prune(workshop)
            let kept = pruning.kept.map { key, reason in
                switch reason {
                case .settling(let until):
                    Kept(key: key.text, reason: "settling", until: until.seconds, rows: nil)
                case .rows(let count):
                    Kept(key: key.text, reason: "rows", until: nil, rows: count)
                }
            }
            if options.json {
                return try Output.json(
                    Result(destroyed: pruning.destroyed.map(\.text), kept: kept))
            }
            print("destroyed \(pruning.destroyed.count) data key(s)")
            for id in pruning.destroyed { print(id.text) }
            for key in kept {
                print(
                    key.until.map {
                        "kept \(key.key): a server may have used it; not before "
                            + Output.text(UnixTime(seconds: $0))
                    } ?? "kept \(key.key): \(key.rows ?? 0) row(s) depend on it, or may")
            }
        }

        private func prune(_ workshop: Workshop) async throws -> DataKeyUpkeep.Pruning {
            for _ in 0..<Workshop.maximumTries {
                let ring = try await workshop.keyring()
                // No server writes under a key that a newer one has taken the place of in `ring`.
                _ = try await NodeWait(store: workshop.store)
                    .until { $0.keyringVersion >= ring.version }
                let (pruning, outcome) = try await DataKeyUpkeep.prune(
                    ring, store: workshop.store, rootKey: workshop.rootKey.key,
                    at: workshop.now(), entropy: .system)
                if outcome == .replaced { return pruning }
            }
            throw CommandFailure.environment(
                "the keyring changed under every try", hint: "another process rotates; try again")
        }
    }
}

extension Workshop {
    /// Adds a data key, unless one of the purpose is pending, and returns with the ring in which it is in
    /// use, once every live server has loaded that ring: none writes under the key before any more.
    func takeUpDataKey(_ purpose: DataKeyPurpose, adding: Bool = true) async throws -> Keyring {
        _ = try await changeKeyring { ring in
            guard adding, !ring.pendingDataKeys.contains(where: { $0.purpose == purpose }) else {
                return nil
            }
            let next = try ring.addingDataKey(purpose, at: now(), entropy: .system)
            let added = next.pendingDataKeys.filter { $0.purpose == purpose }.map(\.id)
            return RingChange(
                ring: next,
                audit: added.map {
                    AuditEvent(.keyAdded, by: .command, key: $0, detail: "purpose=\(purpose.name)")
                }, keys: added)
        }
        while try await keyring().pendingDataKeys.contains(where: { $0.purpose == purpose }) {
            _ = try await activateWithoutServers()
            try await Task.sleep(for: .milliseconds(NodeWait.pollMilliseconds))
        }
        let ring = try await keyring()
        _ = try await NodeWait(store: store).until { $0.keyringVersion >= ring.version }
        return ring
    }
}
