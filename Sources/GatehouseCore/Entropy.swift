// Randomness from the operating system, and the one place a test can replace it.

import Glibc

/// A source of unpredictable bytes.
package struct Entropy: Sendable {
    private let fillBytes: @Sendable (inout MutableSpan<UInt8>) -> Bool

    /// - Parameter fill: writes every byte of the span and says whether it could.
    package init(fill: @escaping @Sendable (inout MutableSpan<UInt8>) -> Bool) { fillBytes = fill }

    /// The kernel's generator through getentropy(3), which reseeds across fork and, where the
    /// kernel supports vmgenid, across virtual machine snapshots (REQUIREMENTS KEY-8).
    package static let system = Entropy { span in
        var offset = 0
        // getentropy gives at most 256 bytes a call.
        while offset < span.count {
            let count = min(256, span.count - offset)
            let start = offset
            let done = unsafe span.withUnsafeMutableBytes { bytes in
                // SAFETY: `start + count` is at most the size of the buffer.
                unsafe getentropy(bytes.baseAddress?.advanced(by: start), count)
            }
            guard done == 0 else { return false }
            offset += count
        }
        return true
    }

    /// Fills `span`, or throws: there is no fallback to weaker bytes.
    package func fill(_ span: inout MutableSpan<UInt8>) throws(EntropyFailure) {
        guard fillBytes(&span) else { throw EntropyFailure() }
    }

    /// `count` random bytes that need not be kept secret: identifiers and nonces.
    package func bytes(_ count: Int) throws(EntropyFailure) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var span = bytes.mutableSpan
        try fill(&span)
        return bytes
    }

    /// `count` random bytes that are a secret.
    package func secret(_ count: Int) throws(EntropyFailure) -> SecretBytes {
        try SecretBytes(count: count) { span throws(EntropyFailure) in try fill(&span) }
    }
}

/// The operating system gave no random bytes; what needed them must not happen.
package struct EntropyFailure: Error, Equatable {
    package init() {}
}
