// The device cookie at the front door: set at sign-in, shown, changed and forgotten by its owner.

import GatehouseCore
import HTTPTypes

extension FrontDoor {
    static let deviceRoutes: [String: [HTTPRequest.Method: Handler]] = [
        "/v1/device": [
            .get: { door, request throws(FrontRefusal) in try await door.apiDevice(request) },
            .put: { door, request throws(FrontRefusal) in
                try await door.apiSavePreferences(request)
            },
            .delete: { door, request throws(FrontRefusal) in
                try await door.apiForgetDevice(request)
            },
        ],
        "/account/device": [
            .post: { door, request throws(FrontRefusal) in try await door.savePreferences(request) }
        ],
        "/account/device/forget": [
            .post: { door, request throws(FrontRefusal) in try await door.forgetDevice(request) }
        ],
    ]

    /// What the account page says after something was done.
    static let accountNotices: [String: Message] = [
        "saved": "notice.saved", "forgotten": "notice.forgotten", "unlocked": "notice.unlocked",
        "password": "notice.password", "confirmed": "notice.confirmed", "ended": "notice.ended",
        "ended-others": "notice.ended_others", "not-remembered": "notice.not_remembered",
        "referral": "notice.referral",
    ]

    // MARK: The cookie

    /// The values that ``Devices`` takes.
    func deviceCookies(_ request: FrontRequest) -> [[UInt8]] {
        request.cookies.values(settings.cookies.device)
    }

    /// The device cookie for somebody who has just signed in; nothing when it can't be made.
    ///
    /// - Parameter series: of a browser that is remembered.
    func deviceCookie(
        for session: SessionRecord, _ request: FrontRequest, series: SeriesID?
    ) async -> [(HTTPField.Name, String)] {
        let cookie = await devices.signedIn(
            session, cookies: deviceCookies(request), series: series)
        return cookie.map { [set($0)] } ?? []
    }

    /// The device cookie of a browser that is no longer remembered; nothing when there is none.
    func deviceCookie(
        forgetting claims: Claims, _ request: FrontRequest
    ) async -> [(HTTPField.Name, String)] {
        let cookie = await devices.notRemembered(claims, cookies: deviceCookies(request))
        return cookie.map { [set($0)] } ?? []
    }

    /// Sets the cookie, for 180 days or the browser's session.
    func set(_ cookie: Devices.Cookie) -> (HTTPField.Name, String) {
        (
            .setCookie,
            settings.cookies.setting(
                settings.cookies.device, to: cookie.value,
                maximumAgeSeconds: cookie.isPersistent ? DeviceClaims.lifetimeSeconds : nil)
        )
    }

    private func save(
        _ preferences: Preferences, of claims: Claims, _ request: FrontRequest, page: Page? = nil
    ) async throws(FrontRefusal) -> [(HTTPField.Name, String)] {
        do throws(Accounts.Failure) {
            let cookie = try await devices.save(
                preferences, of: claims, cookies: deviceCookies(request))
            guard let cookie else { throw Accounts.Failure.unavailable }
            return [set(cookie)]
        } catch { throw .failed(error, page: page) }
    }

    private func forget(
        _ claims: Claims, _ request: FrontRequest
    ) async throws(FrontRefusal) -> [(HTTPField.Name, String)] {
        do throws(Accounts.Failure) {
            let cookie = try await devices.forget(deviceCookies(request), user: claims.user)
            return [
                cookie.map { set($0) }
                    ?? (.setCookie, settings.cookies.deleting(settings.cookies.device))
            ]
        } catch { throw .failed(error) }
    }

    private func device(
        _ claims: Claims, _ request: FrontRequest
    ) async throws(FrontRefusal) -> Device? {
        do throws(Accounts.Failure) {
            return try await devices.device(deviceCookies(request), of: claims.user)
        } catch { throw .failed(error) }
    }

    // MARK: JSON

    private struct DeviceBody: Encodable {
        /// Absent when the browser has no device of the user's.
        let created: Int64?
        let last_used: Int64?
        let preferences: [String: String]
    }

    /// The session of a browser: a bearer token is no browser's.
    private func browserSession(_ request: FrontRequest) async throws(FrontRefusal) -> Claims {
        guard !request.cookies.values(settings.cookies.session).isEmpty,
            let claims = try await session(request)
        else { throw Self.noSession }
        return claims
    }

