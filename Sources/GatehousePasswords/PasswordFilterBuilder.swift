// Makes a filter of a list of any size, in bounded memory: keys wait on the disk, sorted into 256 files.

import GatehouseCore
import Glibc

/// A file could not be written or read while a filter was made.
package struct PasswordFilterFailure: Error, CustomStringConvertible {
    package let description: String

    init(_ doing: String) { description = "\(doing): \(unsafe String(cString: strerror(errno)))" }

    package init(description: String) { self.description = description }
}

/// Takes lists line by line, and then writes the filter (see `PasswordFilterHeader`).
///
/// It needs 8 bytes a line in files that have no name, in the directory of the filter; and memory for
/// 256 buffers of 16 KiB, and for the keys of one file three times, a tenth of a byte a line.
package struct PasswordFilterBuilder: ~Copyable {
    package enum Format: String, Sendable, CaseIterable {
        /// A password a line.
        case plain
        /// The SHA-1 of a password in hex, and what stands behind a colon, as "Have I Been Pwned" has them.
        case sha1
    }

    /// What became of the lines.
    package struct Counts: Sendable, Equatable {
        package var lines = 0
        /// Those that the filter is made of; the same one may be among them more than once.
        package var taken = 0
        /// Shorter than any account's password can be.
        package var short = 0
        /// Longer than that.
        package var long = 0
        /// Neither valid UTF-8 nor defined characters; or no SHA-1.
        package var invalid = 0
    }

    package private(set) var counts = Counts()
    private let format: Format
    private let exponent: Int
    private let hash: RunningHash
    private let partitions: [KeyFile]
    private var lower = [UInt8](repeating: 0, count: Password.maximumBytes)

    /// - Parameters:
    ///   - directory: where keys wait.
    ///   - exponent: of 2, for the rate of false positives; one of `PasswordFilterHeader.exponents`.
    package init(format: Format, exponent: Int, directory: String) throws {
        precondition(PasswordFilterHeader.exponents.contains(exponent))
        let hash = try RunningHash(.sha1)
        let partitions = try (0..<256).map { _ in try KeyFile(in: directory) }
        self.format = format
        self.exponent = exponent
        self.hash = hash
        self.partitions = partitions
    }

    /// The exponent of the largest rate that is not above `rate`; nil where there is none.
    package static func exponent(falsePositiveRate rate: Double) -> Int? {
        PasswordFilterHeader.exponents.first { 1 / Double(1 << $0) <= rate && rate < 1 }
    }

    /// Takes every line of a file or pipe, and calls `progress` after each mebibyte.
    package mutating func read(_ descriptor: Int32, progress: (Counts) -> Void) throws {
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        var filled = 0
        var isSkipping = false
        while true {
            let size = unsafe buffer.withUnsafeMutableBytes { bytes in
                // SAFETY: a part of the buffer, with its own size.
                let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[filled...])
                return unsafe Glibc.read(descriptor, rest.baseAddress, rest.count)
            }
            if size < 0 && errno == EINTR { continue }
            guard size >= 0 else { throw PasswordFilterFailure("cannot read the list") }
            if size == 0 {
                if filled > 0 && !isSkipping { try take(buffer.span.extracting(0..<filled)) }
                return
            }
            var start = 0
            for index in filled..<(filled + size) where buffer[index] == UInt8(ascii: "\n") {
                if !isSkipping { try take(buffer.span.extracting(start..<index)) }
                isSkipping = false
                start = index + 1
            }
            filled += size
            if start == 0 && filled == buffer.count {
                // A line that fills the buffer is no password; the rest of it is looked at no further.
                if !isSkipping {
                    counts.lines += 1
                    counts.long += 1
                }
                isSkipping = true
                start = filled
            }
            for index in start..<filled { buffer[index - start] = buffer[index] }
            filled -= start
            progress(counts)
        }
    }

    /// Takes one line, without its end.
    package mutating func take(_ line: Span<UInt8>) throws {
        counts.lines += 1
        let hasReturn = line.count > 0 && line[line.count - 1] == UInt8(ascii: "\r")
        let text = line.extracting(0..<(line.count - (hasReturn ? 1 : 0)))
        let key = format == .plain ? try key(ofPassword: text) : key(ofHexadecimal: text)
        guard let key else { return }
        counts.taken += 1
        try partitions[Int(key >> 56)].append(key)
    }

    private mutating func key(ofPassword text: Span<UInt8>) throws -> UInt64? {
        guard text.count <= Password.maximumBytes else {
            counts.long += 1
            return nil
        }
        // Nearly every line is ASCII, which is its own NFC.
        if text.indices.allSatisfy({ text[$0] < 0x80 }) {
            guard text.count >= PasswordPolicy.leastMinimumCodePoints else {
                counts.short += 1
                return nil
            }
            for index in text.indices {
                let isUpper = (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(text[index])
                lower[index] = isUpper ? text[index] | 0x20 : text[index]
            }
            try hash.update(lower.span.extracting(0..<text.count))
        } else {
            let password: Password
            do { password = try Password(text) } catch {
                if error == .tooLong { counts.long += 1 } else { counts.invalid += 1 }
                return nil
            }
            guard password.codePointCount >= PasswordPolicy.leastMinimumCodePoints else {
                counts.short += 1
                return nil
            }
            try password.folded().withSpan { try hash.update($0) }
        }
        return try hash.finish(PasswordFilterHeader.key)
    }

    private mutating func key(ofHexadecimal text: Span<UInt8>) -> UInt64? {
        var key: UInt64 = 0
        for index in 0..<min(40, text.count) {
            guard let digit = Self.digit(text[index]) else { break }
            // What is above the last 16 digits is pushed out.
            key = key << 4 | UInt64(digit)
            if index == 39 && (text.count == 40 || text[40] == UInt8(ascii: ":")) { return key }
        }
        counts.invalid += 1
        return nil
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// Writes the filter to a file that is empty, down to the disk.
    ///
    /// - Returns: what its header says.
    package consuming func write(to descriptor: Int32) throws -> PasswordFilterHeader {
        var entries = 0
        for partition in partitions { entries += try partition.sortAndCount() }
        guard (1...PasswordFilterHeader.maximumEntries).contains(entries) else {
            throw PasswordFilterFailure(
                description: entries == 0
                    ? "no line of the lists can be a password" : "the lists have too many lines")
        }
        let spelling: PasswordFilterHeader.Spelling = format == .plain ? .folded : .leaked
        let draft = PasswordFilterHeader(
            spelling: spelling, exponent: exponent, entries: entries, dataBytes: 0)
        let index = FileWriter(descriptor, at: PasswordFilterHeader.bytes)
        let data = FileWriter(descriptor, at: draft.dataStart)
        var block = 0
        var values: [UInt64] = []
        func end() throws {
            try index.append(
                PasswordFilterHeader.encoded(UInt64(data.position - draft.dataStart)))
            let bytes = RiceBlock.encoded(values, exponent: exponent)
            guard bytes.count <= PasswordFilterHeader.maximumBlockBytes,
                values.count <= Int(UInt16.max)
            else { throw PasswordFilterFailure(description: "the lists' SHA-1 are none") }
            try data.append(bytes)
            values.removeAll(keepingCapacity: true)
            block += 1
        }
        for partition in partitions {
            for key in try partition.keys() {
                let place = draft.place(of: key)
                while block < place.block { try end() }
                values.append(place.value)
            }
        }
        while block < draft.blocks { try end() }
        let header = PasswordFilterHeader(
            spelling: spelling, exponent: exponent, entries: entries,
            dataBytes: data.position - draft.dataStart)
        try index.append(PasswordFilterHeader.encoded(UInt64(header.dataBytes)))
        try index.flush()
        try data.flush()
        let start = FileWriter(descriptor, at: 0)
        try start.append(header.encoded)
        try start.flush()
        try data.append(try FileBytes.sha256(descriptor, count: data.position))
        try data.flush()
        guard fsync(descriptor) == 0 else {
            throw PasswordFilterFailure("cannot write the filter to the disk")
        }
        return header
    }
}

/// Writes bytes one after the other from a place in a file.
private final class FileWriter {
    private static let bufferBytes = 1 << 14

    private let descriptor: Int32
    private var written: Int
    private var buffer: [UInt8] = []

    init(_ descriptor: Int32, at offset: Int) {
        self.descriptor = descriptor
        written = offset
        buffer.reserveCapacity(Self.bufferBytes + 64)
    }

    /// Where the next byte goes.
    var position: Int { written + buffer.count }

    func append(_ bytes: [UInt8]) throws {
        buffer += bytes
        if buffer.count >= Self.bufferBytes { try flush() }
    }

    func append(_ number: UInt64) throws {
        for shift in stride(from: UInt64(56), through: 0, by: -8) {
            buffer.append(UInt8(truncatingIfNeeded: number >> shift))
        }
        if buffer.count >= Self.bufferBytes { try flush() }
    }

    func flush() throws {
        var done = 0
        while done < buffer.count {
            let size = unsafe buffer.withUnsafeBytes { bytes in
                // SAFETY: a part of the buffer, with its own size.
                let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[done...])
                return unsafe pwrite(
                    descriptor, rest.baseAddress, rest.count, off_t(written + done))
            }
            if size < 0 && errno == EINTR { continue }
            guard size > 0 else { throw PasswordFilterFailure("cannot write") }
            done += size
        }
        written += buffer.count
        buffer.removeAll(keepingCapacity: true)
    }
}

