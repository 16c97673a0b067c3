// What each type of field takes, both sides of every limit, and how a value is kept.

import Testing

@testable import GatehousePeople

struct ProfileFieldTests {
    private func field(
        _ kind: ProfileField.Kind, minimum: Int64? = nil, maximum: Int64? = nil,
        options: [String] = []
    ) -> ProfileField {
        var field = ProfileField("x", label: "X", kind: kind)
        (field.minimum, field.maximum, field.options) = (minimum, maximum, options)
        return field
    }

    private func read(_ text: String, _ field: ProfileField) -> Result<String?, ProfileFault> {
        Result { () throws(ProfileFault) in try field.read(.text(Array(text.utf8))) }
    }

    @Test func `white space around a value is not part of it, and nothing else is no value`() {
        #expect(read("  Ada Lovelace\u{3000}", field(.text)) == .success("Ada Lovelace"))
        for text in ["", " ", "\u{2003}"] { #expect(read(text, field(.text)) == .success(nil)) }
        #expect(throws: Never.self) { try field(.text).read(.none) == nil }
    }

    @Test func `text is kept in NFC, byte for byte`() {
        for (typed, kept) in [
            ("Zoe\u{308}", "Zo\u{EB}"), ("\u{212B}", "\u{C5}"),
            ("\u{1112}\u{1161}\u{11AB}", "\u{D55C}"),
        ] {
            guard case .success(.some(let value)) = read(typed, field(.text)) else {
                Issue.record("refused")
                continue
            }
            // To a String both are the same.
            #expect(Array(value.utf8) == Array(kept.utf8))
        }
    }

    @Test(arguments: [
        "a\u{0}b", "a\u{7}b", "a\u{1B}[31mb", "a\u{7F}b", "a\u{85}b", "a\u{2028}b", "a\u{2029}b",
        "a\u{202E}b", "a\u{2066}b", "a\tb",
    ])
    func `control characters are refused, in several lines too`(_ text: String) {
        for kind in [ProfileField.Kind.text, .lines, .email] {
            #expect(read(text, field(kind)) == .failure(.controlCharacter))
        }
    }

    @Test func `a line end is taken where lines are, and CR LF is one`() {
        #expect(read("a\nb", field(.text)) == .failure(.controlCharacter))
        #expect(read("a\r\nb\n", field(.lines)) == .success("a\nb"))
        #expect(read("a\rb", field(.lines)) == .failure(.controlCharacter))
        let full = Array(repeating: "x", count: ProfileField.maximumLines)
        #expect(read(full.joined(separator: "\n"), field(.lines)) != .failure(.tooManyLines))
        #expect(
            read((full + ["x"]).joined(separator: "\r\n"), field(.lines))
                == .failure(.tooManyLines))
    }

    @Test func `bytes that are no UTF-8 are refused`() {
        #expect(throws: ProfileFault.invalidUTF8) { try field(.text).read(.text([0xC3, 0x28])) }
    }

    @Test func `a value has at most so many bytes, also after NFC`() {
        let most = String(repeating: "x", count: Profile.maximumValueBytes)
        #expect(read(most, field(.text)) == .success(most))
        #expect(read(most + "x", field(.text)) == .failure(.tooManyBytes))
        // In NFC this character has nine bytes for three.
        let growing = String(repeating: "\u{FB2C}", count: 200)
        #expect(growing.utf8.count < Profile.maximumValueBytes)
        #expect(read(growing, field(.text)) == .failure(.tooManyBytes))
    }

    @Test func `text has as many characters as the field says`() {
        let field = field(.text, minimum: 2, maximum: 3)
        #expect(read("ä", field) == .failure(.tooShort(2)))
        #expect(read("äö", field) == .success("äö"))
        #expect(read("äöü", field) == .success("äöü"))
        #expect(read("äöüß", field) == .failure(.tooLong(3)))
        #expect(read("", field) == .success(nil), "whether it may be empty, `required` says")
    }

