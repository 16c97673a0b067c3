// Bytes that cost next to nothing: for simulations that make keys by the thousand and seal with none.

import GatehouseCore
import GatehouseTestSupport
import Synchronization

/// Gives the words of a seeded generator, eight bytes at a time.
final class CountingEntropy: Sendable {
    private let generator: Mutex<SeededGenerator>
    init(seed: UInt64) { generator = Mutex(SeededGenerator(seed: seed)) }

    func fill(_ span: inout MutableSpan<UInt8>) -> Bool {
        generator.withLock { generator in
            var word: UInt64 = 0
            for index in span.indices {
                if index % 8 == 0 { word = generator.next() }
                span[index] = UInt8(truncatingIfNeeded: word)
                word >>= 8
            }
        }
        return true
    }
}
