// Who may look at a person: only by a grant that the person gave, or loudly without one.

package import GatehouseCore

/// A grant's name, which the person reads out; not a secret, since it says for whom it is good only to
/// operators.
package struct GrantID: Hashable, Sendable {
    package let value: Identifier
    package init(_ value: Identifier) { self.value = value }
    /// 32 lower-case hex digits.
    package var text: String { value.hex }

    /// Bytes of the digest that names a grant where its code would let the reader in: 32 bits tell one
    /// person's grants apart, and of the code's 128 they leave 96 to guess.
    package static let digestBytes = 4
    /// The first of the code's SHA-256: 8 lower-case hex digits.
    package var digest: String {
        let bytes = (try? sha256(Array(text.utf8).span)) ?? []
        return bytes.prefix(Self.digestBytes).map { byte in
            (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }.joined()
    }
    package init?(text: String) {
        guard let value = Identifier(hex: text) else { return nil }
        self.value = value
    }
}

/// Why somebody looks: a sentence of one line. A value that exists is valid.
package struct LookReason: Hashable, Sendable {
    package static let maximumBytes = AuditContext.maximumReasonBytes
    package let text: String

    /// - Returns: nil unless it is one line of 1 to 256 bytes.
    package init?(_ text: String) {
        guard (1...Self.maximumBytes).contains(text.utf8.count), text.isOneLine,
            text.utf8.contains(where: { $0 != UInt8(ascii: " ") })
        else { return nil }
        self.text = text
    }
}

/// What a person lets support do, until when.
package struct Grant: Sendable, Equatable {
    package enum Scope: String, Sendable, CaseIterable {
        /// Look at the person's records.
        case see
        /// And be signed in as the person.
        case act
    }

    package let id: GrantID
    package let user: UserID
    package let reason: LookReason
    package let scope: Scope
    /// The only one who may use it; nil for any operator.
    package let onlyFor: OperatorName?
    package let given: UnixTime
    package let ends: UnixTime
    package let revoked: UnixTime?

    package init(
        id: GrantID, user: UserID, reason: LookReason, scope: Scope, onlyFor: OperatorName?,
        given: UnixTime, ends: UnixTime, revoked: UnixTime? = nil
    ) {
        self.id = id
        self.user = user
        self.reason = reason
        self.scope = scope
        self.onlyFor = onlyFor
        self.given = given
        self.ends = ends
        self.revoked = revoked
    }

    package func isLive(at now: UnixTime) -> Bool { revoked == nil && now < ends }

    /// Why the operator may not do this under the grant; nil when they may.
    package func refusal(
        of kind: Scope, on user: UserID, by operatorName: OperatorName, at now: UnixTime
    ) -> LookRefusal? {
        guard self.user == user else { return .otherUser }
        guard revoked == nil else { return .revoked }
        guard now < ends else { return .expired }
        guard onlyFor == nil || onlyFor == operatorName else { return .otherOperator }
        return kind == .act && scope == .see ? .scope : nil
    }
}

/// How long people let support in.
package struct PermissionRule: Sendable, Equatable {
    /// An hour: a telephone call and what comes after it.
    package static let defaultSeconds: Int64 = 3600
    /// A minute; what is shorter is over before it was read out.
    package static let minimumSeconds: Int64 = 60
    /// More at once than anybody can keep in view.
    package static let maximumOpen = 20
    /// Rows of grants of one person: one a day for more than a year. A new one takes the place of one that
    /// has ended.
    package static let maximumKept = 500
    /// Rows of looks of one person, unless more are untold or of the last year: more than anybody reads.
    package static let maximumKeptLooks = 10_000
    /// A look of this time stays however many there are, in seconds: a year, in which people ask.
    package static let looksKeptSeconds: Int64 = 365 * 86_400
    /// How long after an operator made a recovery link nothing that tells of operators is put away, in
    /// seconds: whoever used the link has a fresh password, and may not be the person, who comes back within
    /// a week and sees it.
    package static let recoveryToldSeconds: Int64 = 7 * 86_400
    /// How long somebody acts without permission, in seconds.
    package static let brokenGlassSeconds: Int64 = 3600

    /// The longest time of a grant.
    package var longestSeconds: Int64 = 7 * 86_400

    package init() {}

    /// Nil for a time that nobody is let in for.
    package func seconds(_ wanted: Int64?) -> Int64? {
        guard let wanted else { return min(Self.defaultSeconds, longestSeconds) }
        return (Self.minimumSeconds...longestSeconds).contains(wanted) ? wanted : nil
    }
}

/// Why somebody may look.
package enum Permission: Sendable, Equatable {
    case grant(GrantID)
    /// Without the person's permission, and the person is told why.
    case brokenGlass(LookReason)
}

package enum LookRefusal: String, Sendable, CaseIterable {
    case noGrant = "there is no such grant"
    case otherUser = "the grant is somebody else's"
    case revoked = "the grant was revoked"
    case expired = "the grant has ended"
    case otherOperator = "the grant is for another operator"
    case scope = "the grant is for seeing, not for acting"
}

/// Somebody looked at a person.
package struct Look: Sendable, Equatable {
    package enum Seen: String, Sendable, CaseIterable {
        case account
        case signIns = "sign_ins"
        /// What a token of theirs says.
        case token
        /// What the audit trail says of them.
        case audit
        /// All that is held about them.
        case export
        /// That they are who has a value in their profile.
        case found
        /// Nothing yet: a link was made with which whoever has it sets the password.
        case recovery
        /// Whatever they see: somebody was signed in as them.
        case session
    }

    /// Rises; 0 for one that is not stored yet.
    package let id: Int64
    package let user: UserID
    package let time: UnixTime
    package let by: OperatorName
    package let permission: Permission
    package let seen: Seen
    package let session: SessionID?

    package init(
        id: Int64 = 0, user: UserID, time: UnixTime, by: OperatorName, permission: Permission,
        seen: Seen, session: SessionID? = nil
    ) {
        self.id = id
        self.user = user
        self.time = time
        self.by = by
        self.permission = permission
        self.seen = seen
        self.session = session
    }
}

/// What an acting session shows on every page.
package struct Acting: Sendable, Equatable {
    package let by: OperatorName
    package let reason: LookReason
    package let permission: Permission

    package init(by: OperatorName, reason: LookReason, permission: Permission) {
        self.by = by
        self.reason = reason
        self.permission = permission
    }
}

/// An operator who asks over the admin endpoint.
package struct AdminToken: Sendable, Equatable {
    /// More operators than one deployment has; all are compared at every request.
    package static let maximumCount = 100
    /// Random bytes of the secret.
    package static let secretBytes = 32

    package let name: OperatorName
    /// SHA-256 of the secret.
    package let hash: [UInt8]
    package let created: UnixTime
    package let lastUsed: UnixTime?
    package let revoked: UnixTime?

    package init(
        name: OperatorName, hash: [UInt8], created: UnixTime, lastUsed: UnixTime? = nil,
        revoked: UnixTime? = nil
    ) {
        self.name = name
        self.hash = hash
        self.created = created
        self.lastUsed = lastUsed
        self.revoked = revoked
    }

    /// The one of `tokens` whose secret is `secret`; every one is compared, in constant time.
    package static func matching(_ secret: [UInt8], in tokens: [AdminToken]) -> AdminToken? {
        guard let hash = try? sha256(secret.span) else { return nil }
        var found: AdminToken?
        for token in tokens where constantTimeEqual(token.hash.span, hash.span) {
            found = token
        }
        return found?.revoked == nil ? found : nil
    }
}
