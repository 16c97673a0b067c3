// Filters: what is in them is found, how much else is, and what happens when the file is not what it was.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Glibc
import Testing

@testable import GatehousePasswords

@Suite(.serialized) struct PasswordFilterTests {
    private let directory = TemporaryDirectory()

    // MARK: What is in it

    @Test func `every entry is found, in any case and normal form, and nothing near it`() throws {
        let entries = [
            "plum over seven ships", "Trustno1 Trustno2", "schöne grüße", "cafe\u{301} au lait",
            "ΑΒΓΔΕΖΗΘ", " leading and trailing ", "tab\tinside it", "\u{1F600}\u{1F601}123456",
        ]
        let filter = try makeFilter(entries.joined(separator: "\n"))
        #expect(filter.header.entries == entries.count)
        #expect(filter.header.spelling == .folded)
        for entry in entries {
            for spelling in [
                entry, entry.uppercased().replacing("SS", with: "ß"), entry.lowercased(),
                entry.decomposedStringWithCanonicalMapping,
            ] {
                #expect(try isListed(spelling, in: filter), "\(spelling)")
            }
            for other in [entry + " ", " " + entry, String(entry.dropLast()), entry + "\n"] {
                #expect(try !isListed(other, in: filter), "\(other)")
            }
        }
    }

    @Test func `a list of SHA-1 is asked for the password as typed and in lower case`() throws {
        // SHA-1 of "password", "Password" and "p\u{E4}ssword-UTF8" (coreutils' sha1sum).
        let filter = try makeFilter(
            """
            5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:9545824
            8be3c943b1609fffbfc51aad666d0a04adf83c9d\r
            5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:9
            """, format: .sha1)
        #expect(filter.header.entries == 2)
        #expect(filter.header.spelling == .leaked)
        #expect(try isListed("password", in: filter))
        #expect(try isListed("PASSWORD", in: filter))
        #expect(try isListed("Password", in: filter))
        #expect(try !isListed("passwore", in: filter))
        let one = try makeFilter("8be3c943b1609fffbfc51aad666d0a04adf83c9d", format: .sha1)
        #expect(try isListed("Password", in: one))
        #expect(try !isListed("password", in: one))
        #expect(try !isListed("PASSWORD", in: one))
    }

    @Test func `lines are counted by what becomes of them`() throws {
        let longest = String(repeating: "x", count: 1024)
        var builder = try makeBuilder(.plain)
        try feed(
            Array("12345678\r\n1234567\n\n".utf8) + Array("\(longest)\n\(longest)x\n".utf8)
                + [0x70, 0xFF, 0x70, 0x0A] + Array("eight\u{378}chars\nпарольпа\nпарольп\n".utf8)
                + Array("last line has no end".utf8), to: &builder)
        #expect(
            builder.counts
                == PasswordFilterBuilder.Counts(lines: 10, taken: 4, short: 3, long: 1, invalid: 2))
        let filter = try finish(builder)
        for taken in ["12345678", longest, "парольпа", "last line has no end"] {
            #expect(try isListed(taken, in: filter))
        }

