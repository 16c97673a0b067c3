// CSRF tokens of forms: a sealed pair, one half in a cookie, the other in the form.

import GatehouseCore

/// ```
/// offset  size  field
/// 0       1     0x01 in the cookie; in the form 0x02, or 0x03 for one bound to a session
/// 1       16    the browser's pre-session, random; or the session
/// 17      8     issued, Unix seconds
/// ```
/// Both are sealed with purpose `form`. A form of a browser with a session is accepted when it names
/// that session; any other, when cookie and field open and name one pre-session (REQUIREMENTS
/// CSRF-2). At sign-in the cookie is deleted, and from then on forms are bound to the session.
struct FormTokens: Sendable {
    /// A form may lie open over night; what it posts to is still checked like any other request.
    static let lifetimeSeconds: Int64 = 12 * 60 * 60

    enum Outcome: Equatable, Sendable {
        case good
        /// The browser sent no cookie back: it refuses them, or they were cleared.
        case noCookie
        /// The halves don't belong together, or the form is too old.
        case stale
    }

    /// What a form belongs to.
    enum Binding: Equatable, Sendable {
        case preSession(Identifier)
        case session(SessionID)
    }

    private static let cookieKind: UInt8 = 1
    private static let formKind: UInt8 = 2
    private static let sessionFormKind: UInt8 = 3
    private static let byteCount = 25

    let sealer: Sealer
    let entropy: Entropy

    /// The pre-session of a request's cookies; nil unless exactly one opens.
    func preSession(_ cookies: [[UInt8]]) async -> Identifier? {
        guard cookies.count == 1,
            let content = await sealer.open(cookies[0], purpose: .form, transport: .cookie),
            content.count == Self.byteCount, content[0] == Self.cookieKind
        else { return nil }
        return Identifier(content.span, at: 1)
    }

    /// A new pre-session, and the cookie's value.
    func newPreSession(
        at now: Instant
    ) async throws -> (preSession: Identifier, cookie: String) {
        let preSession = try Identifier.random(from: entropy)
        return (preSession, try await seal(Self.cookieKind, preSession, at: now))
    }

    /// The value of the form's hidden field.
    func field(for binding: Binding, at now: Instant) async throws -> String {
        switch binding {
        case .preSession(let preSession): try await seal(Self.formKind, preSession, at: now)
        case .session(let session): try await seal(Self.sessionFormKind, session.value, at: now)
        }
    }

    /// - Parameters:
    ///   - binding: what a form of this browser is bound to, by its cookies; nil without any that
    ///     opens.
    ///   - hasCookie: whether the browser sent any cookie of ours.
    func judge(
        field: [UInt8]?, binding: Binding?, hasCookie: Bool, at now: Instant
    ) async -> Outcome {
        guard hasCookie else { return .noCookie }
        guard let binding, let field,
            let content = await sealer.open(field, purpose: .form, transport: .cookie),
            content.count == Self.byteCount
        else { return .stale }
        let isBound =
            switch binding {
            case .preSession(let preSession):
                content[0] == Self.formKind && Identifier(content.span, at: 1) == preSession
            case .session(let session):
                content[0] == Self.sessionFormKind
                    && Identifier(content.span, at: 1) == session.value
            }
        guard isBound else { return .stale }
        let issued = UInt64(bigEndianBytes: content.span, at: 17)
        let age = now.wall.seconds - Int64(clamping: issued)
        return (-clockSkewSeconds..<Self.lifetimeSeconds).contains(age) ? .good : .stale
    }

    private func seal(
        _ kind: UInt8, _ preSession: Identifier, at now: Instant
    ) async throws -> String {
        let content =
            [kind] + preSession.bytes + UInt64(now.wall.seconds).bigEndianBytes
        return try await sealer.seal(
            content, purpose: .form, transport: .cookie, at: now,
            until: now.wall.advanced(bySeconds: Self.lifetimeSeconds)
        ).text
    }
}
