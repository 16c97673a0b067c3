// Who may look at a person, and who did: pages and JSON.

import GatehouseCore
import GatehousePeople
import HTTPTypes

extension FrontDoor {
    static let supportRoutes: [String: [HTTPRequest.Method: Handler]] = [
        "/account/support": [
            .get: { door, request throws(FrontRefusal) in try await door.showSupport(request) },
            .post: { door, request throws(FrontRefusal) in try await door.giveGrant(request) },
        ],
        "/account/support/revoke": [
            .post: { door, request throws(FrontRefusal) in try await door.revokeGrant(request) }
        ],
        "/v1/account/grants": [
            .get: { door, request throws(FrontRefusal) in try await door.apiGrants(request) },
            .post: { door, request throws(FrontRefusal) in try await door.apiGiveGrant(request) },
        ],
        "/v1/account/grants/{grant}": [
            .delete: { door, request throws(FrontRefusal) in
                try await door.apiRevokeGrant(request)
            }
        ],
        "/v1/account/looks": [
            .get: { door, request throws(FrontRefusal) in try await door.apiLooks(request) }
        ],
    ]

    /// The form's field that names a grant.
    private static let grantField = "grant"
    private static let grantFields = ["reason", "scope", "seconds", "operator"]

    // MARK: What only the person may do

    /// Refuses an operator who acts for the person: credentials, agreements, grants and whatever else is
    /// the person's own to decide.
    func requireOwner(_ claims: Claims) throws(FrontRefusal) {
        guard !claims.isActed else { throw FrontRefusal(403, "acting", "refusal.acting") }
    }

    /// The same where a request may come from nobody.
    func requireNobodyActs(_ request: FrontRequest) async throws(FrontRefusal) {
        if let client = try await client(request) { try requireOwner(client.claims) }
    }

    /// What every page says while somebody acts for the person; nil when nobody does.
    func actingSection(_ request: FrontRequest) async -> ActingSection? {
        guard let client = try? await client(request), client.transport == .cookie,
            let actor = client.claims.actor
        else { return nil }
        // Without the store the bar lacks its reason; it is never left out.
        let acting = try? await people.store.acting(in: client.claims.session)
        return ActingSection(
            actor: actor.text, user: client.claims.username?.text ?? "",
            reason: acting?.reason.text ?? "", until: client.claims.absoluteDeadline)
    }

    private func permitting<Value>(
        _ work: () async throws -> Value
    ) async throws(FrontRefusal) -> Value {
        do { return try await work() } catch { throw .failed(accounts.failed(error)) }
    }

    // MARK: The page

    private func supportPage(
        _ claims: Claims, _ form: Form? = nil
    ) async throws(FrontRefusal) -> Page {
        var page = Page(kind: .support)
        page.username = claims.username?.text ?? ""
        let (grants, looks, isTest) = try await permitting {
            (
                try await people.store.grants(
                    of: claims.user, limit: People.shownPermissions, at: clock().wall),
                try await people.store.looks(of: claims.user, limit: People.shownPermissions),
                try await people.store.isTestUser(claims.user)
            )
        }
        func text(_ field: String) -> String {
            form?.fields[field].map { String(decoding: $0, as: UTF8.self) } ?? ""
        }
        page.sections.append(
            SupportSection(
                grants: grants, looks: looks, now: clock().wall,
                canGive: !claims.isActed && isFresh(claims), isOwner: !claims.isActed,
                isTest: isTest, rule: people.permission, reason: text("reason"),
                scope: text("scope"), seconds: text("seconds"), onlyFor: text("operator")))
        return page
    }

    private func showSupport(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        guard let claims = try await session(request) else {
            return toSignIn(back: "/account/support")
        }
        var page = try await supportPage(claims)
        let notice = try request.query(["notice"]).value("notice")
        page.notice = notice.flatMap { Self.supportNotices[String(decoding: $0, as: UTF8.self)] }
        return await self.page(page, for: request)
    }

    private static let supportNotices: [String: Message] = [
        "given": "notice.grant_given", "revoked": "notice.grant_revoked",
    ]

    private var toConfirmForSupport: FrontResponse {
        .redirect(to: path("/confirm?return_to=\(path("/account/support"))"))
    }

    private func giveGrant(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let form = try await form(request, taking: Self.grantFields) { _ in
            Page(kind: .message, title: "support.title")
        }
        guard let claims = try await session(request) else {
            return toSignIn(back: "/account/support")
        }
        try requireOwner(claims)
        guard isFresh(claims) else { return toConfirmForSupport }
        func text(_ field: String) -> String? {
            form.fields[field].map { String(decoding: $0, as: UTF8.self) }
        }
        do throws(FrontRefusal) {
            _ = try await give(
                GrantBody(
                    reason: text("reason") ?? "", seconds: text("seconds").map { Int64($0) ?? -1 },
                    scope: text("scope") ?? "",
                    operator: text("operator").flatMap { $0.isEmpty ? nil : $0 }), to: claims)
        } catch {
            var refusal = error
            refusal.page = try await supportPage(claims, form)
            throw refusal
        }
        return .redirect(to: path("/account/support?notice=given"))
    }

