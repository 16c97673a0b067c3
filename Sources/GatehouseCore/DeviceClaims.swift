// What a device token says: who has signed in with one browser.

/// One person's use of one browser. Not a secret: only a sealed token makes a browser known.
package struct DeviceID: Hashable, Sendable {
    package let value: Identifier
    package init(_ value: Identifier) { self.value = value }
}

/// The content of a device token: up to eight people who have signed in with one browser, each with
/// a device id of their own, so that no two of them can be linked by it. A value that exists has
/// deadlines in order, known flags, and nobody twice.
///
/// ```
/// offset  size  field
/// 0       1     layout version, 0x01
/// 1       8     issued, Unix seconds
/// 9       8     deadline, Unix seconds; at most 180 days after issued
/// 17      1     n, number of people, 1...8
/// 18      33 n  people, who signed in last comes first; nothing follows. Each:
/// +0      16    user id
/// +16     16    device id
/// +32     1     flags, bit 0: has preferences here, bit 1: remembered
/// ```
/// All big endian.
package struct DeviceClaims: Sendable, Equatable {
    package static let version: UInt8 = 1
    /// More than share a browser; eight fit well into a token's 512 characters.
    package static let maximumPeople = 8
    /// How long a device lives without a sign-in, in seconds: 180 days (DESIGN section 8).
    package static let lifetimeSeconds: Int64 = 180 * 86_400
    static let fixedBytes = 18
    private static let personBytes = 33

    /// Why a person's device outlives the browser's session.
    package struct Flags: OptionSet, Hashable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }

        package static let preferences = Flags(rawValue: 1 << 0)
        package static let remembered = Flags(rawValue: 1 << 1)
        static let known: Flags = [.preferences, .remembered]

        package mutating func set(_ flag: Flags, _ isSet: Bool) {
            if isSet { insert(flag) } else { remove(flag) }
        }
    }

    package struct Person: Sendable, Equatable {
        package let user: UserID
        package let device: DeviceID
        package let flags: Flags

        package init(user: UserID, device: DeviceID, flags: Flags) {
            precondition(flags.isSubset(of: .known))
            self.user = user
            self.device = device
            self.flags = flags
        }
    }

    package let issued: UnixTime
    package let deadline: UnixTime
    /// In the order of use, the last first.
    package let people: [Person]

    private init(issued: UnixTime, deadline: UnixTime, people: [Person]) {
        self.issued = issued
        self.deadline = deadline
        self.people = people
    }

    /// `person` uses the browser at `now`. Who was there before stays, but for the one who has been
    /// away longest when there is no place left.
    package init(_ person: Person, before earlier: DeviceClaims?, at now: UnixTime) {
        let others = (earlier?.people ?? []).filter {
            $0.user != person.user && $0.device != person.device
        }
        self.init(
            issued: now, deadline: now.advanced(bySeconds: Self.lifetimeSeconds),
            people: [person] + others.prefix(Self.maximumPeople - 1))
    }

    /// The same without `user`; nil when nobody is left.
    package func removing(_ user: UserID) -> DeviceClaims? {
        let others = people.filter { $0.user != user }
        guard !others.isEmpty else { return nil }
        return DeviceClaims(issued: issued, deadline: deadline, people: others)
    }

    package func person(_ user: UserID) -> Person? { people.first { $0.user == user } }

    /// Whether anybody asked to be known here for longer than the browser's session.
    package var isPersistent: Bool { people.contains { !$0.flags.isEmpty } }

    package func isGood(at now: UnixTime) -> Bool {
        issued <= now.advanced(bySeconds: clockSkewSeconds) && now < deadline
    }

    package func encoded() -> [UInt8] {
        var bytes = [Self.version]
        bytes += UInt64(issued.seconds).bigEndianBytes + UInt64(deadline.seconds).bigEndianBytes
        bytes.append(UInt8(people.count))
        for person in people {
            bytes += person.user.value.bytes + person.device.value.bytes + [person.flags.rawValue]
        }
        return bytes
    }

    /// Reads the layout; nil for anything else. The bytes were sealed by us, and are still treated
    /// as a stranger's (REQUIREMENTS CK-14).
    package init?(_ bytes: Span<UInt8>) {
        guard bytes.count > Self.fixedBytes, bytes[0] == Self.version,
            case let count = Int(bytes[17]), (1...Self.maximumPeople).contains(count),
            bytes.count == Self.fixedBytes + count * Self.personBytes,
            let issued = UnixTime(bigEndianBytes: bytes, at: 1),
            let deadline = UnixTime(bigEndianBytes: bytes, at: 9), issued <= deadline,
            deadline <= issued.advanced(bySeconds: Self.lifetimeSeconds)
        else { return nil }
        var people: [Person] = []
        for index in 0..<count {
            let offset = Self.fixedBytes + index * Self.personBytes
            let user = Identifier(bytes, at: offset)
            let device = Identifier(bytes, at: offset + 16)
            let flags = Flags(rawValue: bytes[offset + 32])
            guard user != .zero, device != .zero, flags.isSubset(of: .known),
                !people.contains(where: { $0.user.value == user || $0.device.value == device })
            else { return nil }
            people.append(Person(user: UserID(user), device: DeviceID(device), flags: flags))
        }
        self.init(issued: issued, deadline: deadline, people: people)
    }
}
