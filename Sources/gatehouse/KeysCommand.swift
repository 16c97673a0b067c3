// `gatehouse keys`: init, rotate, revoke, rewrap, prune.

import ArgumentParser
import GatehouseCheck
import GatehouseCore
import GatehouseStore
import GatehouseSystem

struct KeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "Look at, rotate and revoke the keys that seal tokens.",
        subcommands: [
            Init.self, List.self, Rotate.self, Revoke.self, Rewrap.self, Prune.self,
            DataKeysCommand.self,
        ])

    struct Init: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a root key for a new store; never replaces one.")
        @OptionGroup var options: CommonOptions

        func run() async throws {
            let settings = try options.settings()
            guard case .file(let path) = settings.rootKeySource else {
                throw CommandFailure.refused(
                    "the root key comes from \(settings.rootKeySource.name), and nothing is made there",
                    hint:
                        "make a file, by `gatehouse keys init` with root_key.file, and hand it to "
                        + "what keeps the root key (see OperatingKeys)")
            }
            try DataDirectory.create(settings.dataDirectory)
            try DataDirectory.check(settings.dataDirectory)
            try RootKeyFile.create(path)
            let id = try RootKeyFile.read(path).id.text
            if options.json {
                try Output.json(["root_key": id, "file": path])
            } else {
                print("made root key \(id) at \(path)")
                print("Back it up apart from the database: without it the store does not open.")
            }
        }
    }

    private struct Change: Encodable {
        let key: String?
        let state: String?
        let revoked: [String]?
        let version: UInt64
        /// With `--wait`.
        let steps: [Steps.Step]?
    }

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add a key that takes over once every live server has loaded it.",
            discussion: """
                A key that is pending already is not added to: the command goes on with it, so that \
                it may be run again after an interruption. The servers rotate by themselves too \
                (keys.rotate_every).
                """)
        @OptionGroup var options: CommonOptions
        @Flag(
            help: "Return when the new key is active and every server has loaded it; say each step."
        )
        var wait = false

        func run() async throws {
            let steps = Steps(
                isJSON: options.json, isTold: wait,
                interruption:
                    "Ctrl-C ends the waiting, not the rotation: the servers finish it.\n"
                    + "While the key is pending, the same command goes on with it.")
            let workshop = try await options.openWorkshop()
            let added = try await add(workshop)
            let ring = try await workshop.keyring()
            guard let key = added?.first ?? ring.pending?.id else {
                throw CommandFailure.environment("the key was activated by another process")
            }
            if added != nil {
                steps.tell("added", "key \(key.text) added", key: key, version: ring.version)
            } else {
                steps.tell(
                    "resumed", "key \(key.text) is pending already: going on with it", key: key,
                    version: ring.version)
            }
            try await KeysCommand.finish(key, steps, wait: wait, workshop, options)
        }

        /// Nil when one is pending already.
        private func add(_ workshop: Workshop) async throws -> [KeyID]? {
            do {
                return try await workshop.changeKeyring { ring in
                    guard ring.pending == nil else { return nil }
                    let next = try ring.addingPendingKey(at: workshop.now(), entropy: .system)
                    return Workshop.RingChange(
                        ring: next,
                        audit: [AuditEvent(.keyAdded, by: .command, key: next.pending?.id)],
                        keys: next.keys.filter { $0.state == .pending }.map(\.id))
                }
            } catch let defect as KeyringDefect where defect == .tooManyKeys {
                let next = KeyLife.next(
                    in: try await workshop.keyring(), try await workshop.store.keyUsage(),
                    workshop.settings)
                throw CommandFailure.refused(
                    CommandFailure(defect).message,
                    hint: "`gatehouse keys prune` destroys those whose tokens have expired; \(next)"
                )
            }
        }
    }

    /// Activates without servers, or waits for them, and says how it stands.
    private static func finish(
        _ key: KeyID, _ steps: Steps, revoked: [KeyID]? = nil, wait: Bool, _ workshop: Workshop,
        _ options: CommonOptions
    ) async throws {
        _ = try await workshop.activateWithoutServers()
        var ring = try await workshop.keyring()
        while wait, ring.key(key)?.state == .pending {
            let nodes = try await workshop.store.liveNodes(at: workshop.now())
            steps.look(at: nodes, for: .ring(ring.version))
            try await Task.sleep(for: .milliseconds(NodeWait.pollMilliseconds))
            // A server may have ended meanwhile, and with the last one the waiting for it.
            _ = try await workshop.activateWithoutServers()
            ring = try await workshop.keyring()
        }
        if wait {
            let state = ring.key(key)?.state
            if state == .active {
                steps.tell(
                    "activated", "key \(key.text) is active", key: key, version: ring.version)
            }
            // Active for everybody: each server has loaded the ring in which it is.
            _ = try await steps.wait(for: .ring(ring.version), in: workshop.store)
            steps.tell(
                "loaded", "every server has ring version \(ring.version)", version: ring.version)
        }
        let state = ring.key(key)?.state
        if options.json {
            try Output.json(
                Change(
                    key: key.text, state: state?.name, revoked: revoked?.map(\.text),
                    version: ring.version, steps: wait ? steps.all : nil))
        } else {
            print("key \(key.text) is \(state?.name ?? "gone")")
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Revoke keys: every token that they sealed is refused.",
            discussion: "When no key is left to seal with, a new one is added at once.")
        @OptionGroup var options: CommonOptions
        @Argument(help: "A key's 8 hex digits.") var id: String?
        @Option(help: "Every key that was first active before this time.") var before: String?
        @Flag(help: "Every key.") var all = false
        @Flag(help: "Return when every live server refuses what they sealed.") var wait = false
        @Flag(
            help: """
                With --all: take this machine's clock for right, after a wrong one has written to \
                the store and every server answers 503.
                """)
        var acceptClock = false

        func validate() throws {
            guard all || !acceptClock else { throw ValidationError("--accept-clock takes --all") }
            guard [id != nil, before != nil, all].count(where: { $0 }) == 1 else {
                throw ValidationError("name one of ID, --before and --all")
            }
        }

        func run() async throws {
            let selects = try selection()
            let steps = Steps(
                isJSON: options.json, isTold: wait,
                interruption: "Ctrl-C ends the waiting, not the revocation: it is stored. "
                    + (all
                        ? "\n`gatehouse keys rotate --wait` goes on with the key that takes over, "
                            + "and waits for the\nservers; this command again would revoke that key "
                            + "too."
                        : "The same command waits again."))
            let workshop = try await options.openWorkshop()
            if let id, try await workshop.keyring().keys.allSatisfy({ $0.id.text != id }) {
                throw CommandFailure.refused("there is no key \(id)")
            }
            let changed = try await workshop.changeKeyring { ring in
                guard
                    let (next, revoked) = try ring.revoking(
                        at: workshop.now(), entropy: .system, where: selects)
                else { return nil }
                var audit = revoked.map { AuditEvent(.keyRevoked, by: .command, key: $0) }
                // A pending key may have been among them, and another have taken its place.
                let added = [next.pending?.id].compactMap { $0 == ring.pending?.id ? nil : $0 }
                audit += added.map { AuditEvent(.keyAdded, by: .command, key: $0) }
                return Workshop.RingChange(ring: next, audit: audit, keys: revoked + added)
            }
            // Run again after an interruption, it goes on with what the first run did.
            if acceptClock { try await workshop.store.acceptClock(at: workshop.now()) }
            let ring = try await workshop.keyring()
            let isRevoked = { (id: KeyID) in ring.key(id)?.state == .revoked }
            let revoked = changed?.filter(isRevoked) ?? ring.keys.filter(selects).map(\.id)
            guard !revoked.isEmpty else { throw CommandFailure.refused("there is no such key") }
            for id in revoked {
                steps.tell("revoked", "key \(id.text) is revoked", key: id, version: ring.version)
            }
            for id in changed ?? [] where !isRevoked(id) {
                steps.tell("added", "key \(id.text) added", key: id, version: ring.version)
            }
            if wait {
                _ = try await steps.wait(for: .ring(ring.version), in: workshop.store)
                steps.tell(
                    "refused", "every server refuses what it sealed", version: ring.version)
            }
            if !options.json { for id in revoked { print("key \(id.text) is revoked") } }
            if let pending = ring.pending {
                try await KeysCommand.finish(
                    pending.id, steps, revoked: revoked, wait: wait, workshop, options)
            } else if options.json {
                try Output.json(
                    Change(
                        key: ring.active?.id.text, state: ring.active?.state.name,
                        revoked: revoked.map(\.text), version: ring.version,
                        steps: wait ? steps.all : nil))
            }
        }

        private func selection() throws -> (TokenKey) -> Bool {
            if let id {
                guard let key = KeyID(text: id) else {
                    throw CommandFailure.usage("“\(id)” is no key: 8 lower-case hex digits")
                }
                return { $0.id == key }
            }
            guard let before else { return { _ in true } }
            let time = try Output.passedTime(before, at: SystemClock.now().wall)
            return { key in key.activated.map { $0 < time } ?? false }
        }
    }

    struct Prune: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Destroy ended keys whose last token has expired. The server does it hourly.")
        @OptionGroup var options: CommonOptions

        func run() async throws {
            let workshop = try await options.openWorkshop()
            let destroyed = try await KeyringChange.destroyExpired(
                in: try await workshop.keyring(),
                leaseSeconds: workshop.settings.maximumStalenessSeconds, store: workshop.store,
                rootKey: workshop.rootKey.key, by: .command, at: workshop.now(), entropy: .system)
            if options.json {
                try Output.json(["destroyed": destroyed.map(\.text)])
            } else {
                print("destroyed \(destroyed.count) key(s)")
                for id in destroyed { print(id.text) }
            }
        }
    }
}
