// Memory for Argon2 that is kept from hash to hash.

import Glibc

/// A block of memory in which one hash after the other is computed.
///
/// Fresh pages cost a fault each, and zeroing: with 64 MiB in pages of 4 KiB, 16,384 of them a hash.
/// Here they are faulted in once, 2 MiB at a time where the kernel has such pages. libargon2 wipes the
/// memory after each hash; it is never written to a core dump.
///
/// `@unchecked Sendable`: the address never changes, and who works there is decided by
/// ``MemoryBudget``, which lends an arena to one thread at a time. A lock could not say more: libargon2
/// holds the bare address for as long as a hash takes.
@safe package final class Arena: @unchecked Sendable {
    package let memoryKiB: Int
    fileprivate let bytes: UnsafeMutableRawBufferPointer

    /// Nil when the system has no memory.
    package init?(memoryKiB: Int) {
        let count = memoryKiB * 1024
        let address = unsafe mmap(
            nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let address = unsafe address, unsafe address != MAP_FAILED else { return nil }
        // Kernels without huge pages refuse the advice, and the arena is slower.
        _ = unsafe madvise(address, count, MADV_HUGEPAGE)
        _ = unsafe madvise(address, count, MADV_DONTDUMP)
        self.memoryKiB = memoryKiB
        // SAFETY: the mapping is owned by this object and given back in deinit.
        unsafe bytes = UnsafeMutableRawBufferPointer(start: address, count: count)
    }

    deinit { unsafe munmap(bytes.baseAddress, bytes.count) }

    /// Where it lies: for tests, which look at it from outside.
    package var addresses: Range<UInt> {
        let start = unsafe UInt(bitPattern: bytes.baseAddress)
        return unsafe start..<start + UInt(bytes.count)
    }
}

/// A part of the memory budget, lent for one hash; Argon2 takes its memory from it.
///
/// `@unchecked Sendable`: made under the hasher's lock, then used by one thread until it is given
/// back under that lock, which orders the two.
package final class MemoryLoan: @unchecked Sendable {
    package let memoryKiB: Int
    /// A kept arena of this size, or the one that the hash has made.
    package fileprivate(set) var arena: Arena?

    package init(memoryKiB: Int, arena: Arena?) {
        self.memoryKiB = memoryKiB
        self.arena = arena
    }

    /// Lets Argon2, as far as it runs inside `body` on this thread, work in the arena.
    package func use<Result>(_ body: () -> Result) -> Result {
        // SAFETY: this object outlives the call, at whose end the pointer is forgotten.
        unsafe pthread_setspecific(Self.key, Unmanaged.passUnretained(self).toOpaque())
        defer { pthread_setspecific(Self.key, nil) }
        return body()
    }

    /// The loan that this thread uses. libargon2 gives its allocator no context.
    static var current: MemoryLoan? {
        // SAFETY: set by `use`, whose caller holds the object until it returns.
        guard let pointer = unsafe pthread_getspecific(key) else { return nil }
        return unsafe Unmanaged.fromOpaque(pointer).takeUnretainedValue()
    }

    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        let code = unsafe pthread_key_create(&key, nil)
        precondition(code == 0, "no thread-local key: error \(code)")
        return key
    }()

    /// The arena's memory; nil when `count` bytes are more than was lent, or there is no memory.
    func bytes(_ count: Int) -> UnsafeMutablePointer<UInt8>? {
        guard count <= memoryKiB * 1024 else { return nil }
        if arena == nil { arena = Arena(memoryKiB: memoryKiB) }
        return unsafe arena?.bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
    }
}
