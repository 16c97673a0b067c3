// Devices: who is known in a browser by its device cookie, and what they keep there. No HTTP here.

package import GatehouseCore
import Logging

/// The rules of the device cookie, over store and sealer.
///
/// The cookie signs nobody in. A cookie that is repeated, does not open, is too old or too new is
/// none at all; the next sign-in replaces it.
package struct Devices: Sendable {
    /// A value for the cookie; deleted when there is none.
    struct Cookie: Sendable {
        let value: String
        /// Whether it outlives the browser's session.
        let isPersistent: Bool
    }

    private let store: any Store
    private let sealer: Sealer
    private let node: Node
    private let entropy: Entropy
    private let clock: @Sendable () -> Instant
    private let logger = Logger(label: "gatehouse.devices")

    package init(
        store: any Store, sealer: Sealer, node: Node, entropy: Entropy,
        clock: @escaping @Sendable () -> Instant
    ) {
        self.store = store
        self.sealer = sealer
        self.node = node
        self.entropy = entropy
        self.clock = clock
    }

    // MARK: Who is known

    /// Whom a request's device cookies name, without asking the store: a device among them may have
    /// ended. Good for who goes first, and for nothing that lets anyone in.
    package func users(in cookies: [[UInt8]]) async -> [UserID] {
        await claims(in: cookies)?.people.map(\.user) ?? []
    }

    /// What a request's device cookies say, without asking the store; nil for none that is good.
    package func claims(in cookies: [[UInt8]]) async -> DeviceClaims? {
        await claims(of: cookies, at: clock().wall)
    }

    /// What a request's cookies say; nil unless there is exactly one that opens and is in time.
    private func claims(of cookies: [[UInt8]], at now: UnixTime) async -> DeviceClaims? {
        guard cookies.count == 1,
            let content = await sealer.open(cookies[0], purpose: .device, transport: .cookie),
            let claims = DeviceClaims(content.span), claims.isGood(at: now)
        else { return nil }
        return claims
    }

    // MARK: Use

    /// What a session that begins with a password leaves of the browser, and the cookie that goes with it;
    /// nil when there is none to set. A sign-in does not fail for want of it.
    ///
    /// - Parameter device: the user's in this browser, if it has not ended.
    func use(
        with session: SessionRecord, device: Device?, before earlier: DeviceClaims?,
        series: SeriesID?, at now: Instant
    ) async -> (cookie: Cookie, use: DeviceUse)? {
        do {
            return try await use(
                device, user: session.user, epoch: session.epoch, before: earlier, saving: nil,
                isRemembered: series != nil, isProved: true, series: series, at: now)
        } catch {
            logger.warning("no device cookie was set", metadata: ["failure": "\(error)"])
            return nil
        }
    }

    /// The cookie for somebody who has just signed in; nil when there is none to set. A sign-in that
    /// has succeeded does not fail for want of it.
    func signedIn(
        _ session: SessionRecord, cookies: [[UInt8]], series: SeriesID?
    ) async -> Cookie? {
        // A remembered session proves nothing.
        do {
            return try await use(
                user: session.user, epoch: session.epoch, cookies: cookies, saving: nil,
                isRemembered: series != nil, isProved: !session.isRemembered, series: series)
        } catch {
            logger.warning("no device cookie was set", metadata: ["failure": "\(error)"])
            return nil
        }
    }

    /// The cookie of a browser that is no longer remembered; nil when there is no device.
    func notRemembered(_ claims: Claims, cookies: [[UInt8]]) async -> Cookie? {
        do {
            let now = clock().wall
            let known = await self.claims(of: cookies, at: now)
            guard try await device(known, of: claims.user, at: now) != nil else { return nil }
            return try await use(
                user: claims.user, epoch: claims.epoch, cookies: cookies, saving: nil,
                isRemembered: false)
        } catch {
            logger.warning("device cookie not changed", metadata: ["failure": "\(error)"])
            return nil
        }
    }

    /// The user's device in this browser; nil when there is none.
    func device(
        _ cookies: [[UInt8]], of user: UserID
    ) async throws(Accounts.Failure) -> Device? {
        let now = clock().wall
        do { return try await device(await claims(of: cookies, at: now), of: user, at: now) } catch
        {
            throw failed(error)
        }
    }

    private func device(
        _ claims: DeviceClaims?, of user: UserID, at now: UnixTime
    ) async throws(StoreError) -> Device? {
        guard let id = claims?.person(user)?.device else { return nil }
        return try await store.device(id, of: user, at: now)
    }

    /// Keeps the preferences on the session's device, which is made if there is none; gives the new
    /// cookie, nil when the session's user is not to have one any more.
    func save(
        _ preferences: Preferences, of claims: Claims, cookies: [[UInt8]]
    ) async throws(Accounts.Failure) -> Cookie? {
        do {
            return try await use(
                user: claims.user, epoch: claims.epoch, cookies: cookies, saving: preferences,
                isRemembered: nil)
        } catch { throw failed(error) }
    }

    /// Notes the use of the user's device that the cookies name, or of a new one, and seals the
    /// cookie anew with the others that it named. What is nil stays as it was.
    private func use(
        user: UserID, epoch: UInt32, cookies: [[UInt8]], saving preferences: Preferences?,
        isRemembered: Bool?, isProved: Bool = false, series: SeriesID? = nil
    ) async throws -> Cookie? {
        for _ in 0..<Accounts.maximumTries {
            let now = clock()
            let earlier = await claims(of: cookies, at: now.wall)
            let (cookie, use) = try await use(
                try await device(earlier, of: user, at: now.wall), user: user, epoch: epoch,
                before: earlier, saving: preferences, isRemembered: isRemembered,
                isProved: isProved, series: series, at: now)
            switch try await store.useDevice(use, at: now.wall) {
            case .done: return cookie
            case .userChanged: return nil
            case .gone: break
            case .outdated: try await node.reload(at: now.wall)
            }
        }
        throw Accounts.Failure.unavailable
    }

    private func use(
        _ device: Device?, user: UserID, epoch: UInt32, before earlier: DeviceClaims?,
        saving preferences: Preferences?, isRemembered: Bool?, isProved: Bool, series: SeriesID?,
        at now: Instant
    ) async throws -> (cookie: Cookie, use: DeviceUse) {
        var flags = device == nil ? [] : earlier?.person(user)?.flags ?? []
        if let isRemembered { flags.set(.remembered, isRemembered) }
        flags.set(.preferences, (preferences ?? device?.preferences)?.isEmpty == false)
        let id = try device?.id ?? DeviceID(Identifier.random(from: entropy))
        let claims = DeviceClaims(
            DeviceClaims.Person(user: user, device: id, flags: flags), before: earlier,
            at: now.wall)
        let (cookie, seal) = try await sealed(claims, at: now)
        return (
            cookie,
            DeviceUse(
                id: id, isNew: device == nil, user: user, epoch: epoch, preferences: preferences,
                seal: seal, isProved: isProved, series: series)
        )
    }

    private func sealed(
        _ claims: DeviceClaims, at now: Instant
    ) async throws -> (Cookie, DeviceSeal) {
        let sealed = try await sealer.seal(
            claims.encoded(), purpose: .device, transport: .cookie, at: now)
        return (
            Cookie(value: sealed.text, isPersistent: claims.isPersistent),
            DeviceSeal(
                key: sealed.key, keyringVersion: sealed.keyringVersion, deadline: claims.deadline)
        )
    }

    // MARK: Forget

    /// Ends the user's device in this browser, with its preferences. Gives the cookie that is left for
    /// others who use the browser; nil when it is to be deleted.
    func forget(
        _ cookies: [[UInt8]], user: UserID
    ) async throws(Accounts.Failure) -> Cookie? {
        do {
            for _ in 0..<Accounts.maximumTries {
                let now = clock()
                guard let claims = await claims(of: cookies, at: now.wall) else { return nil }
                guard let device = claims.person(user)?.device else {
                    return Cookie(
                        value: String(decoding: cookies[0], as: UTF8.self),
                        isPersistent: claims.isPersistent)
                }
                var rest: (cookie: Cookie, seal: DeviceSeal)?
                if let others = claims.removing(user) { rest = try await sealed(others, at: now) }
                let outcome = try await store.endDevice(
                    device, of: user, seal: rest?.seal,
                    audit: AuditEvent(.deviceForgotten, by: .server, user: user), at: now.wall)
                switch outcome {
                case .done, .gone, .userChanged:
                    logger.info("browser forgotten", metadata: ["user": "\(user.text)"])
                    return rest?.cookie
                case .outdated: try await node.reload(at: now.wall)
                }
            }
            throw Accounts.Failure.unavailable
        } catch { throw failed(error) }
    }

    /// What went wrong, for the log; the caller is told that it may try again.
    private func failed(_ error: any Error) -> Accounts.Failure {
        logger.error("device request failed", metadata: ["failure": "\(error)"])
        return .unavailable
    }
}
