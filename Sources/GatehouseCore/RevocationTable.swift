// An immutable hash table from identifiers to deadlines and numbers, made for a million entries.

/// One thing that is revoked, until its deadline.
package struct RevocationEntry: Sendable, Hashable {
    package let subject: Identifier
    /// The lowest epoch that is still good, for a user; 0 for a session.
    package let minimumEpoch: UInt32
    /// When every token that it concerns has expired anyway.
    package let deadline: UnixTime

    package init(subject: Identifier, minimumEpoch: UInt32, deadline: UnixTime) {
        self.subject = subject
        self.minimumEpoch = minimumEpoch
        self.deadline = deadline
    }
}

/// Open addressing with linear probing over flat arrays: 16 bytes of identifier and 4 of deadline a
/// slot (and 4 of epoch in tables that have them), 1.5 slots an entry, so that a million sessions
/// take 30 MB. Identifiers are random and ours, so their first word is their hash; the second is
/// none, since a UUID's starts with fixed bits.
package struct RevocationTable: Sendable {
    /// Says of most identifiers that they are not here: two bits for each entry in one word, eight bits an
    /// entry or more, so that a million sessions take a megabyte or two, which stays nearer to the processor
    /// than the slots. About one in twenty that are not here has to be looked for.
    private var filter: [UInt64]
    private var slots: [Identifier]
    private var deadlines: [UInt32]
    private var epochs: [UInt32]
    package private(set) var count: Int

    package static let empty = RevocationTable(capacity: 0, hasEpochs: false)

    private init(capacity: Int, hasEpochs: Bool) {
        filter = Array(repeating: 0, count: Self.filterWords(capacity))
        slots = Array(repeating: .zero, count: capacity)
        deadlines = Array(repeating: 0, count: capacity)
        epochs = hasEpochs ? Array(repeating: 0, count: capacity) : []
        count = 0
    }

    /// An empty table that takes `entryCount` entries by ``insert(_:at:)``.
    package init(roomFor entryCount: Int, hasEpochs: Bool) {
        self.init(capacity: Self.slotCount(entryCount), hasEpochs: hasEpochs)
    }

    /// One slot more than entries at least, so that every probe ends at an empty one.
    private static func slotCount(_ entries: Int) -> Int {
        entries == 0 ? 0 : entries + entries / 2 + 1
    }

    /// Whether `more` entries can be inserted.
    package func hasRoom(for more: Int) -> Bool {
        Self.slotCount(count + more) <= slots.count
    }

    /// Adds an entry in place, which copies the table if anyone else holds it; there must be room.
    package mutating func insert(_ entry: RevocationEntry, at now: UnixTime) {
        let oldest = Self.stored(now.advanced(bySeconds: -clockSkewSeconds))
        guard Self.stored(entry.deadline) >= oldest else { return }
        insert(entry.subject, epoch: entry.minimumEpoch, deadline: Self.stored(entry.deadline))
    }

    /// The entries of `tables` and `entries` whose deadline, and the clocks' skew, has not passed.
    /// Of several entries for one subject the highest epoch and the latest deadline count.
    package init(
        merging tables: [RevocationTable], adding entries: [RevocationEntry], at now: UnixTime
    ) {
        let upperBound = tables.reduce(entries.count) { $0 + $1.count }
        let hasEpochs =
            tables.contains { !$0.epochs.isEmpty } || entries.contains { $0.minimumEpoch > 0 }
        self.init(capacity: Self.slotCount(upperBound), hasEpochs: hasEpochs)
        let oldest = Self.stored(now.advanced(bySeconds: -clockSkewSeconds))
        for table in tables {
            for index in table.slots.indices
            where table.slots[index] != .zero && table.deadlines[index] >= oldest {
                insert(
                    table.slots[index], epoch: table.epochs.isEmpty ? 0 : table.epochs[index],
                    deadline: table.deadlines[index])
            }
        }
        for entry in entries where Self.stored(entry.deadline) >= oldest {
            insert(
                entry.subject, epoch: entry.minimumEpoch, deadline: Self.stored(entry.deadline))
        }
    }

    /// Deadlines are kept as 32-bit Unix seconds; one beyond 2106 is kept for ever.
    private static func stored(_ time: UnixTime) -> UInt32 { UInt32(clamping: time.seconds) }

    /// A power of two, one word at least.
    private static func filterWords(_ capacity: Int) -> Int {
        var words = 1
        while words * 12 < capacity { words *= 2 }
        return words
    }

    private func filterWord(_ subject: Identifier) -> Int {
        // The lowest bits of a UUID's first word are its version.
        Int(truncatingIfNeeded: subject.high >> 16) & (filter.count - 1)
    }

    /// Two bits of the word, from the half of the identifier that nothing else is taken from.
    private func filterBits(_ subject: Identifier) -> UInt64 {
        1 << (subject.low & 63) | 1 << (subject.low >> 6 & 63)
    }

    /// Reads the filter ahead of time: zero when `subject` may be here. Whoever asks before other work finds
    /// that memory has answered in the meantime.
    func absence(_ subject: Identifier) -> UInt64 {
        filterBits(subject) & ~filter[filterWord(subject)]
    }

    /// Where probing for `subject` starts: its first word scaled to the number of slots.
    private func start(_ subject: Identifier) -> Int {
        Int(truncatingIfNeeded: subject.high.multipliedFullWidth(by: UInt64(slots.count)).high)
    }

    /// The most slots that any entry is away from where probing for it starts.
    package var longestProbe: Int {
        slots.indices.reduce(0) { longest, index in
            guard slots[index] != .zero else { return longest }
            let distance = index - start(slots[index])
            return max(longest, distance < 0 ? distance + slots.count : distance)
        }
    }

    /// Adds all entries of `other`; there must be room.
    mutating func insert(all other: RevocationTable) {
        for index in other.slots.indices where other.slots[index] != .zero {
            insert(
                other.slots[index], epoch: other.epochs.isEmpty ? 0 : other.epochs[index],
                deadline: other.deadlines[index])
        }
    }

    private mutating func insert(_ subject: Identifier, epoch: UInt32, deadline: UInt32) {
        var index = start(subject)
        while slots[index] != .zero && slots[index] != subject {
            index = index + 1 == slots.count ? 0 : index + 1
        }
        if slots[index] == .zero {
            slots[index] = subject
            filter[filterWord(subject)] |= filterBits(subject)
            count += 1
        }
        deadlines[index] = max(deadlines[index], deadline)
        if !epochs.isEmpty { epochs[index] = max(epochs[index], epoch) }
    }

    private func find(_ subject: Identifier) -> Int? {
        guard count > 0 else { return nil }
        guard absence(subject) == 0 else { return nil }
        var index = start(subject)
        while true {
            let slot = slots[index]
            if slot == subject { return index }
            if slot == .zero { return nil }
            index = index + 1 == slots.count ? 0 : index + 1
        }
    }

    package func contains(_ subject: Identifier) -> Bool { find(subject) != nil }

    /// The lowest good epoch of `subject`, 0 when there is no entry.
    package func minimumEpoch(_ subject: Identifier) -> UInt32 {
        guard !epochs.isEmpty, let index = find(subject) else { return 0 }
        return epochs[index]
    }
}
