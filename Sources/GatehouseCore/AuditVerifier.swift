// Reads the whole audit trail once, and names every place where it is not what was written.

/// What is wrong with a trail, and where.
package struct AuditFault: Sendable, Equatable {
    package enum Kind: String, Sendable {
        /// The entry does not say what was written, or was written by somebody else.
        case altered
        /// Entries before this one, in its chain, are gone.
        case missing
        /// It stands behind an entry that was written after it, or twice.
        case outOfOrder = "out_of_order"
        /// What it says of a person is not what was written.
        case personalAltered = "personal_altered"
        /// No key of the ring is the one that it names.
        case unknownKey = "unknown_key"
        /// No entry has these numbers, which were given.
        case numbersMissing = "numbers_missing"
        /// The end of a chain is gone: a checkpoint, or the head that was expected, says that it was longer.
        case cutOff = "cut_off"
        /// What retention says that it removed was not written by it.
        case baseAltered = "base_altered"
        /// It has no chain, or entries that were vouched for are not those that were there then.
        case unchainedAltered = "unchained_altered"
        /// The head that was expected is of another trail, or of entries that retention has removed.
        case headDiffers = "head_differs"
    }

    package let kind: Kind
    package let chain: AuditChain
    /// In its chain; of what is missing, the first. Of numbers, the first that is missing.
    package let position: UInt64
    /// Of the entry; of what is missing, of the entry behind it; nil at the end of a chain.
    package let sequence: UInt64?
}

