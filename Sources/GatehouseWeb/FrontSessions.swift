// Sign-ins as their owner sees and ends them, the account itself, and warnings.

import GatehouseCore
import GatehousePeople
import HTTPTypes

extension FrontDoor {
    static let sessionRoutes: [String: [HTTPRequest.Method: Handler]] = [
        "/resume": [
            .get: { door, request throws(FrontRefusal) in try await door.resume(request) }
        ],
        "/confirm": [
            .get: { door, request throws(FrontRefusal) in try await door.showConfirm(request) },
            .post: { door, request throws(FrontRefusal) in try await door.confirm(request) },
        ],
        "/account/password": [
            .get: { door, request throws(FrontRefusal) in try await door.showPassword(request) },
            .post: { door, request throws(FrontRefusal) in
                try await door.changePassword(request)
            },
        ],
        "/account/sessions/end": [
            .post: { door, request throws(FrontRefusal) in try await door.endSession(request) }
        ],
        "/account/sessions/end-others": [
            .post: { door, request throws(FrontRefusal) in
                try await door.endOtherSessions(request)
            }
        ],
        "/account/remember/forget": [
            .post: { door, request throws(FrontRefusal) in try await door.forgetMe(request) }
        ],
        "/account/warnings": [
            .get: { door, request throws(FrontRefusal) in try await door.showWarnings(request) },
            .post: { door, request throws(FrontRefusal) in
                try await door.dismissWarnings(request)
            },
        ],
        "/v1/resume": [
            .post: { door, request throws(FrontRefusal) in try await door.apiResume(request) }
        ],
        "/v1/confirm": [
            .post: { door, request throws(FrontRefusal) in try await door.apiConfirm(request) }
        ],
        "/v1/account": [
            .get: { door, request throws(FrontRefusal) in try await door.apiAccount(request) },
            .patch: { door, request throws(FrontRefusal) in
                try await door.apiChangeProfile(request)
            },
            .delete: { door, request throws(FrontRefusal) in try await door.apiLeave(request) },
        ],
        "/v1/account/password": [
            .post: { door, request throws(FrontRefusal) in
                try await door.apiChangePassword(request)
            }
        ],
        "/v1/account/sessions": [
            .get: { door, request throws(FrontRefusal) in try await door.apiSessions(request) },
            .delete: { door, request throws(FrontRefusal) in
                try await door.apiEndOtherSessions(request)
            },
        ],
        "/v1/account/sessions/{session}": [
            .delete: { door, request throws(FrontRefusal) in
                try await door.apiEndSession(request)
            }
        ],
        "/v1/account/remember": [
            .delete: { door, request throws(FrontRefusal) in try await door.apiForgetMe(request) }
        ],
        "/v1/account/warnings": [
            .get: { door, request throws(FrontRefusal) in try await door.apiWarnings(request) },
            .delete: { door, request throws(FrontRefusal) in
                try await door.apiDismissWarnings(request)
            },
        ],
    ]

    /// The form's field that names a session.
    static let sessionField = "session"
    /// The form's field that says up to where warnings were shown.
    static let lastField = "last"
    static let lastLookField = "last_look"

    /// Does something that may fail for want of the store.
    private func trying<Value>(
        _ work: () async throws(Accounts.Failure) -> Value
    ) async throws(FrontRefusal) -> Value {
        do throws(Accounts.Failure) { return try await work() } catch { throw .failed(error) }
    }

    // MARK: Sign-ins

    private func signInList(_ claims: Claims) async throws(FrontRefusal) -> [SignIn] {
        try await trying { () async throws(Accounts.Failure) in
            try await accounts.signIns(of: claims.user)
        }
    }

    func signIns(_ claims: Claims) async throws(FrontRefusal) -> [SignInRow] {
        let actors = try await actors(claims)
        return try await signInList(claims).map { signIn in
            SignInRow(
                session: signIn.session.text, isCurrent: signIn.session == claims.session,
                isRemembered: signIn.isRemembered, browser: signIn.origin.browser ?? "",
                place: signIn.origin.place ?? "", created: signIn.created,
                lastUsed: signIn.lastUsed, actor: actors[signIn.session]?.text ?? "")
        }
    }

    private func actors(
        _ claims: Claims
    ) async throws(FrontRefusal) -> [SessionID: OperatorName] {
        try await trying { () async throws(Accounts.Failure) in
            do { return try await people.store.actors(of: claims.user) } catch {
                throw accounts.failed(error)
            }
        }
    }

    private func end(_ session: SessionID, of claims: Claims) async throws(FrontRefusal) -> Bool {
        try await trying { () async throws(Accounts.Failure) in
            try await accounts.endSignIn(session, of: claims.user)
        }
    }

