// What people do with their accounts: register, sign in, sign out, recover. No HTTP here.

package import GatehouseCore
package import GatehousePasswords
import Logging

/// Who may make an account.
package enum Registration: String, Sendable, CaseIterable { case open, invite, closed }

/// The front door's rules about accounts, over store, sealer and hasher.
package struct Accounts: Sendable {
    /// Each lost race means that keys changed meanwhile; more than this many is no race.
    static let maximumTries = 20

    let registration: Registration
    private let store: any Store
    private let sealer: Sealer
    private let node: Node
    private let hasher: PasswordHasher
    private let limits: SessionLimits
    private let entropy: Entropy
    private let clock: @Sendable () -> Instant
    private let logger: Logger
    /// Verified when there is no hash to verify, so that an unknown user costs what a known one does.
    private let decoy: PasswordHash

    /// - Throws: what the hasher throws; it makes the decoy.
    package init(
        registration: Registration, store: any Store, sealer: Sealer, node: Node,
        hasher: PasswordHasher, limits: SessionLimits, entropy: Entropy,
        clock: @escaping @Sendable () -> Instant
    ) async throws {
        self.registration = registration
        self.store = store
        self.sealer = sealer
        self.node = node
        self.hasher = hasher
        self.limits = limits
        self.entropy = entropy
        self.clock = clock
        logger = Logger(label: "gatehouse.accounts")
        let random = try entropy.bytes(32).map { hexDigit($0) }
        decoy = try await hasher.hash(try Password(random.span))
    }

    // MARK: Sign in

    package struct SignedIn: Sendable {
        package let user: User
        package let session: SessionRecord
        package let token: String
    }

    package enum SignInOutcome: Sendable {
        case signedIn(SignedIn)
        /// Unknown user, wrong password or disabled user: one answer for all.
        case refused
        case failed(Failure)
    }

    /// Why this node can't do what was asked now; each is a 503.
    package enum Failure: Error, Sendable, Equatable {
        case busy
        case unavailable
    }

    /// Verifies the password, and begins a session only if user, epoch and password hash are still
    /// what was read before (DESIGN section 5). Ends `presented` in the same transaction.
    ///
    /// The same work is done whoever the user is and whatever the password, also for one that
    /// can't be a password at all (REQUIREMENTS PW-9).
    package func signIn(
        username: [UInt8], password: [UInt8], transport: TokenTransport, presented: [SessionID]
    ) async -> SignInOutcome {
        do {
            if await sealer.unavailability(at: clock()) != nil { return .failed(.unavailable) }
            let user = try await user(named: username)
            let stored = user?.passwordHash.flatMap { try? PasswordHash($0) }
            let isPassword = (try? Password(password.span)) != nil
            let candidate = try isPassword ? Password(password.span) : Self.anyPassword()
            let isRight = try await hasher.verify(candidate, against: stored ?? decoy)
            guard let user, stored != nil, isPassword, isRight, user.state == .enabled else {
                // The name that was tried may be a password in the wrong field: it is not written.
                logger.notice(
                    "sign-in refused",
                    metadata: [
                        "event": "authn_login_fail", "user": "\(user?.id.text ?? "unknown")",
                    ])
                return .refused
            }
            return try await begin(user, transport: transport, presented: presented)
        } catch let failure as Failure { return .failed(failure) } catch {
            return .failed(failed(error))
        }
    }

    private func user(named bytes: [UInt8]) async throws -> User? {
        guard let username = try? Username(utf8: bytes.span) else { return nil }
        return try await store.user(named: username)
    }

    private static func anyPassword() throws -> Password {
        try Password(Array("not a password of anybody".utf8).span)
    }

    private func begin(
        _ user: User, transport: TokenTransport, presented: [SessionID]
    ) async throws -> SignInOutcome {
        for _ in 0..<Self.maximumTries {
            let now = clock()
            let floor = try await store.authenticatedFloor()
            let session = try SessionRecord(
                for: user, at: now.wall, floor: floor, limits: limits, methods: .password,
                level: .password, entropy: entropy)
            let sealed = try await sealer.seal(
                session, username: user.username, transport: transport, at: now)
            let outcome = try await store.createSessions(
                SessionCreation(
                    sessions: [session], key: sealed.key, keyringVersion: sealed.keyringVersion,
                    passwordHash: user.passwordHash, ending: presented),
                audit: [
                    AuditEvent(.signedIn, by: .server, user: user.id, session: session.id)
                ], at: now.wall)
            switch outcome {
            case .created(let position):
                try await node.catchUp(to: position, at: now.wall)
                logger.info(
                    "signed in",
                    metadata: ["event": "authn_login_success", "user": "\(user.id.text)"])
                return .signedIn(SignedIn(user: user, session: session, token: sealed.text))
            case .userChanged: return .refused
            case .outdated: try await node.reload(at: now.wall)
            }
        }
        return .failed(.unavailable)
    }

    // MARK: Sign out

    /// Ends sessions; they are refused on this node before this returns.
    package func end(_ sessions: [SessionID]) async throws(Failure) {
        guard !sessions.isEmpty else { return }
        let now = clock().wall
        do {
            let outcome = try await store.revokeSessions(
                sessions, audit: .signedOut, by: .server, at: now)
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
        /// The invitation is unknown, used or expired; or one is needed.
        case notInvited
        case closed
        case badUsername(UsernameRefusal)
        case badPassword(PasswordRefusal)
        case failed(Failure)
    }

    package func register(
        username: [UInt8], password: [UInt8], invitation: [UInt8]?
    ) async -> RegistrationOutcome {
        guard registration != .closed else { return .closed }
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
            if let refusal = Self.refusal(of: password) { return .badPassword(refusal) }
            // A taken name is told before a hash is made; the constraint still decides below.
            guard try await store.user(named: name) == nil else { return .nameTaken }
            let hash = try await hasher.hash(try Password(password.span)).text
            let id = try UserID.random(from: entropy)
            let audit = AuditEvent(.userCreated, by: .server, user: id)
            let now = clock().wall
            let outcome =
                if let invitationHash {
                    try await store.addUser(
                        name, id: id, passwordHash: hash, invitation: invitationHash, audit: audit,
                        at: now)
                } else {
                    try await store.addUser(
                        name, id: id, passwordHash: hash, audit: audit, at: now)
                }
            switch outcome {
            case .added(let user):
                logger.info(
                    "registered", metadata: ["event": "user_created", "user": "\(id.text)"])
                return .registered(user)
            case .nameTaken: return .nameTaken
            case .notInvited: return .notInvited
            }
        } catch let failure as Failure { return .failed(failure) } catch {
            return .failed(failed(error))
        }
    }

    /// Why a new password is not taken; nil when it is.
    private static func refusal(of password: [UInt8]) -> PasswordRefusal? {
        do throws(PasswordRefusal) {
            return PasswordPolicy().admit(try Password(password.span))
        } catch { return error }
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
    package func isRecovery(_ secret: [UInt8]) async -> Bool {
        guard let hash = Self.linkHash(secret),
            let link = try? await store.link(hash, at: clock().wall),
            case .recovery = link.purpose
        else { return false }
        return true
    }

    /// Sets the password of the link's user, and ends every session of theirs.
    package func recover(_ secret: [UInt8], password: [UInt8]) async -> RecoveryOutcome {
        guard await isRecovery(secret), let link = Self.linkHash(secret) else { return .noLink }
        if let refusal = Self.refusal(of: password) { return .badPassword(refusal) }
        do {
            let hash = try await hasher.hash(try Password(password.span)).text
            let now = clock().wall
            let outcome = try await store.setPassword(
                hash, with: link, audit: .passwordRecovered, at: now)
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
    private func failed(_ error: any Error) -> Failure {
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
