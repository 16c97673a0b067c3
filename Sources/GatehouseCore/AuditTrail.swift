// The audit trail as chains: each entry authenticates what it says, and the entry before it.

/// Where an act came from, who ran it and why: everything that one request or command does shares it.
package struct AuditContext: Sendable, Equatable {
    @TaskLocal package static var current = AuditContext()

    /// Bytes of a reason: a sentence or a ticket's address.
    package static let maximumReasonBytes = 256

    /// The client of a request.
    package var origin = SessionOrigin.unknown
    /// Its full address; nil where only its network is kept.
    package var address: String?
    /// The account that ran the command.
    package var operatorName: String?
    package var reason: String?

    package init() {}
}

/// What an entry says of people besides ids. The entry holds only a hash of it with the salt, so that
/// it can be erased, salt and all, and the chain stays whole.
package struct AuditPersonal: Sendable, Equatable {
    package static let saltBytes = 32

    package let salt: [UInt8]
    package let origin: SessionOrigin
    package let reason: String?
    package let address: AuditAddress?

    package init(
        salt: [UInt8], origin: SessionOrigin, reason: String?, address: AuditAddress? = nil
    ) {
        self.salt = salt
        self.origin = origin
        self.reason = reason
        self.address = address
    }

    /// SHA-256 of "gatehouse/v1/audit-personal" 0x00, salt, and place, browser and reason with their lengths,
    /// then the hash of the address if there is, or was, one.
    package func commitment() throws(LibCryptoError) -> [UInt8] {
        var message = AuditMessage("gatehouse/v1/audit-personal")
        message.add(salt)
        for text in [origin.place, origin.browser, reason] {
            message.add(text.map { Array($0.utf8) })
        }
        if let address { message.add(try address.isWhole() ? address.hash : nil) }
        return try sha256(message.bytes.span)
    }
}

/// A client's address, which is kept for diagnosis only. An entry commits to its hash, which stays when the
/// address and its salt go, and says nothing without them.
package struct AuditAddress: Sendable, Equatable {
    /// Both nil once they were cut off.
    package let text: String?
    package let salt: [UInt8]?
    /// SHA-256 of salt and text.
    package let hash: [UInt8]

    package init(text: String?, salt: [UInt8]?, hash: [UInt8]) {
        self.text = text
        self.salt = salt
        self.hash = hash
    }

    package init(_ text: String, salt: [UInt8]) throws(LibCryptoError) {
        self.init(
            text: text, salt: salt, hash: try sha256((salt + Array(text.utf8)).span))
    }

    /// Whether what is left of it is what the hash was made of.
    func isWhole() throws(LibCryptoError) -> Bool {
        guard let text, let salt else { return text == nil && salt == nil }
        return try sha256((salt + Array(text.utf8)).span) == hash
    }
}

/// The writer of a chain: a server, or all commands together.
package struct AuditChain: Hashable, Sendable {
    package let value: Identifier
    package init(_ value: Identifier) { self.value = value }
    package init(_ node: NodeID) { value = node.value }

    /// What commands write: there are few, and each lives for a moment.
    package static let commands = AuditChain(Identifier(high: .max, low: .max))
    /// Stands for the entries of releases that made no chains.
    package static let unchained = AuditChain(.zero)
    /// Stands for the last number that retention has removed.
    package static let floor = AuditChain(Identifier(high: .max, low: 0))

    package var text: String {
        switch self {
        case .commands: "commands"
        case .unchained: "unchained"
        case .floor: "floor"
        default: value.hex
        }
    }
}

/// An entry's place in its chain, and what proves it.
package struct AuditLink: Sendable, Equatable {
    package static let macBytes = 32

    package let chain: AuditChain
    /// Counted from one.
    package let position: UInt64
    /// The data key that it was made with.
    package let key: KeyID
    package let mac: [UInt8]

    package init(chain: AuditChain, position: UInt64, key: KeyID, mac: [UInt8]) {
        self.chain = chain
        self.position = position
        self.key = key
        self.mac = mac
    }
}

