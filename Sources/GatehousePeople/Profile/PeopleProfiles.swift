// What is done with profiles: read, change with their history, hand out.

package import GatehouseCore

/// A profile as it was read.
package struct StoredProfile: Sendable {
    package let profile: Profile
    /// Zero where there is none yet.
    package let revision: Int64
    package let updated: UnixTime?
    fileprivate let row: ProfileRow?
}

/// One change of a field, as people see it.
package struct ProfileHistoryEntry: Sendable {
    package let sequence: Int64
    package let time: UnixTime
    package let change: ProfileChange

    package init(sequence: Int64, time: UnixTime, change: ProfileChange) {
        self.sequence = sequence
        self.time = time
        self.change = change
    }
}

package enum ProfileChangeOutcome: Sendable, Equatable {
    case changed
    /// It said that already.
    case same
    /// Somebody else, or another page, was faster.
    case changedMeanwhile
    case noUser
}

extension People {
    package func profileVault() async throws(ProfileFailure) -> ProfileVault {
        guard let ring = await node.loadedKeyring else { throw .noKey }
        return try ProfileVault(ring)
    }

    package func profile(of user: UserID) async throws(ProfileFailure) -> StoredProfile {
        let row: ProfileRow?
        do { row = try await store.profile(of: user) } catch { throw .store(error) }
        return try await stored(row, of: user)
    }

    private func stored(
        _ row: ProfileRow?, of user: UserID
    ) async throws(ProfileFailure) -> StoredProfile {
        guard let row else {
            return StoredProfile(profile: Profile(), revision: 0, updated: nil, row: nil)
        }
        let profile = try await profileVault().open(row.sealed, of: user, revision: row.revision)
        return StoredProfile(
            profile: profile, revision: row.revision, updated: row.updated, row: row)
    }

    /// The profile and its history, the latest change first.
    package func profileWithHistory(
        of user: UserID
    ) async throws(ProfileFailure) -> (StoredProfile, [ProfileHistoryEntry]) {
        let rows: ProfileRows?
        do { rows = try await store.profileRows(of: user) } catch { throw .store(error) }
        let stored = try await stored(rows?.profile, of: user)
        guard let rows else { return (stored, []) }
        let vault = try await profileVault()
        var entries: [ProfileHistoryEntry] = []
        for row in rows.history.reversed() {
            let change = try vault.open(row.sealed, of: user, sequence: row.sequence)
            entries.append(
                ProfileHistoryEntry(sequence: row.sequence, time: row.time, change: change))
        }
        return (stored, entries)
    }

    /// A new user's profile, for ``Enrolment/profile``; nil when it says nothing.
    package func newProfile(
        _ profile: Profile, of user: UserID, at now: UnixTime
    ) async throws(ProfileFailure) -> ProfileWrite? {
        guard !profile.values.isEmpty else { return nil }
        return try write(profile, of: user, after: nil, [], try await profileVault(), at: now)
    }

    /// Puts `profile` in the place of what was read.
    package func change(
        _ old: StoredProfile, to profile: Profile, of user: UserID, by writer: ProfileWriter,
        session: SessionID? = nil
    ) async throws(ProfileFailure) -> ProfileChangeOutcome {
        guard profile != old.profile else { return .same }
        let now = clock().wall
        let changes = Self.changes(
            from: old.profile.kept(by: schema.profile), to: profile, by: writer)
        let vault = try await profileVault()
        var write = try write(profile, of: user, after: old.row, changes, vault, at: now)
        if old.profile != old.profile.kept(by: schema.profile) {
            write.removing = try await dropped(of: user)
        }
        let event = AuditEvent(
            .profileChanged, by: .server, user: user, session: session,
            detail: Self.detail(of: changes, by: writer))
        let outcome: ProfileWriteOutcome
        do { outcome = try await store.writeProfile(write, audit: event, at: now) } catch {
            throw .store(error)
        }
        switch outcome {
        case .written: return .changed
        case .changedMeanwhile: return .changedMeanwhile
        case .noUser: return .noUser
        }
    }

