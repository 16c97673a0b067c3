// One connection of the check endpoint: bytes in, bytes out, a deadline. It knows no sockets.

package import GatehouseCore

/// What all connections of one event loop share; touched on that loop only.
package final class CheckLoop {
    let judge: Judge
    package let counters: CheckCounters
    let settings: CheckSettings
    fileprivate let cookieName: [UInt8]
    private var activity = ActivityNotes()
    /// Where connections' answers are written before they are sent; one a loop.
    let output = AnswerBuffer()

    package init(judge: Judge, counters: CheckCounters, settings: CheckSettings) {
        self.judge = judge
        self.counters = counters
        self.settings = settings
        cookieName = Array(settings.cookieName.utf8)
    }

    /// Takes up a snapshot; gives back what it replaces, to be freed elsewhere, or nil when the
    /// keyring could not be made ready.
    package func adopt(_ snapshot: CheckSnapshot) -> RevocationSnapshot? { judge.adopt(snapshot) }

    /// Gives the notes of which sessions were used in exchange for empty ones.
    package func exchangeActivity(_ notes: inout ActivityNotes) { swap(&notes, &activity) }

    /// What keys opened and sealed on this loop since this was last asked.
    package func takeTally() -> KeyTally { judge.takeTally() }

    fileprivate func note(_ claims: borrowing Claims, at now: Instant) {
        activity.note(claims.session, at: now.wall)
    }
}

/// What the configuration says about checks.
package struct CheckSettings: Sendable {
    package var limits = CheckLimits()
    /// The session cookie's exact name.
    package var cookieName = "__Host-gatehouse"
    /// The domain that shares the cookie, for the option `renew`; nil for this host only.
    package var cookieDomain: String?
    package var renewal = RenewalRule()
    /// Where the option `forward` sends browsers, such as `https://www.example.org/auth/resume`; nil
    /// where there is no front door: then it sends nobody.
    package var resumeURL: [UInt8]?
    package init() {}
}

/// The limits of connections, from the configuration.
package struct CheckLimits: Sendable, Equatable {
    package var head = HeadLimits()
    /// From a head's first byte to its end, in seconds. Heads come from a proxy next door in one
    /// packet; one that takes longer is an attack or a dead peer.
    package var headSeconds: Int64 = 5
    /// How long a connection may be idle, in seconds: longer than a proxy should keep its own, so
    /// that the proxy is the one who closes (the shipped nginx configuration keeps 50 s).
    package var idleSeconds: Int64 = 60
    /// Connections of all listeners in total. Proxies hold tens; past this a client leaks.
    package var maximumConnections = 4096
    package init() {}
}

