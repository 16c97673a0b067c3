// What the hasher never passes: memory, the queue's length, the time that anyone waits.

import Dispatch
import GatehouseCore
import GatehousePasswords
import GatehouseTestSupport
import Glibc
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(5))) struct HashingLimitsTests {
    // MARK: Waiting

    @Test func `who has waited until the deadline is refused, though every thread is busy`()
        async throws
    {
        let busy = HeldHash()
        let clock = ContinuousClock()
        try await withHasher(deadline: .milliseconds(100)) { hasher in
            let running = verifying(busy, with: hasher)
            await busy.arrivals(1)
            let start = clock.now
            #expect(await verifying(HeldHash(), with: hasher).value == .failure(.late))
            #expect(clock.now - start >= .milliseconds(100))
            #expect(hasher.queuedCount == 0)
            // Whoever has a thread keeps it, however long it takes.
            busy.admit(1)
            #expect(await running.value == .success(true))
            #expect(hasher.status.refusedLate == 1)
        }
    }

    @Test func `who could not be served before the deadline is refused at once`() async throws {
        try await withHasher(maximumQueued: 100, deadline: .seconds(10)) { hasher in
            // From now on a hash is known to take a second.
            let slow = NotedHash { usleep(1_000_000) }
            #expect(await verifying(slow, with: hasher).value == .success(true))
            let busy = HeldHash()
            let running = verifying(busy, with: hasher)
            await busy.arrivals(1)
            var waiting: [Task<Outcome, Never>] = []
            while hasher.status.refusedFull == 0, waiting.count < 100 {
                let length = hasher.queuedCount
                waiting.append(verifying(NotedHash(), with: hasher))
                while hasher.queuedCount == length, hasher.status.refusedFull == 0 {
                    await pause()
                }
            }
            // Ten seconds are ten turns; on a busy machine a second took longer.
            #expect((4...11).contains(hasher.queuedCount))
            #expect(await waiting.removeLast().value == .failure(.busy))
            // A known one goes before them all.
            let known = verifying(NotedHash(), with: hasher, .known)
            busy.admit(1)
            for caller in [running, known] + waiting {
                #expect(await caller.value == .success(true))
            }
        }
    }

    @Test func `a known one is served before strangers who came first`() async throws {
        let order = Mutex<[String]>([])
        let busy = HeldHash()
        try await withHasher { hasher in
            let running = verifying(busy, with: hasher)
            await busy.arrivals(1)
            var callers: [Task<Outcome, Never>] = []
            for (name, priority) in [
                ("stranger 1", .stranger), ("stranger 2", .stranger), ("known", .known),
            ] as [(String, HashPriority)] {
                let hash = NotedHash { order.withLock { $0.append(name) } }
                callers.append(verifying(hash, with: hasher, priority))
                await queued(callers.count, in: hasher)
            }
            busy.admit(1)
            for caller in [running] + callers { #expect(await caller.value == .success(true)) }
        }
        #expect(order.withLock { $0 } == ["known", "stranger 1", "stranger 2"])
    }

    @Test func `a known one who finds the queue full takes the newest stranger's place`()
        async throws
    {
        let busy = HeldHash()
        try await withHasher(maximumQueued: 2) { hasher in
            let running = verifying(busy, with: hasher)
            await busy.arrivals(1)
            let first = verifying(NotedHash(), with: hasher)
            await queued(1, in: hasher)
            let second = verifying(NotedHash(), with: hasher)
            await queued(2, in: hasher)
            let known = verifying(NotedHash(), with: hasher, .known)
            #expect(await second.value == .failure(.busy))
            let alsoKnown = verifying(NotedHash(), with: hasher, .known)
            #expect(await first.value == .failure(.busy))
            // There is no stranger left.
            #expect(await verifying(NotedHash(), with: hasher, .known).value == .failure(.busy))
            busy.admit(1)
            for caller in [running, known, alsoKnown] {
                #expect(await caller.value == .success(true))
            }
            #expect(hasher.status.refusedFull == 3)
        }
    }

    @Test func `what was done and refused is counted`() async throws {
        let busy = HeldHash()
        try await withHasher(maximumQueued: 1) { hasher in
            #expect(await verifying(NotedHash(), with: hasher).value == .success(true))
            let running = verifying(busy, with: hasher)
            await busy.arrivals(1)
            let leaver = verifying(NotedHash(), with: hasher)
            await queued(1, in: hasher)
            #expect(await verifying(NotedHash(), with: hasher).value == .failure(.busy))
            #expect(hasher.status.running == 1 && hasher.status.queued == 1)
            #expect(hasher.status.lentKiB == share)
            leaver.cancel()
            #expect(await leaver.value == .failure(.cancelled))
            busy.admit(1)
            #expect(await running.value == .success(true))
            var expected = HashingStatus()
            expected.done = 2
            expected.refusedFull = 1
            expected.cancelled = 1
            expected.budgetKiB = 2 * Argon2Parameters.maximumMemoryKiB
            #expect(hasher.status == expected)
        }
    }

    // MARK: Memory

    @Test func `there are as many threads as the budget has shares for`() async throws {
        for (memoryKiB, workers) in [
            (share, 1), (2 * share - 1, 1), (2 * share, 2), (99 * share, 8),
        ] {
            try await withHasher(threads: 8, memoryKiB: memoryKiB) { hasher in
                #expect(hasher.workers == workers)
            }
        }
        try await withHasher(threads: 3, memoryKiB: 8 * share) { #expect($0.workers == 3) }
    }

    @Test func `a hash that takes more than its share waits until that much is free`() async throws
    {
        try await withHasher(threads: 3, memoryKiB: 3 * share) { hasher in
            let small = [HeldHash(), HeldHash()]
            let running = small.map { verifying($0, with: hasher) }
            for hash in small { await hash.arrivals(1) }
            let large = HeldHash(memoryKiB: 3 * share)
            let waiting = verifying(large, with: hasher)
            await queued(1, in: hasher)
            // A thread and its share are free, but nobody overtakes: the large one would starve.
            let next = [HeldHash(), HeldHash()]
            let last = next.map { verifying($0, with: hasher) }
            await queued(3, in: hasher)

            small[0].admit(1)
            #expect(await running[0].value == .success(true))
            #expect(hasher.queuedCount == 3 && large.arrived == 0)
            small[1].admit(1)
            #expect(await running[1].value == .success(true))
            await large.arrivals(1)
            #expect(hasher.queuedCount == 2 && hasher.status.lentKiB == 3 * share)
            large.admit(1)
            #expect(await waiting.value == .success(true))
            // Its memory is enough for both of them at a time.
            for hash in next { await hash.arrivals(1) }
            for hash in next { hash.admit(1) }
            for caller in last { #expect(await caller.value == .success(true)) }
        }
    }

    @Test func `a hash that takes more than all of the budget is refused, and all of it is not`()
        async throws
    {
        try await withHasher(memoryKiB: share) { hasher in
            let most = NotedHash(memoryKiB: share)
            #expect(await verifying(most, with: hasher).value == .success(true))
            let more = NotedHash(memoryKiB: share + 1)
            #expect(await verifying(more, with: hasher).value == .failure(.memory))
        }
    }

    @Test func `however many sizes come at once, the budget is never passed`() async throws {
        var generator = SeededGenerator()
        let use = Mutex((now: 0, most: 0))
        let budget = 4 * share
        try await withHasher(threads: 4, memoryKiB: budget, maximumQueued: 400) { hasher in
            let callers = (0..<300).map { _ in
                let size = Int.random(in: 1...budget, using: &generator)
                return verifying(
                    NotedHash(memoryKiB: size) {
                        use.withLock {
                            $0.now += size
                            $0.most = max($0.most, $0.now)
                        }
                        usleep(100)
                        use.withLock { $0.now -= size }
                    }, with: hasher)
            }
            for caller in callers { #expect(await caller.value == .success(true)) }
        }
        let most = use.withLock { $0.most }
        #expect(most <= budget, "seed \(generator.seed)")
        #expect(most > share, "it was used, and by several: seed \(generator.seed)")
    }

    @Test func `an arena is used again, and holds nothing in between`() async throws {
        try await withHasher { hasher in
            let hash = try await hasher.hash(made(of: "correct horse battery staple"))
            let arena = try #require(hasher.keptArenas.first)
            #expect(arena.memoryKiB == share)
            #expect(isAllZero(arena))
            #expect(
                try await hasher.verify(made(of: "correct horse battery staple"), against: hash))
            #expect(hasher.keptArenas.count == 1 && hasher.keptArenas.first === arena)
            #expect(isAllZero(arena))
            #expect(hasher.status.keptKiB == share && hasher.status.lentKiB == 0)
        }
    }

    @Test func `hashes of two sizes have an arena each while there is room`() async throws {
        let large = try PasswordHash(
            "$argon2id$v=19$m=19456,t=2,p=4$AAECAwQFBgcICQoLDA0ODw$"
                + "uYCdMyRgARQAJyz2cGb8KADxcM8GbALiICDB89FvtXY")
        for (memoryKiB, kept) in [(share + 19_456, [share, 19_456]), (share + 19_455, [19_456])] {
            try await withHasher(memoryKiB: memoryKiB) { hasher in
                _ = try await hasher.hash(made(of: "correct horse battery staple"))
                #expect(
                    try await hasher.verify(
                        made(of: "correct horse battery staple"), against: large))
                #expect(hasher.keptArenas.map(\.memoryKiB) == kept)
            }
        }
    }

    @Test func `after a while without a hash the memory is given back`() async throws {
        try await withHasher(keptArenaSeconds: 0.5) { hasher in
            // That an arena unmaps its memory when it goes is another test's: here the place may be another
            // test's arena at once, so that what is looked for is this one.
            weak var arena: Arena?
            // On a busy machine it may be gone before anyone looks.
            while arena == nil {
                _ = try await hasher.hash(made(of: "correct horse battery staple"))
                arena = hasher.keptArenas.first
            }
            while hasher.status.keptKiB > 0 { try await Task.sleep(for: .milliseconds(10)) }
            // It goes a moment after it is no longer counted.
            for _ in 0..<1000 where arena != nil { try await Task.sleep(for: .milliseconds(10)) }
            #expect(arena == nil)
        }
    }

    @Test func `hashing threads have a name, and stand back behind the others`() async throws {
        let seen = Mutex<[String]>([])
        try await withHasher { hasher in
            let look = NotedHash {
                seen.withLock { $0 = [ownThread("comm"), ownThread("stat")] }
            }
            #expect(await verifying(look, with: hasher).value == .success(true))
        }
        let (name, stat) = seen.withLock { ($0[0], $0[1]) }
        #expect(name == "hash-0\n")
        #expect(niceness(stat) == niceness(ownThread("stat")) + 10)
    }
}

/// The nineteenth field (proc_pid_stat(5)); the third is the first behind the name.
private func niceness(_ stat: String) -> Int {
    Int(stat.split(separator: ") ")[1].split(separator: " ")[16]) ?? 0
}

/// A file of this very thread's directory below /proc.
private func ownThread(_ file: String) -> String { readText("/proc/thread-self/\(file)") }

// MARK: - Hashes that cost nothing

/// What tests hash with takes.
private let share = floor.memoryKiB

/// Runs `body` where the password is verified; matches everything.
private struct NotedHash: VerifiableHash {
    var memoryKiB = share
    var body: @Sendable () -> Void = {}

    func matches(_ password: Span<UInt8>) throws(PasswordHasherError) -> Bool {
        body()
        return true
    }
}

/// Keeps its thread until it is let go.
private final class HeldHash: VerifiableHash {
    let memoryKiB: Int
    private let permits = DispatchSemaphore(value: 0)
    private let arrivedCount = Mutex(0)

    init(memoryKiB: Int = share) { self.memoryKiB = memoryKiB }

    var arrived: Int { arrivedCount.withLock { $0 } }

    func matches(_ password: Span<UInt8>) throws(PasswordHasherError) -> Bool {
        arrivedCount.withLock { $0 += 1 }
        permits.wait()
        return true
    }

    func admit(_ count: Int) { for _ in 0..<count { permits.signal() } }

    func arrivals(_ count: Int) async { while arrived < count { await pause() } }
}

private typealias Outcome = Result<Bool, PasswordHasherError>

/// A caller that has a password verified.
private func verifying(
    _ hash: some VerifiableHash, with hasher: PasswordHasher, _ priority: HashPriority = .stranger
) -> Task<Outcome, Never> {
    Task {
        guard let password = try? made(of: "correct horse battery staple") else {
            preconditionFailure("a password by every rule")
        }
        do throws(PasswordHasherError) {
            return .success(try await hasher.verify(password, against: hash, priority: priority))
        } catch { return .failure(error) }
    }
}
