// `gatehouse explain`: what a token is, and why it would be refused.

import ArgumentParser
import Foundation
import GatehouseCheck
import GatehouseCore
import GatehousePeople
import GatehouseStore

struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain", abstract: "Say what a token is, and whether it would be taken.",
        discussion: """
            Reads the token from standard input when it is not given, which keeps it out of the \
            shell's history. Changes nothing about it. Whose it is is told only with \
            permission. Exits 0 for a good token, 1 for one that is refused.
            """)

    /// `-remember`, the longest that our cookies' names have behind the session's.
    private static let suffixCharacters = 9

    @OptionGroup var options: CommonOptions
    @OptionGroup var look: LookOptions
    @Argument(help: "A token, or a cookie as NAME=TOKEN.") var token: String?

    private struct Explanation: Encodable {
        var verdict: String
        var reason: String?
        var key: String?
        var key_state: String?
        var key_created: Int64?
        var key_age_seconds: Int64?
        var key_activated: Int64?
        var key_ended: Int64?
        /// The key goes after this; nil before it has been rotated.
        var key_destroyed_after: Int64?
        var purpose: String?
        var transport: String?
        var session: String?
        var user: String?
        var username: String?
        /// Whether name and id of the user are not told, for want of permission.
        var username_withheld: Bool?
        /// The operator who acts for the user.
        var actor: String?
        var issued: Int64?
        var authenticated: Int64?
        var idle_deadline: Int64?
        var absolute_deadline: Int64?
        var methods: [String]?
        var level: UInt8?
        var remembered: Bool?
        var series: String?
        var generation: UInt32?
        /// Of a remember or device token.
        var deadline: Int64?
        /// What would come of a remember token at the front door now.
        var presenting: String?
        /// How many people the device is known of; a permission would be one person's.
        var users: Int?
    }

    /// What is in a token, by its purpose.
    private enum Content {
        case session(Claims)
        case remember(RememberClaims)
        case device(DeviceClaims)
        /// Of no interest outside the page that it was made for.
        case other

        /// Nil for what no token of this purpose contains.
        init?(_ bytes: Span<UInt8>, purpose: TokenPurpose) {
            switch purpose {
            case .session:
                guard let claims = Claims(bytes) else { return nil }
                self = .session(claims)
            case .remember:
                guard let claims = RememberClaims(bytes) else { return nil }
                self = .remember(claims)
            case .device:
                guard let claims = DeviceClaims(bytes) else { return nil }
                self = .device(claims)
            case .referral:
                guard ReferralClaims(bytes) != nil else { return nil }
                self = .other
            default: self = .other
            }
        }
    }

    func run() async throws {
        let workshop = try await options.openWorkshop(because: look.breakGlass)
        let text = try tokenText(cookieName: workshop.settings.sessionCookieName)
        var explanation = try await explain(Array(text.utf8), workshop: workshop)
        try await describeKey(&explanation, workshop: workshop)
        try await withhold(&explanation, workshop: workshop)
        if options.json {
            try Output.json(explanation)
        } else {
            printForPeople(explanation)
        }
        if explanation.verdict != "good" { throw ExitCode(CommandFailure.Code.refused.rawValue) }
    }

    private func tokenText(cookieName: String) throws -> String {
        var text: String
        if let token {
            text = token
        } else {
            let limit =
                TokenFormat.maximumCharacters + cookieName.utf8.count + 3 + Self.suffixCharacters
            let data = try FileHandle.standardInput.read(upToCount: limit) ?? Data()
            text = String(decoding: data, as: UTF8.self)
            while text.utf8.last == 0x0A || text.utf8.last == 0x0D {
                text = String(decoding: text.utf8.dropLast(), as: UTF8.self)
            }
        }
        // `NAME=TOKEN` of any of our cookies; a token has no `=`.
        if text.hasPrefix(cookieName), let end = text.firstIndex(of: "=") {
            text = String(text[text.index(after: end)...])
        }
        guard !text.isEmpty else { throw CommandFailure.usage("there is no token to explain") }
        return text
    }

    private func explain(_ text: [UInt8], workshop: Workshop) async throws -> Explanation {
        let ring = try await workshop.keyring()
        let cipher = try TokenCipher(
            keyring: ring, audience: workshop.settings.audience, purposes: TokenPurpose.allCases)
        // What it is not says less than what it is: the first purpose and transport that open.
        var first: TokenDefect?
        for purpose in TokenPurpose.allCases {
            for transport in TokenTransport.allCases {
                let opening = cipher.open(text.span, purpose: purpose, transport: transport) {
                    (bytes: Span<UInt8>) -> Content? in Content(bytes, purpose: purpose)
                }
                switch opening {
                case .opened(let content, let key):
                    return try await explain(
                        content, key: ring.key(key), purpose: purpose, transport: transport,
                        workshop: workshop)
                case .refused(let defect, let key):
                    guard defect == .authentication else {
                        return refused(defect, key: key.flatMap { ring.key($0) }, id: key)
                    }
                    first = first ?? defect
                }
            }
        }
        let key = TokenText.keyID(text)
        return refused(first ?? .authentication, key: key.flatMap { ring.key($0) }, id: key)
    }

    /// What is known of the key that the token names.
    private func describeKey(
        _ explanation: inout Explanation, workshop: Workshop
    ) async throws {
        let ring = try await workshop.keyring()
        guard let id = explanation.key.flatMap({ KeyID(text: $0) }), let key = ring.key(id) else {
            return
        }
        explanation.key_created = key.created.seconds
        explanation.key_age_seconds = Output.age(of: key.created, at: workshop.now())
        explanation.key_activated = key.activated?.seconds
        explanation.key_ended = key.ended?.seconds
        explanation.key_destroyed_after =
            KeyLife(key, in: ring, try await workshop.store.keyUsage(), workshop.settings).end?
            .seconds
    }

    /// Takes name and id away from whoever has no permission to know it.
    private func withhold(
        _ explanation: inout Explanation, workshop: Workshop
    ) async throws {
        guard let user = explanation.user.flatMap({ UserID(text: $0) }) else {
            // A device's users are many; a permission is one person's.
            guard look.permission == nil else {
                throw CommandFailure.refused("the token is nobody's whom a permission could be of")
            }
            return
        }
        guard try await !look.mayLook(at: user, .token, workshop) else { return }
        (explanation.user, explanation.username) = (nil, nil)
        explanation.username_withheld = true
    }

    private func refused(_ defect: TokenDefect, key: TokenKey?, id: KeyID?) -> Explanation {
        var explanation = Explanation(
            verdict: defect == .revokedKey ? "revoked" : "invalid", reason: defect.rawValue)
        explanation.key = id?.text
        explanation.key_state = key?.state.name
        return explanation
    }

    private func explain(
        _ content: Content, key: TokenKey?, purpose: TokenPurpose, transport: TokenTransport,
        workshop: Workshop
    ) async throws -> Explanation {
        var explanation = Explanation(verdict: "invalid", reason: "not_a_session")
        explanation.key = key?.id.text
        explanation.key_state = key?.state.name
        explanation.purpose = purpose.rawValue
        explanation.transport = transport.rawValue
        switch content {
        case .session(let claims): try await explain(claims, &explanation, workshop: workshop)
        case .remember(let claims): try await explain(claims, &explanation, workshop: workshop)
        case .device(let claims):
            explanation.issued = claims.issued.seconds
            explanation.deadline = claims.deadline.seconds
            explanation.users = claims.people.count
            (explanation.verdict, explanation.reason) =
                workshop.now() < claims.deadline ? ("good", nil) : ("expired", "deadline")
        case .other: break
        }
        return explanation
    }

    private func explain(
        _ claims: Claims, _ explanation: inout Explanation, workshop: Workshop
    ) async throws {
        explanation.session = claims.session.text
        explanation.user = claims.user.text
        explanation.username = claims.username?.text
        explanation.actor = claims.actor?.text
        explanation.issued = claims.issued.seconds
        explanation.authenticated = claims.authenticated.seconds
        explanation.idle_deadline = claims.idleDeadline.seconds
        explanation.absolute_deadline = claims.absoluteDeadline.seconds
        explanation.methods = claims.methods.names
        explanation.level = claims.level.rawValue
        explanation.remembered = claims.isRemembered
        let (verdict, reason) = try await judge(claims, workshop: workshop)
        explanation.verdict = verdict
        explanation.reason = reason
    }

    /// The front door's rule, from the store's row, which stays as it is.
    private func explain(
        _ claims: RememberClaims, _ explanation: inout Explanation, workshop: Workshop
    ) async throws {
        explanation.series = claims.series.text
        explanation.generation = claims.generation
        explanation.issued = claims.issued.seconds
        explanation.deadline = claims.deadline.seconds
        explanation.presenting = "sign_in"
        let now = workshop.now()
        guard claims.isGood(at: now) else {
            (explanation.verdict, explanation.reason) =
                now < claims.deadline ? ("invalid", "issued_in_future") : ("expired", "deadline")
            return
        }
        let settings = workshop.settings
        guard settings.rememberEnabled, let limits = settings.rememberLimits else {
            explanation.reason = "remember_is_off"
            return
        }
        guard let view = try await workshop.store.remembered(claims.series, at: now) else {
            (explanation.verdict, explanation.reason) = ("revoked", "series")
            return
        }
        explanation.user = view.series.user.text
        explanation.username = view.username.text
        explanation.authenticated = view.series.authenticated.seconds
        let outcome = view.series.state.outcome(
            presenting: claims.generation, graceSeconds: limits.graceSeconds, at: view.time)
        switch outcome {
        case .advance:
            (explanation.verdict, explanation.reason) = ("good", nil)
            explanation.presenting = "new_session"
        case .repeatCurrent:
            (explanation.verdict, explanation.reason) = ("good", nil)
            explanation.presenting = view.session == nil ? "new_session" : "same_session"
            explanation.session = view.session?.id.text
        case .endQuietly:
            (explanation.verdict, explanation.reason) = ("revoked", "generation")
            explanation.presenting = "series_ends"
        case .theft:
            (explanation.verdict, explanation.reason) = ("revoked", "generation")
            explanation.presenting = "theft"
        case .ahead:
            explanation.reason = "generation_ahead_of_the_store"
        }
    }

    /// The same rules as a check, from the store's own rows instead of the feed.
    private func judge(
        _ claims: Claims, workshop: Workshop
    ) async throws -> (verdict: String, reason: String?) {
        let now = workshop.now()
        let store = workshop.store
        switch GatehouseCore.denial(of: claims, at: now, revocations: .empty) {
        case .expired:
            return (
                "expired", now < claims.absoluteDeadline ? "idle_deadline" : "absolute_deadline"
            )
        case .invalid(.issuedInFuture): return ("invalid", "issued_in_future")
        case nil: break
        default: return ("invalid", nil)
        }
        if claims.authenticated < (try await store.authenticatedFloor()) {
            return ("revoked", "all_sessions_before")
        }
        guard let record = try await store.session(claims.session) else {
            return ("revoked", "session_unknown_to_the_store")
        }
        if record.revoked != nil { return ("revoked", "session") }
        if let username = claims.username, let user = try await store.user(named: username),
            user.id == claims.user
        {
            if claims.epoch < user.epoch { return ("revoked", "user_epoch") }
        } else {
            return ("revoked", "user_unknown_to_the_store")
        }
        return ("good", nil)
    }

    private func printForPeople(_ explanation: Explanation) {
        func line(_ name: String, _ value: String?) {
            guard let value else { return }
            print(name.padding(toLength: 18, withPad: " ", startingAt: 0) + value)
        }
        func time(_ seconds: Int64?) -> String? {
            seconds.flatMap { UnixTime(seconds: $0) }.map { Output.text($0) }
        }
        line("verdict", explanation.verdict)
        line("reason", explanation.reason)
        line("key", explanation.key)
        line("key state", explanation.key_state)
        line("key made", time(explanation.key_created))
        line("key age", explanation.key_age_seconds.map { Output.duration($0) })
        line("key active since", time(explanation.key_activated))
        line("key ended", time(explanation.key_ended))
        if explanation.key_created != nil {
            line(
                "key destroyed",
                "after " + (time(explanation.key_destroyed_after) ?? "its rotation"))
        }
        line("purpose", explanation.purpose)
        line("transport", explanation.transport)
        line("session", explanation.session)
        line("user", explanation.user)
        line(
            "username",
            explanation.username_withheld == true
                ? "not told without --grant or --break-glass" : explanation.username)
        line("actor", explanation.actor)
        line("issued", time(explanation.issued))
        line("authenticated", time(explanation.authenticated))
        line("idle deadline", time(explanation.idle_deadline))
        line("absolute deadline", time(explanation.absolute_deadline))
        line("methods", explanation.methods?.joined(separator: ","))
        line("level", explanation.level.map { "\($0)" })
        line("series", explanation.series)
        line("generation", explanation.generation.map { "\($0)" })
        line("deadline", time(explanation.deadline))
        line("presenting it", explanation.presenting)
        line("users", explanation.users.map { "\($0)" })
    }
}
