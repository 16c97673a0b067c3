// A result that another thread or a task brings, and that is waited for.

import Dispatch
import Synchronization

final class Later<Value: Sendable>: Sendable {
    private let result = Mutex<Result<Value, any Error>?>(nil)
    private let done = DispatchSemaphore(value: 0)

    func set(_ result: Result<Value, any Error>) {
        self.result.withLock { $0 = result }
        done.signal()
    }

    /// Waits for the result, on a thread that no task runs on; once.
    func get() throws -> Value {
        done.wait()
        guard let result = result.withLock({ $0 }) else {
            preconditionFailure("it was set before the signal")
        }
        return try result.get()
    }
}

/// Waits for `body` on this thread, which is none of those that run tasks.
func blocking<Value: Sendable>(
    _ body: @escaping @Sendable () async throws -> Value
) throws -> Value {
    let later = Later<Value>()
    Task {
        do { later.set(.success(try await body())) } catch { later.set(.failure(error)) }
    }
    return try later.get()
}
