// The pages' routes: what each form takes, does and answers.

import GatehouseCore
import GatehousePeople
import HTTPTypes
import Hummingbird

extension FrontDoor {
    static let pageRoutes: [String: [HTTPRequest.Method: Handler]] = [
        "/login": [
            .get: { door, request throws(FrontRefusal) in try await door.showLogin(request) },
            .post: { door, request throws(FrontRefusal) in try await door.signIn(request) },
        ],
        "/register": [
            .get: { door, request throws(FrontRefusal) in try await door.showRegister(request) },
            .post: { door, request throws(FrontRefusal) in try await door.register(request) },
        ],
        "/logout": [
            .get: { door, request throws(FrontRefusal) in try await door.showSignOut(request) },
            .post: { door, request throws(FrontRefusal) in try await door.signOut(request) },
        ],
        "/account": [
            .get: { door, request throws(FrontRefusal) in try await door.showAccount(request) }
        ],
        "/recover": [
            .get: { door, request throws(FrontRefusal) in try await door.showRecover(request) },
            .post: { door, request throws(FrontRefusal) in try await door.recover(request) },
        ],
        "/style.css": [
            .get: { door, _ in
                FrontResponse(
                    status: 200, contentType: "text/css; charset=utf-8", body: door.pages.style)
            }
        ],
        "/logo": [.get: { door, _ throws(FrontRefusal) in try door.showLogo() }],
    ]

    private func showLogo() throws(FrontRefusal) -> FrontResponse {
        guard let logo = pages.logo else { throw Self.notFound }
        var response = FrontResponse(status: 200, contentType: logo.contentType)
        response.bytes = logo.bytes
        response.headers.append((.contentSecurityPolicy, PageLogo.policy))
        return response
    }

    // MARK: Sign in and out

    private func loginPage(_ form: Form? = nil) -> Page {
        var page = Page(kind: .login)
        form?.fill(&page)
        return page
    }

    private func showLogin(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let target = try request.returnTarget(allowed: settings.returnOrigins)
        var page = loginPage()
        page.returnTo = target?.location
        let notice = try request.query(["notice"]).value("notice")
        page.notice = notice.flatMap { Self.notices[String(decoding: $0, as: UTF8.self)] }
        // A link from elsewhere must not frighten whoever was never remembered here.
        if page.notice == "notice.stolen", request.cookies.values(settings.cookies.remember).isEmpty
        {
            page.notice = nil
        }
        return await self.page(page, for: request)
    }

    /// What the sign-in page says after something else was done.
    private static let notices: [String: Message] = [
        "registered": "notice.registered", "signed-out": "notice.signed_out",
        "recovered": "notice.recovered", "stolen": "notice.stolen",
        "agreements": "notice.agreements",
    ]

    private func signIn(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        var form = try await form(request) { loginPage($0) }
        defer { form.wipePassword() }
        let page = loginPage(form)
        guard let username = form.fields["username"], let password = form.password else {
            throw FrontRefusal(
                400, "missing_field", "refusal.missing_credentials", page: page)
        }
        let signedIn = try signedIn(
            await accounts.signIn(
                await attempt(username, password, request),
                client: await newClient(request, .cookie),
                remembers: form.isRemembered, accepting: form.accepted), page: page)
        // What they must know comes before what they came for.
        var response = FrontResponse.redirect(
            to: signedIn.untold == 0
                ? form.returnTarget?.location ?? path("/account")
                : path("/account/warnings") + returnQuery(form.returnTarget))
        response.headers += await signInCookies(signedIn, request)
        return response
    }

    /// Somebody who has signed in, or why not.
    func signedIn(
        _ outcome: Accounts.SignInOutcome, page: Page? = nil
    ) throws(FrontRefusal) -> Accounts.SignedIn {
        switch outcome {
        case .signedIn(let signedIn): return signedIn
        case .refused: throw .credentials(page: page)
        case .slowDown(let seconds): throw .slowDown(seconds, page: page)
        case .agreementRequired(let notices): throw .agreementRequired(notices, page: page)
        case .limitReached:
            throw FrontRefusal(409, "session_limit", "refusal.session_limit", page: page)
        case .sessionEnded: throw Self.noSession
        case .failed(let failure): throw .failed(failure, page: page)
        }
    }

