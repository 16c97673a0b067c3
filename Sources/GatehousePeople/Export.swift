// All that is held about a person: which parts there are, and what the account's own part says.

package import GatehouseCore

extension People {
    /// What an export is read by: raised when a program that reads one would go wrong with the next.
    package static let exportFormat = "gatehouse-export-1"

    /// One thing that is held about a person.
    package typealias ExportPart =
        @Sendable (People, User) async throws -> [ExportValue.Field]

    /// In the order in which people read them.
    package static let exportParts: [ExportPart] = [
        { people, user in try await people.exportedAccount(of: user) },
        { people, user in [try await people.exportedProfile(of: user.id)] },
        { people, user in [try await people.exportedAgreements(of: user.id)] },
        { people, user in [try await people.exportedPermissions(of: user.id)] },
        { people, user in [try await people.exportedReferral(of: user.id)] },
        { people, user in [try await people.exportedDeparture(of: user.id)] },
    ]

    /// Everything; nil when there is no such user. Reading it is noted in the audit trail, before it is read.
    ///
    /// - Throws: `StoreError`, and whatever a part can't be opened for.
    package func export(of id: UserID, by actor: AuditEvent.Actor) async throws -> ExportValue? {
        guard let user = try await store.user(id) else { return nil }
        let now = clock().wall
        try await store.note(AuditEvent(.dataExported, by: actor, user: id), at: now)
        var fields: [ExportValue.Field] = [
            .init("format", .text(Self.exportFormat)), .init("made", .time(now)),
        ]
        for part in Self.exportParts { fields += try await part(self, user) }
        return .fields(fields)
    }

    /// When the person goes, if they do.
    package func exportedDeparture(
        of user: UserID
    ) async throws(StoreError) -> ExportValue.Field {
        guard let deletion = try await store.deletion(of: user) else {
            return .init("deletion", .none)
        }
        return .init(
            "deletion",
            .fields([
                .init("requested", .time(deletion.requested)), .init("due", .time(deletion.due)),
            ]))
    }

    /// The account and what comes of using it.
    private func exportedAccount(of user: User) async throws -> [ExportValue.Field] {
        let names = try await store.names(of: user.id)
        let held = try await store.held(about: user.id)
        return [
            .init(
                "account",
                .fields([
                    .init("user", .text(user.id.text)),
                    .init("username", .text(user.username.text)),
                    .init("created", .time(user.created)),
                    .init("state", .text(user.state.rawValue)),
                    .init("has_password", .flag(user.passwordHash != nil)),
                    .init("last_active_day", .init(held.activeDay?.text)),
                ])),
            .init(
                "former_usernames",
                .list(
                    names.filter { $0.state == .former }.map { name in
                        .fields([
                            .init("username", .text(name.username.text)),
                            .init("until", .time(name.since)),
                        ])
                    })),
            .init("sessions", .list(held.sessions.map(ExportValue.init))),
            .init("remembered_browsers", .list(held.series.map(ExportValue.init))),
            .init("devices", .list(held.devices.map(ExportValue.init))),
            .init("preferences", .list(held.devices.flatMap(Self.preferences))),
            .init(
                "warnings",
                .list(
                    held.warnings.map { warning in
                        .fields([
                            .init("time", .time(warning.time)),
                            .init("browser", .init(warning.browser)),
                            .init("place", .init(warning.place)),
                        ])
                    })),
            .init(
                "recovery_links",
                .list(
                    held.links.map { link in
                        .fields([
                            .init("expires", .time(link.expires)),
                            .init("used", link.used.map { .time($0) } ?? .none),
                        ])
                    })),
            .init("failed_sign_ins", .list(try await failures(of: user, held.devices))),
            .init("audit", .list(held.audit.map(ExportValue.init))),
        ]
    }

    private static func preferences(_ device: Device) -> [ExportValue] {
        device.preferences.values.sorted { $0.key < $1.key }.map { key, value in
            .fields([
                .init("device", .text(device.id.value.hex)), .init("name", .text(key)),
                .init("value", .text(value)),
            ])
        }
    }

    /// Counters of the name and of each device that are not at zero.
    private func failures(of user: User, _ devices: [Device]) async throws -> [ExportValue] {
        guard let key = await node.loadedKeyring?.lookUpKey else { throw ExportFailure.noLookUpKey }
        var counters: [(on: String, key: AttemptKey)] = [
            ("username", try AttemptKey(user.username, key: key))
        ]
        for device in devices {
            counters.append(
                (device.id.value.hex, try AttemptKey(device: device.id, of: user.id, key: key)))
        }
        var found: [ExportValue] = []
        for counter in counters {
            guard let count = try await store.attempts(counter.key) else { continue }
            found.append(
                .fields([
                    .init("on", .text(counter.on)),
                    .init("in_a_row", .number(Int64(count.failures))),
                    .init("next_try", .time(count.next)),
                ]))
        }
        return found
    }
}

/// Why an export can't be made now.
package enum ExportFailure: Error { case noLookUpKey }

extension ExportValue {
    init(_ text: String?) { self = text.map { .text($0) } ?? .none }

    fileprivate init(_ session: SessionRecord) {
        self = .fields([
            .init("session", .text(session.id.text)), .init("created", .time(session.created)),
            .init("authenticated", .time(session.authenticated)),
            .init("idle_deadline", .time(session.idleDeadline)),
            .init("absolute_deadline", .time(session.absoluteDeadline)),
            .init("methods", .text(session.methods.names.joined(separator: " "))),
            .init("level", .number(Int64(session.level.rawValue))),
            .init("remembered", .flag(session.isRemembered)),
            .init("ended", session.revoked.map { .time($0) } ?? .none),
            .init("last_used", session.lastUsed.map { .time($0) } ?? .none),
            .init("browser", .init(session.origin.browser)),
            .init("place", .init(session.origin.place)),
        ])
    }

    fileprivate init(_ series: HeldRecords.Series) {
        self = .fields([
            .init("series", .text(series.id.value.hex)), .init("created", .time(series.created)),
            .init("authenticated", .time(series.authenticated)),
            .init("methods", .text(series.methods.names.joined(separator: " "))),
            .init("deadline", .time(series.deadline)),
            .init("generation", .number(Int64(series.generation))),
            .init("made", .time(series.made)), .init("session", .text(series.session.text)),
            .init("device", .init(series.device?.value.hex)),
            .init("browser", .init(series.origin.browser)),
            .init("place", .init(series.origin.place)),
        ])
    }

    fileprivate init(_ device: Device) {
        self = .fields([
            .init("device", .text(device.id.value.hex)), .init("created", .time(device.created)),
            .init("last_used_day", .time(device.lastUsed)),
            .init("password_given", .flag(device.isProved)),
        ])
    }

    fileprivate init(_ record: AuditRecord) {
        self = .fields([
            .init("entry", .number(Int64(clamping: record.sequence))),
            .init("time", .time(record.time)), .init("kind", .text(record.kindText)),
            .init("actor", .text(record.actorText)), .init("operator", .init(record.operatorName)),
            .init("session", .init(record.event.session?.text)),
            .init("series", .init(record.event.series?.value.hex)),
            .init("detail", .init(record.event.detail)),
            .init("place", .init(record.personal?.origin.place)),
            .init("address", .init(record.personal?.address?.text)),
            .init("browser", .init(record.personal?.origin.browser)),
            .init("reason", .init(record.personal?.reason)),
        ])
    }
}
