// Connections to PostgreSQL, each on a thread of its own: libpq blocks, and tasks must not.

import Foundation
import GatehouseCore
import Synchronization

/// Threads that each have a connection and take work from one line. Connections are made when they are
/// needed and again when they broke; while the server is away, work fails at once instead of waiting.
final class PostgreSQLPool: Sendable {
    /// Work that waits for a connection; more is refused, since it would only be late.
    static let maximumWaiting = 1000
    /// How long work may wait for a connection.
    static let maximumWait: Duration = .seconds(5)
    /// Between attempts to connect: doubled after each failure, less up to a half by chance, so that many
    /// nodes don't come back at the same moment.
    static let firstPause: Duration = .milliseconds(50)
    static let longestPause: Duration = .seconds(2)

    private struct Job {
        let until: ContinuousClock.Instant
        /// Gets an error when there is no connection for it.
        let run: (Result<PostgreSQLConnection, any Error>) -> Void
    }

    private struct State {
        var jobs: [Job] = []
        var isClosed = false
        var threads = 0
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

    /// - Parameter size: connections at most, from one.
    init(_ options: PostgreSQLOptions, size: Int) {
        precondition(size > 0)
        self.options = options
        self.size = size
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
            let job = Job(until: .now + Self.maximumWait) { connection in
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

    /// Ends the threads once the work that waits is done.
    func close() {
        withState { state in
            state.isClosed = true
            condition.broadcast()
        }
    }

    /// The next job, as soon as there is one; nil at the end. No access to the state lasts over the wait, in
    /// which others change it.
    private func next() -> Job? {
        condition.lock()
        defer { condition.unlock() }
        while unsafe state.jobs.isEmpty {
            if unsafe state.isClosed {
                unsafe state.threads -= 1
                return nil
            }
            unsafe state.idle += 1
            condition.wait()
            unsafe state.idle -= 1
        }
        return unsafe state.jobs.removeFirst()
    }

    private func work() {
        var connection: PostgreSQLConnection?
        while let job = next() {
            guard job.until > .now else {
                job.run(.failure(StoreError.busy))
                continue
            }
            if connection?.isBroken ?? true {
                connection = nil
                switch connect() {
                case .success(let made): connection = made
                case .failure(let error):
                    job.run(.failure(error))
                    continue
                }
            }
            if let connection {
                connection.follow(schemaAge: schemaAge.load(ordering: .relaxed))
                job.run(.success(connection))
            }
        }
        connection?.close()
    }

    /// One attempt, unless the last one failed a moment ago.
    private func connect() -> Result<PostgreSQLConnection, any Error> {
        if let failure = withState({ state in
            state.nextAttempt.map { $0 > .now } ?? false ? state.lastFailure : nil
        }) {
            return .failure(failure)
        }
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
