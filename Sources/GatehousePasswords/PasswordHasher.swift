// Hashing and verifying passwords on threads of their own, within fixed memory, behind a bounded queue.

import Dispatch
package import GatehouseCore
import GatehouseSystem
import Synchronization

/// Hashes and verifies passwords.
///
/// Argon2id takes a large part of a second and tens of mebibytes on purpose. Here nothing of that is
/// without a limit (REQUIREMENTS PW-12, CHK-14):
///
/// - **cores:** a fixed number of threads, which stand back behind all others of the process;
/// - **memory:** a budget that hashes and kept arenas together never pass. It is divided into shares of
///   what a new hash takes; a stored hash that takes more waits until that much is free, and those
///   behind it wait with it;
/// - **waiting:** a bounded queue with a deadline. Who finds it full, or so long that the deadline would
///   come first, is refused at once, as is who has waited until then; known ones go first, and take the
///   place of the last stranger when it is full.
///
/// A caller whose task is cancelled leaves the queue, and its password is wiped. `shutdown` must be
/// called before the last reference goes.
package final class PasswordHasher: Sendable {
    /// Arenas without a hash for this long are given back to the system: a minute, which is longer than
    /// the pauses of a site that is in use.
    package static let keptArenaSeconds = 60.0
    /// How far hashing threads stand back (setpriority(2)): beside a busy thread of the usual priority
    /// they get a tenth of a core, which still moves the queue.
    package static let stepsBack: Int32 = 10

    /// The cost of new hashes.
    package let parameters: Argon2Parameters
    /// How many passwords are hashed at a time.
    package let workers: Int

    private let deadlineNanoseconds: UInt64
    private let keptNanoseconds: UInt64
    private let entropy: Entropy
    private let state: Mutex<State>
    /// One signal for each job that was given to the threads, and one for each thread at the end.
    private let jobs = DispatchSemaphore(value: 0)
    /// Tells the clock thread that something happens sooner than it knows.
    private let alarm = DispatchSemaphore(value: 0)

    /// - Parameters:
    ///   - parameters: the cost of new hashes; stored ones are verified at their own.
    ///   - threads: how many passwords are hashed at a time at most, at least 1; `memoryKiB` may allow
    ///     fewer.
    ///   - memoryKiB: what all hashes together may take; at least what a new one takes.
    ///   - maximumQueued: how many more wait for a thread; may be 0.
    ///   - deadline: how long they wait at most.
    ///   - keptArenaSeconds: how long memory is kept without a hash.
    ///   - entropy: where salts come from.
    package init(
        parameters: Argon2Parameters = .standard, threads: Int,
        memoryKiB: Int = 2 * Argon2Parameters.maximumMemoryKiB, maximumQueued: Int,
        deadline: Duration = .seconds(5), keptArenaSeconds: Double = keptArenaSeconds,
        entropy: Entropy = .system
    ) {
        precondition(threads > 0 && maximumQueued >= 0 && deadline > .zero)
        precondition(memoryKiB >= parameters.memoryKiB)
        self.parameters = parameters
        workers = Self.workers(threads: threads, memoryKiB: memoryKiB, parameters: parameters)
        deadlineNanoseconds = UInt64(deadline / .nanoseconds(1))
        keptNanoseconds = UInt64(keptArenaSeconds * 1e9)
        self.entropy = entropy
        state = Mutex(
            State(
                line: WaitingLine(maximumCount: maximumQueued),
                memory: MemoryBudget(totalKiB: memoryKiB), maximumRunning: workers))
        OwnThread.start("hash-clock", stepsBack: 0) { self.keepTime() }
        for number in 0..<workers {
            OwnThread.start("hash-\(number)", stepsBack: Self.stepsBack) { self.work() }
        }
    }

    /// How many passwords can be hashed at a time: as many as there are threads, if each has its share
    /// of the memory.
    package static func workers(
        threads: Int, memoryKiB: Int, parameters: Argon2Parameters
    ) -> Int {
        max(1, min(threads, memoryKiB / parameters.memoryKiB))
    }

    /// How many callers wait for a thread.
    package var queuedCount: Int { state.withLock { $0.line.count } }

    /// Whether a caller of `priority` is to be refused now, which is counted: who asks first, before writing
    /// anything, refuses a flood cheaply.
    package func refuses(_ priority: HashPriority) -> Bool {
        state.withLock { state in
            let isFull =
                state.running >= state.maximumRunning
                && (state.line.isFull(for: priority)
                    || state.isTooLong(for: priority, within: Double(deadlineNanoseconds)))
            if isFull { state.counts.refusedFull += 1 }
            return isFull
        }
    }

    /// What the hasher has done, and has now.
    package var status: HashingStatus {
        state.withLock { state in
            var status = state.counts
            status.queued = state.line.count
            status.running = state.running
            status.budgetKiB = state.memory.totalKiB
            status.lentKiB = state.memory.lentKiB
            status.keptKiB = state.memory.keptKiB
            return status
        }
    }

    /// Arenas without a hash: for tests, which look at what is left in them.
    package var keptArenas: [Arena] { state.withLock { $0.memory.keptArenas } }

    /// A new hash of `password`, under a fresh salt.
    package func hash(
        _ password: consuming Password, priority: HashPriority = .stranger
    ) async throws(PasswordHasherError) -> PasswordHash {
        let parameters = parameters
        let entropy = entropy
        let cost = Cost(memoryKiB: parameters.memoryKiB, isForArena: true)
        return try await run(password, cost, priority) { password throws(PasswordHasherError) in
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
        _ password: consuming Password, against hash: some VerifiableHash,
        priority: HashPriority = .stranger
    ) async throws(PasswordHasherError) -> Bool {
        let cost = Cost(memoryKiB: hash.memoryKiB, isForArena: hash.usesArena)
        return try await run(password, cost, priority) { password throws(PasswordHasherError) in
            try password.withSpan { bytes throws(PasswordHasherError) in
                try hash.matches(bytes)
            }
        }
    }

    /// Refuses everyone who waits and everyone who comes later, lets the hashes in progress finish,
    /// and ends the threads.
    package func shutdown() async {
        let dropped = state.withLock { state in
            state.isShutDown = true
            return state.line.removeAll()
        }
        for place in dropped { place.caller.refuse(.shutDown) }
        alarm.signal()
        for _ in 0..<workers { jobs.signal() }
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                if state.endedThreads <= workers { state.waitingForEnd.append(continuation) }
                return state.endedThreads > workers
            }
            if isOver { continuation.resume() }
        }
    }
}

