// The client on a real server: what goes through, what fails and how, and that every wait ends.

import Foundation
import Glibc
import Synchronization
import Testing

@testable import GatehouseStore

/// The server that the tests may use, as a connection string: one on this machine, on loopback and on
/// a Unix socket, whose processes the tests may stop, with a superuser for its user. A password comes
/// from libpq's environment variables.
private let server = ProcessInfo.processInfo.environment["GATEHOUSE_TEST_POSTGRESQL"]

@Suite(.serialized, .enabled(if: server != nil, "no PostgreSQL server to test with"))
struct PostgreSQLConnectionTests {
    private let options: PostgreSQLOptions
    private let connection: PostgreSQLConnection

    init() throws {
        options = PostgreSQLOptions(connectionString: try #require(server))
        connection = try PostgreSQLConnection(connecting: options)
    }

    private func query(_ sql: String, _ values: [DatabaseValue] = []) throws -> PostgreSQLResult {
        try connection.query(PostgreSQLStatement(sql), values)
    }

    private func value(_ sql: String, _ values: [DatabaseValue] = []) throws -> DatabaseValue {
        try query(sql, values).value(row: 0, column: 0)
    }

    private func other(_ change: (inout PostgreSQLOptions) -> Void = { _ in }) throws
        -> PostgreSQLConnection
    {
        var options = options
        change(&options)
        return try PostgreSQLConnection(connecting: options)
    }

    private func backend(of connection: PostgreSQLConnection) throws -> Int64 {
        let result = try connection.query(PostgreSQLStatement("SELECT pg_backend_pid()"))
        guard case .integer(let pid) = try result.value(row: 0, column: 0) else {
            throw PostgreSQLError.unexpectedType(column: "pg_backend_pid")
        }
        return pid
    }

    /// What `body` throws, of the server's errors.
    private func state(_ body: () throws -> Void) -> SQLState? {
        do {
            try body()
        } catch PostgreSQLError.server(let state, _, _) {
            return state
        } catch {
            return nil
        }
        return nil
    }

    // MARK: Values

    @Test func `every type of value comes back as it went`() throws {
        try connection.run(
            "CREATE TEMPORARY TABLE held (i bigint, t text COLLATE \"C\", b bytea)")
        let rows: [[DatabaseValue]] = [
            [.integer(.min), .text(""), .blob(Data())],
            [.integer(.max), .text("ü'\"\\ 🦊"), .blob(Data((0...255).map { UInt8($0) }))],
            [.integer(0), .text(String(repeating: "x", count: 300_000)), .blob(Data([0]))],
            [.null, .null, .null],
        ]
        for row in rows {
            #expect(try query("INSERT INTO held VALUES (?, ?, ?)", row).affected == 1)
        }
        let result = try query("SELECT t, b, i FROM held ORDER BY i")
        #expect(result.rowCount == 4)
        let columns = try ["i", "t", "b"].map { try #require(result.index(of: $0)) }
        #expect(columns == [2, 0, 1])
        #expect(result.index(of: "x") == nil)
        for (index, row) in [rows[0], rows[2], rows[1], rows[3]].enumerated() {
            #expect(try columns.map { try result.value(row: index, column: $0) } == row)
        }
        #expect(try query("UPDATE held SET i = 7").affected == 4)
        #expect(try query("DELETE FROM held WHERE t IS NULL").affected == 1)
    }

    @Test func `counts, sums, truths and what returns nothing can be read`() throws {
        #expect(try value("SELECT count(*) FROM (VALUES (1), (2)) AS v") == .integer(2))
        #expect(
            try value("SELECT sum(x) FROM (VALUES (40000::bigint), (-7)) AS v(x)")
                == .integer(39_993))
        #expect(try value("SELECT (-9223372036854775808)::numeric") == .integer(.min))
        #expect(try value("SELECT 100000000::numeric(20, 4)") == .integer(100_000_000))
        #expect(try value("SELECT 1 = 1") == .integer(1))
        #expect(try value("SELECT 'x'") == .text("x"))
        #expect(try value("SELECT 3::smallint") == .integer(3))
        #expect(try value("SELECT pg_advisory_xact_lock(1)") == .null)
    }

    @Test(arguments: ["1.5::float8", "1.5::numeric", "9223372036854775808", "now()"])
    func `a value of another type is refused by its column`(expression: String) throws {
        let result = try query("SELECT \(expression) AS odd")
        #expect(throws: PostgreSQLError.unexpectedType(column: "odd")) {
            try result.value(row: 0, column: 0)
        }
    }

