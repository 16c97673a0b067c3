// Those who wait for a hashing thread.

/// Who has a password hashed.
package enum HashPriority: Sendable {
    /// A browser that has signed this user in before.
    case known
    case stranger
}

/// A bounded queue in which known ones go first, and take the place of a stranger when it is full.
/// Within a priority it is first come, first served.
package struct WaitingLine<Caller> {
    package struct Place {
        package let id: UInt64
        package let priority: HashPriority
        /// In nanoseconds of the monotonic clock.
        package let deadline: UInt64
        package let caller: Caller

        package init(id: UInt64, priority: HashPriority, deadline: UInt64, caller: Caller) {
            self.id = id
            self.priority = priority
            self.deadline = deadline
            self.caller = caller
        }
    }

    package enum Admission {
        case admitted
        case full
        /// In the place of this stranger, the last one to come.
        case admittedInsteadOf(Place)
    }

    private let maximumCount: Int
    private var known: [Place] = []
    private var strangers: [Place] = []

    package init(maximumCount: Int) { self.maximumCount = maximumCount }

    package var count: Int { known.count + strangers.count }
    /// How many go before a new one.
    package func countAhead(of priority: HashPriority) -> Int {
        switch priority {
        case .known: known.count
        case .stranger: count
        }
    }

    /// Whose turn it is.
    package var first: Place? { known.first ?? strangers.first }
    /// The next one that ends; arrivals are in the order of deadlines.
    package var earliestDeadline: UInt64? {
        [known.first, strangers.first].compactMap { $0?.deadline }.min()
    }

    /// Whether one more of `priority` would be refused.
    package func isFull(for priority: HashPriority) -> Bool {
        guard count >= maximumCount else { return false }
        return priority == .stranger || strangers.isEmpty
    }

    package mutating func append(_ place: Place) -> Admission {
        var displaced: Place?
        if count >= maximumCount {
            guard case .known = place.priority, let last = strangers.popLast() else { return .full }
            displaced = last
        }
        switch place.priority {
        case .known: known.append(place)
        case .stranger: strangers.append(place)
        }
        return displaced.map { .admittedInsteadOf($0) } ?? .admitted
    }

    package mutating func removeFirst() {
        if known.isEmpty { strangers.removeFirst() } else { known.removeFirst() }
    }

    package mutating func remove(_ id: UInt64) -> Place? {
        if let index = known.firstIndex(where: { $0.id == id }) { return known.remove(at: index) }
        guard let index = strangers.firstIndex(where: { $0.id == id }) else { return nil }
        return strangers.remove(at: index)
    }

    /// Takes out everyone whose deadline has come.
    package mutating func removeLate(at now: UInt64) -> [Place] {
        removeAll { $0.deadline <= now }
    }

    package mutating func removeAll(where isOver: (Place) -> Bool = { _ in true }) -> [Place] {
        let over = (known + strangers).filter(isOver)
        guard !over.isEmpty else { return [] }
        known.removeAll(where: isOver)
        strangers.removeAll(where: isOver)
        return over
    }
}
