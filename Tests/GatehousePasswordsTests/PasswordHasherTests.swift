// Hashing and verifying, and what the queue does when there is too much of it.

import Dispatch
import GatehouseCore
import GatehousePasswords
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(5))) struct PasswordHasherTests {
    // MARK: Hashes

    /// Written by `argon2id_hash_encoded` of libargon2, for salts of 0, 1, 2, …
    @Test(arguments: [
        (
            "correct horse battery staple",
            "$argon2id$v=19$m=12288,t=3,p=1$AAECAwQFBgcICQoLDA0ODw$"
                + "zCibVAF529as+ScNsZ6sL/H9D4iI00ajMEqLvRaQY2E"
        ),
        (
            "a\u{0000}b\r\n",
            "$argon2id$v=19$m=12288,t=3,p=1$AAECAwQFBgcICQoLDA0ODw$"
                + "+2It57v8M1c7VfkHtEdPqbwKdIHRgWXEOrEWw8v4GUw"
        ),
        (
            "correct horse battery staple",
            "$argon2id$v=19$m=19456,t=2,p=4$AAECAwQFBgcICQoLDA0ODw$"
                + "uYCdMyRgARQAJyz2cGb8KADxcM8GbALiICDB89FvtXY"
        ),
        (
            "correct horse battery staple",
            "$argon2id$v=19$m=65536,t=3,p=1$AAECAwQFBgcICQoLDA0ODw$"
                + "DRo8ZSPI8G5OCvnFFapbVEjP69aDjy1Sw9i2743cPC4"
        ),
    ])
    func `a hash is what libargon2 writes`(password: String, text: String) async throws {
        let counting = Entropy { span in
            for index in span.indices { span[index] = UInt8(index) }
            return true
        }
        let parameters = try PasswordHash(text).parameters
        try await withHasher(parameters: parameters, entropy: counting) { hasher in
            let hash = try await hasher.hash(made(of: password))
            #expect(hash.text == text)
        }
    }

    /// From `argon2id_hash_encoded` too, with salts that we do not make.
    @Test(arguments: [
        "$argon2id$v=19$m=47104,t=1,p=1$AAECAwQFBgc$m/OZrkbC1szJz9dtQJLKJRvYu4KO9/7y5A/xG2B9/0w",
        "$argon2id$v=19$m=12288,t=3,p=2$"
            + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw"
            + "$udtqzXuq7dzqcT4kKQ7c4GLfQ/Lbhl9rz9dLx9lpf+8",
    ])
    func `hashes from elsewhere verify at their own cost`(text: String) async throws {
        try await withHasher { hasher in
            let hash = try PasswordHash(text)
            #expect(
                try await hasher.verify(made(of: "correct horse battery staple"), against: hash))
            #expect(try await !hasher.verify(made(of: "incorrect horse"), against: hash))
        }
    }

    @Test func `a password verifies in every spelling and no other does`() async throws {
        try await withHasher { hasher in
            let hash = try await hasher.hash(made(of: "cr\u{00E8}me br\u{00FB}l\u{00E9}e"))
            #expect(
                try await hasher.verify(
                    made(of: "cre\u{0300}me bru\u{0302}le\u{0301}e"), against: hash))
            #expect(try await !hasher.verify(made(of: "creme brulee"), against: hash))
            #expect(
                try await !hasher.verify(
                    made(of: "Cr\u{00E8}me br\u{00FB}l\u{00E9}e"), against: hash))
            #expect(
                try await !hasher.verify(
                    made(of: "cr\u{00E8}me br\u{00FB}l\u{00E9}e "), against: hash))
        }
    }

    @Test func `all of a long password counts`() async throws {
        try await withHasher { hasher in
            let long = String(repeating: "p", count: 1024)
            let hash = try await hasher.hash(made(of: long))
            #expect(try await hasher.verify(made(of: long), against: hash))
            #expect(try await !hasher.verify(made(of: String(long.dropLast())), against: hash))
            #expect(try await !hasher.verify(made(of: long.dropLast() + "q"), against: hash))
        }
    }

    @Test func `a hash of another password's output does not verify`() async throws {
        try await withHasher { hasher in
            let hash = try await hasher.hash(made(of: "correct horse battery staple"))
            // The last byte of the output sits in the last character but one.
            var text = Array(hash.text.utf8)
            let index = text.count - 2
            text[index] = text[index] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
            let tampered = try PasswordHash(String(decoding: text, as: UTF8.self))
            #expect(
                try await !hasher.verify(
                    made(of: "correct horse battery staple"), against: tampered))
        }
    }

    @Test func `the same password hashed twice has two salts of 16 bytes`() async throws {
        try await withHasher { hasher in
            let first = try await hasher.hash(made(of: "correct horse battery staple"))
            let second = try await hasher.hash(made(of: "correct horse battery staple"))
            #expect(first.salt.count == 16 && second.salt.count == 16)
            #expect(first.salt != second.salt)
            #expect(first.text != second.text)
        }
    }

    @Test func `a new hash has the hasher's parameters and is not below them`() async throws {
        try await withHasher { hasher in
            let hash = try await hasher.hash(made(of: "correct horse battery staple"))
            #expect(hash.parameters == hasher.parameters)
            #expect(!hash.isBelow(hasher.parameters, pepper: nil))
            #expect(hash.isBelow(.standard, pepper: nil))
        }
    }

    @Test func `without random bytes there is no hash`() async throws {
        try await withHasher(entropy: Entropy { _ in false }) { hasher in
            await #expect(throws: PasswordHasherError.entropy) {
                try await hasher.hash(made(of: "correct horse battery staple"))
            }
        }
    }

    // MARK: The queue

    @Test func `a full queue refuses at once, and serves those who wait`() async throws {
        let gate = Gate()
        try await withHasher(maximumQueued: 2, entropy: gate.entropy) { hasher in
            let running = hashing(with: hasher)
            await gate.arrivals(1)
            let waiting = [hashing(with: hasher), hashing(with: hasher)]
            await queued(2, in: hasher)
            #expect(await outcomeOfHashing(with: hasher) == .failure(.busy))
            gate.admit(4)
            for task in [running] + waiting { #expect(await task.value == .success) }
            #expect(hasher.queuedCount == 0)
            #expect(await hashing(with: hasher).value == .success)
        }
    }

    @Test func `without a queue there are as many callers as threads`() async throws {
        let gate = Gate()
        try await withHasher(threads: 2, maximumQueued: 0, entropy: gate.entropy) { hasher in
            let running = [hashing(with: hasher), hashing(with: hasher)]
            // Both threads are at work at the same time.
            await gate.arrivals(2)
            #expect(await outcomeOfHashing(with: hasher) == .failure(.busy))
            gate.admit(2)
            for task in running { #expect(await task.value == .success) }
        }
    }

    @Test func `those who wait are served in the order they came`() async throws {
        let gate = Gate()
        try await withHasher(maximumQueued: 3, entropy: gate.entropy) { hasher in
            var callers = [hashing(with: hasher)]
            await gate.arrivals(1)
            for count in 1...3 {
                callers.append(hashing(with: hasher))
                await queued(count, in: hasher)
            }
            // One hash at a time is let through, and the next caller in line must be the one to
            // have it; waiting for any other would not end.
            for caller in callers {
                gate.admit(1)
                #expect(await caller.value == .success)
            }
        }
    }

    @Test func `a cancelled caller leaves the queue and makes room`() async throws {
        let gate = Gate()
        try await withHasher(maximumQueued: 1, entropy: gate.entropy) { hasher in
            let running = hashing(with: hasher)
            await gate.arrivals(1)
            let abandoned = hashing(with: hasher)
            await queued(1, in: hasher)
            abandoned.cancel()
            #expect(await abandoned.value == .failure(.cancelled))
            #expect(hasher.queuedCount == 0)

            let next = hashing(with: hasher)
            await queued(1, in: hasher)
            gate.admit(2)
            #expect(await running.value == .success)
            #expect(await next.value == .success)
        }
    }

    @Test func `a caller that is cancelled already is not taken in`() async throws {
        let gate = Gate()
        try await withHasher(entropy: gate.entropy) { hasher in
            gate.admit(1)
            let outcome = await Task {
                // SAFETY: the task is this one, and is used inside the call only.
                unsafe withUnsafeCurrentTask { task in unsafe task?.cancel() }
                return await outcomeOfHashing(with: hasher)
            }.value
            #expect(outcome == .failure(.cancelled))
            #expect(gate.arrived == 0)
        }
    }

    @Test func `a cancellation is not lost when it comes as the caller queues`() async throws {
        let gate = Gate()
        try await withHasher(maximumQueued: 1_000, entropy: gate.entropy) { hasher in
            let running = hashing(with: hasher)
            await gate.arrivals(1)
            let abandoned = (0..<1_000).map { _ in
                let caller = hashing(with: hasher)
                caller.cancel()
                return caller
            }
            // Whoever is still waiting after this was forgotten, and will be served.
            try await Task.sleep(for: .milliseconds(200))
            gate.admit(1_001)
            #expect(await running.value == .success)
            for caller in abandoned { #expect(await caller.value == .failure(.cancelled)) }
        }
    }

    @Test func `many callers that come and go leave an empty queue and free threads`() async throws
    {
        let gate = Gate()
        try await withHasher(threads: 2, maximumQueued: 8, entropy: gate.entropy) { hasher in
            let callers = (0..<64).map { number in
                let caller = hashing(with: hasher)
                if number.isMultiple(of: 3) { caller.cancel() }
                return caller
            }
            gate.admit(66)
            var outcomes: [Outcome] = []
            for caller in callers { outcomes.append(await caller.value) }
            #expect(outcomes.contains(.success))
            #expect(
                outcomes.allSatisfy {
                    [.success, .failure(.busy), .failure(.cancelled)].contains($0)
                })
            #expect(hasher.queuedCount == 0)
            // One thread would not be enough for these two.
            let arrived = gate.arrived
            gate.close()
            let last = [hashing(with: hasher), hashing(with: hasher)]
            await gate.arrivals(arrived + 2)
            gate.admit(2)
            for caller in last { #expect(await caller.value == .success) }
        }
    }

    @Test func `shutting down finishes what runs and refuses the rest`() async throws {
        let gate = Gate()
        let hasher = PasswordHasher(
            parameters: floor, threads: 1, maximumQueued: 4, entropy: gate.entropy)
        let running = hashing(with: hasher)
        await gate.arrivals(1)
        let waiting = hashing(with: hasher)
        await queued(1, in: hasher)
        let shutdown = Task { await hasher.shutdown() }
        #expect(await waiting.value == .failure(.shutDown))
        #expect(await outcomeOfHashing(with: hasher) == .failure(.shutDown))
        gate.admit(1)
        await shutdown.value
        #expect(await running.value == .success)
        // Once more changes nothing.
        await hasher.shutdown()
        #expect(await outcomeOfHashing(with: hasher) == .failure(.shutDown))
    }
}

// MARK: - Tools

/// The least that is accepted, so that tests are quick.
let floor: Argon2Parameters = {
    guard let floor = try? Argon2Parameters(memoryKiB: 12_288, iterations: 3, lanes: 1) else {
        preconditionFailure("within the bounds")
    }
    return floor
}()

func made(of text: String) throws -> Password { try Password(Array(text.utf8).span) }

/// Runs `body` with a hasher that is shut down afterwards.
func withHasher(
    parameters: Argon2Parameters = floor, threads: Int = 1,
    memoryKiB: Int = 2 * Argon2Parameters.maximumMemoryKiB, maximumQueued: Int = 16,
    deadline: Duration = .seconds(60), keptArenaSeconds: Double = 60,
    entropy: Entropy = .system, _ body: (PasswordHasher) async throws -> Void
) async throws {
    let hasher = PasswordHasher(
        parameters: parameters, threads: threads, memoryKiB: memoryKiB,
        maximumQueued: maximumQueued, deadline: deadline, keptArenaSeconds: keptArenaSeconds,
        entropy: entropy)
    do { try await body(hasher) } catch {
        await hasher.shutdown()
        throw error
    }
    await hasher.shutdown()
}

/// How a call ended, as a value that can be compared.
private enum Outcome: Equatable {
    case success
    case failure(PasswordHasherError)
}

private func outcomeOfHashing(with hasher: PasswordHasher) async -> Outcome {
    guard let password = try? made(of: "correct horse battery staple") else {
        preconditionFailure("a password by every rule")
    }
    do {
        _ = try await hasher.hash(password)
        return .success
    } catch { return .failure(error) }
}

/// A caller that has a password hashed.
private func hashing(with hasher: PasswordHasher) -> Task<Outcome, Never> {
    Task { await outcomeOfHashing(with: hasher) }
}

/// Between two looks: other tests run meanwhile.
func pause() async { try? await Task.sleep(for: .milliseconds(1)) }

/// Waits until `count` callers wait for a thread.
func queued(_ count: Int, in hasher: PasswordHasher) async {
    while hasher.queuedCount != count { await pause() }
}

/// Holds hashing threads, which come here for a salt, until they are admitted.
private final class Gate: Sendable {
    private let permits = DispatchSemaphore(value: 0)
    private let arrivedCount = Mutex(0)

    /// How many threads have come so far.
    var arrived: Int { arrivedCount.withLock { $0 } }

    var entropy: Entropy {
        Entropy { span in
            self.arrivedCount.withLock { $0 += 1 }
            self.permits.wait()
            return Entropy.systemFills(&span)
        }
    }

    /// Lets `count` threads through, now or when they come.
    func admit(_ count: Int) {
        for _ in 0..<count { permits.signal() }
    }

    /// Takes back what nobody has used.
    func close() {
        while permits.wait(timeout: .now()) == .success {}
    }

    /// Waits until `count` threads have come, ever.
    func arrivals(_ count: Int) async {
        while arrived < count { await pause() }
    }
}

extension Entropy {
    fileprivate static func systemFills(_ span: inout MutableSpan<UInt8>) -> Bool {
        (try? Entropy.system.fill(&span)) != nil
    }
}