    @Test func `named values go where their names stand`() throws {
        let statement = PostgreSQLStatement(
            "SELECT :a::text || ':b' || :b::text || :a::text")
        #expect(statement.parameters == ["a", "b"])
        let result = try connection.query(statement, [.text("1"), .text("2")])
        #expect(try result.value(row: 0, column: 0) == .text("1:b21"))
    }

    @Test func `a text with a NUL is refused before it is sent`() throws {
        #expect(throws: PostgreSQLError.textHasNUL) {
            try query("SELECT ?::text", [.text("a\0b")])
        }
        #expect(try value("SELECT 1") == .integer(1))
    }

    // MARK: The session

    @Test func `a session is set up`() throws {
        func setting(_ name: String) throws -> DatabaseValue {
            try value("SELECT current_setting(?)", [.text(name)])
        }
        #expect(try setting("statement_timeout") == .text("5s"))
        #expect(try setting("lock_timeout") == .text("5s"))
        #expect(try setting("idle_in_transaction_session_timeout") == .text("5s"))
        #expect(try setting("client_encoding") == .text("UTF8"))
        #expect(try setting("standard_conforming_strings") == .text("on"))
        #expect(try setting("application_name") == .text("gatehouse"))
    }

    @Test(arguments: [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")])
    func `commits wait for the disk, and for more where the server is set so`(
        before: String, after: String
    ) throws {
        let other = try other { $0.set("synchronous_commit", to: before) }
        let result = try other.query(PostgreSQLStatement("SHOW synchronous_commit"))
        #expect(try result.value(row: 0, column: 0) == .text(after))
    }

    @Test func `a server that only reads isn't taken`() throws {
        #expect {
            _ = try other { $0.set("default_transaction_read_only", to: "on") }
        } throws: { error in
            guard case PostgreSQLError.unreachable(let text) = error else { return false }
            return text.contains("read-only")
        }
    }

    @Test func `it knows whether a transaction is open`() throws {
        #expect(!connection.isInTransaction)
        try connection.run("BEGIN")
        #expect(connection.isInTransaction)
        #expect(state { try connection.run("SELECT nothing") }?.isUndefinedColumn == true)
        #expect(connection.isInTransaction)
        #expect(state { _ = try query("SELECT 1") }?.isFailedTransaction == true)
        _ = try query("ROLLBACK")
        #expect(!connection.isInTransaction)
    }

    // MARK: Errors of the server

    @Test func `errors have their class and the name of the constraint`() throws {
        try connection.run(
            """
            CREATE TEMPORARY TABLE own (i bigint CONSTRAINT own_key PRIMARY KEY,
                t text NOT NULL CONSTRAINT own_check CHECK (t <> ''))
            """)
        let insertion = PostgreSQLStatement("INSERT INTO own VALUES (?, ?)")
        _ = try connection.query(insertion, [.integer(1), .text("a")])
        do {
            _ = try connection.query(insertion, [.integer(1), .text("secret")])
            Issue.record("inserted twice")
        } catch {
            guard case .server(let state, let constraint, let message) = error else { throw error }
            #expect(state.isUniqueViolation && state.isConstraintViolation)
            #expect(constraint == "own_key")
            #expect(!message.contains("secret") && !message.contains("\n"))
        }
        func insert(_ values: [DatabaseValue]) -> SQLState? {
            state { _ = try connection.query(insertion, values) }
        }
        #expect(insert([.integer(2), .text("")])?.isCheckViolation == true)
        #expect(insert([.integer(2), .null])?.isNotNullViolation == true)
        #expect(state { _ = try query("SELECT * FROM nowhere") }?.isUndefinedTable == true)
        #expect(
            state { try connection.run("DO $$ BEGIN RAISE 'no'; END $$") }?.isRaise == true)
        #expect(
            state {
                try connection.run("BEGIN READ ONLY; CREATE TABLE never (i bigint)")
            }?.isReadOnly == true)
        try connection.run("ROLLBACK")
    }

    @Test func `who waits too long for a lock is told so`() throws {
        let holder = try other()
        try holder.run("BEGIN; SELECT pg_advisory_xact_lock(4711)")
        try connection.run("SET lock_timeout = 100")
        #expect(
            state { _ = try query("SELECT pg_advisory_xact_lock(4711)") }?.isLockTimeout == true)
    }

    @Test func `two that wait for each other are told of the deadlock`() async throws {
        let holder = try other()
        try connection.run("BEGIN; SELECT pg_advisory_xact_lock(1)")
        try holder.run("BEGIN; SELECT pg_advisory_xact_lock(2)")
        let waiter = OtherThread {
            try holder.run("SELECT pg_advisory_xact_lock(1)")
        }
        let mine = state { _ = try query("SELECT pg_advisory_xact_lock(2)") }
        if !connection.isBroken { connection.close() }
        let theirs = state { try waiter.finish() }
        #expect([mine, theirs].compactMap { $0 }.map(\.isDeadlock) == [true])
    }

    @Test func `a statement that runs for too long is ended by the server`() throws {
        let connection = try other { $0.statementTimeout = .milliseconds(100) }
        #expect(state { try connection.run("SELECT pg_sleep(5)") }?.isStatementTimeout == true)
        #expect(!connection.isBroken)
        try connection.run("SELECT 1")
    }

    // MARK: Pipelines

    @Test func `a pipeline returns a result for each of its statements`() throws {
        let results = try connection.pipeline([
            (PostgreSQLStatement("BEGIN"), []),
            (PostgreSQLStatement("SELECT ?::bigint + 1"), [.integer(1)]),
            (PostgreSQLStatement("SELECT ?::bigint + 1"), [.integer(2)]),
            (PostgreSQLStatement("COMMIT"), []),
        ])
        #expect(results.count == 4)
        #expect(try results[1].value(row: 0, column: 0) == .integer(2))
        #expect(try results[2].value(row: 0, column: 0) == .integer(3))
        #expect(!connection.isInTransaction)
        #expect(try connection.pipeline([]).isEmpty)
    }

    @Test(arguments: [true, false])
    func `an error within a pipeline skips the rest and leaves the connection whole`(
        prepares: Bool
    ) throws {
        let connection = try other { $0.preparesStatements = prepares }
        try connection.run("CREATE TEMPORARY TABLE kept (i bigint PRIMARY KEY)")
        let insertion = PostgreSQLStatement("INSERT INTO kept VALUES (?)")
        let count = PostgreSQLStatement("SELECT count(*) FROM kept")
        let steps: [(PostgreSQLStatement, [DatabaseValue])] = [
            (insertion, [.integer(1)]), (insertion, [.integer(1)]), (count, []),
        ]
        for _ in 0..<2 {
            #expect(state { _ = try connection.pipeline(steps) }?.isUniqueViolation == true)
            #expect(!connection.isInTransaction)
            #expect(try connection.query(count).value(row: 0, column: 0) == .integer(0))
        }
        #expect(
            state {
                _ = try connection.pipeline([
                    (PostgreSQLStatement("BEGIN"), []), (PostgreSQLStatement("SELEC"), []),
                    (PostgreSQLStatement("COMMIT"), []),
                ])
            }?.code == "42601")
        #expect(connection.isInTransaction)
        _ = try connection.query(PostgreSQLStatement("ROLLBACK"))
        _ = try connection.query(insertion, [.integer(1)])
        #expect(try connection.query(count).value(row: 0, column: 0) == .integer(1))
    }

    @Test func `a pipeline of more than the sockets hold doesn't stand still`() throws {
        let long = DatabaseValue.text(String(repeating: "x", count: 1_000_000))
        let echo = PostgreSQLStatement("SELECT ?::text")
        let results = try connection.pipeline(Array(repeating: (echo, [long]), count: 20))
        #expect(try results.allSatisfy { try $0.value(row: 0, column: 0) == long })
    }

    // MARK: Prepared statements

    private let preparedCount = "SELECT count(*) FROM pg_prepared_statements"

    @Test func `a statement is prepared once for each of its types`() throws {
        for value in [1, 2, 3] { _ = try query("SELECT ? IS NULL", [.integer(Int64(value))]) }
        #expect(try value(preparedCount) == .integer(2))
        _ = try query("SELECT ? IS NULL", [.text("a")])
        #expect(try value(preparedCount) == .integer(3))
    }

    @Test func `prepared statements stay bounded, also after a long transaction`() throws {
        let limit = PreparedStatements.limit
        try connection.run("BEGIN")
        for number in 0..<(limit + 50) { _ = try query("SELECT \(number)") }
        try connection.run("COMMIT")
        for number in 0..<3 { _ = try query("SELECT -\(number)") }
        guard case .integer(let count) = try value(preparedCount) else {
            Issue.record("no count")
            return
        }
        #expect(count > limit / 2 && count <= limit + 1)
    }

    @Test func `nothing stays prepared where that isn't wanted`() throws {
        let connection = try other { $0.preparesStatements = false }
        for _ in 0..<2 {
            let result = try connection.query(
                PostgreSQLStatement("SELECT ?::bigint, ?::text, ?::bytea, ?::bigint"),
                [.integer(1), .text("ü"), .blob(Data([0])), .null])
            #expect(
                try (0..<4).map { try result.value(row: 0, column: $0) } == [
                    .integer(1), .text("ü"), .blob(Data([0])), .null,
                ])
        }
        let count = try connection.query(PostgreSQLStatement(preparedCount))
        #expect(try count.value(row: 0, column: 0) == .integer(0))
    }

    @Test func `statements that the server has lost are prepared anew`() throws {
        #expect(try value("SELECT 1") == .integer(1))
        try connection.run("DEALLOCATE ALL")
        #expect(state { _ = try value("SELECT 1") }?.isStalePreparation == true)
        #expect(try value("SELECT 1") == .integer(1))
    }

    @Test func `statements whose tables have changed are prepared anew`() throws {
        try connection.run("CREATE TEMPORARY TABLE changed AS SELECT 1::bigint AS i")
        #expect(try value("SELECT * FROM changed") == .integer(1))
        try connection.run("ALTER TABLE changed ALTER i TYPE text")
        #expect(state { _ = try value("SELECT * FROM changed") }?.isStalePreparation == true)
        #expect(try value("SELECT * FROM changed") == .text("1"))
    }

    // MARK: Notifications

    @Test func `a notification wakes the one who listens`() throws {
        let sender = try other()
        try connection.listen(on: "Gate\"house")
        try sender.run("NOTIFY \"Gate\"\"house\"; NOTIFY \"Gate\"\"house\", '2'")
        #expect(try connection.waitForNotification(until: .now + .seconds(5)))
        #expect(try !connection.waitForNotification(until: .now + .milliseconds(50)))

        let isSent = OtherThread {
            usleep(100_000)
            try sender.run("NOTIFY \"Gate\"\"house\"; NOTIFY other")
        }
        #expect(try connection.waitForNotification(until: .now + .seconds(5)))
        try isSent.finish()
        #expect(try value("SELECT 1") == .integer(1))
    }

    @Test func `one that came with a statement's answer isn't lost`() throws {
        try connection.listen(on: "gatehouse")
        try connection.run("NOTIFY gatehouse")
        #expect(try connection.waitForNotification(until: .now))
        #expect(try !connection.waitForNotification(until: .now))
    }

    @Test func `one who listens is told when the connection ends`() throws {
        try connection.listen(on: "gatehouse")
        let pid = try backend(of: connection)
        let killer = try other()
        let isSent = OtherThread {
            usleep(100_000)
            _ = try killer.query(
                PostgreSQLStatement("SELECT pg_terminate_backend(?::int)"), [.integer(pid)])
        }
        #expect {
            while try connection.waitForNotification(until: .now + .seconds(5)) {}
        } throws: { error in
            guard case PostgreSQLError.unreachable = error else { return false }
            return true
        }
        try isSent.finish()
        #expect(connection.isBroken)
    }

    // MARK: What breaks

    @Test func `a connection that is killed under a statement is lost`() throws {
        let pid = try backend(of: connection)
        let killer = try other()
        let isSent = OtherThread {
            usleep(200_000)
            _ = try killer.query(
                PostgreSQLStatement("SELECT pg_terminate_backend(?::int)"), [.integer(pid)])
        }
        #expect(throws: PostgreSQLError.lost) { try query("SELECT pg_sleep(4)") }
        try isSent.finish()
        #expect(connection.isBroken)
        #expect(throws: PostgreSQLError.unreachable("the connection is closed")) {
            try query("SELECT 1")
        }
    }

    @Test func `one that was killed before is unreachable, as nothing was sent`() throws {
        let pid = try backend(of: connection)
        _ = try other().query(
            PostgreSQLStatement("SELECT pg_terminate_backend(?::int, 5000)"), [.integer(pid)])
        #expect(throws: PostgreSQLError.unreachable("the server has closed the connection")) {
            try query("SELECT 1")
        }
        #expect(connection.isBroken)
    }

    @Test(arguments: ["query", "run"])
    func `a server that stands still ends in an error by the deadline`(call: String) throws {
        let connection = try other { $0.statementTimeout = .milliseconds(100) }
        let pid = Int32(try backend(of: connection))
        #expect(kill(pid, SIGSTOP) == 0)
        defer { kill(pid, SIGCONT) }
        let start = ContinuousClock.now
        #expect(throws: PostgreSQLError.timedOut) {
            if call == "run" {
                try connection.run("SELECT 1")
            } else {
                // More than the sockets hold, so that already the sending waits.
                let long = DatabaseValue.blob(Data(repeating: 1, count: 30_000_000))
                _ = try connection.query(PostgreSQLStatement("SELECT ?::bytea"), [long])
            }
        }
        let duration = ContinuousClock.now - start
        #expect(duration > .seconds(2) && duration < .seconds(4))
        #expect(connection.isBroken)
    }

    @Test func `a server that takes connections and says nothing is given up in time`() throws {
        let silent = try SilentServer()
        let start = ContinuousClock.now
        #expect(throws: PostgreSQLError.self) {
            try PostgreSQLConnection(
                connecting: PostgreSQLOptions(
                    connectionString: "host=127.0.0.1 port=\(silent.port)",
                    connectTimeout: .milliseconds(300)))
        }
        let duration = ContinuousClock.now - start
        #expect(duration > .milliseconds(200) && duration < .seconds(2))
    }

    @Test func `the next host is tried after one that says nothing`() throws {
        let silent = try SilentServer()
        let (host, port) = try address()
        let user = try value("SELECT current_user")
        guard case .text(let user) = user else { return }
        let connection = try PostgreSQLConnection(
            connecting: PostgreSQLOptions(
                connectionString:
                    "host=127.0.0.1,\(host) port=\(silent.port),\(port) user=\(user) dbname=postgres",
                connectTimeout: .seconds(2)))
        try connection.run("SELECT 1")
    }

    /// Where the test's server is, with the socket's directory in place of an address.
    private func address() throws -> (String, String) {
        let result = try query(
            """
            SELECT split_part(current_setting('unix_socket_directories'), ',', 1),
                current_setting('port')
            """)
        guard case .text(let host) = try result.value(row: 0, column: 0),
            case .text(let port) = try result.value(row: 0, column: 1)
        else { throw PostgreSQLError.unexpectedType(column: "port") }
        return (host, port)
    }

    @Test func `a statement can be cancelled by another thread`() throws {
        let connection = try other { $0.statementTimeout = .seconds(30) }
        let encrypted = try connection.query(
            PostgreSQLStatement("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
        let isEncrypted = try encrypted.value(row: 0, column: 0) == .integer(1)
        let cancellation = OtherThread {
            usleep(200_000)
            connection.cancel()
        }
        let start = ContinuousClock.now
        if isEncrypted {
            #expect(throws: PostgreSQLError.lost) { try connection.run("SELECT pg_sleep(20)") }
        } else {
            #expect(
                state { try connection.run("SELECT pg_sleep(20)") }?.isStatementTimeout == true)
            try connection.run("SELECT 1")
        }
        #expect(ContinuousClock.now - start < .seconds(5))
        try cancellation.finish()
    }

    @Test func `one whose server stands still is cut when it is cancelled again`() throws {
        let connection = try other { $0.statementTimeout = .seconds(30) }
        let pid = Int32(try backend(of: connection))
        #expect(kill(pid, SIGSTOP) == 0)
        defer { kill(pid, SIGCONT) }
        let cancellation = OtherThread {
            usleep(200_000)
            connection.cancel()
            connection.cancel()
        }
        let start = ContinuousClock.now
        #expect(throws: PostgreSQLError.lost) { try connection.run("SELECT 1") }
        #expect(ContinuousClock.now - start < .seconds(5))
        try cancellation.finish()
    }

    @Test func `closing is for good`() {
        connection.close()
        connection.close()
        connection.cancel()
        #expect(connection.isBroken && !connection.isInTransaction)
        #expect(throws: PostgreSQLError.unreachable("the connection is closed")) {
            try connection.run("SELECT 1")
        }
        #expect(throws: PostgreSQLError.unreachable("the connection is closed")) {
            try connection.waitForNotification(until: .now)
        }
    }

    // MARK: Sign-in

    private func password(_ text: String) throws -> PostgreSQLPassword {
        let password = PostgreSQLPassword(Array(text.utf8).span)
        return try #require(password)
    }

    @Test func `a refused sign-in's text has no secret`() throws {
        let (_, port) = try address()
        let secret = "tell-no-one"
        let password = try password(secret)
        #expect {
            _ = try PostgreSQLConnection(
                connecting: PostgreSQLOptions(
                    connectionString: "host=127.0.0.1 port=\(port) user=no_one_\(secret)",
                    password: password))
        } throws: { error in
            guard case PostgreSQLError.unreachable(let text) = error else { return false }
            return text.contains("no_one_***") && !text.contains(secret) && !text.contains("\n")
        }
    }

    @Test func `a password that is given is the one that signs in`() throws {
        let (_, port) = try address()
        try connection.run(
            """
            DROP ROLE IF EXISTS gatehouse_test_sign_in;
            CREATE ROLE gatehouse_test_sign_in LOGIN PASSWORD 'only-here'
            """)
        defer { try? connection.run("DROP ROLE gatehouse_test_sign_in") }
        let password = try password("only-here")
        let signedIn = try PostgreSQLConnection(
            connecting: PostgreSQLOptions(
                connectionString:
                    "host=127.0.0.1 port=\(port) user=gatehouse_test_sign_in dbname=postgres",
                password: password))
        let user = try signedIn.query(PostgreSQLStatement("SELECT current_user"))
        #expect(try user.value(row: 0, column: 0) == .text("gatehouse_test_sign_in"))
    }
}

