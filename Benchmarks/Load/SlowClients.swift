// Clients that never get to the point: what a slowloris attack looks like to the server.

import CBenchmark
import Glibc

/// Half of them send a head that never ends, one byte a second; the other half send part of one and
/// fall silent. Whoever is thrown out comes back. Their turns are spread evenly over each second, and
/// they run on the load's thread: another process would interrupt what is measured.
struct SlowClients {
    private let target: Target
    private var descriptors: [Int32]
    private let start = monotonicNanoseconds()
    private var turns = 0
    private(set) var reconnects = 0
    private(set) var hasConnected = false

    private static let head = Array("GET /check HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".utf8)
    private static let endless = [UInt8(ascii: "a")]
    /// The most turns between two looks at the busy connections; at 5,000 clients a turn is due every
    /// 200 µs, so that this is reached only when catching up.
    private static let turnsPerRound = 4

    init(count: Int, of target: Target) {
        self.target = target
        descriptors = Array(repeating: -1, count: count)
    }

    /// Gives their turn to those that are due.
    mutating func turn(at now: UInt64) {
        let due = Int(Double(now - min(now, start)) * Double(descriptors.count) / 1e9)
        var left = Self.turnsPerRound
        while turns < due, left > 0 {
            take(turns % descriptors.count)
            turns += 1
            left -= 1
        }
    }

    private mutating func take(_ index: Int) {
        if descriptors[index] >= 0, isClosed(descriptors[index]) {
            close(descriptors[index])
            descriptors[index] = -1
            reconnects += 1
        }
        guard descriptors[index] < 0 else {
            hasConnected = true
            if index.isMultiple(of: 2) { send(Self.endless, descriptors[index]) }
            return
        }
        let address = target.address
        descriptors[index] = unsafe bench_connect(address.name, address.port, false)
        if descriptors[index] >= 0 { send(Self.head, descriptors[index]) }
    }

    /// What can't be sent is not: these clients have time.
    private func send(_ bytes: [UInt8], _ descriptor: Int32) {
        let flags = Int32(MSG_NOSIGNAL | MSG_DONTWAIT)
        _ = unsafe bytes.withUnsafeBytes {
            // SAFETY: the array's own bytes.
            unsafe Glibc.send(descriptor, $0.baseAddress, $0.count, flags)
        }
    }

    /// Whether the server has refused or closed it.
    private func isClosed(_ descriptor: Int32) -> Bool {
        var byte: UInt8 = 0
        // SAFETY: one byte, for at most one byte.
        let count = unsafe recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT))
        return count >= 0 || errno != EAGAIN
    }
}
