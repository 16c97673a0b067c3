// The pages by themselves: what is escaped, what an operator can replace, and what is refused.

import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseTestSupport
import HTTPTypes
import Mustache
import Testing

@testable import GatehouseWeb

/// Pages without a front door.
private func pages(_ settings: PageSettings = PageSettings()) throws(PageFaults) -> Pages {
    try Pages(
        basePath: "/auth", host: "app.example", cookies: CookieNames(domain: nil),
        settings: settings)
}

/// Why the pages can't be made; empty when they can.
private func findings(_ settings: PageSettings) -> [String] {
    do { _ = try pages(settings) } catch { return error.findings }
    return []
}

/// A page with everything that there is, `text` in each place.
private func fullPage(_ kind: Page.Kind, _ text: String) -> Page {
    var page = Page(kind: kind)
    page.title = Message(text)
    page.alert = Message(text)
    page.hint = Message(text)
    page.notice = Message(text)
    page.wrongFields = Page.Field.allCases
    (page.username, page.userID, page.formToken) = (text, text, text)
    (page.returnTo, page.link, page.created) = (text, text, time(noon))
    (page.canRegister, page.isRemembered, page.failures) = (true, true, 3)
    page.device = DeviceSection(
        isKnown: true, preferences: [(text, text)], newKey: text, newValue: text)
    page.signIns = [true, false].map { isCurrent in
        SignInRow(
            session: text, isCurrent: isCurrent, isRemembered: isCurrent, browser: text,
            place: text, created: time(noon), lastUsed: time(noon))
    }
    page.warnings = [WarningRow(time: time(noon), browser: text, place: text)]
    page.problems = [
        Page.Problem(field: text, reason: text, text: text, id: text),
        Page.Problem(field: text, reason: text, text: text, id: nil),
    ]
    page.sections = [profileSection(text)]
    return page
}

/// Every kind of field, with `text` in each place; names are of letters.
private func profileSection(_ text: String) -> ProfileSection {
    var section = ProfileSection(
        fields: ProfileField.Kind.allCases.map { kind in
            var field = ProfileField(kind.rawValue, label: text, kind: kind)
            field.hint = text
            field.purposes = [text, text]
            field.options = [text, "-"]
            var row = ProfileSection.Row(field: field, value: text)
            (row.stored, row.problem) = (text, text)
            return row
        })
    section.history = [ProfileWriter.owner, .actor(text)].map { writer in
        let change = ProfileChange(field: "name", old: text, new: text, writer: writer)
        return (ProfileHistoryEntry(sequence: 1, time: time(noon), change: change), text)
    }
    return section
}

private func count(_ byte: Character, in html: String) -> Int {
    html.utf8.count { $0 == byte.asciiValue }
}

@Suite struct PageTests {
    /// To the template engine, which goes by characters, `"` with a combining mark is no quotation mark.
    @Test(arguments: Page.Kind.allCases)
    func `nothing that is shown can end its element or its attribute`(_ kind: Page.Kind) throws {
        let hostile = [
            "<script>", "\"x", "'x", "x>", "&lt;", "<\u{338}script>\u{338}",
            "\"\u{301} onfocus=\u{301}x",
            "{{username}}", "{{{base}}}", "{{#t}}", "{{>head}}", " \"", "\u{FEFF}<b>",
            "<\u{200D}b>",
        ]
        var settings = PageSettings()
        settings.name = "x"
        let plain = try pages(settings).render(fullPage(kind, "x"))
        for text in hostile {
            settings.name = text
            let html = try pages(settings).render(fullPage(kind, text))
            for mark in ["<", ">", "\"", "'", "{", "}"] as [Character] {
                #expect(count(mark, in: html) == count(mark, in: plain), "\(mark) of \(text)")
            }
            #expect(html.contains(EscapedText.escape(text).drop { $0 == " " }))
        }
    }

