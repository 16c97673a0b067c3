// `gatehouse keys list`: what each token key does, and how long it will be there.

import ArgumentParser
import GatehouseCore
import GatehouseStore

extension KeysCommand {
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the token keys.",
            discussion: """
                “alive” counts tokens that have not expired, at most: those that were replaced or \
                revoked count until their deadline. “opens/h” counts what all servers opened in the \
                last hour, up to the last minute. Times are UTC, of the last day by the clock.
                """)
        @OptionGroup var options: CommonOptions

        private struct Ring: Encodable {
            let version: UInt64
            let root_keys: [String]
            let keys: [KeyOutput]
        }

        func run() async throws {
            let workshop = try await options.openWorkshop()
            let wrapped = try await workshop.wrapped()
            let ring = try workshop.rootKey.key.unwrap(wrapped)
            let now = workshop.now()
            let activity = try await workshop.store.keyActivity(at: now)
            let usage = try await workshop.store.keyUsage()
            let lives = ring.keys.map { KeyLife($0, in: ring, usage, workshop.settings) }
            if options.json {
                let keys = zip(ring.keys, lives).map { key, life in
                    KeyOutput(
                        key, usage: usage[key.id], activity: activity[key.id] ?? KeyActivity(),
                        life: life, at: now)
                }
                return try Output.json(
                    Ring(
                        version: ring.version, root_keys: wrapped.rootKeys.map(\.text), keys: keys)
                )
            }
            let roots = Rewrap.list(wrapped.rootKeys, configured: workshop.rootKey.key.id)
            print("ring version \(ring.version), under \(roots)")
            Output.table(
                [
                    "key", "state", "age", "created", "activated", "ended", "alive", "opens/h",
                    "destroyed after",
                ],
                zip(ring.keys, lives).map { key, life in
                    [
                        key.id.text, key.state.name,
                        Output.duration(Output.age(of: key.created, at: now)),
                        Output.day(key.created, at: now), Output.day(key.activated, at: now),
                        Output.day(key.ended, at: now), "\(activity[key.id]?.alive ?? 0)",
                        "\(activity[key.id]?.openedLastHour ?? 0)", life.text,
                    ]
                })
        }
    }
}

/// When a token key is destroyed.
struct KeyLife {
    /// Nil before another key has taken over.
    let end: UnixTime?

    init(_ key: TokenKey, in ring: Keyring, _ usage: [KeyID: KeyUsage], _ settings: Settings) {
        end = key.keptUntil(
            leaseSeconds: settings.maximumStalenessSeconds,
            lastDeadline: KeyringChange.lastDeadline(of: key.id, in: ring, usage))
    }

    /// When the next key that has ended is destroyed, to the minute, for people.
    static func next(
        in ring: Keyring, _ usage: [KeyID: KeyUsage], _ settings: Settings
    ) -> String {
        let ends = ring.keys.compactMap { KeyLife($0, in: ring, usage, settings).end }
        return ends.min().map { "the next is destroyed after \(Output.minute($0))" }
            ?? "none has ended"
    }

    /// To the minute, after which it is.
    var text: String {
        end.map { Output.minute($0.advanced(bySeconds: 60)) } ?? "its rotation"
    }
}
