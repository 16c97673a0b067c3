// Secret memory: what it gives, what is left in it, and where its pages are.

import Foundation
import GatehouseTestSupport
import Testing

@testable import GatehouseCore

@Suite struct SecretMemoryTests {
    /// Sizes around the edges of classes, of the largest block, and of a chunk.
    private static let counts =
        [1, 15, 16, 17, 32, 33, 48, 80, 1000, 16_384, 65_519, 65_520, 65_521, 600_000]

    @Test(arguments: counts)
    func `a block is zeros, aligned, and zeros again for its next owner`(_ count: Int) throws {
        for _ in 0..<3 {
            let block = unsafe SecretMemory.bytes(count)
            #expect(Int(bitPattern: block) % 16 == 0)
            let isZero = unsafe UnsafeBufferPointer(start: block, count: count).allSatisfy {
                $0 == 0
            }
            #expect(isZero)
            unsafe block.update(repeating: 0xA5, count: count)
            unsafe SecretMemory.free(block)
        }
    }

    @Test func `blocks that live at one time don't overlap`() throws {
        let counts = Self.counts + Self.counts
        let addresses = counts.enumerated().map { index, count in
            let block = unsafe SecretMemory.bytes(count)
            unsafe block.update(repeating: UInt8(index + 1), count: count)
            return UInt(bitPattern: block)
        }
        for (index, address) in addresses.enumerated() {
            let block = unsafe UnsafePointer<UInt8>(bitPattern: address)
            let bytes = unsafe UnsafeBufferPointer(start: block, count: counts[index])
            let isWhole = unsafe bytes.allSatisfy { $0 == UInt8(index + 1) }
            #expect(isWhole)
            unsafe SecretMemory.free(UnsafeMutableRawPointer(bitPattern: address))
        }
    }

    @Test(arguments: [(16, 17), (100, 5000), (5000, 100), (60_000, 70_000), (70_000, 200_000)])
    func `a block that grows keeps its bytes`(_ old: Int, _ new: Int) {
        let block = unsafe SecretMemory.bytes(old)
        unsafe block.update(repeating: 7, count: old)
        let other = unsafe SecretMemory.reallocate(block, to: new)
        let bytes = unsafe UnsafeRawBufferPointer(start: other, count: min(old, new))
        let isKept = unsafe bytes.allSatisfy { $0 == 7 }
        #expect(isKept)
        unsafe SecretMemory.free(other)
    }

    @Test func `nothing comes of nothing`() {
        #expect(unsafe SecretMemory.allocate(0) == nil)
        #expect(unsafe SecretMemory.allocate(-1) == nil)
        #expect(unsafe SecretMemory.allocate(.max) == nil)
        unsafe SecretMemory.free(nil)
        #expect(unsafe SecretMemory.reallocate(SecretMemory.allocate(5), to: 0) == nil)
    }

    @Test func `what is freed twice ends the process`() async {
        await #expect(processExitsWith: .failure) {
            let block = unsafe SecretMemory.allocate(40)
            unsafe SecretMemory.free(block)
            unsafe SecretMemory.free(block)
        }
    }

    @Test func `the pages around a block of its own can't be touched`() async {
        await #expect(processExitsWith: .failure) {
            // With its header it fills 49 pages.
            let block = unsafe SecretMemory.allocate(200_000)
            unsafe block?.storeBytes(of: 1, toByteOffset: 49 * 4096, as: UInt8.self)
        }
    }

    @Test(arguments: ["bytes", "keyring", "cipher"])
    func `a secret is in locked pages without dump, and nowhere once it is dropped`(
        _ kind: String
    ) throws {
        let found = try probe(kind)
        #expect(found.live > 0)
        #expect(found.outside == 0)
        #expect(found.left == 0)
    }

    @Test func `a block too large to be locked is gone with its owner too`() throws {
        let found = try probe("large")
        #expect(found == Found(live: 1, outside: 1, left: 0))
    }

    private struct Found: Equatable {
        var live: Int
        var outside: Int
        var left: Int
    }

    private func probe(_ kind: String) throws -> Found {
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let process = Process()
        process.executableURL = URL(fileURLWithPath: tests)
            .deletingLastPathComponent().appendingPathComponent("SecretMemoryProbe")
        process.arguments = [kind]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let text = String(
            decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        let words = text.split { $0 == " " || $0 == "\n" }.compactMap { Int($0) }
        #expect(process.terminationStatus == 0 && words.count == 3, "\(text)")
        guard words.count == 3 else { return Found(live: -1, outside: -1, left: -1) }
        return Found(live: words[0], outside: words[1], left: words[2])
    }
}
