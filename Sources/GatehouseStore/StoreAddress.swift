// Where a store is: SQLite in a directory, or a PostgreSQL database.

/// `sqlite:DIRECTORY`, or a PostgreSQL connection URI (PostgreSQL 15, section 34.1.1.2). Neither it nor
/// what refuses one has a secret in it: messages, logs and lists of processes may show it.
package enum StoreAddress: Sendable, Equatable, CustomStringConvertible {
    /// Absolute.
    case sqlite(directory: String)
    case postgresql(PostgreSQLAddress)

    /// Far longer than any that is meant; a URI names hosts, a database and some parameters.
    package static let maximumBytes = 4096
    /// SQLite in the data directory, as it is written; where that is, the configuration knows.
    package static let inDataDirectory = "sqlite:"

    package init(_ text: String) throws(StoreAddressRefusal) {
        guard text.utf8.count <= Self.maximumBytes else { throw .length }
        guard text.hasPrefix(Self.inDataDirectory) else {
            self = .postgresql(try PostgreSQLAddress(uri: text))
            return
        }
        var path = text.dropFirst(Self.inDataDirectory.count)
        // As in a URI with an empty authority (RFC 3986, section 3.2).
        if path.hasPrefix("///") { path = path.dropFirst(2) }
        guard path.hasPrefix("/"), !path.hasPrefix("//"), !path.utf8.contains(0) else {
            throw .directory
        }
        self = .sqlite(directory: String(path))
    }

    /// For a process that does one thing after the other, and that nothing waits for.
    package var forCommands: StoreAddress {
        guard case .postgresql(var database) = self else { return self }
        database.connections = PostgreSQLAddress.commandConnections
        database.statementTimeout = max(
            database.statementTimeout, PostgreSQLAddress.commandStatementTimeout)
        return .postgresql(database)
    }

    package var description: String {
        switch self {
        case .sqlite(let directory): Self.inDataDirectory + directory
        case .postgresql(let address): address.uri
        }
    }
}

/// A PostgreSQL database, and how it is spoken to.
package struct PostgreSQLAddress: Sendable, Equatable {
    /// For libpq, which knows what its parts mean; without a password.
    package let uri: String
    /// Read for every connection, so that a new password needs no restart; nil for libpq's own ways
    /// (a password file of its own, a service file, the peer's user name).
    package var passwordFile: String?
    /// For a process's work at most. A server has two more, with which it follows what others do.
    package var connections = Self.serverConnections
    package var connectTimeout = Duration.seconds(5)
    package var statementTimeout = Duration.seconds(5)
    /// Not behind a pooler that gives every transaction another connection.
    package var preparesStatements = true

    package static let serverConnections = 8
    /// A command does one thing after the other. It follows what others do with a second one.
    package static let commandConnections = 1
    package static let followingConnections = 2
    /// At least.
    package static let commandStatementTimeout = Duration.seconds(30)
    private static let schemes = ["postgresql://", "postgres://"]

    package init(uri text: String) throws(StoreAddressRefusal) {
        guard let scheme = Self.schemes.first(where: text.hasPrefix) else { throw .scheme }
        let rest = text.dropFirst(scheme.count)
        try PostgreSQLURIParts.check(Array(rest.utf8))
        uri = Self.schemes[0] + rest
    }
}

/// Why a text is no store's address; the text itself is not repeated, because it may hold a password.
package enum StoreAddressRefusal: Error, Equatable, CaseIterable {
    case length, scheme, directory, secret, characters, percent, user, hosts, port, database,
        parameter, nothing

    /// Follows the setting's name.
    package var message: String {
        switch self {
        case .length: "must be at most \(StoreAddress.maximumBytes) bytes"
        case .scheme: "must begin with sqlite: or postgresql://"
        case .directory:
            "must name a directory by its absolute path, such as sqlite:/var/lib/gatehouse"
        case .secret:
            "must not have a password in it: others see it in lists of processes and copies of the "
                + "configuration. Put it into a file, and name that with store.password_file, or "
                + "use libpq's ~/.pgpass"
        case .characters: "must be visible ASCII; write other bytes as %XX"
        case .percent: "has a % that is not followed by two hex digits, or that stands for NUL"
        case .user: "has an @ behind a ?; one of the two is written %40 or %3F"
        case .hosts: "has an empty host in its list, or a [ without its ]"
        case .port:
            "has a port that is no number; in a user's name : / ? and @ are written %3A %2F %3F "
                + "and %40"
        case .database: "has an @ behind the hosts; in the database's name it is written %40"
        case .parameter: "has a parameter that is not name=value"
        case .nothing: "names no host, no database and no service"
        }
    }
}

