// "Remember me": what the persistent cookie says, and the rule of its generations.

/// One "remember me", from the sign-in that asked for it until it ends. Not a secret: only a sealed token
/// brings anybody back.
package struct SeriesID: Hashable, Sendable {
    package let value: Identifier
    package init(_ value: Identifier) { self.value = value }
    /// 32 lower-case hex digits.
    package var text: String { value.hex }
}

/// The content of a remember token. A value that exists has deadlines in order and a generation.
///
/// ```
/// offset  size  field
/// 0       1     layout version, 0x01
/// 1       16    series id
/// 17      4     generation, 1 or more
/// 21      8     issued, Unix seconds
/// 29      8     deadline of the series, Unix seconds; nothing follows
/// ```
/// All big endian.
package struct RememberClaims: Sendable, Equatable {
    package static let version: UInt8 = 1
    static let byteCount = 37

    package let series: SeriesID
    package let generation: UInt32
    package let issued: UnixTime
    package let deadline: UnixTime

    package init(series: SeriesID, generation: UInt32, issued: UnixTime, deadline: UnixTime) {
        precondition(generation > 0 && issued <= deadline)
        self.series = series
        self.generation = generation
        self.issued = issued
        self.deadline = deadline
    }

    package func isGood(at now: UnixTime) -> Bool {
        issued <= now.advanced(bySeconds: clockSkewSeconds) && now < deadline
    }

    package func encoded() -> [UInt8] {
        [Self.version] + series.value.bytes + generation.bigEndianBytes
            + UInt64(issued.seconds).bigEndianBytes + UInt64(deadline.seconds).bigEndianBytes
    }

    /// Reads the layout; nil for anything else. The bytes were sealed by us, and are still treated as a
    /// stranger's (REQUIREMENTS CK-14).
    package init?(_ bytes: Span<UInt8>) {
        guard bytes.count == Self.byteCount, bytes[0] == Self.version,
            let issued = UnixTime(bigEndianBytes: bytes, at: 21),
            let deadline = UnixTime(bigEndianBytes: bytes, at: 29), issued <= deadline
        else { return nil }
        let series = Identifier(bytes, at: 1)
        let generation = UInt32(bigEndianBytes: bytes, at: 17)
        guard series != .zero, generation > 0 else { return nil }
        self.init(
            series: SeriesID(series), generation: generation, issued: issued, deadline: deadline)
    }
}

/// How long a browser is remembered, in seconds.
package struct RememberLimits: Sendable, Equatable {
    /// From the sign-in, whatever happens (REQUIREMENTS REM-3).
    package let absoluteSeconds: Int64
    /// How long after a new generation the one before it still counts as the same: longer than a response
    /// and its repetition take, short for a thief (DESIGN section 5).
    package let graceSeconds: Int64

    /// 400 days: the longest that browsers keep a cookie (RFC 6265bis section 5.5).
    package static let maximumAbsoluteSeconds: Int64 = 400 * 86_400
    /// Browsers that one user is remembered in: more than anybody has. Beyond it the one that signed in
    /// first is forgotten, or whoever knows a password could fill the store.
    package static let maximumPerUser = 100
    package static let defaultAbsoluteSeconds: Int64 = 30 * 86_400
    package static let defaultGraceSeconds: Int64 = 60

    /// - Returns: nil unless 1 s <= grace <= absolute <= 400 days.
    package init?(absoluteSeconds: Int64, graceSeconds: Int64) {
        guard graceSeconds >= 1, graceSeconds <= absoluteSeconds,
            absoluteSeconds <= Self.maximumAbsoluteSeconds
        else { return nil }
        self.absoluteSeconds = absoluteSeconds
        self.graceSeconds = graceSeconds
    }
}