    @Test func `what was typed stays as it was`() {
        for text in ["", " ", "  a", "\n", "a\r\nb", "zoë", "\u{1F600}", "\0"] {
            let shown = EscapedText.value(text)?.render([:] as [String: String])
            #expect(
                shown?.replacing("&#32;", with: " ").replacing("&#10;", with: "\n") == text)
        }
    }

    @Test(arguments: Page.Kind.allCases)
    func `a page has one title, its language, labels for its fields, and ids once`(
        _ kind: Page.Kind
    ) throws {
        for text in ["x", ""] {
            var page = fullPage(kind, text)
            if text.isEmpty { page = Page(kind: kind) }
            let html = try pages().render(page)
            #expect(html.hasPrefix("<!doctype html>\n<html lang=\"en\" dir=\"ltr\">"))
            #expect(html.matches(of: /<h1>/).count == 1)
            #expect(html.hasSuffix("</html>\n"))
            #expect(!html.contains("style=") && !html.contains("<script"))
            if !text.isEmpty {
                // Rows have the sessions' ids, which are all x here.
                page.signIns = []
            }
            let ids = try pages().render(page).matches(of: /\sid="([^"]*)"/).map { String($0.1) }
            #expect(Set(ids).count == ids.count, "\(ids)")
            for input in html.matches(of: /<input [^>]*>/).map({ String($0.0) })
            where !input.contains("type=\"hidden\"") && !input.contains("aria-hidden=\"true\"") {
                let id = try #require(input.firstMatch(of: /\sid="([^"]*)"/)?.1, "\(input)")
                #expect(html.contains("<label for=\"\(id)\">"))
            }
            for described in html.matches(of: /aria-(describedby|labelledby)="([^"]*)"/) {
                for id in described.2.split(separator: " ") {
                    #expect(html.contains(" id=\"\(id)\""), "\(id)")
                }
            }
        }
    }

    @Test func `the alert leads to the field that it is about`() throws {
        for (kind, type, ids) in [
            (.login, "credentials", ["username", "password"]),
            (.confirm, "credentials", ["password"]),
            (.password, "credentials", ["current_password"]),
            (.password, "password", ["new_password"]), (.register, "username_taken", ["username"]),
            (.register, "password", ["password"]), (.recover, "password", ["password"]),
            (.login, "slow_down", []), (.account, "preferences", []),
        ] as [(Page.Kind, String, [String])] {
            var page = Page(kind: kind)
            page.alert = "refusal.credentials"
            page.wrongFields = FrontRefusal(400, type, "refusal.body").wrongFields(on: page)
            let html = try pages().render(page)
            for id in Page.Field.allCases.map(\.rawValue) {
                let input = html.firstMatch(of: /<input id="([^"]*)"[^>]*>/.dotMatchesNewlines())
                #expect(input != nil || ids.isEmpty)
                let field = html.matches(of: /<input id="([^"]*)"[^>]*>/).first { $0.1 == id }
                let isMarked = field.map { $0.0.contains("aria-invalid=\"true\"") } ?? false
                #expect(isMarked == ids.contains(id), "\(kind) \(type) \(id)")
                if isMarked { #expect(field?.0.contains("reason") == true) }
            }
            let link = html.firstMatch(of: /id="reason">(<a href="#([^"]*)">)?/)
            #expect(link?.2.map(String.init) == ids.first, "\(kind) \(type)")
        }
    }

    @Test func `password managers find the name on pages that ask for the password alone`() throws {
        for kind in [Page.Kind.confirm, .password] {
            var page = Page(kind: kind)
            page.username = "zoë"
            let html = try pages().render(page)
            #expect(
                html.contains(
                    "name=\"username\" value=\"zoë\" autocomplete=\"username\" readonly"))
            #expect(html.contains("autocomplete=\"current-password\""))
        }
    }

    @Test func `times are for programs and for people`() throws {
        var page = Page(kind: .account)
        page.created = UnixTime(seconds: 1_767_225_599)
        #expect(
            try pages().render(page).contains(
                "<time datetime=\"2025-12-31T23:59:59Z\">2025-12-31 23:59 UTC</time>"))
    }

    @Test func `cookies that are not necessary can be withdrawn where they are set`() throws {
        var page = Page(kind: .account)
        for (isRemembered, isKnown) in [(false, false), (true, false), (false, true), (true, true)]
        {
            page.isRemembered = isRemembered
            page.device.isKnown = isKnown
            let html = try pages().render(page)
            #expect(html.contains("/auth/account/remember/forget") == isRemembered)
            #expect(html.contains("/auth/account/device/forget") == isKnown)
            for name in ["", "-remember", "-device"] {
                #expect(html.contains("<code>__Host-gatehouse\(name)</code>"))
            }
        }
    }

    @Test func `other sign-ins can be ended, this one is signed out of`() throws {
        let id = String(repeating: "a", count: 32)
        func row(isCurrent: Bool) -> SignInRow {
            SignInRow(
                session: id, isCurrent: isCurrent, isRemembered: false, browser: "", place: "",
                created: time(noon), lastUsed: time(noon))
        }
        var page = Page(kind: .account)
        page.signIns = [row(isCurrent: true)]
        let alone = try pages().render(page)
        #expect(alone.contains("This browser") && alone.contains("Unknown browser"))
        #expect(!alone.contains("/account/sessions/"))
        page.signIns.append(row(isCurrent: false))
        let both = try pages().render(page)
        #expect(both.contains("name=\"session\" value=\"\(id)\""))
        #expect(both.contains("/auth/account/sessions/end\""))
        #expect(both.contains("/auth/account/sessions/end-others\""))
    }
}