extension PostgreSQLOptions {
    /// Has the server begin with a setting of another value.
    fileprivate mutating func set(_ setting: String, to value: String) {
        if connectionString.contains("://") {
            connectionString += connectionString.contains("?") ? "&" : "?"
            connectionString += "options=-c%20\(setting)%3D\(value)"
        } else {
            connectionString += " options='-c \(setting)=\(value)'"
        }
    }
}

/// What is decided before a server is asked.
@Suite struct PostgreSQLConnectingTests {
    private func text(
        _ string: String, timeout: Duration = .seconds(5), password: String? = nil
    ) throws -> String {
        let password = password.flatMap { PostgreSQLPassword(Array($0.utf8).span) }
        do {
            _ = try PostgreSQLConnection(
                connecting: PostgreSQLOptions(
                    connectionString: string, password: password, connectTimeout: timeout))
            Issue.record("connected")
        } catch {
            if case .unreachable(let text) = error { return text }
            throw error
        }
        return ""
    }

    @Test func `a string that can't be read isn't quoted`() throws {
        for string in ["postgresql://a:tell-no-one@[", "tell-no-one", "tell-no-one=1"] {
            let text = try text(string)
            #expect(text.contains("connection string") && !text.contains("tell-no-one"))
        }
    }

    @Test func `a password in the string is refused`() throws {
        let text = try text("postgresql://a:tell-no-one@127.0.0.1/")
        #expect(text.contains("holds a password") && !text.contains("tell-no-one"))
    }

