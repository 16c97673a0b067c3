// Failed sign-ins as their owner sees them: how many, until when, and the way to forget them.

import GatehouseCore
import HTTPTypes

extension FrontDoor {
    static let attemptRoutes: [String: [HTTPRequest.Method: Handler]] = [
        "/v1/account/attempts": [
            .get: { door, request throws(FrontRefusal) in try await door.apiAttempts(request) },
            .delete: { door, request throws(FrontRefusal) in
                try await door.apiClearAttempts(request)
            },
        ],
        "/account/attempts": [
            .post: { door, request throws(FrontRefusal) in try await door.clearAttempts(request) }
        ],
    ]

    /// What one browser or program tries, with what it is known by.
    func attempt(
        _ username: [UInt8], _ password: [UInt8], _ request: FrontRequest
    ) async -> PasswordGate.Try {
        PasswordGate.Try(
            username: username, password: password, address: request.address,
            browser: await devices.claims(in: deviceCookies(request)))
    }

    /// The same for the user of a session.
    func attempt(
        _ claims: Claims, _ password: [UInt8], _ request: FrontRequest
    ) async -> PasswordGate.Try {
        var username: [UInt8] = []
        claims.withUsername { name in username = name.indices.map { name[$0] } }
        return await attempt(username, password, request)
    }

    private struct Attempts: Encodable {
        /// In a row.
        let failures: Int
        /// When the next try is allowed; absent when it is now, or never.
        let next: Int64?
        /// Whether there is no next try before they are forgotten.
        let exhausted: Bool
    }

    /// The failures on the username of the session's user; nil when there are none.
    func attempts(_ claims: Claims) async throws(FrontRefusal) -> AttemptCount? {
        guard let username = claims.username else { return nil }
        do {
            let count = try await accounts.gate.attempts(on: username)
            return count.flatMap { $0.failures > 0 ? $0 : nil }
        } catch { throw .unavailable }
    }

    private func clear(_ claims: Claims) async throws(FrontRefusal) {
        try requireOwner(claims)
        // Else whoever took a session could guess for as long as it lasts.
        guard isFresh(claims) else { throw Self.stale }
        guard let username = claims.username else { throw .unavailable }
        do { try await accounts.gate.clearAttempts(on: username, user: claims.user) } catch {
            throw .unavailable
        }
    }

    private func apiAttempts(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        guard let claims = try await session(request) else { throw Self.noSession }
        let count = try await attempts(claims)
        let failures = count?.failures ?? 0
        let isExhausted = failures >= AttemptRule.maximumFailures
        let next = count?.next.seconds ?? 0
        return try .json(
            200,
            Attempts(
                failures: failures,
                next: isExhausted || next <= clock().wall.seconds ? nil : next,
                exhausted: isExhausted))
    }

    private func apiClearAttempts(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        try requireSameSite(request, body: .json)
        guard let claims = try await session(request) else { throw Self.noSession }
        try await clear(claims)
        return FrontResponse(status: 204)
    }

    private func clearAttempts(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        guard let (_, claims) = try await accountForm(request) else {
            return toSignIn(back: "/account")
        }
        try requireOwner(claims)
        guard isFresh(claims) else { return toConfirm }
        try await clear(claims)
        return .redirect(to: path("/account?notice=unlocked"))
    }
}
