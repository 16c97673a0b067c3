// Hashing and verifying passwords on threads of their own, behind a bounded queue.

package import GatehouseCore
import NIOPosix
import Synchronization

/// Hashes and verifies passwords.
///
/// Argon2id takes a large part of a second and tens of mebibytes on purpose. The number of threads
/// bounds how many cores and how much memory it takes at a time (threads × the memory of a hash, at
/// most `Argon2Parameters.maximumMemoryKiB` for a stored one), and the queue's limit bounds how long
/// anyone waits: beyond it, callers are refused at once (REQUIREMENTS PW-12, CHK-14).
///
/// A caller whose task is cancelled leaves the queue, and its password is wiped. `shutdown` must be
/// called before the last reference goes.
package final class PasswordHasher: Sendable {
    /// The cost of new hashes.
    package let parameters: Argon2Parameters

    private let threadCount: Int
    private let maximumQueued: Int
    private let entropy: Entropy
    private let threads: NIOThreadPool
    private let queue = Mutex(Queue())

    /// - Parameters:
    ///   - parameters: the cost of new hashes; stored ones are verified at their own.
    ///   - threads: how many passwords are hashed at a time, at least 1.
    ///   - maximumQueued: how many more wait for a thread; may be 0.
    ///   - entropy: where salts come from.
    package init(
        parameters: Argon2Parameters = .standard, threads: Int, maximumQueued: Int,
        entropy: Entropy = .system
    ) {
        precondition(threads > 0 && maximumQueued >= 0)
        self.parameters = parameters
        threadCount = threads
        self.maximumQueued = maximumQueued
        self.entropy = entropy
        self.threads = NIOThreadPool(numberOfThreads: threads)
        self.threads.start()
    }

    /// How many callers wait for a thread.
    package var queuedCount: Int { queue.withLock { $0.waiting.count } }

    /// A new hash of `password`, under a fresh salt.
    package func hash(
        _ password: consuming Password
    ) async throws(PasswordHasherError) -> PasswordHash {
        let parameters = parameters
        let entropy = entropy
        return try await run(password) { password throws(PasswordHasherError) in
            let salt: [UInt8]
            do { salt = try entropy.bytes(PasswordHash.saltBytes) } catch { throw .entropy }
            let output = try password.withSpan { bytes throws(PasswordHasherError) in
                try argon2idOutput(of: bytes, salt: salt, parameters: parameters)
            }
            return output.withSpan {
                PasswordHash(parameters: parameters, salt: salt, output: $0)
            }
        }
    }

    /// Whether `password` is the one that `hash` was made of.
    package func verify(
        _ password: consuming Password, against hash: some VerifiableHash
    ) async throws(PasswordHasherError) -> Bool {
        try await run(password) { password throws(PasswordHasherError) in
            try password.withSpan { bytes throws(PasswordHasherError) in
                try hash.matches(bytes)
            }
        }
    }

    /// Refuses everyone who waits and everyone who comes later, lets the hashes in progress finish,
    /// and ends the threads.
    package func shutdown() async {
        let dropped = queue.withLock { queue in
            queue.isShutDown = true
            defer { queue.waiting = [] }
            return queue.waiting
        }
        for job in dropped { job.refuse(.shutDown) }
        // It fails only for pools that are made never to stop.
        try? await threads.shutdownGracefully()
    }
}

/// Why a password was not hashed. None of these says anything about the password.
package enum PasswordHasherError: Error, Hashable, Sendable {
    /// Every thread is taken and the queue is full; try again later.
    case busy
    /// The caller's task was cancelled while it waited.
    case cancelled
    case shutDown
    /// The operating system gave no random bytes for a salt.
    case entropy
    /// libargon2 gave up, most likely for want of memory.
    case argon2(code: Int32)
    /// A pepper that the hash names is not in the ring.
    case pepper(PepperFailure)
    /// libcrypto or libcrypt gave up on another system's hash, most likely for want of memory.
    case foreignHash
}

// MARK: - The queue

extension PasswordHasher {
    /// One caller's password. Of the two closures exactly one is called, once.
    private struct Job: Sendable {
        let id: UInt64
        /// Does the work, and returns what gives the caller the outcome.
        let work: @Sendable () -> @Sendable () -> Void
        /// Gives the caller an error instead.
        let refuse: @Sendable (PasswordHasherError) -> Void
    }

    private struct Queue {
        /// Callers for whom there is no thread yet, in order of arrival.
        var waiting: [Job] = []
        /// Threads that have a job.
        var busyThreads = 0
        var nextID: UInt64 = 0
        var isShutDown = false
    }

    /// Waits for a thread and does `work` there.
    private func run<Value: Sendable>(
        _ password: consuming Password,
        _ work: @escaping @Sendable (borrowing Password) throws(PasswordHasherError) -> Value
    ) async throws(PasswordHasherError) -> Value {
        if Task.isCancelled { throw .cancelled }
        let id = queue.withLock { queue in
            queue.nextID += 1
            return queue.nextID
        }
        let password = password
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation {
                (continuation: CheckedContinuation<Result<Value, PasswordHasherError>, Never>) in
                let job = Job(
                    id: id,
                    work: {
                        let outcome = Result { () throws(PasswordHasherError) in
                            try work(password)
                        }
                        return { continuation.resume(returning: outcome) }
                    },
                    refuse: { continuation.resume(returning: .failure($0)) })
                accept(job)
                // A cancellation that came before the job did has not found it.
                if Task.isCancelled { cancel(id) }
            }
        } onCancel: {
            cancel(id)
        }
        return try outcome.get()
    }

    private func accept(_ job: Job) {
        let (refusal, getsThread) = queue.withLock {
            queue -> (PasswordHasherError?, getsThread: Bool) in
            if queue.isShutDown { return (.shutDown, false) }
            if queue.busyThreads < threadCount {
                queue.busyThreads += 1
                return (nil, true)
            }
            guard queue.waiting.count < maximumQueued else { return (.busy, false) }
            queue.waiting.append(job)
            return (nil, false)
        }
        if let refusal { job.refuse(refusal) }
        if getsThread {
            threads.submit { state in
                switch state {
                case .active: self.work(from: job)
                case .cancelled: job.refuse(.shutDown)
                }
            }
        }
    }

    /// Does `job` on this thread, and then what waits, until nothing does.
    private func work(from job: Job) {
        var next: Job? = job
        while let job = next {
            let resumeCaller = job.work()
            // First, so that the caller finds the thread free when it comes back at once.
            next = takeJob()
            resumeCaller()
        }
    }

    /// The next job for a thread that has none; without one, the thread is free.
    private func takeJob() -> Job? {
        queue.withLock { queue in
            guard !queue.waiting.isEmpty else {
                queue.busyThreads -= 1
                return nil
            }
            return queue.waiting.removeFirst()
        }
    }

    private func cancel(_ id: UInt64) {
        let job = queue.withLock { queue -> Job? in
            guard let index = queue.waiting.firstIndex(where: { $0.id == id }) else { return nil }
            return queue.waiting.remove(at: index)
        }
        job?.refuse(.cancelled)
    }
}
