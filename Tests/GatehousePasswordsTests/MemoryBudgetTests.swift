// What hashes and kept arenas take together, and what is left in an arena.

import GatehouseCore
import GatehousePasswords
import GatehouseTestSupport
import Glibc
import Testing

@Suite struct MemoryBudgetTests {
    @Test func `all of the budget is lent and no more`() throws {
        var budget = MemoryBudget(totalKiB: 100)
        let first = try lend(60, isForArena: false, from: &budget)
        #expect(isRefused(41, by: &budget))
        #expect(budget.lentKiB == 60)
        _ = try lend(40, isForArena: false, from: &budget)
        #expect(isRefused(1, by: &budget))
        budget.takeBack(first, at: 0)
        _ = try lend(60, isForArena: false, from: &budget)
        #expect(budget.lentKiB == 100)
    }

    @Test func `a kept arena of the size is lent again, the last used one first`() throws {
        var budget = MemoryBudget(totalKiB: 96)
        let loans = try (0..<3).map { _ in try lend(32, isForArena: true, from: &budget) }
        let arenas = try loans.map { try #require(hash(in: $0)) }
        for (index, loan) in loans.enumerated() { budget.takeBack(loan, at: UInt64(index)) }
        #expect(budget.keptKiB == 96 && budget.lentKiB == 0)
        // The budget is used up, and the memory is there.
        let again = try lend(32, isForArena: true, from: &budget)
        #expect(again.arena === arenas[2])
        #expect(hash(in: again) === arenas[2])
        #expect(budget.keptKiB == 64 && budget.lentKiB == 32)
    }

    @Test func `kept arenas make room for another size, the oldest first`() throws {
        var budget = MemoryBudget(totalKiB: 96)
        let loans = try [32, 40].map { try lend($0, isForArena: true, from: &budget) }
        let arenas = try loans.map { try #require(hash(in: $0)) }
        for loan in loans { budget.takeBack(loan, at: 1) }
        #expect(budget.keptArenas.map(\.memoryKiB) == [32, 40])
        _ = try lend(48, isForArena: true, from: &budget)
        #expect(budget.keptArenas.count == 1 && budget.keptArenas.first === arenas[1])
        #expect(budget.keptKiB + budget.lentKiB == 88)
    }

    @Test func `memory from elsewhere is not lent beside a kept arena that leaves no room`() throws
    {
        var budget = MemoryBudget(totalKiB: 64)
        let loan = try lend(64, isForArena: true, from: &budget)
        #expect(hash(in: loan) != nil)
        budget.takeBack(loan, at: 1)
        let foreign = try lend(64, isForArena: false, from: &budget)
        #expect(foreign.arena == nil)
        #expect(budget.keptKiB == 0 && budget.lentKiB == 64)
        budget.takeBack(foreign, at: 2)
        #expect(budget.keptKiB == 0 && budget.lentKiB == 0)
    }

    @Test func `arenas are dropped that were kept for long enough, and only those`() throws {
        var budget = MemoryBudget(totalKiB: 64)
        let loans = try (0..<2).map { _ in try lend(32, isForArena: true, from: &budget) }
        for (index, loan) in loans.enumerated() {
            #expect(hash(in: loan) != nil)
            budget.takeBack(loan, at: UInt64(10 + index))
        }
        #expect(budget.oldestKept == 10)
        budget.drop(keptSince: 9)
        #expect(budget.keptKiB == 64)
        budget.drop(keptSince: 10)
        #expect(budget.keptKiB == 32 && budget.oldestKept == 11)
        budget.drop(keptSince: 11)
        #expect(budget.oldestKept == nil)
    }

    @Test func `whatever comes, lent and kept together stay within the budget`() throws {
        var generator = SeededGenerator()
        var budget = MemoryBudget(totalKiB: 256)
        var loans: [MemoryLoan] = []
        for now in 0..<5_000 as Range<UInt64> {
            if Bool.random(using: &generator) {
                let size = [32, 48, 64, 256].randomElement(using: &generator) ?? 32
                let isForArena = Bool.random(using: &generator)
                let fits = budget.lentKiB + size <= 256
                let loan = budget.lend(size, isForArena: isForArena)
                #expect((loan != nil) == fits, "seed \(generator.seed)")
                guard let loan else { continue }
                if isForArena { #expect(hash(in: loan) != nil) }
                loans.append(loan)
            } else if let index = loans.indices.randomElement(using: &generator) {
                budget.takeBack(loans.remove(at: index), at: now)
            }
            if now.isMultiple(of: 100) { budget.drop(keptSince: now - 50 % (now + 1)) }
            #expect(budget.lentKiB == loans.reduce(0) { $0 + $1.memoryKiB })
            try #require(budget.lentKiB + budget.keptKiB <= 256, "seed \(generator.seed)")
        }
    }

    // MARK: Arenas

    @Test func `Argon2 gives the same in an arena, and leaves nothing there`() throws {
        let loan = MemoryLoan(memoryKiB: 12_288, arena: nil)
        let inside = loan.use { output(memoryKiB: 12_288) }
        #expect(inside == output(memoryKiB: 12_288))
        let arena = try #require(loan.arena)
        #expect(residentBytes(of: arena) > 12_000_000, "it was worked in")
        #expect(isAllZero(arena))
    }

    @Test func `what is written to an arena is seen by the test above`() throws {
        let arena = try #require(Arena(memoryKiB: 64))
        let start = arena.addresses.lowerBound
        // SAFETY: inside the arena, which nobody else knows.
        unsafe UnsafeMutablePointer<UInt8>(bitPattern: start + 65_535)?.pointee = 1
        #expect(!isAllZero(arena))
    }

    @Test func `an arena is kept out of core dumps, and asks for huge pages`() throws {
        let arena = try #require(Arena(memoryKiB: 4096))
        let flags = try #require(memoryFlags(of: arena))
        #expect(flags.contains("dd"))
        #expect(flags.contains("hg"))
    }

    @Test func `an arena's memory goes back to the system with it`() throws {
        var arena = Arena(memoryKiB: 4096)
        let addresses = try #require(arena?.addresses)
        #expect(isMapped(addresses))
        arena = nil
        #expect(!isMapped(addresses))
    }

    @Test func `Argon2 gets no more than was lent`() {
        let loan = MemoryLoan(memoryKiB: 12_287, arena: nil)
        // -22 is ARGON2_MEMORY_ALLOCATION_ERROR.
        #expect(loan.use { failure(memoryKiB: 12_288) } == Argon2Failure(code: -22))
        #expect(loan.arena == nil)
    }

    private func lend(
        _ memoryKiB: Int, isForArena: Bool, from budget: inout MemoryBudget
    ) throws -> MemoryLoan {
        let loan = budget.lend(memoryKiB, isForArena: isForArena)
        return try #require(loan)
    }

    private func isRefused(_ memoryKiB: Int, by budget: inout MemoryBudget) -> Bool {
        budget.lend(memoryKiB, isForArena: false) == nil
    }

    /// A hash in the loan's memory; the arena that it was made in.
    private func hash(in loan: MemoryLoan) -> Arena? {
        let output = loan.use { self.output(memoryKiB: loan.memoryKiB) }
        #expect(output != nil)
        return loan.arena
    }

    private func output(memoryKiB: Int) -> [UInt8]? {
        try? argon2id(
            password: [1, 2, 3].span, salt: [UInt8](repeating: 7, count: 16).span,
            memoryKiB: memoryKiB, iterations: 1, lanes: 1, outputBytes: 32
        ).withSpan { span in span.indices.map { span[$0] } }
    }

    private func failure(memoryKiB: Int) -> Argon2Failure? {
        do throws(Argon2Failure) {
            _ = try argon2id(
                password: [1].span, salt: [UInt8](repeating: 7, count: 16).span,
                memoryKiB: memoryKiB, iterations: 1, lanes: 1, outputBytes: 32)
            return nil
        } catch { return error }
    }
}

// MARK: - Arenas seen from outside

/// Read through the kernel, so that nothing depends on what the arena says of itself.
func isAllZero(_ arena: Arena) -> Bool {
    let memory = unsafe open("/proc/self/mem", O_RDONLY)
    precondition(memory >= 0)
    defer { close(memory) }
    var bytes = [UInt8](repeating: 1, count: arena.addresses.count)
    let count = unsafe pread(memory, &bytes, bytes.count, Int(arena.addresses.lowerBound))
    precondition(count == bytes.count)
    return bytes.allSatisfy { $0 == 0 }
}

/// What `/proc/self/smaps` says of the region that holds these addresses; nil when there is none.
private func smaps(of addresses: Range<UInt>) -> [String: String]? {
    var fields: [String: String]?
    for line in readText("/proc/self/smaps").split(separator: "\n") {
        let words = line.split(separator: " ", omittingEmptySubsequences: true)
        if let first = words.first, first.last == ":" {
            fields?[String(first)] = words.dropFirst().joined(separator: " ")
        } else if fields != nil {
            return fields
        } else {
            let ends = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
            if ends.count == 2, ends[0] <= addresses.lowerBound, addresses.upperBound <= ends[1] {
                fields = [:]
            }
        }
    }
    return fields
}

func isMapped(_ addresses: Range<UInt>) -> Bool { smaps(of: addresses) != nil }

private func memoryFlags(of arena: Arena) -> Set<String>? {
    smaps(of: arena.addresses)?["VmFlags:"].map { Set($0.split(separator: " ").map(String.init)) }
}

private func residentBytes(of arena: Arena) -> Int {
    let text = smaps(of: arena.addresses)?["Rss:"]?.split(separator: " ").first
    return (text.flatMap { Int($0) } ?? 0) * 1024
}