/// How far a chain had got.
package struct AuditChainEnd: Sendable, Equatable {
    package static let byteCount = 16 + 8 + AuditLink.macBytes

    package let chain: AuditChain
    package let position: UInt64
    package let mac: [UInt8]

    package init(chain: AuditChain, position: UInt64, mac: [UInt8]) {
        self.chain = chain
        self.position = position
        self.mac = mac
    }

    /// The last number that retention has removed, as it is sealed.
    package static func floor(_ number: UInt64) -> AuditChainEnd {
        AuditChainEnd(chain: .floor, position: number, mac: AuditVerifier.beginning)
    }

    package var bytes: [UInt8] { chain.value.bytes + position.bigEndianBytes + mac }

    /// Nil unless `bytes` are whole ends.
    package static func list(_ bytes: [UInt8]) -> [AuditChainEnd]? {
        guard bytes.count.isMultiple(of: byteCount) else { return nil }
        return stride(from: 0, to: bytes.count, by: byteCount).map { start in
            AuditChainEnd(
                chain: AuditChain(Identifier(bytes.span, at: start)),
                position: UInt64(bigEndianBytes: bytes.span, at: start + 16),
                mac: Array(bytes[(start + 24)..<(start + byteCount)]))
        }
    }
}

/// The last entry of a chain that retention has removed, sealed, so that nobody else can shorten a chain
/// at its beginning.
package struct AuditBase: Sendable, Equatable {
    package let end: AuditChainEnd
    package let key: KeyID
    package let seal: [UInt8]

    package init(end: AuditChainEnd, key: KeyID, seal: [UInt8]) {
        self.end = end
        self.key = key
        self.seal = seal
    }
}

/// Where the trail begins and ends.
package struct AuditExtent: Sendable {
    /// The last number that retention has removed.
    package let floor: UInt64
    package let bases: [AuditBase]
    /// The last number that was given; nil where numbers may have gaps.
    package let issued: UInt64?

    package init(floor: UInt64, bases: [AuditBase], issued: UInt64?) {
        self.floor = floor
        self.bases = bases
        self.issued = issued
    }
}

/// An entry of the audit trail with all that it is proved by.
package struct AuditRecord: Sendable, Equatable {
    package let sequence: UInt64
    package let time: UnixTime
    package let event: AuditEvent
    package var operatorName: String?
    /// Nil where there was nothing personal, or it was erased.
    package var personal: AuditPersonal?
    /// The hash of what is, or was, personal.
    package var commitment: [UInt8]?
    /// Of a checkpoint: how far every chain had got that has grown since the one before.
    package var ends: [AuditChainEnd] = []
    /// Nil in entries of releases that made no chains.
    package var link: AuditLink?
    /// Kind and actor as they are stored, known or not.
    package var kindText: String
    package var actorText: String
    /// Whether it doesn't have the form of an entry.
    package var isDamaged = false

    package init(sequence: UInt64, time: UnixTime, event: AuditEvent) {
        self.sequence = sequence
        self.time = time
        self.event = event
        kindText = event.kind.rawValue
        actorText = event.actor.rawValue
    }

    /// What stands for an entry that can't be read.
    package static func damaged(_ sequence: UInt64) -> AuditRecord {
        var record = AuditRecord(
            sequence: sequence, time: .zero, event: AuditEvent(.unknown, by: .unknown))
        record.isDamaged = true
        return record
    }

    /// What an entry's MAC is over: "gatehouse/v1/audit" 0x00, the MAC before it (zeros for the first),
    /// chain, position, sequence, time, key, then every fact with its length, all big endian. Nothing that
    /// is stored is left out but the personal fields, which are committed to.
    package func message(
        after previous: [UInt8], chain: AuditChain, position: UInt64, key: KeyID?
    ) -> [UInt8] {
        var message = AuditMessage("gatehouse/v1/audit")
        message.add(previous)
        message.add(chain.value.bytes)
        for number in [position, sequence, UInt64(bitPattern: time.seconds)] {
            message.add(number.bigEndianBytes)
        }
        message.add(key?.rawValue.bigEndianBytes)
        message.add(Array(kindText.utf8))
        message.add(Array(actorText.utf8))
        message.add(event.user?.value.bytes)
        message.add(event.session?.value.bytes)
        message.add(event.key?.rawValue.bigEndianBytes)
        message.add(event.series?.value.bytes)
        message.add(event.detail.map { Array($0.utf8) })
        message.add(operatorName.map { Array($0.utf8) })
        message.add(commitment)
        message.add(ends.flatMap(\.bytes))
        return message.bytes
    }
}

/// Which entries are asked for.
package struct AuditQuery: Sendable, Equatable {
    /// Entries that one page of `audit list` may hold.
    package static let maximumEntries = 10_000

    package var user: UserID?
    package var kind: AuditEvent.Kind?
    package var since: UnixTime?
    package var until: UnixTime?
    package var limit = 100

    package init() {}
}