    private func write(
        _ profile: Profile, of user: UserID, after old: ProfileRow?, _ changes: [ProfileChange],
        _ vault: ProfileVault, at now: UnixTime
    ) throws(ProfileFailure) -> ProfileWrite {
        let revision = (old?.revision ?? 0) + 1
        let last = old?.lastSequence ?? 0
        var write = ProfileWrite(
            ProfileRow(
                user: user, revision: revision, updated: now,
                lastSequence: last + Int64(changes.count),
                sealed: try vault.seal(profile, of: user, revision: revision, entropy: entropy)))
        for (index, change) in changes.enumerated() {
            let sequence = last + 1 + Int64(index)
            write.history.append(
                ProfileHistoryRow(
                    sequence: sequence, time: now,
                    sealed: try vault.seal(
                        change, of: user, sequence: sequence, entropy: entropy)))
        }
        write.digests = try vault.digests(
            of: profile, in: schema.profile.fields.filter(\.isSearched))
        return write
    }

    /// In the order of the fields' names.
    private static func changes(
        from old: Profile, to new: Profile, by writer: ProfileWriter
    ) -> [ProfileChange] {
        Set(old.values.keys).union(new.values.keys).sorted().compactMap { field in
            let (before, after) = (old.values[field], new.values[field])
            return before == after
                ? nil : ProfileChange(field: field, old: before, new: after, writer: writer)
        }
    }

    /// Entries of the history about fields that the schema has no more.
    private func dropped(of user: UserID) async throws(ProfileFailure) -> [Int64] {
        try await profileWithHistory(of: user).1
            .filter { schema.profile.field($0.change.field) == nil }.map(\.sequence)
    }

    /// Which fields, never what they say; as many as an audit entry has room for.
    static func detail(of changes: [ProfileChange], by writer: ProfileWriter) -> String {
        var detail = if case .actor = writer { "by=actor fields=" } else { "by=owner fields=" }
        for (index, change) in changes.enumerated() {
            let rest = "+\(changes.count - index)"
            let next = (index == 0 ? "" : ",") + change.field
            guard detail.utf8.count + next.utf8.count + rest.utf8.count <= maximumDetailBytes else {
                return detail + rest
            }
            detail += next
        }
        return detail
    }

    /// What the store takes (`AuditEvent.detail`).
    static let maximumDetailBytes = 256

    /// All that is held: also fields that the schema has no more, until they are gone.
    package func exportedProfile(
        of user: UserID
    ) async throws(ProfileFailure) -> ExportValue.Field {
        let (stored, history) = try await profileWithHistory(of: user)
        let names = schema.profile.fields.map(\.name).filter { stored.profile.values[$0] != nil }
        let others = stored.profile.values.keys.filter { !names.contains($0) }.sorted()
        func text(_ value: String?) -> ExportValue { value.map { .text($0) } ?? .none }
        return ExportValue.Field(
            "profile",
            .fields([
                ExportValue.Field("updated", stored.updated.map { .time($0) } ?? .none),
                ExportValue.Field(
                    "values",
                    .fields(
                        (names + others).map {
                            ExportValue.Field($0, text(stored.profile.values[$0]))
                        })),
                ExportValue.Field(
                    "history",
                    .list(
                        history.map { entry in
                            .fields([
                                ExportValue.Field("time", .time(entry.time)),
                                ExportValue.Field("field", .text(entry.change.field)),
                                ExportValue.Field("old", text(entry.change.old)),
                                ExportValue.Field("new", text(entry.change.new)),
                                ExportValue.Field("by", .text(entry.change.writer.text)),
                            ])
                        })),
            ]))
    }
}

extension ProfileWriter {
    /// For programs.
    package var text: String {
        switch self {
        case .owner: "self"
        case .actor(let name): name
        }
    }
}
