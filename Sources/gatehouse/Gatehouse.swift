// The command line's root: subcommands, exit codes, and how failures are told.

import ArgumentParser
import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseSystem
import GatehouseWeb
import Glibc

struct Gatehouse: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gatehouse",
        abstract: "Sessions and authentication: sealed cookies, one fast check.",
        discussion: """
            Exit codes: 0 done, 1 refused or not found, 2 usage, 3 store or configuration failure.
            """,
        subcommands: [
            ServeCommand.self, KeysCommand.self, UsersCommand.self, SessionsCommand.self,
            PasswordsCommand.self, ProfilesCommand.self, ReferralsCommand.self, ExplainCommand.self,
            NoticesCommand.self, ChoicesCommand.self, AuditCommand.self, GrantsCommand.self,
            AdminTokensCommand.self, StatisticsCommand.self, StoreCommand.self, DoctorCommand.self,
        ])
}

/// Why a command ends without having done what it was asked.
struct CommandFailure: Error, Equatable {
    enum Code: Int32 {
        /// Refused, or what it names does not exist.
        case refused = 1
        case usage = 2
        /// The store or the configuration.
        case environment = 3
    }

    let code: Code
    let message: String
    let hint: String?

    static func refused(_ message: String, hint: String? = nil) -> CommandFailure {
        CommandFailure(code: .refused, message: message, hint: hint)
    }

    static func usage(_ message: String, hint: String? = nil) -> CommandFailure {
        CommandFailure(code: .usage, message: message, hint: hint)
    }

    static func environment(_ message: String, hint: String? = nil) -> CommandFailure {
        CommandFailure(code: .environment, message: message, hint: hint)
    }

    /// What any error means for a command.
    init(_ error: any Error) {
        switch error {
        case let failure as CommandFailure: self = failure
        case let refusal as FileRefusal:
            self = .environment(refusal.message, hint: refusal.hint)
        case let errors as SettingsErrors:
            self = .environment(
                "the configuration has \(errors.findings.count) fault(s):\n  "
                    + errors.findings.joined(separator: "\n  "))
        case let faults as PeopleSchemaFaults:
            self = .environment(
                "the schema of people has \(faults.findings.count) fault(s):\n  "
                    + faults.findings.joined(separator: "\n  "), hint: "see people.schema")
        case let failure as ProfileFailure: self = .profile(failure)
        case let failure as StoreCopyFailure: self = CommandFailure(failure)
        case let faults as PageFaults:
            self = .environment(
                "the pages have \(faults.findings.count) fault(s):\n  "
                    + faults.findings.joined(separator: "\n  "),
                hint: "see pages.templates, pages.texts and pages.logo in the configuration")
        case ProcessLimits.Refusal.tooFewFiles(let allowed, let needed):
            self = .environment(
                "the system allows \(allowed) open files, and the connections that the "
                    + "configuration allows need \(needed)",
                hint: "raise the limit (LimitNOFILE= in a systemd unit), or lower "
                    + "check.max_connections")
        case ProcessLimits.Refusal.cannotLockMemory(let allowed):
            self = .environment(
                "the system lets this process lock \(allowed >> 10) KiB of memory, and keys need "
                    + "\(SecretMemory.chunkBytes >> 10) KiB that are never written to swap",
                hint: "raise the limit to 8 MiB (LimitMEMLOCK=8M in a systemd unit, --ulimit "
                    + "memlock=8388608 for a container)")
        case let error as StoreError: self = .store(error)
        case let failure as RefreshFailure: self = .refresh(failure)
        case let failure as KeyringWrapFailure: self = .keyring(failure)
        case KeyringDefect.tooManyKeys:
            self = .refused(
                "the ring holds \(Keyring.maximumKeys) keys, and takes no more",
                hint: "`gatehouse keys prune` destroys those whose tokens have expired")
        case let defect as KeyringDefect:
            self = .environment("the keyring refuses the change: \(defect)")
        default: self = .environment("\(error)")
        }
    }

    private init(code: Code, message: String, hint: String?) {
        self.code = code
        self.message = message
        self.hint = hint
    }

    private static func store(_ error: StoreError) -> CommandFailure {
        let hint: String? =
            switch error {
            case .busy: "another process holds it; try again"
            case .replaced: "run it again"
            case .unavailable, .schema: nil
            case .clockAhead: "nothing was changed; set the clock right and try again"
            case .damaged: "`gatehouse doctor` says more; restore the last good backup"
            }
        return .environment("\(error)", hint: hint)
    }

    private static func profile(_ failure: ProfileFailure) -> CommandFailure {
        switch failure {
        case .noKey:
            .environment("the keyring has no profile key", hint: "start the server once")
        case .damaged:
            .environment(
                "a profile was altered, or is of a newer release", hint: "restore a backup")
        case .sealing: .environment("libcrypto failed")
        case .store(let error): .store(error)
        }
    }

    private static func keyring(_ failure: KeyringWrapFailure) -> CommandFailure {
        let hint: String? =
            switch failure {
            case .otherRootKey: "configure the root key that belongs to this store"
            case .damaged: "its row was altered; restore a backup"
            case .sealing: nil
            }
        return .environment("\(failure)", hint: hint)
    }

    private static func refresh(_ failure: RefreshFailure) -> CommandFailure {
        switch failure {
        case .store(let error): store(error)
        case .keyring(let failure): keyring(failure)
        case .noKeyring: .environment("\(failure)", hint: "start the server once")
        case .storeWentBack:
            .environment(
                "\(failure)", hint: "restart the server: it reads the store that is there now")
        case .notPublished: .environment("\(failure)")
        }
    }
}

@main
enum Entry {
    static func main() async {
        // What we make is for its owner only; what others may use is widened where it is made.
        umask(0o077)
        do {
            try ProcessLimits.protectSecrets()
            var command = try Gatehouse.parseAsRoot()
            if !(command is ServeCommand) { try armFaultPoint() }
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch {
            exit(report(error))
        }
    }

    /// `GATEHOUSE_FAULT=kill:N` in the environment of a command, and never of the server: a test has it
    /// die at the N-th point of its writes.
    private static func armFaultPoint() throws {
        guard let text = ProcessInfo.processInfo.environment["GATEHOUSE_FAULT"] else { return }
        guard text.hasPrefix("kill:"), let count = Setting.number(text.dropFirst(5)), count > 0
        else { throw CommandFailure.usage("GATEHOUSE_FAULT takes kill:N, with N from 1") }
        FaultPoint.arm(killAt: count)
    }

    /// Says what went wrong, and gives the exit code.
    private static func report(_ error: any Error) -> Int32 {
        if error is ExitCode || error is CleanExit || isFromParser(error) {
            let code = Gatehouse.exitCode(for: error)
            let message = Gatehouse.fullMessage(for: error)
            if code.isSuccess {
                print(message)
                return 0
            }
            if !message.isEmpty { printError(message) }
            return code == .validationFailure ? CommandFailure.Code.usage.rawValue : code.rawValue
        }
        let failure = CommandFailure(error)
        printError("error: " + failure.message)
        if let hint = failure.hint { printError("hint: " + hint) }
        return failure.code.rawValue
    }

    private static func isFromParser(_ error: any Error) -> Bool {
        error is ValidationError || Gatehouse.exitCode(for: error) == .validationFailure
            || Gatehouse.exitCode(for: error).isSuccess
    }
}

func printError(_ message: String) {
    FileHandle.standardError.write(Data((message + "\n").utf8))
}