    private func revokeGrant(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let form = try await form(request, taking: [Self.grantField]) { _ in
            Page(kind: .message, title: "support.title")
        }
        guard let claims = try await session(request) else {
            return toSignIn(back: "/account/support")
        }
        try requireOwner(claims)
        guard let text = form.fields[Self.grantField],
            let id = GrantID(text: String(decoding: text, as: UTF8.self))
        else { throw FrontRefusal(400, "missing_field", "refusal.no_grant") }
        // One that was revoked in the meantime, in another tab, is revoked too.
        _ = try await permitting { try await people.revoke(id, of: claims.user) }
        return .redirect(to: path("/account/support?notice=revoked"))
    }

    // MARK: JSON

    private struct GrantBody: Decodable {
        let reason: String
        let seconds: Int64?
        let scope: String
        let `operator`: String?
    }

    private func give(_ body: GrantBody, to claims: Claims) async throws(FrontRefusal) -> Grant {
        guard let reason = LookReason(body.reason) else {
            throw FrontRefusal(422, "grant_reason", "refusal.grant_reason")
        }
        guard let scope = Grant.Scope(rawValue: body.scope) else {
            throw FrontRefusal(422, "grant_scope", "refusal.grant_scope")
        }
        guard let seconds = people.permission.seconds(body.seconds) else {
            throw FrontRefusal(
                422, "grant_seconds",
                Message(
                    "refusal.grant_seconds",
                    [
                        "minimum": "\(PermissionRule.minimumSeconds)",
                        "maximum": "\(people.permission.longestSeconds)",
                    ]))
        }
        let onlyFor = body.operator.flatMap { OperatorName($0) }
        guard body.operator == nil || onlyFor != nil else {
            throw FrontRefusal(422, "grant_operator", "refusal.grant_operator")
        }
        let outcome = try await permitting {
            try await people.letIn(
                to: claims.user, reason: reason, scope: scope, onlyFor: onlyFor, seconds: seconds)
        }
        switch outcome {
        case .given(let grant): return grant
        case .tooMany: throw FrontRefusal(409, "too_many_grants", "refusal.too_many_grants")
        case .userChanged: throw Self.noSession
        }
    }

    private struct GrantAnswer: Encodable {
        /// Absent while somebody acts for the user, who could go on under any of them.
        let grant: String?
        let digest: String
        let reason: String
        let scope: String
        let `operator`: String?
        let given: Int64
        let ends: Int64
        let revoked: Int64?

        init(_ grant: Grant, isActed: Bool) {
            self.grant = isActed ? nil : grant.id.text
            digest = grant.id.digest
            reason = grant.reason.text
            scope = grant.scope.rawValue
            `operator` = grant.onlyFor?.text
            given = grant.given.seconds
            ends = grant.ends.seconds
            revoked = grant.revoked?.seconds
        }
    }

    struct LookAnswer: Encodable {
        let time: Int64
        let `operator`: String
        let seen: String
        let grant: String?
        let grant_digest: String?
        /// Why it was done without permission.
        let reason: String?
        let session: String?

        init(_ look: Look, isActed: Bool) {
            time = look.time.seconds
            `operator` = look.by.text
            seen = look.seen.rawValue
            grant = isActed ? nil : look.grant?.text
            grant_digest = look.grant?.digest
            reason = look.brokenGlassReason?.text
            session = look.session?.text
        }
    }

    private func signedInClaims(_ request: FrontRequest) async throws(FrontRefusal) -> Claims {
        guard let claims = try await session(request) else { throw Self.noSession }
        return claims
    }

    private func apiGrants(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let claims = try await signedInClaims(request)
        let grants = try await permitting {
            try await people.store.grants(
                of: claims.user, limit: People.shownPermissions, at: clock().wall)
        }
        return try .json(
            200, ["grants": grants.map { GrantAnswer($0, isActed: claims.isActed) }])
    }

    private func apiGiveGrant(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let body: GrantBody = try await json(request)
        let claims = try await signedInClaims(request)
        try requireOwner(claims)
        guard isFresh(claims) else { throw Self.stale }
        return try .json(201, GrantAnswer(try await give(body, to: claims), isActed: false))
    }

    private func apiRevokeGrant(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        try requireSameSite(request, body: .json)
        let claims = try await signedInClaims(request)
        try requireOwner(claims)
        guard let text = request.path.split(separator: "/").last,
            let id = GrantID(text: String(text)),
            try await permitting({ try await people.revoke(id, of: claims.user) })
        else { throw FrontRefusal(404, "not_found", "refusal.no_grant") }
        return FrontResponse(status: 204)
    }