/// Reads requests from the bytes that a driver receives, and appends answers to its output.
package struct CheckConnection {
    package enum Disposition: Equatable {
        case open
        /// Send what was appended, then close.
        case close
    }

    private var scanner: HeadScanner
    /// Bytes of a head that is not complete yet.
    private var partial: [UInt8] = []
    private var headStarted: BootTime?
    private var lastActivity: BootTime
    private var isClosed = false
    private let isFromTrustedProxy: Bool

    /// - Parameter isFromTrustedProxy: whether the peer is listed, so that its `X-Forwarded-*` fields
    ///   are believed where the option `forward` looks for the way back.
    package init(loop: CheckLoop, isFromTrustedProxy: Bool = false, at now: BootTime) {
        scanner = HeadScanner(limits: loop.settings.limits.head, cookieName: loop.cookieName)
        lastActivity = now
        self.isFromTrustedProxy = isFromTrustedProxy
    }

    /// When the driver has to close if nothing comes before.
    package func deadline(limits: CheckLimits) -> BootTime {
        if let headStarted { return headStarted.advanced(bySeconds: limits.headSeconds) }
        return lastActivity.advanced(bySeconds: limits.idleSeconds)
    }

    /// Whether a head has begun and not ended.
    package var isInHead: Bool { headStarted != nil }

    /// Answers every whole request in `bytes`, and keeps the rest.
    package mutating func receive(
        _ bytes: Span<UInt8>, loop: CheckLoop, at now: Instant, into output: AnswerBuffer
    ) -> Disposition {
        guard !isClosed else { return .close }
        guard bytes.count > 0 else { return .open }
        lastActivity = now.boot
        output.setDate(now.wall)
        let disposition: Disposition
        if partial.isEmpty {
            var consumed = 0
            disposition = answer(bytes, loop: loop, at: now, into: output, consumed: &consumed)
            if disposition == .open {
                for index in consumed..<bytes.count { partial.append(bytes[index]) }
            }
        } else {
            // Taken out while it is read, so that bytes that were kept are not copied again.
            var joined: [UInt8] = []
            swap(&joined, &partial)
            for index in bytes.indices { joined.append(bytes[index]) }
            var consumed = 0
            disposition = answer(
                joined.span, loop: loop, at: now, into: output, consumed: &consumed)
            if disposition == .open {
                joined.removeFirst(consumed)
                swap(&joined, &partial)
            }
        }
        isClosed = disposition == .close
        return disposition
    }

    private mutating func answer(
        _ bytes: Span<UInt8>, loop: CheckLoop, at now: Instant, into output: AnswerBuffer,
        consumed: inout Int
    ) -> Disposition {
        while consumed < bytes.count {
            let rest = bytes.extracting(consumed..<bytes.count)
            switch scanner.scan(rest) {
            case .incomplete:
                if consumed > 0 || headStarted == nil { headStarted = now.boot }
                return .open
            case .refused(let defect):
                return refuse(defect, loop: loop, into: output)
            case .complete(let head, let byteCount):
                scanner.reset()
                headStarted = nil
                let disposition = answer(
                    head, bytes: rest.extracting(0..<byteCount), loop: loop, at: now, into: output)
                guard disposition == .open else { return .close }
                consumed += byteCount
            }
        }
        return .open
    }

    private func refuse(
        _ defect: HeadDefect, loop: CheckLoop, into output: AnswerBuffer
    ) -> Disposition {
        loop.counters.add(defect)
        output.appendRefused(status: defect.status)
        return .close
    }

    private func answer(
        _ head: RequestHead, bytes: Span<UInt8>, loop: CheckLoop, at now: Instant,
        into output: AnswerBuffer
    ) -> Disposition {
        let closes = head.closes || loop.judge.isEnding
        let verdict = Self.verdict(head, bytes: bytes, judge: loop.judge, at: now) { claims in
            var renewal: [UInt8]?
            if !head.options.isPassive {
                loop.note(claims, at: now)
                if head.options.renews { renewal = loop.renewal(of: claims, head, bytes) }
            }
            output.appendGood(claims, renewal: renewal, closes: closes)
        }
        switch verdict {
        case .good: break
        case .denied(let denial):
            if denial.isAboutIdentity, head.options.isOptional {
                output.appendNobody(closes: closes)
            } else if denial.isAboutIdentity, head.options.forwards {
                do throws(HeadDefect) {
                    let location = try loop.resumeLocation(
                        head, bytes, believesForwarded: isFromTrustedProxy)
                    if let location {
                        output.appendForwarded(
                            denial, to: location, closes: closes)
                    } else {
                        output.appendDenied(denial, closes: closes)
                    }
                } catch { return refuse(error, loop: loop, into: output) }
            } else {
                output.appendDenied(denial, closes: closes)
            }
        case .unavailable: output.appendUnavailable(closes: closes)
        }
        loop.counters.add(verdict)
        return closes ? .close : .open
    }

    private static func verdict(
        _ head: RequestHead, bytes: Span<UInt8>, judge: Judge, at now: Instant,
        whenGood: (borrowing Claims) -> Void
    ) -> CheckVerdict {
        if case .one(let range) = head.credential, !range.isEmpty {
            return judge.verdict(
                on: bytes.extracting(range),
                transport: head.options.isBearer ? .bearer : .cookie,
                requirement: head.options.requirement, at: now, whenGood: whenGood)
        }
        // A node that can't know says so before anything else.
        if let reason = judge.unavailability(at: now) { return .unavailable(reason) }
        return .denied(head.credential == .ambiguous ? .invalid(.ambiguous) : .absent)
    }
}

extension Denial {
    /// Whether it says that nobody is signed in, as opposed to: not enough.
    fileprivate var isAboutIdentity: Bool { self != .stale && self != .level }
}
