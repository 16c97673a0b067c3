// The bundled list: what lies in the program is the file, in order, and long enough to matter.

import Foundation
import GatehouseCore
import GatehousePasswords
import Testing

@Suite struct CommonPasswordsTests {
    private let lines: [[UInt8]] = CommonPasswords.withText { text in
        var lines: [[UInt8]] = [[]]
        for index in text.indices {
            if text[index] == UInt8(ascii: "\n") {
                lines.append([])
            } else {
                lines[lines.count - 1].append(text[index])
            }
        }
        return lines.dropLast()
    }

    private static let policy = PasswordPolicy()

    @Test func `the program carries the file as it is`() throws {
        let root = "\(#filePath)".dropLast(
            "Tests/GatehousePasswordsTests/CommonPasswordsTests.swift".count)
        let file = Array(
            try Data(
                contentsOf: URL(filePath: root + "Sources/CCommonPasswords/common-passwords.txt")))
        let isSame = CommonPasswords.withText { text in
            text.count == file.count && text.indices.allSatisfy { text[$0] == file[$0] }
        }
        #expect(isSame)
        #expect(file.last == UInt8(ascii: "\n"))
    }

    @Test func `it is in the order of its bytes, each line once`() {
        for (line, next) in zip(lines, lines.dropFirst()) {
            #expect(line.lexicographicallyPrecedes(next))
        }
    }

    /// REQUIREMENTS PW-5: 3,000 that satisfy the length rule. Every tenth line is looked at, and more than
    /// 5,000 of these are refused by no other rule.
    @Test func `tens of thousands of its lines are what nothing else refuses`() throws {
        var alone = 0
        for line in lines.enumerated().filter({ $0.offset.isMultiple(of: 10) }).map(\.element) {
            let password = try Password(line.span)
            let count = password.codePointCount
            let isFolded = password.folded().withSpan { folded in
                folded.count == line.count && folded.indices.allSatisfy { folded[$0] == line[$0] }
            }
            #expect(isFolded, "\(String(decoding: line, as: UTF8.self))")
            #expect(count >= PasswordPolicy.defaultMinimumCodePoints)
            if try Self.policy.admit(password, for: nil) == nil { alone += 1 }
        }
        #expect(alone >= 5000)
    }

    @Test func `every line is found, and nothing between the lines`() {
        let list = CommonPasswords()
        func isListed(_ bytes: [UInt8]) -> Bool { list.contains(bytes.span, folded: bytes.span) }
        for line in lines { #expect(isListed(line)) }
        let all = Set(lines)
        for line in lines.enumerated().filter({ $0.offset.isMultiple(of: 97) }).map(\.element)
            + [lines[0], lines[lines.count - 1]]
        {
            for other in [
                Array(line.dropLast()), line + [0x20], line + [0x0A], [0x0A] + line, [0] + line,
            ] {
                #expect(isListed(other) == all.contains(other))
            }
        }
        for other in [[], [0x0A], [0], [0xFF], lines[3] + [0x0A] + lines[4]] {
            #expect(!isListed(other))
        }
    }

    @Test(arguments: [
        "CorrectHorseBatteryStaple", "correct horse battery staple", "password123456789",
        "Liverpool@2024!",
        "to-be-or-not-to-be", "To be or not to be!", "1q2w3e4r5t6y7u8i", "iloveyouforever",
        "3.14159265358979",
        "Ich liebe dich!", "LIBERTÉ ÉGALITÉ FRATERNITÉ", "я люблю свою маму", "september112001",
    ])
    func `people's favourites are on it, in any case`(_ text: String) throws {
        let policy = PasswordPolicy(common: CommonPasswords())
        let password = try Password(Array(text.utf8).span)
        #expect(try policy.admit(password, for: nil) == .common)
    }
}
