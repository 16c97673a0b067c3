// Step-up: the password once more, for what an old or a remembered session may not do.

import GatehouseCore
import GatehousePeople
import HTTPTypes

extension FrontDoor {
    /// How long after the password was given sensitive things may be done, in seconds (DESIGN section 5).
    static let freshSeconds: Int64 = 300

    func isFresh(_ claims: Claims) -> Bool {
        SessionRequirement(freshSeconds: Self.freshSeconds, level: .password)
            .denial(of: claims, at: clock().wall) == nil
    }

    static let stale = FrontRefusal(403, "stale", "refusal.stale")

    /// Where a browser gives the password, to come back to the account.
    var toConfirm: FrontResponse {
        .redirect(to: path("/confirm?return_to=\(path("/account?notice=confirmed"))"))
    }

    private func confirmPage(
        _ claims: Claims, _ target: ReturnTarget?, accepting accepted: [NoticeID] = []
    ) -> Page {
        var page = Page(kind: .confirm)
        page.username = claims.username?.text ?? ""
        page.returnTo = target?.location
        page.accepted = accepted
        return page
    }

    func showConfirm(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let target = try request.returnTarget(allowed: settings.returnOrigins)
        guard let claims = try await session(request) else {
            return .redirect(to: path("/resume") + returnQuery(target))
        }
        try requireOwner(claims)
        return await page(confirmPage(claims, target), for: request)
    }

    func confirm(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let client = try await client(request)
        var form = try await form(request) { form in
            client.map { confirmPage($0.claims, form?.returnTarget) }
                ?? Page(kind: .message, title: "confirm.title")
        }
        defer { form.wipePassword() }
        guard let claims = client?.claims, client?.transport == .cookie else {
            return .redirect(to: path("/resume") + returnQuery(form.returnTarget))
        }
        try requireOwner(claims)
        let page = confirmPage(claims, form.returnTarget, accepting: form.accepted)
        guard let password = form.password else {
            throw FrontRefusal(400, "missing_field", "refusal.missing_password", page: page)
        }
        let outcome = await confirm(
            claims, password, .cookie, request, accepting: form.accepted)
        if case .sessionEnded = outcome {
            return .redirect(to: path("/resume") + returnQuery(form.returnTarget))
        }
        let signedIn = try signedIn(outcome, page: page)
        var response = FrontResponse.redirect(
            to: form.returnTarget?.location ?? path("/account"))
        response.headers += confirmedCookies(signedIn)
        return response
    }

    private func confirm(
        _ claims: Claims, _ password: [UInt8], _ transport: TokenTransport, _ request: FrontRequest,
        accepting accepted: [NoticeID]
    ) async -> Accounts.SignInOutcome {
        await accounts.confirm(
            claims, await attempt(claims, password, request),
            client: Accounts.Client(transport: transport, origin: origin(request)),
            accepting: accepted)
    }

    /// The new session's cookie; the browser is remembered as before.
    private func confirmedCookies(
        _ signedIn: Accounts.SignedIn
    ) -> [(HTTPField.Name, String)] {
        [(.setCookie, settings.cookies.setting(settings.cookies.session, to: signedIn.token))]
    }

    private struct Confirmation: Decodable {
        let password: String
        let accept: [Acceptance]?
    }

    func apiConfirm(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let body: Confirmation = try await json(request)
        guard let client = try await client(request) else { throw Self.noSession }
        try requireOwner(client.claims)
        let signedIn = try signedIn(
            await confirm(
                client.claims, Array(body.password.utf8), client.transport, request,
                accepting: body.accept?.compactMap(\.notice) ?? []))
        return try sessionResponse(
            signedIn, client.transport,
            cookies: client.transport == .cookie ? confirmedCookies(signedIn) : [])
    }
}