    @Test func `an integer has one spelling, and its limits`() {
        let field = field(.integer, minimum: -1, maximum: 10)
        for good in ["-1", "0", "10"] { #expect(read(good, field) == .success(good)) }
        #expect(read("-2", field) == .failure(.tooSmall(-1)))
        #expect(read("11", field) == .failure(.tooGreat(10)))
        for bad in ["1.0", "+1", "01", "1e1", "-0", "x", "9223372036854775808", "\u{0661}"] {
            #expect(read(bad, field) == .failure(.integer))
        }
        #expect(throws: Never.self) { try #require(try field.read(.number(7)) == "7") }
    }

    @Test(arguments: [
        "ada@example.org", "a.b+c@x.example", "ada@localhost", "zoë@bücher.example", "a@1.2",
        String(repeating: "a", count: 64) + "@x.example",
        "a@" + String(repeating: "b", count: 63) + ".example",
    ])
    func `an address that a browser takes is one`(_ text: String) {
        #expect(read(text, field(.email)) == .success(text))
    }

    @Test(arguments: [
        "ada", "@example.org", "ada@", "a@b@c", "a b@x.example", "a@x..example", "a@.example",
        "a@-x.example", "a@x-.example", "\"a\"@x.example", "a@x.example.", "a,b@x.example",
        "a@[1.2.3.4]", "a@x_y.example", "<a@x.example>",
        String(repeating: "a", count: 65) + "@x.example",
        "a@" + String(repeating: "b", count: 64) + ".example",
        "a@" + String(repeating: "b.", count: 126) + "c",
    ])
    func `what is no address is refused`(_ text: String) {
        #expect(read(text, field(.email)) == .failure(.email))
    }

    @Test func `a phone number is kept as it was typed`() {
        for good in ["+47 22 12 34 56", "(030) 123-456", "1234", "+123456789012345", "0/12.34"] {
            #expect(read(good, field(.phone)) == .success(good))
        }
        for bad in ["123", "+1234567890123456", "12+34", "1234x", "call me", "++1234", "١٢٣٤"] {
            #expect(read(bad, field(.phone)) == .failure(.phone))
        }
    }

    @Test func `a date is a day that there is`() {
        for good in ["2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31"] {
            #expect(read(good, field(.date)) == .success(good))
        }
        for bad in [
            "2023-02-29", "1900-02-29", "2024-13-01", "2024-00-01", "2024-04-31", "2024-01-00",
            "0000-01-01", "24-01-01", "2024-1-1", "2024/01/01", "2024-01-01T00:00",
        ] { #expect(read(bad, field(.date)) == .failure(.date)) }
    }

    @Test func `a country is two letters, kept large`() {
        #expect(read("no", field(.country)) == .success("NO"))
        for bad in ["n", "nor", "N1", "ÅX", "@`"] {
            #expect(read(bad, field(.country)) == .failure(.country))
        }
    }

    @Test func `a choice is one of the options`() {
        let field = field(.choice, options: ["small", "large"])
        #expect(read("large", field) == .success("large"))
        #expect(read("Large", field) == .failure(.choice))
    }

    @Test func `a program's number is for integers, and other JSON is for nothing`() {
        #expect(throws: ProfileFault.kind) { try field(.text).read(.number(1)) }
        for kind in ProfileField.Kind.allCases {
            #expect(throws: ProfileFault.kind) { try field(kind).read(.other) }
        }
    }

    @Test func `the same address and the same number are found, however they are written`() {
        #expect(
            field(.email).searchForm(of: "Ada@Example.ORG")
                == field(.email).searchForm(of: "Ada@example.org"))
        #expect(
            field(.email).searchForm(of: "Ada@example.org")
                != field(.email).searchForm(of: "ada@example.org"), "who answers decides that")
        #expect(
            field(.phone).searchForm(of: "+47 22-12.34/56")
                == field(.phone).searchForm(of: "+4722123456"))
        #expect(
            field(.phone).searchForm(of: "+4722123456")
                != field(.phone).searchForm(of: "4722123456"))
    }
}
