// What brings people here: the code of an affiliate or a promotion, and what a cookie says of it.

package import GatehouseCore

/// What a link has behind `/r/`: 1 to 64 ASCII letters, digits, full stops, hyphens and underscores, but for
/// `.` and `..`, which no browser asks for. Compared byte by byte.
package struct ReferralCode: Hashable, Sendable {
    /// As long as anybody prints or types one.
    package static let maximumBytes = 64

    package let text: String

    package init?(_ utf8: [UInt8]) {
        guard (1...Self.maximumBytes).contains(utf8.count), utf8.allSatisfy(Self.isTaken),
            utf8.contains(where: { $0 != UInt8(ascii: ".") }) || utf8.count > 2
        else { return nil }
        text = String(decoding: utf8, as: UTF8.self)
    }

    private static func isTaken(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "-"):
            true
        default: false
        }
    }
}

/// A code that an operator gave out, and whom people came by who have it.
package struct Referral: Sendable, Equatable {
    /// A name and some words: the page that asks shows it in a heading.
    package static let maximumLabelBytes = 120

    package let code: ReferralCode
    /// Who or what it is, as people are shown it.
    package let label: String
    package let created: UnixTime
    /// From then on nobody comes by it; nil for no end.
    package let until: UnixTime?
    package let retired: UnixTime?

    package init(
        code: ReferralCode, label: String, created: UnixTime, until: UnixTime? = nil,
        retired: UnixTime? = nil
    ) {
        self.code = code
        self.label = label
        self.created = created
        self.until = until
        self.retired = retired
    }

    /// Whether people can come by it.
    package func isOpen(at now: UnixTime) -> Bool {
        retired == nil && until.map { now < $0 } ?? true
    }

    /// Whether `text` can be a label: on one line, with anything to see.
    package static func isLabel(_ text: String) -> Bool {
        (1...maximumLabelBytes).contains(text.utf8.count)
            && !text.unicodeScalars.contains { scalar in
                switch scalar.properties.generalCategory {
                case .control, .lineSeparator, .paragraphSeparator: true
                default: false
                }
            } && text.contains { !$0.isWhitespace }
    }
}

/// The content of a referral token: which code somebody came by, and said yes to. A value that exists has
/// deadlines in order.
///
/// ```
/// offset  size  field
/// 0       1     layout version, 0x01
/// 1       8     accepted, Unix seconds
/// 9       8     deadline, Unix seconds; at most 30 days after accepted
/// 17      1     n, bytes of the code, 1...64
/// 18      n     code, ASCII; nothing follows
/// ```
/// All big endian.
package struct ReferralClaims: Sendable, Equatable {
    package static let version: UInt8 = 1
    /// Who has not registered a month after they came has other reasons by then: 30 days, in seconds.
    package static let lifetimeSeconds: Int64 = 30 * 86_400
    static let fixedBytes = 18

    package let code: ReferralCode
    package let accepted: UnixTime
    package let deadline: UnixTime

    /// Somebody says yes at `now`. Nil for a code that nobody comes by any more.
    package init?(_ referral: Referral, at now: UnixTime) {
        guard referral.isOpen(at: now) else { return nil }
        let latest = now.advanced(bySeconds: Self.lifetimeSeconds)
        code = referral.code
        accepted = now
        deadline = referral.until.map { min($0, latest) } ?? latest
    }

    package func isGood(at now: UnixTime) -> Bool {
        accepted <= now.advanced(bySeconds: clockSkewSeconds) && now < deadline
    }

    package func encoded() -> [UInt8] {
        let code = Array(code.text.utf8)
        return [Self.version] + UInt64(accepted.seconds).bigEndianBytes
            + UInt64(deadline.seconds).bigEndianBytes + [UInt8(code.count)] + code
    }

    /// Reads the layout; nil for anything else. The bytes were sealed by us, and are still treated as a
    /// stranger's (REQUIREMENTS CK-14).
    package init?(_ bytes: Span<UInt8>) {
        guard bytes.count > Self.fixedBytes, bytes[0] == Self.version,
            bytes.count == Self.fixedBytes + Int(bytes[17]),
            let accepted = UnixTime(bigEndianBytes: bytes, at: 1),
            let deadline = UnixTime(bigEndianBytes: bytes, at: 9), accepted <= deadline,
            deadline <= accepted.advanced(bySeconds: Self.lifetimeSeconds),
            let code = ReferralCode((Self.fixedBytes..<bytes.count).map { bytes[$0] })
        else { return nil }
        self.code = code
        self.accepted = accepted
        self.deadline = deadline
    }
}

/// What ties an account to the code that its owner came by.
package struct ReferralTie: Sendable, Equatable {
    package let code: ReferralCode
    package let label: String
    /// When they said yes.
    package let accepted: UnixTime

    package init(code: ReferralCode, label: String, accepted: UnixTime) {
        self.code = code
        self.label = label
        self.accepted = accepted
    }
}

/// How many came by a code in a month. Counts of nobody in particular: they stay when people go.
package struct ReferralCount: Sendable, Equatable {
    package let code: ReferralCode
    package let label: String
    /// `2026-12`, of UTC.
    package let month: String
    /// Who said yes.
    package let arrivals: Int64
    package let registrations: Int64

    package init(
        code: ReferralCode, label: String, month: String, arrivals: Int64, registrations: Int64
    ) {
        self.code = code
        self.label = label
        self.month = month
        self.arrivals = arrivals
        self.registrations = registrations
    }
}

extension People {
    /// By which code a person came.
    package func exportedReferral(
        of user: UserID
    ) async throws(StoreError) -> ExportValue.Field {
        guard let tie = try await store.referralTie(of: user) else {
            return ExportValue.Field("referral", .none)
        }
        return ExportValue.Field(
            "referral",
            .fields([
                ExportValue.Field("code", .text(tie.code.text)),
                ExportValue.Field("label", .text(tie.label)),
                ExportValue.Field("accepted", .time(tie.accepted)),
            ]))
    }
}
