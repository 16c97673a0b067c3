// `gatehouse passwords pepper disable-users`: after a pepper has leaked.

import ArgumentParser
import GatehouseCore
import GatehouseStore

struct PepperDisableCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "disable-users",
        abstract: "Disable the users whose password hash still depends on a leaked pepper.",
        discussion: """
            Those are the enabled users who have not signed in since the pepper was rotated: a sign-in \
            brings a hash under the newest pepper alone. Their sessions end. Each is audited with the \
            pepper; run again after an interruption, it goes on. They come back one by one: `users \
            enable NAME`, then `users recover NAME` for a new password.
            """)

    /// Users disabled in one transaction.
    private static let batch = 100

    @OptionGroup var options: CommonOptions
    @Argument(help: "The pepper's 8 hex digits.") var pepper: String
    @Flag(help: "Count the users, and change nothing.") var dryRun = false
    @Flag(help: "Return when every live server refuses their sessions.") var wait = false

    private struct Result: Encodable {
        let pepper: String
        let dry_run: Bool
        /// With `dry_run`, how many would be.
        let disabled: Int
        let already_disabled: Int
        /// Signed in, or were changed, while the command ran.
        let changed_meanwhile: Int
    }

    func run() async throws {
        let workshop = try await options.openWorkshop()
        let key = try await formerPepper(workshop)
        var (found, disabled, already) = (0, 0, 0)
        var last: UserID?
        while true {
            let page = try await workshop.store.passwordHashes(
                after: last, limit: PepperUse.pageRows)
            let depending = page.filter {
                (try? PasswordHash($0.text))?.layers.contains(key) ?? false
            }
            let enabled = depending.filter(\.isEnabled)
            found += enabled.count
            already += depending.count - enabled.count
            for start in stride(from: 0, to: dryRun ? 0 : enabled.count, by: Self.batch) {
                let users = enabled[start..<min(start + Self.batch, enabled.count)].map {
                    (
                        hash: $0,
                        audit: AuditEvent(
                            .userDisabled, by: .command, user: $0.user, key: key,
                            detail: "reason=pepper_leaked")
                    )
                }
                disabled += try await workshop.store.disableUsers(users, at: workshop.now())
                    .disabled
            }
            guard page.count == PepperUse.pageRows else { break }
            last = page.last?.user
        }
        if wait, !dryRun {
            let position = try await workshop.store.head().sequence
            _ = try await NodeWait(store: workshop.store).until { $0.position >= position }
        }
        if options.json {
            return try Output.json(
                Result(
                    pepper: key.text, dry_run: dryRun, disabled: dryRun ? found : disabled,
                    already_disabled: already, changed_meanwhile: dryRun ? 0 : found - disabled))
        }
        print(dryRun ? "would disable \(found) user(s)" : "disabled \(disabled) user(s)")
        if already > 0 { print("disabled before: \(already)") }
        guard !dryRun else { return }
        if found > disabled { print("changed meanwhile: \(found - disabled); run it again") }
        guard disabled + already > 0 else { return }
        print("They come back one by one: `users enable NAME`, then `users recover NAME`.")
    }

    /// The pepper that was named, if a newer one has taken its place on every live server.
    private func formerPepper(_ workshop: Workshop) async throws -> KeyID {
        guard let key = KeyID(text: pepper) else {
            throw CommandFailure.usage("“\(pepper)” is no key: 8 lower-case hex digits")
        }
        let ring = try await workshop.keyring()
        guard ring.dataKeys.contains(where: { $0.purpose == .pepper && $0.id == key }) else {
            throw CommandFailure.refused("there is no pepper \(pepper)")
        }
        guard ring.formerDataKeys(.pepper).contains(where: { $0.id == key }) else {
            throw CommandFailure.refused(
                "\(pepper) is the newest pepper: everybody depends on it",
                hint: "run `gatehouse passwords pepper rotate` first")
        }
        // Or a server would bring users who sign in now back under it.
        _ = try await NodeWait(store: workshop.store).until { $0.keyringVersion >= ring.version }
        return key
    }
}
