// A connection to PostgreSQL through libpq: every call blocks, and ends in time.

import CPostgres
import Dispatch
import Foundation
import Glibc
import Synchronization

/// A connection to a PostgreSQL server.
///
/// libpq's socket never blocks; the waiting is done here with poll(2), so that a server which is
/// stopped, a cable that is cut and a statement that hangs end in an error by the deadline.
///
/// `@unchecked Sendable`: one thread at a time uses a connection and hands it over to the next, which
/// the pool's lock orders. Only ``cancel()`` may be called by another thread meanwhile; it touches
/// nothing but what `canceller` guards.
@safe package final class PostgreSQLConnection: @unchecked Sendable {
    /// How much longer than the server's statement_timeout the client waits: for the way there and
    /// back and for a machine that is busy.
    package static let deadlineMargin: Duration = .seconds(2)
    /// How long a statement may wait for a lock.
    package static let lockTimeout: Duration = .seconds(5)
    /// How long a transaction may stand idle with its locks, before the server ends the connection.
    package static let idleTransactionTimeout: Duration = .seconds(5)
    /// How long the socket of an encrypted connection is waited for before libpq is asked again: of a record
    /// that is larger than libpq's buffer, which only other servers and proxies send, the rest is in the TLS
    /// library already, and the socket doesn't tell.
    package static let recordWait: Duration = .milliseconds(50)
    /// How long a request to cancel may take, before the connection is cut instead.
    package static let cancelTimeout: Duration = .seconds(1)

    /// A number that no other connection of this process has, or had.
    package let number = PostgreSQLConnection.numbers.add(1, ordering: .relaxed).newValue
    private static let numbers = Atomic<UInt64>(0)

    private let options: PostgreSQLOptions
    /// How long statements may take where that is longer than usual.
    var patience = Duration.zero
    /// When the server last said that it is there for a new connection.
    let made: ContinuousClock.Instant
    /// Owned; nil once the connection is closed or given up.
    private var connection: OpaquePointer?
    private var isEncrypted = false
    private var prepared = PreparedStatements()
    /// The pool's, when statements were prepared.
    private var schemaAge: UInt64 = 0
    private let canceller: Mutex<Canceller>

    /// Whether the connection can't be used any more.
    package var isBroken: Bool { unsafe connection == nil }

    /// Whether a transaction is open, be it a failed one.
    package var isInTransaction: Bool {
        guard let connection = unsafe connection else { return false }
        return unsafe PQtransactionStatus(connection) != PQTRANS_IDLE
    }

    /// Connects and sets the session up.
    ///
    /// A server that only reads is no server, unless the connection string names other
    /// `target_session_attrs`. Over a network TLS is a must and the server's certificate is verified
    /// (`sslmode=verify-full`), unless the connection string, the environment or a service file names
    /// a mode other than `prefer` and `allow`, which fall back to none (REQUIREMENTS 12.3.1).
    package init(connecting options: PostgreSQLOptions) throws(PostgreSQLError) {
        self.options = options
        let deadline = ContinuousClock.now + options.connectTimeout
        let connection = unsafe try ConnectionAttempt.connect(options, until: deadline)
        made = .now
        unsafe self.connection = connection
        isEncrypted = unsafe PQsslInUse(connection) == 1
        canceller = unsafe Mutex(Canceller(connection))
        do throws(PostgreSQLError) {
            guard unsafe PQserverVersion(connection) >= 150_000 else {
                throw PostgreSQLError.unreachable("PostgreSQL 15 or later is needed")
            }
            guard
                unsafe PQparameterStatus(connection, "server_encoding").map(String.init(cString:))
                    == "UTF8"
            else { throw PostgreSQLError.unreachable("the database's encoding isn't UTF8") }
            try run(Self.settings(options), until: deadline)
        } catch {
            close()
            throw error
        }
    }

    /// What every session has, in one message. synchronous_commit is raised where a commit wouldn't
    /// wait for the disk, and left alone where it waits for even more.
    private static func settings(_ options: PostgreSQLOptions) -> String {
        """
        SET statement_timeout = \(options.statementTimeout.wholeMilliseconds);
        SET lock_timeout = \(lockTimeout.wholeMilliseconds);
        SET idle_in_transaction_session_timeout = \(idleTransactionTimeout.wholeMilliseconds);
        SET standard_conforming_strings = on;
        SELECT set_config('synchronous_commit', 'on', false)
            WHERE current_setting('synchronous_commit') = 'off'
        """
    }

    deinit { close() }

    /// How the server's certificate is verified, as libpq has it in the end; nil once it is closed.
    package var sslMode: String? {
        guard let connection = unsafe connection, let all = unsafe PQconninfo(connection) else {
            return nil
        }
        return unsafe ConnectionSettings.pairs(freeing: all).last { $0.0 == "sslmode" }?.1
    }

    /// Ends the connection; a transaction that is open is rolled back by the server.
    package func close() {
        guard let connection = unsafe connection else { return }
        unsafe self.connection = nil
        canceller.withLock { $0.end() }
        unsafe PQfinish(connection)
    }

    // MARK: Statements

    /// Has every statement prepared anew where another connection found the tables changed since `age`.
    func follow(schemaAge age: UInt64) {
        if age != schemaAge { prepared.forgetAll() }
        schemaAge = age
    }

    /// Runs a script of several statements, whose rows aren't wanted. Outside of a transaction it is
    /// one transaction of its own.
    package func run(_ script: String) throws(PostgreSQLError) {
        try run(script, until: statementDeadline)
    }

    private func run(_ script: String, until deadline: ContinuousClock.Instant)
        throws(PostgreSQLError)
    {
        precondition(!script.utf8.contains(0), "a script with a NUL")
        let connection = unsafe try usableConnection()
        guard unsafe PQsendQuery(connection, script) == 1 else { throw giveUp(.lost) }
        try flush(until: deadline)
        var failure: PostgreSQLError?
        while let result = try nextResult(until: deadline) {
            if let error = try self.failure(of: result), failure == nil { failure = error }
        }
        if let failure { throw failure }
    }

    /// Runs one statement; outside of a transaction it is one of its own.
    package func query(_ statement: PostgreSQLStatement, _ values: [DatabaseValue] = [])
        throws(PostgreSQLError) -> PostgreSQLResult
    {
        try pipeline([(statement, values)])[0]
    }

    /// Runs statements in one round trip, and returns a result for each.
    ///
    /// After one that fails the server skips the rest, and the error of the one is thrown. Outside of
    /// a transaction the statements are one transaction of their own; a transaction that they began
    /// stands failed and is for the caller to roll back. They share one deadline.
    package func pipeline(_ steps: [(PostgreSQLStatement, [DatabaseValue])])
        throws(PostgreSQLError) -> [PostgreSQLResult]
    {
        guard !steps.isEmpty else { return [] }
        var parameters: [PostgreSQLParameters] = []
        for (statement, values) in steps {
            precondition(statement.parameters.count == values.count, "values for another statement")
            try parameters.append(PostgreSQLParameters(values))
        }
        let connection = unsafe try usableConnection()
        let deadline = statementDeadline
        guard unsafe PQenterPipelineMode(connection) == 1 else { throw giveUp(.lost) }
        var expected: [Answer] = []
        // In a transaction a failure to drop would fail the transaction; it can wait.
        if unsafe PQtransactionStatus(connection) == PQTRANS_IDLE {
            for name in prepared.takeSurplus() { try sendDrop(name, &expected) }
        }
        for (step, parameters) in zip(steps, parameters) {
            try send(step.0.text, parameters, &expected)
        }
        try sendSync(&expected)
        try flush(until: deadline)
        let results = try receive(expected, until: deadline)
        guard unsafe PQexitPipelineMode(connection) == 1 else { throw giveUp(.lost) }
        return try results.get()
    }

    // MARK: Notifications

    /// Has the notifications of `channel` delivered to this connection.
    package func listen(on channel: String) throws(PostgreSQLError) {
        let quoted = channel.split(separator: "\"", omittingEmptySubsequences: false)
            .joined(separator: "\"\"")
        try run("LISTEN \"\(quoted)\"")
    }

    /// Waits for a notification until `deadline`, and takes all that are there.
    ///
    /// - Returns: false where there was none.
    package func waitForNotification(until deadline: ContinuousClock.Instant)
        throws(PostgreSQLError) -> Bool
    {
        while true {
            guard let connection = unsafe connection else { throw Self.closedError }
            guard unsafe PQconsumeInput(connection) == 1 else { throw giveUp(Self.endedError) }
            var isNotified = false
            while let notification = unsafe PQnotifies(connection) {
                unsafe PQfreemem(notification)
                isNotified = true
            }
            if isNotified { return true }
            // A wait isn't a statement: its deadline leaves the connection as it is.
            if unsafe !Self.poll(PQsocket(connection), for: POLLIN, until: deadline) {
                return false
            }
        }
    }

    /// Asks the server to cancel the statement that another thread waits for here.
    ///
    /// Where the server doesn't take the request within ``cancelTimeout``, the connection is cut: the
    /// wait ends, and the server rolls back when it notices. A second call cuts it too, and the first
    /// where the connection is encrypted, as libpq's requests aren't. Where no statement runs any
    /// more, the next one may be hit.
    package func cancel() {
        let request = canceller.withLock { canceller in
            // SAFETY: the thread below takes over the request, and frees it.
            defer { unsafe canceller.request = nil }
            return unsafe CancelRequest(pointer: canceller.request)
        }
        if unsafe request.pointer != nil, request.isSent(within: Self.cancelTimeout) { return }
        canceller.withLock { $0.cut() }
    }
}

