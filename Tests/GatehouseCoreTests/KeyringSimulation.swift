// Several nodes, one store, operators who press Ctrl-C, and clocks that step, on a virtual clock.

import GatehouseCore
import GatehouseTestSupport

/// One seeded run. The store applies the rules that SQLite's applies, in one step each; what a node or a
/// command does between two calls of the store is a step of its own, so that anything comes in between.
struct KeyringSimulation {
    /// What is done wrongly; nil is how it is done.
    enum Flaw: CaseIterable {
        case noBarrier, givesUpEarly, destroysEarly, destroysByOwnUseOnly, pendingSeals
        case ageByWallClock, everyoneLeads, renewsUnderOlderKey, noLease
        case sealsWhileUnusable, overwritesBlindly, tellsBeforeItPublishes, leaseFromItsEnd
        case readsBeforeItIsHeard, revocationIsNotWaitedFor
    }

    static let leaseSeconds: Int64 = 20
    static let rotateEverySeconds: Int64 = 300
    /// Kept of the tokens; a random one makes room.
    static let maximumTokens = 24

    struct Token {
        let key: KeyID
        let deadline: UnixTime
    }

    private struct Store {
        var ring: Keyring
        var rows: [NodeRecord] = []
        var usage: [KeyID: KeyUsage] = [:]
        var latest: UnixTime
    }

    /// A refresh, between its calls of the store.
    private enum Stage {
        case idle
        case joined(Instant)
        case read(Instant, Keyring, latest: UnixTime)
        case published(Instant, Keyring, latest: UnixTime)
        case told(Instant, Keyring)
    }

    private struct Node {
        let id: NodeID
        let lease: Lease
        var ring: Keyring?
        var rotation = RotationRule(everySeconds: KeyringSimulation.rotateEverySeconds)
        /// How far ahead the wall clock was when the active key was first loaded.
        var offsetAtLoad: Int64 = 0
        var watched: KeyID?
        var stage = Stage.idle
        var isJoined = false
        var told: (version: UInt64, at: Instant)?
        var isPaused = false
        var isCutOff = false
        /// Can't take up a ring that it doesn't have yet.
        var isUnusable = false
    }

    private enum Command {
        case rotate
        case activate(KeyID)
        case revoke(KeyID)
        case awaitRevocation([KeyID], version: UInt64)
        case destroy
        case destroyRead(Keyring, [KeyID: KeyUsage])
    }

    let flaw: Flaw?
    private(set) var violation: String?
    private(set) var tally = KeyringTally()
    private var random: SeededGenerator
    private let entropy: Entropy
    private var store: Store
    private var nodes: [Node] = []
    private var commands: [Command] = []
    private var tokens: [Token] = []
    private var nextNode: UInt64 = 1
    /// True time in seconds, and how far ahead of it the machine's wall clock is.
    private var now: Int64 = 0
    private var offset: Int64 = 0
    private var lastStep: Int64 = 0

    // What a witness knows who sees everything.
    private var revoked: Set<KeyID> = []
    private var revokedForAll: Set<KeyID> = []
    private var lastAutomatic: (at: Int64, key: KeyID?)?
    /// How far ahead the wall clock was when a key was added.
    private var offsetWhenAdded: [KeyID: Int64] = [:]

    init(seed: UInt64, flaw: Flaw? = nil) throws {
        self.flaw = flaw
        random = SeededGenerator(seed: seed)
        let words = CountingEntropy(seed: seed)
        entropy = Entropy { words.fill(&$0) }
        store = Store(
            ring: try Keyring.first(at: time(noon), entropy: entropy), latest: time(noon))
        for _ in 0..<Int.random(in: 2...5, using: &random) { start() }
    }

