// The data directory and the root key file: who may own them, who may read them.

import GatehouseCore
import Glibc

/// Refusals about files, each with what to do.
struct FileRefusal: Error, Equatable {
    let message: String
    let hint: String
}

enum DataDirectory {
    /// Checks that the directory is there, ours, and that no one else can write to it.
    static func check(_ path: String) throws(FileRefusal) {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else {
            throw FileRefusal(
                message: "there is no data directory at \(path)",
                hint: "start the server once, or name the directory with --data-dir")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw FileRefusal(message: "\(path) is not a directory", hint: "name another")
        }
        guard status.st_uid == geteuid() else {
            throw FileRefusal(
                message: "\(path) belongs to user \(status.st_uid), and this is user \(geteuid())",
                hint: "run the command as the directory's owner; files made by another user would "
                    + "lock the server out")
        }
        guard status.st_mode & 0o022 == 0 else {
            throw FileRefusal(
                message: "others can write to \(path)", hint: "chmod go-w \(path)")
        }
    }

    /// Makes the directory, for its owner only, unless it is there.
    static func create(_ path: String) throws(FileRefusal) {
        if unsafe mkdir(path, 0o700) == 0 {
            guard FileSync.parent(of: path) else {
                throw FileRefusal(
                    message: "cannot write \(path) to the disk: errno \(errno)",
                    hint: "is the disk full?")
            }
        } else if errno != EEXIST {
            throw FileRefusal(
                message: "cannot make \(path): errno \(errno)",
                hint: "make its parent directory first")
        }
    }
}

enum RootKeyFile {
    /// One line of 65 characters; anything much larger is another file.
    static let maximumBytes = 4096

    /// Reads the root key (REQUIREMENTS KEY-1): a regular file, ours, with no access for others.
    ///
    /// - Parameter isCredential: whether systemd made the file.
    static func read(
        _ path: String, isCredential: Bool = false
    ) throws(FileRefusal) -> RootKey {
        // Not blocking: a FIFO has nobody who writes.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else {
            switch errno {
            case ENOENT:
                throw FileRefusal(
                    message: "there is no root key at \(path)",
                    hint: isCredential
                        ? "name it in the unit with LoadCredential= or LoadCredentialEncrypted="
                        : "restore it from your backup, or for a new store make one with "
                            + "`gatehouse keys init`")
            case ELOOP:
                throw FileRefusal(
                    message: "the root key \(path) is a symbolic link",
                    hint: "name the file itself")
            default:
                throw FileRefusal(
                    message: "cannot open the root key \(path): errno \(errno)",
                    hint: "it must be readable by the user that Gatehouse runs as")
            }
        }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw FileRefusal(
                message: "the root key \(path) is not a regular file", hint: "name another file")
        }
        guard status.st_uid == geteuid() || isCredential && status.st_uid == 0 else {
            throw FileRefusal(
                message: "the root key \(path) belongs to user \(status.st_uid), and this is user "
                    + "\(geteuid())", hint: "chown it to the user that Gatehouse runs as")
        }
        guard
            isPrivate(
                status.st_mode, owner: status.st_uid, user: geteuid(), isCredential: isCredential)
        else {
            throw FileRefusal(
                message: "others have access to the root key \(path)",
                hint: "chmod 600 \(path), and consider whether the key has leaked")
        }
        try checkDirectory(of: path)
        guard (1...Self.maximumBytes).contains(Int(status.st_size)) else {
            throw FileRefusal(
                message: "the root key \(path) has \(status.st_size) bytes",
                hint: "it is one line: gatehouse-root-key-1: and 43 characters")
        }
        let text = SecretBytes(count: Int(status.st_size)) { span in
            _ = unsafe span.withUnsafeMutableBytes { bytes in
                // SAFETY: reads at most as much as the buffer holds; a short file leaves zeros,
                // which the key's form refuses.
                unsafe Glibc.read(descriptor, bytes.baseAddress, bytes.count)
            }
        }
        do {
            return try text.withSpan { span throws(RootKeyDefect) in try RootKey(text: span) }
        } catch {
            throw FileRefusal(
                message: "the root key \(path) is refused: \(error.message)",
                hint: "restore it from your backup")
        }
    }

    /// No access for others. systemd lets a unit's user read a credential of root's by an access control
    /// list, whose mask stands where the group's bits do.
    static func isPrivate(
        _ mode: mode_t, owner: uid_t, user: uid_t, isCredential: Bool
    ) -> Bool {
        mode & (isCredential && owner == 0 && user != 0 ? 0o037 : 0o077) == 0
    }

    /// Whoever can write to a directory can take a file out of it, unless its sticky bit is set.
    private static func checkDirectory(of path: String) throws(FileRefusal) {
        let directory = FileSync.directory(of: path)
        var status = stat()
        // One that is not there is told when the file is opened or made.
        guard unsafe stat(directory, &status) == 0,
            status.st_mode & 0o022 != 0 && status.st_mode & S_ISVTX == 0
        else { return }
        throw FileRefusal(
            message: "others can write to \(directory), where the root key \(path) is",
            hint: "chmod go-w \(directory)")
    }

    /// Makes a new root key unless there is a file: what an interrupted run made is used.
    static func createIfMissing(_ path: String) throws(FileRefusal) {
        if unsafe access(path, F_OK) != 0 { try create(path) }
    }

    /// Makes a new root key, and never replaces one.
    static func create(_ path: String) throws(FileRefusal) {
        try checkDirectory(of: path)
        let key: RootKey
        do { key = try RootKey.random(from: .system) } catch {
            throw FileRefusal(
                message: "cannot make a root key: \(error.message)", hint: "try again")
        }
        try key.withText { text throws(FileRefusal) in
            try OwnFile.write(text, to: path, isReplacing: false)
        }
    }
}

