// One connection to a server, plain or TLS, as system calls.

import CBenchmark
import Foundation
import Glibc

/// A socket of the load. Owned by this object and closed with it.
@safe final class Wire {
    enum Received {
        case bytes(Int)
        /// Nothing for now.
        case wait
        case closed
    }

    let descriptor: Int32
    /// An SSL of libssl; lives as long as the process does.
    private let tls: UnsafeMutableRawPointer?

    /// How long a blocking receive waits: longer than any answer may take.
    static let timeoutSeconds: Int32 = 10

    /// Connects, and with `security` shakes hands, before it returns.
    init(_ target: Target, security: TLSContext? = nil) throws {
        let address = target.address
        descriptor = unsafe bench_connect(address.name, address.port, true)
        guard descriptor >= 0 else {
            throw BenchmarkFailure("cannot connect to \(address.name): errno \(errno)")
        }
        bench_set_timeout(descriptor, Self.timeoutSeconds)
        if let security {
            guard let tls = unsafe security.connect(descriptor) else {
                throw BenchmarkFailure("no TLS handshake with \(address.name)")
            }
            unsafe self.tls = tls
        } else {
            unsafe tls = nil
        }
    }

    deinit { close(descriptor) }

    func makeNonblocking() { bench_set_nonblocking(descriptor) }

    /// Receives into what is left of `buffer` behind `start`.
    func receive(into buffer: inout [UInt8], from start: Int) -> Received {
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            // SAFETY: the buffer's own room behind `start`, which is within it.
            let base = unsafe bytes.baseAddress?.advanced(by: start)
            return if let tls = unsafe tls {
                unsafe bench_tls_receive(tls, base, bytes.count - start)
            } else {
                unsafe recv(descriptor, base, bytes.count - start, 0)
            }
        }
        if count > 0 { return .bytes(count) }
        return count < 0 && (errno == EAGAIN || errno == EINTR) ? .wait : .closed
    }

    /// Sends `range` of `bytes`; says how many it took.
    func send(_ bytes: [UInt8], _ range: Range<Int>) -> Received {
        let count = unsafe bytes.withUnsafeBytes { buffer in
            // SAFETY: `range` is within the bytes.
            let base = unsafe buffer.baseAddress?.advanced(by: range.lowerBound)
            return if let tls = unsafe tls {
                unsafe bench_tls_send(tls, base, range.count)
            } else {
                unsafe Glibc.send(descriptor, base, range.count, Int32(MSG_NOSIGNAL))
            }
        }
        if count > 0 { return .bytes(count) }
        return count < 0 && (errno == EAGAIN || errno == EINTR) ? .wait : .closed
    }

    /// Whether the connection is open and silent.
    var isIdle: Bool {
        var byte: UInt8 = 0
        // SAFETY: one byte, for at most one byte.
        let count = unsafe recv(
            descriptor, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT))
        return count < 0 && errno == EAGAIN
    }

    /// Sends `request` and waits for the whole answer: for set-up, never while measuring.
    func exchange(_ request: [UInt8]) throws -> (head: AnswerHead, bytes: [UInt8]) {
        var sent = 0
        while sent < request.count {
            guard case .bytes(let count) = send(request, sent..<request.count) else {
                throw BenchmarkFailure("the server closed the connection")
            }
            sent += count
        }
        var buffer = [UInt8](repeating: 0, count: 65_536)
        var filled = 0
        while true {
            guard filled < buffer.count,
                case .bytes(let count) = receive(into: &buffer, from: filled)
            else { throw BenchmarkFailure("no answer, or one without an end") }
            filled += count
            switch AnswerScan.scan(buffer.span.extracting(0..<filled)) {
            case .incomplete: continue
            case .malformed: throw BenchmarkFailure("not an answer: \(excerpt(buffer[..<filled]))")
            case .head(let head):
                if filled >= head.byteCount { return (head, Array(buffer[..<head.byteCount])) }
            }
        }
    }
}

/// What TLS connections have in common: whom they trust.
@safe final class TLSContext {
    /// Lives as long as the process.
    private let context: UnsafeMutableRawPointer

    init(authorities: String) throws {
        guard let context = unsafe bench_tls_context(authorities) else {
            throw BenchmarkFailure("cannot read the authorities in \(authorities)")
        }
        unsafe self.context = context
    }

    /// The development certificate is made for this name (Certs/make-certs).
    static let host = "localhost"

    fileprivate func connect(_ descriptor: Int32) -> UnsafeMutableRawPointer? {
        unsafe bench_tls_connect(context, descriptor, Self.host)
    }
}

/// The beginning of what a server sent, for an error's text.
func excerpt(_ bytes: some Sequence<UInt8>) -> String {
    String(decoding: Array(bytes).prefix(200), as: UTF8.self)
        .replacingOccurrences(of: "\r\n", with: "⏎")
}

/// Nanoseconds of the monotonic clock.
func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    // SAFETY: writes the one value that it is given.
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
