// What is left of a password in this process's memory once it is no longer needed: nothing.

import GatehouseCore
import GatehousePasswords
import Glibc
import Testing

// One after the other: a needle that one test looks for must not be moved about by another.
@Suite(.serialized) struct WipeTests {
    @Test func `the search finds a password that is there`() async throws {
        var found = 0
        _ = try await copiesLeft { needle in
            found = try needle.password().withSpan { _ in needle.copiesInMemory() }
        }
        #expect(found == 1)
    }

    @Test func `a password that was normalised and dropped leaves no copy`() async throws {
        let left = try await copiesLeft { needle in
            let count = try needle.password().codePointCount
            #expect(count > 0)
        }
        #expect(left == 0)
    }

    @Test func `a refused password leaves no copy`() async {
        let left = await copiesLeft { needle in
            needle.input(endingIn: "\u{0378}").withSpan { span in
                do throws(PasswordRefusal) {
                    _ = try Password(span)
                    Issue.record("a password that should have been refused")
                } catch { #expect(error == .unassignedCharacter) }
            }
        }
        #expect(left == 0)
    }

    @Test func `a password that was hashed and verified leaves no copy`() async throws {
        let left = try await copiesLeft { needle in
            let hasher = PasswordHasher(parameters: floor, threads: 1, maximumQueued: 1)
            let hash = try await hasher.hash(needle.password())
            #expect(try await hasher.verify(needle.password(), against: hash))
            await hasher.shutdown()
        }
        #expect(left == 0)
    }

    @Test func `a password whose turn never came leaves no copy`() async {
        let left = await copiesLeft { needle in
            let hasher = PasswordHasher(parameters: floor, threads: 1, maximumQueued: 1)
            await hasher.shutdown()
            await #expect(throws: PasswordHasherError.shutDown) {
                try await hasher.hash(needle.password())
            }
        }
        #expect(left == 0)
    }
}

/// How many copies of a needle are in memory after `use`, in UTF-8 and in the UTF-16 that ICU works
/// on.
///
/// `use` runs twice, and only the second needle counts: the first call of a library function saves the
/// vector registers to the stack while the function is bound, whatever they hold just then.
private func copiesLeft(
    after use: (Needle) async throws -> Void
) async rethrows -> Int {
    try await use(Needle())
    let needle = Needle()
    try await use(needle)
    return needle.copiesInMemory() + needle.utf16CopiesInMemory()
}

/// Random letters that are found again wherever they are in the memory of this process. The needle's
/// own copies of them do not count.
///
/// Memory is read through `/proc/self/mem`, as a file, so that what has been freed can be looked at;
/// and what a search needs is allocated before it, so that it does not reuse what it looks for.
@safe private final class Needle {
    private static let byteCount = 48

    private let letters: UnsafeMutableBufferPointer<UInt8>
    private let utf16Letters: UnsafeMutableBufferPointer<UInt8>
    private let window: UnsafeMutableBufferPointer<UInt8>
    private let maps: UnsafeMutableBufferPointer<UInt8>

    init() {
        unsafe letters = .allocate(capacity: Self.byteCount)
        unsafe utf16Letters = .allocate(capacity: 2 * Self.byteCount)
        unsafe window = .allocate(capacity: 1 << 20)
        unsafe window.initialize(repeating: 0)
        unsafe maps = .allocate(capacity: 1 << 18)
        unsafe maps.initialize(repeating: 0)
        for index in 0..<Self.byteCount {
            let letter = UInt8.random(in: UInt8(ascii: "a")...UInt8(ascii: "z"))
            unsafe letters[index] = letter
            unsafe utf16Letters[2 * index] = letter
            unsafe utf16Letters[2 * index + 1] = 0
        }
    }

    deinit {
        unsafe letters.deallocate()
        unsafe utf16Letters.deallocate()
        unsafe window.deallocate()
        unsafe maps.deallocate()
    }

    /// The letters in the middle of a password, in memory that is wiped with its value. They are not
    /// at its start, where the allocator writes when it takes memory back, and it is of a size that
    /// little else has.
    func input(endingIn text: String = "") -> SecretBytes {
        let start = 700
        let tail = Array(text.utf8)
        return SecretBytes(count: start + Self.byteCount + tail.count) { span in
            for index in 0..<start { span[index] = UInt8(ascii: " ") }
            for index in 0..<Self.byteCount { unsafe span[start + index] = letters[index] }
            for index in tail.indices { span[start + Self.byteCount + index] = tail[index] }
        }
    }

