// What people do with their accounts: register, sign in, sign out, recover. No HTTP here.

package import GatehouseCore
import GatehousePasswords
package import GatehousePeople
import Logging

/// Who may make an account.
package enum Registration: String, Sendable, CaseIterable { case open, invite, closed }

/// How long and how often people are signed in.
package struct SignInRules: Sendable {
    package let sessions: SessionLimits
    /// Nil when nobody is remembered.
    package let remember: RememberLimits?
    package let atOnce: SessionLimit

    package init(sessions: SessionLimits, remember: RememberLimits?, atOnce: SessionLimit) {
        self.sessions = sessions
        self.remember = remember
        self.atOnce = atOnce
    }
}

/// The front door's rules about accounts, over store, sealer and hasher.
package struct Accounts: Sendable {
    /// Each lost race means that keys changed meanwhile; more than this many is no race.
    static let maximumTries = 20

    let registration: Registration
    private let usernames: UsernamePolicy
    let store: any Store & PeopleStore
    let sealer: Sealer
    let node: Node
    let gate: PasswordGate
    private let devices: Devices
    private let policy: PasswordPolicy
    let rules: SignInRules
    let entropy: Entropy
    let clock: @Sendable () -> Instant
    let logger: Logger

    package init(
        registration: Registration, usernames: UsernamePolicy, store: any Store & PeopleStore,
        sealer: Sealer,
        node: Node, gate: PasswordGate, devices: Devices, policy: PasswordPolicy,
        rules: SignInRules, entropy: Entropy,
        clock: @escaping @Sendable () -> Instant
    ) {
        self.registration = registration
        self.usernames = usernames
        self.store = store
        self.sealer = sealer
        self.node = node
        self.gate = gate
        self.devices = devices
        self.policy = policy
        self.rules = rules
        self.entropy = entropy
        self.clock = clock
        logger = Logger(label: "gatehouse.accounts")
    }

    // MARK: Sign in

    /// Who asks, as the request shows it.
    package struct Client: Sendable {
        package let transport: TokenTransport
        /// What its cookies and tokens name, whosever they are.
        package let presented: PresentedIDs
        package let origin: SessionOrigin

        package init(
            transport: TokenTransport, presented: PresentedIDs = PresentedIDs(),
            origin: SessionOrigin = .unknown
        ) {
            self.transport = transport
            self.presented = presented
            self.origin = origin
        }
    }

    package struct SignedIn: Sendable {
        package let session: SessionRecord
        package let username: Username
        package let token: String
        /// The value of the remember cookie, and when its series ends.
        package let remember: RememberCookie?
        /// The device cookie that goes with it, where it is made with the session.
        var device: Devices.Cookie?
        /// How much they must be told before anything else, where that was asked.
        var untold = 0
    }

    package struct RememberCookie: Sendable {
        package let value: String
        package let deadline: UnixTime
        package let series: SeriesID
    }

    package enum SignInOutcome: Sendable {
        case signedIn(SignedIn)
        /// Unknown user, wrong password, disabled user, or too many tries: one answer for all.
        case refused
        /// Too many failures from this address.
        case slowDown(seconds: Int64)
        /// The password is right, and these have to be accepted first.
        case agreementRequired([Notice])
        /// The password is right, and the user is signed in as often as one may be.
        case limitReached
        /// The session whose place the new one was to take has ended.
        case sessionEnded
        case failed(Failure)
    }

    /// Why this node can't do what was asked now; each is a 503.
    package enum Failure: Error, Sendable, Equatable {
        case busy
        case unavailable
    }

    /// Verifies the password, and begins a session only if user, epoch and password hash are still
    /// what was read before (DESIGN section 5). Ends what the client presented in the same transaction.
    package func signIn(
        _ attempt: PasswordGate.Try, client: Client, remembers: Bool = false,
        accepting accepted: [NoticeID] = []
    ) async -> SignInOutcome {
        await verify(attempt) { right in
            let missing = try await accept(accepted, by: right.user.id, right.facts)
            guard missing.isEmpty else { return .agreementRequired(missing) }
            return try await begin(
                right, client: client, remembers: remembers && rules.remember != nil,
                browser: attempt.browser)
        }
    }

    /// Verifies the password of a session's user once more, and puts a session of level 2 in its place
    /// (DESIGN section 5, step-up).
    package func confirm(
        _ claims: Claims, _ attempt: PasswordGate.Try, client: Client,
        accepting accepted: [NoticeID] = []
    ) async -> SignInOutcome {
        await verify(attempt) { right in
            guard right.user.id == claims.user, right.user.epoch == claims.epoch else {
                return .sessionEnded
            }
            let missing = try await accept(accepted, by: right.user.id, right.facts)
            guard missing.isEmpty else { return .agreementRequired(missing) }
            if let outcome = try await begin(
                right, client: client, remembers: false, superseding: claims.session)
            {
                return outcome
            }
            // Tried once more when only the hash has changed.
            let hasEnded = try await store.session(claims.session)?.revoked != nil
            return hasEnded ? .sessionEnded : nil
        }
    }

    /// Tries a password, and does `begin` if it is right; again when that gives nil.
    private func verify(
        _ attempt: PasswordGate.Try,
        _ begin: (PasswordGate.RightPassword) async throws -> SignInOutcome?
    ) async -> SignInOutcome {
        do {
            if await sealer.unavailability(at: clock()) != nil { return .failed(.unavailable) }
            for _ in 0..<Self.maximumVerifications {
                switch try await gate.check(attempt) {
                case .refused: return .refused
                case .slowDown(let seconds): return .slowDown(seconds: seconds)
                case .right(let right):
                    let outcome: SignInOutcome?
                    do { outcome = try await begin(right) } catch {
                        // The password was right; that no session could begin is nobody's guess.
                        await gate.refund(right.counter)
                        throw error
                    }
                    guard case .signedIn = outcome else {
                        await gate.refund(right.counter)
                        if let outcome { return outcome }
                        continue
                    }
                    gate.improve(right.hash, attempt.password)
                    return outcome ?? .refused
                }
            }
            return .refused
        } catch let failure as Failure { return .failed(failure) } catch {
            return .failed(failed(error))
        }
    }

    /// A hash that changed while it was verified was hashed again by another sign-in, or the password was
    /// changed: verified once more, it tells which.
    static let maximumVerifications = 2

    /// Begins a session; nil when user or superseded session are no longer what was read.
    private func begin(
        _ right: PasswordGate.RightPassword, client: Client, remembers: Bool,
        browser: DeviceClaims? = nil, superseding: SessionID? = nil
    ) async throws -> SignInOutcome? {
        let user = right.user
        var floor = right.facts.authenticatedFloor
        // In the place of one that is damaged there comes another.
        var device = (try? right.facts.device.get()) ?? nil
        for _ in 0..<Self.maximumTries {
            let now = clock()
            let newSeries =
                remembers ? SeriesID(try Identifier.random(from: entropy)) : nil
            let session = try SessionRecord(
                for: user, at: now.wall, floor: floor, limits: rules.sessions, methods: .password,
                level: .password, origin: client.origin, series: newSeries,
                entropy: entropy)
            let remembered = newSeries.flatMap { id in
                rules.remember.map { limits in
                    RememberSeries(
                        id: id, user: user.id, epoch: user.epoch,
                        authenticated: session.authenticated, methods: session.methods,
                        deadline: now.wall.advanced(bySeconds: limits.absoluteSeconds),
                        state: RememberState(generation: 1, made: now.wall, wasPresented: false),
                        session: session.id)
                }
            }
            let sealed = try await sealer.seal(
                session.claims(username: user.username, at: now.wall),
                remember: remembered?.claims(generation: 1, at: now.wall),
                transport: client.transport, at: now)
            var creation = SessionCreation(
                sessions: [session], seal: sealed.session.seal, passwordHash: user.passwordHash,
                ending: client.presented, clearing: right.counter)
            // Who signs in by a browser is known there; a new session in the place of another is as it was.
            let left =
                client.transport == .cookie && superseding == nil
                ? await devices.use(
                    with: session, device: device, before: browser, series: newSeries, at: now)
                : nil
            creation.device = left?.use
            creation.series = remembered
            creation.superseding = superseding
            creation.limit = superseding == nil ? rules.atOnce : nil
            let outcome = try await store.createSessions(
                creation,
                audit: [
                    AuditEvent(
                        superseding == nil ? .signedIn : .steppedUp, by: .server, user: user.id,
                        session: session.id)
                ], at: now.wall)
            switch outcome {
            case .created(let position):
                try await node.catchUp(to: position, at: now.wall)
                logger.info(
                    superseding == nil ? "signed in" : "password confirmed",
                    metadata: ["event": "authn_login_success", "user": "\(user.id.text)"])
                return .signedIn(
                    SignedIn(
                        session: session, username: user.username, token: sealed.session.text,
                        remember: Self.cookie(sealed.remember, of: remembered),
                        device: left?.cookie, untold: right.facts.untold))
            case .userChanged: return nil
            case .outdated:
                try await node.reload(at: now.wall)
                floor = try await store.authenticatedFloor()
                if let id = device?.id {
                    device = try await store.device(id, of: user.id, at: now.wall)
                }
            case .limitReached:
                logger.notice(
                    "too many sessions",
                    metadata: ["event": "authz_fail", "user": "\(user.id.text)"])
                return .limitReached
            }
        }
        return .failed(.unavailable)
    }

    static func cookie(_ token: String?, of series: RememberSeries?) -> RememberCookie? {
        guard let token, let series else { return nil }
        return RememberCookie(value: token, deadline: series.deadline, series: series.id)
    }

    // MARK: Sign out

    /// Ends sessions and series; they are refused on this node before this returns.
    package func end(_ presented: PresentedIDs) async throws(Failure) {
        guard !presented.isEmpty else { return }
        let now = clock().wall
        do {
            let outcome = try await store.revokeSessions(presented, audit: .signedOut, at: now)
            guard case .revoked(let position, let ended) = outcome else { return }
            logger.info(
                "signed out", metadata: ["event": "authn_token_revoked", "sessions": "\(ended)"])
            try await node.catchUp(to: position, at: now)
        } catch { throw failed(error) }
    }

    // MARK: Register

    package enum RegistrationOutcome: Sendable {
        case registered(User)
        case nameTaken
        /// Too many tries from this address.
        case slowDown(seconds: Int64)
        /// The invitation is unknown, used or expired; or one is needed.
        case notInvited
        case closed
        /// Usernames can't be compared now; see ``NameAvailability``.
        case skeletonsOutdated
        case badUsername(UsernameRefusal)
        case badPassword(PasswordRefusal)
        case failed(Failure)
    }

    /// - Parameters:
    ///   - id: what `enrolment` is made for; a new one when it is nil.
    ///   - enrolment: what is stored with the user.
    package func register(
        username: [UInt8], password: [UInt8], invitation: [UInt8]?, address: AddressPrefix? = nil,
        id proposed: UserID? = nil, enrolment: Enrolment = Enrolment()
    ) async -> RegistrationOutcome {
        guard registration != .closed else { return .closed }
        // Whatever comes of it: answers tell which names are taken.
        if let seconds = gate.slowsDown(address) { return .slowDown(seconds: seconds) }
        do {
            var invitationHash: LinkHash?
            if registration == .invite {
                guard let invitation, let hash = Self.linkHash(invitation),
                    try await store.link(hash, at: clock().wall)?.purpose == .invitation
                else { return .notInvited }
                invitationHash = hash
            }
            let name: Username
            do { name = try Username(utf8: username.span) } catch { return .badUsername(error) }
            if let refusal = usernames.refusal(of: name) { return .badUsername(refusal) }
            if let refusal = try refusal(of: password, for: name) { return .badPassword(refusal) }
            // A taken name is told before a hash is made, for whatever reason it is taken; the
            // constraint still decides below.
            switch try await store.availability(of: name) {
            case .free: break
            case .taken:
                logger.notice("name taken", metadata: ["event": "user_create_fail"])
                return .nameTaken
            case .skeletonsOutdated: return skeletonsOutdated()
            }
            let hash = try await gate.hash(try Password(password.span))
            let id = try proposed ?? UserID.random(from: entropy)
            let audit = AuditEvent(.userCreated, by: .server, user: id)
            let now = clock().wall
            let outcome = try await store.addUser(
                name, id: id, passwordHash: hash, invitation: invitationHash,
                enrolment: enrolment, audit: audit, at: now)
            switch outcome {
            case .added(let user):
                do { try await gate.begin(name) } catch {
                    logger.error("counter not cleared", metadata: ["failure": "\(error)"])
                }
                logger.info(
                    "registered", metadata: ["event": "user_created", "user": "\(id.text)"])
                return .registered(user)
            case .nameTaken: return .nameTaken
            case .skeletonsOutdated: return skeletonsOutdated()
            case .notInvited: return .notInvited
            }
        } catch let failure as Failure { return .failed(failure) } catch {
            return .failed(failed(error))
        }
    }

    private func skeletonsOutdated() -> RegistrationOutcome {
        logger.error(
            "registration refused: the usernames' skeletons are of another version",
            metadata: [
                "version": "\(Username.skeletonVersion)", "hint": "gatehouse users reindex",
            ])
        return .skeletonsOutdated
    }

    /// Why a new password is not taken; nil when it is.
    func refusal(
        of utf8: [UInt8], for username: Username?
    ) throws(PasswordListUnreadable) -> PasswordRefusal? {
        let password: Password
        do { password = try Password(utf8.span) } catch { return error }
        return try policy.admit(password, for: username)
    }

    // MARK: Recover

    package enum RecoveryOutcome: Sendable {
        case recovered
        /// The link is unknown, used or expired.
        case noLink
        case badPassword(PasswordRefusal)
        case failed(Failure)
    }

    /// Whether a recovery link still works.
    package func isRecovery(_ secret: [UInt8]) async throws(StoreError) -> Bool {
        try await recoverableUser(secret) != nil
    }

    /// Whose password the link sets; nil when it does not work.
    private func recoverableUser(_ secret: [UInt8]) async throws(StoreError) -> UserID? {
        guard let hash = Self.linkHash(secret),
            let link = try await store.link(hash, at: clock().wall),
            case .recovery(let user) = link.purpose
        else { return nil }
        return user
    }

    /// Sets the password of the link's user, and ends every session of theirs.
    package func recover(_ secret: [UInt8], password: [UInt8]) async -> RecoveryOutcome {
        do {
            guard let user = try await recoverableUser(secret), let link = Self.linkHash(secret)
            else { return .noLink }
            let name = try await store.user(user)?.username
            if let refusal = try refusal(of: password, for: name) { return .badPassword(refusal) }
            let hash = try await gate.hash(try Password(password.span))
            let now = clock().wall
            let outcome = try await store.setPassword(
                hash, with: link, lookUpKey: try await gate.lookUpKey(),
                audit: .passwordRecovered, at: now)
            guard case .set(let id, let position) = outcome else { return .noLink }
            logger.notice(
                "password recovered",
                metadata: ["event": "authn_password_change", "user": "\(id.text)"])
            try await node.catchUp(to: position, at: now)
            return .recovered
        } catch { return .failed(failed(error)) }
    }

    /// The hash of a link's secret, which is written as base64url.
    private static func linkHash(_ text: [UInt8]) -> LinkHash? {
        guard let secret = Base64URL.decode(text.span), secret.count == Link.secretBytes else {
            return nil
        }
        return LinkHash(secret: secret)
    }

    /// What went wrong, for the log; the caller is told that it may try again.
    func failed(_ error: any Error) -> Failure {
        if let error = error as? PasswordHasherError, error == .busy || error == .late {
            logger.warning(
                error == .busy ? "password queue full" : "password queue too slow",
                metadata: ["event": "excess_rate_limit_exceeded"])
            return .busy
        }
        if let error = error as? PasswordHasherError, error == .cancelled {
            logger.debug("the client has gone")
            return .unavailable
        }
        logger.error("account request failed", metadata: ["failure": "\(error)"])
        return .unavailable
    }
}
