// How much memory hashes may take at one time, and the arenas that are kept for the next ones.

/// Lends memory for hashes. What is lent and what is kept are together never more than the budget
/// (REQUIREMENTS PW-12).
package struct MemoryBudget {
    package let totalKiB: Int
    /// Of the hashes that are being computed.
    package private(set) var lentKiB = 0
    /// Arenas without a hash, and since when; the last used one is the last.
    private var kept: [(arena: Arena, since: UInt64)] = []

    package init(totalKiB: Int) { self.totalKiB = totalKiB }

    package var keptKiB: Int { kept.reduce(0) { $0 + $1.arena.memoryKiB } }
    package var keptArenas: [Arena] { kept.map(\.arena) }
    /// Since when the oldest one has been without a hash.
    package var oldestKept: UInt64? { kept.first?.since }

    /// Lends memory for one hash, or nil while that much is not free. Kept arenas of other sizes make
    /// room.
    ///
    /// - Parameter isForArena: whether Argon2 takes it from ``MemoryLoan/current``. A hash that gets its
    ///   memory elsewhere gets it beside the kept arenas.
    package mutating func lend(_ memoryKiB: Int, isForArena: Bool) -> MemoryLoan? {
        if isForArena, let index = kept.lastIndex(where: { $0.arena.memoryKiB == memoryKiB }) {
            lentKiB += memoryKiB
            return MemoryLoan(memoryKiB: memoryKiB, arena: kept.remove(at: index).arena)
        }
        guard lentKiB + memoryKiB <= totalKiB else { return nil }
        lentKiB += memoryKiB
        while lentKiB + keptKiB > totalKiB { kept.removeFirst() }
        return MemoryLoan(memoryKiB: memoryKiB, arena: nil)
    }

    /// Ends a loan; its arena is kept.
    package mutating func takeBack(_ loan: MemoryLoan, at now: UInt64) {
        lentKiB -= loan.memoryKiB
        if let arena = loan.arena { kept.append((arena, now)) }
    }

    /// Gives arenas to the system that have been without a hash since `time` or longer.
    package mutating func drop(keptSince time: UInt64) {
        kept.removeAll { $0.since <= time }
    }
}
