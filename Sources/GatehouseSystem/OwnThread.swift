// Threads of our own, for work that would keep a shared one busy.

import Glibc

package enum OwnThread {
    /// Runs `body` on a new thread, which ends with it.
    ///
    /// - Parameters:
    ///   - name: at most 15 bytes; what ps and perf show.
    ///   - niceness: how far it stands back behind the process's other threads, 0 to 19.
    package static func start(
        _ name: String, niceness: Int32, _ body: @escaping @Sendable () -> Void
    ) {
        let box = unsafe Unmanaged.passRetained(
            Body {
                ProcessLimits.describeThread(name, niceness: niceness)
                body()
            })
        var thread = pthread_t()
        // SAFETY: the new thread takes over the one reference that the box holds.
        let code = unsafe pthread_create(
            &thread, nil,
            { pointer in
                guard let pointer = unsafe pointer else { return nil }
                unsafe Unmanaged<Body>.fromOpaque(pointer).takeRetainedValue().run()
                return nil
            }, box.toOpaque())
        precondition(code == 0, "no thread: error \(code)")
        pthread_detach(thread)
    }

    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }
}
