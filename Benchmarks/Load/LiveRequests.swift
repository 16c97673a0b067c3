// Requests whose right answer changes while the load runs: keys are rotated and revoked, tokens come and go.

import Foundation
import Glibc

/// What the one who changes things tells a load, a line each. It is written before a change may begin to
/// show, and again when it must show: between the two either answer is right.
enum News: Equatable {
    /// A token that is good until its deadline, in Unix seconds.
    case added(token: String, isBearer: Bool, deadline: Int)
    case revoking(key: String)
    /// Every node refuses what this key sealed, or answers nothing.
    case revoked(key: String)
    /// This server may be without a lease, and answer 503.
    case mayLack
    case hasLease
    case end

    var line: String {
        switch self {
        case .added(let token, let isBearer, let deadline):
            "\(isBearer ? "bearer" : "cookie") \(deadline) \(token)"
        case .revoking(let key): "revoking \(key)"
        case .revoked(let key): "revoked \(key)"
        case .mayLack: "may-lack"
        case .hasLease: "has-lease"
        case .end: "end"
        }
    }

    init?(line: some StringProtocol) {
        let parts = String(line).split(separator: " " as Character).map(String.init)
        switch (parts.first, parts.count) {
        case ("cookie", 3), ("bearer", 3):
            guard let deadline = Int(parts[1]) else { return nil }
            self = .added(token: parts[2], isBearer: parts[0] == "bearer", deadline: deadline)
        case ("revoking", 2): self = .revoking(key: parts[1])
        case ("revoked", 2): self = .revoked(key: parts[1])
        case ("may-lack", 1): self = .mayLack
        case ("has-lease", 1): self = .hasLease
        case ("end", 1): self = .end
        default: return nil
        }
    }

    /// The id of the key that sealed a token, in hex; nil for what is no token: the version, then four
    /// bytes (DESIGN section 4).
    static func key(of token: String) -> String? {
        // Eight characters of base64url hold six bytes.
        let start = String(token.prefix(8)).replacingOccurrences(of: "-", with: "+")
            .replacingOccurrences(of: "_", with: "/")
        guard start.count == 8, let bytes = Data(base64Encoded: start), bytes.first == 1 else {
            return nil
        }
        return bytes.dropFirst().prefix(4).map { String(format: "%02x", $0) }.joined()
    }
}

/// Answers by what they say and by what was right when they were asked for.
struct LiveCounts: Codable, Equatable, Sendable {
    /// 200 of a good one.
    var accepted = 0
    /// 401 under a revoked key, asked for after the command had returned.
    var refusedRevoked = 0
    /// Asked for, or answered, while a key was being revoked.
    var eitherWay = 0
    /// 503 of a server that was stopped for longer than its lease.
    var lacksLease = 0
    /// 401 of one that expired while its request waited at a stopped server.
    var expired = 0
}

/// The requests, and what is known of their keys. Times are Unix seconds.
struct LiveRequests {
    enum Standing: Int {
        case good = 200
        case revoked = 401
        case either = 0
    }

    private(set) var requests = RequestSet([], path: "")
    private(set) var counts = LiveCounts()
    private(set) var hasEnded = false
    /// Of each request.
    private var keys: [String] = []
    private var deadlines: [Int] = []
    private var standings: [String: Standing] = [:]
    private var mayLack = false
    /// Those that have not expired, and whose turn it is.
    private var live: [Int] = []
    private var turn = 0

    /// A token is not asked for in the last seconds before its deadline: the answer may come after it.
    static let marginSeconds = 2

    mutating func apply(_ news: News) throws {
        switch news {
        case .added(let token, let isBearer, let deadline):
            guard let key = News.key(of: token) else {
                throw BenchmarkFailure("the load was given what is no token")
            }
            live.append(requests.count)
            keys.append(key)
            deadlines.append(deadline)
            requests.append(
                isBearer
                    ? RequestSet.bearerRequest(token: token)
                    : RequestSet.request(path: "/check", token: token), status: 200)
        case .revoking(let key): standings[key] = .either
        case .revoked(let key): standings[key] = .revoked
        case .mayLack: mayLack = true
        case .hasLease: mayLack = false
        case .end: hasEnded = true
        }
    }

    /// The next request that may be asked, and what is right now; nil when all have expired.
    mutating func next(at now: Int) -> (request: Int, standing: Standing)? {
        while !live.isEmpty {
            if turn >= live.count { turn = 0 }
            let request = live[turn]
            if now < deadlines[request] - Self.marginSeconds {
                turn += 1
                return (request, standing(of: request))
            }
            live.swapAt(turn, live.count - 1)
            live.removeLast()
        }
        return nil
    }

    private func standing(of request: Int) -> Standing { standings[keys[request]] ?? .good }

    /// Judges an answer by what was right when its request was sent and by all that has been told since;
    /// why it is wrong, or nil.
    mutating func judge(
        _ status: Int, of request: Int, asked: Standing, at now: Int
    ) -> String? {
        switch (status, asked) {
        case (200, .revoked): return "accepted under the revoked key \(keys[request])"
        case (200, .good): counts.accepted += 1
        case (401, .revoked): counts.refusedRevoked += 1
        case (200, .either), (401, .either): counts.eitherWay += 1
        case (401, .good) where standing(of: request) != .good: counts.eitherWay += 1
        case (401, .good) where now >= deadlines[request] - 1: counts.expired += 1
        case (401, .good): return "a good token under key \(keys[request]) was refused"
        case (503, _) where mayLack: counts.lacksLease += 1
        default: return "answered \(status) where 200 or 401 is right"
        }
        return nil
    }
}

/// A file that grows, read as far as it goes.
final class NewsReader {
    private let descriptor: Int32
    private var rest: [UInt8] = []

    init(_ path: String) throws {
        descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw BenchmarkFailure("cannot read \(path)") }
    }

    deinit { close(descriptor) }

    /// The whole lines that have come since the last time.
    func read() throws -> [News] {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            // SAFETY: reads at most as many bytes as the buffer has.
            let count = unsafe Glibc.read(descriptor, &buffer, buffer.count)
            guard count > 0 else { break }
            rest += buffer[..<count]
        }
        guard let end = rest.lastIndex(of: UInt8(ascii: "\n")) else { return [] }
        let lines = String(decoding: rest[..<end], as: UTF8.self).split(separator: "\n")
        rest = Array(rest[(end + 1)...])
        return try lines.map { line in
            guard let news = News(line: line) else {
                throw BenchmarkFailure("the load was told what it doesn't understand: \(line)")
            }
            return news
        }
    }
}
