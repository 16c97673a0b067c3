// Arriving by the code of an affiliate or a promotion, and the page that tells all cookies apart.

import GatehouseCore
import GatehousePeople
import HTTPTypes

extension FrontDoor {
    static let referralRoutes: [String: [HTTPRequest.Method: Handler]] = [
        referralRoute: [
            .get: { door, request throws(FrontRefusal) in try await door.showReferral(request) },
            .post: { door, request throws(FrontRefusal) in
                try await door.acceptReferral(request)
            },
        ],
        "/cookies": [
            .get: { door, request throws(FrontRefusal) in try await door.showCookies(request) }
        ],
        "/cookies/referral/forget": [
            .post: { door, request throws(FrontRefusal) in
                try await door.forgetReferral(request)
            }
        ],
        "/account/referral/forget": [
            .post: { door, request throws(FrontRefusal) in
                try await door.removeReferralTie(request)
            }
        ],
        "/v1/account/referral": [
            .get: { door, request throws(FrontRefusal) in
                try await door.apiReferralTie(request)
            },
            .delete: { door, request throws(FrontRefusal) in
                try await door.apiRemoveReferralTie(request)
            },
        ],
    ]

    /// The route of all codes, as the table of routes has it.
    static let referralRoute = "/r/{code}"
    /// Before the code, which is the rest of the path.
    static let referralPrefix = "/r/"
    /// Where to go afterwards, in the query.
    static let toField = "to"
    /// In the query of who was asked and said no.
    static let answerField = "answer"
    /// What is counted of one address in a minute: more than an office of people who all come by one
    /// newsletter, and few enough that nobody alone fills the store with writes. Beyond it the cookie is
    /// set, and nothing counted.
    static let arrivalsPerMinute = 60

    // MARK: Coming by a code

    /// The code's part of a path, whatever it is; nil for other paths.
    static func referralText(of local: some Collection<UInt8>) -> [UInt8]? {
        guard local.starts(with: referralPrefix.utf8) else { return nil }
        let rest = Array(local.dropFirst(referralPrefix.utf8.count))
        return rest.isEmpty || rest.contains(UInt8(ascii: "/")) ? nil : rest
    }

