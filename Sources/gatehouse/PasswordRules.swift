// The rules for new passwords, as the configuration has them, and the filter's file, which may be replaced.

import GatehouseCore
import GatehousePasswords
import GatehouseSystem
import GatehouseWeb
import Logging
import NIOPosix
import ServiceLifecycle
import Synchronization

/// One policy for everything that sets a password, and what must be followed for it.
struct PasswordRules: Sendable {
    let policy: PasswordPolicy
    let filter: PasswordFilterFile?

    /// - Throws: `CommandFailure` when the filter can't be used.
    init(_ settings: Settings) throws(CommandFailure) {
        do throws(PasswordListUnreadable) {
            filter = try settings.passwordFilter.map { path throws(PasswordListUnreadable) in
                try PasswordFilterFile(path)
            }
        } catch {
            throw .environment(
                "cannot use the password filter \(settings.passwordFilter ?? ""): \(error.reason)",
                hint: "make it with `gatehouse passwords filter build`, or unset password.filter")
        }
        policy = PasswordPolicy(
            serviceNames: [
                settings.publicOrigin?.host ?? "localhost",
                String(decoding: settings.audience.utf8, as: UTF8.self),
            ],
            contextWords: settings.passwordContextWords, common: CommonPasswords(),
            breached: filter)
    }

    /// Why a command does not set this password; nil when it does.
    func refusal(
        of password: borrowing Password, for username: Username
    ) throws(CommandFailure) -> PasswordRefusal? {
        do throws(PasswordListUnreadable) {
            return try policy.admit(password, for: username)
        } catch { throw .environment("cannot ask the password filter: \(error.reason)") }
    }
}

/// The filter that has a name now.
final class PasswordFilterFile: PasswordList {
    let path: String
    private struct State {
        var filter: PasswordFilter
        var stamp: FileStamp?
    }
    private let state: Mutex<State>

    init(_ path: String) throws(PasswordListUnreadable) {
        self.path = path
        // First: what comes in between is taken up at the next look.
        let stamp = FileStamp(path)
        state = Mutex(State(filter: try PasswordFilter(path), stamp: stamp))
    }

    var entries: Int { state.withLock { $0.filter }.header.entries }

    func contains(
        _ typed: Span<UInt8>, folded: Span<UInt8>
    ) throws(PasswordListUnreadable) -> Bool {
        try state.withLock { $0.filter }.contains(typed, folded: folded)
    }

    /// Takes up another file of the name; what is being asked meanwhile is asked of the old one.
    ///
    /// - Returns: whether there was another.
    /// - Throws: when it can't be used; then the old one stays, and the next call tries again.
    func reloadIfChanged() throws(PasswordListUnreadable) -> Bool {
        let stamp = FileStamp(path)
        guard state.withLock({ $0.stamp != stamp }) else { return false }
        let filter = try PasswordFilter(path)
        state.withLock { $0 = State(filter: filter, stamp: stamp) }
        return true
    }
}

/// Looks whether the filter was replaced, beside everything else: a large one is read for seconds.
struct PasswordFilterFollower: Service {
    static let seconds: Int64 = 10

    let file: PasswordFilterFile
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var failure: String?
            while !Task.isCancelled {
                do { try await Task.sleep(for: .seconds(Self.seconds)) } catch { return }
                failure = await reload(after: failure)
            }
        }
    }

    /// Gives what is wrong with a new file, which is said once.
    private func reload(after failure: String?) async -> String? {
        do {
            let isNew = try await NIOThreadPool.singleton.runIfActive {
                try file.reloadIfChanged()
            }
            if isNew {
                logger.notice(
                    "password filter loaded again", metadata: ["entries": "\(file.entries)"])
            }
            return nil
        } catch let error as PasswordListUnreadable {
            if failure != error.reason {
                logger.error(
                    "the new password filter can't be used; the old one stays",
                    metadata: ["failure": "\(error.reason)"])
            }
            return error.reason
        } catch { return failure }
    }
}