/// Keys that wait on the disk, in a file without a name: whatever happens, nothing of it stays.
private final class KeyFile {
    private let descriptor: Int32
    private var writer: FileWriter

    init(in directory: String) throws {
        var template = Array("\(directory)/.gatehouse-keys-XXXXXX".utf8CString)
        descriptor = unsafe template.withUnsafeMutableBufferPointer { name in
            guard let name = name.baseAddress else { return -1 }
            // SAFETY: the name ends with a NUL, and is changed within its own length.
            let descriptor = unsafe mkstemp(name)
            if descriptor >= 0 { unsafe unlink(name) }
            return descriptor
        }
        guard descriptor >= 0 else {
            throw PasswordFilterFailure("cannot make a file in \(directory)")
        }
        writer = FileWriter(descriptor, at: 0)
    }

    deinit { close(descriptor) }

    func append(_ key: UInt64) throws { try writer.append(key) }

    /// Puts the keys in order, each once; says how many there are.
    func sortAndCount() throws -> Int {
        let sorted = try keys().sorted()
        guard ftruncate(descriptor, 0) == 0 else { throw PasswordFilterFailure("cannot write") }
        writer = FileWriter(descriptor, at: 0)
        var last: UInt64?
        var count = 0
        for key in sorted where key != last {
            try writer.append(key)
            last = key
            count += 1
        }
        return count
    }

    func keys() throws -> [UInt64] {
        try writer.flush()
        let bytes = try FileBytes.read(descriptor, at: 0, count: writer.position)
        return stride(from: 0, to: bytes.count, by: 8).map {
            PasswordFilterHeader.number(bytes.span, at: $0)
        }
    }
}
