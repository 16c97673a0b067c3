// Values that many tests need, and randomness that can be repeated.

import Foundation
package import GatehouseCore
import Glibc
import Synchronization

/// A pseudo-random generator whose seed a failing test prints (splitmix64).
package struct SeededGenerator: RandomNumberGenerator {
    package let seed: UInt64
    private var state: UInt64

    package init(seed: UInt64 = .random(in: 0 ... .max)) {
        self.seed = seed
        state = seed
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}

extension Entropy {
    /// Repeatable bytes, for golden values. Never for anything real.
    package static func seeded(_ seed: UInt64) -> Entropy {
        let generator = Mutex(SeededGenerator(seed: seed))
        return Entropy { span in
            generator.withLock { generator in
                for index in span.indices {
                    span[index] = UInt8.random(in: 0...255, using: &generator)
                }
            }
            return true
        }
    }

    /// An operating system that has no randomness to give.
    package static let broken = Entropy { _ in false }
}

package func audience(_ text: String = "test") -> Audience {
    guard let audience = Audience(text) else { preconditionFailure("no audience: \(text)") }
    return audience
}

/// A look-up key of a ring that nobody has.
package func lookUpKey() throws -> LookUpKey {
    guard let key = try Keyring.first(at: time(noon), entropy: .system).lookUpKey else {
        preconditionFailure("a first ring has one")
    }
    return key
}

/// The key that tests chain their audit entries under, the same in every process's view of a store.
package let trailKey: AuditKey = {
    guard let key = try? Keyring.first(at: time(noon), entropy: .seeded(7)).auditKeys()?.current
    else {
        preconditionFailure("a first ring has one")
    }
    return key
}()

extension Store {
    /// The store, ready to write what leaves a trace.
    package func signed() -> Self {
        signTrail(as: .commands, with: AuditKeys(trailKey), for: AuditContext())
        return self
    }
}

package func username(_ text: String) -> Username {
    guard let username = try? Username(text) else { preconditionFailure("no username: \(text)") }
    return username
}

package func time(_ seconds: Int64) -> UnixTime { UnixTime(clamping: seconds) }

/// Both clocks at `seconds`.
package func instant(_ seconds: Int64) -> Instant {
    Instant(wall: time(seconds), boot: BootTime(nanoseconds: seconds * 1_000_000_000))
}

/// 2026-11-24, when nothing in a test cares which day it is.
package let noon: Int64 = 1_795_521_600

extension Claims {
    package static func sample(
        session: UInt64 = 1, user: UInt64 = 2, name: String = "ada", epoch: UInt32 = 0,
        issued: Int64 = noon, authenticated: Int64 = noon, idle: Int64 = noon + 3600,
        absolute: Int64 = noon + 86_400, methods: AuthenticationMethods = .password,
        level: AuthenticationLevel = .password, isRemembered: Bool = false
    ) -> Claims {
        Claims(
            session: SessionID(Identifier(high: 0x5E55_1000, low: session)),
            user: UserID(
                Identifier(high: 0xA5E4_0000_0000_4000, low: 0x8000_0000_0000_0000 | user)),
            username: GatehouseTestSupport.username(name), epoch: epoch, issued: time(issued),
            authenticated: time(authenticated), idleDeadline: time(idle),
            absoluteDeadline: time(absolute), methods: methods, level: level,
            isRemembered: isRemembered)
    }
}

/// A directory of a test's own, removed with everything in it.
package final class TemporaryDirectory: Sendable {
    package let path: String

    package init() {
        var template = Array("/tmp/gatehouse-test-XXXXXX".utf8CString)
        let made = unsafe template.withUnsafeMutableBufferPointer { buffer in
            // SAFETY: a zero-terminated template that mkdtemp rewrites in place.
            guard let base = buffer.baseAddress, let path = unsafe mkdtemp(base) else {
                preconditionFailure("mkdtemp failed")
            }
            return unsafe String(cString: path)
        }
        path = made
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }
}

// A span can't be an operand of #expect; these take arrays.

extension Base64URL {
    package static func text(_ bytes: [UInt8]) -> [UInt8] { encode(bytes.span) }
    package static func bytes(_ text: [UInt8]) -> [UInt8]? { decode(text.span) }
}

package func isEqualInConstantTime(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    constantTimeEqual(left.span, right.span)
}