/// Takes all entries in the order of their numbers, and tells what is wrong.
package struct AuditVerifier {
    /// What stands for the MAC before the first entry, and for a digest over none.
    package static let beginning = [UInt8](repeating: 0, count: AuditLink.macBytes)
    /// Faults that are named; more are counted. A trail with this many is beyond repair.
    package static let maximumFaults = 1000

    private struct State {
        var position: UInt64
        /// What the next entry may follow: after an entry that was altered, what is stored and what
        /// ought to be, since only one of entry and MAC may have been touched. Empty after a gap.
        var macs: [[UInt8]]
        /// What is stored.
        var mac: [UInt8]
    }

    private let keys: [KeyID: AuditKey]
    private let expected: AuditHead?
    private var chains: [AuditChain: State] = [:]
    /// Entries that no key of the ring proves, until an `audit_began` vouches for them.
    private var unproved = (count: 0, digest: beginning, faults: [AuditFault]())
    /// Bases that were sealed under keys that the ring doesn't have.
    package private(set) var unknownBases: [AuditChainEnd] = []
    private var expectedWasSeen = false
    private var last: UInt64
    private let issued: UInt64?

    package private(set) var faults: [AuditFault] = []
    package private(set) var faultCount = 0
    package private(set) var entries = 0
    /// Entries whose personal fields were erased.
    package private(set) var erased = 0

    /// - Parameters:
    ///   - keys: the audit keys of the ring.
    ///   - expected: a head that was exported earlier.
    package init(
        keys: [KeyID: AuditKey], extent: AuditExtent, expected: AuditHead? = nil
    ) throws(LibCryptoError) {
        self.keys = keys
        self.expected = expected
        let floor = extent.floor
        last = floor
        issued = extent.issued
        var sealedFloor: UInt64? = 0
        for base in extent.bases {
            let end = base.end
            guard let key = keys[base.key] else {
                unknownBases.append(end)
                if end.chain == .floor { sealedFloor = nil }
                note(.unknownKey, end.chain, end.position, nil)
                continue
            }
            guard try key.base(end) == base else {
                note(.baseAltered, end.chain, end.position, nil)
                continue
            }
            switch end.chain {
            case .floor: sealedFloor = end.position
            default:
                chains[end.chain] = State(position: end.position, macs: [end.mac], mac: end.mac)
            }
        }
        if let sealedFloor, sealedFloor != floor { note(.baseAltered, .floor, floor, nil) }
        if let expected, expected.sequence < floor { headDiffers() }
    }

    /// Takes the next entry.
    package mutating func take(_ record: AuditRecord) throws(LibCryptoError) {
        guard record.sequence > last else {
            return note(
                .outOfOrder, record.link?.chain ?? .unchained, record.link?.position ?? 0,
                record.sequence)
        }
        try compareHead(before: record.sequence)
        if issued != nil, record.sequence != last + 1 {
            note(.numbersMissing, .unchained, last + 1, record.sequence)
        }
        last = record.sequence
        entries += 1
        guard !record.isDamaged else {
            return note(.altered, .unchained, record.sequence, record.sequence)
        }
        if record.commitment != nil, record.personal == nil { erased += 1 }
        let before = faultCount
        if let personal = record.personal, try personal.commitment() != record.commitment {
            note(
                .personalAltered, record.link?.chain ?? .unchained,
                record.link?.position ?? record.sequence, record.sequence)
        }
        guard let link = record.link else {
            return try take(unproved: record, .unchainedAltered, .unchained, record.sequence)
        }
        try follow(record, link)
        guard faultCount == before else { return }
        // What an entry says that nobody can prove is not gone by.
        guard keys[link.key] != nil else { return }
        if record.event.kind == .auditBegan { vouch(record, link) }
        for end in record.ends { compare(end) }
    }

    private mutating func follow(
        _ record: AuditRecord, _ link: AuditLink
    ) throws(LibCryptoError) {
        var state =
            chains[link.chain]
            ?? State(position: 0, macs: [Self.beginning], mac: Self.beginning)
        guard link.position > state.position else {
            return note(.outOfOrder, link.chain, link.position, record.sequence)
        }
        if link.position > state.position + 1 {
            note(.missing, link.chain, state.position + 1, record.sequence)
            // What it follows is gone, so that nobody can tell whether it is whole.
            state.macs = []
        }
        let previous = state.macs
        state = State(position: link.position, macs: [link.mac], mac: link.mac)
        defer { chains[link.chain] = state }
        guard let key = keys[link.key] else {
            return try take(unproved: record, .unknownKey, link.chain, link.position)
        }
        guard !previous.isEmpty else { return }
        for mac in previous {
            let computed = try key.mac(
                over: record.message(
                    after: mac, chain: link.chain, position: link.position, key: link.key))
            if computed == link.mac { return }
            state.macs.append(computed)
        }
        note(.altered, link.chain, link.position, record.sequence)
    }

    private mutating func take(
        unproved record: AuditRecord, _ kind: AuditFault.Kind, _ chain: AuditChain,
        _ position: UInt64
    ) throws(LibCryptoError) {
        unproved.count += 1
        unproved.digest = try Self.digest(unproved.digest, record)
        guard unproved.faults.count < Self.maximumFaults else { return }
        unproved.faults.append(
            AuditFault(kind: kind, chain: chain, position: position, sequence: record.sequence))
    }

    /// The running digest over entries that no key proves.
    package static func digest(
        _ digest: [UInt8], _ record: AuditRecord
    ) throws(LibCryptoError) -> [UInt8] {
        let link = record.link
        return try sha256(
            record.message(
                after: digest + (link?.mac ?? []), chain: link?.chain ?? .unchained,
                position: link?.position ?? record.sequence, key: link?.key
            ).span)
    }

    /// What would vouch for the entries that no key proves, as they are; nil when there are none.
    package var vouching: String? {
        unproved.count == 0
            ? nil : Self.vouching(count: unproved.count, digest: unproved.digest)
    }

    /// What an `audit_began` says of the entries before it.
    package static func vouching(count: Int, digest: [UInt8]) -> String {
        "entries=\(count) sha256=\(digest.hex)"
    }

    private mutating func vouch(_ record: AuditRecord, _ link: AuditLink) {
        if record.event.detail != (vouching ?? Self.vouching(count: 0, digest: Self.beginning)) {
            note(.unchainedAltered, .unchained, UInt64(unproved.count), record.sequence)
        }
        unproved = (0, Self.beginning, [])
    }

    private mutating func compare(_ end: AuditChainEnd) {
        let state = chains[end.chain]
        guard let state, state.position >= end.position else {
            return note(.cutOff, end.chain, (state?.position ?? 0) + 1, nil)
        }
        if state.position == end.position, state.mac != end.mac {
            note(.altered, end.chain, end.position, nil)
        }
    }

    /// Compares the expected head once all entries up to its number were taken.
    private mutating func compareHead(before sequence: UInt64) throws(LibCryptoError) {
        guard let expected, !expectedWasSeen, expected.sequence < sequence else { return }
        expectedWasSeen = true
        if try head(expected.sequence) != expected { headDiffers() }
    }

    private mutating func headDiffers() {
        note(.headDiffers, .unchained, expected?.sequence ?? 0, nil)
        expectedWasSeen = true
    }

    private func head(_ sequence: UInt64) throws(LibCryptoError) -> AuditHead {
        try AuditHead(sequence: sequence, ends: ends)
    }

    /// How far each chain has got with what was taken.
    package var ends: [AuditChainEnd] {
        chains.map {
            AuditChainEnd(chain: $0.key, position: $0.value.position, mac: $0.value.mac)
        }
    }

    /// Where the trail stands; after the last entry.
    package mutating func finish() throws(LibCryptoError) -> AuditHead {
        if let issued, last < issued { note(.numbersMissing, .unchained, last + 1, issued + 1) }
        if let expected, !expectedWasSeen {
            if expected.sequence > last {
                note(.cutOff, .unchained, last + 1, nil)
                expectedWasSeen = true
            } else {
                try compareHead(before: .max)
            }
        }
        for fault in unproved.faults {
            note(fault.kind, fault.chain, fault.position, fault.sequence)
        }
        faultCount += unproved.count - unproved.faults.count
        return try head(last)
    }

    private mutating func note(
        _ kind: AuditFault.Kind, _ chain: AuditChain, _ position: UInt64, _ sequence: UInt64?
    ) {
        faultCount += 1
        guard faults.count < Self.maximumFaults else { return }
        faults.append(
            AuditFault(kind: kind, chain: chain, position: position, sequence: sequence))
    }
}