    mutating func run(steps: Int) throws {
        for _ in 0..<steps where violation == nil {
            tally.steps += 1
            now += chance(2) ? 0 : chance(40) ? .random(in: 2...90, using: &random) : 1
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<52: try refresh(anyNode(), stages: .random(in: 1...10, using: &random))
            case 52..<74: present(at: anyNode())
            case 74..<80: issue(at: anyNode())
            case 80..<90: try advanceCommand()
            case 90..<93: begin()
            default: mishap()
            }
        }
    }

    private var wall: UnixTime { time(noon + now + offset) }
    private var instant: Instant {
        Instant(wall: wall, boot: BootTime(nanoseconds: now * 1_000_000_000))
    }

    // MARK: The store

    private func live(at now: UnixTime) -> [NodeRecord] {
        guard flaw == .givesUpEarly else { return Barrier.live(store.rows, at: now) }
        return store.rows.filter { $0.heartbeat.advanced(bySeconds: 10) >= now }
    }

    private mutating func replace(
        with ring: Keyring, onlyWhenLoaded: Bool = false, onlyAsLeader node: NodeID? = nil,
        at now: UnixTime
    ) -> KeyringReplacement {
        var verdict = Barrier.verdict(
            replacing: store.ring.version, with: ring.version, live: live(at: now),
            onlyWhenLoaded: onlyWhenLoaded && flaw != .noBarrier,
            onlyAsLeader: flaw == .everyoneLeads ? nil : node)
        if flaw == .overwritesBlindly, case .versionConflict = verdict { verdict = .replaced }
        guard verdict == .replaced else { return verdict }
        require(store.ring.mayBecome(ring), "the ring skips a step, or its version doesn't grow")
        for key in store.ring.keys where ring.key(key.id) == nil {
            require(
                revoked.contains(key.id)
                    || !tokens.contains { $0.key == key.id && $0.deadline > wall },
                "a key is destroyed before a token that it sealed has expired")
            tally.destroyed += 1
        }
        if ring.active?.id != store.ring.active?.id, ring.active != nil { tally.activated += 1 }
        revoked.formUnion(ring.keys.filter { $0.state == .revoked }.map(\.id))
        for key in ring.keys where store.ring.key(key.id) == nil {
            offsetWhenAdded[key.id] = offset
        }
        store.ring = ring
        store.latest = max(store.latest, now)
        return .replaced
    }

    // MARK: Nodes

    private mutating func anyNode() -> Int { .random(in: nodes.indices, using: &random) }

    private mutating func start() {
        let lease = Lease(maximumStalenessSeconds: Self.leaseSeconds)
        lease.enter(.serving)
        let number = chance(2) ? nextNode : ~nextNode
        nodes.append(
            Node(id: NodeID(Identifier(high: number, low: nextNode)), lease: lease))
        nextNode += 1
    }

    /// Some steps of a node's refresh, as `Node` does them.
    private mutating func refresh(_ index: Int, stages: Int) throws {
        for _ in 0..<stages {
            guard !nodes[index].isPaused else { return }
            if nodes[index].isCutOff {
                nodes[index].stage = .idle
                return
            }
            try advance(index)
            if case .idle = nodes[index].stage { return }
        }
    }

    private mutating func advance(_ index: Int) throws {
        var node = nodes[index]
        defer { nodes[index] = node }
        switch node.stage {
        case .idle:
            if !node.isJoined { join(&node, at: wall) }
            if let ring = node.ring {
                node.rotation.watch(ring, at: instant)
                if node.watched != ring.active?.id { node.offsetAtLoad = offset }
                node.watched = ring.active?.id
            }
            node.stage = .joined(instant)
        case .joined(let started):
            let ring = store.ring
            if let old = node.ring {
                require(old.version <= ring.version, "a node sees an older ring than it has")
            }
            if node.isUnusable, node.ring?.version != ring.version {
                node.lease.stopSealing()
                node.stage = .idle
                tally.unusable += 1
                return
            }
            node.stage = .read(started, ring, latest: store.latest)
            if flaw == .tellsBeforeItPublishes { tell(&node, ring.version, at: started) }
        case .read(let started, let ring, let latest):
            node.ring = ring
            node.lease.allowSealing()
            node.stage = .published(started, ring, latest: latest)
        case .published(let started, let ring, let latest):
            let wasHeard = node.told.map { isRecent($0.at, at: started) } ?? true
            guard tell(&node, ring.version, at: started) else {
                node.isJoined = false
                node.told = nil
                node.stage = .idle
                return
            }
            guard wasHeard || flaw == .readsBeforeItIsHeard else {
                node.stage = .joined(started)
                return
            }
            let end = flaw == .leaseFromItsEnd ? instant : started
            node.lease.renew(
                started: end.boot, wall: end.wall,
                storeLatest: latest)
            node.stage = .told(started, ring)
        case .told(let started, let ring):
            if ring.pending != nil {
                let next = try ring.activatingPendingKeys(at: started.wall)
                _ = replace(with: next, onlyWhenLoaded: true, at: started.wall)
            } else if isDue(node, ring, at: started) {
                try rotate(node, ring, at: started)
            }
            node.stage = .idle
        }
    }

    private mutating func join(_ node: inout Node, at now: UnixTime) {
        store.rows.removeAll { $0.id == node.id }
        store.rows.append(
            NodeRecord(
                id: node.id, started: now, heartbeat: now, leaseSeconds: Self.leaseSeconds,
                position: 0, keyringVersion: 0))
        store.latest = max(store.latest, now)
        node.isJoined = true
    }

    @discardableResult
    private mutating func tell(_ node: inout Node, _ version: UInt64, at now: Instant) -> Bool {
        if let told = node.told, told.version == version,
            isRecent(told.at, at: now)
        {
            return true
        }
        guard let row = store.rows.firstIndex(where: { $0.id == node.id }) else { return false }
        store.rows[row] = NodeRecord(
            id: node.id, started: store.rows[row].started, heartbeat: now.wall,
            leaseSeconds: Self.leaseSeconds, position: 0, keyringVersion: version)
        store.latest = max(store.latest, now.wall)
        node.told = (version, now)
        return true
    }

    private func isRecent(_ heartbeat: Instant, at now: Instant) -> Bool {
        now.boot < heartbeat.boot.advanced(bySeconds: 5) && now.wall >= heartbeat.wall
            && now.wall <= heartbeat.wall.advanced(bySeconds: 5)
    }

    private func isDue(_ node: Node, _ ring: Keyring, at now: Instant) -> Bool {
        guard flaw == .ageByWallClock else { return node.rotation.isDue(in: ring, at: now.boot) }
        guard let activated = ring.active?.activated else { return false }
        return now.wall.seconds - activated.seconds >= Self.rotateEverySeconds
    }

    private mutating func rotate(_ node: Node, _ ring: Keyring, at started: Instant) throws {
        let nodes = live(at: started.wall)
        guard Barrier.leader(of: nodes) == node.id || flaw == .everyoneLeads else { return }
        guard ring.keys.count < Keyring.maximumKeys else { return }
        let next = try ring.addingPendingKey(at: started.wall, entropy: entropy)
        guard replace(with: next, onlyAsLeader: node.id, at: started.wall) == .replaced else {
            return
        }
        let first = nodes.map(\.started).min()
        require(
            nodes.contains { $0.id == node.id && $0.started == first },
            "another than the node that joined first rotates")
        let at = started.boot.nanoseconds / 1_000_000_000
        // Where an operator revoked what was added, the key before it is still due.
        if let last = lastAutomatic, last.key.map({ !revoked.contains($0) }) ?? true {
            // A clock that was ahead when this process first saw the key is all that may hurry it.
            let added = ring.active.flatMap { offsetWhenAdded[$0.id] } ?? 0
            let ahead = max(0, node.offsetAtLoad - added)
            require(
                at - last.at >= Self.rotateEverySeconds - ahead, "two rotations come too soon")
        }
        lastAutomatic = (at, next.pending?.id)
        if let key = next.pending { offsetWhenAdded[key.id] = offset(at: started) }
        tally.rotated += 1
    }

    /// How far ahead of true time the wall clock was.
    private func offset(at instant: Instant) -> Int64 {
        instant.wall.seconds - noon - instant.boot.nanoseconds / 1_000_000_000
    }

    // MARK: Tokens

    /// The ring that a node answers from, nil for a 503.
    private func answering(_ node: Node) -> Keyring? {
        guard !node.isPaused, let ring = node.ring else { return nil }
        guard flaw == .noLease || node.lease.unavailability(at: instant) == nil else { return nil }
        return ring
    }

    private mutating func present(at index: Int) {
        let node = nodes[index]
        guard let token = tokens.randomElement(using: &random), let ring = answering(node),
            wall < token.deadline
        else { return }
        guard let key = ring.key(token.key), key.state != .revoked else {
            require(revoked.contains(token.key), "a valid token is refused")
            tally.refused += 1
            return
        }
        require(
            !revokedForAll.contains(key.id), "a token is accepted under a key revoked for all")
        tally.accepted += 1
        if key.state == .pending { tally.ahead += 1 }
        guard chance(3), node.lease.maySeal || flaw == .sealsWhileUnusable else { return }
        guard key.state != .pending || flaw == .renewsUnderOlderKey else { return }
        if let sealing = sealingKey(of: node, ring) { keep(sealing, token.deadline) }
    }

    /// A sign-in: sealed at the node, and handed out once the store has taken it.
    private mutating func issue(at index: Int) {
        let node = nodes[index]
        guard let ring = answering(node), !node.isCutOff,
            node.lease.maySeal || flaw == .sealsWhileUnusable,
            let key = sealingKey(of: node, ring), ring.version == store.ring.version
        else { return }
        let deadline = wall.advanced(bySeconds: .random(in: 1...900, using: &random))
        let usage = store.usage[key]
        store.usage[key] = KeyUsage(
            sealed: (usage?.sealed ?? 0) + 1,
            lastDeadline: max(deadline, usage?.lastDeadline ?? deadline))
        store.latest = max(store.latest, wall)
        keep(key, deadline)
    }

    private mutating func sealingKey(of node: Node, _ ring: Keyring) -> KeyID? {
        let key = flaw == .pendingSeals ? ring.pending ?? ring.active : ring.active
        guard let key else { return nil }
        require(store.ring.key(key.id)?.state != .pending, "a pending key seals")
        require(
            node.lease.maySeal,
            "a node seals that has seen a ring that it can't take up")
        return key.id
    }

    private mutating func keep(_ key: KeyID, _ deadline: UnixTime) {
        require(
            store.ring.key(key) != nil || revoked.contains(key) || deadline <= wall,
            "a destroyed key seals")
        tally.sealed += 1
        if tokens.count >= Self.maximumTokens {
            tokens.remove(at: .random(in: tokens.indices, using: &random))
        }
        tokens.append(Token(key: key, deadline: deadline))
    }

    // MARK: Operators

    private mutating func begin() {
        guard commands.count < 3 else { return }
        switch Int.random(in: 0..<8, using: &random) {
        case 0..<2: commands.append(.rotate)
        case 2:
            if let key = store.ring.keys.randomElement(using: &random) {
                commands.append(.revoke(key.id))
            }
        default: commands.append(.destroy)
        }
    }

    private mutating func advanceCommand() throws {
        guard let index = commands.indices.randomElement(using: &random) else { return }
        // Ctrl-C, or a crash.
        guard !chance(20), let next = try next(commands[index]) else {
            commands.remove(at: index)
            return
        }
        commands[index] = next
    }

    /// One step; nil when the command is done.
    private mutating func next(_ command: Command) throws -> Command? {
        let ring = store.ring
        switch command {
        case .rotate:
            // Run again after an interruption, it goes on with the pending key.
            if let pending = ring.pending { return .activate(pending.id) }
            guard ring.keys.count < Keyring.maximumKeys else { return nil }
            let added = try ring.addingPendingKey(at: wall, entropy: entropy)
            guard replace(with: added, at: wall) == .replaced else { return .rotate }
            return added.pending.map { .activate($0.id) }
        case .activate(let key):
            guard ring.pending?.id == key else { return nil }
            if live(at: wall).isEmpty {
                _ = replace(
                    with: try ring.activatingPendingKeys(at: wall), onlyWhenLoaded: true, at: wall)
            }
            return command
        case .revoke(let key):
            guard
                let (next, ids) = try ring.revoking(
                    at: wall, entropy: entropy, where: { $0.id == key })
            else { return nil }
            guard replace(with: next, at: wall) == .replaced else { return command }
            return .awaitRevocation(ids, version: next.version)
        case .awaitRevocation(let ids, let version):
            let waiting = Barrier.waiting(for: version, among: live(at: wall))
            guard waiting.isEmpty || flaw == .revocationIsNotWaitedFor else { return command }
            revokedForAll.formUnion(ids)
            tally.revoked += 1
            return nil
        case .destroy: return .destroyRead(ring, store.usage)
        case .destroyRead(let ring, let usage):
            let found = try ring.destroyingExpiredKeys(
                at: wall, leaseSeconds: Self.leaseSeconds
            ) { id in
                switch flaw {
                case .destroysEarly: nil
                case .destroysByOwnUseOnly: usage[id]?.lastDeadline
                default: KeyringChange.lastDeadline(of: id, in: ring, usage)
                }
            }
            if let found { _ = replace(with: found.ring, at: wall) }
            // What nobody waits for any more.
            let alive = live(at: wall).map(\.id)
            store.rows.removeAll { !alive.contains($0.id) }
            return nil
        }
    }

    // MARK: Mishaps

    private mutating func mishap() {
        let index = anyNode()
        switch Int.random(in: 0..<20, using: &random) {
        case 0..<3: nodes[index].isPaused = true
        case 3..<7: for index in nodes.indices { nodes[index].isPaused = false }
        case 7..<9: nodes[index].isCutOff = true
        case 9..<13: for index in nodes.indices { nodes[index].isCutOff = false }
        case 13: nodes[index].isUnusable = true
        case 14..<16: for index in nodes.indices { nodes[index].isUnusable = false }
        case 16..<18:
            // A process ends; its row may be found out to be nobody's, as a lock file tells.
            if chance(2) { store.rows.removeAll { $0.id == nodes[index].id } }
            nodes.remove(at: index)
            start()
        default:
            // Not there and back within a lease: who slept through both can't know of either.
            if now - lastStep > Self.leaseSeconds + 5, chance(6) {
                lastStep = now
                // Wall clocks are set right in the end, or nobody would be signed in any more.
                offset = chance(2) ? 0 : .random(in: -400...400, using: &random)
                tally.clockSteps += 1
            }
        }
    }

    private mutating func require(_ holds: Bool, _ invariant: String) {
        guard !holds, violation == nil else { return }
        violation = invariant
    }

    /// One in `count`.
    private mutating func chance(_ count: Int) -> Bool {
        Int.random(in: 0..<count, using: &random) == 0
    }
}

/// How often what happened: a run in which nothing happens shows nothing.
struct KeyringTally {
    var steps = 0, accepted = 0, refused = 0, sealed = 0, ahead = 0, unusable = 0
    var activated = 0, rotated = 0, revoked = 0, destroyed = 0, clockSteps = 0

    static func += (left: inout KeyringTally, right: KeyringTally) {
        for field in [
            \Self.steps, \.accepted, \.refused, \.sealed, \.ahead, \.unusable, \.activated,
            \.rotated, \.revoked, \.destroyed, \.clockSteps,
        ] {
            left[keyPath: field] += right[keyPath: field]
        }
    }
}
