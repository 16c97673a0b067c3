// `gatehouse profiles`: find, prune; and the rotation of their key.

import ArgumentParser
import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseSystem

struct ProfilesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "profiles",
        abstract: "Find people by what they said of themselves, and drop what is asked no more.",
        subcommands: [Find.self, Prune.self])

    struct Find: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Find the users whose profile has a value, which is read from standard input.",
            discussion: """
                Only in fields that the schema marks with `search: true`, and only the whole value. Prints ids \
                and names, nothing of the profiles. Takes --reason: each of them sees at \
                /account/support who searched, and why.
                """)
        @OptionGroup var options: CommonOptions
        @Argument(help: "The field.") var field: String

        /// A value that more people share is not one that finds somebody.
        static let maximumMatches = 20

        private struct Match: Encodable {
            let id: String
            let username: String
        }

        func run() async throws {
            guard let reason = options.reason.flatMap({ LookReason($0) }) else {
                throw CommandFailure.usage(
                    "finding people takes a reason",
                    hint: "--reason WHY, which everybody who is found can see")
            }
            let name = try LookOptions.operatorName()
            let workshop = try await options.openWorkshop()
            let schema = try workshop.settings.peopleSchema().profile
            guard let field = schema.field(field), field.isSearched else {
                let names = schema.fields.filter(\.isSearched).map(\.name)
                throw CommandFailure.usage(
                    "nobody is found by “\(self.field)”",
                    hint: names.isEmpty
                        ? "no field of people.schema has `search: true`"
                        : "write \(names.joined(separator: ", "))")
            }
            let vault = try ProfileVault(try await workshop.keyring())
            guard let value = try Self.value(of: field) else {
                throw CommandFailure.usage("there is no value on standard input")
            }
            let users = try await workshop.store.users(
                with: try vault.allDigests(of: value, in: field), limit: Self.maximumMatches + 1)
            guard !users.isEmpty else { throw CommandFailure.refused("nobody is found") }
            guard users.count <= Self.maximumMatches else {
                throw CommandFailure.refused(
                    "too many people have it",
                    hint: "at most \(Self.maximumMatches) are told; a value finds one person")
            }
            // Each of them can see it; neither the value nor that others have it.
            try await workshop.store.noteFound(
                users.map(\.id), by: name, reason: reason, field: field.name, at: workshop.now())
            if options.json {
                return try Output.json([
                    "users": users.map { Match(id: $0.id.text, username: $0.username.text) }
                ])
            }
            Output.table(["user", "name"], users.map { [$0.id.text, $0.username.text] })
        }

        /// As the profile keeps it; one line end is not part of it.
        private static func value(of field: ProfileField) throws -> String? {
            let limit = Profile.maximumValueBytes + 2
            let data = try FileHandle.standardInput.read(upToCount: limit + 1) ?? Data()
            var bytes = Array(data)
            if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
            if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
            do throws(ProfileFault) { return try field.read(.text(bytes)) } catch {
                // Not which value, nor what is wrong with it: it is somebody's.
                throw CommandFailure.refused("that can be no value of \(field.name)")
            }
        }
    }

    struct Prune: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Drop from all profiles what the schema asks for no more, with its history.",
            discussion: """
                Makes also what people are found by what the schema says. Works beside running servers that have \
                the same schema; run again after an interruption, it does what is left.
                """)
        @OptionGroup var options: CommonOptions

        func run() async throws {
            let workshop = try await options.openWorkshop()
            let schema = try await workshop.profileSchema()
            let upkeep = ProfileUpkeep(
                store: workshop.store, vault: try ProfileVault(try await workshop.keyring()),
                entropy: .system)
            let tally = try await upkeep.prune(to: schema) { SystemClock.now().wall }
            if options.json {
                try Output.json(TallyOutput(tally))
            } else {
                print("rewritten: \(tally.rewritten); as they should be: \(tally.already)")
                tally.tellRest()
            }
            try tally.requireWhole()
        }
    }
}

private struct TallyOutput: Encodable {
    var key: String?
    /// False when the rotation before had not been finished.
    var new: Bool?
    let rewritten: Int
    let already: Int
    let changed_meanwhile: Int
    let damaged: Int

    init(_ tally: ProfileUpkeep.Tally, key: KeyID? = nil, isNew: Bool? = nil) {
        self.key = key?.text
        new = isNew
        rewritten = tally.rewritten
        already = tally.already
        changed_meanwhile = tally.changedMeanwhile
        damaged = tally.damaged
    }
}

extension ProfileUpkeep.Tally {
    fileprivate func tellRest() {
        if changedMeanwhile > 0 { print("changed meanwhile: \(changedMeanwhile); run it again") }
    }

    fileprivate func requireWhole() throws {
        guard damaged == 0 else {
            throw CommandFailure.environment(
                "\(damaged) profile(s) were altered, or are of a newer release; they were left alone",
                hint: "restore a backup")
        }
    }
}

extension Workshop {
    /// The schema's fields. Without any, every profile would be emptied: more likely the configuration is
    /// not the server's.
    fileprivate func profileSchema() async throws -> ProfileSchema {
        let schema = try settings.peopleSchema().profile
        let isUsed = try await !store.profileRows(after: nil, limit: 1).isEmpty
        guard !isUsed || !schema.fields.isEmpty else {
            throw CommandFailure.environment(
                "there are profiles, and people.schema has no fields",
                hint: "give --config, as the server has it")
        }
        return schema
    }
}

/// `gatehouse keys data rotate profile`.
struct ProfileRotation {
    let workshop: Workshop
    let json: Bool

    func run() async throws {
        let schema = try await workshop.profileSchema()
        let isNew = try await !isUnfinished()
        // No server may meet a row whose key it has not loaded, nor seal under the one before once a row
        // has been passed.
        let ring = try await workshop.takeUpDataKey(.profile, adding: isNew)
        let vault = try ProfileVault(ring)
        let upkeep = ProfileUpkeep(store: workshop.store, vault: vault, entropy: .system)
        let tally = try await upkeep.rotate(schema) { SystemClock.now().wall }
        if json {
            try Output.json(TallyOutput(tally, key: vault.current, isNew: isNew))
        } else {
            print(
                "profile key \(vault.current.text) seals \(tally.rewritten + tally.already) profiles, "
                    + "\(tally.rewritten) anew")
            if !isNew {
                print("no new key: the rotation before was finished; run it again for another")
            }
            tally.tellRest()
        }
        try tally.requireWhole()
    }

    /// Whether the newest key is still to be activated, or some row depends on an older one.
    private func isUnfinished() async throws -> Bool {
        let ring = try await workshop.keyring()
        if ring.pendingDataKeys.contains(where: { $0.purpose == .profile }) { return true }
        let newest = ring.newestDataKey(.profile)?.id
        return try await workshop.store.profileKeyUse().keys.contains { $0 != newest }
    }
}
