// What goes wrong between us and PostgreSQL.

/// A failure of the connection or of a statement.
///
/// The texts hold no passwords. A server's message can quote a value of the statement, so it is for
/// programmers to read and not for logs.
package enum PostgreSQLError: Error, Equatable {
    /// There is no connection, or it ended before anything of the statement was sent: nothing has
    /// been done, and another connection may try.
    case unreachable(String)
    /// The connection broke under the statement, whose outcome is unknown.
    case lost
    /// The server didn't answer by the client's deadline. The connection is given up, and the
    /// statement's outcome is unknown.
    case timedOut
    /// The server refused the statement. `constraint` is the name of the one that was violated.
    case server(SQLState, constraint: String?, message: String)
    /// A text holds a NUL, which PostgreSQL has no place for; nothing was sent.
    case textHasNUL
    /// A column of the result is of a type, or holds a value, that ``DatabaseValue`` doesn't have.
    case unexpectedType(column: String)

    /// The tables are other than when the statement was prepared.
    var isStalePreparation: Bool {
        guard case .server(let state, _, _) = self else { return false }
        return state.isStalePreparation
    }

    /// The server, or the session, only reads.
    var isReadOnly: Bool {
        guard case .server(let state, _, _) = self else { return false }
        return state.isReadOnly
    }
}

/// The five characters that say what kind of error it is (SQL standard; PostgreSQL appendix A).
package struct SQLState: Sendable, Equatable {
    package let code: String

    package init(_ code: String) { self.code = code }

    package var isConnection: Bool { code.hasPrefix("08") }
    package var isReadOnly: Bool { code == "25006" }
    package var isSerializationFailure: Bool { code == "40001" }
    package var isDeadlock: Bool { code == "40P01" }
    package var isInsufficientPrivilege: Bool { code == "42501" }
    package var isUndefinedTable: Bool { code == "42P01" }
    package var isDiskFull: Bool { code == "53100" }
    package var isTooManyConnections: Bool { code == "53300" }
    package var isLockTimeout: Bool { code == "55P03" }
    /// By the server's statement_timeout or by ``PostgreSQLConnection/cancel()``.
    package var isStatementTimeout: Bool { code == "57014" }
    package var isShutdown: Bool { ["57P01", "57P02", "57P03"].contains(code) }
    /// Raised by `RAISE` in a function of the schema.
    package var isRaise: Bool { code == "P0001" }
    /// Data or an index on the disk is corrupt.
    package var isDamaged: Bool { ["XX001", "XX002"].contains(code) }

    /// The server doesn't have the prepared statement (a pooler changed servers), or the tables are
    /// other than when it was prepared: "cached plan must not change result type".
    package var isStalePreparation: Bool { ["26000", "0A000"].contains(code) }
}