// MARK: - Sending

extension PostgreSQLConnection {
    /// What the server answers, in the order of what it was sent.
    private enum Answer {
        case dropped
        case prepared(PreparedStatements.Key)
        case result
        case sync
    }

    private static let closedError = PostgreSQLError.unreachable("the connection is closed")
    private static let endedError = PostgreSQLError.unreachable(
        "the server has closed the connection")

    var statementTimeout: Duration { max(options.statementTimeout, patience) }

    private var statementDeadline: ContinuousClock.Instant {
        .now + statementTimeout + Self.deadlineMargin
    }

    /// The connection, unless the server has closed it meanwhile: found out before anything is sent,
    /// it is harmless.
    private func usableConnection() throws(PostgreSQLError) -> OpaquePointer {
        guard let connection = unsafe connection else { throw Self.closedError }
        var socket = unsafe pollfd(fd: PQsocket(connection), events: pollPeerClosed, revents: 0)
        _ = unsafe Glibc.poll(&socket, 1, 0)
        guard socket.revents == 0 else { throw giveUp(Self.endedError) }
        return unsafe connection
    }

    /// Ends the connection, of which nobody knows what it would still bring.
    private func giveUp(_ error: PostgreSQLError) -> PostgreSQLError {
        close()
        return error
    }

    private func sendDrop(_ name: String, _ expected: inout [Answer]) throws(PostgreSQLError) {
        guard
            unsafe PQsendQueryParams(connection, "DEALLOCATE \(name)", 0, nil, nil, nil, nil, 1)
                == 1
        else { throw giveUp(.lost) }
        expected.append(.dropped)
        try sendSync(&expected)
    }

