// The JSON routes, for applications: the same rules as the pages, errors as problem details.

import Foundation
import GatehouseCore
import GatehousePeople
import HTTPTypes
import Hummingbird

extension FrontDoor {
    static let apiRoutes: [String: [HTTPRequest.Method: Handler]] = [
        "/v1/register": [
            .post: { door, request throws(FrontRefusal) in try await door.apiRegister(request) }
        ],
        "/v1/login": [
            .post: { door, request throws(FrontRefusal) in try await door.apiSignIn(request) }
        ],
        "/v1/logout": [
            .post: { door, request throws(FrontRefusal) in try await door.apiSignOut(request) }
        ],
        "/v1/session": [
            .get: { door, request throws(FrontRefusal) in try await door.apiSession(request) }
        ],
    ]

    private struct Registration: Decodable {
        let username: String
        let password: String
        let invite: String?
        let accept: [Acceptance]?
        let profile: [String: ProfileMember]?
    }

    private struct SignIn: Decodable {
        let username: String
        let password: String
        let transport: String?
        let remember: Bool?
        let accept: [Acceptance]?
    }

    struct UserBody: Encodable {
        let id: String
        let username: String
    }

    struct SessionBody: Encodable {
        let user: UserBody
        let session: String
        let level: UInt8
        /// Whether it came from a remember cookie.
        let remembered: Bool
        let authenticated: Int64
        let idle_deadline: Int64
        let absolute_deadline: Int64
        /// The operator who acts for the user; absent when nobody does.
        let actor: String?
        /// A bearer's.
        var token: String?
        /// How many the user has not been told; absent for none.
        var warnings: Int?

        init(_ claims: Claims) {
            user = UserBody(id: claims.user.text, username: claims.username?.text ?? "")
            session = claims.session.text
            level = claims.level.rawValue
            remembered = claims.isRemembered
            authenticated = claims.authenticated.seconds
            idle_deadline = claims.idleDeadline.seconds
            absolute_deadline = claims.absoluteDeadline.seconds
            actor = claims.actor?.text
        }
    }

    private func apiRegister(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let body: Registration = try await json(request, limit: profileBodyLimit)
        guard accounts.registration != .closed else { throw Self.registrationClosed }
        let id = try newUserID()
        var enrolment = try await enrolment(
            accepting: body.accept?.compactMap(\.notice) ?? [])
        enrolment.profile = try await newProfile(
            (body.profile ?? [:]).mapValues(\.input), of: id)
        enrolment.referral = await referral(request)
        let outcome = await accounts.register(
            username: Array(body.username.utf8), password: Array(body.password.utf8),
            invitation: body.invite.map { Array($0.utf8) }, address: request.address, id: id,
            enrolment: enrolment)
        if let refusal = Self.refusal(of: outcome) { throw refusal }
        guard case .registered(let user) = outcome else { throw .unavailable }
        var response = try FrontResponse.json(
            201, ["user": UserBody(id: user.id.text, username: user.username.text)])
        response.headers += referralDeletion(request)
        return response
    }

    private func apiSignIn(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let body: SignIn = try await json(request)
        guard let transport = TokenTransport(rawValue: body.transport ?? "cookie") else {
            throw FrontRefusal(422, "transport", "refusal.transport")
        }
        guard body.remember != true || transport == .cookie else {
            throw FrontRefusal(422, "remember", "refusal.remember")
        }
        let signedIn = try signedIn(
            await accounts.signIn(
                await attempt(
                    Array(body.username.utf8), Array(body.password.utf8), request),
                client: await newClient(request, transport), remembers: body.remember == true,
                accepting: body.accept?.compactMap(\.notice) ?? []))
        return try sessionResponse(
            signedIn, transport, cookies: await cookies(signedIn, transport, request),
            warnings: signedIn.untold)
    }

    /// What is set and deleted for somebody who has got a session in the place of all that were there.
    func cookies(
        _ signedIn: Accounts.SignedIn, _ transport: TokenTransport, _ request: FrontRequest
    ) async -> [(HTTPField.Name, String)] {
        switch transport {
        case .cookie: await signInCookies(signedIn, request)
        // What they named has ended.
        case .bearer: deletions(request)
        }
    }

    /// The session that a program or a browser has got, with its token or its cookies.
    func sessionResponse(
        _ signedIn: Accounts.SignedIn, _ transport: TokenTransport,
        cookies: [(HTTPField.Name, String)], warnings: Int = 0
    ) throws(FrontRefusal) -> FrontResponse {
        let session = signedIn.session
        var body = SessionBody(session.claims(username: signedIn.username, at: session.created))
        body.warnings = warnings > 0 ? warnings : nil
        if transport == .bearer { body.token = signedIn.token }
        var response = try FrontResponse.json(200, body)
        response.headers += cookies
        return response
    }

    private func apiSignOut(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        try requireMediaType(request, .json)
        try requireSameSite(request, body: .json)
        do throws(Accounts.Failure) {
            try await accounts.end(await presented(request))
        } catch { throw .failed(error) }
        var response = FrontResponse(status: 204)
        response.headers += signOutHeaders
        return response
    }

    private func apiSession(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        // Asking is no use: a page that polls must not keep a session alive.
        guard let client = try await client(request) else { throw Self.noSession }
        var body = SessionBody(client.claims)
        body.warnings = await untold(client.claims)
        return try .json(200, body)
    }

    static var noSession: FrontRefusal {
        .unauthenticated("no_session", "refusal.no_session")
    }

    /// Reads a JSON body, cheapest test first.
    func json<Body: Decodable>(
        _ request: FrontRequest, limit: Int = FormBody.maximumBytes
    ) async throws(FrontRefusal) -> Body {
        try requireMediaType(request, .json)
        try requireSameSite(request, body: .json)
        var bytes = try await request.body(limit: limit)
        defer { unsafe bytes.withUnsafeMutableBytes { unsafe wipe($0) } }
        guard JSONObjectKeys.areUnique(bytes),
            let body = try? JSONDecoder().decode(Body.self, from: Data(bytes))
        else {
            throw FrontRefusal(400, "json", "refusal.json")
        }
        return body
    }
}

extension FrontResponse {
    static func json(
        _ status: Int, _ value: some Encodable, type: String = "application/json"
    ) throws(FrontRefusal) -> FrontResponse {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(value) else { throw .unavailable }
        return FrontResponse(
            status: status, contentType: type,
            body: String(decoding: data, as: UTF8.self) + "\n")
    }

    private struct Problem: Encodable {
        let type: String
        let title: String
        let status: Int
        let documents: [FrontRefusal.Document]?
        /// Of a profile: each field that something is wrong with.
        var fields: [Field]?

        struct Field: Encodable {
            let field: String
            let reason: String
            let title: String
        }
    }

    /// RFC 9457.
    static func problem(_ refusal: FrontRefusal, _ texts: Texts) -> FrontResponse {
        var problem = Problem(
            type: "urn:gatehouse:problem:\(refusal.type)", title: texts.text(refusal.message),
            status: refusal.status,
            documents: refusal.documents.isEmpty ? nil : refusal.documents)
        if !refusal.problems.isEmpty {
            problem.fields = refusal.problems.map {
                Problem.Field(field: $0.field, reason: $0.reason, title: $0.text)
            }
        }
        var response =
            (try? json(refusal.status, problem, type: "application/problem+json"))
            ?? FrontResponse(status: refusal.status)
        response.headers += refusal.headers
        return response
    }
}
