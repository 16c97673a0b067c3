// What people do about who may look at them, and what is told of it.

package import GatehouseCore

extension People {
    /// More than a page shows of grants and looks each; an export has all.
    package static let shownPermissions = 100
    private static let exportedPermissionRows = 100_000

    package enum GiveOutcome: Sendable, Equatable {
        case given(Grant)
        case tooMany
        case userChanged
    }

    /// Lets support in.
    ///
    /// - Parameter seconds: as ``PermissionRule/seconds(_:)`` took them.
    package func letIn(
        to user: UserID, reason: LookReason, scope: Grant.Scope, onlyFor: OperatorName?,
        seconds: Int64
    ) async throws -> GiveOutcome {
        let now = clock().wall
        let grant = Grant(
            id: GrantID(try Identifier.random(from: entropy)), user: user, reason: reason,
            scope: scope, onlyFor: onlyFor, given: now, ends: now.advanced(bySeconds: seconds))
        let outcome = try await store.giveGrant(
            grant,
            audit: AuditEvent(
                .grantGiven, by: .server, user: user,
                detail:
                    "grant=\(grant.id.digest) scope=\(scope.rawValue) until=\(grant.ends.seconds)"
            ), at: now)
        return switch outcome {
        case .given: .given(grant)
        case .tooMany: .tooMany
        case .userChanged: .userChanged
        }
    }

    /// Takes a grant back. Sessions under it are refused on this node before this returns; false when the
    /// user has no such grant that was not revoked.
    package func revoke(_ id: GrantID, of user: UserID) async throws -> Bool {
        let now = clock().wall
        let outcome = try await store.revokeGrant(
            id, of: user,
            audit: AuditEvent(.grantRevoked, by: .server, user: user, detail: "grant=\(id.digest)"),
            at: now)
        guard case .revoked(let position, _) = outcome else { return false }
        try await node.catchUp(to: position, at: now)
        return true
    }

    /// Grants and looks, for an export, which others may read: a grant is named by its digest.
    package func exportedPermissions(
        of user: UserID
    ) async throws(StoreError) -> ExportValue.Field {
        let grants = try await store.grants(
            of: user, limit: Self.exportedPermissionRows, at: clock().wall)
        let looks = try await store.looks(of: user, limit: Self.exportedPermissionRows)
        return ExportValue.Field(
            "support",
            .fields([
                ExportValue.Field("grants", .list(grants.map(\.exported))),
                ExportValue.Field("looks", .list(looks.map(\.exported))),
            ]))
    }
}

extension Grant {
    fileprivate var exported: ExportValue {
        .fields([
            ExportValue.Field("grant", .text(id.digest)),
            ExportValue.Field("reason", .text(reason.text)),
            ExportValue.Field("scope", .text(scope.rawValue)),
            ExportValue.Field("operator", onlyFor.map { .text($0.text) } ?? .none),
            ExportValue.Field("given", .time(given)),
            ExportValue.Field("ends", .time(ends)),
            ExportValue.Field("revoked", revoked.map { .time($0) } ?? .none),
        ])
    }
}

extension Look {
    package var grant: GrantID? { if case .grant(let id) = permission { id } else { nil } }

    package var brokenGlassReason: LookReason? {
        if case .brokenGlass(let reason) = permission { reason } else { nil }
    }

    fileprivate var exported: ExportValue {
        .fields([
            ExportValue.Field("time", .time(time)),
            ExportValue.Field("operator", .text(by.text)),
            ExportValue.Field("seen", .text(seen.rawValue)),
            ExportValue.Field("grant", grant.map { .text($0.digest) } ?? .none),
            ExportValue.Field(
                "without_permission_because", brokenGlassReason.map { .text($0.text) } ?? .none),
            ExportValue.Field("session", session.map { .text($0.text) } ?? .none),
        ])
    }
}
