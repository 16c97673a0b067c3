// `gatehouse referrals`: add, list, retire, report.

import ArgumentParser
import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseSystem
import GatehouseWeb

struct ReferralsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "referrals",
        abstract: "Give out codes that people come by, and count who came.",
        subcommands: [Add.self, List.self, Retire.self, Report.self])

    private static func code(_ text: String) throws -> ReferralCode {
        guard let code = ReferralCode(Array(text.utf8)) else {
            throw CommandFailure.usage(
                "“\(text)” is no code",
                hint: "a code is 1 to \(ReferralCode.maximumBytes) letters, digits, full stops, "
                    + "hyphens and underscores")
        }
        return code
    }

    private struct CodeOutput: Encodable {
        let code: String
        let label: String
        let created: Int64
        let until: Int64?
        let retired: Int64?
        let open: Bool
        /// Where people come by it, in what is behind the site's address.
        let path: String

        init(_ referral: Referral, base: String, at now: UnixTime) {
            code = referral.code.text
            label = referral.label
            created = referral.created.seconds
            until = referral.until?.seconds
            retired = referral.retired?.seconds
            open = referral.isOpen(at: now)
            path = "\(base)/r/\(referral.code.text)"
        }
    }

    private static func base(_ settings: Settings) -> String {
        settings.publicBasePath == "/" ? "" : settings.publicBasePath
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add a code, and print the address that people come by.",
            discussion: """
                A code is given out once: what was retired is not added again. People are asked whether \
                it may be remembered, and are shown the label.
                """)
        @OptionGroup var options: CommonOptions
        @Argument(help: "1 to 64 letters, digits, full stops, hyphens and underscores.")
        var code: String
        @Option(help: "Who or what it is, as people are shown it; at most 120 bytes.")
        var label: String
        @Option(help: "When it ends; Unix seconds or 2026-01-31T12:00:00Z.") var until: String?

        func run() async throws {
            let code = try ReferralsCommand.code(code)
            guard Referral.isLabel(label) else {
                throw CommandFailure.usage(
                    "--label takes 1 to \(Referral.maximumLabelBytes) bytes of text on one line")
            }
            let now = SystemClock.now().wall
            let end = try until.map { try Output.time($0) }
            if let end, end <= now {
                throw CommandFailure.usage("--until takes a time that is to come")
            }
            let workshop = try await options.openWorkshop()
            let referral = Referral(code: code, label: label, created: now, until: end)
            let outcome = try await workshop.store.addReferral(
                referral,
                audit: AuditEvent(.referralAdded, by: .command, detail: "code=\(code.text)"),
                at: now)
            switch outcome {
            case .added: break
            case .taken:
                throw CommandFailure.refused(
                    "there is or was a code \(code.text)", hint: "take another one")
            case .full:
                throw CommandFailure.refused("there are \(Referral.maximumCount) codes already")
            }
            if options.json {
                let base = ReferralsCommand.base(workshop.settings)
                return try Output.json(CodeOutput(referral, base: base, at: now))
            }
            print("\(workshop.settings.publicURL)/r/\(code.text)")
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List all codes, retired ones too.")
        @OptionGroup var options: CommonOptions

        func run() async throws {
            let settings = try options.settings()
            let referrals = try await options.openStore(settings).referrals()
            let now = SystemClock.now().wall
            if options.json {
                let base = ReferralsCommand.base(settings)
                return try Output.json([
                    "referrals": referrals.map { CodeOutput($0, base: base, at: now) }
                ])
            }
            Output.table(
                ["code", "label", "state", "created", "until"],
                referrals.map { referral in
                    let state =
                        referral.retired != nil
                        ? "retired" : referral.isOpen(at: now) ? "open" : "ended"
                    return [
                        referral.code.text, referral.label, state, Output.text(referral.created),
                        Output.text(referral.until),
                    ]
                })
        }
    }

    struct Retire: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "End a code: nobody comes by it any more; what was counted stays.")
        @OptionGroup var options: CommonOptions
        @Argument(help: "The code.") var code: String

        func run() async throws {
            let code = try ReferralsCommand.code(code)
            let workshop = try await options.openWorkshop()
            let now = SystemClock.now().wall
            let outcome = try await workshop.store.retireReferral(
                code,
                audit: AuditEvent(.referralRetired, by: .command, detail: "code=\(code.text)"),
                at: now)
            guard outcome != .notFound, let referral = try await workshop.store.referral(code)
            else { throw CommandFailure.refused("there is no code \(code.text)") }
            if options.json {
                let base = ReferralsCommand.base(workshop.settings)
                return try Output.json(CodeOutput(referral, base: base, at: now))
            }
            print("\(code.text) is \(outcome == .already ? "already" : "now") retired")
        }
    }

    struct Report: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say how many came by each code, and how many of them registered, by month.",
            discussion: """
                Who came is counted when they say that it may be remembered. Counts name nobody, and \
                stay when people go.
                """)
        @OptionGroup var options: CommonOptions
        @Option(help: "From the month of this time on; Unix seconds or 2026-01-31T12:00:00Z.")
        var since: String?

        private struct Row: Encodable {
            let code: String
            let label: String
            let month: String
            let arrivals: Int64
            let registrations: Int64
        }

        func run() async throws {
            let since = try since.map { try Output.time($0) }
            let store = try options.openStore(try options.settings())
            let counts = try await store.referralCounts(since: since)
            guard !options.json else {
                return try Output.json([
                    "referrals": counts.map {
                        Row(
                            code: $0.code.text, label: $0.label, month: $0.month,
                            arrivals: $0.arrivals, registrations: $0.registrations)
                    }
                ])
            }
            Output.table(
                ["code", "label", "month", "arrivals", "registrations"],
                counts.map {
                    [$0.code.text, $0.label, $0.month, "\($0.arrivals)", "\($0.registrations)"]
                })
        }
    }
}
