// `gatehouse doctor --promises`: whether the deployment keeps what is promised to people.

import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseSystem

extension Doctor {
    /// One finding or more for each promise that a deployment can break. A warning is a breach here: what is
    /// merely unwise elsewhere is promised to people.
    func promises() async -> [Finding] {
        let settings: Settings
        do { settings = try options.settings() } catch {
            return [failed("configuration", error)]
        }
        var findings = certificates(settings) + contact(settings)
        findings.append(peopleSchema(settings))
        let store: SQLStore
        let ring: Keyring
        let rootKey: RootKeyBox
        do {
            rootKey = RootKeyBox(try settings.rootKeySource.read())
            store = try settings.openStore()
            guard let wrapped = try await store.keyring() else {
                throw CommandFailure.environment(
                    "the store has no keyring", hint: "start the server once")
            }
            ring = try rootKey.key.unwrap(wrapped)
        } catch { return (findings + [failed("store", error)]).map(Self.breach) }
        findings += await keys(store, rootKey: rootKey, settings)
        findings.append(await trail(store, rootKey: rootKey))
        findings += await promised(store, ring, settings)
        findings += await departures(store, settings)
        return findings.map(Self.breach)
    }

    private static func breach(_ finding: Finding) -> Finding {
        guard finding.level == .warning else { return finding }
        return Finding(
            check: finding.check, level: .error, message: finding.message, hint: finding.hint)
    }

    /// Notices, grants and profiles.
    func promised(
        _ store: SQLStore, _ ring: Keyring, _ settings: Settings
    ) async -> [Finding] {
        let now = SystemClock.now().wall
        return [
            await finding(
                "notices", ok: "every change was published in time",
                hint: "`gatehouse notices withdraw` it, and publish it with a later date"
            ) {
                let period = NoticePeriod(
                    businessDays: settings.noticeBusinessDays, holidays: Set(settings.holidays))
                let hasty = try await store.noticeBoard().hasty(period, at: now)
                return hasty.isEmpty
                    ? nil
                    : hasty.map {
                        "\($0.id.document.text) version \($0.id.version) takes effect too soon"
                    }.joined(separator: "; ")
            },
            await finding(
                "grants", ok: "nobody acts for anybody without a grant",
                hint: "`gatehouse sessions revoke` them, and see who wrote to the database"
            ) {
                let acting = try await store.unpermittedActing(at: now)
                return acting.isEmpty
                    ? nil
                    : "session \(acting.map(\.text).joined(separator: ", ")) outlives its grant"
            },
            await finding(
                "profiles", ok: "each is sealed under a key of the ring",
                hint: "bring back the ring that they were sealed with"
            ) {
                let known = Set(ring.dataKeys.filter { $0.purpose == .profile }.map(\.id))
                let unknown = try await store.profileKeyUse().filter { !known.contains($0.key) }
                return unknown.isEmpty
                    ? nil
                    : "\(unknown.values.reduce(0, +)) row(s) are sealed under keys that the ring "
                        + "does not have"
            },
        ]
    }

    /// What is wrong, or that nothing is.
    func finding(
        _ check: String, ok: String, hint: String, _ fault: () async throws -> String?
    ) async -> Finding {
        do {
            let fault = try await fault()
            return Finding(
                check: check, level: fault == nil ? .ok : .error, message: fault ?? ok,
                hint: fault == nil ? nil : hint)
        } catch { return failed(check, error) }
    }
}
