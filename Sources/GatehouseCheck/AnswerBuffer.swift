// Bytes on their way out: one buffer a loop, kept and used again.

import GatehouseCore

/// Where connections' answers are written before they are sent. It grows for a long pipeline and keeps
/// what it has, so that answering allocates nothing. In secret memory: a renewed cookie stays in it until
/// it is written again.
@safe package final class AnswerBuffer {
    /// Room for some forty answers; a pipeline that fills a driver's read takes more.
    private static let initialCapacity = 16 * 1024

    private var base: UnsafeMutablePointer<UInt8>
    private var capacity: Int
    /// Private: accesses that other modules can't make are checked when the program is built.
    private var length = 0
    /// The headers that all answers have alike, with the date, made once a second.
    private let common: UnsafeMutablePointer<UInt8>
    private var commonMade: UnixTime?
    private static let commonText = Array(
        "\r\ncontent-length: 0\r\ncache-control: no-store\r\ndate: ".utf8)
    private static let commonBytes = commonText.count + HTTPDate.byteCount

    package init() {
        capacity = Self.initialCapacity
        // SAFETY: owned by this object and freed in deinit; bytes are read below `length` only.
        unsafe base = SecretMemory.bytes(Self.initialCapacity)
        unsafe common = .allocate(capacity: Self.commonBytes)
        unsafe common.initialize(repeating: 0, count: Self.commonBytes)
    }

    deinit {
        unsafe SecretMemory.free(base)
        unsafe common.deallocate()
    }

    package var count: Int { length }
    package var isEmpty: Bool { length == 0 }

    package func removeAll() { length = 0 }

    /// Lends what was written.
    package func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        unsafe body(UnsafeRawBufferPointer(start: base, count: length))
    }

    /// Dates what is appended from now on.
    func setDate(_ now: UnixTime) {
        guard commonMade != now else { return }
        commonMade = now
        let text = Self.commonText + HTTPDate.format(now)
        precondition(text.count == Self.commonBytes)
        // SAFETY: as many bytes as were allocated.
        for index in text.indices { unsafe common[index] = text[index] }
    }

    func appendCommonHeaders() {
        let size = Self.commonBytes
        // SAFETY: `size` bytes were written by `setDate`; `claim` made room for them.
        unsafe claim(size).update(from: common, count: size)
    }

    /// Makes room for `more` bytes, and gives the place where they go.
    @inline(__always)
    private func claim(_ more: Int) -> UnsafeMutablePointer<UInt8> {
        if length + more > capacity { grow(to: length + more) }
        let place = unsafe base + length
        length += more
        return unsafe place
    }

    @inline(never)
    private func grow(to needed: Int) {
        let larger = max(capacity * 2, needed)
        // SAFETY: `length` bytes are moved to a larger block, which takes the place of the old one.
        let block = unsafe SecretMemory.bytes(larger)
        unsafe block.update(from: base, count: length)
        unsafe SecretMemory.free(base)
        unsafe base = block
        capacity = larger
    }

    @inline(__always)
    func append(_ text: StaticString) {
        // SAFETY: a StaticString lives for ever; `claim` made room for its size.
        let size = text.utf8CodeUnitCount
        unsafe claim(size).update(from: text.utf8Start, count: size)
    }

    func append(_ bytes: Span<UInt8>) {
        unsafe bytes.withUnsafeBufferPointer { source in
            guard let start = source.baseAddress else { return }
            // SAFETY: `claim` made room for the source's size.
            unsafe claim(source.count).update(from: start, count: source.count)
        }
    }

    @inline(__always)
    func append(_ byte: UInt8) { unsafe claim(1).pointee = byte }

    /// Eight lower-case hex digits, the highest first.
    @inline(__always)
    func appendHex(_ value: UInt32) {
        // SAFETY: eight bytes to the room that `claim` made for them.
        unsafe UnsafeMutableRawPointer(claim(8)).storeBytes(
            of: hexDigits(value).bigEndian, as: UInt64.self)
    }

    /// Four lower-case hex digits.
    @inline(__always)
    func appendHex(_ value: UInt16) {
        let digits = UInt32(truncatingIfNeeded: hexDigits(UInt32(value)))
        // SAFETY: four bytes to the room that `claim` made for them.
        unsafe UnsafeMutableRawPointer(claim(4)).storeBytes(of: digits.bigEndian, as: UInt32.self)
    }

    /// Percent-encoded outside RFC 3986's unreserved characters.
    func appendPercentEncoded(_ bytes: Span<UInt8>) {
        // SAFETY: three bytes for each at most are written, which `claim` made room for; the rest of it is
        // given back.
        let place = unsafe claim(bytes.count * 3)
        var written = 0
        for index in bytes.indices {
            let byte = bytes[index]
            if isUnreserved(byte) {
                unsafe place[written] = byte
                written += 1
            } else {
                unsafe place[written] = UInt8(ascii: "%")
                unsafe place[written + 1] = upperHexDigit(byte >> 4)
                unsafe place[written + 2] = upperHexDigit(byte)
                written += 3
            }
        }
        length -= bytes.count * 3 - written
    }

    func appendDecimal(_ value: Int64) {
        var rest = UInt64(clamping: value)
        var digits = 1
        var bound: UInt64 = 10
        while rest >= bound {
            digits += 1
            bound &*= 10
            if digits == 20 { break }
        }
        // SAFETY: as many bytes as `claim` made room for, from the last to the first.
        let place = unsafe claim(digits)
        for index in stride(from: digits - 1, through: 0, by: -1) {
            unsafe place[index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        }
    }
}

private func upperHexDigit(_ value: UInt8) -> UInt8 {
    let nibble = value & 0x0F
    return nibble < 10 ? UInt8(ascii: "0") + nibble : UInt8(ascii: "A") + (nibble - 10)
}

/// The eight hex digits of a number as characters, the highest digit in the highest byte: the nibbles
/// are spread over the bytes, and those above nine move on to the letters.
@inline(__always)
private func hexDigits(_ value: UInt32) -> UInt64 {
    var nibbles = UInt64(value)
    nibbles = (nibbles << 16 | nibbles) & 0x0000_FFFF_0000_FFFF
    nibbles = (nibbles << 8 | nibbles) & 0x00FF_00FF_00FF_00FF
    nibbles = (nibbles << 4 | nibbles) & 0x0F0F_0F0F_0F0F_0F0F
    let letters = ((nibbles &+ 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101
    return nibbles &+ 0x3030_3030_3030_3030 &+ letters &* 0x27
}
