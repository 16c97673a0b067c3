// All that is held about a person, and how they leave: pages and JSON.

import GatehouseCore
import GatehousePeople
import HTTPTypes

/// What pages say of leaving.
private struct DepartureSection: PageSection {
    let name = "departure"
    /// Nil for who stays.
    let deletion: Deletion?
    let rules: DepartureRules
    let now: UnixTime

    var values: [String: Any?] {
        let due = deletion?.due ?? now.advanced(bySeconds: rules.waitSeconds)
        return [
            "isLeaving": deletion != nil, "canStay": deletion.map { $0.due > now } ?? false,
            "requested": deletion.map { Pages.time($0.requested) }, "due": Pages.time(due),
            "copiesGone": CalendarDay(of: rules.copiesGone(after: due)).text,
        ]
    }
}

extension FrontDoor {
    static let departureRoutes: [String: [HTTPRequest.Method: Handler]] = [
        "/account/leave": [
            .get: { door, request throws(FrontRefusal) in try await door.showLeave(request) },
            .post: { door, request throws(FrontRefusal) in try await door.leave(request) },
        ],
        "/account/leave/cancel": [
            .post: { door, request throws(FrontRefusal) in try await door.stay(request) }
        ],
        "/account/export": [
            .post: { door, request throws(FrontRefusal) in try await door.export(request) }
        ],
        "/v1/account/export": [
            .get: { door, request throws(FrontRefusal) in try await door.apiExport(request) }
        ],
        "/v1/account/deletion": [
            .get: { door, request throws(FrontRefusal) in try await door.apiDeletion(request) },
            .delete: { door, request throws(FrontRefusal) in try await door.apiStay(request) },
        ],
    ]

    /// The form's field that says how an export is shown: `page`, else JSON.
    private static let formField = "as"

    /// Does something that may fail for want of the store.
    private func trying<Value>(
        _ work: () async throws(Accounts.Failure) -> Value
    ) async throws(FrontRefusal) -> Value {
        do throws(Accounts.Failure) { return try await work() } catch { throw .failed(error) }
    }

    private func deletion(of user: UserID) async throws(FrontRefusal) -> Deletion? {
        try await trying { () async throws(Accounts.Failure) in
            try await accounts.deletion(of: user)
        }
    }

    // MARK: Pages

    /// What the account page says to somebody who is leaving; nothing to others.
    func leavingSection(_ claims: Claims) async throws(FrontRefusal) -> [any PageSection] {
        let deletion = try await deletion(of: claims.user)
        return deletion.map {
            [DepartureSection(deletion: $0, rules: people.departure, now: clock().wall)]
        } ?? []
    }

    private func leavePage(_ claims: Claims) async throws(FrontRefusal) -> Page {
        var page = Page(kind: .leave)
        page.username = claims.username?.text ?? ""
        page.sections = [
            DepartureSection(
                deletion: try await deletion(of: claims.user), rules: people.departure,
                now: clock().wall)
        ]
        return page
    }

    private func showLeave(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        guard let claims = try await session(request) else {
            return toSignIn(back: "/account/leave")
        }
        var page = try await leavePage(claims)
        let notice = try request.query(["notice"]).value("notice")
        page.notice = notice.flatMap { Self.leaveNotices[String(decoding: $0, as: UTF8.self)] }
        return await self.page(page, for: request)
    }

    private static let leaveNotices: [String: Message] = [
        "leaving": "leave.notice_leaving", "staying": "leave.notice_staying",
        "confirmed": "notice.confirmed",
    ]

    private var toConfirmForExport: FrontResponse {
        .redirect(to: path("/confirm?return_to=\(path("/account/leave?notice=confirmed"))"))
    }

    /// Asks for the password whenever it was last given.
    private func leave(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        var form = try await form(request) { _ in Page(kind: .message, title: "leave.title") }
        defer { form.wipePassword() }
        guard let client = try await client(request), client.transport == .cookie else {
            return toSignIn(back: "/account/leave")
        }
        try requireOwner(client.claims)
        let page = try await leavePage(client.claims)
        guard let password = form.password else {
            throw FrontRefusal(400, "missing_field", "refusal.missing_password", page: page)
        }
        guard try await leave(client.claims, password, request, page: page) != nil else {
            return toSignIn(back: "/account/leave")
        }
        return .redirect(to: path("/account/leave?notice=leaving"))
    }

