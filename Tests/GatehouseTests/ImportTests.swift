// Files of users: what a line says, why it is refused, and how lines are found in a file.

import Foundation
import GatehouseCore
import GatehousePasswords
import GatehouseTestSupport
import Testing

@testable import gatehouse

@Suite struct ImportLineTests {
    private static let hash = "$2b$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq"

    private func refusal(of line: String) -> ImportLineRefusal? {
        do throws(ImportLineRefusal) {
            _ = try ImportLine(Array(line.utf8))
            return nil
        } catch { return error }
    }

    @Test(arguments: [
        #"{"username":"Ada","password_hash":"HASH"}"#,
        #" { "password_hash" : "HASH" , "username" : "\u0061da" , "profile" : {} } "#,
    ])
    func `a line is a user and a hash, as PRECIS maps names`(_ text: String) throws {
        let line = try ImportLine(Array(text.replacing("HASH", with: Self.hash).utf8))
        #expect(line.username == username("ada"))
        #expect(line.passwordHash == Self.hash)
    }

    @Test func `null is no password`() throws {
        let line = try ImportLine(Array(#"{"username":"ada","password_hash":null}"#.utf8))
        #expect(line.passwordHash == nil)
    }

    @Test(
        arguments: [
            ("", .json), ("x", .json), ("{", .json), ("[]", .json), ("null", .json),
            ("\"ada\"", .json),
            (#"{"username":"ada","password_hash":null}}"#, .json),
            (#"{"username":"ada","password_hash":null} {}"#, .json),
            (#"{"username":"ada","username":"bob","password_hash":null}"#, .json),
            (#"{"username":"ada","password_hash":null,"password\u005fhash":null}"#, .json),
            (#"{"username":7,"password_hash":null}"#, .json),
            (#"{"username":null,"password_hash":null}"#, .json),
            (#"{"username":"ada","password_hash":7}"#, .json),
            (#"{"username":"ada","password_hash":null,"profile":null}"#, .json),
            (#"{"username":"ada","password_hash":null,"profile":[]}"#, .json),
            ("\u{FEFF}" + #"{"username":"ada","password_hash":null}"#, .json),
            ("{\"username\":\"a\u{0}da\",\"password_hash\":null}", .json),
            (#"{"username":"ada","password_hash":null,"email":"a@b"}"#, .unknownMember),
            (#"{"Username":"ada","password_hash":null}"#, .unknownMember),
            (#"{"username":"ada"}"#, .missingMember), (#"{"password_hash":null}"#, .missingMember),
            ("{}", .missingMember),
            (#"{"username":"ada","password_hash":null,"profile":{"name":"Ada"}}"#, .profile),
            (#"{"username":"","password_hash":null}"#, .username(.empty)),
            (#"{"username":"a da","password_hash":null}"#, .username(.space)),
            (#"{"username":"a\u0000da","password_hash":null}"#, .username(.controlCharacter)),
            (#"{"username":"ada","password_hash":""}"#, .passwordHash(.scheme)),
            (#"{"username":"ada","password_hash":"hunter2"}"#, .passwordHash(.scheme)),
            (
                #"{"username":"ada","password_hash":"$2b$31$abcdefghijklmnopqrstuuby"}"#,
                .passwordHash(.cost)
            ),
        ] as [(String, ImportLineRefusal)])
    func `what is anything else is refused for what it is`(
        _ text: String, _ expected: ImportLineRefusal
    ) {
        #expect(refusal(of: text) == expected)
    }

    @Test(arguments: [100, 600, 30_000])
    func `deep nesting is refused, not descended into`(_ depth: Int) {
        let open = String(repeating: "[", count: depth)
        let close = String(repeating: "]", count: depth)
        let start = #"{"username":"ada","password_hash":null,"profile":"#
        #expect(refusal(of: start + open + close + "}") == .json)
        #expect(refusal(of: open + close) == .json)
        #expect(refusal(of: open) == .json)
    }

    @Test func `bytes that are no UTF-8 are refused`() {
        let text =
            Array(#"{"username":"ad"#.utf8) + [0xC3] + Array(#"","password_hash":null}"#.utf8)
        #expect(throws: ImportLineRefusal.json) { _ = try ImportLine(text) }
    }
}

@Suite struct LineReaderTests {
    private let directory = TemporaryDirectory()
    private var path: String { directory.path + "/lines" }

    /// The pieces of a file, a `|` after each that ends a line.
    private func pieces(_ content: String, atMost limit: Int) throws -> [String] {
        try Data(content.utf8).write(to: URL(filePath: path))
        let reader = try LineReader(path: path, maximumLineBytes: limit)
        #expect(reader.byteCount == content.utf8.count)
        var pieces: [String] = []
        while let piece = try reader.next() {
            pieces.append(
                String(decoding: piece.bytes, as: UTF8.self) + (piece.endsLine ? "|" : ""))
        }
        return pieces
    }

    @Test func `lines come whole up to the limit, and in pieces beyond it`() throws {
        #expect(try pieces("", atMost: 4) == [])
        #expect(try pieces("a\nbc\n", atMost: 4) == ["a\n|", "bc\n|"])
        #expect(try pieces("a\n\n\nb", atMost: 4) == ["a\n|", "\n|", "\n|", "b|"])
        #expect(try pieces("abc\nabcd\ne\n", atMost: 4) == ["abc\n|", "abcd", "\n|", "e\n|"])
        #expect(try pieces("abcdefghi", atMost: 4) == ["abcd", "efgh", "i|"])
        // The end of a line that is as long as a piece, and of the file with it.
        #expect(try pieces("abcd", atMost: 4) == ["abcd", "|"])
        #expect(try pieces("abc", atMost: 4) == ["abc|"])
    }

    @Test func `lines across the buffer's end come whole`() throws {
        var generator = SeededGenerator()
        let lines = (0..<2000).map { _ in
            String(repeating: "x", count: Int.random(in: 0..<700, using: &generator)) + "\n"
        }
        let read = try pieces(lines.joined(), atMost: 700)
        #expect(read == lines.map { $0 + "|" }, "seed \(generator.seed)")
    }

    @Test func `what is no regular file is refused`() throws {
        for path in [directory.path, "/dev/null", directory.path + "/none"] {
            let failure = #expect(throws: CommandFailure.self) {
                _ = try LineReader(path: path, maximumLineBytes: 4)
            }
            #expect(failure?.code == .refused)
        }
    }

    @Test func `a file has one name, by whatever path`() throws {
        _ = try pieces("a\n", atMost: 4)
        try FileManager.default.createSymbolicLink(
            atPath: directory.path + "/link", withDestinationPath: path)
        let names = try [path, directory.path + "/./lines", directory.path + "/link"].map {
            try LineReader(path: $0, maximumLineBytes: 4).pathHash
        }
        #expect(Set(names).count == 1)
    }
}
