// Operators with a token, who ask for one person's record over the admin endpoint.

import Foundation
import GatehouseCore
package import GatehousePeople
import HTTPTypes
import Hummingbird

/// `GET /v1/admin/users/{username}`: the record of a person, to an operator with a token and a permission.
package struct AdminDesk: Sendable {
    /// As long as any username, each byte percent-encoded.
    static let maximumNameCharacters = Username.maximumInputBytes * 3

    private let people: People

    package init(people: People) { self.people = people }

    /// What is answered; never cached, never to another origin, and no cookie counts.
    struct Answer {
        let status: Int
        let type: String
        let body: String
        var headers: [(HTTPField.Name, String)] = []
    }

    private struct Refusal: Error {
        let status: Int
        let type: String
        let title: String
    }

    private struct Problem: Encodable {
        let type: String
        let title: String
        let status: Int
    }

    private struct Record: Encodable {
        struct SignInRow: Encodable {
            let session: String
            let remembered: Bool
            let created: Int64
            let last_used: Int64
            let browser: String?
            let place: String?
            /// The operator who acts in it.
            let actor: String?
        }
        let id: String
        let username: String
        let state: String
        let created: Int64
        let has_password: Bool
        let sign_ins: [SignInRow]
        /// What the person says of themselves, by field.
        let profile: [String: String]
    }

    func record(of path: String, _ fields: HTTPFields) async -> Answer {
        do {
            let now = people.clock().wall
            let token = try await token(fields)
            let user = try await user(path)
            try await note(user, by: token.name, try permission(fields), at: now)
            try await people.store.useAdminToken(token.name, at: now)
            return try Self.json(200, try await record(user, at: now))
        } catch let refusal as Refusal {
            return Self.problem(refusal)
        } catch {
            return Self.problem(
                Refusal(status: 503, type: "unavailable", title: "The store can't be asked now."))
        }
    }

    private func token(_ fields: HTTPFields) async throws -> AdminToken {
        let values = fields[values: .authorization]
        let prefix = "Bearer "
        guard values.count == 1, values[0].hasPrefix(prefix),
            let token = AdminToken.matching(
                Array(values[0].utf8.dropFirst(prefix.utf8.count)),
                in: try await people.store.adminTokens())
        else {
            throw Refusal(
                status: 401, type: "admin_token",
                title: "This takes the token of an operator, which `gatehouse admin-tokens` makes.")
        }
        return token
    }

    /// Nil where none was given.
    private func permission(_ fields: HTTPFields) throws -> Permission? {
        let grants = fields[values: Self.grantField]
        let reasons = fields[values: Self.breakGlassField]
        guard grants.count + reasons.count > 0 else { return nil }
        guard grants.count + reasons.count == 1 else {
            throw Self.badPermission("There is one permission to a request.")
        }
        if let text = grants.first {
            guard let id = GrantID(text: text) else {
                throw Self.badPermission("A grant is named by 32 lower-case hex digits.")
            }
            return .grant(id)
        }
        guard let reason = reasons.first.flatMap({ LookReason($0) }) else {
            throw Self.badPermission("A reason has 1 to \(LookReason.maximumBytes) bytes.")
        }
        return .brokenGlass(reason)
    }

    private static func badPermission(_ title: String) -> Refusal {
        Refusal(status: 400, type: "permission_malformed", title: title)
    }

    static let grantField = name("gatehouse-grant")
    static let breakGlassField = name("gatehouse-break-glass")

    private static func name(_ text: String) -> HTTPField.Name {
        guard let name = HTTPField.Name(text) else { preconditionFailure("no header name") }
        return name
    }

    private func user(_ path: String) async throws -> User {
        guard path.utf8.count <= Self.maximumNameCharacters,
            let text = path.removingPercentEncoding, let username = try? Username(text),
            let user = try await people.store.user(named: username)
        else { throw Refusal(status: 404, type: "not_found", title: "There is no such user.") }
        return user
    }

    private func note(
        _ user: User, by name: OperatorName, _ permission: Permission?, at now: UnixTime
    ) async throws {
        if try await people.store.isTestUser(user.id) { return }
        guard let permission else {
            throw Refusal(
                status: 403, type: "permission",
                title:
                    "The person has not permitted this: Gatehouse-Grant takes the code that they "
                    + "give, Gatehouse-Break-Glass a reason to go without.")
        }
        var context = AuditContext()
        context.operatorName = name.text
        if case .brokenGlass(let reason) = permission { context.reason = reason.text }
        let outcome = try await AuditContext.$current.withValue(context) {
            try await people.store.note(
                Look(
                    user: user.id, time: now, by: name, permission: permission, seen: .export),
                audit: .server, at: now)
        }
        if case .refused(let refusal) = outcome {
            throw Refusal(status: 403, type: "permission", title: refusal.rawValue)
        }
    }

    private func record(_ user: User, at now: UnixTime) async throws -> Record {
        let actors = try await people.store.actors(of: user.id)
        return Record(
            id: user.id.text, username: user.username.text, state: user.state.rawValue,
            created: user.created.seconds, has_password: user.passwordHash != nil,
            sign_ins: try await people.store.signIns(of: user.id, at: now).map { signIn in
                Record.SignInRow(
                    session: signIn.session.text, remembered: signIn.isRemembered,
                    created: signIn.created.seconds, last_used: signIn.lastUsed.seconds,
                    browser: signIn.origin.browser, place: signIn.origin.place,
                    actor: actors[signIn.session]?.text)
            },
            profile: try await people.profile(of: user.id).profile.values)
    }

    private static func json(
        _ status: Int, _ value: some Encodable, type: String = "application/json"
    ) throws -> Answer {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Answer(
            status: status, type: type,
            body: String(decoding: try encoder.encode(value), as: UTF8.self) + "\n")
    }

    private static func problem(_ refusal: Refusal) -> Answer {
        let problem = Problem(
            type: "urn:gatehouse:problem:\(refusal.type)", title: refusal.title,
            status: refusal.status)
        var answer =
            (try? json(refusal.status, problem, type: "application/problem+json"))
            ?? Answer(status: refusal.status, type: "text/plain", body: "")
        if refusal.status == 401 { answer.headers.append((.wwwAuthenticate, "Bearer")) }
        return answer
    }
}
