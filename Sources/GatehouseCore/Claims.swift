// What a session token says.

/// How the user proved who they are: names of RFC 8176 as bits.
package struct AuthenticationMethods: OptionSet, Hashable, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let password = AuthenticationMethods(rawValue: 1 << 0)
    package static let oneTimeCode = AuthenticationMethods(rawValue: 1 << 1)
    package static let hardwareKey = AuthenticationMethods(rawValue: 1 << 2)
    package static let known: AuthenticationMethods = [.password, .oneTimeCode, .hardwareKey]

    /// The RFC 8176 names, in the order of the bits.
    package static let names: [(method: AuthenticationMethods, name: String)] = [
        (.password, "pwd"), (.oneTimeCode, "otp"), (.hardwareKey, "hwk"),
    ]

    package var names: [String] {
        Self.names.filter { contains($0.method) }.map(\.name)
    }
}

/// How much a session may be trusted (DESIGN section 5).
package enum AuthenticationLevel: UInt8, CaseIterable, Sendable {
    /// Remembered, or issued by an operator: nobody has proved anything in this session.
    case remembered = 1
    /// The password was given in this session.
    case password = 2
    /// A second factor was.
    case secondFactor = 3
}

/// The content of a session token. A value that exists has deadlines in order and known flags.
///
/// ```
/// offset  size  field
/// 0       1     claims version, 0x01, or 0x02 with an actor
/// 1       16    session id
/// 17      16    user id
/// 33      4     user epoch
/// 37      8     issued, Unix seconds
/// 45      8     authenticated, Unix seconds
/// 53      8     idle deadline, Unix seconds
/// 61      8     absolute deadline, Unix seconds
/// 69      2     methods
/// 71      1     level, 1...3
/// 72      1     flags, bit 0: remembered
/// 73      1     n, length of the username, 1...64
/// 74      n     username, canonical UTF-8; in version 1 nothing follows
/// 74+n    1     m, length of the actor's name, 1...32
/// 75+n    m     actor, an operator's name; nothing follows
/// ```
/// All big endian.
package struct Claims: Sendable {
    package static let version: UInt8 = 1
    /// Of claims with an actor; sealed only while every live node opens it.
    package static let actingVersion: UInt8 = 2
    static let fixedBytes = 74
    private static let rememberedFlag: UInt8 = 1

    package let session: SessionID
    package let user: UserID
    package let epoch: UInt32
    package private(set) var issued: UnixTime
    package let authenticated: UnixTime
    package private(set) var idleDeadline: UnixTime
    package let absoluteDeadline: UnixTime
    package let methods: AuthenticationMethods
    package let level: AuthenticationLevel
    package let isRemembered: Bool
    private let usernameBytes: InlineArray<64, UInt8>
    private let usernameCount: UInt8
    private var actorBytes = InlineArray<32, UInt8>(repeating: 0)
    private var actorCount: UInt8 = 0

    package init(
        session: SessionID, user: UserID, username: Username, epoch: UInt32, issued: UnixTime,
        authenticated: UnixTime, idleDeadline: UnixTime, absoluteDeadline: UnixTime,
        methods: AuthenticationMethods, level: AuthenticationLevel, isRemembered: Bool
    ) {
        precondition(idleDeadline <= absoluteDeadline)
        precondition(methods.isSubset(of: .known))
        self.session = session
        self.user = user
        self.epoch = epoch
        self.issued = issued
        self.authenticated = authenticated
        self.idleDeadline = idleDeadline
        self.absoluteDeadline = absoluteDeadline
        self.methods = methods
        self.level = level
        self.isRemembered = isRemembered
        let name = username.utf8
        usernameBytes = InlineArray { $0 < name.count ? name[$0] : 0 }
        usernameCount = UInt8(name.count)
    }

    /// The same session, sealed again at `now` and used until then.
    package func renewed(idleSeconds: Int64, at now: UnixTime) -> Claims {
        var renewed = self
        renewed.issued = now
        renewed.idleDeadline = min(
            max(idleDeadline, now.advanced(bySeconds: idleSeconds)), absoluteDeadline)
        return renewed
    }

    /// The same session, in which an operator acts for the user.
    package func acted(by actor: OperatorName) -> Claims {
        var acted = self
        let name = Array(actor.text.utf8)
        acted.actorBytes = InlineArray { $0 < name.count ? name[$0] : 0 }
        acted.actorCount = UInt8(name.count)
        return acted
    }

    /// Whether somebody acts for the user.
    package var isActed: Bool { actorCount > 0 }

    /// Lends the bytes of the actor's name, none where nobody acts.
    package func withActor(_ body: (Span<UInt8>) -> Void) {
        body(actorBytes.span.extracting(0..<Int(actorCount)))
    }

    /// The actor as a value of its own, which allocates.
    package var actor: OperatorName? {
        OperatorName(
            String(decoding: (0..<Int(actorCount)).map { actorBytes[$0] }, as: UTF8.self))
    }

    /// The number of bytes of the username.
    package var usernameLength: Int { Int(usernameCount) }

    /// Lends the bytes of the username.
    package func withUsername(_ body: (Span<UInt8>) -> Void) {
        body(usernameBytes.span.extracting(0..<usernameLength))
    }

    /// The username as a value of its own, which allocates.
    package var username: Username? {
        let bytes = (0..<usernameLength).map { usernameBytes[$0] }
        return Username(canonical: bytes.span)
    }

    package func encoded() -> [UInt8] {
        var bytes: [UInt8] = [isActed ? Self.actingVersion : Self.version]
        bytes += session.value.bytes + user.value.bytes + epoch.bigEndianBytes
        for time in [issued, authenticated, idleDeadline, absoluteDeadline] {
            bytes += UInt64(time.seconds).bigEndianBytes
        }
        bytes += methods.rawValue.bigEndianBytes
        bytes += [level.rawValue, isRemembered ? Self.rememberedFlag : 0, usernameCount]
        for index in 0..<usernameLength { bytes.append(usernameBytes[index]) }
        guard isActed else { return bytes }
        return bytes + [actorCount] + (0..<Int(actorCount)).map { actorBytes[$0] }
    }

    /// The session that the bytes name, before anything else is read; nil when they are too few.
    static func session(_ bytes: Span<UInt8>) -> Identifier? {
        bytes.count > fixedBytes ? Identifier(bytes, at: 1) : nil
    }

    /// Reads the layout; nil for anything else. The bytes were sealed by us, and are still treated
    /// as a stranger's (REQUIREMENTS CK-14). Allocates nothing.
    package init?(_ bytes: Span<UInt8>) {
        guard bytes.count > Self.fixedBytes else { return nil }
        let nameCount = Int(bytes[73])
        let nameEnd = Self.fixedBytes + nameCount
        guard (1...Username.maximumBytes).contains(nameCount), bytes.count >= nameEnd else {
            return nil
        }
        if bytes[0] == Self.version {
            guard bytes.count == nameEnd else { return nil }
        } else {
            guard bytes[0] == Self.actingVersion, bytes.count > nameEnd,
                bytes.count == nameEnd + 1 + Int(bytes[nameEnd]),
                OperatorName.isName(bytes.extracting((nameEnd + 1)..<bytes.count))
            else { return nil }
            actorCount = bytes[nameEnd]
            for index in 0..<Int(actorCount) { actorBytes[index] = bytes[nameEnd + 1 + index] }
        }
        var name = InlineArray<64, UInt8>(repeating: 0)
        var bits: UInt8 = 0
        for index in 0..<nameCount {
            let byte = bytes[Self.fixedBytes + index]
            name[index] = byte
            bits |= byte
        }
        let session = Identifier(bytes, at: 1)
        let user = Identifier(bytes, at: 17)
        guard session != .zero, user != .zero,
            let issued = UnixTime(bigEndianBytes: bytes, at: 37),
            let authenticated = UnixTime(bigEndianBytes: bytes, at: 45),
            let idleDeadline = UnixTime(bigEndianBytes: bytes, at: 53),
            let absoluteDeadline = UnixTime(bigEndianBytes: bytes, at: 61),
            idleDeadline <= absoluteDeadline
        else { return nil }
        let methods = AuthenticationMethods(rawValue: UInt16(bigEndianBytes: bytes, at: 69))
        let flags = bytes[72]
        guard methods.isSubset(of: .known),
            let level = AuthenticationLevel(rawValue: bytes[71]),
            flags & ~Self.rememberedFlag == 0,
            // ASCII is UTF-8.
            bits < 0x80 || Self.isUTF8(bytes.extracting(Self.fixedBytes..<nameEnd))
        else { return nil }

        self.session = SessionID(session)
        self.user = UserID(user)
        epoch = UInt32(bigEndianBytes: bytes, at: 33)
        self.issued = issued
        self.authenticated = authenticated
        self.idleDeadline = idleDeadline
        self.absoluteDeadline = absoluteDeadline
        self.methods = methods
        self.level = level
        isRemembered = flags & Self.rememberedFlag != 0
        usernameBytes = name
        usernameCount = UInt8(nameCount)
    }

    private static func isUTF8(_ bytes: Span<UInt8>) -> Bool {
        (try? UTF8Span(validating: bytes)) != nil
    }
}

/// Who looks at people, or acts for them: an account of the machine, or an admin token's name.
package struct OperatorName: Hashable, Sendable {
    /// As Linux allows for an account's.
    package static let maximumBytes = 32
    package let text: String

    /// - Returns: nil unless it is 1 to 32 ASCII letters, digits, `.`, `_`, `-` and `@`.
    package init?(_ text: String) {
        guard Self.isName(Array(text.utf8).span) else { return nil }
        self.text = text
    }

    static func isName(_ bytes: Span<UInt8>) -> Bool {
        guard (1...maximumBytes).contains(bytes.count) else { return false }
        for index in bytes.indices {
            switch bytes[index] {
            case 0x30...0x39, 0x40...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: continue
            default: return false
            }
        }
        return true
    }
}