    /// The code that a request names, if people can come by it now.
    private func openReferral(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> Referral? {
        guard let text = Self.referralText(of: request.path.utf8.dropFirst(path("").utf8.count)),
            let code = ReferralCode(text)
        else { return nil }
        let referral = try await asking { () async throws(StoreError) in
            try await people.store.referral(code)
        }
        return referral.flatMap { $0.isOpen(at: clock().wall) ? $0 : nil }
    }

    /// Asks, unless there is nothing to ask. Sets no referral cookie.
    private func showReferral(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let query = try request.query([Self.toField, Self.answerField])
        let target = ReturnTarget.resolve(
            query.value(Self.toField), allowed: settings.returnOrigins, otherwise: .root)
        let onward = FrontResponse.redirect(to: target.location)
        guard query.value(Self.answerField) == nil, accounts.registration != .closed,
            let referral = try await openReferral(request),
            await self.referral(request)?.code != referral.code
        else { return onward }
        // Who has an account will not register.
        if (try? await client(request)) != nil { return onward }
        return await page(referralPage(referral, target), for: request)
    }

    private func referralPage(_ referral: Referral, _ target: ReturnTarget) -> Page {
        var page = Page(
            kind: .referral, title: Message("referral.title", ["label": referral.label]))
        page.returnTo = target.location
        page.sections.append(
            ReferralQuestion(
                code: referral.code.text, label: referral.label,
                until: ReferralClaims(referral, at: clock().wall)?.deadline))
        return page
    }

    private func acceptReferral(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        let referral = try await openReferral(request)
        let form = try await form(request) { form in
            referral.map { referralPage($0, form?.returnTarget ?? .root) }
                ?? Page(kind: .message, title: "title.refused")
        }
        var response = FrontResponse.redirect(to: (form.returnTarget ?? .root).location)
        let now = clock()
        // One that has ended meanwhile is not remembered.
        guard let referral, let claims = ReferralClaims(referral, at: now.wall) else {
            return response
        }
        let isNew = await self.referral(request)?.code != referral.code
        let value: String
        do {
            value = try await sealer.seal(
                claims.encoded(), purpose: .referral, transport: .cookie, at: now,
                until: claims.deadline
            ).text
        } catch { throw .unavailable }
        if isNew, arrivals.charge(request.address, at: now.boot) == nil {
            try await asking { () async throws(StoreError) in
                try await people.store.countArrival(by: referral.code, at: now.wall)
            }
        }
        response.headers.append(
            (.setCookie, settings.cookies.setting(settings.cookies.referral, to: value)))
        return response
    }

    /// What the referral cookie says, if there is one and it is good.
    func referral(_ request: FrontRequest) async -> ReferralClaims? {
        let tokens = request.cookies.values(settings.cookies.referral)
        guard tokens.count == 1,
            let content = await sealer.open(tokens[0], purpose: .referral, transport: .cookie),
            let claims = ReferralClaims(content.span), claims.isGood(at: clock().wall)
        else { return nil }
        return claims
    }

    /// Deletes the referral cookie that a request has: of somebody who has registered, or changed their mind.
    func referralDeletion(_ request: FrontRequest) -> [(HTTPField.Name, String)] {
        let cookies = settings.cookies
        guard !request.cookies.values(cookies.referral).isEmpty else { return [] }
        return [(.setCookie, cookies.deleting(cookies.referral))]
    }

    // MARK: Cookies

    private func showCookies(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        var page = Page(kind: .cookies)
        let claims = await referral(request)
        var label: String?
        if let claims {
            label = try await asking { () async throws(StoreError) in
                try await people.store.referral(claims.code)
            }?.label
        }
        // Looking is no reason to set a cookie.
        page.hasForm = claims != nil
        page.sections.append(
            CookieList(
                form: settings.cookies.form, referral: settings.cookies.referral,
                isReferred: claims != nil, label: label ?? "", until: claims?.deadline))
        let notice = try request.query(["notice"]).value("notice")
        page.notice = notice == Array("referral".utf8) ? "notice.referral_cookie" : nil
        return await self.page(page, for: request)
    }

    private func forgetReferral(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        _ = try await form(request) { _ in Page(kind: .message, title: "cookies.title") }
        var response = FrontResponse.redirect(to: path("/cookies?notice=referral"))
        response.headers += referralDeletion(request)
        return response
    }

    // MARK: The account's tie

    func referralTie(_ claims: Claims) async throws(FrontRefusal) -> ReferralTie? {
        try await asking { () async throws(StoreError) in
            try await people.store.referralTie(of: claims.user)
        }
    }

    private func removeTie(of claims: Claims) async throws(FrontRefusal) {
        _ = try await asking { () async throws(StoreError) in
            try await people.store.removeReferralTie(
                of: claims.user,
                audit: AuditEvent(
                    .agreementWithdrawn, by: .server, user: claims.user, session: claims.session,
                    detail: "purpose=referral"),
                at: clock().wall)
        }
    }

    private func removeReferralTie(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        guard let (_, claims) = try await accountForm(request) else {
            return toSignIn(back: "/account")
        }
        try requireOwner(claims)
        try await removeTie(of: claims)
        return .redirect(to: path("/account?notice=referral"))
    }

    private struct TieBody: Encodable {
        struct Tie: Encodable {
            let code: String
            let label: String
            let accepted: Int64
        }
        /// Absent for somebody who came by none.
        let referral: Tie?
    }

    private func apiReferralTie(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        let tie = try await referralTie(try await requireSession(request))
        return try .json(
            200,
            TieBody(
                referral: tie.map {
                    TieBody.Tie(
                        code: $0.code.text, label: $0.label, accepted: $0.accepted.seconds)
                }))
    }

    private func apiRemoveReferralTie(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        try requireSameSite(request, body: .json)
        let claims = try await requireSession(request)
        try requireOwner(claims)
        try await removeTie(of: claims)
        return FrontResponse(status: 204)
    }
}

/// What the page asks of who came by a code.
struct ReferralQuestion: PageSection {
    let code: String
    let label: String
    /// When it would be forgotten.
    let until: UnixTime?

    let name = "referral"
    var values: [String: Any?] {
        [
            "code": Pages.value(code), "label": Pages.value(label),
            "until": until.map(Pages.time),
        ]
    }
}

/// What the page of cookies says of those that the account page does not know.
struct CookieList: PageSection {
    let form: String
    let referral: String
    /// Whether this browser keeps a code.
    let isReferred: Bool
    let label: String
    let until: UnixTime?

    let name = "cookieList"
    var values: [String: Any?] {
        [
            "form": Pages.value(form), "referral": Pages.value(referral),
            "isReferred": isReferred, "label": Pages.value(label),
            "until": until.map(Pages.time),
        ]
    }
}

/// By whom somebody came, on the account page.
struct ReferralSection: PageSection {
    let tie: ReferralTie

    let name = "referral"
    var values: [String: Any?] {
        ["label": Pages.value(tie.label), "accepted": Pages.time(tie.accepted)]
    }
}
