// What one event loop has answered, readable from other threads.

import GatehouseCore
import Synchronization

/// Everything that is counted on the check path.
package enum CheckCount: Int, CaseIterable, Sendable {
    case good, absent, ambiguous, future, expired, revoked, stale, level
    case length, encoding, version, unknownKey, revokedKey, authentication, content
    case unavailable
    case badRequest, body, tooLarge, unknownOption
    case accepted, closed, overLimit, headTimeout, idleTimeout, acceptPaused
}

/// Counters with one writer, the event loop: adding is a load and a store.
package final class CheckCounters: Sendable {
    private let counts: InlineArray<26, Atomic<UInt64>> = InlineArray { _ in Atomic(0) }

    package init() { precondition(CheckCount.allCases.count == 26) }

    func add(_ count: CheckCount) {
        let value = counts[count.rawValue].load(ordering: .relaxed)
        counts[count.rawValue].store(value &+ 1, ordering: .relaxed)
    }

    package func value(_ count: CheckCount) -> UInt64 {
        counts[count.rawValue].load(ordering: .relaxed)
    }

    func add(_ verdict: CheckVerdict) {
        switch verdict {
        case .good: add(CheckCount.good)
        case .unavailable: add(CheckCount.unavailable)
        case .denied(.absent): add(CheckCount.absent)
        case .denied(.expired): add(CheckCount.expired)
        case .denied(.revoked): add(CheckCount.revoked)
        case .denied(.stale): add(CheckCount.stale)
        case .denied(.level): add(CheckCount.level)
        case .denied(.invalid(.ambiguous)): add(CheckCount.ambiguous)
        case .denied(.invalid(.issuedInFuture)): add(CheckCount.future)
        case .denied(.invalid(.token(let defect))): add(Self.count(defect))
        }
    }

    private static func count(_ defect: TokenDefect) -> CheckCount {
        switch defect {
        case .length: .length
        case .encoding: .encoding
        case .version: .version
        case .unknownKey: .unknownKey
        case .revokedKey: .revokedKey
        case .authentication: .authentication
        case .content: .content
        }
    }

    func add(_ defect: HeadDefect) {
        switch defect {
        case .body: add(CheckCount.body)
        case .tooLarge, .tooManyFields: add(CheckCount.tooLarge)
        case .options: add(CheckCount.unknownOption)
        default: add(CheckCount.badRequest)
        }
    }
}