/// Why a password was not hashed. None of these says anything about the password.
package enum PasswordHasherError: Error, Hashable, Sendable {
    /// Every thread is taken and the queue is full, or too long for the deadline; try again later.
    case busy
    /// No thread was free before the deadline; try again later.
    case late
    /// The caller's task was cancelled while it waited.
    case cancelled
    case shutDown
    /// The hash takes more memory than all hashes together may have.
    case memory
    /// The operating system gave no random bytes for a salt.
    case entropy
    /// libargon2 gave up, most likely for want of memory.
    case argon2(code: Int32)
    /// A pepper that the hash names is not in the ring.
    case pepper(PepperFailure)
    /// libcrypto or libcrypt gave up on another system's hash, most likely for want of memory.
    case foreignHash
}

/// What a hasher has done since it was made, and has now.
package struct HashingStatus: Sendable, Equatable {
    package var done = 0
    package var refusedFull = 0
    package var refusedLate = 0
    package var cancelled = 0
    package var queued = 0
    package var running = 0
    package var budgetKiB = 0
    /// Memory of the hashes that are being computed, and of arenas that are kept for the next ones.
    package var lentKiB = 0
    package var keptKiB = 0

    package init() {}
}

// MARK: - Threads and the queue

extension PasswordHasher {
    private struct Cost {
        let memoryKiB: Int
        let isForArena: Bool
    }

    /// One caller's password. Of the two closures exactly one is called, once.
    private struct Job: Sendable {
        let cost: Cost
        /// Does the work, and returns what gives the caller the outcome.
        let work: @Sendable () -> @Sendable () -> Void
        /// Gives the caller an error instead.
        let refuse: @Sendable (PasswordHasherError) -> Void
    }

    private typealias Refusal = (job: Job, error: PasswordHasherError)

    private struct State {
        /// Callers for whom there is no thread, or not enough memory, yet.
        var line: WaitingLine<Job>
        var memory: MemoryBudget
        let maximumRunning: Int
        /// Jobs that have a thread and their memory.
        var running = 0
        /// Those of them that no thread has picked up yet.
        var starting: [(job: Job, loan: MemoryLoan)] = []
        var counts = HashingStatus()
        /// What a hash takes of late: each counts for an eighth.
        var hashNanoseconds = 0.0
        var nextID: UInt64 = 0
        /// When the clock thread wakes up.
        var alarm = UInt64.max
        var isShutDown = false
        var endedThreads = 0
        var waitingForEnd: [CheckedContinuation<Void, Never>] = []

        init(line: WaitingLine<Job>, memory: MemoryBudget, maximumRunning: Int) {
            self.line = line
            self.memory = memory
            self.maximumRunning = maximumRunning
        }

        mutating func admit(
            _ job: Job, id: UInt64, priority: HashPriority, now: UInt64, deadline: UInt64
        ) -> Refusal? {
            if isShutDown { return (job, .shutDown) }
            guard job.cost.memoryKiB <= memory.totalKiB else { return (job, .memory) }
            if line.first == nil, start(job) { return nil }
            guard !isTooLong(for: priority, within: Double(deadline - now)) else {
                counts.refusedFull += 1
                return (job, .busy)
            }
            let place = WaitingLine.Place(
                id: id, priority: priority, deadline: deadline, caller: job)
            switch line.append(place) {
            case .admitted: return nil
            case .full:
                counts.refusedFull += 1
                return (job, .busy)
            case .admittedInsteadOf(let displaced):
                counts.refusedFull += 1
                return (displaced.caller, .busy)
            }
        }