    private func sendSync(_ expected: inout [Answer]) throws(PostgreSQLError) {
        guard unsafe PQpipelineSync(connection) == 1 else { throw giveUp(.lost) }
        expected.append(.sync)
    }

    private func send(
        _ text: String, _ parameters: PostgreSQLParameters, _ expected: inout [Answer]
    ) throws(PostgreSQLError) {
        let count = Int32(clamping: parameters.types.count)
        let isSent: Bool
        if options.preparesStatements {
            let name = try preparation(of: text, parameters, &expected)
            isSent = unsafe parameters.withCArrays {
                unsafe PQsendQueryPrepared(connection, name, count, $0, $1, $2, 1) == 1
            }
        } else {
            isSent = unsafe parameters.withCArrays {
                unsafe PQsendQueryParams(
                    connection, text, count, parameters.types, $0, $1, $2, 1) == 1
            }
        }
        guard isSent else { throw giveUp(.lost) }
        expected.append(.result)
    }

    /// The name of the statement, which is prepared where it isn't yet.
    private func preparation(
        of text: String, _ parameters: PostgreSQLParameters, _ expected: inout [Answer]
    ) throws(PostgreSQLError) -> String {
        let key = PreparedStatements.Key(text: text, types: parameters.types)
        if let name = prepared.name(for: key) { return name }
        let name = prepared.add(key)
        let count = Int32(clamping: parameters.types.count)
        guard unsafe PQsendPrepare(connection, name, text, count, parameters.types) == 1 else {
            throw giveUp(.lost)
        }
        expected.append(.prepared(key))
        return name
    }

    /// Sends what libpq holds, and reads meanwhile: the server may wait for us to read before it reads
    /// on itself.
    private func flush(until deadline: ContinuousClock.Instant) throws(PostgreSQLError) {
        while true {
            switch unsafe PQflush(connection) {
            case 0: return
            case 1: try wait(for: POLLIN | POLLOUT, until: deadline)
            default: throw giveUp(.lost)
            }
            guard unsafe PQconsumeInput(connection) == 1 else { throw giveUp(.lost) }
        }
    }
}

