// Argon2 against the published vectors.

import GatehouseCore
import GatehousePasswords
import GatehouseTestSupport
import Testing

@Suite struct Argon2Tests {
    /// RFC 9106 section 5.3.
    @Test func `the test vector of RFC 9106 comes out`() throws {
        let tag = try argon2id(
            password: [UInt8](repeating: 0x01, count: 32).span,
            salt: [UInt8](repeating: 0x02, count: 16).span,
            secret: [UInt8](repeating: 0x03, count: 8).span,
            associatedData: [UInt8](repeating: 0x04, count: 12).span,
            memoryKiB: 32, iterations: 3, lanes: 4, outputBytes: 32)
        let expected: [UInt8] = [
            0x0D, 0x64, 0x0D, 0xF5, 0x8D, 0x78, 0x76, 0x6C, 0x08, 0xC0, 0x37, 0xA3, 0x4A, 0x8B,
            0x53,
            0xC9, 0xD0, 0x1E, 0xF0, 0x45, 0x2D, 0x75, 0xB6, 0x5E, 0xB5, 0x25, 0x20, 0xE9, 0x6B,
            0x01,
            0xE6, 0x59,
        ]
        #expect(tag.withSpan { span in span.indices.map { span[$0] } } == expected)
    }

    /// RFC 9106 section 5.2.
    @Test func `the test vector of Argon2i comes out`() throws {
        let tag = try argon2id(
            password: [UInt8](repeating: 0x01, count: 32).span,
            salt: [UInt8](repeating: 0x02, count: 16).span,
            secret: [UInt8](repeating: 0x03, count: 8).span,
            associatedData: [UInt8](repeating: 0x04, count: 12).span,
            memoryKiB: 32, iterations: 3, lanes: 4, outputBytes: 32, variant: .argon2i)
        #expect(
            tag.withSpan { span in span.indices.map { span[$0] } }
                == hexBytes("c814d9d1dc7f37aa13f0d77f2494bda1c8de6b016dd388d29952a4c4672b6ce8"))
    }

    @Test func `what libargon2 refuses is an error`() {
        // Seven bytes of salt are one too few; -6 is ARGON2_SALT_TOO_SHORT.
        #expect(throws: Argon2Failure(code: -6)) {
            let tag = try argon2id(
                password: [0x70].span, salt: [UInt8](repeating: 0, count: 7).span, memoryKiB: 32,
                iterations: 1, lanes: 1, outputBytes: 32)
            return tag.count
        }
    }
}
