// Puts the layers of configuration together: defaults, file, environment, flags.

import Foundation
import GatehouseCore
import GatehouseStore
import Yams

/// Everything that is wrong with the configuration, at once.
struct SettingsErrors: Error, Equatable {
    let findings: [String]
}

struct SettingsLoader {
    /// A configuration file is a page of text.
    static let maximumFileBytes = 256 * 1024

    /// The file's text and the name to call it by, when there is one.
    var file: (text: String, name: String)?
    var environment: [String: String] = [:]
    /// Values of flags, by setting.
    var flags: [String: [String]] = [:]
    /// Whether a front door that is configured needs its origin: for a server, but in development.
    var requiresOrigin = false

    /// - Throws: `SettingsErrors` with every unknown key and bad value of every layer.
    func load() throws(SettingsErrors) -> Settings {
        var settings = Settings()
        var findings: [String] = []
        var given = Set(flags.keys)
        let known = Dictionary(uniqueKeysWithValues: Setting.all.map { ($0.name, $0) })

        if let file {
            for entry in Self.entries(file.text, name: file.name, findings: &findings) {
                guard let setting = known[entry.name] else {
                    findings.append("\(entry.place): unknown key \(entry.name)")
                    continue
                }
                given.insert(setting.name)
                if entry.isList && !setting.isList {
                    findings.append("\(entry.place): \(entry.name) takes one value")
                } else if let problem = setting.read(entry.values, &settings) {
                    findings.append("\(entry.place): \(entry.name) \(problem)")
                }
            }
        }
        let byVariable = Dictionary(
            uniqueKeysWithValues: Setting.all.map { ($0.environmentName, $0) })
        for (variable, value) in environment.sorted(by: { $0.key < $1.key })
        where variable.hasPrefix("GATEHOUSE_") {
            guard let setting = byVariable[variable] else {
                findings.append("environment: unknown variable \(variable)")
                continue
            }
            given.insert(setting.name)
            let values =
                setting.isList
                ? value.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
                : [value]
            if let problem = setting.read(values, &settings) {
                findings.append("environment: \(variable) \(problem)")
            }
        }
        for (name, values) in flags.sorted(by: { $0.key < $1.key }) {
            guard let setting = known[name] else { preconditionFailure("no setting \(name)") }
            if let problem = setting.read(values, &settings) {
                findings.append("command line: \(name) \(problem)")
            }
        }
        findings += Self.contradictions(settings)
        if requiresOrigin, settings.publicOrigin == nil,
            given.contains(where: { $0.hasPrefix("public.") })
        {
            findings.append("the front door needs public.origin, such as https://www.example.org")
        }
        guard findings.isEmpty else { throw SettingsErrors(findings: findings) }
        return settings
    }

    /// What no single setting can see.
    private static func contradictions(_ settings: Settings) -> [String] {
        var findings: [String] = []
        if settings.sessionLimits == nil {
            findings.append("session.idle must not be longer than session.absolute")
        }
        if settings.argon2Parameters == nil {
            findings.append(
                "password.argon2_memory is too little for password.argon2_iterations: "
                    + Argon2ParametersRefusal.memory.message)
        }
        if settings.rootKeySources > 1 {
            findings.append(
                "set one of root_key.file, root_key.credential and root_key.command")
        }
        if settings.storePasswordFile != nil, case .sqlite = settings.storeAddress {
            findings.append("store.password_file needs a postgresql:// URI in store.url")
        }
        // A node that meets a silent server waits for it, and then for another connection.
        if case .postgresql(let database) = settings.storeAddress,
            database.connectTimeout + database.statementTimeout
                + PostgreSQLConnection.deadlineMargin >= .seconds(settings.maximumStalenessSeconds)
        {
            findings.append(
                "store.connect_timeout, store.statement_timeout and 2 s together must be shorter "
                    + "than revocation.max_staleness: a database that hangs once would end all checks"
            )
        }
        let addresses = settings.checkAddresses + [settings.adminAddress]
        let plain = (settings.checkTLS ? [] : settings.checkAddresses) + [settings.adminAddress]
        for address in plain where !address.isLocal && !settings.allowsPlaintextNetwork {
            findings.append(
                "\(address) is reached by other machines, and there is no TLS on it; listen on "
                    + "loopback or a Unix socket, or set check.allow_plaintext_network")
        }
        if settings.checkTLS, !settings.checkAddresses.contains(where: \.isTCP) {
            findings.append("check.tls: true needs a TCP address in check.listen")
        }
        if settings.checkClientAuthority != nil, !settings.checkTLS {
            findings.append("check.client_ca needs check.tls: true")
        }
        let all = addresses + [settings.publicAddress]
        if Set(all).count < all.count {
            findings.append("public.listen, admin.listen and check.listen must differ")
        }
        if !settings.publicTLS && settings.trustedProxies.isEmpty
            && settings.publicAddress.isTCP
        {
            findings.append("public.tls: false needs public.trusted_proxies or a Unix socket")
        }
        return findings
    }

    private struct Entry {
        let name: String
        let values: [String]
        let isList: Bool
        let place: String
    }

    private static func entries(
        _ text: String, name: String, findings: inout [String]
    ) -> [Entry] {
        let root: Yams.Node?
        do { root = try Yams.compose(yaml: text) } catch {
            findings.append("\(name): not YAML: \(problem(error))")
            return []
        }
        guard let root, root != Yams.Node("") else { return [] }
        guard case .mapping = root else {
            findings.append("\(name): must be a mapping of keys to values")
            return []
        }
        var entries: [Entry] = []
        collect(root, prefix: "", name: name, into: &entries, findings: &findings)
        return entries
    }

    private static func problem(_ error: any Error) -> String {
        guard let error = error as? YamlError else { return "it cannot be read" }
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            return "line \(mark.line): \(problem)"
        case .duplicatedKeysInMapping(let duplicates, let context):
            return "line \(context.mark.line): repeated \(duplicates.joined(separator: ", "))"
        default: return "it cannot be read"
        }
    }

    /// Walks the tree; a mapping is a level of names, everything else a value.
    private static func collect(
        _ node: Yams.Node, prefix: String, name: String, into entries: inout [Entry],
        findings: inout [String]
    ) {
        let place = "\(name):\(node.mark?.line ?? 0)"
        switch node {
        case .mapping(let mapping):
            for (key, value) in mapping {
                guard let part = key.scalar?.string else {
                    findings.append("\(place): a key must be a word")
                    continue
                }
                collect(
                    value, prefix: prefix.isEmpty ? part : "\(prefix).\(part)", name: name,
                    into: &entries, findings: &findings)
            }
        case .scalar(let scalar):
            entries.append(
                Entry(name: prefix, values: [scalar.string], isList: false, place: place))
        case .sequence(let sequence):
            let values = sequence.compactMap { $0.scalar?.string }
            guard values.count == sequence.count else {
                findings.append("\(place): \(prefix) must be a list of words")
                return
            }
            entries.append(Entry(name: prefix, values: values, isList: true, place: place))
        case .alias:
            findings.append("\(place): \(prefix) must be written out")
        }
    }
}