// MARK: - Receiving

extension PostgreSQLConnection {
    /// Takes all answers, and returns the results or the first error.
    private func receive(_ expected: [Answer], until deadline: ContinuousClock.Instant)
        throws(PostgreSQLError) -> Result<[PostgreSQLResult], PostgreSQLError>
    {
        var results: [PostgreSQLResult] = []
        var failure: PostgreSQLError?
        for answer in expected {
            guard let result = try nextResult(until: deadline) else { throw giveUp(.lost) }
            if case .sync = answer {
                guard result.status == PGRES_PIPELINE_SYNC else { throw giveUp(.lost) }
                continue
            }
            let error = try self.failure(of: result)
            // libpq ends each statement's results with a NULL.
            guard try nextResult(until: deadline) == nil else { throw giveUp(.lost) }
            switch answer {
            case .dropped, .sync: continue
            case .prepared(let key):
                if error != nil || result.status == PGRES_PIPELINE_ABORTED { prepared.remove(key) }
            case .result:
                results.append(result)
            }
            if failure == nil, let error { failure = error }
        }
        guard let failure else { return .success(results) }
        if failure.isStalePreparation { prepared.forgetAll() }
        return .failure(failure)
    }

    /// The next result, or nil at the end of a statement's.
    private func nextResult(until deadline: ContinuousClock.Instant) throws(PostgreSQLError)
        -> PostgreSQLResult?
    {
        while unsafe PQisBusy(connection) == 1 {
            try wait(for: POLLIN, until: deadline)
            guard unsafe PQconsumeInput(connection) == 1 else { throw giveUp(.lost) }
        }
        guard let pointer = unsafe PQgetResult(connection) else {
            guard unsafe PQstatus(connection) == CONNECTION_OK else { throw giveUp(.lost) }
            return nil
        }
        return unsafe PostgreSQLResult(owning: pointer)
    }

    /// The error that `result` is, if it is one. One that ends the session is thrown as a loss: the
    /// server can have ended it before or after it did what was asked.
    private func failure(of result: PostgreSQLResult) throws(PostgreSQLError) -> PostgreSQLError? {
        switch result.status {
        case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY, PGRES_PIPELINE_ABORTED:
            return nil
        case PGRES_FATAL_ERROR:
            guard let error = result.serverError, unsafe PQstatus(connection) == CONNECTION_OK
            else {
                throw giveUp(.lost)
            }
            return error
        default:
            // COPY, which nothing here speaks.
            throw giveUp(.lost)
        }
    }

    private func wait(for events: Int32, until deadline: ContinuousClock.Instant)
        throws(PostgreSQLError)
    {
        let limit = isEncrypted ? min(deadline, .now + Self.recordWait) : deadline
        guard unsafe Self.poll(PQsocket(connection), for: events, until: limit) || limit < deadline
        else { throw giveUp(.timedOut) }
    }

    /// Whether one of `events` came before `deadline`, or an error, which the next call then finds.
    fileprivate static func poll(
        _ socket: Int32, for events: Int32, until deadline: ContinuousClock.Instant
    ) -> Bool {
        while true {
            let remaining = deadline - .now
            guard remaining > .zero else { return false }
            var entry = pollfd(fd: socket, events: Int16(events), revents: 0)
            let milliseconds = Int32(clamping: remaining.wholeMilliseconds)
            // Interrupted by a signal, or of a sudden without time left, it goes round again.
            if unsafe Glibc.poll(&entry, 1, milliseconds) > 0 { return true }
        }
    }
}

/// POLLRDHUP, which Swift's Glibc module leaves out: the peer has closed its half (poll(2)).
private let pollPeerClosed: Int16 = 0x2000

extension Duration {
    /// In milliseconds, rounded up: never less than asked for, and 0, which means "without limit" to
    /// the server, only for nothing.
    var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
    }
}

