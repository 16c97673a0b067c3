// Tells which processes on this machine are still alive, exactly and at once.

import Foundation
import GatehouseCore
import Glibc
import Synchronization

/// A locked file per node beside the database. The kernel drops the lock when the process ends,
/// however it ends, so that a node that was killed is known to be gone without waiting until its
/// lease must have run out. A process that lives and is silent keeps its lock.
final class NodeLocks: NodePresence {
    /// They run on one machine, by one clock.
    let clockMarginSeconds: Int64 = 0

    private let directory: String
    /// Which file the database is: written to the locks, so that a server that goes on with a file that
    /// was replaced is told from one that was given up.
    private let database: FileIdentity?
    /// Descriptors of the locks that this process holds.
    private let held = Mutex<[NodeID: Int32]>([:])

    /// - Parameter directory: made when it is missing, mode 0700.
    init(directory: String, database: FileIdentity?) throws(StoreError) {
        self.directory = directory
        self.database = database
        guard unsafe mkdir(directory, 0o700) == 0 || errno == EEXIST else {
            throw .unavailable("cannot make \(directory): errno \(errno)")
        }
    }

    deinit {
        for descriptor in held.withLock({ $0.values }) { close(descriptor) }
    }

    /// Takes the lock of a node of this process.
    func hold(_ node: NodeID) throws(StoreError) {
        if let descriptor = held.withLock({ $0[node] }) {
            var status = stat()
            if unsafe fstat(descriptor, &status) == 0 && status.st_nlink > 0 { return }
            // Somebody removed the file; without it this node would count as gone.
            held.withLock { $0[node] = nil }
            close(descriptor)
        }
        let descriptor = unsafe open(path(node), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0, flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let number = errno
            if descriptor >= 0 { close(descriptor) }
            throw .unavailable("cannot lock \(path(node)): errno \(number)")
        }
        let text = Array((database?.text ?? "").utf8)
        // SAFETY: writes the array's own bytes.
        let isWritten = unsafe text.withUnsafeBytes { bytes in
            unsafe ftruncate(descriptor, 0) == 0
                && write(descriptor, bytes.baseAddress, bytes.count) == bytes.count
        }
        guard isWritten else {
            let number = errno
            close(descriptor)
            throw .unavailable("cannot write \(path(node)): errno \(number)")
        }
        held.withLock { $0[node] = descriptor }
    }

    /// Nodes of other processes that live, and whose database is another file than ours.
    func strangers() -> [NodeID] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        return names.compactMap { name in
            guard name.hasSuffix(".lock"),
                let id = Identifier(hex: String(name.dropLast(".lock".count))).map(NodeID.init),
                !isOurs(id), !isGone(id),
                let text = try? String(contentsOfFile: path(id), encoding: .utf8),
                !text.isEmpty, text != database?.text
            else { return nil }
            return id
        }
    }

    /// Gives up the lock of a node of this process and removes its file.
    func release(_ node: NodeID) {
        guard let descriptor = held.withLock({ $0.removeValue(forKey: node) }) else { return }
        unsafe unlink(path(node))
        close(descriptor)
    }

    /// Whether it is a node of this process.
    func isOurs(_ node: NodeID) -> Bool { held.withLock { $0[node] != nil } }

    /// Whether the process behind a node is gone for certain.
    func isGone(_ node: NodeID) -> Bool {
        if held.withLock({ $0[node] != nil }) { return false }
        let descriptor = unsafe open(path(node), O_RDWR | O_CLOEXEC | O_NOFOLLOW)
        // The file is made before the row and removed after it.
        guard descriptor >= 0 else { return errno == ENOENT }
        defer { close(descriptor) }
        return flock(descriptor, LOCK_EX | LOCK_NB) == 0
    }

    /// Removes the file of a node that is gone, and never that of a silent one that lives.
    func forget(_ node: NodeID) {
        if held.withLock({ $0[node] != nil }) { return }
        let descriptor = unsafe open(path(node), O_RDWR | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { unsafe unlink(path(node)) }
    }

    private func path(_ node: NodeID) -> String { "\(directory)/\(node.text).lock" }
}

/// Which file a path leads to.
struct FileIdentity: Equatable, Sendable {
    let device: UInt64
    let inode: UInt64

    /// Nil when there is no file.
    init?(_ path: String) {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return nil }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
    }

    var text: String { "\(device):\(inode)" }
}