        var hashes = try makeBuilder(.sha1)
        let good = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8"
        try feed(
            Array(
                "\(good)\n\(good):1\n\(good)0:1\n\(good.dropLast())\n\(good.dropLast())g:1\n\n\(good) 1\n"
                    .utf8), to: &hashes)
        #expect(
            hashes.counts
                == PasswordFilterBuilder.Counts(lines: 7, taken: 2, short: 0, long: 0, invalid: 5))
        _ = consume hashes
    }

    @Test func `a line that is longer than memory is passed over`() throws {
        for size in [1 << 20, (1 << 20) + 1, 3 << 20, (2 << 20) - 1] {
            var builder = try makeBuilder(.plain)
            try feed(
                Array("before it\n".utf8) + [UInt8](repeating: 0x78, count: size)
                    + Array("\nafter it\n".utf8), to: &builder)
            #expect(
                builder.counts
                    == PasswordFilterBuilder.Counts(
                        lines: 3, taken: 2, short: 0, long: 1, invalid: 0), "\(size)")
            let filter = try finish(builder)
            #expect(try isListed("before it", in: filter))
            #expect(try isListed("after it", in: filter))
        }
    }

    @Test func `what is listed twice takes no room, and the order does not matter`() throws {
        let lines = (0..<1000).map { "password number \($0)" }
        let once = try makeFilter(lines.joined(separator: "\n"))
        let thrice = try makeFilter((lines + lines.reversed() + lines).joined(separator: "\n"))
        #expect(once.header == thrice.header)
        #expect(once.header.entries == 1000)
        #expect(try contents("filter-1") == contents("filter-2"))
    }

    @Test func `a list without a password makes no filter`() throws {
        for list in ["", "\n\n", "short\n"] {
            #expect(throws: PasswordFilterFailure.self) { _ = try makeFilter(list) }
        }
    }

    @Test(arguments: Vector.read("password-filters.txt"))
    func `filters of earlier releases are read, and written to the byte`(_ vector: Vector) throws {
        let filter = try PasswordFilter(write(vector.bytes("filter")))
        for number in 1...5 { #expect(try isListed("password number \(number)", in: filter)) }
        for number in 6...50 { #expect(try !isListed("password number \(number)", in: filter)) }
        let isFolded = vector.text("case") == "passwords"
        #expect(try isListed("PASSWORD number 3", in: filter))
        #expect(filter.header.spelling == (isFolded ? .folded : .leaked))
        guard isFolded else { return }
        _ = try makeFilter((1...5).map { "password number \($0)\n" }.joined(), exponent: 10)
        #expect(try contents("filter-1") == vector.bytes("filter"))
    }

    // MARK: Size and false positives

    /// For rates that show in 20,000 others.
    @Test(arguments: [(7, 0.01), (10, 0.001), (12, 0.0003)])
    func `no more than the rate of others is taken for entries, in the space that is claimed`(
        _ exponent: Int, _ rate: Double
    ) async throws {
        #expect(PasswordFilterBuilder.exponent(falsePositiveRate: rate) == exponent)
        let seed: UInt64 = 20_261_124
        var random = SeededGenerator(seed: seed)
        let entries = (0..<12_000).map { _ in String(random.next(), radix: 36) + "entry" }
        let filter = try makeFilter(entries.joined(separator: "\n"), exponent: exponent)
        for entry in entries.prefix(1000) { #expect(try isListed(entry, in: filter)) }
        let others = 20_000
        var found = 0
        for index in 0..<others {
            // Tests beside this one wait for connections.
            if index.isMultiple(of: 256) { await Task.yield() }
            if try isListed(String(random.next(), radix: 36) + "other", in: filter) { found += 1 }
        }
        let expected = Double(others) * filter.header.falsePositiveRate
        // Five standard deviations to each side; fewer would be as wrong as more.
        #expect(abs(Double(found) - expected) <= 5 * expected.squareRoot(), "\(found) of \(others)")
        let bits = Double(8 * filter.header.fileBytes) / 12_000
        #expect(bits < Double(exponent) + 2, "\(bits) bits an entry")
    }

    @Test func `the exponent is the smallest that keeps the rate`() {
        func exponent(_ rate: Double) -> Int? {
            PasswordFilterBuilder.exponent(falsePositiveRate: rate)
        }
        #expect(exponent(0.00001) == 17)
        #expect(exponent(1.0 / 128) == 7)
        #expect(exponent(0.99) == 7)
        #expect(exponent(1.0 / 129) == 8)
        #expect(exponent(1e-9) == 30)
        #expect(exponent(9e-10) == nil)
        for rate in [1, 2, 0, -0.1, Double.nan, .infinity] { #expect(exponent(rate) == nil) }
    }

    // MARK: Files that are not what they were

    @Test func `a file that is cut anywhere is refused`() throws {
        let whole = try madeFile()
        for size in Array(0...130) + Array(stride(from: 131, to: whole.count, by: 97))
            + [whole.count - 33, whole.count - 32, whole.count - 31, whole.count - 1]
        {
            #expect(throws: PasswordListUnreadable.self, "\(size) bytes") {
                _ = try PasswordFilter(write(Array(whole.prefix(size))))
            }
        }
        #expect(throws: PasswordListUnreadable.self) {
            _ = try PasswordFilter(write(whole + [0]))
        }
        _ = try PasswordFilter(write(whole))
    }

    @Test func `a file with one bit turned is refused, wherever it is`() throws {
        let whole = try madeFile()
        for place in Array(0..<80) + Array(stride(from: 80, to: whole.count, by: 53))
            + [whole.count - 32, whole.count - 1]
        {
            var file = whole
            file[place] ^= 1 << UInt8(place % 8)
            #expect(throws: PasswordListUnreadable.self, "byte \(place)") {
                _ = try PasswordFilter(write(file))
            }
        }
    }

    @Test func `a header of numbers that overflow is refused before anything is read`() throws {
        let whole = try madeFile()
        let numbers: [UInt64] = [
            0, 1, 1 << 31, 1 << 32, (1 << 32) + 1, 1 << 56, 1 << 60, 1 << 61, 1 << 63, .max - 7,
            .max,
        ]
        for place in [24, 32, 40] {
            let own = PasswordFilterHeader.number(whole.span, at: place)
            for number in numbers where number != own {
                var file = whole
                file.replaceSubrange(
                    place..<(place + 8), with: PasswordFilterHeader.encoded(number))
                #expect(throws: PasswordListUnreadable.self, "\(number) at \(place)") {
                    _ = try PasswordFilter(write(signed(file)))
                }
            }
        }
        for (place, bytes) in [
            (16, [0, 2, 255]), (17, [0, 3]), (18, [0, 6, 31, 255]), (23, [1]),
        ] {
            for byte in bytes {
                var file = whole
                file[place] = UInt8(byte)
                #expect(throws: PasswordListUnreadable.self, "\(byte) at \(place)") {
                    _ = try PasswordFilter(write(signed(file)))
                }
            }
        }
    }

    /// With the right checksum, so that only look-ups can notice.
    @Test func `an index or a block that makes no sense is an error, and nothing else`() throws {
        let whole = try madeFile()
        let random = SeededGenerator(seed: 7)
        for index in [UInt64.max, 1 << 40, 70_000, 1] {
            var file = whole
            file.replaceSubrange(48..<56, with: PasswordFilterHeader.encoded(index))
            let filter = try PasswordFilter(write(signed(file)))
            var failures = 0
            for number in 0..<200 {
                do { _ = try isListed("password number \(number)", in: filter) } catch {
                    #expect(error is PasswordListUnreadable)
                    failures += 1
                }
            }
            #expect(failures > 0 || index == 1)
        }
        var generator = random
        let filter = try PasswordFilter(write(whole))
        for _ in 0..<100 {
            var file = whole
            for place in 48..<(file.count - 32) {
                if UInt8.random(in: 0...9, using: &generator) == 0 {
                    file[place] = UInt8.random(in: 0...255, using: &generator)
                }
            }
            let damaged = try PasswordFilter(write(signed(file)))
            for number in 0..<20 {
                // Yes, no or an error; never a crash.
                _ = try? isListed("password number \(number)", in: damaged)
            }
        }
        #expect(try isListed("password number 3", in: filter))
    }

    @Test(arguments: [
        [], [0], [0, 1], [0, 1, 0xFF, 0xFF], [0xFF, 0xFF] + Array(repeating: 0, count: 9),
    ])
    func `a block that ends too early is an error`(_ block: [UInt8]) {
        #expect(throws: PasswordListUnreadable.self) {
            _ = try RiceBlock.contains(1 << 40, in: block.span, exponent: 7)
        }
    }

    @Test func `a block holds exactly its values`() throws {
        var random = SeededGenerator(seed: 11)
        for exponent in [7, 17, 30] {
            let values = (0..<300).map { _ in
                UInt64.random(in: 0..<(256 << UInt64(exponent)), using: &random)
            }
            let all = ([0, (256 << UInt64(exponent)) - 1] + values).sorted()
            let block = RiceBlock.encoded(all + [all[301]], exponent: exponent)
            for value in all {
                #expect(try RiceBlock.contains(value, in: block.span, exponent: exponent))
                let isNext = all.contains(value + 1)
                #expect(
                    try RiceBlock.contains(value + 1, in: block.span, exponent: exponent) == isNext)
            }
        }
    }

    @Test func `what is no file is refused`() throws {
        let pipe = directory.path + "/pipe"
        #expect(unsafe mkfifo(pipe, 0o600) == 0)
        for path in [directory.path + "/nothing", directory.path, pipe, "/dev/zero"] {
            #expect(throws: PasswordListUnreadable.self) { _ = try PasswordFilter(path) }
        }
    }

    @Test func `a file cut short while it is open is an error, and one renamed away stays`() throws
    {
        let path = try write(madeFile())
        let filter = try PasswordFilter(path)
        #expect(unsafe rename(path, path + ".old") == 0)
        #expect(try isListed("password number 7", in: filter))
        #expect(unsafe truncate(path + ".old", 100) == 0)
        #expect(throws: PasswordListUnreadable("it is shorter than it was")) {
            _ = try isListed("password number 7", in: filter)
        }
    }

    // MARK: Making

    private func makeBuilder(
        _ format: PasswordFilterBuilder.Format, exponent: Int = 17
    ) throws -> PasswordFilterBuilder {
        try PasswordFilterBuilder(format: format, exponent: exponent, directory: directory.path)
    }

    private func feed(_ bytes: [UInt8], to builder: inout PasswordFilterBuilder) throws {
        let path = try write(bytes)
        let descriptor = unsafe open(path, O_RDONLY)
        defer { close(descriptor) }
        try builder.read(descriptor) { _ in }
    }

    private func finish(_ builder: consuming PasswordFilterBuilder) throws -> PasswordFilter {
        let number = try FileManager.default.contentsOfDirectory(atPath: directory.path)
            .count { $0.hasPrefix("filter-") }
        let path = directory.path + "/filter-\(number + 1)"
        let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
        defer { close(descriptor) }
        let header = try builder.write(to: descriptor)
        let filter = try PasswordFilter(path)
        #expect(filter.header == header)
        return filter
    }

    private func makeFilter(
        _ list: String, format: PasswordFilterBuilder.Format = .plain, exponent: Int = 17
    ) throws -> PasswordFilter {
        var builder = try makeBuilder(format, exponent: exponent)
        try feed(Array(list.utf8), to: &builder)
        return try finish(builder)
    }

    /// A filter of a thousand entries, four blocks.
    private func madeFile() throws -> [UInt8] {
        _ = try makeFilter((0..<1000).map { "password number \($0)" }.joined(separator: "\n"))
        return try contents("filter-1")
    }

    /// The file with the checksum that belongs to it.
    private func signed(_ file: [UInt8]) throws -> [UInt8] {
        let covered = Array(file.dropLast(32))
        return covered + (try sha256(covered.span))
    }

    private func contents(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(filePath: directory.path + "/" + name)))
    }

    private func write(_ bytes: [UInt8]) throws -> String {
        let path = directory.path + "/written"
        try Data(bytes).write(to: URL(filePath: path), options: .atomic)
        return path
    }

    private func isListed(_ text: String, in list: some PasswordList) throws -> Bool {
        let password = try Password(Array(text.utf8).span)
        return try password.folded().withSpan { folded throws(PasswordListUnreadable) in
            try password.withSpan { typed throws(PasswordListUnreadable) in
                try list.contains(typed, folded: folded)
            }
        }
    }
}