    func password() throws(PasswordRefusal) -> Password {
        try input().withSpan { span throws(PasswordRefusal) in try Password(span) }
    }

    func copiesInMemory() -> Int { unsafe copies(of: letters) }

    /// Copies in the form that ICU works on.
    func utf16CopiesInMemory() -> Int { unsafe copies(of: utf16Letters) }

    private func copies(of wanted: UnsafeMutableBufferPointer<UInt8>) -> Int {
        let memory = unsafe open("/proc/self/mem", O_RDONLY)
        precondition(memory >= 0)
        defer { close(memory) }
        let mapsCount = readMaps()
        var found = 0
        var position = 0
        while let region = nextWritableRegion(from: &position, of: mapsCount) {
            var address = region.lowerBound
            while address < region.upperBound {
                let wish = min(unsafe window.count, region.upperBound - address)
                let count = unsafe pread(memory, window.baseAddress, wish, address)
                // A region that has gone since it was listed holds nothing.
                guard count == wish else { break }
                unsafe found += hits(of: wanted, windowCount: count, windowAddress: address)
                // Windows overlap by less than a copy, so that each is found in one of them.
                let isLast = address + wish == region.upperBound
                address += isLast ? wish : wish - wanted.count + 1
            }
        }
        return found
    }

    private func hits(
        of wanted: UnsafeMutableBufferPointer<UInt8>, windowCount: Int, windowAddress: Int
    ) -> Int {
        var found = 0
        var offset = 0
        while windowCount - offset >= wanted.count, let base = unsafe window.baseAddress,
            let first = wanted.baseAddress,
            // SAFETY: the search ends where a whole copy would no longer fit the window.
            let hit = unsafe memchr(
                base + offset, Int32(first.pointee), windowCount - offset - wanted.count + 1)
        {
            let hitOffset = unsafe hit - UnsafeMutableRawPointer(base)
            let isCopy = unsafe memcmp(hit, first, wanted.count) == 0
            if isCopy && !isOwn(windowAddress + hitOffset) { found += 1 }
            offset = hitOffset + 1
        }
        return found
    }

    private func isOwn(_ address: Int) -> Bool {
        unsafe isInside(letters, address) || isInside(utf16Letters, address)
            || isInside(window, address)
    }

    private func isInside(_ buffer: UnsafeMutableBufferPointer<UInt8>, _ address: Int) -> Bool {
        let start = Int(bitPattern: buffer.baseAddress)
        return address >= start && address < start + buffer.count
    }

    /// Reads the list of this process's memory regions (proc_pid_maps(5)).
    private func readMaps() -> Int {
        let file = unsafe open("/proc/self/maps", O_RDONLY)
        precondition(file >= 0)
        defer { close(file) }
        var total = 0
        while let base = unsafe maps.baseAddress {
            precondition(unsafe total < maps.count)
            // SAFETY: `total` is below the buffer's size.
            let count = unsafe read(file, base + total, maps.count - total)
            guard count > 0 else { break }
            total += count
        }
        return total
    }

    /// The next region of a heap, a stack or variables. A line of the list starts with two addresses
    /// and the permissions: `7f0c1000-7f0c2000 rw-p`.
    private func nextWritableRegion(from position: inout Int, of count: Int) -> Range<Int>? {
        while position < count {
            let start = hexadecimal(from: &position)
            let end = hexadecimal(from: &position)
            let isWritable = unsafe maps[position + 1] == UInt8(ascii: "w")
            while position < count, unsafe maps[position] != UInt8(ascii: "\n") { position += 1 }
            position += 1
            if isWritable { return start..<end }
        }
        return nil
    }

    /// Reads a number and the character after it.
    private func hexadecimal(from position: inout Int) -> Int {
        var value = 0
        while true {
            let character = unsafe maps[position]
            position += 1
            switch character {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | (Int(character) - 0x30)
            case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | (Int(character) - 0x57)
            default: return value
            }
        }
    }
}