    private func apiLooks(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let claims = try await signedInClaims(request)
        let looks = try await permitting {
            try await people.store.looks(of: claims.user, limit: People.shownPermissions)
        }
        return try .json(200, ["looks": looks.map { LookAnswer($0, isActed: claims.isActed) }])
    }

    // MARK: Looks without permission

    /// Those that the user has not been told of.
    func untoldLooks(_ user: UserID) async throws(FrontRefusal) -> [Look] {
        try await permitting { try await people.store.untoldLooks(of: user) }
    }

    /// Whether none of them can be put away yet.
    func keepsLooks(_ user: UserID) async throws(FrontRefusal) -> Bool {
        try await permitting { try await people.store.keepsLooks(of: user, at: clock().wall) }
    }

    func putAwayLooks(of user: UserID, upTo last: Int64) async throws(FrontRefusal) {
        try await permitting {
            try await people.store.putAwayLooks(of: user, upTo: last, at: clock().wall)
        }
    }

    /// How much the user of a session must be told before anything else; operators who act in it aren't.
    /// Nil for nothing.
    func untold(_ claims: Claims) async -> Int? {
        guard !claims.isActed else { return nil }
        let warnings = (try? await accounts.warnings(of: claims.user))?.count ?? 0
        let count = warnings + ((try? await untoldLooks(claims.user))?.count ?? 0)
        return count > 0 ? count : nil
    }
}

/// That something waits to be told, on the account's page.
struct UntoldNoticeSection: PageSection {
    let name = "untoldNotice"
    var values: [String: Any?] { [:] }
}

/// The bar of a session in which an operator acts.
struct ActingSection: PageSection {
    let name = "acting"
    let actor: String
    let user: String
    let reason: String
    let until: UnixTime

    var values: [String: Any?] {
        [
            "actor": Pages.value(actor), "user": Pages.value(user), "reason": Pages.value(reason),
            "until": Pages.time(until),
        ]
    }
}

/// Grants and looks on the page of who may look.
struct SupportSection: PageSection {
    let name = "support"
    let grants: [Grant]
    let looks: [Look]
    let now: UnixTime
    /// Whether the form is shown; else the way to the password.
    let canGive: Bool
    let isOwner: Bool
    let isTest: Bool
    let rule: PermissionRule
    /// What was typed.
    let reason: String
    let scope: String
    let seconds: String
    let onlyFor: String

    /// Times that people choose from, in hours.
    private static let hours: [Int64] = [1, 8, 24, 72, 168]

    var values: [String: Any?] {
        let chosen = rule.seconds(Int64(seconds)) ?? PermissionRule.defaultSeconds
        let times = Self.hours.map { $0 * 3600 }.filter { $0 <= rule.longestSeconds }
        return [
            "open": grants.filter { $0.isLive(at: now) }.map { row($0) },
            "past": grants.filter { !$0.isLive(at: now) }.map { row($0) },
            "looks": looks.map { Self.row($0, isOwner: isOwner) },
            "hasLooks": !looks.isEmpty, "canGive": canGive, "mustConfirm": isOwner && !canGive,
            "isOwner": isOwner, "isTest": isTest, "typedReason": Pages.value(reason),
            "isActChosen": scope == Grant.Scope.act.rawValue,
            "typedOperator": Pages.value(onlyFor),
            "times": times.map { time in
                Pages.values([
                    "seconds": "\(time)",
                    "hours": "\(time / 3600)", "isChosen": time == chosen,
                ])
            },
        ]
    }

    private func row(_ grant: Grant) -> [String: Any] {
        Pages.values([
            "grant": isOwner ? grant.id.text : nil, "id": grant.id.digest,
            "reason": Pages.value(grant.reason.text),
            "isAct": grant.scope == .act, "operator": Pages.value(grant.onlyFor?.text),
            "given": Pages.time(grant.given), "ends": Pages.time(grant.ends),
            "revoked": grant.revoked.map { Pages.time($0) },
            "looks": looks.filter { $0.grant == grant.id }.map { Self.row($0, isOwner: isOwner) },
            "isUnused": !looks.contains { $0.grant == grant.id },
        ])
    }

    static func row(_ look: Look, isOwner: Bool) -> [String: Any] {
        Pages.values([
            "time": Pages.time(look.time), "operator": Pages.value(look.by.text),
            "grant": isOwner ? look.grant?.text : nil,
            "reason": Pages.value(look.brokenGlassReason?.text),
            "seen": [look.seen.rawValue: true],
        ])
    }
}

/// Looks without permission, on the page of warnings.
struct UntoldLooksSection: PageSection {
    let name = "untold"
    let looks: [Look]
    /// Whether none can be put away yet.
    let isKept: Bool

    var values: [String: Any?] {
        [
            // None of them is under a grant.
            "looks": looks.map { SupportSection.row($0, isOwner: true) },
            "last": looks.first.map { "\($0.id)" }, "isKept": isKept,
        ]
    }
}