    @Test func `a password that can't be sent is none`() {
        let empty: [UInt8] = []
        let (none, cut) = (PostgreSQLPassword(empty.span), PostgreSQLPassword([1, 0].span))
        #expect(none == nil && cut == nil)
        let whole = PostgreSQLPassword([1].span)
        #expect(whole != nil)
    }

    @Test func `where nobody listens that is said of every host`() throws {
        let text = try text("host=127.0.0.1,::1 port=1,2")
        #expect(text.contains("port 1 failed: Connection refused"))
        #expect(text.contains("port 2 failed"))
        #expect(!text.contains("Is the server running"))
    }

    /// 192.0.2.0/24 is no one's (RFC 5737).
    @Test(
        arguments: [
            ("host=192.0.2.1", "verify-full"), ("host=db.example", "verify-full"),
            ("hostaddr=192.0.2.1 host=localhost", "verify-full"),
            ("host=/run/postgresql,192.0.2.1", "verify-full"),
            ("host=127.evil.example", "verify-full"), ("host=::2", "verify-full"),
            ("host=192.0.2.1 sslmode=prefer", "verify-full"),
            ("host=192.0.2.1 sslmode=allow", "verify-full"),
            ("host=192.0.2.1 sslmode=require", "require"),
            ("host=192.0.2.1 sslmode=disable", "disable"),
            ("postgresql://192.0.2.1/x?sslmode=verify-ca", "verify-ca"),
            ("host=127.0.0.1", nil), ("host=127.9.9.9", nil), ("host=localhost", nil),
            ("host=::1", nil), ("host=/run/postgresql", nil), ("host=@abstract", nil),
            ("host=db.example hostaddr=127.0.0.1", nil), ("dbname=x", nil),
            ("host=127.0.0.1 sslmode=verify-full", "verify-full"),
        ] as [(String, String?)])
    func `TLS is verified wherever the way leaves the machine`(string: String, mode: String?) throws
    {
        let settings = try ConnectionSettings(PostgreSQLOptions(connectionString: string))
        for host in settings.hosts {
            let parameters = settings.parameters(for: host)
            #expect(parameters.last { $0.0 == "sslmode" }?.1 == mode)
            #expect(parameters.last { $0.0 == "gssencmode" }?.1 == "disable")
        }
    }