/// What the store knows of the generations of a series.
package struct RememberState: Sendable, Equatable {
    /// The current one, 1 or more.
    package var generation: UInt32
    /// When it was made, by the store's clock.
    package var made: UnixTime
    /// Whether it, or the session that came with it, was ever presented: then its response arrived.
    package var wasPresented: Bool

    package init(generation: UInt32, made: UnixTime, wasPresented: Bool) {
        self.generation = generation
        self.made = made
        self.wasPresented = wasPresented
    }

    /// What presenting a generation means.
    package enum Outcome: Sendable, Equatable {
        /// The next generation, and a new session in the place of the one before.
        case advance(to: UInt32)
        /// The current generation and its session once more, or a new session in its place if it has ended.
        /// The cookie is set only if an older generation was presented: a response with a generation that the
        /// browser has could arrive after the next one's, and bring the older back.
        case repeatCurrent
        /// A response was lost for long, or somebody has an old copy that nobody used: the person signs in
        /// again.
        case endQuietly
        /// Two parties have the cookie.
        case theft
        /// From a store that was restored to an earlier time: refused, nothing more.
        case ahead
    }

    /// The rule of DESIGN section 5.
    ///
    /// - Parameter now: the store's clock.
    package func outcome(
        presenting presented: UInt32, graceSeconds: Int64, at now: UnixTime
    ) -> Outcome {
        guard presented <= generation else { return .ahead }
        let isYoung = now < made.advanced(bySeconds: graceSeconds)
        switch generation - presented {
        case 0:
            // The last generation that there can be goes on until the series ends.
            return isYoung || generation == .max ? .repeatCurrent : .advance(to: generation + 1)
        case 1: return isYoung ? .repeatCurrent : wasPresented ? .theft : .endQuietly
        default: return .theft
        }
    }
}

/// A series as the store holds it.
package struct RememberSeries: Sendable, Equatable {
    package let id: SeriesID
    package let user: UserID
    /// A user's later epoch ends it.
    package let epoch: UInt32
    /// When the user signed in, and how.
    package let authenticated: UnixTime
    package let methods: AuthenticationMethods
    package let deadline: UnixTime
    package var state: RememberState
    /// The session that came with the current generation, or what took its place.
    package var session: SessionID

    package init(
        id: SeriesID, user: UserID, epoch: UInt32, authenticated: UnixTime,
        methods: AuthenticationMethods, deadline: UnixTime, state: RememberState,
        session: SessionID
    ) {
        self.id = id
        self.user = user
        self.epoch = epoch
        self.authenticated = authenticated
        self.methods = methods
        self.deadline = deadline
        self.state = state
        self.session = session
    }

    /// What its token says when it is sealed at `now`, which is before the deadline.
    package func claims(generation: UInt32, at now: UnixTime) -> RememberClaims {
        RememberClaims(
            series: id, generation: generation, issued: min(now, deadline), deadline: deadline)
    }
}

/// A series, and what beside it decides about it.
package struct RememberView: Sendable, Equatable {
    package let series: RememberSeries
    /// The session of the current generation; nil when it is no longer live.
    package let session: SessionRecord?
    package let username: Username
    /// The store's clock: the latest time that any node has written, or now.
    package let time: UnixTime

    package init(
        series: RememberSeries, session: SessionRecord?, username: Username, time: UnixTime
    ) {
        self.series = series
        self.session = session
        self.username = username
        self.time = time
    }
}

/// What becomes of a series when a generation of it was presented.
package struct RememberPresentation: Sendable {
    package enum Action: Sendable {
        /// A new generation and the session that comes with it, sealed.
        case advance(generation: UInt32, SessionRecord, SessionSeal, SessionLimit?)
        /// The current generation and session, sealed again.
        case repeatCurrent(SessionSeal)
        case endQuietly
        case theft
        case ahead
    }

    /// As it was when the action was chosen.
    package let expected: RememberView
    package let presented: UInt32
    package let action: Action
    package let origin: SessionOrigin

    package init(
        expected: RememberView, presented: UInt32, action: Action, origin: SessionOrigin
    ) {
        self.expected = expected
        self.presented = presented
        self.action = action
        self.origin = origin
    }
}

package enum PresentSeriesOutcome: Sendable, Equatable {
    /// With the feed position that tells the others what ended.
    case done(position: UInt64)
    /// The series is no longer what was read; read it again.
    case changed
    /// The ring has changed since the tokens were sealed; seal again.
    case outdated
    case limitReached
}

/// What a person is told at the next sign-in: two parties had the remember cookie of one of their browsers.
package struct SignInWarning: Sendable, Equatable {
    /// The latest are kept: more say nothing more.
    package static let maximumPerUser = 20

    package let id: Int64
    package let time: UnixTime
    /// The browser as it was when it signed in.
    package let browser: String?
    /// Where the older of the two was presented: by the thief, or by the owner whom a thief went before.
    package let place: String?

    package init(id: Int64, time: UnixTime, browser: String?, place: String?) {
        self.id = id
        self.time = time
        self.browser = browser
        self.place = place
    }
}
