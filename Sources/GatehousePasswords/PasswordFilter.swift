// A compact list of passwords in a file: its format, and how it is asked.

package import GatehouseCore
import Glibc

/// What the first bytes of a filter say. Numbers are big endian.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 16 | `gatehouse-filter` |
/// | 16 | 1 | version, 1 |
/// | 17 | 1 | what its keys were made of: 1 passwords in NFC and lower case, 2 passwords as they leaked |
/// | 18 | 1 | *k*, 7 to 30: at most one of 2^*k* other passwords is taken for one of the list |
/// | 19 | 5 | 0 |
/// | 24 | 8 | *n*, entries, 1 to 2^32 |
/// | 32 | 8 | *b*, blocks: *n* / 256, rounded up |
/// | 40 | 8 | *d*, bytes of all blocks |
/// | 48 | 8 (*b* + 1) | where each block starts among the blocks, and where the last one ends |
/// | | *d* | the blocks |
/// | | 32 | SHA-256 of everything before |
///
/// The key of a password is the last 8 bytes of its SHA-1. The upper 64 bits of key × *b* are the number of
/// its block, the next 8 + *k* its value there. A block is the number of its values (2 bytes), and its values in
/// rising order, each as its distance from the one before, less one (from -1 for the first), in a Rice code:
/// the distance's part above the lowest *k* bits as that many ones and a zero, and then those *k* bits; bits
/// fill bytes from the highest. So an entry takes *k* + 1.5 bits, and its block 0.3 more.
package struct PasswordFilterHeader: Equatable, Sendable {
    package enum Spelling: UInt8, Sendable {
        /// NFC and lower case: one entry stands for all its cases.
        case folded = 1
        /// As leaked: a password is looked up as typed, and in lower case.
        case leaked = 2
    }

    static let magic = Array("gatehouse-filter".utf8)
    static let version: UInt8 = 1
    static let bytes = 48
    static let checksumBytes = 32
    /// Entries in a block, on average: it takes two reads and 700 bytes to look one up.
    static let blockEntries = 256
    /// Four times all passwords that are known to have leaked. With 30 bits more, a key's 64 suffice.
    package static let maximumEntries = 1 << 32
    package static let exponents = 7...30
    /// No block of hashes comes near; what is larger was not made by us.
    static let maximumBlockBytes = 65_536

    package let spelling: Spelling
    /// At most one of 2^this many other passwords is taken for one of the list.
    package let exponent: Int
    package let entries: Int
    let dataBytes: Int

    var blocks: Int { (entries + Self.blockEntries - 1) / Self.blockEntries }
    var dataStart: Int { Self.bytes + 8 * (blocks + 1) }
    package var fileBytes: Int { dataStart + dataBytes + Self.checksumBytes }

    package var falsePositiveRate: Double { 1 / Double(1 << exponent) }

    init(spelling: Spelling, exponent: Int, entries: Int, dataBytes: Int) {
        self.spelling = spelling
        self.exponent = exponent
        self.entries = entries
        self.dataBytes = dataBytes
    }

    /// Reads a header that anybody may have written.
    init(_ bytes: Span<UInt8>, fileBytes: Int) throws(PasswordListUnreadable) {
        guard bytes.count == Self.bytes,
            Self.magic.indices.allSatisfy({ bytes[$0] == Self.magic[$0] })
        else { throw PasswordListUnreadable("it is not a password filter") }
        guard bytes[16] == Self.version else {
            throw PasswordListUnreadable("it has version \(bytes[16]), and this is for version 1")
        }
        let numbers = [24, 32, 40].map { Self.number(bytes, at: $0) }
        guard let spelling = Spelling(rawValue: bytes[17]),
            Self.exponents.contains(Int(bytes[18])), (19..<24).allSatisfy({ bytes[$0] == 0 }),
            (1...UInt64(Self.maximumEntries)).contains(numbers[0]),
            numbers[2] <= UInt64(max(fileBytes, 0))
        else { throw PasswordListUnreadable("it is damaged: its header makes no sense") }
        self.init(
            spelling: spelling, exponent: Int(bytes[18]), entries: Int(numbers[0]),
            dataBytes: Int(numbers[2]))
        guard numbers[1] == UInt64(blocks), self.fileBytes == fileBytes else {
            throw PasswordListUnreadable("it is damaged: its size is not what its header says")
        }
    }

    var encoded: [UInt8] {
        Self.magic + [Self.version, spelling.rawValue, UInt8(exponent), 0, 0, 0, 0, 0]
            + [entries, blocks, dataBytes].flatMap { Self.encoded(UInt64($0)) }
    }

    static func encoded(_ number: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: number >> (56 - 8 * UInt64($0))) }
    }

    static func number(_ bytes: Span<UInt8>, at place: Int) -> UInt64 {
        (0..<8).reduce(0) { $0 << 8 | UInt64(bytes[place + $1]) }
    }

    /// The key of a SHA-1: its end, because lists are handed out by its start.
    static func key(_ sha1: Span<UInt8>) -> UInt64 { number(sha1, at: 12) }

    /// Where a key belongs. Keys in rising order have places in rising order.
    func place(of key: UInt64) -> (block: Int, value: UInt64) {
        let product = key.multipliedFullWidth(by: UInt64(blocks))
        return (Int(product.high), product.low >> UInt64(56 - exponent))
    }
}