extension PostgreSQLParameters {
    /// Lends `body` the values' addresses, lengths and formats as libpq takes them.
    fileprivate func withCArrays(
        _ body: (
            UnsafePointer<UnsafePointer<CChar>?>?, UnsafePointer<Int32>?, UnsafePointer<Int32>?
        )
            -> Bool
    ) -> Bool {
        let lengths = ranges.map { Int32(clamping: $0?.count ?? 0) }
        let binary = [Int32](repeating: 1, count: ranges.count)
        // SAFETY: libpq copies what the pointers, which live for the call, point to.
        return unsafe bytes.withUnsafeBytes { bytes in
            let start = unsafe bytes.assumingMemoryBound(to: CChar.self).baseAddress
            let addresses = unsafe ranges.map { range in
                unsafe range.flatMap { unsafe start?.advanced(by: $0.lowerBound) }
            }
            return unsafe addresses.withUnsafeBufferPointer { addresses in
                unsafe lengths.withUnsafeBufferPointer { lengths in
                    unsafe binary.withUnsafeBufferPointer { binary in
                        unsafe body(
                            addresses.baseAddress, lengths.baseAddress, binary.baseAddress)
                    }
                }
            }
        }
    }
}

// MARK: - Results

/// What a statement returned: rows and a count. The values are decoded when they are asked for.
///
/// `@unchecked Sendable`: libpq only reads a result after it has handed it out.
@safe package final class PostgreSQLResult: @unchecked Sendable {
    private let pointer: OpaquePointer

    fileprivate init(owning pointer: OpaquePointer) { unsafe self.pointer = pointer }

    deinit { unsafe PQclear(pointer) }

    fileprivate var status: ExecStatusType { unsafe PQresultStatus(pointer) }

    package var rowCount: Int { Int(unsafe PQntuples(pointer)) }
    package var columnCount: Int { Int(unsafe PQnfields(pointer)) }

    /// How many rows the statement inserted, changed, deleted or returned.
    package var affected: Int {
        unsafe PQcmdTuples(pointer).flatMap { unsafe Int(String(cString: $0)) } ?? 0
    }

    /// The first column of that name, as the server spells it.
    package func index(of column: String) -> Int? {
        (0..<columnCount).first { index in
            guard let name = unsafe PQfname(pointer, Int32(index)) else { return false }
            return unsafe strcmp(name, column) == 0
        }
    }

    package func name(of column: Int) -> String {
        unsafe PQfname(pointer, Int32(column)).map { unsafe String(cString: $0) } ?? ""
    }

    /// The value of a row's column, both counted from 0.
    package func value(row: Int, column: Int) throws(PostgreSQLError) -> DatabaseValue {
        precondition(row >= 0 && row < rowCount && column >= 0 && column < columnCount)
        let (row, column) = (Int32(row), Int32(column))
        if unsafe PQgetisnull(pointer, row, column) == 1 { return .null }
        let bytes = unsafe UnsafeRawBufferPointer(
            start: PQgetvalue(pointer, row, column),
            count: Int(PQgetlength(pointer, row, column)))
        // SAFETY: the bytes are the result's, which lives as long as `self`, and no one writes them.
        let span = unsafe Span<UInt8>(_unsafeBytes: bytes)
        let type = unsafe PQftype(pointer, column)
        guard unsafe PQfformat(pointer, column) == 1,
            let value = DatabaseValue(type: type, bytes: span)
        else { throw .unexpectedType(column: name(of: Int(column))) }
        return value
    }

    /// The error as the server reports it; nil where it is libpq's own, which is a lost connection.
    /// Without the details, which quote values of rows.
    fileprivate var serverError: PostgreSQLError? {
        guard let state = field(gatehouse_field_state) else { return nil }
        return .server(
            SQLState(state), constraint: field(gatehouse_field_constraint),
            message: oneLine(field(gatehouse_field_message) ?? ""))
    }

    private func field(_ code: Int32) -> String? {
        unsafe PQresultErrorField(pointer, code).map { unsafe String(cString: $0) }
    }
}

/// A text of libpq or the server as one line of at most 300 characters, without its hints, which
/// stand behind tabs.
private func oneLine(_ text: String) -> String {
    let lines = text.split(whereSeparator: \.isNewline).filter { !$0.hasPrefix("\t") }
    let visible = lines.joined(separator: "; ").unicodeScalars.filter {
        $0.properties.generalCategory != .control
    }
    return String(String(String.UnicodeScalarView(visible)).prefix(300))
}

// MARK: - Cancelling

/// What another thread needs in order to end a wait.
///
/// `@unchecked Sendable`: a mutex guards it.
@safe private struct Canceller: @unchecked Sendable {
    /// Owned; nil where there is no request to be made, or it has been made.
    var request: OpaquePointer?
    /// -1 once the connection is closed, when the number can be another file's.
    private var socket: Int32

    init(_ connection: OpaquePointer) {
        unsafe socket = PQsocket(connection)
        if unsafe PQsslInUse(connection) == 0 { unsafe request = PQgetCancel(connection) }
    }