    private func endOthers(_ claims: Claims) async throws(FrontRefusal) -> Bool {
        try await trying { () async throws(Accounts.Failure) in
            try await accounts.endOtherSignIns(than: claims)
        }
    }

    func endSession(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        guard let (form, claims) = try await accountForm(request) else {
            return toSignIn(back: "/account")
        }
        guard let text = form.fields[Self.sessionField],
            let id = Identifier(hex: String(decoding: text, as: UTF8.self))
        else { throw FrontRefusal(400, "missing_field", "refusal.no_sign_in") }
        // Ending one's own is signing out, which needs no proof.
        if SessionID(id) == claims.session {
            _ = try await end(claims.session, of: claims)
            var response = FrontResponse.redirect(to: path("/login?notice=signed-out"))
            response.headers += signOutHeaders
            return response
        }
        try requireOwner(claims)
        guard isFresh(claims) else { return toConfirm }
        // One that has gone in the meantime has ended too.
        _ = try await end(SessionID(id), of: claims)
        return .redirect(to: path("/account?notice=ended"))
    }

    func endOtherSessions(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        guard let (_, claims) = try await accountForm(request) else {
            return toSignIn(back: "/account")
        }
        try requireOwner(claims)
        guard isFresh(claims) else { return toConfirm }
        guard try await endOthers(claims) else { return toSignIn(back: "/account") }
        return .redirect(to: path("/account?notice=ended-others"))
    }

    private struct SessionsBody: Encodable {
        struct Row: Encodable {
            let session: String
            let current: Bool
            let remembered: Bool
            let browser: String?
            let place: String?
            let created: Int64
            let last_used: Int64
            /// The operator who acts for the user in it; absent when nobody does.
            let actor: String?
        }
        let sessions: [Row]
    }

    func requireSession(_ request: FrontRequest) async throws(FrontRefusal) -> Claims {
        guard let claims = try await session(request) else { throw Self.noSession }
        return claims
    }

    func apiSessions(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let claims = try await requireSession(request)
        let actors = try await actors(claims)
        return try .json(
            200,
            SessionsBody(
                sessions: try await signInList(claims).map { signIn in
                    SessionsBody.Row(
                        session: signIn.session.text, current: signIn.session == claims.session,
                        remembered: signIn.isRemembered, browser: signIn.origin.browser,
                        place: signIn.origin.place, created: signIn.created.seconds,
                        last_used: signIn.lastUsed.seconds, actor: actors[signIn.session]?.text)
                }))
    }

    func apiEndSession(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        try requireSameSite(request, body: .json)
        let claims = try await requireSession(request)
        guard let text = request.path.split(separator: "/").last,
            let id = Identifier(hex: String(text))
        else { throw FrontRefusal(404, "not_found", "refusal.no_sign_in") }
        let isOwn = SessionID(id) == claims.session
        if !isOwn { try requireOwner(claims) }
        guard isOwn || isFresh(claims) else { throw Self.stale }
        guard try await end(SessionID(id), of: claims) else {
            throw FrontRefusal(404, "not_found", "refusal.no_sign_in")
        }
        var response = FrontResponse(status: 204)
        if isOwn { response.headers += signOutHeaders }
        return response
    }

    func apiEndOtherSessions(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        try requireSameSite(request, body: .json)
        let claims = try await requireSession(request)
        try requireOwner(claims)
        guard isFresh(claims) else { throw Self.stale }
        guard try await endOthers(claims) else { throw Self.noSession }
        return FrontResponse(status: 204)
    }

    // MARK: No longer remembered

    private func forget(
        _ claims: Claims, _ request: FrontRequest
    ) async throws(FrontRefusal) -> [(HTTPField.Name, String)] {
        try requireOwner(claims)
        let series = await presentedSeries(request)
        try await trying { () async throws(Accounts.Failure) in
            try await accounts.forgetSeries(series, of: claims)
        }
        guard claims.level != .remembered else { return signOutHeaders }
        return [(.setCookie, settings.cookies.deleting(settings.cookies.remember))]
            + (await deviceCookie(forgetting: claims, request))
    }

    func forgetMe(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        guard let (_, claims) = try await accountForm(request) else {
            return toSignIn(back: "/account")
        }
        var response = FrontResponse.redirect(
            to: path(
                claims.level == .remembered
                    ? "/login?notice=signed-out" : "/account?notice=not-remembered"))
        response.headers += try await forget(claims, request)
        return response
    }

    func apiForgetMe(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        try requireSameSite(request, body: .json)
        let claims = try await requireSession(request)
        var response = FrontResponse(status: 204)
        response.headers = try await forget(claims, request)
        return response
    }

    // MARK: The account

