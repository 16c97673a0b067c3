// Memory for secrets: locked, in no core dump and no forked child, wiped when it is given back.

import Glibc
import Synchronization

/// The memory that ``SecretBytes``, ciphers and libcrypto's contexts live in.
///
/// Chunks of pages that are locked (mlock(2): never in swap), left out of core dumps and of children
/// that fork (madvise(2), `MADV_DONTDUMP` and `MADV_DONTFORK`), with a guard page on either side. Blocks
/// come zeroed and are wiped when they are freed. A chunk is never given back: a server's secrets come and
/// go, and their number does not.
///
/// What can't be locked is used all the same, and counted: a server refuses to start without its first
/// chunk, and says so when a later one is not locked.
package enum SecretMemory {
    /// What is taken at a time. libcrypto's own tables, which it can't be told to keep apart, take 256 KiB,
    /// a key with all its purposes some 15: one chunk holds a server's usual ring. Sixteen fit what Linux
    /// lets a process lock since 5.16 (8 MiB), none the 64 KiB before that.
    package static let chunkBytes = 512 << 10
    /// A larger block has pages of its own, which are not locked and are given back: it is scrypt's
    /// memory, up to dozens of megabytes for a moment. Every key, password and ring is smaller.
    package static let largestBlockBytes = 64 << 10

    /// Bytes of secret memory, used or free.
    package struct Usage: Sendable, Equatable {
        package fileprivate(set) var locked = 0
        package fileprivate(set) var unlocked = 0
    }

    private static let arena = Mutex(SecretArena())

    package static var usage: Usage { arena.withLock { $0.usage } }

    /// Takes the first chunk if there is none, and says whether it is locked.
    package static func isLocked() -> Bool {
        arena.withLock { arena in
            if arena.usage == Usage() {
                let first = arena.allocate(1)
                if first != 0 { arena.free(first) }
            }
            return arena.usage.locked > 0
        }
    }

    /// `count` zeros, aligned to 16 bytes; nil when `count` is not positive or there is no memory.
    static func allocate(_ count: Int) -> UnsafeMutableRawPointer? {
        unsafe UnsafeMutableRawPointer(bitPattern: arena.withLock { $0.allocate(count) })
    }

    /// Wipes a block and takes it back; nothing for nil.
    package static func free(_ block: UnsafeMutableRawPointer?) {
        let address = UInt(bitPattern: block)
        if address != 0 { arena.withLock { $0.free(address) } }
    }

    /// As realloc(3); what is moved is wiped where it was.
    static func reallocate(
        _ block: UnsafeMutableRawPointer?, to count: Int
    ) -> UnsafeMutableRawPointer? {
        guard let block = unsafe block else { return unsafe allocate(count) }
        guard count > 0 else {
            unsafe free(block)
            return nil
        }
        let capacity = unsafe SecretArena.capacity(of: block)
        if count <= capacity { return unsafe block }
        guard let larger = unsafe allocate(count) else { return nil }
        // SAFETY: the larger block has room for the smaller one.
        unsafe larger.copyMemory(from: block, byteCount: capacity)
        unsafe free(block)
        return unsafe larger
    }

    /// `count` zeros for one owner, who gives them to ``free(_:)``; stops where there is no memory, as
    /// every allocation of Swift does.
    package static func bytes(_ count: Int) -> UnsafeMutablePointer<UInt8> {
        // Nothing can go on without the memory, and a caller could only stop as well.
        guard let block = unsafe allocate(count) else { fatalError("no memory for a secret") }
        // SAFETY: the block has `count` bytes.
        return unsafe block.bindMemory(to: UInt8.self, capacity: count)
    }
}

/// The chunks, and the lists of free blocks.
///
/// ```
/// offset  size  field
/// -16     8     size of the whole block
/// -8      8     its address, inverted: the mark of a block that is in use
/// 0       n     the owner's bytes; of a free block the address of the next free one, then zeros
/// ```
@safe private struct SecretArena {
    private static let headerBytes = 16
    private static let pageBytes = Int(sysconf(Int32(_SC_PAGESIZE)))

    var usage = SecretMemory.Usage()
    /// For each size the first free block, by ``size(for:)``.
    private var free = [UInt](repeating: 0, count: 2 * UInt.bitWidth)
    /// The part of the newest chunk that was never used.
    private var fresh: UInt = 0
    private var freshEnd: UInt = 0

