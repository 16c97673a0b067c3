// Who has to have loaded a ring before the next step, and who takes steps on its own account.

/// The rules that a store applies in the transaction that replaces the ring, under the lock that a
/// joining node's row takes. They see rows alone, so that every store and the simulation share them.
package enum Barrier {
    /// The nodes that may still say yes: those not given up yet.
    ///
    /// A node's lease runs by the clock that counts suspended time *and* by the wall clock, which is the
    /// one that heartbeats are measured by here: however it steps, a node that is given up has stopped.
    package static func live(_ nodes: [NodeRecord], at now: UnixTime) -> [NodeRecord] {
        nodes.filter { $0.givenUp >= now }
    }

    /// Those of the live `nodes` that have not loaded `version`.
    package static func waiting(for version: UInt64, among nodes: [NodeRecord]) -> [NodeID] {
        nodes.filter { $0.keyringVersion < version }.map(\.id)
    }

    /// The one that rotates: of the live nodes that rotate at all the one that joined first, of those that
    /// joined in one second the one with the lowest id. Every store gives the same one, and the next when
    /// it is given up.
    package static func leader(of nodes: [NodeRecord]) -> NodeID? {
        nodes.filter(\.rotates).min { left, right in
            let (one, other) = (left.id.value, right.id.value)
            return (left.started, one.high, one.low) < (right.started, other.high, other.low)
        }?.id
    }

    /// What comes of replacing the ring of version `current` by one of `version`.
    package static func verdict(
        replacing current: UInt64, with version: UInt64, live nodes: [NodeRecord],
        onlyWhenLoaded: Bool, onlyAsLeader node: NodeID?
    ) -> KeyringReplacement {
        guard version == current + 1 else { return .versionConflict(current: current) }
        if onlyWhenLoaded {
            let waiting = waiting(for: current, among: nodes)
            guard waiting.isEmpty else { return .waitingForNodes(waiting) }
        }
        if let node, leader(of: nodes) != node { return .notLeader }
        return .replaced
    }
}