    /// The query that leads back, or nothing.
    func returnQuery(_ target: ReturnTarget?) -> String {
        target.map { "?return_to=" + ReturnTarget.onlyFieldText(of: $0.location) } ?? ""
    }

    private func showSignOut(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        // The button stays without a good session too: it deletes what cookies there are.
        var page = Page(kind: .logout)
        page.username = try await session(request)?.username?.text ?? ""
        page.returnTo = try request.returnTarget(allowed: settings.returnOrigins)?.location
        return await self.page(page, for: request)
    }

    private func signOut(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let form = try await form(request) { form in
            var page = Page(kind: .logout)
            form?.fill(&page)
            return page
        }
        do throws(Accounts.Failure) {
            try await accounts.end(await presented(request))
        } catch { throw .failed(error) }
        var response = FrontResponse.redirect(
            to: form.returnTarget?.location ?? path("/login?notice=signed-out"))
        response.headers += signOutHeaders
        return response
    }

    // MARK: Register, recover, account

    private func registerPage(_ form: Form? = nil) -> Page {
        var page = Page(kind: .register)
        form?.fill(&page)
        page.link = form?.fields["invite"].map { String(decoding: $0, as: UTF8.self) }
        if let section = registrationSection(form) { page.sections.append(section) }
        return page
    }

    private func showRegister(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        guard accounts.registration != .closed else { throw Self.registrationClosed }
        let invite = try request.query(["invite"]).value("invite")
        if accounts.registration == .invite && invite == nil { throw Self.notInvited }
        var page = registerPage()
        page.link = invite.map { String(decoding: $0, as: UTF8.self) }
        page.returnTo = try request.returnTarget(allowed: settings.returnOrigins)?.location
        return await self.page(page, for: request)
    }

    static let registrationClosed = FrontRefusal(
        403, "registration_closed", "refusal.registration_closed")
    static let notInvited = FrontRefusal(403, "not_invited", "refusal.not_invited")

    private func register(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        var form = try await form(request, limit: profileBodyLimit) { registerPage($0) }
        defer { form.wipePassword() }
        let page = registerPage(form)
        guard let username = form.fields["username"], let password = form.password else {
            throw FrontRefusal(
                400, "missing_field", "refusal.missing_credentials", page: page)
        }
        guard accounts.registration != .closed else { throw Self.registrationClosed }
        let id = try newUserID()
        var enrolment = try await enrolment(accepting: form.accepted, page: page)
        enrolment.profile = try await newProfile(form, of: id, page: page)
        enrolment.referral = await referral(request)
        let outcome = await accounts.register(
            username: username, password: password, invitation: form.fields["invite"],
            address: request.address, id: id, enrolment: enrolment)
        if let refusal = Self.refusal(of: outcome, page: page) { throw refusal }
        let back = form.returnTarget.map { "&return_to=" + $0.queryText } ?? ""
        var response = FrontResponse.redirect(to: path("/login?notice=registered") + back)
        response.headers += referralDeletion(request)
        return response
    }

    /// Of somebody who registers: what is sealed for them is bound to it.
    func newUserID() throws(FrontRefusal) -> UserID {
        do { return try UserID.random(from: people.entropy) } catch { throw .unavailable }
    }

    /// What a registration that did not happen means; nil when it did.
    static func refusal(
        of outcome: Accounts.RegistrationOutcome, page: Page? = nil
    ) -> FrontRefusal? {
        switch outcome {
        case .registered: nil
        case .slowDown(let seconds): .slowDown(seconds, page: page)
        case .nameTaken:
            FrontRefusal(409, "username_taken", "refusal.username_taken", page: page)
        case .skeletonsOutdated:
            FrontRefusal(
                503, "usernames_outdated", "refusal.usernames_outdated", page: page)
        case .notInvited: notInvited
        case .closed: registrationClosed
        case .badUsername(let refusal):
            FrontRefusal(422, "username", Message(refusal), page: page)
        case .badPassword(let refusal):
            FrontRefusal(422, "password", Message(refusal), page: page)
        case .failed(let failure): .failed(failure, page: page)
        }
    }

    private func showAccount(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        guard let claims = try await session(request) else { return toSignIn(back: "/account") }
        var page = try await accountPage(claims, request)
        let notice = try request.query(["notice"]).value("notice")
        page.notice = notice.flatMap { Self.accountNotices[String(decoding: $0, as: UTF8.self)] }
        return await self.page(page, for: request)
    }

