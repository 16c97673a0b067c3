// How a browser comes back: its session sealed again, or a new one from its remember cookie. No HTTP here.

import GatehouseCore
import Logging

extension Accounts {
    /// The tokens of a request that can bring a client back.
    struct Returning: Sendable {
        /// One at most counts: which of two is the real one can't be known (REQUIREMENTS CK-7).
        var sessions: [[UInt8]]
        var transport: TokenTransport
        var remember: [[UInt8]] = []
        var origin = SessionOrigin.unknown
    }

    struct Resumed: Sendable {
        let claims: Claims
        let token: String
        let remember: RememberCookie?
        /// The new session, when one was begun.
        let begun: SessionRecord?
    }

    enum ResumeOutcome: Sendable {
        case resumed(Resumed)
        /// Nothing that was presented brings anybody back; nothing has changed.
        case signedOut
        /// Something has to be accepted first, at a sign-in; nothing has changed.
        case agreementRequired
        /// Two parties had the remember cookie; what came of it has ended.
        case stolen
        case failed(Failure)
    }

    /// A live session is sealed again under the same id; else the remember cookie counts (DESIGN section
    /// 5). Doing it again and again makes no row.
    func resume(_ returning: Returning) async -> ResumeOutcome {
        do {
            if await sealer.unavailability(at: clock()) != nil { return .failed(.unavailable) }
            if returning.sessions.count == 1,
                let resumed = try await renew(returning.sessions[0], returning.transport)
            {
                return .resumed(resumed)
            }
            // Of two session cookies the check believes none, also beside a renewed one: a browser that
            // came back with them would be sent here again without end.
            guard returning.sessions.count < 2, returning.remember.count == 1,
                rules.remember != nil,
                let content = await sealer.open(
                    returning.remember[0], purpose: .remember, transport: .cookie),
                let claims = RememberClaims(content.span), claims.isGood(at: clock().wall)
            else { return .signedOut }
            return try await present(claims, origin: returning.origin)
        } catch let failure as Failure { return .failed(failure) } catch {
            return .failed(failed(error))
        }
    }

    /// Seals a live session again; nil when it is not.
    private func renew(_ token: [UInt8], _ transport: TokenTransport) async throws -> Resumed? {
        for _ in 0..<Self.maximumTries {
            let now = clock()
            guard let claims = await sealer.claims(of: token, transport: transport),
                claims.issued <= now.wall.advanced(bySeconds: clockSkewSeconds),
                now.wall < claims.absoluteDeadline
            else { return nil }
            // What has ended takes no writing.
            guard try await store.session(claims.session)?.revoked == nil else { return nil }
            let renewed = claims.renewed(idleSeconds: rules.sessions.idleSeconds, at: now.wall)
            let sealed = try await sealer.seal(
                renewed, remember: nil, transport: transport, at: now)
            let outcome = try await store.renewSession(
                SessionRenewal(
                    session: claims.session, idleDeadline: claims.idleDeadline,
                    idleSeconds: rules.sessions.idleSeconds, seal: sealed.session.seal),
                at: now.wall)
            switch outcome {
            case .renewed:
                return Resumed(
                    claims: renewed, token: sealed.session.text, remember: nil, begun: nil)
            case .ended: return nil
            case .outdated: try await node.reload(at: now.wall)
            }
        }
        throw Failure.unavailable
    }

    // MARK: The remember cookie

    private func present(
        _ claims: RememberClaims, origin: SessionOrigin
    ) async throws -> ResumeOutcome {
        guard let limits = rules.remember else { return .signedOut }
        for _ in 0..<Self.maximumTries {
            let now = clock()
            guard let view = try await store.remembered(claims.series, at: now.wall) else {
                return .signedOut
            }
            let rule = view.series.state.outcome(
                presenting: claims.generation, graceSeconds: limits.graceSeconds, at: view.time)
            switch rule {
            case .advance, .repeatCurrent:
                guard try await missingAgreements(of: view.series.user).isEmpty else {
                    return .agreementRequired
                }
            case .endQuietly, .theft, .ahead: break
            }
            let (action, resumed) = try await action(
                rule, view, presenting: claims.generation, origin: origin, at: now)
            let outcome = try await store.presentSeries(
                RememberPresentation(
                    expected: view, presented: claims.generation, action: action, origin: origin),
                at: now.wall)
            switch outcome {
            case .changed: continue
            case .outdated: try await node.reload(at: now.wall)
            case .limitReached: return .signedOut
            case .done(let position):
                try await node.catchUp(to: position, at: now.wall)
                log(rule, view)
                if let resumed { return .resumed(resumed) }
                return rule == .theft ? .stolen : .signedOut
            }
        }
        throw Failure.unavailable
    }

    /// What the store is to do, and what is handed out when it has.
    private func action(
        _ rule: RememberState.Outcome, _ view: RememberView, presenting presented: UInt32,
        origin: SessionOrigin, at now: Instant
    ) async throws -> (RememberPresentation.Action, Resumed?) {
        let generation: UInt32
        switch rule {
        case .endQuietly: return (.endQuietly, nil)
        case .theft: return (.theft, nil)
        case .ahead: return (.ahead, nil)
        case .advance(let next): generation = next
        case .repeatCurrent: generation = view.series.state.generation
        }
        let isRepeat = rule == .repeatCurrent
        // The current generation's session may have ended before the grace: then another comes with it.
        let session =
            if isRepeat, let current = view.session { current } else {
                try SessionRecord(
                    from: view.series, at: now.wall, limits: rules.sessions, origin: origin,
                    entropy: entropy)
            }
        let claims = session.rememberedClaims(
            of: view.series, username: view.username, at: now.wall)
        // Who has the generation gets none: this answer may arrive after another tab's, with the next one.
        let remember =
            presented == generation
            ? nil : view.series.claims(generation: generation, at: now.wall)
        let sealed = try await sealer.seal(
            claims, remember: remember, transport: .cookie, at: now)
        let isNew = session.id != view.session?.id
        let resumed = Resumed(
            claims: claims, token: sealed.session.text,
            remember: Self.cookie(sealed.remember, of: view.series),
            begun: isNew ? session : nil)
        return isNew
            ? (
                .advance(
                    generation: generation, session, sealed.session.seal, rules.atOnce), resumed
            )
            : (.repeatCurrent(sealed.session.seal), resumed)
    }

    private func log(_ rule: RememberState.Outcome, _ view: RememberView) {
        let series = view.series
        switch rule {
        case .theft:
            logger.warning(
                "remember cookie used by two parties",
                metadata: [
                    "event": "authn_token_reuse", "user": "\(series.user.text)",
                    "series": "\(series.id.text)",
                ])
        case .ahead:
            logger.warning(
                "remember cookie newer than the store",
                metadata: ["user": "\(series.user.text)", "series": "\(series.id.text)"])
        case .advance:
            logger.info(
                "came back",
                metadata: ["event": "authn_token_created", "user": "\(series.user.text)"])
        case .repeatCurrent, .endQuietly: break
        }
    }
}
