// What a command that waits for servers tells while it waits.

import Foundation
import GatehouseCore
import GatehouseSystem

/// The steps of a change that servers take up, told as they happen: to people on standard output, beside
/// JSON on standard error, and in the JSON object itself once all is done.
final class Steps {
    struct Step: Encodable, Equatable {
        /// Since the command began.
        let seconds: Double
        let step: String
        var key: String?
        var node: String?
        var version: UInt64?
    }

    /// What every server is to reach.
    enum Target {
        case ring(UInt64)
        case feed(UInt64)

        var name: String {
            switch self {
            case .ring: "ring version"
            case .feed: "feed position"
            }
        }
        var needed: UInt64 {
            switch self {
            case .ring(let version), .feed(let version): version
            }
        }
        func reached(by node: NodeRecord) -> UInt64 {
            switch self {
            case .ring: node.keyringVersion
            case .feed: node.position
            }
        }
    }

    private let start = ContinuousClock.now
    private let isJSON: Bool
    private let isTold: Bool
    /// Said once, when there is something to wait for; its lines fit a terminal of 100 columns.
    private let interruption: String
    private(set) var all: [Step] = []
    private var waitingFor: Set<NodeID> = []
    private var silent: Set<NodeID> = []

    /// - Parameters:
    ///   - isTold: whether the command waits; otherwise it is done at once and only says the outcome.
    ///   - interruption: what becomes of the change if the command is interrupted, and what to do then.
    init(isJSON: Bool, isTold: Bool, interruption: String) {
        self.isJSON = isJSON
        self.isTold = isTold
        self.interruption = interruption
    }

    /// Tells a step; `words` is its sentence.
    func tell(
        _ step: String, _ words: String, key: KeyID? = nil, node: NodeID? = nil,
        version: UInt64? = nil
    ) {
        guard isTold else { return }
        let seconds = start.duration(to: .now) / .seconds(1)
        all.append(
            Step(
                seconds: (seconds * 1000).rounded() / 1000, step: step, key: key?.text,
                node: node?.text, version: version))
        say(String(format: "%8.3f s  ", seconds) + words)
    }

    /// Unbuffered: whoever watches sees each step when it happens.
    private func say(_ line: String) {
        let file = isJSON ? FileHandle.standardError : FileHandle.standardOutput
        file.write(Data((line + "\n").utf8))
    }

    /// Tells which of `nodes` are waited for, and which no longer.
    func look(
        at nodes: [NodeRecord], for target: Target, now: UnixTime = SystemClock.now().wall
    ) {
        for node in nodes where target.reached(by: node) < target.needed {
            let silence = node.silence(at: now)
            let isSilent = silence != nil && silent.insert(node.id).inserted
            guard waitingFor.insert(node.id).inserted || isSilent else { continue }
            let version = target.reached(by: node)
            let isFirst = !all.contains { $0.step == "waiting" }
            tell(
                "waiting",
                "waiting for server \(node.id.text), which has \(target.name) \(version)"
                    + (silence.map { ", \($0)" } ?? ""),
                node: node.id, version: version)
            if isFirst, isTold {
                say(
                    interruption.split(separator: "\n").map { "            " + $0 }
                        .joined(separator: "\n"))
            }
        }
        let known = Dictionary(
            nodes.map { ($0.id, target.reached(by: $0)) }, uniquingKeysWith: { $1 })
        for id in waitingFor.sorted(by: { $0.text < $1.text }) {
            guard let version = known[id] else {
                waitingFor.remove(id)
                tell(
                    "gone",
                    "server \(id.text) has stopped, or was silent for longer than its lease",
                    node: id)
                continue
            }
            guard version >= target.needed else { continue }
            waitingFor.remove(id)
            tell(
                "reached", "server \(id.text) has \(target.name) \(version)", node: id,
                version: version)
        }
    }

    /// Waits until every live server has reached `target`; how long each took, in milliseconds.
    func wait(
        for target: Target, in store: any Store
    ) async throws -> [(node: NodeID, milliseconds: Int)] {
        try await NodeWait(store: store).until {
            target.reached(by: $0) >= target.needed
        } look: {
            look(at: $0, for: target)
        }
    }
}

extension NodeRecord {
    /// Two beats that did not come: a busy machine is late with one.
    static let silentSeconds = 2 * Node.heartbeatSeconds

    /// How long it has been silent, for people; nil while it is heard of.
    func silence(at now: UnixTime) -> String? {
        let seconds = Output.age(of: heartbeat, at: now)
        guard seconds > Self.silentSeconds else { return nil }
        return "silent for \(seconds) s, given up in \(max(0, givenUp.seconds - now.seconds)) s"
    }
}
