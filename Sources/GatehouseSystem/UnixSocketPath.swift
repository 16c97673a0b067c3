// Frees the path of a Unix socket that a dead server left, and never a living one's.

import Glibc

package enum UnixSocketPath {
    /// Why a path can't be listened on.
    package enum Refusal: Error, Equatable {
        /// Somebody answers there.
        case inUse
        /// Something that is not a socket lies there; it is left alone.
        case notASocket
        case systemCall(Int32)
    }

    /// Removes a socket that nobody listens on.
    package static func prepare(_ path: String) throws(Refusal) {
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else {
            guard errno == ENOENT else { throw .systemCall(errno) }
            return
        }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw .notASocket }
        guard try !isAnswered(path) else { throw .inUse }
        guard unsafe unlink(path) == 0 || errno == ENOENT else { throw .systemCall(errno) }
    }

    private static func isAnswered(_ path: String) throws(Refusal) -> Bool {
        let descriptor = socket(
            AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .systemCall(errno) }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        // SAFETY: the path is at most ListenAddress.maximumPathBytes long, which leaves its zero.
        let fits = unsafe withUnsafeMutableBytes(of: &address.sun_path) { target in
            guard bytes.count < target.count else { return false }
            unsafe target.copyBytes(from: bytes)
            return true
        }
        guard fits else { throw .systemCall(ENAMETOOLONG) }
        let connected = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                unsafe connect(
                    descriptor, address, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        if connected == 0 { return true }
        switch errno {
        case ECONNREFUSED, ENOENT: return false
        // Its backlog is full: somebody lives there.
        case EAGAIN: return true
        default: throw .systemCall(errno)
        }
    }
}