/// Files for their owner only, whole or not there: a kill at any point leaves the old or the new.
enum OwnFile {
    static func write(_ text: String, to path: String) throws(FileRefusal) {
        try write(Array(text.utf8).span, to: path, isReplacing: true)
    }

    /// - Parameter isReplacing: whether a file that is there may be replaced.
    static func write(
        _ content: Span<UInt8>, to path: String, isReplacing: Bool
    ) throws(FileRefusal) {
        let draft = try Draft(path)
        let isWritten = unsafe content.withUnsafeBytes { bytes in
            // SAFETY: writes the buffer's own bytes.
            unsafe Glibc.write(draft.descriptor, bytes.baseAddress, bytes.count) == bytes.count
        }
        guard isWritten else {
            throw FileRefusal(
                message: "cannot write \(draft.path): errno \(errno)", hint: "is the disk full?")
        }
        try draft.publish(isReplacing: isReplacing)
    }

    /// A file that does not have its name yet; it goes with the value that stands for it.
    struct Draft: ~Copyable {
        let descriptor: Int32
        let path: String
        private let finalPath: String

        init(_ finalPath: String) throws(FileRefusal) {
            self.finalPath = finalPath
            path = "\(finalPath).\(getpid()).new"
            unsafe unlink(path)
            descriptor = unsafe open(
                path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
            guard descriptor >= 0 else {
                throw FileRefusal(
                    message: "cannot make \(path): errno \(errno)",
                    hint: "the directory must be writable for this user")
            }
        }

        deinit {
            close(descriptor)
            unsafe unlink(path)
        }

        /// Writes it to the disk, and gives it its name.
        borrowing func publish(isReplacing: Bool) throws(FileRefusal) {
            guard fsync(descriptor) == 0 else {
                throw FileRefusal(
                    message: "cannot write \(path): errno \(errno)", hint: "is the disk full?")
            }
            // link(2), unlike rename(2), replaces nothing.
            let isNamed =
                isReplacing
                ? unsafe rename(path, finalPath) == 0 : unsafe link(path, finalPath) == 0
            guard isNamed, FileSync.parent(of: finalPath) else {
                throw FileRefusal(
                    message: errno == EEXIST
                        ? "there is a file at \(finalPath) already"
                        : "cannot make \(finalPath): errno \(errno)",
                    hint: isReplacing
                        ? "it must be a file in a directory that is writable for this user"
                        : "a store opens only with the root key it was made with: never replace one"
                )
            }
        }
    }
}

enum FileSync {
    /// Writes the directory of `path` to the disk: a new file is there only when its directory is.
    static func parent(of path: String) -> Bool {
        let descriptor = unsafe open(directory(of: path), O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return fsync(descriptor) == 0
    }

    static func directory(of path: String) -> String {
        let parent = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        return parent.isEmpty ? "/" : parent
    }
}