    mutating func end() {
        unsafe PQfreeCancel(request)
        unsafe request = nil
        socket = -1
    }

    func cut() {
        if socket >= 0 { shutdown(socket, Int32(SHUT_RDWR)) }
    }
}

/// A request to cancel, on its way to the thread that makes it.
///
/// `@unchecked Sendable`: one thread at a time has it.
@safe private struct CancelRequest: @unchecked Sendable {
    let pointer: OpaquePointer?

    /// Makes the request on a thread of its own, as libpq waits for the server without a deadline.
    func isSent(within limit: Duration) -> Bool {
        let isDone = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            var text: [CChar] = [0]
            _ = unsafe PQcancel(pointer, &text, Int32(text.count))
            unsafe PQfreeCancel(pointer)
            isDone.signal()
        }
        return isDone.wait(timeout: .now() + .milliseconds(Int(limit.wholeMilliseconds)))
            == .success
    }
}

// MARK: - Connecting

/// One attempt to connect, on a thread of its own: libpq resolves names, and asks directories and
/// ticket servers, in calls without a deadline. When ours has passed, the thread is left to itself
/// and closes what it may still get.
private final class ConnectionAttempt: Sendable {
    private enum State {
        case running
        case done(Result<OpenConnection, PostgreSQLError>)
        case abandoned
    }

    /// `@unchecked Sendable`: handed over from one thread to the other.
    @safe private struct OpenConnection: @unchecked Sendable {
        let pointer: OpaquePointer
    }

    private let state = Mutex(State.running)
    private let isDone = DispatchSemaphore(value: 0)
    /// Of all attempts one computes at a time. SCRAM hashes thousands of times through libcrypto, whose
    /// memory has one lock in this process: a herd of attempts would keep each other past their
    /// deadlines, and those that were given up would keep those that follow.
    private static let turn = DispatchSemaphore(value: 1)

    /// Connects to the first of the hosts that answers and will do.
    static func connect(_ options: PostgreSQLOptions, until deadline: ContinuousClock.Instant)
        throws(PostgreSQLError) -> OpaquePointer
    {
        let attempt = ConnectionAttempt()
        Thread.detachNewThread {
            attempt.finish(
                Result { () throws(PostgreSQLError) in
                    unsafe OpenConnection(pointer: try open(options, until: deadline))
                })
        }
        let remaining = max(deadline - .now, .zero).wholeMilliseconds
        _ = attempt.isDone.wait(timeout: .now() + .milliseconds(Int(remaining)))
        return unsafe try attempt.take()
    }

    private func finish(_ result: Result<OpenConnection, PostgreSQLError>) {
        let isWanted = state.withLock { state in
            if case .abandoned = state { return false }
            state = .done(result)
            return true
        }
        if !isWanted, case .success(let connection) = result { unsafe PQfinish(connection.pointer) }
        isDone.signal()
    }

    private func take() throws(PostgreSQLError) -> OpaquePointer {
        let result = state.withLock { state in
            defer { state = .abandoned }
            if case .done(let result) = state { return result }
            return .failure(.unreachable("no answer within the time to connect"))
        }
        return unsafe try result.get().pointer
    }

    private static func open(_ options: PostgreSQLOptions, until deadline: ContinuousClock.Instant)
        throws(PostgreSQLError) -> OpaquePointer
    {
        let settings = try ConnectionSettings(options)
        let password = try options.currentPassword()
        var failures: [String] = []
        for (index, host) in settings.hosts.enumerated() {
            let share = (deadline - .now) / (settings.hosts.count - index)
            do {
                let parameters = settings.parameters(for: host)
                let connection = unsafe try open(parameters, password, until: .now + share)
                if !settings.namesUserTimeout {
                    unsafe allowSilence(
                        options.statementTimeout + PostgreSQLConnection.deadlineMargin,
                        on: PQsocket(connection))
                }
                return unsafe connection
            } catch .unreachable(let text) {
                failures.append(text)
            }
        }
        throw .unreachable(failures.joined(separator: "; "))
    }