    private func apiDevice(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let device = try await device(try await browserSession(request), request)
        return try .json(
            200,
            DeviceBody(
                created: device?.created.seconds, last_used: device?.lastUsed.seconds,
                preferences: device?.preferences.values ?? [:]))
    }

    private func apiSavePreferences(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        let body: [String: [String: String]] = try await json(request)
        let claims = try await browserSession(request)
        try requireOwner(claims)
        guard body.count == 1, let values = body["preferences"] else {
            throw FrontRefusal(422, "preferences", "refusal.preferences_body")
        }
        var response = FrontResponse(status: 204)
        response.headers = try await save(try Self.preferences(values), of: claims, request)
        return response
    }

    private func apiForgetDevice(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        try requireSameSite(request, body: .json)
        let claims = try await browserSession(request)
        try requireOwner(claims)
        var response = FrontResponse(status: 204)
        response.headers = try await forget(claims, request)
        return response
    }

    private static func preferences(
        _ values: [String: String], page: Page? = nil
    ) throws(FrontRefusal) -> Preferences {
        do throws(PreferenceRefusal) { return try Preferences(values) } catch {
            throw FrontRefusal(422, "preferences", Message(error), page: page)
        }
    }

    // MARK: The account page

    static let preferencePrefix = "preference."
    static let newKeyField = "new_key"
    static let newValueField = "new_value"

    func accountPage(
        _ claims: Claims, _ request: FrontRequest
    ) async throws(FrontRefusal) -> Page {
        var page = Page(kind: .account)
        page.username = claims.username?.text ?? ""
        page.failures = try await attempts(claims)?.failures ?? 0
        page.userID = claims.user.text
        page.created = try await user(claims)?.created
        page.signIns = try await signIns(claims)
        if await untold(claims) != nil { page.sections.append(UntoldNoticeSection()) }
        if let notice = await profileNotice(claims) { page.sections.append(notice) }
        page.isRemembered = page.signIns.contains { $0.isCurrent && $0.isRemembered }
        if let device = try await device(claims, request) {
            page.device.isKnown = true
            page.device.preferences = device.preferences.sorted
        }
        if let tie = try await referralTie(claims) {
            page.sections.append(ReferralSection(tie: tie))
        }
        page.sections += try await leavingSection(claims)
        return page
    }

    /// The form of a page that only somebody who is signed in sees; nil when nobody is.
    func accountForm(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> (form: Form, claims: Claims)? {
        let (form, claims) = try await accountForm(request, taking: [])
        return claims.map { (form, $0) }
    }

    /// The same with fields of its own.
    func accountForm(
        _ request: FrontRequest, taking more: [String]
    ) async throws(FrontRefusal) -> (form: Form, claims: Claims?) {
        let form = try await form(request, taking: more) { _ in
            Page(kind: .message, title: "account.title")
        }
        return (form, try await session(request))
    }

    private func savePreferences(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        guard let (form, claims) = try await accountForm(request) else {
            return toSignIn(back: "/account")
        }
        try requireOwner(claims)
        func text(_ field: String) -> String {
            String(decoding: form.fields[field] ?? [], as: UTF8.self)
        }
        var page = try await accountPage(claims, request)
        // What the page did not show stays: it may have been saved since, from another tab.
        var values: [String: String] = [:]
        for (key, value) in page.device.preferences { values[key] = value }
        for field in form.fields.keys where field.hasPrefix(Self.preferencePrefix) {
            let value = text(field)
            values[String(field.dropFirst(Self.preferencePrefix.count))] =
                value.isEmpty ? nil : value
        }
        page.device.preferences = values.sorted { $0.key < $1.key }
            .map { (key: $0.key, value: $0.value) }
        page.device.newKey = text(Self.newKeyField)
        page.device.newValue = text(Self.newValueField)
        if !page.device.newKey.isEmpty || !page.device.newValue.isEmpty {
            values[page.device.newKey] = page.device.newValue
        }
        let preferences = try Self.preferences(values, page: page)
        var response = FrontResponse.redirect(to: path("/account?notice=saved"))
        response.headers += try await save(preferences, of: claims, request, page: page)
        return response
    }

    private func forgetDevice(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        guard let (_, claims) = try await accountForm(request) else {
            return toSignIn(back: "/account")
        }
        try requireOwner(claims)
        var response = FrontResponse.redirect(to: path("/account?notice=forgotten"))
        response.headers += try await forget(claims, request)
        return response
    }
}
