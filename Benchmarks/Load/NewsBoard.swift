// Tells every load of a run what has changed, before it may show and when it must.

import Foundation
import Synchronization

/// Shared by those who sign in, rotate and stop servers.
final class NewsBoard: Sendable {
    private struct State {
        var revoked: Set<String> = []
        /// Every key that sealed a token which a load was given.
        var keys: Set<String> = []
        var signIns: [SignInCounts]
        var failure: BenchmarkFailure?
        var hasEnded = false
        var stopsNoMore = false
    }

    let files: [String]
    private let state: Mutex<State>

    init(files: [String]) {
        self.files = files
        state = Mutex(State(signIns: files.map { _ in SignInCounts() }))
    }

    var keys: Set<String> { state.withLock { $0.keys } }
    var signIns: [SignInCounts] { state.withLock { $0.signIns } }
    var isRunning: Bool { state.withLock { !$0.hasEnded && $0.failure == nil } }
    /// Whether a server is, or will again be, stopped.
    var isStopping: Bool { state.withLock { !$0.stopsNoMore } }
    func stoppingIsOver() { state.withLock { $0.stopsNoMore = true } }
    /// What must be refused by now.
    var revoked: Set<String> { state.withLock { $0.revoked } }

    /// Tells one load, or all of them. Each file has one writer at a time.
    func tell(_ news: News, to index: Int? = nil) throws {
        try state.withLock { state in
            switch news {
            case .added(let token, _, _):
                if let key = News.key(of: token) { state.keys.insert(key) }
            case .revoked(let key): state.revoked.insert(key)
            case .end: state.hasEnded = true
            default: break
            }
            for (number, path) in files.enumerated() where number == index ?? number {
                guard let file = FileHandle(forWritingAtPath: path) else {
                    throw BenchmarkFailure("cannot write \(path)")
                }
                try file.seekToEnd()
                try file.write(contentsOf: Data((news.line + "\n").utf8))
                try file.close()
            }
        }
    }

    /// Ends the run without figures.
    func fail(_ error: any Error) {
        let failure = error as? BenchmarkFailure ?? BenchmarkFailure("\(error)")
        state.withLock { $0.failure = $0.failure ?? failure }
    }

    func throwFailure() throws {
        if let failure = state.withLock({ $0.failure }) { throw failure }
    }

    /// Signs in at one server, one after the other, until the run ends, and gives the loads each session.
    func signIn(
        at target: Target, number: Int, isBearer: Bool, lifetimeSeconds: Int
    ) {
        var index = number
        while isRunning {
            let revoked = revoked
            let start = Int(Date().timeIntervalSince1970)
            // A server that is stopped answers nothing: no sign-in, as 503 is none.
            let answer = try? KnownSignIns.signIn(index, at: target, isBearer: isBearer)
            index += 1
            do {
                switch (answer?.status, answer?.token) {
                case (200, let token?):
                    if let key = News.key(of: token), revoked.contains(key) {
                        throw BenchmarkFailure("a sign-in was sealed under the revoked key \(key)")
                    }
                    try tell(
                        .added(
                            token: token, isBearer: isBearer, deadline: start + lifetimeSeconds))
                    state.withLock { $0.signIns[number].done += 1 }
                case (503, _), (nil, _):
                    state.withLock { $0.signIns[number].unavailable += 1 }
                    usleep(Self.pauseMicroseconds)
                case (let status, _):
                    throw BenchmarkFailure("a right sign-in was answered \(status ?? 0)")
                }
            } catch { fail(error) }
        }
    }

    /// Before the next sign-in at a server that gave none.
    private static let pauseMicroseconds: UInt32 = 50_000
}

struct SignInCounts: Codable, Equatable, Sendable {
    var done = 0
    /// 503, or no answer.
    var unavailable = 0
}
