// Threads of our own, for work that would keep a shared one busy.

import Glibc

package enum OwnThread {
    /// Runs `body` on a new thread, which ends with it.
    ///
    /// - Parameters:
    ///   - name: at most 15 bytes; what ps and perf show.
    ///   - stepsBack: how far it stands back behind the process's other threads, in steps of
    ///     setpriority(2), of which there are 40.
    package static func start(
        _ name: String, stepsBack: Int32, _ body: @escaping @Sendable () -> Void
    ) {
        let box = unsafe Unmanaged.passRetained(
            Body {
                ProcessLimits.describeThread(name, stepsBack: stepsBack)
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
