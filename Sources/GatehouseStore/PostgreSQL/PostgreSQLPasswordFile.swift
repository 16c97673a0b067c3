// The password of the database, in a file: who may read it, and what is taken of it.

package import GatehouseCore
import Glibc

package enum PostgreSQLPasswordFile {
    /// In bytes. A password is a line; anything much larger is another file.
    package static let maximumBytes = 1024
    /// An editor leaves one, of two bytes where it comes from Windows.
    private static let maximumLineEndBytes = 2

    /// Reads a regular file that is this user's or root's, and that nobody else may read: of one that
    /// is root's its group may, which is how systemd gives credentials.
    ///
    /// - Returns: its bytes without the line end.
    package static func read(_ path: String) throws(StoreError) -> SecretBytes {
        // Not blocking: a FIFO has nobody who writes.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else {
            throw refusal(
                path, errno == ELOOP ? "is a symbolic link" : "cannot be opened: errno \(errno)")
        }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw refusal(path, "is not a regular file")
        }
        guard isPrivate(status.st_mode, owner: status.st_uid, user: geteuid()) else {
            throw refusal(path, "must be this user's, and nobody else may read it (chmod 600)")
        }
        let size = Int(status.st_size)
        guard (1...(maximumBytes + maximumLineEndBytes)).contains(size) else {
            throw refusal(path, "has \(size) bytes; a password has 1 to \(maximumBytes)")
        }
        var count = 0
        let text = SecretBytes(count: size) { span in
            count = unsafe span.withUnsafeMutableBytes { bytes in
                // SAFETY: reads at most as much as the buffer holds.
                unsafe Glibc.read(descriptor, bytes.baseAddress, bytes.count)
            }
        }
        guard count == size else { throw refusal(path, "cannot be read: errno \(errno)") }
        return try text.withSpan { span throws(StoreError) in
            let end = lineEnd(span)
            guard (1...maximumBytes).contains(end) else {
                throw refusal(path, "holds no password of 1 to \(maximumBytes) bytes")
            }
            // libpq would end it at a NUL; a second line is another kind of file.
            for index in 0..<end
            where [0, UInt8(ascii: "\n"), UInt8(ascii: "\r")].contains(span[index]) {
                throw refusal(path, "must hold the password alone, on one line")
            }
            return SecretBytes(copying: span.extracting(0..<end))
        }
    }

    static func isPrivate(_ mode: mode_t, owner: uid_t, user: uid_t) -> Bool {
        if owner == user { return mode & 0o077 == 0 }
        return owner == 0 && mode & 0o037 == 0
    }

    private static func lineEnd(_ text: Span<UInt8>) -> Int {
        var end = text.count
        if end > 0, text[end - 1] == UInt8(ascii: "\n") {
            end -= 1
            if end > 0, text[end - 1] == UInt8(ascii: "\r") { end -= 1 }
        }
        return end
    }

    private static func refusal(_ path: String, _ problem: String) -> StoreError {
        .unavailable("the password file \(path) \(problem)")
    }
}
