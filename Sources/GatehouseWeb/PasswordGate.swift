// The one way to a password: every path that tries one, or sets one, goes through here.

package import GatehouseCore
package import GatehousePasswords
package import GatehousePeople
import Logging

/// Tries and makes passwords, under the rules of how often and how fast (REQUIREMENTS PW-9 to PW-12).
package struct PasswordGate: Sendable {
    /// One password that somebody tries.
    package struct Try: Sendable {
        package var username: [UInt8]
        package var password: [UInt8]
        /// Where it comes from; nil shares one allowance.
        package var address: AddressPrefix?
        /// Whom the browser's device cookie names.
        package var browser: DeviceClaims?

        package init(
            username: [UInt8], password: [UInt8], address: AddressPrefix? = nil,
            browser: DeviceClaims? = nil
        ) {
            self.username = username
            self.password = password
            self.address = address
            self.browser = browser
        }
    }

    package enum Outcome: Sendable {
        case right(RightPassword)
        /// Unknown user, wrong password, disabled user, or one whose password may not be tried now.
        case refused
        /// Too many failures from this address.
        case slowDown(seconds: Int64)
    }

    /// The password is that of the user, who is enabled.
    package struct RightPassword: Sendable {
        package let user: User
        package let hash: StoredPasswordHash
        /// The counter that it clears, together with whatever it was asked for.
        package let counter: AttemptKey
        /// As they were before.
        package let facts: SignInFacts
    }

    private let store: any Store & PeopleStore
    private let node: Node
    private let hasher: PasswordHasher
    private let addresses: AddressThrottle
    /// Tries of known devices, right ones too: many more than a person makes.
    private let devices = Throttle<DeviceID>(perMinute: 30)
    private let floor: FailureFloor
    private let clock: @Sendable () -> Instant
    private let logger = Logger(label: "gatehouse.passwords")
    /// Verified when there is no hash to verify, so that an unknown user costs what a known one does.
    private let decoy: PasswordHash

    /// - Throws: what the hasher throws; it makes the decoy.
    package init(
        store: any Store & PeopleStore, node: Node, hasher: PasswordHasher,
        addresses: AddressThrottle, entropy: Entropy, clock: @escaping @Sendable () -> Instant
    ) async throws {
        self.store = store
        self.node = node
        self.hasher = hasher
        self.addresses = addresses
        self.clock = clock
        floor = FailureFloor(clock: clock)
        let random = try entropy.bytes(32).map { hexDigit($0) }
        decoy = try await hasher.hash(try Password(random.span))
        // Verified once, which also tells how long the slowest hash takes at first.
        _ = try await hasher.verify(
            try Password(random.span), against: floor.observed(decoy, HashingTurn()))
    }

    // MARK: Trying

    /// Tries a password. What can't be a username or a password at all is refused at once, whoever is
    /// meant; every other refusal takes the same time.
    ///
    /// - Throws: `PasswordHasherError`, `StoreError`, or `Unready`: nobody can tell now.
    package func check(_ attempt: Try) async throws -> Outcome {
        guard let username = try? Username(utf8: attempt.username.span),
            let password = try? Password(attempt.password.span)
        else { return .refused }
        let start = ContinuousClock.now
        // Who has no device is a stranger before anybody is looked for.
        if attempt.browser == nil, let outcome = try turnAway(attempt.address) { return outcome }
        let facts: SignInFacts
        do {
            facts = try await store.signInFacts(
                of: username, browser: attempt.browser, at: clock().wall)
        } catch {
            // Nothing was tried: whoever comes back when the store does is not told to wait.
            if attempt.browser == nil { addresses.refund(attempt.address, at: clock().boot) }
            throw error
        }
        let user = facts.user
        let device = knownDevice(facts)
        // After the user: a row that was read names no pepper that this node has not loaded.
        let ring = try await ring()
        let key = try attemptKey(user, username, device: device, ring: ring)

        // A known device goes first and has an allowance of its own, which neither strangers nor neighbours use
        // up; one that comes all the time is a stranger.
        let isKnown = device.map { devices.charge($0, at: clock().boot) == nil } ?? false
        let priority: HashPriority = isKnown ? .known : .stranger
        if isKnown {
            guard !hasher.refuses(priority) else { throw PasswordHasherError.busy }
        } else if attempt.browser != nil, let outcome = try turnAway(attempt.address) {
            return outcome
        }
        let turn = HashingTurn()
        let outcome = try await tryOnce(
            password, facts, counter: key, ring: ring, priority: priority, turn: turn)
        if case .right = outcome {
            if !isKnown { addresses.refund(attempt.address, at: clock().boot) }
            return outcome
        }
        // Whatever was done in that time; waiting for a thread comes on top, for all alike. The client may
        // have gone; then nobody measures.
        let end = start.advanced(by: floor.drawn + turn.wait)
        try? await ContinuousClock().sleep(until: end)
        return .refused
    }

    /// A flood of strangers ends here, before it costs a write; nil for who may go on, and is charged.
    private func turnAway(_ address: AddressPrefix?) throws(PasswordHasherError) -> Outcome? {
        guard !hasher.refuses(.stranger) else { throw .busy }
        guard let seconds = addresses.charge(address, at: clock().boot) else { return nil }
        logger.notice("address must wait", metadata: ["event": "excess_rate_limit_exceeded"])
        return .slowDown(seconds: seconds)
    }

    /// A device that the user once gave the password with.
    private func knownDevice(_ facts: SignInFacts) -> DeviceID? {
        do throws(StoreError) {
            guard let device = try facts.device.get(), device.isProved else { return nil }
            return device.id
        } catch {
            logger.error("device look-up failed", metadata: ["failure": "\(error)"])
            return nil
        }
    }

    private func tryOnce(
        _ password: consuming Password, _ facts: SignInFacts, counter key: AttemptKey,
        ring: Keyring, priority: HashPriority, turn: HashingTurn
    ) async throws -> Outcome {
        let user = facts.user
        switch try await store.chargeAttempt(key, user: user?.id, at: clock().wall) {
        case .admitted: break
        case .wait, .exhausted:
            logger.notice(
                "sign-in must wait",
                metadata: ["event": "authn_login_lock", "user": "\(user?.id.text ?? "unknown")"])
            // It waits for a thread like the others, and does nothing there.
            turn.ask()
            _ = try await hasher.verify(
                password, against: floor.observed(NoHash(), turn), priority: priority)
            return .refused
        }
        let isRight: Bool
        do {
            isRight = try await verify(password, of: user, ring: ring, priority, turn)
        } catch {
            await refund(key)
            throw error
        }
        guard isRight, let user, let text = user.passwordHash, user.state == .enabled else {
            // The name that was tried may be a password in the wrong field: it is not written.
            logger.notice(
                "password refused",
                metadata: [
                    "event": "authn_login_fail", "user": "\(user?.id.text ?? "unknown")",
                ])
            return .refused
        }
        return .right(
            RightPassword(
                user: user, hash: StoredPasswordHash(user: user.id, text: text), counter: key,
                facts: facts))
    }

    /// What a try waits for that may not be made.
    private struct NoHash: VerifiableHash {
        var memoryKiB: Int { 0 }
        func matches(_ password: Span<UInt8>) throws(PasswordHasherError) -> Bool { false }
    }

    private func verify(
        _ password: consuming Password, of user: User?, ring: Keyring, _ priority: HashPriority,
        _ turn: HashingTurn
    ) async throws -> Bool {
        turn.ask()
        guard let user, let text = user.passwordHash else {
            _ = try await hasher.verify(
                password, against: floor.observed(decoy, turn), priority: priority)
            return false
        }
        let stored: StoredPassword
        do {
            stored = try StoredPassword(text)
            try ring.peppers.require(stored.layers)
        } catch {
            // Somebody wrote to the database. It is nobody's password until it is set again.
            logger.error(
                "stored password hash refused",
                metadata: ["user": "\(user.id.text)", "reason": "\(error)"])
            _ = try await hasher.verify(
                password, against: floor.observed(decoy, turn), priority: priority)
            try await store.note(
                AuditEvent(.passwordHashRefused, by: .server, user: user.id), at: clock().wall)
            return false
        }
        return try await hasher.verify(
            password,
            against: floor.observed(PepperedPassword(stored, peppers: ring.peppers), turn),
            priority: priority)
    }

    /// The counter that a try is charged to: the device's where it is known, else the name's.
    private func attemptKey(
        _ user: User?, _ username: Username, device: DeviceID?, ring: Keyring
    ) throws -> AttemptKey {
        guard let lookUp = ring.lookUpKey else { throw Unready.noLookUpKey }
        let name = try AttemptKey(username, key: lookUp)
        guard let user, let device else { return name }
        return try AttemptKey(device: device, of: user.id, key: lookUp)
    }

    /// Why passwords can't be tried or made now.
    package enum Unready: Error { case noKeyring, noLookUpKey }

    private func ring() async throws -> Keyring {
        guard let ring = await node.loadedKeyring else { throw Unready.noKeyring }
        return ring
    }

    // MARK: Counters

    /// Takes back a charge: no password was tried, or the try has to be made again. When that fails too,
    /// the charge stays, on the safe side.
    func refund(_ counter: AttemptKey) async {
        // Apart from the caller, whose client may have gone: the store does nothing for who is cancelled.
        await Task { [store, clock, logger] in
            do { try await store.refundAttempt(counter, at: clock().wall) } catch {
                logger.error("charge not taken back", metadata: ["failure": "\(error)"])
            }
        }.value
    }

    /// Counts what is not a password but may be done as often: an account that is made.
    package func slowsDown(_ address: AddressPrefix?) -> Int64? {
        addresses.charge(address, at: clock().boot)
    }

    /// The failures in a row on a user's name.
    package func attempts(on username: Username) async throws -> AttemptCount? {
        try await store.attempts(AttemptKey(username, key: try await lookUpKey()))
    }

    /// Forgets them, on the user's devices too, as the owner asks who has signed in.
    package func clearAttempts(on username: Username, user: UserID) async throws {
        try await store.clearAttempts(
            try await counters(of: username, user: user),
            audit: AuditEvent(.passwordAttemptsReset, by: .server, user: user), at: clock().wall)
    }

    /// Every counter of a user.
    func counters(of username: Username, user: UserID) async throws -> [AttemptKey] {
        try AttemptKey.all(
            of: username, user: user, devices: try await store.devices(of: user),
            key: try await lookUpKey())
    }

    /// Forgets what strangers did to a name before somebody was given it.
    package func begin(_ username: Username) async throws {
        try await store.clearAttempts(
            [AttemptKey(username, key: try await lookUpKey())], audit: nil, at: clock().wall)
    }

    // MARK: Setting

    /// What is stored of a new password.
    package func hash(_ password: consuming Password) async throws -> String {
        let peppers = try await ring().peppers
        return try peppers.sealing(try await hasher.hash(password)).text
    }

    package func lookUpKey() async throws -> LookUpKey {
        guard let key = try await ring().lookUpKey else { throw Unready.noLookUpKey }
        return key
    }

    /// Hashes a password that was right again, if its hash is weaker than a new one would be. Returns at
    /// once; a failure leaves the old hash, which the next sign-in tries again.
    package func improve(_ stored: StoredPasswordHash, _ password: [UInt8]) {
        let secret = SecretBytes(copying: password.span)
        Task {
            do {
                let pepper = try await ring().peppers.current
                let old = try StoredPassword(stored.text)
                let password = try secret.withSpan { try Password($0) }
                guard old.isBelow(hasher.parameters, pepper: pepper),
                    // Else what was typed past the end of what counts would become the password.
                    password.withSpan({ old.reads(all: $0) })
                else { return }
                let text = try await self.hash(password)
                _ = try await store.replacePasswordHashes(
                    [(stored, text)], audit: [], at: clock().wall)
            } catch {
                logger.notice("password not hashed again", metadata: ["failure": "\(error)"])
            }
        }
    }
}
