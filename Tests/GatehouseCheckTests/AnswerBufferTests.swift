// The buffer of answers: numbers, dates and growth.

import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseCheck

@Suite struct AnswerBufferTests {
    private func text(_ write: (AnswerBuffer) -> Void) -> String {
        let buffer = AnswerBuffer()
        write(buffer)
        return String(decoding: buffer.bytes, as: UTF8.self)
    }

    @Test func `what is written is kept while the buffer grows`() {
        let buffer = AnswerBuffer()
        var expected: [UInt8] = []
        for index in 0..<30_000 {
            let byte = UInt8(truncatingIfNeeded: index &* 31)
            buffer.append(byte)
            expected.append(byte)
        }
        #expect(buffer.count == 30_000)
        #expect(buffer.bytes == expected)
        // One piece that is longer than twice the room that there is.
        let piece = (0..<200_000).map { UInt8(truncatingIfNeeded: $0) }
        buffer.append(piece.span)
        #expect(buffer.bytes == expected + piece)
        buffer.removeAll()
        #expect(buffer.isEmpty)
        #expect(buffer.bytes == [])
        buffer.append("again")
        buffer.append([UInt8]().span)
        #expect(buffer.bytes == Array("again".utf8))
    }

    @Test func `a buffer takes exactly the room that it has`() {
        for count in [16_383, 16_384, 16_385] {
            let buffer = AnswerBuffer()
            let bytes = [UInt8](repeating: 7, count: count)
            buffer.append(bytes.span)
            buffer.append(8)
            #expect(buffer.bytes == bytes + [8])
        }
    }

    @Test func `hex has all its digits, in lower case`() {
        var generator = SeededGenerator()
        let words: [UInt32] =
            [0, 1, 9, 10, 15, 16, 0x9A, 0x0123_4567, 0x89AB_CDEF, 0x9999_9999, 0xAAAA_AAAA, .max]
            + (0..<500).map { _ in .random(in: 0 ... .max, using: &generator) }
        for word in words {
            let digits = String(word, radix: 16)
            let padded = String(repeating: "0", count: 8 - digits.count) + digits
            #expect(text { $0.appendHex(word) } == padded)
            let half = UInt16(truncatingIfNeeded: word)
            #expect(text { $0.appendHex(half) } == padded.suffix(4))
        }
    }

    @Test func `a number is written as it is, and one below zero as zero`() {
        var numbers: [Int64] = [0, 1, 9, .max, .max - 1]
        var power: Int64 = 1
        while power <= .max / 10 {
            power *= 10
            numbers += [power - 1, power, power + 1]
        }
        for number in numbers { #expect(text { $0.appendDecimal(number) } == "\(number)") }
        for number in [-1, .min] as [Int64] { #expect(text { $0.appendDecimal(number) } == "0") }
    }

    @Test func `the date is that of the last setting`() {
        let buffer = AnswerBuffer()
        func headers(at seconds: Int64) -> String {
            buffer.removeAll()
            buffer.setDate(time(seconds))
            buffer.appendCommonHeaders()
            return String(decoding: buffer.bytes, as: UTF8.self)
        }
        let start = "\r\ncontent-length: 0\r\ncache-control: no-store\r\ndate: "
        for _ in 0..<2 {
            #expect(headers(at: 784_111_777) == start + "Sun, 06 Nov 1994 08:49:37 GMT")
        }
        #expect(headers(at: 784_111_778) == start + "Sun, 06 Nov 1994 08:49:38 GMT")
        #expect(headers(at: 0) == start + "Thu, 01 Jan 1970 00:00:00 GMT")
    }
}
