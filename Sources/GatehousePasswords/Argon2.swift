// The one importer of libargon2: raw Argon2 outputs (RFC 9106).

import CArgon2
package import GatehouseCore

/// libargon2 refused to hash; with parameters in their bounds, only memory exhaustion explains it.
package struct Argon2Failure: Error, Equatable {
    /// One of libargon2's `ARGON2_…` error codes.
    package let code: Int32

    package init(code: Int32) { self.code = code }
}

/// Argon2id, version 1.3, on the calling thread: however many lanes there are, they are computed one
/// after the other. libargon2 wipes the memory that it worked on, which is the arena of
/// ``MemoryLoan/current`` if the thread has one.
///
/// - Parameters:
///   - salt: at least 8 bytes.
///   - secret: Argon2's own key; empty for none.
///   - associatedData: empty for none.
///   - memoryKiB: at least 8 for each lane.
///   - variant: Argon2i only for what other systems stored.
package func argon2id(
    password: Span<UInt8>, salt: Span<UInt8>, secret: Span<UInt8> = Span(),
    associatedData: Span<UInt8> = Span(), memoryKiB: Int, iterations: Int, lanes: Int,
    outputBytes: Int, variant: Argon2Variant = .argon2id
) throws(Argon2Failure) -> SecretBytes {
    let hasArena = MemoryLoan.current != nil
    return try SecretBytes(count: outputBytes) { output throws(Argon2Failure) in
        let code = unsafe password.withUnsafeBufferPointer { password in
            unsafe salt.withUnsafeBufferPointer { salt in
                unsafe secret.withUnsafeBufferPointer { secret in
                    unsafe associatedData.withUnsafeBufferPointer { associatedData in
                        unsafe output.withUnsafeMutableBufferPointer { output in
                            // SAFETY: every pointer covers its count for the length of the call.
                            // libargon2 writes to the inputs only under flags that are not set.
                            var context = unsafe argon2_context(
                                out: output.baseAddress, outlen: UInt32(output.count),
                                pwd: mutable(password), pwdlen: UInt32(password.count),
                                salt: mutable(salt), saltlen: UInt32(salt.count),
                                secret: mutable(secret), secretlen: UInt32(secret.count),
                                ad: mutable(associatedData), adlen: UInt32(associatedData.count),
                                t_cost: UInt32(iterations), m_cost: UInt32(memoryKiB),
                                lanes: UInt32(lanes), threads: 1,
                                version: ARGON2_VERSION_13.rawValue,
                                allocate_cbk: hasArena ? takeArena : nil,
                                free_cbk: hasArena ? leaveArena : nil, flags: 0)
                            return unsafe argon2_ctx(
                                &context, variant == .argon2id ? Argon2_id : Argon2_i)
                        }
                    }
                }
            }
        }
        guard code == ARGON2_OK.rawValue else { throw Argon2Failure(code: code) }
    }
}

/// libargon2's allocator: gives NULL when there is no memory.
private func takeArena(
    _ memory: UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?, _ count: Int
) -> Int32 {
    let bytes = unsafe MemoryLoan.current?.bytes(count)
    // SAFETY: libargon2 gives the place of its own pointer.
    unsafe memory?.pointee = bytes
    return unsafe bytes == nil ? -1 : 0
}

/// The arena is kept; libargon2 has wiped what it used of it.
private func leaveArena(_ memory: UnsafeMutablePointer<UInt8>?, _ count: Int) {}

/// libargon2's interface has no const.
private func mutable(_ bytes: UnsafeBufferPointer<UInt8>) -> UnsafeMutablePointer<UInt8>? {
    unsafe UnsafeMutablePointer(mutating: bytes.baseAddress)
}
