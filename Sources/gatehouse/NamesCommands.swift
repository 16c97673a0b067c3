// `gatehouse users` where names change hands or go: rename, delete, reindex.

import ArgumentParser
import GatehouseCore
import GatehouseStore
import GatehouseSystem

extension UsersCommand {
    static func taken(_ username: Username) -> CommandFailure {
        .refused(
            "the username \(username.text) is taken",
            hint: "a user has or had it or one that looks like it, or it is reserved "
                + "(--reserved takes such a one)")
    }

    static let skeletonsOutdated = CommandFailure.environment(
        "the usernames' skeletons are of another version than this program's",
        hint: "`gatehouse doctor` shows which names would collide; `gatehouse users reindex` "
            + "rewrites them")

    struct Rename: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Give a user another name: every session ends.",
            discussion: "The old name stays the user's, who may take it back; nobody else gets it.")
        @OptionGroup var options: CommonOptions
        @Argument(help: "The username.") var name: String
        @Argument(help: "The new one.") var new: String
        @Flag(help: "Take the name although it is reserved, or looks like one that is.")
        var reserved = false
        @Flag(help: "Return when every live server refuses the user's sessions.") var wait = false

        func run() async throws {
            let workshop = try await options.openWorkshop()
            let store = workshop.store
            let user = try await CommonOptions.user(name, in: store)
            let username = try await newUsername(of: user, workshop.settings, in: store)
            let outcome = try await store.renameUser(
                user.id, to: username, takingReserved: reserved,
                audit: AuditEvent(.userRenamed, by: .command, user: user.id),
                at: SystemClock.now().wall)
            switch outcome {
            case .notFound:
                throw CommandFailure.refused("there is no user \(user.username.text)")
            case .nameTaken: throw UsersCommand.taken(username)
            case .skeletonsOutdated: throw UsersCommand.skeletonsOutdated
            case .unchanged(let user):
                let position = try await store.head().sequence
                try await UsersCommand.report(
                    UserOutput(user), "the user is called \(user.username.text) already", position,
                    in: store, options: options, wait: wait)
            case .renamed(let renamed, let position):
                // What strangers did to either name is not this user's.
                try await workshop.clearAttempts([user.username, username], of: user.id)
                try await UsersCommand.report(
                    UserOutput(renamed), "\(user.username.text) is now \(renamed.username.text)",
                    position, in: store, options: options, wait: wait)
            }
        }

        /// The policy is for names that the user never had.
        private func newUsername(
            of user: User, _ settings: Settings, in store: any Store
        ) async throws -> Username {
            let username = try CommonOptions.username(new)
            let isOwn = try await store.names(of: user.id).contains { $0.username == username }
            return isOwn ? username : try CommonOptions.newUsername(new, settings)
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Delete a user: every session ends, and everything about them is removed.",
            discussion: """
                There is no way back, and no waiting. What stays is the name, which nobody is ever \
                given, so that what others wrote of it means no one else, and what happened, by the \
                user's id, in the audit trail.
                """)
        @OptionGroup var options: CommonOptions
        @Argument(help: "The username.") var name: String
        @Flag(help: "Delete; there is no way back.") var yes = false
        @Flag(help: "Return when every live server refuses the user's sessions.") var wait = false

        private struct Deleted: Encodable {
            let id: String
            let username: String
            let sessions: Int
        }

        func validate() throws {
            guard yes else {
                throw ValidationError("there is no way back; --yes says that this is meant")
            }
        }

        func run() async throws {
            let workshop = try await options.openWorkshop()
            let store = workshop.store
            let user = try await CommonOptions.user(name, in: store)
            let outcome = try await workshop.delete(user.id)
            guard case .revoked(let position, let ended) = outcome else {
                throw CommandFailure.refused("there is no user \(user.username.text)")
            }
            // Older pages of the log have it still; a server tries again if this can't.
            try await DepartureUpkeep.erase(store, at: workshop.now())
            try await UsersCommand.report(
                Deleted(id: user.id.text, username: user.username.text, sessions: ended),
                "deleted \(user.username.text), user \(user.id.text); ended \(ended) session(s)",
                position, in: store, options: options, wait: wait)
        }
    }

    struct Reindex: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Rewrite the forms in which usernames are compared for looking alike.",
            discussion: """
                Needed once after an upgrade of ICU, whose data they are made with; until then \
                nobody can register. `gatehouse doctor` says beforehand which names would collide. \
                Every name stays.
                """)
        @OptionGroup var options: CommonOptions

        private struct Rewritten: Encodable {
            struct Collision: Encodable {
                let first: String
                let other: String
            }
            let version: String
            let changed: Int
            let collisions: [Collision]
        }

        func run() async throws {
            let store = try await options.openWorkshop().store
            let report = try await store.rewriteSkeletons(
                audit: AuditEvent(.skeletonsRewritten, by: .command), at: SystemClock.now().wall)
            guard !options.json else {
                return try Output.json(
                    Rewritten(
                        version: Username.skeletonVersion, changed: report.changed,
                        collisions: report.collisions.map {
                            Rewritten.Collision(first: $0.first.text, other: $0.other.text)
                        }))
            }
            print("changed \(report.changed) skeleton(s), now \(Username.skeletonVersion)")
            for collision in report.collisions { print(collision.message) }
        }
    }
}

extension SkeletonReport.Collision {
    var message: String { "\(other.text) looks like \(first.text)" }
}
