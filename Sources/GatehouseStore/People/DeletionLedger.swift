// Who was deleted, in a file beside the database: a database that is restored from a backup has them again.

import Foundation
import GatehouseCore
import Glibc

/// `deletions.ledger` in the data directory, mode 0600. A line for each deletion: the user id's 32 hex digits,
/// a space, the Unix time, a line end. Whoever writes holds the database's write lock, so that no two write
/// at once. It is not authenticated: whoever can write to it can write to the database beside it, and a key
/// from the ring would not be there when an older ring is restored.
struct DeletionLedger: Sendable {
    static let fileName = "deletions.ledger"
    /// Over a million deletions; anything larger is another file.
    static let maximumBytes = 64 << 20

    struct Entry: Equatable {
        let user: UserID
        let time: UnixTime

        var line: String { "\(user.value.hex) \(time.seconds)\n" }

        /// Nil unless it is spelled as ``line`` is, but for the line end.
        init?(_ line: Substring) {
            let parts = line.split(separator: " ", omittingEmptySubsequences: false)
            guard parts.count == 2, let id = Identifier(hex: String(parts[0])),
                let seconds = Int64(parts[1]), "\(seconds)" == parts[1],
                let time = UnixTime(seconds: seconds)
            else { return nil }
            (user, self.time) = (UserID(id), time)
        }

        init(user: UserID, time: UnixTime) {
            self.user = user
            self.time = time
        }
    }

    private let directory: String
    private var path: String { directory + "/" + Self.fileName }

    init(directory: String) { self.directory = directory }

    /// Every entry, the earliest first. What a crash left of a last line is no entry: its deletion was not
    /// done.
    func entries() throws(StoreError) -> [Entry] {
        guard let file = try LedgerFile.open(path, O_RDONLY) else { return [] }
        guard let text = String(validating: try file.read(), as: UTF8.self) else {
            throw Self.unreadable
        }
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        lines.removeLast()
        return try lines.map { line throws(StoreError) in
            guard let entry = Entry(line) else { throw Self.unreadable }
            return entry
        }
    }

    /// Adds an entry and writes it to the disk, over whatever a crash left of another.
    func append(_ entry: Entry) throws(StoreError) {
        // One that nobody can read would not be gone by later.
        _ = try entries()
        guard let file = try LedgerFile.open(path, O_RDWR | O_CREAT) else { throw Self.unreadable }
        let end = try file.wholeLines()
        try file.write(Array(entry.line.utf8), at: end)
        try Self.sync(directory)
    }

    /// Drops what is older than `time`: the file is written anew, and takes the old one's place when it is on
    /// the disk.
    func prune(before time: UnixTime) throws(StoreError) -> Int {
        let all = try entries()
        let kept = all.filter { $0.time >= time }
        guard kept.count < all.count else { return 0 }
        let draft = path + ".new"
        unsafe unlink(draft)
        guard let file = try LedgerFile.open(draft, O_RDWR | O_CREAT | O_EXCL) else {
            throw Self.unreadable
        }
        try file.write(kept.flatMap { Array($0.line.utf8) }, at: 0)
        guard unsafe rename(draft, path) == 0 else { throw Self.failed("replace") }
        try Self.sync(directory)
        return all.count - kept.count
    }

    static let unreadable = StoreError.unavailable(
        "the deletion ledger (\(fileName)) has lines that are no entries")

    static func failed(_ act: String) -> StoreError {
        .unavailable("cannot \(act) the deletion ledger (\(fileName)): errno \(errno)")
    }

    /// A new file is there only when its directory is on the disk.
    private static func sync(_ directory: String) throws(StoreError) {
        let descriptor = unsafe open(directory, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failed("write") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failed("write") }
    }
}

/// The ledger, open.
private struct LedgerFile: ~Copyable {
    private let descriptor: Int32
    private let size: Int

    private init(descriptor: Int32, size: Int) {
        self.descriptor = descriptor
        self.size = size
    }

    /// Nil when there is none. One that others may have written to is refused.
    static func open(_ path: String, _ flags: Int32) throws(StoreError) -> LedgerFile? {
        let descriptor = unsafe Glibc.open(
            path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
        guard descriptor >= 0 else {
            guard errno == ENOENT else { throw DeletionLedger.failed("open") }
            return nil
        }
        var status = stat()
        let isKnown = unsafe fstat(descriptor, &status) == 0
        // From here on the descriptor is closed with the value.
        let file = LedgerFile(descriptor: descriptor, size: Int(status.st_size))
        guard isKnown, status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid(),
            status.st_mode & 0o022 == 0
        else {
            throw .unavailable(
                "the deletion ledger (\(DeletionLedger.fileName)) is not a file of ours alone")
        }
        guard file.size <= DeletionLedger.maximumBytes else { throw DeletionLedger.unreadable }
        return file
    }

    deinit { close(descriptor) }

    borrowing func read() throws(StoreError) -> [UInt8] { try read(from: 0, count: size) }

    private borrowing func read(from start: Int, count: Int) throws(StoreError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var done = 0
        while done < count {
            let got = unsafe bytes.withUnsafeMutableBytes { buffer in
                // SAFETY: reads at most what is left of the buffer.
                unsafe pread(
                    descriptor, buffer.baseAddress?.advanced(by: done), count - done,
                    off_t(start + done))
            }
            guard got > 0 else { throw DeletionLedger.failed("read") }
            done += got
        }
        return bytes
    }

    /// Where the last line that is whole ends.
    borrowing func wholeLines() throws(StoreError) -> Int {
        // No line is longer than that.
        let count = min(size, 64)
        let end = try read(from: size - count, count: count)
        guard let last = end.lastIndex(of: UInt8(ascii: "\n")) else {
            guard size == count else { throw DeletionLedger.unreadable }
            return 0
        }
        return size - count + last + 1
    }

    /// Writes `bytes` at `start`, where the file then ends, to the disk.
    borrowing func write(_ bytes: [UInt8], at start: Int) throws(StoreError) {
        guard ftruncate(descriptor, off_t(start)) == 0 else { throw DeletionLedger.failed("write") }
        let isWritten = unsafe bytes.withUnsafeBytes { buffer in
            // SAFETY: writes the buffer's own bytes.
            unsafe pwrite(descriptor, buffer.baseAddress, buffer.count, off_t(start))
                == buffer.count
        }
        guard isWritten, fsync(descriptor) == 0 else { throw DeletionLedger.failed("write") }
    }
}