    private func recoverPage(_ link: [UInt8]) -> Page {
        var page = Page(kind: .recover)
        page.link = String(decoding: link, as: UTF8.self)
        return page
    }

    private static let noLink = FrontRefusal(
        403, "link", "refusal.link")

    private func showRecover(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        guard let link = try request.query(["token"]).value("token") else { throw Self.noLink }
        let isRecovery: Bool
        do { isRecovery = try await accounts.isRecovery(link) } catch { throw .unavailable }
        guard isRecovery else { throw Self.noLink }
        return await page(recoverPage(link), for: request)
    }

    private func recover(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        var form = try await form(request) { form in
            form?.fields["token"].map { recoverPage($0) }
                ?? Page(kind: .message, title: "recover.title")
        }
        defer { form.wipePassword() }
        try await requireNobodyActs(request)
        guard let link = form.fields["token"], let password = form.password else {
            throw FrontRefusal(400, "missing_field", "refusal.missing_new_password")
        }
        switch await accounts.recover(link, password: password) {
        case .recovered: return .redirect(to: path("/login?notice=recovered"))
        case .noLink: throw Self.noLink
        case .badPassword(let refusal):
            throw FrontRefusal(422, "password", Message(refusal), page: recoverPage(link))
        case .failed(let failure): throw .failed(failure, page: recoverPage(link))
        }
    }

    // MARK: Forms

    struct Form {
        let fields: [String: [UInt8]]
        let returnTarget: ReturnTarget?
        /// Overwritten by ``wipePassword()`` when it has been used.
        var password: [UInt8]?
        var newPassword: [UInt8]?
        let isRemembered: Bool

        /// Shows again what was typed, but for the password.
        func fill(_ page: inout Page) {
            page.username = fields["username"].map { String(decoding: $0, as: UTF8.self) } ?? ""
            page.returnTo = returnTarget?.location
            page.isRemembered = isRemembered
            page.accepted = accepted
        }

        mutating func wipePassword() {
            unsafe password?.withUnsafeMutableBytes { unsafe wipe($0) }
            unsafe newPassword?.withUnsafeMutableBytes { unsafe wipe($0) }
        }
    }

    /// Reads a form, cheapest test first: media type, origin, size, form, token.
    ///
    /// - Parameters:
    ///   - more: names of fields that this form has besides.
    ///   - limit: the largest body, in bytes.
    func form(
        _ request: FrontRequest, taking more: [String] = [], limit: Int = FormBody.maximumBytes,
        otherwise page: (Form?) -> Page
    ) async throws(FrontRefusal) -> Form {
        try requireMediaType(request, .form)
        try requireSameSite(request, body: .form)
        var bytes = try await request.body(limit: limit)
        let body: FormBody
        do throws(FormRefusal) { body = try FormBody(wiping: &bytes, maximumBytes: limit) } catch {
            throw FrontRefusal(error.status, "form", Message(error), page: page(nil))
        }
        var fields: [String: [UInt8]] = [:]
        let own = [
            "username", "invite", "token", Self.sessionField, Self.lastField, Self.newKeyField,
            Self.newValueField,
        ]
        var names = own + more
        for prefix in [
            Self.preferencePrefix, Self.acceptPrefix, Self.choicePrefix, Self.profilePrefix,
        ] {
            names += body.names(withPrefix: prefix)
        }
        for name in names {
            fields[name] = body.value(name)
        }
        let target = body.value("return_to").flatMap { raw in
            try? ReturnTarget(raw.span, allowed: settings.returnOrigins)
        }
        let remember = body.value("remember")
        var form = Form(
            fields: fields, returnTarget: target, isRemembered: remember == Array("on".utf8))
        let outcome = await formTokens.judge(
            field: body.value("form"), binding: await formBinding(request),
            hasCookie: settings.cookies.all.contains { !request.cookies.values($0).isEmpty },
            at: clock())
        switch outcome {
        case .good: break
        case .noCookie:
            throw FrontRefusal(403, "no_cookie", "refusal.no_cookie", page: page(form))
        case .stale:
            throw FrontRefusal(403, "stale_form", "refusal.stale_form", page: page(form))
        }
        form.password = body.value("password")
        if form.password == nil { form.password = body.value("current_password") }
        form.newPassword = body.value("new_password")
        return form
    }
}