@Suite struct PageTemplateTests {
    private let directory = TemporaryDirectory()

    private func findings(_ files: [String: String]) throws -> [String] {
        let path = directory.path + "/\(UInt64.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        for (name, text) in files {
            try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + name))
        }
        var settings = PageSettings()
        settings.templates = path
        return GatehouseWebTests.findings(settings)
            .map { $0.replacing(path + "/", with: "").replacing(path, with: "") }
    }

    @Test func `a file of the same name takes the place of ours`() throws {
        for (name, text) in [
            ("message.mustache", "{{>head}}<p>Ask {{site}}</p>{{>foot}}"),
            ("style.css", "p { color: red }"),
            (".hidden", "anything"),
        ] {
            try Data(text.utf8).write(to: URL(fileURLWithPath: directory.path + "/" + name))
        }
        var settings = PageSettings()
        settings.templates = directory.path
        let pages = try pages(settings)
        let html = pages.render(Page(kind: .message))
        #expect(html.contains("<p>Ask app.example</p>"))
        #expect(html.contains("<h1>That did not work</h1>"), "the head is ours")
        #expect(pages.render(Page(kind: .login)).contains("name=\"password\""), "so is the rest")
        #expect(pages.style.hasSuffix("}\np { color: red }") && pages.style.contains("--accent:"))
    }

    @Test(arguments: [
        ("{{#a}}", "line 1: expectedSectionEnd"),
        ("\n{{#a}}{{/b}}", "line 2: sectionCloseNameIncorrect"),
        ("{{t.login.titel}}", "there is no text t.login.titel"),
        ("{{#t.login}}{{/t.login}}", "there is no text t.login"),
        ("{{>hedd}}", "there is no part hedd"), ("{{>login}}", "there is no part login"),
        ("{{>*head}}", "there is no part *head"),
        ("{{{username}}}", "tags that begin with {{{ are not taken"),
        ("{{&username}}", "tags that begin with {{& are not taken"),
        ("{{=<% %>=}}", "tags that begin with {{= are not taken"),
        ("{{% CONTENT_TYPE:TEXT}}", "tags that begin with {{% are not taken"),
        ("{{<head}}{{/head}}", "tags that begin with {{< are not taken"),
        ("{{$a}}{{/a}}", "tags that begin with {{$ are not taken"),
    ])
    func `a template that can't be right is refused by name`(
        _ text: String, _ reason: String
    ) throws {
        let found = try findings(["login.mustache": text])
        #expect(
            found.contains { $0.hasPrefix("login.mustache") && $0.contains(reason) }, "\(found)")
        #expect(
            try findings(["login.mustache": "{{! a note}}{{>head}} {{# username }}{{/ username }}"])
                .isEmpty)
    }

    @Test func `the values that our templates use are documented`() throws {
        let root = String("\(#filePath)".dropLast("Tests/GatehouseWebTests/PageTests.swift".count))
        let page = readText(root + "Sources/GatehouseCore/GatehouseCore.docc/Pages.md")
        let resources = root + "Sources/GatehouseWeb/Resources"
        var names: Set<String> = []
        for file in try FileManager.default.contentsOfDirectory(atPath: resources)
        where file.hasSuffix(".mustache") {
            for tag in readText("\(resources)/\(file)").matches(of: /\{\{[#^]?([a-zA-Z.]+)\}\}/)
            where !tag.1.hasPrefix("t.") { names.insert(String(tag.1.prefix { $0 != "." })) }
        }
        #expect(names.count > 30)
        for name in Array(names) + Texts.limits.keys {
            // The two parts of a time, within the section of one.
            guard !["datetime", "shown"].contains(name) else { continue }
            #expect(page.contains("`\(name)`"), "\(name)")
        }
    }

    @Test func `parts don't go round in circles`() throws {
        #expect(
            try findings(["head.mustache": "{{>foot}}"]) == ["head.mustache: a part has no parts"])
        #expect(try findings(["head.mustache": "{{site}}"]).isEmpty)
    }

    @Test func `what is no file of the pages is refused, all of it at once`() throws {
        let found = try findings([
            "a.txt": "", "logn.mustache": "", "english.json": "{}", "login.mustache": "{{>a}}",
        ])
        #expect(found.count == 4 && found.last == "login.mustache: there is no part a")
        for (finding, name) in zip(found, ["a.txt", "english.json", "logn.mustache"]) {
            #expect(finding.hasPrefix("\(name) is no template: there are account.mustache, "))
        }
    }

    @Test func `a file has its limit, and is UTF-8 that can be read`() throws {
        let limit = String(repeating: "a", count: Pages.maximumFileBytes)
        #expect(try findings(["login.mustache": limit]).isEmpty)
        #expect(
            try findings(["login.mustache": limit + "a"]) == [
                "login.mustache is larger than 64 KiB"
            ])
        let other = TemporaryDirectory()
        let path = other.path + "/foot.mustache"
        try Data([0xFF]).write(to: URL(fileURLWithPath: path))
        var settings = PageSettings()
        settings.templates = other.path
        #expect(GatehouseWebTests.findings(settings) == ["\(path) is not UTF-8"])
        try FileManager.default.removeItem(atPath: path)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        #expect(
            GatehouseWebTests.findings(settings).first?.hasPrefix("cannot read \(path)") == true)
        settings.templates = other.path + "/none"
        #expect(
            GatehouseWebTests.findings(settings).first?.hasPrefix("cannot read \(other.path)/none")
                == true)
    }
}

