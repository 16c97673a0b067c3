// How often passwords may be tried: counters in the store, one rule for all of them.

/// When the next try is allowed (REQUIREMENTS PW-10; NIST SP 800-63B-4 section 3.2.2).
package enum AttemptRule {
    /// Wrong passwords in a row that cost no waiting: people mistype.
    package static let allowance = 5
    /// The first wait, in seconds; each further failure doubles it.
    package static let firstWaitSeconds: Int64 = 30
    /// The longest wait, in seconds.
    package static let maximumWaitSeconds: Int64 = 3600
    /// Failures in a row after which the password is not tried any more, until its owner or an operator
    /// resets the counter.
    package static let maximumFailures = 100
    /// How long a counter is kept that belongs to no user, in seconds: long enough that a wait is never
    /// cut short, short enough that made-up names don't fill the store.
    package static let strangerSeconds: Int64 = 24 * 3600
    /// How long a counter of a user's device is kept, in seconds.
    package static let deviceSeconds: Int64 = 180 * 24 * 3600

    /// How long to wait after the `failures`th failure in a row, in seconds.
    package static func waitSeconds(after failures: Int) -> Int64 {
        guard failures >= allowance else { return 0 }
        // Seven doublings reach the maximum.
        return min(maximumWaitSeconds, firstWaitSeconds << Int64(min(failures - allowance, 7)))
    }
}

/// Names one counter: of a username, whether anyone has it or not, or of a known device. It says nothing
/// about the name to whoever has the database alone.
package struct AttemptKey: Hashable, Sendable {
    package static let byteCount = LookUpKey.byteCount
    package let bytes: [UInt8]
    /// Whether it is a device's counter.
    package let isDevice: Bool

    package init(_ username: Username, key: LookUpKey) throws(LibCryptoError) {
        bytes = try key.digest(of: username.utf8, in: "attempts/username")
        isDevice = false
    }

    /// The counter of `user` on one known device.
    package init(device: DeviceID, of user: UserID, key: LookUpKey) throws(LibCryptoError) {
        bytes = try key.digest(of: device.value.bytes + user.value.bytes, in: "attempts/device")
        isDevice = true
    }
}

extension AttemptKey {
    /// Every counter of a user: of the name, and on each device.
    package static func all(
        of username: Username, user: UserID, devices: [DeviceID], key: LookUpKey
    ) throws(LibCryptoError) -> [AttemptKey] {
        var keys = [try AttemptKey(username, key: key)]
        for device in devices {
            keys.append(try AttemptKey(device: device, of: user, key: key))
        }
        return keys
    }
}

/// What a counter holds.
package struct AttemptCount: Sendable, Equatable {
    /// Failures in a row, those included that are being tried now.
    package let failures: Int
    /// When the next try is allowed.
    package let next: UnixTime
    package init(failures: Int, next: UnixTime) {
        self.failures = failures
        self.next = next
    }
}

package enum AttemptOutcome: Sendable, Equatable {
    /// Charged as a failure until it is settled.
    case admitted
    /// Not before this time.
    case wait(until: UnixTime)
    /// `AttemptRule.maximumFailures` are reached.
    case exhausted
}