        /// Whether one more of `priority` would wait for longer than so many nanoseconds.
        func isTooLong(for priority: HashPriority, within nanoseconds: Double) -> Bool {
            let turns = Double(line.countAhead(of: priority)) / Double(maximumRunning)
            return turns * hashNanoseconds > nanoseconds
        }

        /// Refuses those who have waited too long, and starts whom there is a thread and memory for.
        mutating func advance(to now: UInt64) -> [Refusal] {
            let late = line.removeLate(at: now)
            counts.refusedLate += late.count
            // Nobody overtakes the first: one that takes much memory would else wait for ever.
            while let first = line.first, start(first.caller) { line.removeFirst() }
            return late.map { ($0.caller, .late) }
        }

        private mutating func start(_ job: Job) -> Bool {
            guard running < maximumRunning,
                let loan = memory.lend(job.cost.memoryKiB, isForArena: job.cost.isForArena)
            else { return false }
            running += 1
            starting.append((job, loan))
            return true
        }
    }

    /// Changes the state, and then tells those whom the change concerns.
    private func change(_ body: (inout State, UInt64) -> [Refusal]) {
        let (refusals, started, isSooner) = state.withLock { state in
            let before = state.starting.count
            let now = Self.now()
            let refusals = body(&state, now) + state.advance(to: now)
            let next = nextAlarm(state)
            defer { state.alarm = min(next, state.alarm) }
            return (refusals, state.starting.count - before, next < state.alarm)
        }
        for _ in 0..<started { jobs.signal() }
        if isSooner { alarm.signal() }
        for (job, error) in refusals { job.refuse(error) }
    }

    private static func now() -> UInt64 { DispatchTime.now().uptimeNanoseconds }

    /// When somebody will have waited too long, or an arena.
    private func nextAlarm(_ state: borrowing State) -> UInt64 {
        min(
            state.line.earliestDeadline ?? .max,
            state.memory.oldestKept.map { $0 + keptNanoseconds } ?? .max)
    }

    /// Waits for a thread and does `work` there.
    private func run<Value: Sendable>(
        _ password: consuming Password, _ cost: Cost, _ priority: HashPriority,
        _ work: @escaping @Sendable (borrowing Password) throws(PasswordHasherError) -> Value
    ) async throws(PasswordHasherError) -> Value {
        if Task.isCancelled { throw .cancelled }
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        let password = password
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation {
                (continuation: CheckedContinuation<Result<Value, PasswordHasherError>, Never>) in
                let job = Job(
                    cost: cost,
                    work: {
                        let outcome = Result { () throws(PasswordHasherError) in
                            try work(password)
                        }
                        return { continuation.resume(returning: outcome) }
                    },
                    refuse: { continuation.resume(returning: .failure($0)) })
                change { state, now in
                    let refusal = state.admit(
                        job, id: id, priority: priority, now: now,
                        deadline: now + deadlineNanoseconds)
                    return refusal.map { [$0] } ?? []
                }
                // A cancellation that came before the job did has not found it.
                if Task.isCancelled { cancel(id) }
            }
        } onCancel: {
            cancel(id)
        }
        return try outcome.get()
    }

    private func cancel(_ id: UInt64) {
        change { state, _ in
            guard let place = state.line.remove(id) else { return [] }
            state.counts.cancelled += 1
            return [(place.caller, .cancelled)]
        }
    }

    /// A hashing thread's life.
    private func work() {
        while true {
            jobs.wait()
            let next = state.withLock { state in
                state.starting.isEmpty ? nil : state.starting.removeFirst()
            }
            guard let (job, loan) = next else { break }
            let start = Self.now()
            let resumeCaller = loan.use(job.work)
            // First, so that the caller finds the thread free when it comes back at once.
            change { state, now in
                state.running -= 1
                // Who only waits for a turn is no hash, and says nothing of how long one takes.
                if job.cost.memoryKiB > 0 {
                    state.counts.done += 1
                    let took = Double(now - start)
                    let isFirst = state.hashNanoseconds == 0
                    state.hashNanoseconds += (took - state.hashNanoseconds) / (isFirst ? 1 : 8)
                }
                state.memory.takeBack(loan, at: now)
                return []
            }
            resumeCaller()
        }
        endThread()
    }

    /// The clock thread's life: refuses those who have waited too long while every hashing thread is
    /// busy, and gives memory back when there is nothing to hash.
    private func keepTime() {
        while true {
            let next = state.withLock { state -> UInt64? in
                if state.isShutDown { return nil }
                state.alarm = nextAlarm(state)
                return state.alarm
            }
            guard let next else { break }
            let time = next == .max ? .distantFuture : DispatchTime(uptimeNanoseconds: next)
            _ = alarm.wait(timeout: time)
            change { state, now in
                if now > keptNanoseconds { state.memory.drop(keptSince: now - keptNanoseconds) }
                return []
            }
        }
        endThread()
    }

    private func endThread() {
        let waiting = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            state.endedThreads += 1
            guard state.endedThreads > workers else { return [] }
            defer { state.waitingForEnd = [] }
            return state.waitingForEnd
        }
        for continuation in waiting { continuation.resume() }
    }
}
