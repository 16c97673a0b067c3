// What every command takes, and what it opens with it.

import ArgumentParser
import Foundation
import GatehouseCheck
import GatehouseCore
import GatehouseStore
import GatehouseSystem
import Glibc

struct CommonOptions: ParsableArguments {
    @Option(help: "The configuration file (YAML); also GATEHOUSE_CONFIG.")
    var config: String?

    @Option(help: "The data directory.")
    var dataDir: String?

    @Option(help: "The store: sqlite:, sqlite:DIRECTORY or a postgresql:// URI.")
    var storeUrl: String?

    @Flag(help: "Print JSON.")
    var json = false

    @Option(help: "Why it is done, for the audit trail; at most 256 bytes.")
    var reason: String?

    func validate() throws {
        guard let reason else { return }
        guard (1...AuditContext.maximumReasonBytes).contains(reason.utf8.count) else {
            throw ValidationError(
                "--reason takes 1 to \(AuditContext.maximumReasonBytes) bytes")
        }
        guard reason.isOneLine else {
            throw ValidationError("--reason takes no control characters")
        }
    }

    /// Defaults, file, environment, and `flags`.
    func settings(
        flags: [String: [String]] = [:], requiresOrigin: Bool = false
    ) throws -> Settings {
        var environment = ProcessInfo.processInfo.environment
        let path = config ?? environment["GATEHOUSE_CONFIG"]
        environment["GATEHOUSE_CONFIG"] = nil
        // No setting: it is for tests of commands (see `Entry`).
        environment["GATEHOUSE_FAULT"] = nil
        var flags = flags
        if let dataDir { flags["data_dir"] = [Self.absolute(dataDir)] }
        if let storeUrl { flags["store.url"] = [storeUrl] }
        var loader = SettingsLoader(
            file: nil, environment: environment, flags: flags, requiresOrigin: requiresOrigin)
        if let path {
            // An empty file reads as nil.
            guard let handle = FileHandle(forReadingAtPath: path),
                case .success(let read) = Result(catching: {
                    try handle.read(upToCount: SettingsLoader.maximumFileBytes + 1)
                }), let data = .some(read ?? Data()),
                data.count <= SettingsLoader.maximumFileBytes,
                let text = String(validating: data, as: UTF8.self)
            else {
                throw CommandFailure.environment(
                    "cannot read the configuration \(path)",
                    hint:
                        "it must be UTF-8 text of at most \(SettingsLoader.maximumFileBytes) bytes")
            }
            loader.file = (text, path)
        }
        return try loader.load()
    }

    static func absolute(_ path: String) -> String {
        path.hasPrefix("/")
            ? path : FileManager.default.currentDirectoryPath + "/" + path
    }

    /// Opens the store beside a running server, without touching its schema, for commands that only read.
    func openStore(_ settings: Settings) throws -> SQLStore { try settings.openStore() }

    /// Opens the store and its keyring; what is written is signed in the audit trail.
    ///
    /// - Parameter why: the reason where `--reason` gives none.
    func openWorkshop(because why: String? = nil) async throws -> Workshop {
        let settings = try settings()
        let store = try openStore(settings)
        if let stranger = try await store.strangers().first {
            throw CommandFailure.environment(
                "server \(stranger.text) goes on with a database that was replaced under it",
                hint: "stop it: it would not hear of what this command changes")
        }
        let rootKey = RootKeyBox(try settings.rootKeySource.read())
        var context = AuditContext()
        context.operatorName = ProcessAccount.name
        context.reason = reason ?? why
        let workshop = Workshop(
            settings: settings, store: store, rootKey: rootKey, context: context)
        try await workshop.signTrail()
        return workshop
    }

    /// Finds a user by the name that was typed.
    static func user(_ name: String, in store: any Store) async throws -> User {
        let username = try username(name)
        guard let user = try await store.user(named: username) else {
            throw CommandFailure.refused("there is no user \(username.text)")
        }
        return user
    }

    static func username(_ name: String) throws -> Username {
        do { return try Username(name) } catch { throw badUsername(name, error) }
    }

    /// A name that can be given to a user now, if nobody has it.
    static func newUsername(_ name: String, _ settings: Settings) throws -> Username {
        let username = try username(name)
        if let refusal = settings.usernames.refusal(of: username) {
            throw badUsername(name, refusal)
        }
        return username
    }

    private static func badUsername(
        _ name: String, _ refusal: UsernameRefusal
    ) -> CommandFailure {
        .refused("“\(name)” can't be a username: \(refusal.message)")
    }
}

