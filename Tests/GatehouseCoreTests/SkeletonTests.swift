// Skeletons: names that look alike have one, and it is the same however often it is taken.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct SkeletonTests {
    @Test(arguments: [
        ("admin", "\u{0430}dmin"),  // Cyrillic a
        ("paypa", "\u{0440}\u{0430}\u{0443}\u{0440}\u{0430}"),  // Cyrillic throughout
        ("irmak", "\u{0131}rmak"),  // dotless i
        ("modern", "rnodern"), ("adm1n", "admln"), ("r00t", "root"), ("o0o", "0o0"),
        ("\u{03BF}\u{03C1}", "op"),  // Greek
        ("zoe\u{0308}", "zo\u{00EB}"),  // one name in two normal forms
        ("\u{05E1}", "o"),  // Hebrew samekh
        ("lo", "\u{05E1}\u{05D5}"),  // Hebrew, in the order in which it is shown
    ])
    func `names that look alike have one skeleton`(left: String, right: String) {
        #expect(username(left).skeleton == username(right).skeleton)
    }

    @Test(arguments: [
        ("ada", "adam"), ("stra\u{00DF}e", "strasse"), ("zoe", "zo\u{00EB}"), ("ab", "ba"),
        ("\u{03C3}\u{03B1}\u{03C2}", "\u{03C3}\u{03B1}\u{03C3}"),  // final sigma
        ("a.b", "a-b"), ("a_b", "a-b"), ("5", "s"), ("ol", "\u{05E1}\u{05D5}"),
    ])
    func `names that can be told apart have two`(left: String, right: String) {
        #expect(username(left).skeleton != username(right).skeleton)
    }

    @Test func `a skeleton of a skeleton is itself, for every letter there is`() async throws {
        var names = 0
        var longest = 0
        for value in UInt32(0)...0x2FA1F {
            // Ideographs and Hangul syllables are many, and much the same.
            switch value {
            case 0x3400...0x9FFF, 0xAC00...0xD7A3, 0x20000...0x2FA1F:
                guard value.isMultiple(of: 64) else { continue }
            default: break
            }
            // Others want to run as well.
            if value.isMultiple(of: 512) { await Task.yield() }
            guard let scalar = Unicode.Scalar(value),
                scalar.isASCII || scalar.properties.isAlphabetic
                    || scalar.properties.numericType != nil,
                let name = try? Username(String(scalar))
            else { continue }
            names += 1
            longest = max(longest, name.skeleton.count / name.utf8.count)
            if let again = again(name) {
                #expect(again == name.skeleton, "U+\(String(value, radix: 16))")
            }
        }
        #expect(names > 10_000)
        #expect(longest * 2 < Username.maximumSkeletonExpansion, "room for the longest name")
    }

    @Test func `a skeleton of a skeleton is itself, for names of many letters`() async throws {
        var random = SeededGenerator()
        var names = 0
        var taken = 0
        while names < 3000 {
            if names.isMultiple(of: 64) { await Task.yield() }
            var text = String.UnicodeScalarView()
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                // Half from the first letters of the table: they meet more often.
                let highest: UInt32 = Bool.random(using: &random) ? 0x600 : 0x30000
                guard
                    let scalar = Unicode.Scalar(UInt32.random(in: 0x21...highest, using: &random)),
                    scalar.properties.isAlphabetic
                else { continue }
                text.append(scalar)
            }
            guard let name = try? Username(String(text)) else { continue }
            names += 1
            let decomposed = try? Username(name.text.decomposedStringWithCanonicalMapping)
            #expect(decomposed?.skeleton == name.skeleton, "seed \(random.seed): \(Array(text))")
            if let again = again(name) {
                taken += 1
                #expect(again == name.skeleton, "seed \(random.seed): \(Array(text))")
            }
        }
        #expect(taken > 1000)
    }

    @Test func `spellings of one name have one skeleton`() throws {
        for spellings in [
            ["ADA", "ada", "\u{FF21}da"], ["zo\u{00CB}", "ZOE\u{0308}", "\u{FF3A}o\u{00EB}"],
        ] {
            #expect(Set(try spellings.map { try Username($0).skeleton }).count == 1)
        }
    }

    @Test func `the version names our rule, ICU's and Unicode's`() throws {
        let version = Username.skeletonVersion
        #expect(
            try #/1, ICU \d+\.\d+, Unicode \d+\.\d+/#.wholeMatch(in: version) != nil, "\(version)")
    }

    /// The skeleton of the skeleton; nil where it is longer than a name, or is written from right to
    /// left: it is in the order in which it is shown, and would be turned again.
    private func again(_ name: Username) -> [UInt8]? {
        let skeleton = name.skeleton
        let text = String(decoding: skeleton, as: UTF8.self)
        guard !text.unicodeScalars.contains(where: isRightToLeft),
            !name.text.unicodeScalars.contains(where: isRightToLeft)
        else { return nil }
        return Username(canonical: skeleton.span)?.skeleton
    }

    private func isRightToLeft(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x590...0x8FF, 0xFB1D...0xFDFF, 0xFE70...0xFEFF, 0x10800...0x10FFF, 0x1E800...0x1EFFF:
            true
        default: false
        }
    }
}