@Suite struct PageTextTests {
    private let directory = TemporaryDirectory()
    private static let root = String(
        "\(#filePath)".dropLast("Tests/GatehouseWebTests/PageTests.swift".count))
    private static let web = root + "Sources/GatehouseWeb/"

    private func english() throws -> [String: String] {
        try JSONDecoder().decode(
            [String: String].self,
            from: Data(contentsOf: URL(fileURLWithPath: Self.web + "Resources/english.json")))
    }

    private func settings(_ texts: [String: String], padding: Int = 0) throws -> PageSettings {
        let path = directory.path + "/other.json"
        var data = try JSONEncoder().encode(texts)
        if padding > 0 { data += Data(repeating: 0x20, count: padding - data.count) }
        try data.write(to: URL(fileURLWithPath: path))
        var settings = PageSettings()
        settings.texts = path
        return settings
    }

    /// Another language that can be told from English everywhere.
    private func other() throws -> [String: String] {
        var texts = try english().mapValues { "Ü " + $0 }
        (texts["lang"], texts["dir"]) = ("he-IL", "rtl")
        return texts
    }

    @Test(arguments: Page.Kind.allCases)
    func `another language is one file`(_ kind: Page.Kind) throws {
        let english = try pages().render(fullPage(kind, "x"))
        let other = try pages(try settings(try other())).render(fullPage(kind, "x"))
        #expect(other.hasPrefix("<!doctype html>\n<html lang=\"he-IL\" dir=\"rtl\">"))
        let shown = other.replacing("Ü ", with: "")
            .replacing("lang=\"he-IL\" dir=\"rtl\"", with: "lang=\"en\" dir=\"ltr\"")
        #expect(shown == english)
        // No words but those of the file: what is left without them has no letters but values.
        for text in other.matches(of: />([^<]*[a-z]{2,}[^<]*)</).map({ $0.1 })
        where !text.contains("Ü ") {
            #expect(text.contains("app.example") || text.contains("__Host-"), "\(text)")
        }
    }

