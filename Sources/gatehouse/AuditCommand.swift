// `gatehouse audit`: list, verify, export.

import ArgumentParser
import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseStore

struct AuditCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Read the audit trail, and prove that nobody rewrote it.",
        subcommands: [List.self, Verify.self, Export.self, Restart.self])

    /// Entries read in one go.
    private static let page = 1000

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List entries, the latest at the end.",
            discussion: """
                Shows the beginning of long ids; --json has all of them. Place, browser and reason \
                of entries about people are shown only with --user and permission.
                """)
        @OptionGroup var options: CommonOptions
        @OptionGroup var look: LookOptions
        @Option(help: "Only entries about this user: a username or an id.") var user: String?
        @Option(
            help:
                "Only entries of this kind: \(AuditEvent.Kind.allCases.map(\.rawValue).joined(separator: ", "))."
        )
        var kind: String?
        @Option(help: "Only entries from this time on.") var since: String?
        @Option(help: "Only entries before this time.") var until: String?
        @Option(help: "At most so many, 1 to 10000.") var limit = AuditQuery().limit

        func validate() throws {
            guard (1...AuditQuery.maximumEntries).contains(limit) else {
                throw ValidationError("--limit takes 1 to \(AuditQuery.maximumEntries)")
            }
            guard user != nil || look.permission == nil else {
                throw ValidationError("a permission is one person's: name them with --user")
            }
        }

        func run() async throws {
            var query = AuditQuery()
            query.limit = limit
            query.since = try since.map { try Output.time($0) }
            query.until = try until.map { try Output.time($0) }
            if let kind {
                guard let known = AuditEvent.Kind(rawValue: kind) else {
                    throw CommandFailure.usage(
                        "there is no kind “\(kind)”",
                        hint: "`gatehouse audit list --help` names them")
                }
                query.kind = known
            }
            let store: SQLStore
            var isShown = false
            if let user {
                let workshop = try await options.openWorkshop(because: look.breakGlass)
                store = workshop.store
                let id = try await Self.user(user, in: store)
                query.user = id
                isShown = try await permit(id, workshop)
            } else {
                store = try options.openStore(try options.settings())
            }
            let entries = try await store.audit(query)
            if options.json {
                return try Output.json(
                    ["entries": entries.map { AuditOutput($0, withPersonal: isShown) }])
            }
            Output.table(
                ["entry", "time", "what", "who", "user", "about", "from", "why"],
                entries.map { entry in
                    let event = entry.event
                    return [
                        "\(entry.sequence)", Output.text(entry.time), entry.kindText,
                        entry.operatorName ?? entry.actorText,
                        event.user.map { Self.short($0.text) } ?? "", Self.about(event),
                        entry.shownPersonal(isShown)?.address?.text
                            ?? entry.shownPersonal(isShown)?.origin.place ?? "",
                        entry.shownPersonal(isShown)?.reason ?? "",
                    ]
                })
        }

        /// Notes the look. Of somebody who was deleted nothing personal is left, and nobody to be told.
        private func permit(_ id: UserID, _ workshop: Workshop) async throws -> Bool {
            guard let user = try await workshop.store.user(id) else { return false }
            try await look.look(at: user, .audit, workshop)
            return true
        }

        /// By id too: the entries of a user who was deleted are found by nothing else.
        private static func user(_ text: String, in store: any Store) async throws -> UserID {
            if let id = UserID(text: text) { return id }
            return try await CommonOptions.user(text, in: store).id
        }

        private static func about(_ event: AuditEvent) -> String {
            [
                event.key.map { "key \($0.text)" },
                event.session.map { "session \(short($0.text))" },
                event.series.map { "series \(short($0.value.hex))" }, event.detail,
            ].compactMap { $0 }.joined(separator: ", ")
        }

        /// Enough of an id to tell it from others; JSON has all of it.
        private static func short(_ id: String) -> String { id.prefix(8) + "…" }
    }

    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Prove that no entry was altered, removed or put elsewhere; exits 1 if one was.",
            discussion: """
                Prints the head of the trail. Kept elsewhere and given to --expect later, it shows \
                also whether the end of the trail was cut off meanwhile.
                """)
        @OptionGroup var options: CommonOptions
        @Option(help: "A head that was printed or exported earlier.") var expect: String?

        private struct Fault: Encodable {
            let kind: String
            let chain: String
            let position: UInt64
            let entry: UInt64?
        }

        private struct Result: Encodable {
            let whole: Bool
            let entries: Int
            let erased: Int
            let faults: [Fault]
            let fault_count: Int
            let head: String
        }

        func run() async throws {
            let expected = try expect.map { text in
                guard let head = AuditHead(text: text) else {
                    throw CommandFailure.usage("“\(text)” is no head of an audit trail")
                }
                return head
            }
            let workshop = try await options.openWorkshop()
            let (verifier, head) = try await AuditCommand.verify(
                workshop.store, ring: try await workshop.keyring(), expecting: expected)
            let isWhole = verifier.faultCount == 0
            if options.json {
                try Output.json(
                    Result(
                        whole: isWhole, entries: verifier.entries, erased: verifier.erased,
                        faults: verifier.faults.map {
                            Fault(
                                kind: $0.kind.rawValue, chain: $0.chain.text,
                                position: $0.position, entry: $0.sequence)
                        }, fault_count: verifier.faultCount, head: head.text))
            } else {
                for fault in verifier.faults { print(fault.sentence) }
                print(
                    isWhole
                        ? "whole: \(verifier.entries) entries"
                        : "NOT whole: \(verifier.faultCount) fault(s) in \(verifier.entries) entries"
                )
                print("head: \(head.text)")
            }
            if !isWhole { throw ExitCode(CommandFailure.Code.refused.rawValue) }
        }
    }

    struct Export: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print all entries as JSON, one to a line, and the head at the end.",
            discussion: """
                Exits 1, after having printed everything, when the trail is not whole; see \
                `gatehouse audit verify`. Place, browser and reason of entries about people are left \
                out; each entry can be proved without them. --break-glass puts them in, and everybody \
                whom they are about is told.
                """)
        @OptionGroup var options: CommonOptions
        @Option(
            help:
                "Export what is personal too, for this reason; audited, and shown to everybody concerned."
        )
        var breakGlass: String?
        @Option(help: "Only entries with a higher number: the last one that was exported before.")
        var after: UInt64 = 0

        private struct Head: Encodable {
            let head: String
            let whole: Bool
        }

        func validate() throws {
            if let breakGlass, LookReason(breakGlass) == nil {
                throw ValidationError(
                    "--break-glass takes a reason of 1 to \(LookReason.maximumBytes) bytes on one line"
                )
            }
        }

        func run() async throws {
            let workshop = try await options.openWorkshop(because: breakGlass)
            let why = breakGlass.flatMap { LookReason($0) }
            if let why {
                _ = try await workshop.store.noteAuditLook(
                    by: try LookOptions.operatorName(), reason: why, at: workshop.now())
            }
            try await workshop.store.note(
                AuditEvent(.auditExported, by: .command, detail: "after=\(after)"),
                at: workshop.now())
            let (verifier, head) = try await AuditCommand.verify(
                workshop.store, ring: try await workshop.keyring()
            ) { entries in
                for entry in entries where entry.sequence > after {
                    try Output.json(AuditOutput(entry, withPersonal: why != nil))
                }
            }
            try Output.json(Head(head: head.text, whole: verifier.faultCount == 0))
            guard verifier.faultCount == 0 else {
                throw CommandFailure.refused(
                    "the trail is not whole", hint: "`gatehouse audit verify` names the places")
            }
        }
    }

    struct Restart: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Vouch for entries whose key was lost with every root key, as they are now.",
            discussion: """
                Nobody can prove these entries any more. From now on whoever changes them is found \
                out; what was changed before is not.
                """)
        @OptionGroup var options: CommonOptions

        func run() async throws {
            let workshop = try await options.openWorkshop()
            let (verifier, _) = try await AuditCommand.verify(
                workshop.store, ring: try await workshop.keyring())
            guard let vouching = verifier.vouching else {
                throw CommandFailure.refused("the ring has the key of every entry")
            }
            try await workshop.store.restartAudit(
                vouching: vouching, resealing: verifier.unknownBases, at: workshop.now())
            if options.json {
                try Output.json(["vouched": vouching])
            } else {
                print("vouched for \(vouching)")
            }
        }
    }

    /// Reads the whole trail; again when retention removed some of it meanwhile.
    static func verify(
        _ store: any Store, ring: Keyring, expecting expected: AuditHead? = nil,
        _ read: ([AuditRecord]) throws -> Void = { _ in }
    ) async throws -> (AuditVerifier, AuditHead) {
        var reached: UInt64 = 0
        while true {
            let extent = try await store.auditExtent()
            var verifier = try AuditVerifier(
                keys: try ring.auditKeys()?.all ?? [:], extent: extent, expected: expected)
            var last = extent.floor
            while true {
                let entries = try await store.audit(after: last, limit: page)
                for entry in entries { try verifier.take(entry) }
                try read(entries.filter { $0.sequence > reached })
                reached = max(reached, entries.last?.sequence ?? 0)
                guard entries.count == page else { break }
                last = entries.last?.sequence ?? last
            }
            let head = try verifier.finish()
            if try await store.auditExtent().floor == extent.floor { return (verifier, head) }
        }
    }
}