/// A filter, open to be asked.
///
/// The file is not mapped into memory: two small reads answer a question, the operating system keeps what
/// is asked for often, and a file that is cut short under our hands is an error and not a SIGBUS. Replace a
/// filter by renaming another one to its name, as `gatehouse passwords filter build` does; the one that is
/// open stays what it was.
package final class PasswordFilter: PasswordList {
    package let header: PasswordFilterHeader
    private let descriptor: Int32

    /// Opens a filter, and reads the whole of it once to compare its checksum: about a second a gigabyte.
    package init(_ path: String) throws(PasswordListUnreadable) {
        // Without O_NONBLOCK a pipe would keep us waiting.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            throw PasswordListUnreadable(
                errno == ENOENT ? "there is no such file" : "it can't be opened: errno \(errno)")
        }
        do throws(PasswordListUnreadable) {
            var status = stat()
            guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
                throw PasswordListUnreadable("it is not a regular file")
            }
            let bytes = try FileBytes.read(
                descriptor, at: 0, count: min(Int(status.st_size), PasswordFilterHeader.bytes))
            header = try PasswordFilterHeader(bytes.span, fileBytes: Int(status.st_size))
            let covered = header.fileBytes - PasswordFilterHeader.checksumBytes
            let checksum = try FileBytes.read(
                descriptor, at: covered, count: PasswordFilterHeader.checksumBytes)
            guard try FileBytes.sha256(descriptor, count: covered) == checksum else {
                throw PasswordListUnreadable("it is damaged: its checksum is wrong")
            }
        } catch {
            close(descriptor)
            throw error
        }
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    package func contains(
        _ typed: Span<UInt8>, folded: Span<UInt8>
    ) throws(PasswordListUnreadable) -> Bool {
        if try contains(Self.key(of: folded)) { return true }
        guard header.spelling == .leaked else { return false }
        return try contains(Self.key(of: typed))
    }

    private static func key(of password: Span<UInt8>) throws(PasswordListUnreadable) -> UInt64 {
        do throws(LibCryptoError) {
            let hash = try RunningHash(.sha1)
            try hash.update(password)
            return try hash.finish(PasswordFilterHeader.key)
        } catch { throw PasswordListUnreadable("libcrypto failed: \(error.operation)") }
    }

    private func contains(_ key: UInt64) throws(PasswordListUnreadable) -> Bool {
        let (block, value) = header.place(of: key)
        let offsets = try FileBytes.read(
            descriptor, at: PasswordFilterHeader.bytes + 8 * block, count: 16)
        let start = PasswordFilterHeader.number(offsets.span, at: 0)
        let end = PasswordFilterHeader.number(offsets.span, at: 8)
        guard start <= end, end <= UInt64(header.dataBytes),
            end - start <= UInt64(PasswordFilterHeader.maximumBlockBytes)
        else { throw PasswordListUnreadable("it is damaged: its index makes no sense") }
        let bytes = try FileBytes.read(
            descriptor, at: header.dataStart + Int(start), count: Int(end - start))
        return try RiceBlock.contains(value, in: bytes.span, exponent: header.exponent)
    }
}

