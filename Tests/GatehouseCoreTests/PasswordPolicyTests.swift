// What a new password must satisfy: every reason for a refusal, and what is just beside it.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct PasswordPolicyTests {
    private static let good = "plum over seven ships"

    // MARK: Length

    @Test func `a new password needs 15 code points`() throws {
        let policy = PasswordPolicy()
        #expect(policy.minimumCodePoints == 15)
        #expect(try admission(of: "plum over seven", to: policy) == nil)
        #expect(
            try admission(of: "plum over seve", to: policy) == .tooShort(minimumCodePoints: 15))
        #expect(try admission(of: "пять шестьдесят", to: policy) == nil)
        #expect(
            try admission(of: "пять шестьдеся", to: policy) == .tooShort(minimumCodePoints: 15))
    }

    @Test func `accents that NFC joins to their letters do not lengthen a password`() throws {
        let typed = "e\u{301}u\u{308}o\u{300}a\u{302}i\u{301}n\u{303}c\u{327}"
        let fourteen = typed + "y\u{301}A\u{30A}E\u{301}U\u{308}O\u{300}A\u{302}I\u{301}"
        #expect(fourteen.unicodeScalars.count == 28)
        #expect(
            try admission(of: fourteen, to: PasswordPolicy()) == .tooShort(minimumCodePoints: 15))
        #expect(try admission(of: fourteen + "N\u{303}", to: PasswordPolicy()) == nil)
    }

    @Test func `the minimum is the policy's own`() throws {
        let policy = PasswordPolicy(minimumCodePoints: 8)
        #expect(try admission(of: "plum ove", to: policy) == nil)
        #expect(try admission(of: "plum ov", to: policy) == .tooShort(minimumCodePoints: 8))
    }

    // MARK: Words that anybody would try

    @Test(arguments: [
        "adalovelace1815", "AdaLovelace1815", "adalovelaceadalovelace", "ecalevoladaadalovelace",
        "!!!!adalovelace!!!!", "1234567adalovelace", "ada-lovelace-ada",
        "adalovelace\u{1F600}\u{1F600}\u{1F600}\u{1F600}",
        "adalovelace    ", "2024adalovelace2024adalovelace!",
    ])
    func `little more than the username is refused`(_ password: String) throws {
        let policy = PasswordPolicy(contextWords: ["ada", "lovelace"])
        let isName = !password.contains("ada-lovelace")
        #expect(
            try admission(of: password, to: policy, for: "AdaLovelace")
                == .guessable(isName ? .username : .context))
        let other = try admission(of: password, to: PasswordPolicy(), for: "somebody")
        #expect(other == (password == "adalovelaceadalovelace" ? .repetition : nil))
    }

    @Test(arguments: [
        "adalovelacesships", "xadalovelace1815", "adalovelac181500", "adalovelace1815é",
        "adalovelace1815a\u{301}", "ADALOVELACE1815Z", "adalovelacelovelace",
        "the countess ada lovelace",
    ])
    func `a password with the username and another letter is not`(_ password: String) throws {
        #expect(try admission(of: password, to: PasswordPolicy(), for: "AdaLovelace") == nil)
    }

    @Test func `a username is found in every normal form, and in other scripts`() throws {
        for password in ["zoë.zoë.zoë.1999", "ZOE\u{308}.ZOË.zoe\u{308}.1999"] {
            #expect(
                try admission(of: password, to: PasswordPolicy(), for: "Zoë")
                    == .guessable(.username))
        }
        #expect(
            try admission(of: "ЕКАТЕРИНА1729-1796", to: PasswordPolicy(), for: "Екатерина")
                == .guessable(.username))
        #expect(
            try admission(of: "анирета1729-1796!екатерина", to: PasswordPolicy(), for: "екатерина")
                == nil)
    }

    @Test func `words of three letters count, and of six characters without any`() throws {
        func refusal(_ name: String, _ password: String) throws -> PasswordRefusal? {
            try admission(of: password, to: PasswordPolicy(), for: name)
        }
        #expect(try refusal("ada", "4827!ada!1059837") == .guessable(.username))
        #expect(try refusal("ad", "4827!ad!10598371") == nil)
        #expect(try refusal("482710", "4827103859610482") == .guessable(.username))
        #expect(try refusal("48271", "4827103859610482") == nil)
        #expect(try refusal("a_1", "4827!a_1!1059837") == .guessable(.username))
    }

    @Test(arguments: [
        ("gatehouse.example", "gatehouse!2024!!"), ("www.my-shop.example", "my-shop-my-shop-2024"),
        ("www.my-shop.example", "MyShop2024MyShop"), ("www.my-shop.example", "www.my-shop.example"),
        ("www.my-shop.example", "https://www.example"),
        ("xn--bcher-kva.example", "1xn--bcher-kva!1"),
    ])
    func `little more than the service's name is refused`(_ name: String, _ password: String) throws
    {
        let policy = PasswordPolicy(serviceNames: [name])
        let isNothing = password.hasPrefix("https")
        #expect(
            try admission(of: password, to: policy, for: "ada")
                == (isNothing ? nil : .guessable(.service)))
        #expect(try admission(of: password, to: PasswordPolicy(), for: "ada") == nil)
    }

    @Test func `several words together are refused, for the reason that is nearest`() throws {
        let policy = PasswordPolicy(
            serviceNames: ["shop.example"], contextWords: ["Springfield", "Acme Rockets"])
        for (password, source) in [
            ("Springfield1234", GuessableWord.Source.context),
            ("acme rockets 2024", .context),
            ("springfield shop!", .service),
            ("shop springfield!", .service),
            ("adashopspringfield", .username),
            ("springfieldshopada", .username),
        ] {
            #expect(
                try admission(of: password, to: policy, for: "ada") == .guessable(source),
                "\(password)")
        }
        #expect(try admission(of: "springfieldian1", to: policy, for: "ada") == nil)
        #expect(try admission(of: "springfield shop", to: policy, for: nil) == .guessable(.service))
        #expect(try admission(of: "adaadaada-adaada", to: policy, for: nil) == nil)
    }

    @Test func `characters that are no letters are not a word`() throws {
        let policy = PasswordPolicy(serviceNames: ["shop.example"], contextWords: ["acme"])
        #expect(try admission(of: "48271.03859!61-0", to: policy, for: "ada") == nil)
    }

    @Test func `words that can't be words are not looked for`() {
        for text in [
            "", "ab", "12345", "a\u{301}b", String(repeating: "x", count: 1025), "abc\u{378}",
        ] {
            #expect(GuessableWord(text, from: .context) == nil, "\(text)")
        }
        #expect(GuessableWord.parts(of: "a.bc.de").isEmpty)
        #expect(GuessableWord.parts(of: "127.0.0.1").isEmpty)
        #expect(GuessableWord.parts(of: "[::1]").isEmpty)
    }

    // MARK: Made by rote

    @Test(arguments: [
        "aaaaaaaaaaaaaaa", "               ", "abcxabcxabcxabc", "password1password1",
        "Password1password1", "14 characters!14 characters!", "14 characters!14 characters!14",
        "ééééééééééééééé", "e\u{301}ÉéÉéÉéÉéÉéÉéÉéÉé",
        "\u{1F600}\u{1F601}\u{1F600}\u{1F601}\u{1F600}\u{1F601}\u{1F600}\u{1F601}\u{1F600}\u{1F601}\u{1F600}\u{1F601}\u{1F600}\u{1F601}\u{1F600}",
    ])
    func `a short piece, repeated, is refused`(_ password: String) throws {
        #expect(try admission(of: password, to: PasswordPolicy()) == .repetition)
    }

    @Test(arguments: [
        "15 characters!!15 characters!!", "password1password2", "xpassword1password1",
        "password1password1x", "plum ships plum", "aaaaaaaaaaaaaab", "baaaaaaaaaaaaaa",
    ])
    func `a piece that is long enough, and what is not quite a repetition, is not`(
        _ password: String
    ) throws {
        #expect(try admission(of: password, to: PasswordPolicy()) == nil)
    }

    @Test(arguments: [
        "abcdefghijklmno", "ponmlkjihgfedcba", "ABCDEFGHIJKLMNO", "xyzabcdefghijkl",
        "123456789012345",
        "098765432109876", "qwertyuiopasdfgh", "QWERTYuiop123456", "qwertzuiopyxcvbnm",
        "azertyuiopqsdfgh", "1qaz2wsx3edc4rfv", "zaq1xsw2cde3vfr4", "abc123def456ghi789",
        "aaabbbcccdddeee", "111222333444555", "asdfghjkl;'zxcv", "!@#$%^&*()_+123",
    ])
    func `neighbours in a row are refused`(_ password: String) throws {
        #expect(try admission(of: password, to: PasswordPolicy()) == .sequence)
    }

    @Test(arguments: [
        "abcdefghijklmn1", "ab12cd34ef56gh7", "qwertyuiop-asdfgh", "qwertyuiopasdfg",
        "13579135791357924", "zyxwvutsrqponmba", "1qaz2wsx3edc4r!",
    ])
    func `a run that something breaks is not, nor are runs of two`(_ password: String) throws {
        let expected: PasswordRefusal? = password == "qwertyuiopasdfg" ? .sequence : nil
        #expect(try admission(of: password, to: PasswordPolicy()) == expected)
    }

    // MARK: Lists

    @Test func `a list is asked for the whole password, as typed and in lower case`() throws {
        let list = FakeList(["plum over seven ships", "schöne grüße aus köln"])
        let common = PasswordPolicy(common: list)
        let breached = PasswordPolicy(breached: list)
        for password in [
            "plum over seven ships", "PLUM OVER SEVEN SHIPS", "Plum over Seven ships",
            "schöne grüße aus köln", "SCHÖNE GRÜße AUS KÖLN",
            "scho\u{308}ne gru\u{308}ße aus ko\u{308}ln",
            "SCHO\u{308}NE GRU\u{308}ße AUS KO\u{308}LN",
        ] {
            #expect(try admission(of: password, to: common) == .common, "\(password)")
            #expect(try admission(of: password, to: breached) == .breached, "\(password)")
            #expect(try admission(of: password, to: PasswordPolicy()) == nil)
        }
        for password in [
            "plum over seven ships!", "plum over seven ship", " plum over seven ships",
            "plumoversevenships", "schone grusse aus koln", "plum over seven ships\n",
            "plum over seven ships\u{0}",
            // Fullwidth is another text in NFC.
            "ｐlum over seven ships",
        ] {
            #expect(try admission(of: password, to: common) == nil, "\(password)")
        }
    }

    @Test func `lists are asked last, and the bundled one first`() throws {
        let list = FakeList(["ada ada ada ada ada", "plum over seven ships"])
        let policy = PasswordPolicy(common: list, breached: list)
        #expect(
            try admission(of: "ada ada ada ada ada", to: policy, for: "ada")
                == .guessable(.username))
        #expect(try admission(of: "ada ada ada ada ada", to: policy) == .repetition)
        #expect(try admission(of: Self.good, to: policy) == .common)
    }

    @Test func `a list that can't be read refuses nobody and admits nobody`() throws {
        let policy = PasswordPolicy(breached: BrokenList())
        #expect(throws: PasswordListUnreadable("it is gone")) {
            _ = try admission(of: Self.good, to: policy)
        }
        // It is not asked without need.
        #expect(try admission(of: "short", to: policy) == .tooShort(minimumCodePoints: 15))
    }

    @Test func `what grows too long in lower case is compared as typed`() throws {
        // U+0130 has two bytes, and three in lower case.
        let longest = String(repeating: "İ", count: 341) + String(repeating: "Z", count: 342)
        #expect(longest.utf8.count == 1024)
        #expect(
            try admission(of: longest, to: PasswordPolicy(common: FakeList([longest]))) == .common)
        #expect(try admission(of: longest, to: PasswordPolicy(), for: "zoe") == nil)
    }

    // MARK: Words for people

    @Test func `each refusal says something of its own, and nothing of the password`() {
        let refusals: [PasswordRefusal] =
            [
                .empty, .tooLong, .invalidUTF8, .unassignedCharacter,
                .tooShort(minimumCodePoints: 15), .repetition, .sequence, .common, .breached,
            ] + GuessableWord.Source.allCases.map { .guessable($0) }
        #expect(Set(refusals.map(\.message)).count == refusals.count)
        #expect(PasswordRefusal.common.message.contains("common"))
        #expect(PasswordRefusal.breached.message.contains("leaked"))
        #expect(PasswordRefusal.guessable(.username).message.contains("username"))
    }
}

private struct FakeList: PasswordList {
    private let entries: Set<[UInt8]>

    init(_ entries: [String]) { self.entries = Set(entries.map { Array($0.utf8) }) }

    func contains(_ typed: Span<UInt8>, folded: Span<UInt8>) -> Bool {
        entries.contains(folded.indices.map { folded[$0] })
    }
}

private struct BrokenList: PasswordList {
    func contains(
        _ typed: Span<UInt8>, folded: Span<UInt8>
    ) throws(PasswordListUnreadable) -> Bool {
        throw PasswordListUnreadable("it is gone")
    }
}

private func admission(
    of text: String, to policy: PasswordPolicy, for name: String? = nil
) throws -> PasswordRefusal? {
    let password = try Password(Array(text.utf8).span)
    return try policy.admit(password, for: try name.map { try Username($0) })
}
