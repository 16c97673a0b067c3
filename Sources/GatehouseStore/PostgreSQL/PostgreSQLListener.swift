// Hears when another node has written something that this one follows.

import Foundation
import Synchronization

/// A thread and a connection that listen. While they can't, whoever waits is woken by the clock: notifications
/// make revocations quick, polling makes them certain.
final class PostgreSQLListener: Sendable {
    /// The shortest time between two answers: what comes in between is taken up together.
    static let quietMilliseconds = 10
    /// How long the thread listens before it looks whether it is to end.
    static let listenMilliseconds = 500

    private struct State {
        var isStarted = false
        /// Whether the thread has not ended.
        var isListening = false
        var isClosed = false
        /// Whether something was heard since the last answer.
        var isDue = false
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let options: PostgreSQLOptions
    private let silence: PostgreSQLSilence
    private let state = Mutex(State())

    init(_ options: PostgreSQLOptions, silence: PostgreSQLSilence) {
        self.options = options
        self.silence = silence
    }

    /// Returns when something was heard, at once if that was since the last time, and else after
    /// `milliseconds`. One caller at a time waits.
    func wait(milliseconds: Int) async {
        startOnce()
        // Cut short when the caller is cancelled.
        try? await Task.sleep(for: .milliseconds(min(milliseconds, Self.quietMilliseconds)))
        let isDue = state.withLock { state in
            defer { state.isDue = false }
            return state.isDue
        }
        guard !isDue, !Task.isCancelled, milliseconds > Self.quietMilliseconds else { return }
        let alarm = Task { [self] in
            do {
                try await Task.sleep(for: .milliseconds(milliseconds - Self.quietMilliseconds))
            } catch { return }
            wake()
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let replaced = state.withLock { state -> CheckedContinuation<Void, Never>? in
                    defer { state.waiter = state.isDue ? nil : continuation }
                    return state.isDue ? continuation : state.waiter
                }
                replaced?.resume()
            }
        } onCancel: {
            wake()
        }
        alarm.cancel()
        state.withLock { $0.isDue = false }
    }

    private func wake() {
        let waiter = state.withLock { state in
            defer { state.waiter = nil }
            state.isDue = true
            return state.waiter
        }
        waiter?.resume()
    }

    func close() { state.withLock { $0.isClosed = true } }

    /// Returns when the thread has ended, or at `deadline`.
    func waitForThread(until deadline: Date) {
        while state.withLock({ $0.isListening }), Date() < deadline { usleep(5000) }
    }

    private func startOnce() {
        let isFirst = state.withLock { state in
            defer { state.isStarted = true }
            if !state.isStarted { state.isListening = true }
            return !state.isStarted
        }
        guard isFirst else { return }
        let thread = Thread { [self] in
            listen()
            state.withLock { $0.isListening = false }
        }
        thread.name = "postgresql-feed"
        thread.start()
    }

    private func listen() {
        var failures = 0
        while !state.withLock({ $0.isClosed }) {
            do throws(PostgreSQLError) {
                let connection = try PostgreSQLConnection(connecting: options)
                defer { connection.close() }
                try connection.listen(on: PostgreSQLDriver.channel)
                failures = 0
                // What was written while nobody listened.
                wake()
                while !state.withLock({ $0.isClosed }), !silence.isSuspect(connection) {
                    let until = ContinuousClock.now + .milliseconds(Self.listenMilliseconds)
                    if try connection.waitForNotification(until: until) { wake() }
                }
            } catch {
                failures += 1
                let pause = PostgreSQLPool.pause(after: failures)
                Thread.sleep(
                    forTimeInterval: Double(pause.components.seconds)
                        + Double(pause.components.attoseconds) / 1e18)
            }
        }
    }
}
