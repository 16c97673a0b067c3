// What the process asks of the kernel for itself: open files, locked memory, and no core dumps.

import CLinux
import GatehouseCore
import Glibc

package enum ProcessLimits {
    /// Why the process can't run as it should.
    package enum Refusal: Error, Equatable {
        case cannotForbidDumps(errno: Int32)
        case cannotSeparateBlocks
        /// Of secret memory; `allowed` is the limit in bytes.
        case cannotLockMemory(allowed: UInt64)
        case libCryptoHasMemory
        case tooFewFiles(allowed: UInt64, needed: UInt64)
    }

    /// Gives memory back that was freed after a large load; glibc would keep it.
    package static func trimMemory() { gatehouse_trim_memory() }

    /// Names the calling thread, and lets others that have work go before it, by so many steps of
    /// setpriority(2). Everyone may do that.
    package static func describeThread(_ name: String, stepsBack: Int32) {
        // SAFETY: the kernel copies the name.
        unsafe gatehouse_name_this_thread(name)
        _ = gatehouse_lower_thread_priority(stepsBack)
    }

    /// Open files besides connections: the database's, listeners, event loops, and what the other
    /// endpoints' connections need.
    package static let reservedFiles = 128

    /// Keeps keys out of core dumps and away from processes of the same user (REQUIREMENTS KEY-6), and has
    /// libcrypto keep them in secret memory: before anything else, in the server and in every command.
    package static func protectSecrets() throws(Refusal) {
        guard gatehouse_forbid_dumps() == 0 else { throw .cannotForbidDumps(errno: errno) }
        // Swift's runtime would have a program read this process and print registers and memory when it
        // crashes, with keys in them. A crash ends the process, and says no more than what failed.
        for crash in [SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV] {
            signal(crash, SIG_DFL)
        }
        _ = gatehouse_raise_locked_memory()
        guard SecretMemory.serveLibCrypto() else { throw .libCryptoHasMemory }
    }

    /// What a server needs besides: that its secret memory is locked. A command, which has keys for a
    /// moment, goes on without.
    package static func requireLockedMemory() throws(Refusal) {
        guard SecretMemory.isLocked() else {
            throw .cannotLockMemory(allowed: gatehouse_raise_locked_memory())
        }
    }

    /// Makes room for `connections`, and has the memory of revocation tables given back when they are
    /// replaced.
    package static func apply(connections: Int) throws(Refusal) {
        guard gatehouse_separate_large_blocks() == 1 else { throw .cannotSeparateBlocks }
        let needed = UInt64(connections + reservedFiles)
        let allowed = gatehouse_raise_open_files()
        guard allowed >= needed else { throw .tooFewFiles(allowed: allowed, needed: needed) }
    }
}
