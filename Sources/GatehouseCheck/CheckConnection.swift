// One connection of the check endpoint: bytes in, bytes out, a deadline. It knows no sockets.

package import GatehouseCore

/// What all connections of one event loop share.
package final class CheckLoop {
    let judge: Judge
    package let counters: CheckCounters
    let limits: CheckLimits
    let cookieName: [UInt8]
    fileprivate var date = HTTPDate()
    /// Where connections' answers are written before they are sent; one a loop.
    var output: [UInt8] = []

    package init(
        judge: Judge, counters: CheckCounters, limits: CheckLimits, cookieName: [UInt8]
    ) {
        self.judge = judge
        self.counters = counters
        self.limits = limits
        self.cookieName = cookieName
    }

    /// Takes up a snapshot; gives back what it replaces, to be freed elsewhere, or nil when the
    /// keyring could not be made ready.
    package func adopt(_ snapshot: CheckSnapshot) -> RevocationSnapshot? { judge.adopt(snapshot) }
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
    /// Connections of one listener group in total. Proxies hold tens; past this a client leaks.
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

    package init(loop: CheckLoop, at now: BootTime) {
        scanner = HeadScanner(limits: loop.limits.head, cookieName: loop.cookieName)
        lastActivity = now
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
        _ bytes: Span<UInt8>, loop: CheckLoop, at now: Instant, into output: inout [UInt8]
    ) -> Disposition {
        guard !isClosed else { return .close }
        guard bytes.count > 0 else { return .open }
        lastActivity = now.boot
        let disposition: Disposition
        if partial.isEmpty {
            var consumed = 0
            disposition = answer(bytes, loop: loop, at: now, into: &output, consumed: &consumed)
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
                joined.span, loop: loop, at: now, into: &output, consumed: &consumed)
            if disposition == .open {
                joined.removeFirst(consumed)
                swap(&joined, &partial)
            }
        }
        isClosed = disposition == .close
        return disposition
    }

    private mutating func answer(
        _ bytes: Span<UInt8>, loop: CheckLoop, at now: Instant, into output: inout [UInt8],
        consumed: inout Int
    ) -> Disposition {
        while consumed < bytes.count {
            let rest = bytes.extracting(consumed..<bytes.count)
            switch scanner.scan(rest) {
            case .incomplete:
                if consumed > 0 || headStarted == nil { headStarted = now.boot }
                return .open
            case .refused(let defect):
                loop.counters.add(defect)
                CheckResponse.appendRefused(
                    status: defect.status, date: loop.date.bytes(at: now.wall), to: &output)
                return .close
            case .complete(let head, let byteCount):
                scanner.reset()
                headStarted = nil
                let disposition = answer(
                    head, bytes: rest, loop: loop, at: now, into: &output)
                guard disposition == .open else { return .close }
                consumed += byteCount
            }
        }
        return .open
    }

    private func answer(
        _ head: RequestHead, bytes: Span<UInt8>, loop: CheckLoop, at now: Instant,
        into output: inout [UInt8]
    ) -> Disposition {
        let date = loop.date.bytes(at: now.wall)
        guard head.target == .check else {
            loop.counters.add(.unknownOption)
            CheckResponse.appendRefused(status: 400, date: date, to: &output)
            return .close
        }
        let closes = head.closes || loop.judge.isStopping
        let verdict = Self.verdict(head.sessionCookie, bytes: bytes, judge: loop.judge, at: now)
        loop.counters.add(verdict)
        switch verdict {
        case .good(let claims):
            CheckResponse.appendGood(claims, date: date, closes: closes, to: &output)
        case .denied(let denial):
            CheckResponse.appendDenied(denial, date: date, closes: closes, to: &output)
        case .unavailable:
            CheckResponse.appendUnavailable(date: date, closes: closes, to: &output)
        }
        return closes ? .close : .open
    }

    private static func verdict(
        _ cookie: RequestHead.SessionCookie, bytes: Span<UInt8>, judge: Judge, at now: Instant
    ) -> Verdict {
        if case .one(let range) = cookie, !range.isEmpty {
            return judge.verdict(on: bytes.extracting(range), transport: .cookie, at: now)
        }
        // A node that can't know says so before anything else.
        if let reason = judge.unavailability(at: now) { return .unavailable(reason) }
        return .denied(cookie == .ambiguous ? .invalid(.ambiguous) : .absent)
    }
}
