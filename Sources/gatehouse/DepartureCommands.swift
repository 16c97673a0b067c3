// `gatehouse users` where people's data are taken out or go: export, purge-again; and `gatehouse statistics`.

import ArgumentParser
import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseSystem

extension Workshop {
    /// What is kept of people. Its node loads the ring and joins no others.
    func people() async throws -> People {
        let node = Node(
            id: NodeID(try Identifier.random(from: .system)), store: store,
            rootKey: try settings.rootKeySource.read(),
            lease: Lease(maximumStalenessSeconds: settings.maximumStalenessSeconds),
            entropy: .system
        ) { _ in true }
        do { try await node.reload(at: now()) } catch { throw CommandFailure(error) }
        // The node has begun a chain of its own; it is the command that acts.
        try await signTrail()
        var people = People(
            store: store, schema: try settings.peopleSchema(), node: node, entropy: .system,
            clock: SystemClock.now)
        people.departure = settings.departure
        return people
    }
}

extension UsersCommand {
    struct Export: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print all that is held about a user, as JSON or as a page.",
            discussion: "It is noted in the audit trail, which the user's own export shows.")
        @OptionGroup var options: CommonOptions
        @OptionGroup var look: LookOptions
        @Argument(help: "The username.") var name: String
        @Flag(help: "Print a page of HTML that needs no other file.") var page = false

        func run() async throws {
            let workshop = try await options.openWorkshop(because: look.breakGlass)
            let user = try await CommonOptions.user(name, in: workshop.store)
            try await look.look(at: user, .export, workshop)
            guard let value = try await workshop.people().export(of: user.id, by: .command) else {
                throw CommandFailure.refused("there is no user \(user.username.text)")
            }
            guard page else { return print(value.json, terminator: "") }
            let title = "All that is held about \(user.username.text)"
            print(try ExportPage(value, title: title).html, terminator: "")
        }
    }

    struct PurgeAgain: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "purge-again",
            abstract: "Delete again whom a restored database has brought back.",
            discussion: """
                Who was deleted stands in deletions.ledger, in the data directory. A server does this \
                by itself when it starts.
                """)
        @OptionGroup var options: CommonOptions

        func run() async throws {
            let workshop = try await options.openWorkshop()
            let returned = try await workshop.store.returnedPeople()
            for user in returned { _ = try await workshop.delete(user, detail: "why=again") }
            try await DepartureUpkeep.erase(workshop.store, at: workshop.now())
            if options.json { return try Output.json(["deleted": returned.map(\.text)]) }
            print("deleted \(returned.count) user(s) again")
            for user in returned { print("  \(user.text)") }
        }
    }
}

extension Workshop {
    /// Deletes a user at once.
    func delete(_ user: UserID, detail: String? = nil) async throws -> RevocationOutcome {
        try await store.deletePerson(
            user, onlyIfDue: false, lookUpKey: try await lookUpKey(),
            audit: AuditEvent(.userDeleted, by: .command, user: user, detail: detail), at: now())
    }
}

struct StatisticsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "statistics",
        abstract: "How many users were active, new and returning, by day and by week (UTC).")
    @OptionGroup var options: CommonOptions
    @Option(help: "How many days up to today, 1 to \(ActivityCounts.keptDays).")
    var days = ActivityCounts.defaultDays

    func validate() throws {
        guard (1...ActivityCounts.keptDays).contains(days) else {
            throw ValidationError("--days takes 1 to \(ActivityCounts.keptDays)")
        }
    }

    func run() async throws {
        let store = try options.openStore(try options.settings())
        let counts = try await ActivityCounts.recent(
            days, from: store, at: SystemClock.now().wall)
        if options.json { return print(counts.json, terminator: "") }
        for (title, rows, label) in [
            ("day", counts.days, { $0.text }), ("week", counts.weeks, { $0.weekText }),
        ] as [(String, [ActivityCounts.Count], (CalendarDay) -> String)] {
            Output.table(
                [title, "active", "new", "returning"],
                rows.map { [label($0.start), "\($0.active)", "\($0.new)", "\($0.returning)"] })
        }
    }
}