    private static func open(
        _ parameters: [(String, String)], _ password: PostgreSQLPassword?,
        until deadline: ContinuousClock.Instant
    ) throws(PostgreSQLError) -> OpaquePointer {
        let started = unsafe withParameters(parameters, password: password) {
            unsafe PQconnectStartParams($0, $1, 0)
        }
        guard let connection = unsafe started else { throw .unreachable("out of memory") }
        // Otherwise libpq prints what servers tell, for one that their locales have changed.
        unsafe PQsetNoticeReceiver(connection, { _, _ in }, nil)
        var text: String?
        if unsafe PQstatus(connection) != CONNECTION_BAD {
            var status = PGRES_POLLING_WRITING
            while status == PGRES_POLLING_READING || status == PGRES_POLLING_WRITING {
                let events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT
                guard
                    unsafe PostgreSQLConnection.poll(
                        PQsocket(connection), for: events, until: deadline)
                else {
                    text = "no answer from \(name(of: parameters)) within the time to connect"
                    break
                }
                guard let next = unsafe step(connection, before: deadline) else {
                    text = "no turn to connect to \(name(of: parameters)) in time"
                    break
                }
                status = next
            }
            if status == PGRES_POLLING_OK, unsafe PQsetnonblocking(connection, 1) == 0 {
                return unsafe connection
            }
        }
        defer { unsafe PQfinish(connection) }
        throw unsafe .unreachable(text ?? errorText(connection))
    }

    /// What libpq can do without waiting for the server; nil if its turn comes too late.
    private static func step(
        _ connection: OpaquePointer, before deadline: ContinuousClock.Instant
    ) -> PostgresPollingStatusType? {
        let remaining = max(deadline - .now, .zero).wholeMilliseconds
        guard turn.wait(timeout: .now() + .milliseconds(Int(remaining))) == .success else {
            return nil
        }
        defer { turn.signal() }
        return deadline > .now ? unsafe PQconnectPoll(connection) : nil
    }

    /// Has the connection, once it is made, stand a network that fails for as long as a statement may
    /// take. A Unix socket knows no such limit, and needs none.
    private static func allowSilence(_ duration: Duration, on socket: Int32) {
        var milliseconds = UInt32(clamping: duration.wholeMilliseconds)
        _ = unsafe setsockopt(
            socket, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, &milliseconds,
            socklen_t(MemoryLayout<UInt32>.size))
    }

    private static func name(of parameters: [(String, String)]) -> String {
        parameters.last { $0.0 == "hostaddr" || $0.0 == "host" }?.1 ?? "the server"
    }

    /// libpq's error without the password, should a library below it have quoted that.
    private static func errorText(_ connection: OpaquePointer) -> String {
        var text = unsafe PQerrorMessage(connection).map { unsafe String(cString: $0) } ?? ""
        if let password = unsafe PQpass(connection).map({ unsafe String(cString: $0) }),
            !password.isEmpty
        {
            text = text.replacing(password, with: "***")
        }
        return oneLine(text)
    }
}

/// Lends `body` keywords and values as libpq takes them: two arrays that end with NULL.
private func withParameters<Result>(
    _ parameters: [(String, String)], password: PostgreSQLPassword?,
    _ body: (UnsafePointer<UnsafePointer<CChar>?>, UnsafePointer<UnsafePointer<CChar>?>) -> Result
) -> Result {
    let copies = unsafe parameters.map { unsafe (strdup($0.0), strdup($0.1)) }
    let passwordKeyword = unsafe strdup("password")
    defer {
        for unsafe(keyword, value) in unsafe copies {
            unsafe free(keyword)
            unsafe free(value)
        }
        unsafe free(passwordKeyword)
    }
    var keywords = unsafe copies.map { unsafe UnsafePointer<CChar>($0.0) }
    var values = unsafe copies.map { unsafe UnsafePointer<CChar>($0.1) }
    guard let password else { return unsafe body(keywords + [nil], values + [nil]) }
    unsafe keywords.append(UnsafePointer(passwordKeyword))
    return unsafe password.withCString {
        unsafe values.append($0)
        return unsafe body(keywords + [nil], values + [nil])
    }
}

/// What libpq makes of the connection string, with what we add.
struct ConnectionSettings {
    struct Host {
        let name: String
        let address: String
        let port: String

        /// Whether the way there doesn't leave the machine.
        var isLocal: Bool {
            let place = address.isEmpty ? name : address
            if place.isEmpty || place.hasPrefix("/") || place.hasPrefix("@") { return true }
            if place == "localhost" { return true }
            var version4 = in_addr()
            if unsafe inet_pton(AF_INET, place, &version4) == 1 {
                return UInt32(bigEndian: version4.s_addr) >> 24 == 127
            }
            var version6 = in6_addr()
            guard unsafe inet_pton(AF_INET6, place, &version6) == 1 else { return false }
            return unsafe withUnsafeBytes(of: &version6) {
                unsafe $0.dropLast().allSatisfy { $0 == 0 } && $0.last == 1
            }
        }
    }