extension Store {
    /// Chains what this process writes under the ring's audit key.
    func signTrail(
        as chain: AuditChain, under ring: Keyring, for context: AuditContext = AuditContext()
    ) throws {
        guard let keys = try ring.auditKeys() else {
            throw CommandFailure.environment(
                "the keyring has no key for the audit trail", hint: "start the server once")
        }
        signTrail(as: chain, with: keys, for: context)
    }
}

/// Shares a root key, which has one owner, among the steps of a command.
final class RootKeyBox: Sendable {
    let key: RootKey
    init(_ key: consuming RootKey) { self.key = key }
}

/// Settings, store and root key, for commands that change keys or seal.
struct Workshop: Sendable {
    let settings: Settings
    let store: SQLStore
    let rootKey: RootKeyBox
    /// What is noted of what the command does.
    let context: AuditContext

    /// Chains what the command writes.
    func signTrail() async throws {
        try store.signTrail(as: .commands, under: try await keyring(), for: context)
    }

    func now() -> UnixTime { SystemClock.now().wall }

    func keyring() async throws -> Keyring { try rootKey.key.unwrap(try await wrapped()) }

    /// The ring as it is stored.
    func wrapped() async throws -> WrappedKeyring {
        guard let wrapped = try await store.keyring() else {
            throw CommandFailure.environment(
                "the store has no keyring", hint: "start the server once")
        }
        return wrapped
    }

    /// Forgets the failed sign-ins of names, and on the devices of a user who has one of them.
    func clearAttempts(
        _ names: [Username], of user: UserID, audit: AuditEvent? = nil
    ) async throws {
        let key = try await lookUpKey()
        let devices = try await store.devices(of: user)
        var counters: [AttemptKey] = []
        for name in names {
            counters += try AttemptKey.all(of: name, user: user, devices: devices, key: key)
        }
        try await store.clearAttempts(counters, audit: audit, at: now())
    }

    func lookUpKey() async throws -> LookUpKey {
        guard let key = try await keyring().lookUpKey else {
            throw CommandFailure.environment(
                "the keyring has no look-up key", hint: "start the server once")
        }
        return key
    }

    /// A change of the ring: what it becomes, what is audited, and the keys it is about.
    struct RingChange {
        let ring: Keyring
        let audit: [AuditEvent]
        let keys: [KeyID]
    }

    /// Changes the ring by `change`, again if another writer was faster. `change` gives nil when
    /// there is nothing to do. Gives the keys that the change was about.
    func changeKeyring(
        _ change: (Keyring) throws -> RingChange?
    ) async throws -> [KeyID]? {
        for _ in 0..<Self.maximumTries {
            guard let change = try change(try await keyring()) else { return nil }
            let outcome = try await KeyringChange.replace(
                with: change.ring, onlyWhenLoaded: false, audit: change.audit, store: store,
                rootKey: rootKey.key, at: now(), entropy: .system)
            if outcome == .replaced { return change.keys }
        }
        throw Self.changedUnderEveryTry
    }

    static let changedUnderEveryTry = CommandFailure.environment(
        "the keyring changed under every try", hint: "another process rotates; try again")

    /// Each lost race means that another writer succeeded; more than this many is no race.
    static let maximumTries = 20

    /// Makes the pending key active unless live servers have to do it once they have loaded it.
    func activateWithoutServers() async throws -> KeyringChange.Activation {
        let ring = try await keyring()
        guard try await store.liveNodes(at: now()).isEmpty else { return .waitingForNodes([]) }
        return try await KeyringChange.activatePending(
            in: ring, store: store, rootKey: rootKey.key, by: .command, at: now(),
            entropy: .system)
    }
}

/// Waits until every live node satisfies a condition.
struct NodeWait {
    /// How often the nodes' rows are read.
    static let pollMilliseconds = 20

    let store: any Store

    /// Returns how long it took for each node that was live, in milliseconds. Ends when each has
    /// done it, has left, or was given up, so that it can no longer say yes to anything.
    ///
    /// - Parameter look: is lent the live nodes at every look.
    func until(
        _ isDone: (NodeRecord) -> Bool, look: ([NodeRecord]) -> Void = { _ in }
    ) async throws -> [(node: NodeID, milliseconds: Int)] {
        let clock = ContinuousClock()
        let start = clock.now
        var done: [NodeID: Int] = [:]
        while true {
            let nodes = try await store.liveNodes(at: SystemClock.now().wall)
            look(nodes)
            let elapsed = Int(start.duration(to: clock.now) / .milliseconds(1))
            for node in nodes where done[node.id] == nil && isDone(node) { done[node.id] = elapsed }
            guard nodes.contains(where: { done[$0.id] == nil }) else { break }
            try await Task.sleep(for: .milliseconds(Self.pollMilliseconds))
        }
        return done.map { ($0.key, $0.value) }.sorted { $0.0.text < $1.0.text }
    }
}
