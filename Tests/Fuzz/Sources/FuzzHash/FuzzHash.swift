// The target for stored password hashes, given anything.

import FuzzSupport

nonisolated(unsafe) private let rules = HashRules()

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
    unsafe rules.check(Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
}
