// Sealing, opening and checking one kind of token again and again, by us and by bare libcrypto.

import ArgumentParser
import CAllocationCount
import CBenchmark
import GatehouseCheck
import GatehouseCore
import GatehouseSystem
import Glibc

enum TokenOperation: String, CaseIterable, ExpressibleByArgument, Codable {
    case open, seal
    /// All of a check but the sockets: a request's bytes to an answer's. It opens one token.
    case check
}

/// Everything an operation needs, made beforehand.
final class TokenLoop {
    private let cipher: TokenCipher
    private let claims: Claims
    private let tokens: [[UInt8]]
    private let requests: [[UInt8]]
    private let checkLoop: CheckLoop
    private var connection: CheckConnection
    private let output = AnswerBuffer()
    private let bare: BareCrypto

    /// Enough for no two rounds of the loop to be alike, few enough to stay in the cache: what is
    /// measured is computing, not memory.
    private static let tokenCount = 64

    init() throws {
        let now = UnixTime(clamping: Int64(time(nil)))
        let ring = try Keyring.first(at: now, entropy: .system)
        guard let audience = Audience("gatehouse") else {
            preconditionFailure("the default audience is valid")
        }
        cipher = try TokenCipher(keyring: ring, audience: audience, purposes: [.session])
        claims = try Self.claims(at: now)
        tokens = try (0..<Self.tokenCount).map { [cipher] _ in
            try cipher.sealSession(
                Self.claims(at: now), transport: .cookie, entropy: .system)
        }
        requests = tokens.map {
            RequestSet.request(path: "/check", token: String(decoding: $0, as: UTF8.self))
        }
        checkLoop = Self.checkLoop(ring: ring, audience: audience)
        connection = CheckConnection(loop: checkLoop, at: SystemClock.now().boot)
        bare = try BareCrypto(
            textBytes: claims.encoded().count,
            associatedBytes: Self.associatedBytes(audience: audience))
    }

    /// A session of its own.
    private static func claims(at now: UnixTime) throws -> Claims {
        Claims(
            session: SessionID(try .random(from: .system)), user: try .random(from: .system),
            username: try Username("bench-user-0"), epoch: 0, issued: now, authenticated: now,
            idleDeadline: now.advanced(bySeconds: 3600),
            absoluteDeadline: now.advanced(bySeconds: 86_400), methods: .password,
            level: .password, isRemembered: false)
    }

    /// An event loop's own part, with a lease that outlives the benchmark, and nothing revoked.
    private static func checkLoop(ring: Keyring, audience: Audience) -> CheckLoop {
        let now = SystemClock.now()
        let lease = Lease(maximumStalenessSeconds: 24 * 3600)
        lease.enter(.serving)
        lease.renew(started: now.boot, storeLatest: now.wall)
        let loop = CheckLoop(
            judge: Judge(audience: audience, lease: lease), counters: CheckCounters(),
            settings: CheckSettings())
        _ = loop.adopt(CheckSnapshot(keyring: ring, revocations: .empty))
        return loop
    }

    /// The size of what a session cookie is authenticated with (Token.swift).
    private static func associatedBytes(audience: Audience) -> Int {
        let prefix = "gatehouse/v1/".utf8.count + audience.utf8.count + "session".utf8.count
        return prefix + "cookie".utf8.count + 3 + 5
    }

    /// What `body` took for each of `count` operations.
    struct Cost {
        let nanoseconds: Double
        let allocations: Double
    }

    private func cost(_ count: Int, _ body: (Int) throws -> Void) rethrows -> Cost {
        let allocations = gatehouse_allocation_count()
        let start = monotonicNanoseconds()
        try body(count)
        let end = monotonicNanoseconds()
        return Cost(
            nanoseconds: Double(end - start) / Double(count),
            allocations: Double(gatehouse_allocation_count() - allocations) / Double(count))
    }

    /// Ours, through the cipher that event loops use.
    func run(_ operation: TokenOperation, _ count: Int) throws -> Cost {
        switch operation {
        case .open:
            try cost(count) { count in
                var index = 0
                for _ in 0..<count {
                    let token = tokens[index]
                    guard case .opened = cipher.openSession(token.span, transport: .cookie) else {
                        throw BenchmarkFailure("a good token does not open")
                    }
                    index = index + 1 == tokens.count ? 0 : index + 1
                }
            }
        case .seal:
            try cost(count) { count in
                for _ in 0..<count {
                    _ = try cipher.sealSession(claims, transport: .cookie, entropy: .system)
                }
            }
        case .check: try cost(count) { try runChecks($0) }
        }
    }

    /// One connection, one request at a time, as a driver carries them.
    private func runChecks(_ count: Int) throws {
        let now = SystemClock.now()
        var index = 0
        for _ in 0..<count {
            let request = requests[index]
            output.removeAll()
            let disposition = connection.receive(
                request.span, loop: checkLoop, at: now, into: output)
            guard disposition == .open, Self.isGood(output) else {
                throw BenchmarkFailure("a good token is refused")
            }
            index = index + 1 == requests.count ? 0 : index + 1
        }
    }

    /// Whether the answer begins with "HTTP/1.1 2".
    private static func isGood(_ output: AnswerBuffer) -> Bool {
        unsafe output.withBytes { bytes in
            // SAFETY: the tenth byte is there.
            guard bytes.count > 9 else { return false }
            return unsafe bytes[9] == UInt8(ascii: "2")
        }
    }

    /// Only the calls of libcrypto that one of ours needs.
    func runBare(_ operation: TokenOperation, _ count: Int) throws -> Cost {
        try cost(count) { try bare.run(operation, $0) }
    }
}

/// The bare calls, and memory of a token's size for them.
@safe private final class BareCrypto {
    private let contexts: OpaquePointer
    private let nonce = [UInt8](repeating: 7, count: 24)
    private let associated: [UInt8]
    private let text: [UInt8]
    private var sealed: [UInt8]
    private var opened: [UInt8]
    private var tag = [UInt8](repeating: 0, count: 16)

    init(textBytes: Int, associatedBytes: Int) throws {
        guard let contexts = unsafe bench_evp_new() else {
            throw BenchmarkFailure("libcrypto has no memory or no AES")
        }
        unsafe self.contexts = contexts
        associated = Array(repeating: 1, count: associatedBytes)
        text = Array(repeating: 2, count: textBytes)
        sealed = Array(repeating: 0, count: textBytes)
        opened = sealed
        // What the opening loop opens.
        try run(.seal, 1)
    }

    deinit { unsafe bench_evp_free(contexts) }

    func run(_ operation: TokenOperation, _ count: Int) throws {
        // SAFETY: every array is as large as CBenchmark.h says.
        let done =
            switch operation {
            case .seal:
                unsafe bench_evp_seal(
                    contexts, nonce, associated, Int32(associated.count), text, Int32(text.count),
                    &sealed, &tag, count)
            case .open, .check:
                unsafe bench_evp_open(
                    contexts, nonce, associated, Int32(associated.count), sealed,
                    Int32(sealed.count), &opened, tag, count)
            }
        guard done else { throw BenchmarkFailure("libcrypto failed") }
    }
}