    @Test func `all that is wrong with a file of texts is told at once`() throws {
        var texts = try other()
        texts["login.title"] = nil
        texts["login.extra"] = "x"
        texts["login"] = "x"
        texts["logout.title"] = ""
        texts["logout.submit"] = "a { b"
        texts["form.too_large"] = "no place"
        texts["form.no_name"] = "a {place}"
        (texts["lang"], texts["dir"]) = ("de_DE", "up")
        let settings = try settings(texts)
        let path = try #require(settings.texts)
        #expect(
            findings(settings) == [
                "\(path): lang must be a language such as en or pt-BR",
                "\(path): dir must be ltr or rtl",
                "\(path): form.no_name has the unknown place {place}",
                "\(path): form.too_large lacks the place {formBytes}",
                "\(path): unknown key login", "\(path): unknown key login.extra",
                "\(path): logout.submit is empty, or has a brace that is no place",
                "\(path): logout.title is empty, or has a brace that is no place",
                "\(path): missing key login.title",
            ])
    }

    @Test(arguments: ["", "{", "[]", "{\"lang\": 1}", "{\"lang\": \"en\", \"lang\": \"de\"}"])
    func `a file that is no object of texts is refused`(_ text: String) throws {
        let path = directory.path + "/texts.json"
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        var settings = PageSettings()
        settings.texts = path
        #expect(findings(settings) == ["\(path) is no JSON object of texts with unique keys"])
    }

    @Test func `a file of texts has its limit, and exists`() throws {
        #expect(findings(try settings(try other(), padding: Texts.maximumBytes)).isEmpty)
        let beyond = try settings(try other(), padding: Texts.maximumBytes + 1)
        #expect(findings(beyond).first?.hasSuffix("is larger than 256 KiB") == true)
        var settings = PageSettings()
        settings.texts = directory.path + "/none.json"
        #expect(findings(settings).first?.hasPrefix("cannot read") == true)
    }

    /// Every text that the code and the templates ask for is there, and no other.
    @Test func `the texts are those that are used`() throws {
        let keys = try Texts.english().keys
        let groups = Set(keys.map { String($0.prefix { $0 != "." }) })
        var used: Set<String> = []
        var code = ""
        let files = try #require(FileManager.default.subpaths(atPath: Self.web))
        for file in files.sorted() {
            if file.hasSuffix(".mustache") {
                let text = readText(Self.web + file)
                used.formUnion(text.matches(of: /\{\{t\.([a-z_.]+)\}\}/).map { String($0.1) })
            } else if file.hasSuffix(".swift") {
                code += readText(Self.web + file)
            }
        }
        #expect(used.count > 50)
        for literal in code.matches(of: /"([a-z_]+)\.[a-zA-Z_]+"/)
        where groups.contains(String(literal.1)) && !literal.0.hasSuffix(".mustache\"") {
            used.insert(String(literal.0.dropFirst().dropLast()))
        }
        used.formUnion(Page.Kind.allCases.filter { $0 != .message }.map { "\($0).title" })
        used.formUnion(FormRefusal.allCases.map { Message($0).key })
        used.formUnion(HostRefusal.allCases.map { Message($0).key })
        used.formUnion(PreferenceRefusal.allCases.map { Message($0).key })
        used.formUnion(UsernameRefusal.allCases.map { Message($0).key })
        used.formUnion(
            Self.profileFaults.map { Message(ProfileFieldFault("x", $0), label: "X").key })
        used.formUnion(Self.passwordRefusals.map { Message($0).key })
        // Titles and hints of refusals, by their types.
        for key in keys where key.hasPrefix("title.") || key.hasPrefix("hint.") {
            if code.contains(", \"\(key.drop { $0 != "." }.dropFirst())\"") { used.insert(key) }
        }
        #expect(used.subtracting(keys).sorted() == [], "missing")
        #expect(keys.subtracting(used).sorted() == [], "unused")
    }

    private static let profileFaults: [ProfileFault] = [
        .unknown, .required, .kind, .invalidUTF8, .controlCharacter, .tooManyBytes, .tooManyLines,
        .tooShort(1), .tooLong(1), .tooSmall(1), .tooGreat(1), .email, .phone, .integer, .date,
        .country, .choice, .profileTooLarge,
    ]

    private static let passwordRefusals: [PasswordRefusal] =
        [
            .empty, .tooLong, .invalidUTF8, .unassignedCharacter, .tooShort(minimumCodePoints: 15),
            .repetition, .sequence, .common, .breached,
        ] + GuessableWord.Source.allCases.map { .guessable($0) }

    /// Commands and pages say the same of names and passwords.
    @Test func `refusals are told in words, with their limits`() throws {
        let texts = try Texts.english()
        for refusal in UsernameRefusal.allCases {
            #expect(texts.text(Message(refusal)) == refusal.message)
        }
        for refusal in Self.passwordRefusals {
            #expect(texts.text(Message(refusal)) == refusal.message)
        }
        for (message, part) in [
            (Message(PreferenceRefusal.key), "1 to 32 lower-case"),
            (Message(PreferenceRefusal.value), "1 to 256 bytes"),
            (Message(FormRefusal.tooLarge), "at most 16384 bytes"),
            (FrontRefusal.slowDown(7).message, "again in 7 s."),
            (FrontRefusal.slowDown(119).message, "again in 119 s."),
            (FrontRefusal.slowDown(120).message, "again in 2 min."),
            (FrontRefusal.slowDown(121).message, "again in 3 min."),
        ] {
            #expect(texts.text(message).contains(part))
        }
        #expect(texts.text("no.such") == "no.such")
    }

    @Test func `pages and problems speak the configured language`() async throws {
        let fixture = try await FrontFixture(pages: try settings(try other()))
        var browser = Browser(fixture)
        #expect(await browser.signIn("ada").alert?.hasPrefix("Ü The username or") == true)
        let problem = await browser.json("/v1/login", #"{"username":"ada","password":"x"}"#)
        #expect(problem.body.contains("\"title\":\"Ü The username or"))
        #expect(await browser.get("/nothing").body.contains("<h1>Ü Page not found</h1>"))
        await fixture.stop()
    }

    @Test func `a page whose form can't be made says so and has none`() async throws {
        let clock = SettableClock()
        let fixture = try await FrontFixture(clock: { clock.now })
        // Without a refresh, so that the lease runs out.
        clock.advance(7200)
        var browser = Browser(fixture)
        let answer = await browser.get("/login")
        #expect(answer.status == 503 && answer.header("retry-after") != nil)
        #expect(answer.contentType == "text/html; charset=utf-8")
        #expect(answer.body.contains("<h1>Back in a moment</h1>"))
        #expect(answer.alert?.contains("can&#39;t answer now") == true)
        #expect(!answer.body.contains("<form"))
        await fixture.stop()
    }
}

