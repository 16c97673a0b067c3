// The hasher that the configuration describes, for the server and for commands alike.

import GatehouseCore
import GatehousePasswords
import NIOCore

extension Settings {
    /// As many as may hash at one time; one core is left to the checks, if there are two.
    var passwordThreadCount: Int {
        passwordThreads > 0 ? passwordThreads : max(1, min(64, System.coreCount - 1))
    }

    func passwordHasher() throws -> PasswordHasher {
        guard let argon2Parameters else {
            throw CommandFailure.environment(Argon2ParametersRefusal.memory.message)
        }
        return PasswordHasher(
            parameters: argon2Parameters, threads: passwordThreadCount,
            memoryKiB: passwordMemoryKiB, maximumQueued: passwordQueue,
            deadline: .seconds(passwordDeadlineSeconds))
    }
}
