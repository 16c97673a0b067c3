// Secrets are wiped before their memory is given back.

import CAllocationCount
import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct SecretBytesTests {
    /// 32 bytes that nothing else in the process holds.
    private static func marker(_ index: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: index &* 37 &+ 11)
    }

    private static func watched(_ body: () -> Void) -> UInt64 {
        let marker = (0..<32).map(Self.marker)
        // SAFETY: the watcher copies the bytes.
        unsafe gatehouse_watch_freed_memory(marker, marker.count)
        body()
        return gatehouse_watched_frees()
    }

    @Test func `the memory of a secret holds none of it when it is freed`() {
        let leaks = Self.watched {
            let secret = SecretBytes(count: 64) { span in
                for index in 0..<32 { span[index] = Self.marker(index) }
            }
            let copy = secret.copy()
            #expect(copy.count == 64)
        }
        #expect(leaks == 0)
    }

    @Test func `the watcher sees memory that was not wiped`() {
        let leaks = Self.watched {
            let array = (0..<64).map { $0 < 32 ? Self.marker($0) : 0 }
            #expect(array.count == 64)
        }
        #expect(leaks > 0)
    }

    @Test func `wiping overwrites every byte`() {
        var bytes = [UInt8](repeating: 7, count: 33)
        unsafe bytes.withUnsafeMutableBytes { unsafe wipe($0) }
        #expect(bytes.allSatisfy { $0 == 0 })
    }

    @Test func `a secret is not made without randomness`() {
        #expect(throws: EntropyFailure.self) { _ = try Entropy.broken.secret(32) }
        #expect(throws: EntropyFailure.self) { _ = try Entropy.broken.bytes(1) }
    }

    @Test func `the system's bytes differ, in one call and in many`() throws {
        let bytes = try Entropy.system.bytes(1000)
        #expect(bytes.count == 1000)
        #expect(Set(bytes).count > 200)
        #expect(try Entropy.system.bytes(32) != Entropy.system.bytes(32))
    }
}
