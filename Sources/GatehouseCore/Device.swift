// A device as the store holds it, and the preferences that a person keeps there.

package struct Device: Sendable, Equatable {
    /// One person's devices; the one that is left of more ends. Far more than anyone signs in with,
    /// and a program that keeps no cookies makes one at every sign-in.
    package static let maximumPerUser = 32
    /// Use is noted by the day: when somebody was here is nobody's business to the second.
    package static let useStepSeconds: Int64 = 86_400

    package let id: DeviceID
    package let user: UserID
    package let created: UnixTime
    /// The beginning of the day (UTC) of the last use.
    package let lastUsed: UnixTime
    package let preferences: Preferences
    /// Whether the password was given with it: only then has it an allowance of its own for guesses, or
    /// whoever took a session could make devices to guess with.
    package let isProved: Bool

    package init(
        id: DeviceID, user: UserID, created: UnixTime, lastUsed: UnixTime, preferences: Preferences,
        isProved: Bool
    ) {
        self.id = id
        self.user = user
        self.created = created
        self.lastUsed = lastUsed
        self.preferences = preferences
        self.isProved = isProved
    }

    /// `time` as a use is noted.
    package static func day(of time: UnixTime) -> UnixTime {
        UnixTime(clamping: time.seconds / useStepSeconds * useStepSeconds)
    }

    /// Devices that were last used before this have ended at `now`.
    package static func oldestUse(at now: UnixTime) -> UnixTime {
        now.advanced(bySeconds: -DeviceClaims.lifetimeSeconds)
    }
}

/// What a person's sign-in leaves in the store of a browser.
package struct DeviceUse: Sendable {
    package let id: DeviceID
    /// Whether the row is to be made; otherwise it must be there.
    package let isNew: Bool
    package let user: UserID
    /// The session's; a user whose epoch is another has signed out everywhere since.
    package let epoch: UInt32
    /// Nil leaves them as they are.
    package let preferences: Preferences?
    package let seal: DeviceSeal
    /// The "remember me" of the browser: a theft of it ends the device too.
    package let series: SeriesID?
    /// Whether the password has just been given.
    package let isProved: Bool

    package init(
        id: DeviceID, isNew: Bool, user: UserID, epoch: UInt32, preferences: Preferences?,
        seal: DeviceSeal, isProved: Bool, series: SeriesID? = nil
    ) {
        self.id = id
        self.isNew = isNew
        self.user = user
        self.epoch = epoch
        self.preferences = preferences
        self.seal = seal
        self.series = series
        self.isProved = isProved
    }
}

/// How a device token was sealed: its key lives until the deadline, if it is still in the ring.
package struct DeviceSeal: Sendable {
    package let key: KeyID
    package let keyringVersion: UInt64
    package let deadline: UnixTime

    package init(key: KeyID, keyringVersion: UInt64, deadline: UnixTime) {
        self.key = key
        self.keyringVersion = keyringVersion
        self.deadline = deadline
    }
}

package enum DeviceOutcome: Sendable, Equatable {
    case done
    /// The device has ended, or never was the user's.
    case gone
    /// The user is gone, disabled, or has another epoch than the session's.
    case userChanged
    /// The ring has changed since the token was sealed; seal again.
    case outdated
}

/// What a person keeps on a device: a small map of names and texts that applications give a meaning.
/// A value that exists is within the limits.
package struct Preferences: Sendable, Equatable {
    /// All three limits together stay below a form's 16 KiB, also when every byte is written as
    /// three. A form of them has no more fields than a form may.
    package static let maximumCount = 16
    package static let maximumKeyBytes = 32
    package static let maximumValueBytes = 256

    package static let none = Preferences(values: [:])

    package let values: [String: String]

    private init(values: [String: String]) { self.values = values }

    package init(_ values: [String: String]) throws(PreferenceRefusal) {
        guard values.count <= Self.maximumCount else { throw .tooMany }
        for (key, value) in values {
            guard Self.isKey(key) else { throw .key }
            guard Self.isValue(value) else { throw .value }
        }
        self.values = values
    }

    package var isEmpty: Bool { values.isEmpty }

    /// In the order of the keys' bytes.
    package var sorted: [(key: String, value: String)] {
        values.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
            .map { (key: $0.key, value: $0.value) }
    }

    private static func isKey(_ key: String) -> Bool {
        (1...maximumKeyBytes).contains(key.utf8.count)
            && key.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                    UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }

    private static func isValue(_ value: String) -> Bool {
        (1...maximumValueBytes).contains(value.utf8.count) && value.isOneLine
    }
}

extension String {
    /// Whether it has no control characters and no line or paragraph separators.
    package var isOneLine: Bool {
        unicodeScalars.allSatisfy { scalar in
            switch scalar.properties.generalCategory {
            case .control, .lineSeparator, .paragraphSeparator: false
            default: true
            }
        }
    }
}

/// Why preferences are not taken; the raw values name it to programs.
package enum PreferenceRefusal: String, Error, CaseIterable, Sendable {
    case tooMany = "too_many"
    case key
    case value
}