/// The values of one block (see `PasswordFilterHeader`).
enum RiceBlock {
    /// Encodes values in rising order; of equal ones, one stays.
    static func encoded(_ values: [UInt64], exponent: Int) -> [UInt8] {
        var bytes: [UInt8] = [0, 0]
        var (bits, free) = (UInt8(0), 8)
        func append(_ bit: UInt64) {
            bits = bits << 1 | UInt8(bit)
            free -= 1
            if free == 0 {
                bytes.append(bits)
                (bits, free) = (0, 8)
            }
        }
        var next: UInt64 = 0
        var count = 0
        for value in values where value >= next {
            let distance = value - next
            for _ in 0..<(distance >> UInt64(exponent)) { append(1) }
            append(0)
            for bit in (0..<UInt64(exponent)).reversed() { append(distance >> bit & 1) }
            next = value + 1
            count += 1
        }
        while free < 8 { append(0) }
        bytes[0] = UInt8(truncatingIfNeeded: count >> 8)
        bytes[1] = UInt8(truncatingIfNeeded: count)
        return bytes
    }

    /// Whether `value` is in a block that anybody may have written.
    static func contains(
        _ value: UInt64, in block: Span<UInt8>, exponent: Int
    ) throws(PasswordListUnreadable) -> Bool {
        let damaged = PasswordListUnreadable("it is damaged: a block makes no sense")
        guard block.count >= 2 else { throw damaged }
        var place = 16
        func bit() throws(PasswordListUnreadable) -> UInt64 {
            guard place < 8 * block.count else { throw damaged }
            defer { place += 1 }
            return UInt64(block[place / 8] >> UInt8(7 - place % 8) & 1)
        }
        var next: UInt64 = 0
        for _ in 0..<(Int(block[0]) << 8 | Int(block[1])) {
            // Neither can overflow: a block has too few bits.
            var distance: UInt64 = 0
            while try bit() == 1 { distance += 1 }
            for _ in 0..<exponent { distance = distance << 1 | (try bit()) }
            next += distance
            if next >= value { return next == value }
            next += 1
        }
        return false
    }
}

/// Reads of a file that say exactly what they read.
enum FileBytes {
    static func read(
        _ descriptor: Int32, at offset: Int, count: Int
    ) throws(PasswordListUnreadable) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        try read(descriptor, at: offset, count: count, into: &bytes)
        return bytes
    }

    /// Fills the first `count` of `bytes`.
    private static func read(
        _ descriptor: Int32, at offset: Int, count: Int, into bytes: inout [UInt8]
    ) throws(PasswordListUnreadable) {
        var done = 0
        while done < count {
            let result = unsafe bytes.withUnsafeMutableBytes { buffer in
                // SAFETY: a part of the buffer, with its own size.
                let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done..<count])
                return unsafe pread(
                    descriptor, rest.baseAddress, rest.count, off_t(offset + done))
            }
            if result < 0 && errno == EINTR { continue }
            guard result > 0 else {
                throw PasswordListUnreadable(
                    result == 0 ? "it is shorter than it was" : "it can't be read: errno \(errno)")
            }
            done += result
        }
    }

    /// The SHA-256 of the first `count` bytes.
    static func sha256(
        _ descriptor: Int32, count: Int
    ) throws(PasswordListUnreadable) -> [UInt8] {
        var piece = [UInt8](repeating: 0, count: 1 << 20)
        do {
            let hash = try RunningHash(.sha256)
            for offset in stride(from: 0, to: count, by: piece.count) {
                let size = min(piece.count, count - offset)
                try read(descriptor, at: offset, count: size, into: &piece)
                try hash.update(piece.span.extracting(0..<size))
            }
            return try hash.finish { digest in digest.indices.map { digest[$0] } }
        } catch let error as PasswordListUnreadable { throw error } catch {
            throw PasswordListUnreadable("libcrypto failed")
        }
    }
}
