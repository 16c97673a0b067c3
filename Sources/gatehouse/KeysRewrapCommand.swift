// `gatehouse keys rewrap`: from one root key to another, with the servers running.

import ArgumentParser
import GatehouseCore
import GatehouseStore
import Glibc

extension KeysCommand {
    struct Rewrap: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take another root key, in two steps.",
            discussion: """
                First, with the old root key configured: `keys rewrap --new-file PATH` makes the ring \
                open under both. Then configure the new one and restart every server. Last, with the \
                new one configured: `keys rewrap --finish`. With the old one configured, `--finish` \
                undoes the first step. Each may be run again after an interruption.
                """)
        @OptionGroup var options: CommonOptions
        @Option(help: "The file with the new root key.") var newFile: String?
        @Flag(help: "With --new-file: make it, unless there is one.") var create = false
        @Option(help: "The systemd credential with the new root key.") var newCredential: String?
        @Option(help: "The command that prints the new root key, with its arguments.")
        var newCommand: String?
        @Flag(help: "Have the ring open under the configured root key only.") var finish = false
        @Flag(help: "With --finish: wait for servers that run with the other root key.")
        var wait = false

        func validate() throws {
            let steps = [newFile != nil, newCredential != nil, newCommand != nil, finish]
            guard steps.count(where: { $0 }) == 1 else {
                throw ValidationError(
                    "name one of --new-file, --new-credential, --new-command and --finish")
            }
            guard newFile != nil || !create else {
                throw ValidationError("--create takes --new-file")
            }
            guard newFile?.hasPrefix("/") ?? true else {
                throw ValidationError("--new-file takes an absolute path, as root_key.file does")
            }
            guard finish || !wait else { throw ValidationError("--wait takes --finish") }
        }

        private struct Result: Encodable {
            var added: [String] = []
            var removed: [String] = []
            let root_keys: [String]
            let version: UInt64
        }

        func run() async throws {
            let workshop = try await options.openWorkshop()
            if finish { try await keepOnly(workshop) } else { try await add(workshop) }
        }

        private func add(_ workshop: Workshop) async throws {
            let source = try source()
            if let newFile {
                if create {
                    try RootKeyFile.createIfMissing(newFile)
                } else if unsafe access(newFile, F_OK) != 0, errno == ENOENT {
                    throw CommandFailure.environment(
                        "there is no root key at \(newFile)", hint: "--create makes it")
                }
            }
            let new = try source.read()
            let id = new.id
            guard id != workshop.rootKey.key.id else {
                throw CommandFailure.refused(
                    "the root key of \(source.name) is the one that is configured",
                    hint: "the first step runs with the old root key configured")
            }
            for _ in 0..<Workshop.maximumTries {
                let outcome = try await KeyringChange.addRootKey(
                    new, store: workshop.store, rootKey: workshop.rootKey.key, by: .command,
                    at: workshop.now(), entropy: .system)
                switch outcome {
                case .done, .already:
                    return try await report(workshop, added: outcome == .already ? [] : [id])
                case .full(let ids):
                    throw CommandFailure.refused(
                        "the ring opens under "
                            + "\(Self.list(ids, configured: workshop.rootKey.key.id)) already",
                        hint: "`gatehouse keys rewrap --finish` ends the rewrap before")
                case .conflict, .waitingForNodes: continue
                }
            }
            throw Workshop.changedUnderEveryTry
        }

        private func keepOnly(_ workshop: Workshop) async throws {
            var tries = 0
            while tries < Workshop.maximumTries {
                let outcome = try await KeyringChange.keepOnlyRootKey(
                    store: workshop.store, rootKey: workshop.rootKey.key, by: .command,
                    at: workshop.now(), entropy: .system)
                switch outcome {
                case .done(_, let removed): return try await report(workshop, removed: removed)
                case .already: return try await report(workshop)
                case .waitingForNodes(let nodes):
                    guard wait else {
                        throw CommandFailure.refused(
                            "\(nodes.count) server(s) still run with another root key: "
                                + nodes.map(\.text).joined(separator: ", "),
                            hint: "configure \(workshop.settings.rootKeySource.name) for them and "
                                + "restart them; --wait waits")
                    }
                    try await Task.sleep(for: .milliseconds(NodeWait.pollMilliseconds))
                case .conflict, .full: tries += 1
                }
            }
            throw Workshop.changedUnderEveryTry
        }

        private func source() throws -> RootKeySource {
            if let newFile { return .file(newFile) }
            if let newCredential {
                guard RootKeySource.isCredentialName(newCredential) else {
                    throw CommandFailure.usage("“\(newCredential)” is no name of a credential")
                }
                return .credential(newCredential)
            }
            guard let words = RootKeySource.words([newCommand ?? ""]), !words.isEmpty else {
                throw CommandFailure.usage(
                    "--new-command takes the absolute path of a program, and its arguments")
            }
            return .command(words)
        }

        private func report(
            _ workshop: Workshop, added: [RootKey.Identifier64] = [],
            removed: [RootKey.Identifier64] = []
        ) async throws {
            let wrapped = try await workshop.wrapped()
            if options.json {
                return try Output.json(
                    Result(
                        added: added.map(\.text), removed: removed.map(\.text),
                        root_keys: wrapped.rootKeys.map(\.text), version: wrapped.version))
            }
            if added.isEmpty && removed.isEmpty { print("nothing to do: it was done before") }
            let list = Self.list(wrapped.rootKeys, configured: workshop.rootKey.key.id)
            print("ring version \(wrapped.version) opens under \(list)")
            if try await hasUndone(removed, workshop) {
                print("That undid the rewrap: the new root key opens nothing any more.")
            }
            if wrapped.wraps.count > 1 {
                print(
                    "Now configure the new root key, restart every server, and run "
                        + "`gatehouse keys rewrap --finish --wait`.")
            }
        }

        /// Whether what was removed is the root key that was added last.
        private func hasUndone(
            _ removed: [RootKey.Identifier64], _ workshop: Workshop
        ) async throws -> Bool {
            guard let removed = removed.first else { return false }
            var query = AuditQuery()
            query.kind = .rootKeyAdded
            query.limit = 1
            let last = try await workshop.store.audit(query).first?.event
            return last?.detail == "root_key=\(removed.text)"
        }

        /// The configured one, which is marked, before the other.
        static func list(
            _ ids: [RootKey.Identifier64], configured: RootKey.Identifier64
        ) -> String {
            let others = ids.filter { $0 != configured }
            let first = ids.filter { $0 == configured }.map { id in
                id.text + (others.isEmpty ? "" : " (configured)")
            }
            return "root key " + (first + others.map(\.text)).joined(separator: " and ")
        }
    }
}
