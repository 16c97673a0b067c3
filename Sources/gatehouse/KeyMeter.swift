// What the token keys do, as this process counts it: written to the store and shown by /metrics.

import GatehouseCheck
import GatehouseCore
import GatehouseWeb
import Logging

/// Takes the counts of event loops and sealer once a minute. Scrapes read what it last made.
actor KeyMeter {
    static let seconds: Int64 = 60

    private let checks: CheckServer
    private let sealer: Sealer
    private let node: Node
    private let store: any Store
    private let logger: Logger
    private var unwritten = KeyTally()
    /// Since the start, of the keys that are in the ring.
    private var opened: [KeyID: UInt64] = [:]
    private var next: BootTime?
    private(set) var metrics: [Metric] = []

    init(checks: CheckServer, sealer: Sealer, node: Node, store: any Store, logger: Logger) {
        self.checks = checks
        self.sealer = sealer
        self.node = node
        self.store = store
        self.logger = logger
    }

    func writeIfDue(at now: Instant) async {
        if let next, now.boot < next { return }
        next = now.boot.advanced(bySeconds: Self.seconds)
        await write(at: now.wall)
    }

    func write(at now: UnixTime) async {
        var taken = await checks.takeTally()
        taken.add(await sealer.takeTally())
        unwritten.add(taken)
        for (key, count) in taken.opened { opened[key, default: 0] &+= count }
        let tally = unwritten
        unwritten = KeyTally()
        do {
            try await store.noteKeyTally(tally, by: node.id, at: now)
        } catch {
            // Kept for the next time: one count for each key and span of deadlines.
            unwritten.add(tally)
            logger.error("writing the keys' use failed", metadata: ["failure": "\(error)"])
        }
        do {
            let activity = try await store.keyActivity(at: now)
            let keys = await node.loadedKeyring?.keys ?? []
            opened = opened.filter { key, _ in keys.contains { $0.id == key } }
            metrics = Self.metrics(keys, activity: activity, opened: opened, at: now)
        } catch {
            logger.error("reading the keys' use failed", metadata: ["failure": "\(error)"])
        }
    }

    static func metrics(
        _ keys: [TokenKey], activity: [KeyID: KeyActivity], opened: [KeyID: UInt64],
        at now: UnixTime
    ) -> [Metric] {
        func samples(_ value: (TokenKey) -> Double) -> [Metric.Sample] {
            keys.map { .init(labels: [("key", $0.id.text)], value: value($0)) }
        }
        return [
            Metric(
                "gatehouse_key_state", .gauge, "Each token key's state: 1 for the one it is in.",
                keys.map {
                    .init(labels: [("key", $0.id.text), ("state", $0.state.name)], value: 1)
                }),
            Metric(
                "gatehouse_key_age_seconds", .gauge, "How long ago each token key was made.",
                samples { Double(max(0, now.seconds - $0.created.seconds)) }),
            Metric(
                "gatehouse_key_tokens_alive", .gauge,
                "Tokens of each key that have not expired, at most.",
                samples { Double(activity[$0.id]?.alive ?? 0) }),
            Metric(
                "gatehouse_key_opens_total", .counter,
                "Tokens that this process opened under each key.",
                samples { Double(opened[$0.id] ?? 0) }),
        ]
    }
}
