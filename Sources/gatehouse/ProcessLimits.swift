// What the server asks of the kernel for itself: open files, and no core dumps.

import CLinux
import Glibc

enum ProcessLimits {
    /// Open files besides connections: the database's, listeners, event loops, the admin endpoint's
    /// connections.
    static let reservedFiles = 128

    /// Keeps keys out of core dumps (REQUIREMENTS KEY-6), and makes room for the connections that
    /// the configuration allows, or says that there is none.
    static func apply(connections: Int) throws(CommandFailure) {
        guard gatehouse_forbid_dumps() == 0 else {
            throw .environment("cannot forbid core dumps: errno \(errno)")
        }
        let needed = UInt64(connections + reservedFiles)
        let limit = gatehouse_raise_open_files()
        guard limit >= needed else {
            throw .environment(
                "the system allows \(limit) open files, and check.max_connections \(connections) "
                    + "needs \(needed)",
                hint: "raise the limit (LimitNOFILE= in a systemd unit) or lower "
                    + "check.max_connections")
        }
    }
}
