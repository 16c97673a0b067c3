// Our side: everything that a target uses of the check lane, and nothing else does.

import FuzzSupport
import GatehouseCheck
import GatehouseCore

/// A head as the scanner read it.
struct LaneHead {
    enum Credential: Equatable {
        case absent
        case one(Range<Int>)
        case ambiguous
    }

    let options: OptionsAsked
    /// Where the token stands, counted from the first byte of everything.
    let credential: Credential
    let closes: Bool
    /// Where the head ends, counted likewise.
    let end: Int
}

/// What becomes of a connection after the heads that were accepted.
enum LaneEnding: Equatable {
    /// It waits for more.
    case open
    /// An accepted request asked to close it.
    case closed
    case refused(status: Int)
}

/// What a connection has made of some packets.
struct LaneAnswers: Equatable {
    var output: [UInt8]
    let isClosed: Bool
    /// Whether the time of a head is running.
    let isInHead: Bool
}

/// The scanner, and connections of nodes in every state.
final class Lane {
    static let cookieName = "__Host-gatehouse"
    static let resumeURL = "https://www.example.org/auth/resume"

    private let settings: CheckSettings
    private let serving: CheckLoop
    private let starting: CheckLoop
    private let draining: CheckLoop
    private let stopping: CheckLoop
    private let output = AnswerBuffer()

    init(_ tokens: SealedTokens) {
        var settings = CheckSettings()
        settings.cookieName = Self.cookieName
        settings.resumeURL = Array(Self.resumeURL.utf8)
        func loop(_ phase: Lease.Phase) -> CheckLoop {
            let lease = Lease(maximumStalenessSeconds: 120)
            lease.renew(started: SealedTokens.now.boot, storeLatest: SealedTokens.now.wall)
            lease.enter(phase)
            let loop = CheckLoop(
                judge: Judge(audience: tokens.audience, lease: lease), counters: CheckCounters(),
                settings: settings)
            guard loop.adopt(tokens.snapshot) != nil else { report("no cipher", []) }
            return loop
        }
        self.settings = settings
        serving = loop(.serving)
        starting = loop(.starting)
        draining = loop(.draining)
        stopping = loop(.stopping)
    }

    private func loop(_ node: Node) -> CheckLoop {
        switch node {
        case .serving: serving
        case .starting: starting
        case .draining: draining
        case .stopping: stopping
        }
    }

    /// Every head that the scanner accepts, one after the other, and how that ends.
    func heads(_ bytes: [UInt8]) -> (heads: [LaneHead], ending: LaneEnding) {
        var heads: [LaneHead] = []
        var start = 0
        var scanner = HeadScanner(
            limits: settings.limits.head, cookieName: Array(Self.cookieName.utf8))
        while start < bytes.count {
            scanner.reset()
            switch scanner.scan(bytes.span.extracting(start..<bytes.count)) {
            case .incomplete: return (heads, .open)
            case .refused(let defect): return (heads, .refused(status: defect.status))
            case .complete(let head, let byteCount):
                let credential: LaneHead.Credential =
                    switch head.credential {
                    case .absent: .absent
                    case .ambiguous: .ambiguous
                    case .one(let range):
                        .one((start + range.lowerBound)..<(start + range.upperBound))
                    }
                start += byteCount
                heads.append(
                    LaneHead(
                        options: OptionsAsked(head.options), credential: credential,
                        closes: head.closes, end: start))
                if head.closes { return (heads, .closed) }
            }
        }
        return (heads, .open)
    }

    /// What a new connection answers to packets that end at `cuts`.
    func answers(
        _ bytes: [UInt8], cuts: some Sequence<Int>, node: Node, isFromTrustedProxy: Bool
    ) -> LaneAnswers {
        let loop = loop(node)
        var connection = CheckConnection(
            loop: loop, isFromTrustedProxy: isFromTrustedProxy, at: SealedTokens.now.boot)
        output.removeAll()
        var start = 0
        func receive(to end: Int) -> Bool {
            defer { start = end }
            return connection.receive(
                bytes.span.extracting(start..<end), loop: loop, at: SealedTokens.now, into: output
            ) == .close
        }
        var isClosed = false
        for cut in cuts where !isClosed { isClosed = receive(to: cut) }
        if !isClosed { isClosed = receive(to: bytes.count) }
        return LaneAnswers(
            output: unsafe output.withBytes { unsafe Array($0) }, isClosed: isClosed,
            isInHead: !isClosed && connection.isInHead)
    }
}

extension OptionsAsked {
    fileprivate init(_ options: CheckOptions) {
        freshSeconds = options.requirement.freshSeconds
        level = Int(options.requirement.level.rawValue)
        isPassive = options.isPassive
        renews = options.renews
        isBearer = options.isBearer
        isOptional = options.isOptional
        forwards = options.forwards
    }
}