    /// The address of a block, 0 for none: a pointer can't pass the lock.
    mutating func allocate(_ count: Int) -> UInt {
        guard count > 0, count <= Int.max / 2 else { return 0 }
        let (list, size) = Self.size(for: count)
        guard size <= SecretMemory.largestBlockBytes else { return allocateAlone(count) }
        if let block = unsafe UnsafeMutableRawPointer(bitPattern: free[list]) {
            // SAFETY: a free block holds the address of the next.
            free[list] = unsafe block.load(as: UInt.self)
            unsafe block.storeBytes(of: 0, as: UInt.self)
            return unsafe Self.mark(block - Self.headerBytes, size)
        }
        if freshEnd - fresh < UInt(size) {
            guard let chunk = unsafe Self.map(SecretMemory.chunkBytes) else { return 0 }
            let isLocked = unsafe mlock(chunk, SecretMemory.chunkBytes) == 0
            if isLocked {
                usage.locked += SecretMemory.chunkBytes
            } else {
                usage.unlocked += SecretMemory.chunkBytes
            }
            // What is left of the chunk before, less than the largest block, stays unused.
            fresh = UInt(bitPattern: chunk)
            freshEnd = fresh + UInt(SecretMemory.chunkBytes)
        }
        guard let start = unsafe UnsafeMutableRawPointer(bitPattern: fresh) else { return 0 }
        fresh += UInt(size)
        return unsafe Self.mark(start, size)
    }

    mutating func free(_ address: UInt) {
        guard let block = unsafe UnsafeMutableRawPointer(bitPattern: address) else { return }
        let capacity = unsafe Self.capacity(of: block)
        unsafe wipe(UnsafeMutableRawBufferPointer(start: block, count: capacity))
        let size = capacity + Self.headerBytes
        let header = unsafe block - Self.headerBytes
        guard size <= SecretMemory.largestBlockBytes else {
            usage.unlocked -= size
            // SAFETY: such a block is a mapping of its own, between its guard pages.
            unsafe munmap(header - Self.pageBytes, size + 2 * Self.pageBytes)
            return
        }
        // No longer in use: freeing it again stops the process.
        unsafe header.storeBytes(of: 0, toByteOffset: 8, as: UInt.self)
        let list = Self.size(for: capacity).list
        unsafe block.storeBytes(of: free[list], as: UInt.self)
        free[list] = address
    }

    /// The bytes that a block's owner may use; stops the process if it is none of ours, or none any more.
    static func capacity(of block: UnsafeMutableRawPointer) -> Int {
        let header = unsafe block - headerBytes
        // SAFETY: every block has a header before it.
        let mark = unsafe header.load(fromByteOffset: 8, as: UInt.self)
        // Freed twice, or overwritten: another owner's key may lie there, so that nothing is safe to do.
        guard mark == ~UInt(bitPattern: block) else { fatalError("secret memory is damaged") }
        return unsafe header.load(as: Int.self) - headerBytes
    }

    /// A block's size, a power of two or the half between two of them, and its list.
    private static func size(for count: Int) -> (list: Int, size: Int) {
        let needed = max(count + headerBytes, 32)
        let exponent = Int.bitWidth - (needed - 1).leadingZeroBitCount
        let power = 1 << exponent
        let between = power / 4 * 3
        return needed <= between ? (2 * exponent, between) : (2 * exponent + 1, power)
    }

    private mutating func allocateAlone(_ count: Int) -> UInt {
        let size = (count + Self.headerBytes + Self.pageBytes - 1) / Self.pageBytes * Self.pageBytes
        guard let start = unsafe Self.map(size) else { return 0 }
        usage.unlocked += size
        return unsafe Self.mark(start, size)
    }

    private static func mark(_ start: UnsafeMutableRawPointer, _ size: Int) -> UInt {
        let block = unsafe start + headerBytes
        // SAFETY: `start` has `size` bytes, the header's among them.
        unsafe start.storeBytes(of: size, as: Int.self)
        unsafe start.storeBytes(of: ~UInt(bitPattern: block), toByteOffset: 8, as: UInt.self)
        return UInt(bitPattern: block)
    }

    /// New pages between two that nothing can touch; nil when the kernel refuses, also to leave them out
    /// of dumps.
    private static func map(_ size: Int) -> UnsafeMutableRawPointer? {
        let whole = size + 2 * pageBytes
        guard
            let guarded = unsafe mmap(
                nil, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            unsafe guarded != UnsafeMutableRawPointer(bitPattern: -1)
        else { return nil }
        let pages = unsafe guarded + pageBytes
        // SAFETY: the pages between the guards, which nobody else knows yet.
        guard unsafe mprotect(pages, size, PROT_READ | PROT_WRITE) == 0,
            unsafe madvise(pages, size, MADV_DONTDUMP) == 0,
            unsafe madvise(pages, size, MADV_DONTFORK) == 0
        else {
            unsafe munmap(guarded, whole)
            return nil
        }
        return unsafe pages
    }
}
