// Where the database is and how long it may take.

import GatehouseCore

/// What a connection to PostgreSQL is made from.
package struct PostgreSQLOptions: Sendable {
    /// A URL (`postgresql://…`) or a string of keywords and values, as libpq reads them (PostgreSQL
    /// 34.1.1), without a password. What it doesn't name comes from libpq's environment variables
    /// and service file.
    package var connectionString: String
    /// Without one, and without a file, libpq looks in its own password file.
    package var password: PostgreSQLPassword?
    /// A file that is read for every connection (``PostgreSQLPasswordFile``), unless there is a password.
    package var passwordFile: String?
    /// For all of connecting: name resolution, every host, TLS, sign-in and settings.
    package var connectTimeout: Duration
    /// When the server ends a statement; the client gives up ``PostgreSQLConnection/deadlineMargin``
    /// later.
    package var statementTimeout: Duration
    /// What the server shows for the connection, unless the connection string names something else.
    package var applicationName: String
    /// Whether statements are prepared once and kept. Behind a pooler in transaction mode they can't
    /// be, as the next transaction can be another session's; that holds for the session's settings too,
    /// which then have to be set for the role.
    package var preparesStatements: Bool

    package init(
        connectionString: String, password: PostgreSQLPassword? = nil,
        passwordFile: String? = nil,
        connectTimeout: Duration = .seconds(5), statementTimeout: Duration = .seconds(5),
        applicationName: String = "gatehouse", preparesStatements: Bool = true
    ) {
        self.connectionString = connectionString
        self.password = password
        self.passwordFile = passwordFile
        self.connectTimeout = connectTimeout
        self.statementTimeout = statementTimeout
        self.applicationName = applicationName
        self.preparesStatements = preparesStatements
    }

    init(_ address: PostgreSQLAddress) {
        self.init(
            connectionString: address.uri, passwordFile: address.passwordFile,
            connectTimeout: address.connectTimeout, statementTimeout: address.statementTimeout,
            preparesStatements: address.preparesStatements)
    }

    /// What the next connection signs in with; nil leaves it to libpq.
    func currentPassword() throws(PostgreSQLError) -> PostgreSQLPassword? {
        guard password == nil, let passwordFile else { return password }
        do throws(StoreError) {
            let secret = try PostgreSQLPasswordFile.read(passwordFile)
            return secret.withSpan { PostgreSQLPassword($0) }
        } catch {
            guard case .unavailable(let text) = error else { throw .unreachable("\(error)") }
            throw .unreachable(text)
        }
    }
}

/// A password of the database, shared by the connections that sign in with it.
///
/// A class, as the secret itself can't be copied and every connection of a pool needs it.
package final class PostgreSQLPassword: Sendable {
    /// The password with the NUL that ends it in C.
    private let bytes: SecretBytes

    /// Nil where the password is empty or holds a NUL, which can't be sent.
    package init?(_ password: Span<UInt8>) {
        guard !password.isEmpty else { return nil }
        for index in password.indices where password[index] == 0 { return nil }
        bytes = SecretBytes(count: password.count + 1) { (span: inout MutableSpan<UInt8>) in
            for index in password.indices { span[index] = password[index] }
        }
    }

    /// Lends the password to `body` as C has it: ended by a NUL.
    func withCString<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result {
        bytes.withSpan { span in
            // SAFETY: the bytes live for the call, and end with a NUL.
            unsafe span.withUnsafeBytes { bytes in
                unsafe bytes.withMemoryRebound(to: CChar.self) { characters in
                    guard let start = characters.baseAddress else {
                        preconditionFailure("a password without bytes")
                    }
                    return unsafe body(start)
                }
            }
        }
    }
}
