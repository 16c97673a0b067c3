// Profiles written anew: under another key, or without what the schema has no more.

package import GatehouseCore

/// Rewrites all profiles in batches. Each is done if it is still what was read, so that it works beside
/// running servers, and goes on after an interruption: what is done already is left alone.
package struct ProfileUpkeep: Sendable {
    /// Profiles of one transaction: with the longest history 5,000 rows, so that no server waits long for
    /// its turn to write.
    package static let batch = 25
    /// How often all are looked through for those that changed meanwhile.
    static let maximumPasses = 10

    package struct Tally: Sendable, Equatable {
        package var rewritten = 0
        package var already = 0
        /// They changed each time; another run takes them up.
        package var changedMeanwhile = 0
        /// They don't open under any key of the ring, and are left alone.
        package var damaged = 0

        package init(rewritten: Int = 0, already: Int = 0) {
            self.rewritten = rewritten
            self.already = already
        }
    }

    private let store: any PeopleStore
    private let vault: ProfileVault
    private let entropy: Entropy

    package init(store: any PeopleStore, vault: ProfileVault, entropy: Entropy) {
        self.store = store
        self.vault = vault
        self.entropy = entropy
    }

    /// Seals everything under the newest key that is not.
    ///
    /// - Parameters:
    ///   - schema: says what people are found by.
    ///   - now: when each batch is written.
    package func rotate(
        _ schema: ProfileSchema, at now: @Sendable () -> UnixTime
    ) async throws(ProfileFailure) -> Tally {
        try await rewriteAll(
            at: now, reason: "rotated", searched: schema.fields.filter(\.isSearched)
        ) {
            rows, profile throws(ProfileFailure) in
            let keys =
                [rows.profile.sealed.key] + rows.history.map(\.sealed.key)
                + rows.digests.map(\.key)
            guard keys.contains(where: { $0 != vault.current }) else { return nil }
            return Plan(profile: profile, drops: { _ in false })
        }
    }

    /// Drops fields that the schema has no more, with their history, and makes the digests what it asks for.
    package func prune(
        to schema: ProfileSchema, at now: @Sendable () -> UnixTime
    ) async throws(ProfileFailure) -> Tally {
        let searched = schema.fields.filter(\.isSearched)
        return try await rewriteAll(at: now, reason: "pruned", searched: searched) {
            rows, profile throws(ProfileFailure) in
            let kept = profile.kept(by: schema)
            var isWhole = kept == profile
            for row in rows.history where isWhole {
                let change = try vault.open(
                    row.sealed, of: rows.profile.user, sequence: row.sequence)
                isWhole = schema.field(change.field) != nil
            }
            if isWhole, Set(try vault.digests(of: kept, in: searched)) == Set(rows.digests) {
                return nil
            }
            return Plan(profile: kept, drops: { schema.field($0) == nil })
        }
    }

    private struct Plan {
        let profile: Profile
        let drops: (String) -> Bool
    }

    private func rewriteAll(
        at now: @Sendable () -> UnixTime, reason: String, searched: [ProfileField],
        _ plan: (ProfileRows, Profile) throws(ProfileFailure) -> Plan?
    ) async throws(ProfileFailure) -> Tally {
        var tally = Tally()
        for pass in 0..<Self.maximumPasses {
            (tally.changedMeanwhile, tally.damaged) = (0, 0)
            var last: UserID?
            while true {
                let page = try await page(after: last)
                var rewrites: [ProfileRewrite] = []
                for rows in page {
                    do throws(ProfileFailure) {
                        let profile = try vault.open(
                            rows.profile.sealed, of: rows.profile.user,
                            revision: rows.profile.revision)
                        guard let plan = try plan(rows, profile) else {
                            // Later passes meet what the ones before have done.
                            tally.already += pass == 0 ? 1 : 0
                            continue
                        }
                        rewrites.append(try rewrite(rows, plan, searched))
                    } catch {
                        guard error == .damaged || error == .noKey else { throw error }
                        tally.damaged += 1
                    }
                }
                let done = try await write(rewrites, reason, at: now())
                tally.rewritten += done
                tally.changedMeanwhile += rewrites.count - done
                guard page.count == Self.batch else { break }
                last = page.last?.profile.user
            }
            guard tally.changedMeanwhile > 0, pass + 1 < Self.maximumPasses else { break }
        }
        return tally
    }

    private func page(after user: UserID?) async throws(ProfileFailure) -> [ProfileRows] {
        do { return try await store.profileRows(after: user, limit: Self.batch) } catch {
            throw .store(error)
        }
    }

    private func rewrite(
        _ rows: ProfileRows, _ plan: Plan, _ searched: [ProfileField]
    ) throws(ProfileFailure) -> ProfileRewrite {
        let user = rows.profile.user
        var history: [Int64: SealedRow] = [:]
        for row in rows.history {
            let change = try vault.open(row.sealed, of: user, sequence: row.sequence)
            guard !plan.drops(change.field) else { continue }
            history[row.sequence] = try vault.seal(
                change, of: user, sequence: row.sequence, entropy: entropy)
        }
        return ProfileRewrite(
            rows.profile,
            sealed: try vault.seal(
                plan.profile, of: user, revision: rows.profile.revision, entropy: entropy),
            history: history,
            digests: try vault.digests(of: plan.profile, in: searched))
    }

    private func write(
        _ rewrites: [ProfileRewrite], _ reason: String, at now: UnixTime
    ) async throws(ProfileFailure) -> Int {
        guard !rewrites.isEmpty else { return 0 }
        do {
            return try await store.rewriteProfiles(
                rewrites,
                audit: [
                    AuditEvent(
                        .profileChanged, by: .command, key: vault.current,
                        detail: "\(reason)=\(rewrites.count)")
                ], at: now)
        } catch { throw .store(error) }
    }
}