    @Test func `what the string names goes before what we would choose`() throws {
        let settings = try ConnectionSettings(
            PostgreSQLOptions(
                connectionString: "host=/a,/b port=7 target_session_attrs=any keepalives_idle=3"))
        #expect(settings.hosts.map(\.name) == ["/a", "/b"])
        #expect(settings.hosts.map(\.port) == ["7", "7"])
        let parameters = settings.parameters(for: settings.hosts[1])
        #expect(parameters.last { $0.0 == "target_session_attrs" }?.1 == "any")
        #expect(parameters.last { $0.0 == "keepalives_idle" }?.1 == "3")
        #expect(parameters.filter { $0.0 == "host" }.map(\.1) == ["/b"])
    }
}

/// Work on a thread of its own, which can be waited for.
private final class OtherThread: Sendable {
    private let outcome = Mutex<Result<Void, any Error>?>(nil)
    private let isDone = DispatchSemaphore(value: 0)

    init(_ body: @escaping @Sendable () throws -> Void) {
        Thread.detachNewThread { [self] in
            let result = Result { try body() }
            outcome.withLock { $0 = result }
            isDone.signal()
        }
    }

    func finish() throws {
        isDone.wait()
        try outcome.withLock { $0 }?.get()
    }
}

/// Takes connections on loopback, as the kernel does for it, and never says a word.
private final class SilentServer {
    private let socket: Int32
    let port: UInt16

    init() throws {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        self.socket = socket
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        // SAFETY: the address is as long as it says.
        let code = unsafe withUnsafeMutableBytes(of: &address) { bytes -> Int32 in
            guard let base = bytes.baseAddress else { return -1 }
            let pointer = unsafe base.assumingMemoryBound(to: sockaddr.self)
            guard unsafe bind(socket, pointer, size) == 0, listen(socket, 8) == 0 else { return -1 }
            return unsafe getsockname(socket, pointer, &size)
        }
        try #require(code == 0)
        port = UInt16(bigEndian: address.sin_port)
    }

    deinit { Glibc.close(socket) }
}
