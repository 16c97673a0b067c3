// Connections to PostgreSQL, each on a thread of its own: libpq blocks, and tasks must not.

import Dispatch
import Foundation
import GatehouseCore
import Synchronization

/// Threads that each have a connection and take work from one line. Connections are made when they are
/// needed and again when they broke; while the server is away, work fails at once instead of waiting.
/// Work stays in the line until there is a connection for it, and leaves it in time in any case.
final class PostgreSQLPool: Sendable {
    /// Work that waits for a connection; more is refused, since it would only be late.
    static let maximumWaiting = 1000
    /// How long work waits for a connection; then it is refused, though every connection hangs.
    static let maximumWait: Duration = .seconds(5)
    /// Between attempts to connect: doubled after each failure, less up to a half by chance, so that many
    /// nodes don't come back at the same moment.
    static let firstPause: Duration = .milliseconds(50)
    static let longestPause: Duration = .seconds(2)

    /// How often a thread without a connection looks whether others do what waits.
    private static let lookMicroseconds: UInt32 = 50_000

    private struct Job {
        let until: ContinuousClock.Instant
        /// Gets an error when there is no connection for it.
        let run: (Result<PostgreSQLConnection, any Error>) -> Void
    }

    private struct State {
        var jobs: [Job] = []
        var isClosed = false
        /// Whether a clock looks at the line when the first of it has waited long enough.
        var isWatched = false
        var threads = 0
        /// Threads that have a connection, and those that try to get one.
        var connected = 0
        var connecting = 0
        /// Threads that wait for work.
        var idle = 0
        var failures = 0
        var nextAttempt: ContinuousClock.Instant?
        var lastFailure = PostgreSQLError.unreachable("not tried yet")
    }

    /// Guards `state`, and wakes threads.
    private let condition = NSCondition()
    private nonisolated(unsafe) var state = State()
    private let options: PostgreSQLOptions
    private let size: Int
    /// How often the tables were found changed.
    private let schemaAge = Atomic<UInt64>(0)
    private let maximumWait: Duration
    let silence: PostgreSQLSilence

    /// - Parameters:
    ///   - size: connections at most, from one.
    ///   - silence: of the same server, shared with whatever else connects to it.
    init(
        _ options: PostgreSQLOptions, size: Int, maximumWait: Duration = maximumWait,
        silence: PostgreSQLSilence = PostgreSQLSilence()
    ) {
        precondition(size > 0)
        self.options = options
        self.size = size
        self.maximumWait = maximumWait
        self.silence = silence
    }

    private func withState<Value>(_ body: (inout State) throws -> Value) rethrows -> Value {
        condition.lock()
        defer { condition.unlock() }
        return unsafe try body(&state)
    }

