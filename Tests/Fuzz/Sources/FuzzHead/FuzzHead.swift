// The target for request heads: the check lane beside NIOHTTP1 (llhttp) and the check contract.

import FuzzSupport

nonisolated(unsafe) private let rules = HeadRules()

/// Called by libFuzzer once, before it handles signals.
@c(LLVMFuzzerInitialize)
public func initialize(_ count: UnsafeMutableRawPointer?, _ arguments: UnsafeMutableRawPointer?)
    -> Int32
{
    leaveCrashesToTheFuzzer()
    _ = unsafe rules
    return 0
}

/// Called by libFuzzer for every input.
@c(LLVMFuzzerTestOneInput)
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    unsafe rules.check(UnsafeBufferPointer(start: start, count: count))
    return 0
}
