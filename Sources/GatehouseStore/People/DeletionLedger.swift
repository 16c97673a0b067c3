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

    struct Entry: Hashable {
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

        /// The entry at the end of a line that begins with something else, such as what was left of another.
        init?(endOf line: ArraySlice<UInt8>) {
            let text = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
            guard let space = text.lastIndex(of: UInt8(ascii: " ")),
                space - text.startIndex >= Self.identifierBytes
            else { return nil }
            self.init(
                String(decoding: text[(space - Self.identifierBytes)...], as: UTF8.self)[...])
        }

        private static let identifierBytes = 32

        init(user: UserID, time: UnixTime) {
            self.user = user
            self.time = time
        }
    }

    private let directory: String
    private var path: String { directory + "/" + Self.fileName }

    init(directory: String) { self.directory = directory }

    struct Contents {
        /// In the file's order.
        var entries: [Entry] = []
        /// Lines that are no entries.
        var unreadable = 0
    }

    /// Every entry that can be read, whatever stands between them. What a crash left of a last line is no
    /// entry: its deletion was not done.
    func contents() throws(StoreError) -> Contents {
        guard let file = try LedgerFile.open(path, O_RDONLY) else { return Contents() }
        var lines = try file.read().split(
            separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        lines.removeLast()
        var contents = Contents()
        for line in lines {
            let text = String(decoding: line, as: UTF8.self)
            if let entry = Entry(text[...]) {
                contents.entries.append(entry)
            } else {
                contents.unreadable += 1
                if let entry = Entry(endOf: line) { contents.entries.append(entry) }
            }
        }
        return contents
    }

    /// A line is not written again within a day: a deletion that fails is tried every minute. Later it is,
    /// because copies were made since with who came back.
    static let repeatSeconds: Int64 = 86_400

    /// Adds an entry and writes it to the disk, over what a crash left of another.
    func append(_ entry: Entry) throws(StoreError) {
        let isThere = try contents().entries.contains {
            $0.user == entry.user
                && abs($0.time.seconds - entry.time.seconds) < Self.repeatSeconds
        }
        guard !isThere else { return }
        guard let file = try LedgerFile.open(path, O_RDWR | O_CREAT) else { throw Self.unreadable }
        let end = try file.end()
        try file.write(Array(((end.needsLineEnd ? "\n" : "") + entry.line).utf8), at: end.start)
        try Self.sync(directory)
    }

    /// Adds entries of another ledger, with their times, unless they are there.
    func append(_ entries: [Entry]) throws(StoreError) {
        let known = Set(try contents().entries)
        let missing = entries.filter { !known.contains($0) }
        guard !missing.isEmpty else { return }
        guard let file = try LedgerFile.open(path, O_RDWR | O_CREAT) else { throw Self.unreadable }
        let end = try file.end()
        let lines = missing.map(\.line).joined()
        try file.write(Array(((end.needsLineEnd ? "\n" : "") + lines).utf8), at: end.start)
        try Self.sync(directory)
    }

    /// Drops what is older than `time`: the file is written anew, and takes the old one's place when it is on
    /// the disk.
    func prune(before time: UnixTime) throws(StoreError) -> Int {
        let contents = try contents()
        // They are for an operator to look at.
        guard contents.unreadable == 0 else { return 0 }
        let all = contents.entries
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
        "the deletion ledger (\(fileName)) is too large to be one")

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

    /// Where the next line begins: over what a crash left of one of ours, behind anything else.
    borrowing func end() throws(StoreError) -> (start: Int, needsLineEnd: Bool) {
        let count = min(size, Self.maximumLineBytes)
        let bytes = try read(from: size - count, count: count)
        let last = bytes.lastIndex(of: UInt8(ascii: "\n"))
        let rest = bytes[(last.map { $0 + 1 } ?? 0)...]
        let isOurs = rest.allSatisfy { " 0123456789abcdef".utf8.contains($0) }
        guard isOurs, last != nil || size == count else { return (size, true) }
        return (size - rest.count, false)
    }

    /// 32 digits, a space, a time of at most 20, and the line end.
    private static let maximumLineBytes = 64

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