    private struct AccountBody: Encodable {
        let user: UserBody
        let created: Int64
        var profile: [String: ProfileValue]?
        var profile_revision: Int64?
    }

    func user(_ claims: Claims) async throws(FrontRefusal) -> User? {
        try await trying { () async throws(Accounts.Failure) in
            try await accounts.user(claims.user)
        }
    }

    func apiAccount(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        try await account(try await requireSession(request))
    }

    /// What the account says of its owner.
    func account(_ claims: Claims) async throws(FrontRefusal) -> FrontResponse {
        guard let user = try await user(claims) else { throw Self.noSession }
        var body = AccountBody(
            user: UserBody(id: user.id.text, username: user.username.text),
            created: user.created.seconds)
        if let profile = try await profileBody(claims) {
            (body.profile, body.profile_revision) = (profile.values, profile.revision)
        }
        return try .json(200, body)
    }

    // MARK: Warnings

    private func warnings(_ claims: Claims) async throws(FrontRefusal) -> [SignInWarning] {
        try await trying { () async throws(Accounts.Failure) in
            try await accounts.warnings(of: claims.user)
        }
    }

    func showWarnings(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let target = try request.returnTarget(allowed: settings.returnOrigins)
        guard let claims = try await session(request) else {
            return toSignIn(back: "/account/warnings")
        }
        let warnings = try await warnings(claims)
        let looks = try await untoldLooks(claims.user)
        let isKept = try await keepsLooks(claims.user)
        guard !warnings.isEmpty || !looks.isEmpty else {
            return .redirect(to: target?.location ?? path("/account"))
        }
        let title: Message =
            looks.isEmpty
            ? "warnings.title" : warnings.isEmpty ? "support.warning_title" : "warnings.several"
        var page = Page(kind: .warnings, title: title)
        if !looks.isEmpty {
            page.sections.append(
                UntoldLooksSection(looks: looks, isKept: isKept))
        }
        page.username = claims.username?.text ?? ""
        page.returnTo = target?.location
        page.lastWarning = warnings.first?.id ?? 0
        page.warnings = warnings.map {
            WarningRow(time: $0.time, browser: $0.browser ?? "", place: $0.place ?? "")
        }
        return await self.page(page, for: request)
    }

    func dismissWarnings(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let form = try await form(request, taking: [Self.lastLookField]) { _ in
            Page(kind: .message, title: "account.title")
        }
        guard let claims = try await session(request) else {
            return toSignIn(back: "/account/warnings")
        }
        try requireOwner(claims)
        // Else a thief could put away what tells of him.
        guard isFresh(claims) else {
            return .redirect(to: path("/confirm?return_to=\(path("/account/warnings"))"))
        }
        func last(_ field: String) -> Int64? {
            form.fields[field].flatMap { Int64(String(decoding: $0, as: UTF8.self)) }
        }
        let (lastWarning, lastLook) = (last(Self.lastField), last(Self.lastLookField))
        guard lastWarning != nil || lastLook != nil else {
            throw FrontRefusal(400, "missing_field", "refusal.no_warning")
        }
        if let lastWarning {
            try await trying { () async throws(Accounts.Failure) in
                try await accounts.dismissWarnings(of: claims.user, upTo: lastWarning)
            }
        }
        if let lastLook { try await putAwayLooks(of: claims.user, upTo: lastLook) }
        return .redirect(to: form.returnTarget?.location ?? path("/account"))
    }

    private struct WarningsBody: Encodable {
        struct Row: Encodable {
            let time: Int64
            let browser: String?
            let place: String?
        }
        let warnings: [Row]
        /// Without permission, and not told yet; absent for none.
        let looks: [LookAnswer]?
    }

    func apiWarnings(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let claims = try await requireSession(request)
        let looks = try await untoldLooks(claims.user)
        return try .json(
            200,
            WarningsBody(
                warnings: try await warnings(claims).map {
                    WarningsBody.Row(time: $0.time.seconds, browser: $0.browser, place: $0.place)
                },
                looks: looks.isEmpty ? nil : looks.map { LookAnswer($0, isActed: claims.isActed) }))
    }

    func apiDismissWarnings(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        try requireSameSite(request, body: .json)
        let claims = try await requireSession(request)
        try requireOwner(claims)
        guard isFresh(claims) else { throw Self.stale }
        let last = try await warnings(claims).first?.id ?? 0
        try await trying { () async throws(Accounts.Failure) in
            try await accounts.dismissWarnings(of: claims.user, upTo: last)
        }
        if let look = try await untoldLooks(claims.user).first {
            try await putAwayLooks(of: claims.user, upTo: look.id)
        }
        return FrontResponse(status: 204)
    }
}