    /// Does `body` with a connection, which it may leave broken but never inside a transaction.
    func run<Value: Sendable>(
        _ body: @escaping @Sendable (PostgreSQLConnection) throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            let job = Job(until: .now + maximumWait) { connection in
                continuation.resume(with: Result { try body(try connection.get()) })
            }
            if let refusal = add(job) { continuation.resume(throwing: refusal) }
        }
    }

    /// Has all connections prepare their statements anew: another release has changed the tables.
    func noteNewSchema() { schemaAge.add(1, ordering: .relaxed) }

    private func add(_ job: Job) -> (any Error)? {
        let (refusal, needsThread) = withState { state -> ((any Error)?, Bool) in
            if state.isClosed { return (StoreError.unavailable("the store is closed"), false) }
            if state.jobs.count >= Self.maximumWaiting { return (StoreError.busy, false) }
            state.jobs.append(job)
            watch(&state)
            condition.signal()
            guard state.idle < state.jobs.count, state.threads < size else { return (nil, false) }
            state.threads += 1
            return (nil, true)
        }
        if needsThread {
            let thread = Thread { [self] in work() }
            thread.name = "postgresql"
            thread.start()
        }
        return refusal
    }

    /// Returns when every thread has ended, or at `deadline`: a process that ends under them can crash.
    func waitForThreads(until deadline: Date) {
        condition.lock()
        defer { condition.unlock() }
        while unsafe state.threads > 0 {
            guard condition.wait(until: deadline) else { return }
        }
    }

    /// Ends the threads once the work that waits is done.
    func close() {
        withState { state in
            state.isClosed = true
            condition.broadcast()
        }
    }

    /// Has the clock look at the line once the first of it has waited long enough: one look at a time,
    /// however many wait.
    private func watch(_ state: inout State) {
        guard !state.isWatched, let first = state.jobs.first else { return }
        state.isWatched = true
        let (seconds, attoseconds) = max(first.until - .now, .zero).components
        let wait = Double(seconds) + Double(attoseconds) / 1e18
        DispatchQueue.global().asyncAfter(deadline: .now() + wait) { [self] in refuseLate() }
    }

    /// Whoever takes a job from the line ends it; nobody else can.
    private func refuseLate() {
        let late = withState { state in
            state.isWatched = false
            // All wait as long, so that the first in the line are the first whose time is over.
            let late = state.jobs.prefix { $0.until <= .now }
            state.jobs.removeFirst(late.count)
            watch(&state)
            return late
        }
        for job in late { job.run(.failure(StoreError.busy)) }
    }

    /// Returns once there is work in the line; false at the end. No access to the state lasts over the
    /// wait, in which others change it.
    private func waitForWork() -> Bool {
        condition.lock()
        defer { condition.unlock() }
        while unsafe state.jobs.isEmpty {
            if unsafe state.isClosed { return false }
            unsafe state.idle += 1
            condition.wait()
            unsafe state.idle -= 1
        }
        return true
    }

    /// The first in the line, unless somebody else was faster.
    private func take() -> Job? {
        withState { $0.jobs.isEmpty ? nil : $0.jobs.removeFirst() }
    }

    private func work() {
        var connection: PostgreSQLConnection?
        while waitForWork() {
            if let made = connection, !made.isBroken, !silence.isSuspect(made) {
                made.follow(schemaAge: schemaAge.load(ordering: .relaxed))
                take()?.run(.success(made))
                continue
            }
            if let old = connection {
                old.close()
                connection = nil
                withState { $0.connected -= 1 }
            }
            switch connect() {
            case .success(let made):
                connection = made
                withState { $0.connected += 1 }
            case .failure(let error): fail(error)
            }
        }
        connection?.close()
        withState { state in
            if connection != nil { state.connected -= 1 }
            state.threads -= 1
            condition.broadcast()
        }
    }

    /// What waits is left to those threads that have a connection or may get one: a role's limit of them may
    /// be all that this one met. Where there is none, all of it fails at once.
    private func fail(_ error: any Error) {
        let failed = withState { state -> [Job]? in
            guard state.connected + state.connecting == 0 else {
                condition.signal()
                return nil
            }
            defer { state.jobs = [] }
            return state.jobs
        }
        guard let failed else {
            usleep(Self.lookMicroseconds)
            return
        }
        for job in failed { job.run(.failure(error)) }
    }

    /// One attempt, unless the last one failed a moment ago.
    private func connect() -> Result<PostgreSQLConnection, any Error> {
        if let failure = withState({ state in
            state.nextAttempt.map { $0 > .now } ?? false ? state.lastFailure : nil
        }) {
            return .failure(failure)
        }
        withState { $0.connecting += 1 }
        defer { withState { $0.connecting -= 1 } }
        do throws(PostgreSQLError) {
            let connection = try PostgreSQLConnection(connecting: options)
            withState { state in
                state.failures = 0
                state.nextAttempt = nil
            }
            return .success(connection)
        } catch {
            withState { state in
                state.lastFailure = error
                state.failures += 1
                state.nextAttempt = .now + Self.pause(after: state.failures)
            }
            return .failure(error)
        }
    }

    /// The pause after so many failures in a row.
    static func pause(after failures: Int) -> Duration {
        let full = min(firstPause * (1 << min(failures - 1, 10)), longestPause)
        return full * Double.random(in: 0.5...1)
    }
}

/// When the server was last found to say nothing. What stood idle meanwhile would only wait for as long
/// again, each connection by itself; it is made anew, be it with another of the hosts.
final class PostgreSQLSilence: Sendable {
    private let last = Mutex<ContinuousClock.Instant?>(nil)

    func note() { last.withLock { $0 = .now } }

    /// Whether the connection is older than that.
    func isSuspect(_ connection: PostgreSQLConnection) -> Bool {
        last.withLock { $0.map { connection.made < $0 } ?? false }
    }
}