    let hosts: [Host]
    let namesUserTimeout: Bool
    private let common: [(String, String)]

    init(_ options: PostgreSQLOptions) throws(PostgreSQLError) {
        let named = try Self.parse(options.connectionString)
        let inEffect = try Self.inEffect(named)
        hosts = Self.hosts(inEffect)
        namesUserTimeout = named.contains { $0.0 == "tcp_user_timeout" }
        var common = Self.defaults(options) + named + [("client_encoding", "UTF8")]
        let fallsBack = ["", "prefer", "allow"].contains(inEffect["sslmode"] ?? "")
        if fallsBack, !hosts.allSatisfy(\.isLocal) { common.append(("sslmode", "verify-full")) }
        self.common = common
    }

    /// For libpq, of whose keywords the last of a name counts.
    func parameters(for host: Host) -> [(String, String)] {
        common.filter { !["host", "hostaddr", "port"].contains($0.0) }
            + [("host", host.name), ("hostaddr", host.address), ("port", host.port)]
            .filter { !$0.1.isEmpty }
    }

    /// What holds unless the connection string names it. A peer that has gone is noticed within half
    /// a minute where the connection is idle. An address that doesn't answer has half the time to
    /// connect, which leaves as much for the host's next. Encryption by Kerberos would stand in for
    /// TLS.
    private static func defaults(_ options: PostgreSQLOptions) -> [(String, String)] {
        [
            ("target_session_attrs", "read-write"), ("gssencmode", "disable"),
            ("fallback_application_name", options.applicationName),
            ("keepalives", "1"), ("keepalives_idle", "10"), ("keepalives_interval", "5"),
            ("keepalives_count", "3"),
            ("tcp_user_timeout", "\((options.connectTimeout / 2).wholeMilliseconds)"),
        ]
    }

    /// The keywords that the string names. Errors are without libpq's text, which quotes the string.
    private static func parse(_ string: String) throws(PostgreSQLError) -> [(String, String)] {
        var text: UnsafeMutablePointer<CChar>?
        let parsed = unsafe PQconninfoParse(string, &text)
        unsafe PQfreemem(text)
        guard let parsed = unsafe parsed else {
            throw .unreachable("the connection string isn't one that libpq reads")
        }
        let named = unsafe pairs(freeing: parsed)
        guard !named.contains(where: { $0.0 == "password" }) else {
            throw .unreachable("the connection string holds a password, which belongs elsewhere")
        }
        return named
    }

    /// All keywords as libpq has them in the end, with the environment and the service file: those of
    /// a connection that it refuses to begin, as an attribute is none.
    private static func inEffect(_ named: [(String, String)]) throws(PostgreSQLError)
        -> [String: String]
    {
        let refused = [("target_session_attrs", "none")]
        let connection = unsafe withParameters(named + refused, password: nil) {
            unsafe PQconnectStartParams($0, $1, 0)
        }
        defer { unsafe PQfinish(connection) }
        guard let all = unsafe PQconninfo(connection) else { throw .unreachable("out of memory") }
        return Dictionary(unsafe pairs(freeing: all), uniquingKeysWith: { _, last in last })
    }

    static func pairs(freeing options: UnsafeMutablePointer<PQconninfoOption>)
        -> [(String, String)]
    {
        defer { unsafe PQconninfoFree(options) }
        var pairs: [(String, String)] = []
        var next = unsafe options
        // SAFETY: the array ends with an option without a keyword.
        while let keyword = unsafe next.pointee.keyword {
            if let value = unsafe next.pointee.val {
                unsafe pairs.append((String(cString: keyword), String(cString: value)))
            }
            unsafe next += 1
        }
        return pairs
    }

    /// The hosts of the lists that libpq takes; one port can be for all of them.
    private static func hosts(_ inEffect: [String: String]) -> [Host] {
        func list(_ keyword: String) -> [String] {
            (inEffect[keyword] ?? "").split(separator: ",", omittingEmptySubsequences: false)
                .map(String.init)
        }
        let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"))
        return (0..<max(names.count, addresses.count)).map { index in
            Host(
                name: index < names.count ? names[index] : "",
                address: index < addresses.count ? addresses[index] : "",
                port: ports.count == 1 ? ports[0] : index < ports.count ? ports[index] : "")
        }
    }
}
