// Secret bytes: one owner, in secret memory, wiped before it is given back.

/// A fixed number of secret bytes with a single owner.
///
/// Not copyable, without a description, equality or coding, so that a secret cannot be printed,
/// compared in variable time or duplicated by accident. The bytes live in ``SecretMemory``, and are
/// overwritten when the value ends (REQUIREMENTS SW-7).
package struct SecretBytes: ~Copyable, Sendable {
    private let storage: WipedBuffer

    /// The number of bytes.
    package var count: Int { unsafe storage.bytes.count }

    /// Makes `count` bytes and lets `fill` write them; they start as zeros.
    package init<E: Error>(
        count: Int, filledBy fill: (inout MutableSpan<UInt8>) throws(E) -> Void
    ) throws(E) {
        let buffer = WipedBuffer(count: count)
        let bytes = unsafe buffer.bytes
        // SAFETY: the buffer is known to no one else, and lives until it is stored below.
        var span = unsafe MutableSpan(_unsafeElements: bytes)
        try fill(&span)
        storage = buffer
    }

    /// Copies `bytes`; wiping the original stays the caller's duty.
    package init(copying bytes: Span<UInt8>) {
        self.init(count: bytes.count) { (span: inout MutableSpan<UInt8>) in
            for index in bytes.indices { span[index] = bytes[index] }
        }
    }

    /// Lends the bytes to `body`, which must not keep a copy.
    package borrowing func withSpan<Result: ~Copyable, E: Error>(
        _ body: (Span<UInt8>) throws(E) -> Result
    ) throws(E) -> Result {
        let bytes = unsafe UnsafeBufferPointer(storage.bytes)
        // SAFETY: the buffer lives as long as `self`, and the span no longer than the call.
        let span = unsafe Span(_unsafeElements: bytes)
        return try body(span)
    }

    /// Another owner of the same bytes.
    package borrowing func copy() -> SecretBytes { withSpan { SecretBytes(copying: $0) } }
}

/// A block of secret memory, which is overwritten when it is freed.
///
/// `@unchecked Sendable`: the bytes are written only while `SecretBytes.init` is the one that
/// knows the buffer, and only read afterwards.
@safe private final class WipedBuffer: @unchecked Sendable {
    let bytes: UnsafeMutableBufferPointer<UInt8>

    init(count: Int) {
        precondition(count > 0)
        unsafe bytes = UnsafeMutableBufferPointer(
            start: SecretMemory.bytes(count), count: count)
    }

    deinit { unsafe SecretMemory.free(bytes.baseAddress) }
}
