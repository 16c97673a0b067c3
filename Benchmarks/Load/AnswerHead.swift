// Reads the head of an HTTP answer, as far as the load has to know it.

import Glibc

/// Status and sizes of one answer. It is read the same way whoever the server is: the order and the
/// spelling of headers differ from server to server.
struct AnswerHead: Equatable {
    let status: Int
    /// Up to and with the empty line.
    let headBytes: Int
    /// What `content-length` says; 0 without one, which only a 204 or 304 may leave out.
    let bodyBytes: Int

    /// All of the answer.
    var byteCount: Int { headBytes + bodyBytes }
}

enum AnswerScan: Equatable {
    /// The empty line has not come yet.
    case incomplete
    case malformed
    case head(AnswerHead)

    /// No head of ours or of a peer is near this size; a longer one is no answer.
    static let maximumHeadBytes = 8192

    // "HTTP/1.1 200"
    private static let version = Array("HTTP/1.1 ".utf8)
    private static let statusEnd = 12
    private static let contentLength = Array("content-length:".utf8)

    /// Reads the answer that begins at the first of `bytes`.
    static func scan(_ bytes: Span<UInt8>) -> AnswerScan {
        guard bytes.count >= statusEnd else { return .incomplete }
        for index in version.indices where bytes[index] != version[index] { return .malformed }
        var status = 0
        for index in version.count..<statusEnd {
            guard let digit = digit(bytes[index]) else { return .malformed }
            status = status * 10 + digit
        }
        var length: Int?
        var lineStart = statusEnd
        while let lineEnd = lineFeed(in: bytes, from: lineStart) {
            guard bytes[lineEnd - 1] == UInt8(ascii: "\r") else { return .malformed }
            if lineEnd - 1 == lineStart {
                guard length != nil || status == 204 || status == 304 else { return .malformed }
                return .head(
                    AnswerHead(status: status, headBytes: lineEnd + 1, bodyBytes: length ?? 0))
            }
            if isContentLength(bytes, at: lineStart, before: lineEnd) {
                guard length == nil,
                    let value = number(bytes, lineStart + contentLength.count, lineEnd - 1)
                else { return .malformed }
                length = value
            }
            lineStart = lineEnd + 1
        }
        return bytes.count > maximumHeadBytes ? .malformed : .incomplete
    }

    private static func digit(_ byte: UInt8) -> Int? {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            ? Int(byte - UInt8(ascii: "0")) : nil
    }

    private static func lineFeed(in bytes: Span<UInt8>, from start: Int) -> Int? {
        unsafe bytes.withUnsafeBytes { buffer in
            // SAFETY: the search stays within the span's own bytes; `start` is at most their count.
            guard let base = buffer.baseAddress,
                let found = unsafe memchr(
                    base + start, Int32(UInt8(ascii: "\n")), buffer.count - start)
            else { return nil }
            return unsafe UnsafeRawPointer(found) - base
        }
    }

    private static func isContentLength(
        _ bytes: Span<UInt8>, at start: Int, before end: Int
    ) -> Bool {
        guard end - start > contentLength.count else { return false }
        // Letters of either case: the bit that differs is set.
        for index in contentLength.indices
        where bytes[start + index] | 0x20 != contentLength[index] | 0x20 { return false }
        return true
    }

    /// The digits between `start` and `end`, with spaces before them.
    private static func number(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> Int? {
        var value: Int?
        for index in start..<end {
            if bytes[index] == UInt8(ascii: " "), value == nil { continue }
            // More than any body here: refused before it can overflow.
            guard let digit = digit(bytes[index]), (value ?? 0) < 1_000_000 else { return nil }
            value = (value ?? 0) * 10 + digit
        }
        return value
    }
}