/// Takes a URI apart in libpq's order (`conninfo_uri_parse_options` in fe-connect.c), as far as it
/// takes to find what must not be in it.
private enum PostgreSQLURIParts {
    /// What holds a secret; `password` in every release, the others in some.
    private static let secretParameters = [
        "password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key",
    ].map { Array($0.utf8) }
    private static let hostParameters = ["host", "hostaddr"].map { Array($0.utf8) }

    /// - Parameter text: what follows the scheme.
    static func check(_ text: [UInt8]) throws(StoreAddressRefusal) {
        guard text.allSatisfy({ (0x21...0x7E).contains($0) }) else { throw .characters }
        guard decoded(text[...]) != nil else { throw .percent }
        var rest = text[...]
        // libpq takes the first @ for the end of the user, wherever it stands before a slash.
        if let end = rest.firstIndex(where: { $0 == UInt8(ascii: "@") || $0 == UInt8(ascii: "/") }),
            rest[end] == UInt8(ascii: "@")
        {
            guard !rest[..<end].contains(UInt8(ascii: ":")) else { throw .secret }
            guard !rest[..<end].contains(UInt8(ascii: "?")) else { throw .user }
            rest = rest[(end + 1)...]
        }
        guard !rest.isEmpty, !rest.elementsEqual("/".utf8) else { throw .nothing }
        let question = rest.firstIndex(of: UInt8(ascii: "?")) ?? rest.endIndex
        let hosts = rest[..<question].prefix { $0 != UInt8(ascii: "/") }
        if !hosts.isEmpty { try checkHosts(hosts) }
        guard !rest[..<question].contains(UInt8(ascii: "@")) else { throw .database }
        if question < rest.endIndex { try checkParameters(rest[(question + 1)...]) }
    }

    private static func checkHosts(_ list: ArraySlice<UInt8>) throws(StoreAddressRefusal) {
        for entry in list.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false) {
            var port: ArraySlice<UInt8>
            if entry.first == UInt8(ascii: "[") {
                guard let end = entry.firstIndex(of: UInt8(ascii: "]")),
                    end > entry.startIndex + 1
                else { throw .hosts }
                port = entry[(end + 1)...]
            } else {
                let host = entry.prefix { $0 != UInt8(ascii: ":") }
                guard !host.isEmpty else { throw .hosts }
                port = entry[host.endIndex...]
            }
            guard let colon = port.popFirst() else { continue }
            guard colon == UInt8(ascii: ":"), (1...5).contains(port.count),
                port.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
            else { throw .port }
        }
    }

    private static func checkParameters(_ query: ArraySlice<UInt8>) throws(StoreAddressRefusal) {
        guard !query.isEmpty else { return }
        for pair in query.split(separator: UInt8(ascii: "&"), omittingEmptySubsequences: false) {
            let name = pair.prefix { $0 != UInt8(ascii: "=") }
            guard !name.isEmpty, name.endIndex < pair.endIndex,
                case let value = pair[(name.endIndex + 1)...],
                !value.contains(UInt8(ascii: "="))
            else { throw .parameter }
            let key = decoded(name) ?? []
            guard !secretParameters.contains(key) else { throw .secret }
            if hostParameters.contains(key) {
                let list = (decoded(value) ?? []).split(
                    separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
                guard !list.contains(where: \.isEmpty) else { throw .hosts }
            }
        }
    }

    /// Nil where a % begins nothing, or a NUL, at which C would end.
    private static func decoded(_ text: ArraySlice<UInt8>) -> [UInt8]? {
        var bytes: [UInt8] = []
        var rest = text
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(digit),
                let low = rest.popFirst().flatMap(digit),
                high | low != 0
            else { return nil }
            bytes.append(high << 4 | low)
        }
        return bytes
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        Character(UnicodeScalar(byte)).hexDigitValue.map { UInt8($0) }
    }
}
