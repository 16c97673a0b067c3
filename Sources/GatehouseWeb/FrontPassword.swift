// A new password, by somebody who knows the old one.

import GatehouseCore
import HTTPTypes

extension FrontDoor {
    /// A URL for changing passwords (W3C, "A Well-Known URL for Changing Passwords").
    static let changePasswordPath = "/.well-known/change-password"

    static let wellKnownRoutes: [HTTPRequest.Method: Handler] = [
        .get: { door, _ in .redirect(to: door.path("/account/password")) }
    ]

    private func passwordPage(_ claims: Claims) -> Page {
        var page = Page(kind: .password)
        page.username = claims.username?.text ?? ""
        return page
    }

    func showPassword(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        guard let claims = try await session(request) else {
            return toSignIn(back: "/account/password")
        }
        try requireOwner(claims)
        return await page(passwordPage(claims), for: request)
    }

    /// Asks for the current password whenever it was last given: nothing is more sensitive than this.
    func changePassword(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let client = try await client(request)
        var form = try await form(request) { _ in
            client.map { passwordPage($0.claims) } ?? Page(kind: .message, title: "password.title")
        }
        defer { form.wipePassword() }
        guard let client, client.transport == .cookie else {
            return toSignIn(back: "/account/password")
        }
        try requireOwner(client.claims)
        let page = passwordPage(client.claims)
        guard let current = form.password, let new = form.newPassword else {
            throw FrontRefusal(400, "missing_field", "refusal.missing_passwords", page: page)
        }
        guard let signedIn = try await change(client, current, new, request, page: page) else {
            return toSignIn(back: "/account/password")
        }
        var response = FrontResponse.redirect(to: path("/account?notice=password"))
        response.headers += await signInCookies(signedIn, request)
        return response
    }

    /// Nil when the session has ended.
    private func change(
        _ client: SignedInClient, _ current: [UInt8], _ new: [UInt8], _ request: FrontRequest,
        page: Page? = nil
    ) async throws(FrontRefusal) -> Accounts.SignedIn? {
        let claims = client.claims
        let outcome = await accounts.changePassword(
            claims, current: await attempt(claims, current, request), new: new,
            client: Accounts.Client(transport: client.transport, origin: origin(request)))
        switch outcome {
        case .changed(let signedIn): return signedIn
        case .refused: throw .credentials(page: page)
        case .slowDown(let seconds): throw .slowDown(seconds, page: page)
        case .badPassword(let refusal):
            throw FrontRefusal(422, "password", Message(refusal), page: page)
        case .sessionEnded: return nil
        case .failed(let failure): throw .failed(failure, page: page)
        }
    }

    private struct Passwords: Decodable {
        let current_password: String
        let new_password: String
    }

    func apiChangePassword(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let body: Passwords = try await json(request)
        try await requireNobodyActs(request)
        guard let client = try await client(request),
            let signedIn = try await change(
                client, Array(body.current_password.utf8), Array(body.new_password.utf8), request)
        else { throw Self.noSession }
        return try sessionResponse(
            signedIn, client.transport,
            cookies: await cookies(signedIn, client.transport, request))
    }
}