    /// Nil when the session has ended.
    private func leave(
        _ claims: Claims, _ password: [UInt8], _ request: FrontRequest, page: Page? = nil
    ) async throws(FrontRefusal) -> Deletion? {
        let outcome = await accounts.leave(
            claims, await attempt(claims, password, request),
            waitSeconds: people.departure.waitSeconds)
        switch outcome {
        case .requested(let deletion): return deletion
        case .refused: throw .credentials(page: page)
        case .slowDown(let seconds): throw .slowDown(seconds, page: page)
        case .sessionEnded: return nil
        case .failed(let failure): throw .failed(failure, page: page)
        }
    }

    private func stay(_ claims: Claims) async throws(FrontRefusal) -> Bool {
        try await trying { () async throws(Accounts.Failure) in try await accounts.stay(claims) }
    }

    /// Anybody who can sign in may: nothing is lost by it.
    private func stay(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        guard let (_, claims) = try await accountForm(request) else {
            return toSignIn(back: "/account/leave")
        }
        try requireOwner(claims)
        guard try await stay(claims) else {
            throw FrontRefusal(
                409, "no_deletion", "refusal.no_deletion", page: try await leavePage(claims))
        }
        return .redirect(to: path("/account/leave?notice=staying"))
    }

    // MARK: Export

    private func export(of claims: Claims) async throws(FrontRefusal) -> ExportValue {
        do {
            guard let value = try await people.export(of: claims.user, by: .server) else {
                throw Self.noSession
            }
            return value
        } catch let refusal as FrontRefusal { throw refusal } catch {
            throw .failed(accounts.failed(error))
        }
    }

    private func export(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let form = try await form(request, taking: [Self.formField]) { _ in
            Page(kind: .message, title: "leave.title")
        }
        guard let claims = try await session(request) else {
            return toSignIn(back: "/account/leave")
        }
        try requireOwner(claims)
        // It is everything at once.
        guard isFresh(claims) else { return toConfirmForExport }
        let value = try await export(of: claims)
        guard form.fields[Self.formField] == Array("page".utf8) else {
            return Self.download(value)
        }
        let name = claims.username?.text ?? ""
        let title = pages.texts.text(Message("leave.export_title", ["username": name]))
        guard let page = try? ExportPage(value, title: title) else { throw .unavailable }
        var response = FrontResponse(
            status: 200, contentType: "text/html; charset=utf-8", body: page.html)
        response.headers.append((.contentSecurityPolicy, page.policy))
        return response
    }

    private static func download(_ value: ExportValue) -> FrontResponse {
        var response = FrontResponse(
            status: 200, contentType: "application/json", body: value.json)
        response.headers.append(
            (.contentDisposition, "attachment; filename=\"gatehouse-export.json\""))
        return response
    }

    // MARK: JSON

    private struct DeletionBody: Encodable {
        let requested: Int64
        let due: Int64
        /// When the last copy that was made before is gone.
        let copies_gone: Int64

        init(_ deletion: Deletion, _ rules: DepartureRules) {
            requested = deletion.requested.seconds
            due = deletion.due.seconds
            copies_gone = rules.copiesGone(after: deletion.due).seconds
        }
    }

    private struct Leaving: Decodable { let password: String }

    private func requireClaims(_ request: FrontRequest) async throws(FrontRefusal) -> Claims {
        guard let claims = try await session(request) else { throw Self.noSession }
        try requireOwner(claims)
        return claims
    }

    private func apiExport(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        // It leaves a trace, and what it gives is best not fetched by a link from elsewhere.
        try requireSameSite(request, body: .json)
        let claims = try await requireClaims(request)
        guard isFresh(claims) else { throw Self.stale }
        return Self.download(try await export(of: claims))
    }

    private func apiDeletion(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let claims = try await requireClaims(request)
        guard let deletion = try await deletion(of: claims.user) else { throw Self.noDeletion }
        return try .json(200, DeletionBody(deletion, people.departure))
    }

    func apiLeave(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let body: Leaving = try await json(request)
        let claims = try await requireClaims(request)
        guard let deletion = try await leave(claims, Array(body.password.utf8), request) else {
            throw Self.noSession
        }
        return try .json(202, DeletionBody(deletion, people.departure))
    }

    private func apiStay(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        try requireSameSite(request, body: .json)
        guard try await stay(try await requireClaims(request)) else { throw Self.noDeletion }
        return FrontResponse(status: 204)
    }

    private static let noDeletion = FrontRefusal(404, "no_deletion", "refusal.no_deletion")
}
