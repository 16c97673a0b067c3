// What commands take that look at one person's records, and the gate that they all go through.

import ArgumentParser
import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseSystem

struct LookOptions: ParsableArguments {
    @Option(help: "The person's permission: the code of a grant that they gave.")
    var grant: String?
    @Option(
        help:
            "Look without permission, for this reason; audited, and shown to the person at their next sign-in."
    )
    var breakGlass: String?

    func validate() throws {
        guard grant == nil || breakGlass == nil else {
            throw ValidationError("--grant and --break-glass exclude each other")
        }
        if let grant, GrantID(text: grant) == nil {
            throw ValidationError("--grant takes a code of 32 lower-case hex digits")
        }
        if let breakGlass, LookReason(breakGlass) == nil {
            throw ValidationError(
                "--break-glass takes a reason of 1 to \(LookReason.maximumBytes) bytes on one line")
        }
    }

    /// Nil where neither was given.
    var permission: Permission? {
        if let id = grant.flatMap({ GrantID(text: $0) }) { return .grant(id) }
        return breakGlass.flatMap { LookReason($0) }.map { .brokenGlass($0) }
    }

    /// Who looks.
    static func operatorName() throws -> OperatorName {
        guard let name = OperatorName(ProcessAccount.person) else {
            throw CommandFailure.environment(
                "“\(ProcessAccount.person)” can't be an operator's name",
                hint: "run it as an account of 1 to 32 ASCII letters, digits, dots, hyphens and "
                    + "underscores")
        }
        return name
    }

    /// Whether the user's records may be shown. Notes the look first; test users are nobody.
    func mayLook(
        at user: UserID, _ seen: Look.Seen, _ workshop: Workshop
    ) async throws -> Bool {
        if try await workshop.store.isTestUser(user) { return true }
        guard let permission else { return false }
        let now = workshop.now()
        let outcome = try await workshop.store.note(
            Look(
                user: user, time: now, by: try Self.operatorName(), permission: permission,
                seen: seen), audit: .command, at: now)
        if case .refused(let refusal) = outcome { throw Self.refused(refusal) }
        return true
    }

    /// The same, and nothing is shown without.
    func look(at user: User, _ seen: Look.Seen, _ workshop: Workshop) async throws {
        guard try await mayLook(at: user.id, seen, workshop) else {
            throw Self.notPermitted(user.username)
        }
    }

    static func notPermitted(_ username: Username) -> CommandFailure {
        .refused("\(username.text) has not permitted this", hint: hint)
    }

    static func refused(_ refusal: LookRefusal) -> CommandFailure {
        .refused(refusal.rawValue, hint: hint)
    }

    /// What to do without permission.
    private static let hint =
        "the person gives a code at /account/support, for --grant CODE; --break-glass REASON goes "
        + "without, and they are told"
}