extension AuditFault {
    /// For people.
    var sentence: String {
        let place = "entry \(sequence.map { "\($0)" } ?? "-"), chain \(chain.text)"
        return switch kind {
        case .altered: "altered: \(place), position \(position)"
        case .missing: "missing: before \(place), from position \(position) on"
        case .outOfOrder: "out of order: \(place), position \(position)"
        case .personalAltered: "personal fields altered: \(place), position \(position)"
        case .unknownKey: "made with a key that the ring does not have: \(place)"
        case .numbersMissing:
            "missing: entries \(position) to \((sequence ?? position + 1) - 1)"
        case .cutOff where chain == .unchained:
            "cut off: entry \(position) and all behind it, up to the head that was expected"
        case .cutOff: "cut off: chain \(chain.text), from position \(position) on"
        case .baseAltered: "what retention removed of chain \(chain.text) is not what it says"
        case .unchainedAltered:
            "without a chain, or not what was vouched for: \(place), position \(position)"
        case .headDiffers: "the expected head is of another trail, or older than what is kept"
        }
    }
}

/// An entry, for programs.
struct AuditOutput: Encodable {
    let entry: UInt64
    let time: Int64
    let kind: String
    let actor: String
    let `operator`: String?
    let user: String?
    let session: String?
    let key: String?
    let series: String?
    let detail: String?
    let place: String?
    let address: String?
    let address_salt: String?
    let address_hash: String?
    let browser: String?
    let reason: String?
    /// Whether place, browser and reason were erased.
    let erased: Bool
    /// Whether they are left out for want of permission; absent where they are not.
    let withheld: Bool?
    let salt: String?
    let personal: String?
    let ends: String?
    let chain: String?
    let position: UInt64?
    let audit_key: String?
    let mac: String?

