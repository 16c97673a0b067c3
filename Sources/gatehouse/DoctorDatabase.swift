// What `gatehouse doctor` says of a PostgreSQL database: durability, TLS, role, room for connections, clock.

import GatehouseCore
import GatehouseStore
import GatehouseSystem

extension Doctor {
    func database(_ store: SQLStore, _ settings: Settings) async -> [Finding] {
        guard case .postgresql(let address) = settings.storeAddress else { return [] }
        do {
            let values = try await store.settings()
            // After the answer: a slow one makes the database's clock look late, and never early.
            let now = SystemClock.now().wall
            let database = DatabaseReport(
                name: settings.storeAddress.description, connections: address.connections,
                servers: try await store.liveNodes(at: now).count, values: values)
            return database.findings(at: now)
        } catch { return [failed("database", error)] }
    }
}

/// What a database says of itself.
struct DatabaseReport {
    let name: String
    /// For the work of a server at most (`store.connections`).
    let connections: Int
    /// How many run.
    let servers: Int
    /// As ``SQLStore/settings()`` has them.
    let values: [String: String]

    /// Clocks that are kept by NTP are closer together.
    static let clockSeconds: Int64 = 2

    func findings(at now: UnixTime) -> [Finding] {
        [server, encryption, role, room, clock(at: now)] + durability
    }

    private func isOn(_ name: String) -> Bool { ["on", "true"].contains(values[name]) }

    private var server: Finding {
        let version = values["server_version"] ?? "of an unknown version"
        return isOn("transaction_read_only")
            ? Finding(
                check: "database", level: .error,
                message: "PostgreSQL \(version) at \(name) takes no writes",
                hint: "name all hosts in store.url; the primary of them is taken")
            : Finding(
                check: "database", level: .ok, message: "PostgreSQL \(version) at \(name)")
    }

    private var durability: [Finding] {
        var faults: [String] = []
        if !isOn("fsync") { faults.append("fsync is off") }
        if !isOn("full_page_writes") { faults.append("full_page_writes is off") }
        let commit = values["synchronous_commit"] ?? "unknown"
        if !["on", "remote_apply"].contains(commit) {
            faults.append("synchronous_commit is \(commit)")
        }
        return [
            Finding(
                check: "durability", level: faults.isEmpty ? .ok : .error,
                message: faults.isEmpty
                    ? "what is acknowledged is on the disk" : faults.joined(separator: ", "),
                hint: faults.isEmpty
                    ? nil : "turn it on: sign-outs and revocations are lost in a crash else")
        ]
    }

    private var encryption: Finding {
        let check = "database connection"
        if isOn("connection_is_local") {
            return Finding(check: check, level: .ok, message: "it stays on this machine")
        }
        guard isOn("connection_uses_tls") else {
            return Finding(
                check: check, level: .error, message: "it crosses the network without TLS",
                hint: "turn ssl on in the server, and set sslmode=verify-full in store.url")
        }
        let mode = values["sslmode"] ?? "unknown"
        let isVerified = mode == "verify-full"
        return Finding(
            check: check, level: isVerified ? .ok : .warning,
            message: isVerified
                ? "TLS, and the server proves its name"
                : "TLS, but sslmode is \(mode): another machine could stand in for the server",
            hint: isVerified
                ? nil : "set sslmode=verify-full, and sslrootcert to the authority's certificate")
    }

    private var role: Finding {
        var powers = (values["role_powers"] ?? "").split(separator: ",").map(String.init)
        if isOn("role_is_superuser") { powers.insert("superuser", at: 0) }
        if isOn("schema_is_open") {
            return Finding(
                check: "database role", level: .warning,
                message: "every role may add functions and tables beside Gatehouse's",
                hint:
                    "REVOKE CREATE ON SCHEMA public FROM PUBLIC, as PostgreSQL 15 has it by itself")
        }
        return Finding(
            check: "database role", level: powers.isEmpty ? .ok : .warning,
            message: powers.isEmpty
                ? "it has no more than its own tables"
                : "it has more than it needs: \(powers.joined(separator: ", "))",
            hint: powers.isEmpty
                ? nil : "give Gatehouse a role of its own that owns its database and nothing else")
    }

    private var room: Finding {
        let check = "database connections"
        guard let most = values["max_connections"].flatMap({ Int($0) }) else {
            return Finding(
                check: check, level: .warning, message: "max_connections is not known")
        }
        let reserved =
            (values["superuser_reserved_connections"].flatMap { Int($0) } ?? 0)
            + (values["reserved_connections"].flatMap { Int($0) } ?? 0)
        let each = connections + PostgreSQLAddress.followingConnections
        let needed =
            max(1, servers) * each + PostgreSQLAddress.commandConnections
            + PostgreSQLAddress.followingConnections
        let isEnough = needed <= most - reserved
        return Finding(
            check: check, level: isEnough ? .ok : .warning,
            message:
                "\(max(1, servers)) server(s) and a command take up to \(needed) of "
                + "\(most - reserved)",
            hint: isEnough ? nil : "raise max_connections, or lower store.connections")
    }

    private func clock(at now: UnixTime) -> Finding {
        let check = "database clock"
        guard let seconds = values["clock"].flatMap({ Int64($0) }) else {
            return Finding(check: check, level: .warning, message: "it is not known")
        }
        let apart = abs(now.seconds - seconds)
        let level: Finding.Level =
            apart <= Self.clockSeconds ? .ok : apart <= clockSkewSeconds ? .warning : .error
        return Finding(
            check: check, level: level,
            message: apart == 0
                ? "the same as this machine's" : "\(apart) s from this machine's",
            hint: level == .ok ? nil : "set both by NTP; servers judge each other by their clocks")
    }
}