@Suite struct PageColourTests {
    @Test func `contrast is that of WCAG`() throws {
        let colour = { (text: String) in try #require(PageColour(text)) }
        #expect(abs(PageColour.black.contrast(with: .white) - 21) < 0.001)
        #expect(PageColour.white.contrast(with: .white) == 1)
        // The two greys on white that are nearest to 4.5.
        #expect(try abs(colour("#767676").contrast(with: .white) - 4.542) < 0.001)
        #expect(try abs(colour("#777777").contrast(with: .white) - 4.478) < 0.001)
        #expect(try abs(PageColour.white.contrast(with: colour("#ff0000")) - 3.998) < 0.001)
    }

    @Test func `every colour gets a readable text, and is readable as one`() {
        let steps = stride(from: 0, through: 255, by: 15).map { UInt8($0) }
        for red in steps {
            for green in steps {
                for blue in steps {
                    let colour = PageColour(red: red, green: green, blue: blue)
                    var worst = colour.readable.contrast(with: colour)
                    for surface in [PageColour.lightSurface, .darkSurface] {
                        let text = colour.readable(on: surface)
                        worst = min(worst, text.contrast(with: surface))
                        if colour.contrast(with: surface) >= 4.5 { #expect(text == colour) }
                    }
                    #expect(worst >= 4.5, "\(colour.text)")
                }
            }
        }
    }

    @Test func `a colour is changed no more than it must be`() throws {
        let yellow = try #require(PageColour("#ffcc00"))
        #expect(yellow.readable == .black)
        let onLight = yellow.readable(on: .lightSurface).contrast(with: .lightSurface)
        #expect((4.5..<4.6).contains(onLight), "\(onLight)")
        #expect(yellow.readable(on: .darkSurface) == yellow)
        let navy = try #require(PageColour("#001133"))
        #expect(navy.readable == .white)
        #expect(navy.readable(on: .lightSurface) == navy)
        let onDark = navy.readable(on: .darkSurface).contrast(with: .darkSurface)
        #expect((4.5..<4.6).contains(onDark), "\(onDark)")
    }

    /// SC 1.4.3 for text, SC 1.4.11 for the borders of fields.
    @Test func `the style's own colours are readable, light and dark`() throws {
        let style = try pages().style
        let looks = style.matches(of: /color-scheme: light dark;|dark\) \{\n/)
        #expect(looks.count == 2)
        for (look, surface) in zip(looks, [PageColour.lightSurface, .darkSurface]) {
            var colours: [String: PageColour] = [:]
            let block = style[look.range.upperBound...].prefix { $0 != "}" }
            for line in block.matches(of: /--([a-z-]+): (#[0-9a-f]{6});/) {
                colours[String(line.1)] = PageColour(String(line.2))
            }
            func contrast(_ one: String, _ other: String) throws -> Double {
                try #require(colours[one]).contrast(with: #require(colours[other]))
            }
            for ground in ["ground", "card"] {
                for ink in ["ink", "soft"] { #expect(try contrast(ink, ground) >= 4.5) }
                #expect(try contrast("edge", ground) >= 3)
                // What the accent was made readable on is the harder of the two.
                let card = try #require(colours[ground])
                for text in ["#ffcc00", "#001133", "#1f5fae", "#ff0000"] {
                    let accent = try #require(PageColour(text)).readable(on: surface)
                    #expect(accent.contrast(with: card) >= 4.5)
                }
            }
            for kind in ["bad", "good"] {
                #expect(try contrast(kind, "\(kind)-ground") >= 4.5)
                #expect(try contrast("ink", "\(kind)-ground") >= 4.5)
            }
            #expect(try contrast("bad", "card") >= 3)
            #expect([colours["ground"], colours["card"]].contains(surface))
        }
    }
}

@Suite struct PageLogoTests {
    private let directory = TemporaryDirectory()
    private static let png = [0x89] + Array("PNG\r\n\u{1A}\nrest".utf8)

    private func settings(_ bytes: [UInt8]) throws -> PageSettings {
        var settings = PageSettings()
        settings.logo = directory.path + "/logo"
        try Data(bytes).write(to: URL(fileURLWithPath: directory.path + "/logo"))
        return settings
    }

    @Test func `four kinds of pictures are known by their bytes`() {
        for (bytes, type) in [
            (Self.png, "image/png"), ([0xFF, 0xD8, 0xFF, 0xE0], "image/jpeg"),
            (Array("RIFF\0\0\0\0WEBPVP8 ".utf8), "image/webp"),
            (Array("<?xml version=\"1.0\"?>\n<svg xmlns=\"x\"/>".utf8), "image/svg+xml"),
            (Array("\u{FEFF} <svg/>".utf8), "image/svg+xml"),
            ([], nil), (Array("GIF89a".utf8), nil), (Array("svg".utf8), nil),
            (Array("x<svg/>".utf8), nil), (Array("<html>".utf8), nil),
            (Array("<svg>".utf8) + [0xFF], nil), (Array("RIFF\0\0\0\0WAVE".utf8), nil),
        ] as [([UInt8], String?)] {
            #expect(PageLogo(bytes)?.contentType == type)
        }
    }

    @Test func `a logo has its limit, is a picture and can be read`() throws {
        func padded(_ count: Int) -> [UInt8] {
            Self.png + [UInt8](repeating: 0, count: count - Self.png.count)
        }
        #expect(findings(try settings(padded(65_536))).isEmpty)
        #expect(
            findings(try settings(padded(65_537))) == [
                "\(directory.path)/logo is larger than 64 KiB"
            ])
        #expect(
            findings(try settings([])) == [
                "\(directory.path)/logo is no PNG, JPEG, WebP or SVG picture"
            ])
        var none = PageSettings()
        none.logo = directory.path + "/none"
        none.texts = directory.path + "/none"
        #expect(findings(none).count == 2, "what is wrong elsewhere is told too")
    }

    @Test func `a logo is served as it is, and pages may show it`() async throws {
        let svg = Array("<svg xmlns='http://www.w3.org/2000/svg'><script>x</script></svg>".utf8)
        for (bytes, type) in [(Self.png, "image/png"), (svg, "image/svg+xml")] {
            let fixture = try await FrontFixture(basePath: "/auth", pages: try settings(bytes))
            var browser = Browser(fixture)
            let logo = await browser.get("/auth/logo")
            #expect(logo.status == 200 && logo.contentType == type && logo.bytes == bytes)
            #expect(logo.headers.filter { $0.0 == .contentSecurityPolicy }.count == 1)
            #expect(
                logo.header("content-security-policy")
                    == "default-src 'none'; style-src 'unsafe-inline'; sandbox")
            #expect(logo.header("x-content-type-options") == "nosniff")
            let page = await browser.get("/auth/login")
            #expect(page.body.contains("<img src=\"/auth/logo\" alt=\"\">"))
            #expect(page.header("content-security-policy")?.hasSuffix("; img-src 'self'") == true)
            await fixture.stop()
        }
        let fixture = try await FrontFixture()
        var browser = Browser(fixture)
        #expect(await browser.get("/logo").status == 404)
        let page = await browser.get("/login")
        #expect(!page.body.contains("<img"))
        #expect(page.header("content-security-policy")?.contains("img-src") == false)
        await fixture.stop()
    }
}
