// What people do with their sign-ins and their password while they are signed in. No HTTP here.

import GatehouseCore
import GatehousePasswords
import Logging

extension Accounts {
    // MARK: Sign-ins

    /// Where the user is signed in, what was used last first.
    func signIns(of user: UserID) async throws(Failure) -> [SignIn] {
        do { return try await store.signIns(of: user, at: clock().wall) } catch {
            throw failed(error)
        }
    }

    /// Ends one of the user's sign-ins, with its series; false when there is none such.
    func endSignIn(_ session: SessionID, of user: UserID) async throws(Failure) -> Bool {
        try await ending {
            try await store.endSignIn(session, of: user, audit: .sessionRevoked, at: $0)
        }
    }

    /// Ends every other sign-in; false when the session itself is no more.
    func endOtherSignIns(than claims: Claims) async throws(Failure) -> Bool {
        try await ending {
            try await store.endSignIns(of: claims.user, except: claims.session, at: $0)
        }
    }

    /// What ends is refused on this node before this returns.
    private func ending(
        _ end: (UnixTime) async throws -> RevocationOutcome
    ) async throws(Failure) -> Bool {
        let now = clock().wall
        do {
            guard case .revoked(let position, let ended) = try await end(now) else { return false }
            logger.info(
                "sessions ended by their owner",
                metadata: ["event": "authn_token_revoked", "sessions": "\(ended)"])
            try await node.catchUp(to: position, at: now)
            return true
        } catch { throw failed(error) }
    }

    /// The browser is no longer remembered. Who gave the password in this session stays signed in; a
    /// session that came from the cookie ends with it, or a thief could cut himself loose from what finds
    /// him out.
    ///
    /// - Parameter series: what the browser's cookie names; the session's own ends as well.
    func forgetSeries(_ series: [SeriesID], of claims: Claims) async throws(Failure) {
        do {
            let own = try await store.session(claims.session)?.series
            let now = clock().wall
            guard claims.level != .remembered else {
                let outcome = try await store.endSignIn(
                    claims.session, of: claims.user, audit: .signedOut, at: now)
                if case .revoked(let position, _) = outcome {
                    try await node.catchUp(to: position, at: now)
                }
                return
            }
            try await store.forgetSeries(
                series + (own.map { [$0] } ?? []), of: claims.user, at: now)
        } catch { throw failed(error) }
    }

    // MARK: Warnings

    func warnings(of user: UserID) async throws(Failure) -> [SignInWarning] {
        do { return try await store.warnings(of: user) } catch { throw failed(error) }
    }

    func dismissWarnings(of user: UserID, upTo last: Int64) async throws(Failure) {
        do { try await store.dismissWarnings(of: user, upTo: last, at: clock().wall) } catch {
            throw failed(error)
        }
    }

    // MARK: The account

    func user(_ id: UserID) async throws(Failure) -> User? {
        do { return try await store.user(id) } catch { throw failed(error) }
    }

    enum PasswordChangeOutcome: Sendable {
        case changed(SignedIn)
        /// The current password is wrong, or it was tried too often.
        case refused
        case slowDown(seconds: Int64)
        case badPassword(PasswordRefusal)
        case sessionEnded
        case failed(Failure)
    }

    /// Changes the password of a session's user. Every session, series and device of theirs ends; this
    /// client gets a new session in the same transaction (DESIGN section 5).
    func changePassword(
        _ claims: Claims, current attempt: PasswordGate.Try, new: [UInt8], client: Client
    ) async -> PasswordChangeOutcome {
        do {
            if let refusal = try refusal(of: new, for: claims.username) {
                return .badPassword(refusal)
            }
            for _ in 0..<Self.maximumVerifications {
                switch try await gate.check(attempt) {
                case .refused: return .refused
                case .slowDown(let seconds): return .slowDown(seconds: seconds)
                case .right(let right):
                    let outcome: PasswordChangeOutcome?
                    do {
                        outcome = try await change(
                            claims, user: right.user, from: right.hash, to: new, client: client)
                    } catch {
                        await gate.refund(right.counter)
                        throw error
                    }
                    if let outcome {
                        if case .changed = outcome {} else { await gate.refund(right.counter) }
                        return outcome
                    }
                    await gate.refund(right.counter)
                }
            }
            return .sessionEnded
        } catch let failure as Failure { return .failed(failure) } catch {
            return .failed(failed(error))
        }
    }

    /// Nil when the user's hash is no longer the one that was verified, or their session has ended.
    private func change(
        _ claims: Claims, user: User, from old: StoredPasswordHash, to new: [UInt8], client: Client
    ) async throws -> PasswordChangeOutcome? {
        guard user.id == claims.user, user.epoch == claims.epoch, user.epoch < .max else {
            return .sessionEnded
        }
        let newHash = try await gate.hash(try Password(new.span))
        let next = User(
            id: user.id, username: user.username, state: user.state, epoch: user.epoch + 1,
            created: user.created, passwordHash: newHash)
        // Who refuses what has to be accepted doesn't stay signed in by changing the password.
        let isMissing = try await !missingAgreements(of: user.id).isEmpty
        for _ in 0..<Self.maximumTries {
            let now = clock()
            let limits =
                isMissing
                ? rules.sessions.ending(by: claims.absoluteDeadline, at: now.wall) : rules.sessions
            guard let limits else { return .sessionEnded }
            let session = try SessionRecord(
                for: next, at: now.wall, floor: try await store.authenticatedFloor(),
                limits: limits, methods: .password, level: .password,
                origin: client.origin, entropy: entropy)
            let sealed = try await sealer.seal(
                session, username: user.username, transport: client.transport, at: now)
            let outcome = try await store.changePassword(
                PasswordChange(
                    newHash: newHash, oldHash: old.text, session: session,
                    superseding: claims.session, seal: sealed.seal,
                    clearing: try await gate.counters(of: user.username, user: user.id)),
                at: now.wall)
            switch outcome {
            case .created(let position):
                try await node.catchUp(to: position, at: now.wall)
                logger.notice(
                    "password changed",
                    metadata: ["event": "authn_password_change", "user": "\(user.id.text)"])
                return .changed(
                    SignedIn(
                        session: session, username: user.username, token: sealed.text,
                        remember: nil))
            case .userChanged, .limitReached: return nil
            case .outdated: try await node.reload(at: now.wall)
            }
        }
        throw Failure.unavailable
    }
}
