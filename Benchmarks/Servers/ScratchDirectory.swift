// Directories of the benchmark's own, which are gone when it ends, however it ends.

import Foundation
import Glibc
import Synchronization

/// Removed with everything in it, together with this object. Its path is short enough for that of a
/// Unix socket.
final class ScratchDirectory: Sendable {
    let path: String

    /// Those that there are, for the one who is interrupted.
    private static let all = Mutex<Set<String>>([])

    init() throws {
        var template = Array("/tmp/gatehouse-bench-XXXXXX".utf8CString)
        let made = unsafe template.withUnsafeMutableBufferPointer { buffer in
            // SAFETY: a zero-terminated template that mkdtemp rewrites in place.
            unsafe buffer.baseAddress.flatMap { base in
                unsafe mkdtemp(base).map { unsafe String(cString: $0) }
            }
        }
        guard let made else { throw BenchmarkFailure("cannot make a directory in /tmp") }
        path = made
        Self.all.withLock { _ = $0.insert(made) }
    }

    deinit {
        Self.all.withLock {
            Self.remove(path)
            $0.remove(path)
        }
    }

    /// Before the process ends in any way: under the lock, so that nobody ends it half way through.
    static func removeAll() {
        all.withLock {
            for path in $0 { remove(path) }
            $0 = []
        }
    }

    /// A server that is just ending removes files of its own meanwhile, at which the removal stops;
    /// then it is begun again.
    private static func remove(_ path: String) {
        for _ in 0..<removals where FileManager.default.fileExists(atPath: path) {
            do { try FileManager.default.removeItem(atPath: path) } catch { usleep(20_000) }
        }
    }

    /// Two seconds: a server that was interrupted together with us has ended by then.
    private static let removals = 100

    func file(_ name: String) -> String { path + "/" + name }

    func write(_ text: String, to name: String) throws -> String {
        try text.write(toFile: file(name), atomically: false, encoding: .utf8)
        return file(name)
    }

    /// From now on an interruption removes all directories before it ends the process. The servers in
    /// them end with it. To be called before there are other threads.
    static func removeAllWhenInterrupted() {
        var signals = sigset_t()
        // SAFETY: each call reads or writes the one set that it is given.
        unsafe sigemptyset(&signals)
        for signal in [SIGINT, SIGTERM, SIGHUP] { unsafe sigaddset(&signals, signal) }
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        Thread.detachNewThread { [signals] in
            var signals = signals
            var caught: Int32 = 0
            unsafe sigwait(&signals, &caught)
            removeAll()
            _exit(128 + caught)
        }
    }
}