/// Fields one after the other, each with its length, so that no two lists of fields read the same.
struct AuditMessage {
    private(set) var bytes: [UInt8]

    init(_ domain: String) { bytes = Array(domain.utf8) + [0] }

    /// Four bytes of length and the field; all ones for one that is absent.
    mutating func add(_ field: [UInt8]?) {
        bytes += (field.map { UInt32($0.count) } ?? .max).bigEndianBytes
        bytes += field ?? []
    }
}

/// The data key that entries are chained under: HMAC-SHA-256, whose key HKDF-SHA-256 derives with the info
/// "gatehouse/v1/data/audit".
package struct AuditKey: Sendable {
    package let id: KeyID
    private let secret: KeySecret

    init(_ key: DataKey) throws(LibCryptoError) {
        id = key.id
        secret = KeySecret(try key.derived())
    }

    package func mac(over message: [UInt8]) throws(LibCryptoError) -> [UInt8] {
        try secret.withSpan { key throws(LibCryptoError) in
            try hmacSHA256(key: key, message: message.span)
                .withSpan { mac in mac.indices.map { mac[$0] } }
        }
    }

    /// The link of `record` behind `end`, or at the beginning of `chain`.
    package func link(
        _ record: AuditRecord, to chain: AuditChain, after end: AuditChainEnd?
    ) throws(LibCryptoError) -> AuditLink {
        let position = (end?.position ?? 0) + 1
        let message = record.message(
            after: end?.mac ?? AuditVerifier.beginning, chain: chain, position: position, key: id)
        return AuditLink(
            chain: chain, position: position, key: id, mac: try mac(over: message))
    }

    /// Seals the end of what is removed of a chain.
    package func base(_ end: AuditChainEnd) throws(LibCryptoError) -> AuditBase {
        var message = AuditMessage("gatehouse/v1/audit-base")
        message.add(end.bytes)
        return AuditBase(end: end, key: id, seal: try mac(over: message.bytes))
    }
}

/// The audit keys of a ring.
package struct AuditKeys: Sendable {
    /// The one for new entries.
    package let current: AuditKey
    /// That one and those before it.
    package let all: [KeyID: AuditKey]

    package init(_ current: AuditKey, former: [AuditKey] = []) {
        self.current = current
        all = Dictionary((former + [current]).map { ($0.id, $0) }, uniquingKeysWith: { $1 })
    }
}

extension Keyring {
    /// Nil until the first one is activated.
    package func auditKeys() throws(LibCryptoError) -> AuditKeys? {
        let keys = dataKeys.filter { $0.purpose == .audit }
        guard let newest = Self.newest(keys) else { return nil }
        return AuditKeys(
            try AuditKey(newest),
            former: try keys.map { key throws(LibCryptoError) in try AuditKey(key) })
    }
}

/// Where the trail stood, to be kept outside: it shows later whether the end was cut off.
///
/// Text form: `gatehouse-audit-head-1:`, the last sequence number, `:`, 64 hex digits.
package struct AuditHead: Sendable, Equatable {
    private static let prefix = "gatehouse-audit-head-1:"

    package let sequence: UInt64
    /// SHA-256 of "gatehouse/v1/audit-head" 0x00, the number, and the end of every chain in the order of
    /// their ids.
    package let digest: [UInt8]

    init(sequence: UInt64, ends: [AuditChainEnd]) throws(LibCryptoError) {
        self.sequence = sequence
        var message = AuditMessage("gatehouse/v1/audit-head")
        message.add(sequence.bigEndianBytes)
        for end in ends.sorted(by: { $0.chain.text < $1.chain.text }) {
            message.add(end.bytes)
        }
        digest = try sha256(message.bytes.span)
    }

    package var text: String {
        "\(Self.prefix)\(sequence):\(digest.hex)"
    }

    package init?(text: String) {
        guard text.hasPrefix(Self.prefix) else { return nil }
        let parts = text.dropFirst(Self.prefix.count).split(
            separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let sequence = UInt64(parts[0]), "\(sequence)" == parts[0] else {
            return nil
        }
        let digits = Array(parts[1].utf8)
        guard digits.count == 64 else { return nil }
        var digest: [UInt8] = []
        for start in stride(from: 0, to: 64, by: 2) {
            guard let byte = UInt8(hexDigits: digits[start..<(start + 2)]) else { return nil }
            digest.append(byte)
        }
        self.sequence = sequence
        self.digest = digest
    }
}