    /// - Parameter withPersonal: whether what is personal of entries about people may be shown.
    init(_ entry: AuditRecord, withPersonal: Bool) {
        let event = entry.event
        let shown = entry.shownPersonal(withPersonal)
        self.entry = entry.sequence
        time = entry.time.seconds
        kind = entry.kindText
        actor = entry.actorText
        `operator` = entry.operatorName
        user = event.user?.text
        session = event.session?.text
        key = event.key?.text
        series = event.series?.value.hex
        detail = event.detail
        place = shown?.origin.place
        address = shown?.address?.text
        address_salt = shown?.address?.salt?.hex
        address_hash = shown?.address?.hash.hex
        browser = shown?.origin.browser
        reason = shown?.reason
        withheld = entry.personal != nil && shown == nil ? true : nil
        erased = entry.commitment != nil && entry.personal == nil
        // With it what was left out could be guessed at.
        salt = shown?.salt.hex
        personal = entry.commitment?.hex
        ends = entry.ends.isEmpty ? nil : entry.ends.flatMap(\.bytes).hex
        chain = entry.link?.chain.text
        position = entry.link?.position
        audit_key = entry.link?.key.text
        mac = entry.link?.mac.hex
    }
}

extension AuditRecord {
    /// What is personal, as far as it may be shown: of entries about nobody always.
    func shownPersonal(_ isPermitted: Bool) -> AuditPersonal? {
        let isAboutPeople = event.user != nil || event.session != nil || event.series != nil
        return isPermitted || !isAboutPeople ? personal : nil
    }
}
