// Terms and choices as people meet them: read, accepted before signing in, changed at any time.

import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

private func name(_ text: String) -> SubjectName {
    guard let name = SubjectName(text) else { preconditionFailure("no name: \(text)") }
    return name
}

extension FrontFixture {
    /// Publishes the next version of a document: in force `days` from now, and required then or never.
    @discardableResult
    fileprivate func publish(
        _ document: String = "terms", inDays days: Int64 = 0, isRequired: Bool = true,
        title: String = "Terms of use", text: String = "Be kind.\n\nAnd <b>brief</b>."
    ) async throws -> Notice {
        let now = clock().wall
        let day = CalendarDay(of: now.advanced(bySeconds: days * 86_400))
        let outcome = try await store.publishNotice(
            try NoticeDraft(
                document: name(document), title: title, text: text, effective: day,
                requiredFrom: isRequired ? day : nil),
            period: NoticePeriod(businessDays: 1), at: now)
        guard case .published(let notice) = outcome else { throw NotReady() }
        return notice
    }

    fileprivate func accepted(_ user: UserID, _ document: String = "terms") async throws -> Int? {
        try await store.agreementState(of: user).accepted(name(document))
    }
}

private let schema: PeopleSchema = {
    let yaml = """
        purposes:
          letters: {title: Letters, text: Once a month., default: opt-in, version: 2}
          calls: {title: Calls, text: Rarely., default: opt-out}
        """
    guard let schema = try? PeopleSchema(yaml: yaml, name: "test") else {
        preconditionFailure("a good schema")
    }
    return schema
}()

private func withChoices(
    _ body: (FrontFixture, SettableClock) async throws -> Void
) async throws {
    let clock = SettableClock()
    let fixture = try await FrontFixture(schema: schema, clock: { clock.now })
    try await body(fixture, clock)
    await fixture.stop()
}

@Suite(.serialized) struct NoticePageTests {
    // Promise: notice-shown
    @Test func `the sign-in page says what is coming, and leads to it`() async throws {
        try await withDoor { (fixture, clock) async throws in
            var browser = Browser(fixture)
            #expect(!(await browser.get("/login").body.contains("/notices/")))
            try await fixture.publish(title: "Terms <of> use")
            #expect(!(await browser.get("/login").body.contains("/notices/")), "it is in force")
            let second = try await fixture.publish(inDays: 14, title: "Terms <of> use")
            let day = CalendarDay(of: second.effective).text
            _ = try await fixture.makeUserAccepting("ada")
            for page in ["/login", "/register"] {
                let html = await browser.get(page).body
                #expect(html.contains("/notices/terms?version=2\">Terms &lt;of&gt; use, version 2"))
                #expect(html.contains("takes effect on \(day)."), "\(page)")
            }
            _ = await browser.signInAccepting("ada")
            #expect(await browser.get("/account").body.contains("/notices/terms?version=2"))
            try await fixture.advance(clock, 15 * 86_400)
            var other = Browser(fixture)
            #expect(!(await other.get("/login").body.contains("/notices/")))
        }
    }

    // Promise: notice-shown
    @Test func `anybody reads a notice, every version of it, without a cookie`() async throws {
        try await withDoor { (fixture, clock) async throws in
            try await fixture.publish(text: "Be kind.\nAlways.\n \n\nAnd <b>brief</b>.")
            let second = try await fixture.publish(inDays: 14, text: "Be kinder.")
            var browser = Browser(fixture)
            let first = await browser.get("/notices/terms")
            #expect(first.status == 200)
            #expect(first.body.contains("<h1>Terms of use</h1>"))
            #expect(first.body.contains("<p>Be kind.\nAlways.</p>"))
            #expect(first.body.contains("<p>And &lt;b&gt;brief&lt;/b&gt;.</p>"))
            #expect(first.body.contains("/notices/terms?version=2"))
            let coming = await browser.get("/notices/terms?version=2").body
            #expect(coming.contains("Be kinder.") && coming.contains("not in force yet"))
            #expect(coming.contains(second.digest.hex))
            #expect(browser.cookies.isEmpty, "nothing is signed in or sent in from here")
            try await fixture.advance(clock, 15 * 86_400)
            let later = await browser.get("/notices/terms").body
            #expect(later.contains("Be kinder.") && !later.contains("not in force yet"))
            #expect(await browser.get("/notices/terms?version=1").body.contains("Be kind."))
            for path in [
                "/notices/terms?version=3", "/notices/terms?version=0", "/notices/terms?version=x",
                "/notices/privacy", "/notices/", "/notices/Terms", "/notices/terms/1", "/notices",
            ] {
                #expect(await browser.get(path).status == 404, "\(path)")
            }
            #expect(await browser.send(.post, "/notices/terms").status == 405)
        }
    }

    @Test func `a notice that was taken back is not shown`() async throws {
        try await withDoor { (fixture, clock) async throws in
            try await fixture.publish()
            let second = try await fixture.publish(inDays: 14)
            _ = try await fixture.store.withdrawNotice(second.id, at: clock.now.wall)
            var browser = Browser(fixture)
            #expect(await browser.get("/notices/terms?version=2").status == 404)
            #expect(!(await browser.get("/login").body.contains("/notices/")))
            #expect(!(await browser.get("/v1/notices").body.contains("\"version\":2")))
        }
    }

    @Test func `programs get the list`() async throws {
        struct Body: Decodable {
            struct Row: Decodable {
                let document: String
                let version: Int
                let sha256: String
                let required_from: Int64?
                let in_force: Bool
                let url: String
            }
            let notices: [Row]
        }
        try await withDoor(basePath: "/auth") { (fixture, _) async throws in
            let first = try await fixture.publish()
            try await fixture.publish(inDays: 14, isRequired: false)
            var browser = Browser(fixture)
            let rows = try (await browser.get("/auth/v1/notices")).decoded(Body.self).notices
            #expect(rows.map(\.version) == [1, 2] && rows.map(\.in_force) == [true, false])
            #expect(rows.map(\.required_from) == [noon, nil])
            #expect(rows[0].sha256 == first.digest.hex)
            #expect(rows[1].url == "/auth/notices/terms?version=2")
            #expect(await browser.get(rows[1].url).status == 200)
        }
    }
}

@Suite(.serialized) struct AcceptanceTests {
    private static let password = FrontFixture.password

    // Promise: acceptance
    @Test func `from its day on nobody signs in without having accepted it`() async throws {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            let notice = try await fixture.publish(inDays: 7)
            var browser = Browser(fixture)
            try await fixture.advance(clock, notice.effective.seconds - noon - 1)
            #expect(await browser.signIn("ada").status == 303, "a second before")
            try await fixture.advance(clock, 1)
            var late = Browser(fixture)
            let asked = await late.signIn("ada", remembers: true)
            #expect(asked.status == 409 && late.sessionToken == nil)
            #expect(asked.body.contains("name=\"accept.terms\" type=\"checkbox\" value=\"1\""))
            #expect(!asked.body.contains("checked> <label for=\"accept"))
            #expect(asked.body.contains("value=\"ada\""))
            #expect(!asked.body.contains(Self.password))
            #expect(try await fixture.accepted(ada.id) == nil)
            for value in ["0", "2", "x", "", "on"] {
                let refused = await late.submit(
                    "/login",
                    [("username", "ada"), ("password", Self.password), ("accept.terms", value)])
                #expect(refused.status == 409, "\(value)")
            }
            let other = await late.submit(
                "/login",
                [("username", "ada"), ("password", Self.password), ("accept.privacy", "1")])
            #expect(other.status == 409)
            let done = await late.submit(
                "/login",
                [("username", "ada"), ("password", Self.password), ("accept.terms", "1")])
            #expect(done.status == 303 && late.sessionToken != nil)
            #expect(try await fixture.accepted(ada.id) == 1)
            // Asked once; and who was signed in stays so.
            var again = Browser(fixture)
            #expect(await again.signIn("ada").status == 303)
            #expect(await fixture.isGood(browser.sessionToken))
        }
    }

    // Promise: acceptance
    @Test func `only who knows the password is asked, and can accept`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            try await fixture.publish()
            var browser = Browser(fixture)
            let wrong = await browser.submit(
                "/login",
                [("username", "ada"), ("password", "a wrong password"), ("accept.terms", "1")])
            #expect(wrong.status == 401 && !wrong.body.contains("accept.terms"))
            #expect(try await fixture.accepted(ada.id) == nil)
        }
    }

    @Test func `being asked is no failed sign-in`() async throws {
        try await withDoor { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            try await fixture.publish()
            var browser = Browser(fixture)
            for _ in 0..<12 { #expect(await browser.signIn("ada").status == 409) }
            let failures = try await fixture.accounts.gate.attempts(on: username("ada"))
            #expect((failures?.failures ?? 0) == 0)
            #expect(await browser.signInAccepting("ada").status == 303)
        }
    }

    @Test func `all that is missing has to be accepted, or nothing is`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            try await fixture.publish()
            try await fixture.publish("privacy", title: "Privacy")
            var browser = Browser(fixture)
            let half = await browser.submit(
                "/login",
                [("username", "ada"), ("password", Self.password), ("accept.terms", "1")])
            #expect(half.status == 409)
            #expect(
                half.body.contains(
                    "id=\"accept-terms\" name=\"accept.terms\" type=\"checkbox\" value=\"1\" required aria-describedby=\"accept-terms-hint\" checked>"
                ))
            #expect(half.body.contains("name=\"accept.privacy\""))
            #expect(!half.body.contains("accept-privacy-hint\" checked"))
            #expect(try await fixture.accepted(ada.id) == nil)
            let both = await browser.submit(
                "/login",
                [
                    ("username", "ada"), ("password", Self.password), ("accept.terms", "1"),
                    ("accept.privacy", "1"),
                ])
            #expect(both.status == 303)
            #expect(try await fixture.accepted(ada.id, "privacy") == 1)
        }
    }

    // Promise: acceptance
    @Test func `a remember cookie brings nobody past what they have to accept`() async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            let notice = try await fixture.publish(inDays: 7)
            try await fixture.advance(clock, notice.effective.seconds - noon - 1)
            var before = browser
            before.restart()
            #expect(await before.get("/resume?return_to=/tea").location == "/tea")
            try await fixture.advance(clock, 1)
            browser = before
            browser.restart()
            let sent = await browser.get("/resume?return_to=/tea")
            #expect(sent.location == "/login?notice=agreements&return_to=/tea")
            #expect(browser.sessionToken == nil)
            #expect(await browser.json("/v1/resume", "{}").status == 401)
            #expect(
                await browser.get("/login?notice=agreements").body.contains(
                    "you have to accept before you go on"))
            // Nothing was used up.
            _ = try await fixture.store.record(
                [AgreementEntry(accepting: notice.id)],
                of: try #require(try await fixture.store.user(named: username("ada"))).id,
                session: nil, purposes: [], at: clock.now.wall)
            #expect(await browser.get("/resume").location == "/account")
            #expect(await before.get("/resume").location == "/account", "a live session goes on")
        }
    }

    @Test func `programs are told what is missing, and accept it with the password`() async throws {
        struct Problem: Decodable {
            struct Document: Decodable {
                let document: String
                let version: Int
                let title: String
                let sha256: String
            }
            let documents: [Document]?
        }
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            let notice = try await fixture.publish()
            var program = Browser(fixture)
            program.fields = ["sec-fetch-site": nil, "origin": nil]
            func body(_ more: String) -> String {
                #"{"username":"ada","password":"\#(Self.password)","transport":"bearer"\#(more)}"#
            }
            for more in [
                "", #","accept":[]"#, #","accept":[{"document":"terms","version":2}]"#,
                #","accept":[{"document":"Terms!","version":1}]"#, #","accept":null"#,
            ] {
                let asked = await program.json("/v1/login", body(more))
                #expect(asked.status == 409 && asked.problem == "agreement_required", "\(more)")
                let documents = try #require(try asked.decoded(Problem.self).documents)
                #expect(documents.map(\.document) == ["terms"] && documents[0].version == 1)
                #expect(documents[0].sha256 == notice.digest.hex)
            }
            let wrong = await program.json("/v1/login", body(#","accept":[{"document":"terms"}]"#))
            #expect(wrong.status == 400)
            let accepting = #","accept":[{"document":"terms","version":1}]"#
            let done = await program.json("/v1/login", body(accepting))
            #expect(done.status == 200)
            #expect(try await fixture.accepted(ada.id) == 1)
            let other = await program.json("/v1/login", #"{"username":"eve","password":"x"}"#)
            #expect(try other.decoded(Problem.self).documents == nil)
        }
    }

    // Promise: acceptance
    @Test func `who registers accepts what is asked for, in one transaction`() async throws {
        try await withDoor { (fixture, clock) async throws in
            var browser = Browser(fixture)
            #expect(!(await browser.get("/register").body.contains("accept.")))
            try await fixture.publish()
            try await fixture.publish("privacy", isRequired: false)
            try await fixture.publish(inDays: 14)
            let page = await browser.get("/register").body
            #expect(page.contains("name=\"accept.terms\" type=\"checkbox\" value=\"1\""))
            #expect(!page.contains("accept.privacy") && !page.contains("-hint\" checked"))
            let fields = [("username", "ada"), ("password", Self.password)]
            for more in [[], [("accept.terms", "3")], [("accept.privacy", "1")]] {
                let refused = await browser.submit("/register", fields + more)
                #expect(refused.status == 409, "\(more)")
                #expect(refused.body.contains("value=\"ada\""))
            }
            #expect(try await fixture.store.user(named: username("ada")) == nil)
            let json = #"{"username":"bob","password":"\#(Self.password)""#
            #expect(await browser.json("/v1/register", json + "}").problem == "agreement_required")
            let taken = await browser.submit(
                "/register",
                [("username", "ada"), ("password", "short"), ("accept.terms", "1")])
            #expect(taken.status == 422 && taken.body.contains("accept-terms-hint\" checked"))
            let done = await browser.submit("/register", fields + [("accept.terms", "1")])
            #expect(done.status == 303)
            let accept = #","accept":[{"document":"terms","version":1}]}"#
            #expect(await browser.json("/v1/register", json + accept).status == 201)
            for text in ["ada", "bob"] {
                let user = try #require(try await fixture.store.user(named: username(text)))
                #expect(try await fixture.accepted(user.id) == 1, "\(text)")
                #expect(try await fixture.store.agreements(of: user.id, limit: 9).count == 1)
            }
            #expect(await browser.signIn("ada").status == 303, "nothing more is asked")
        }
    }

    @Test func `giving the password again asks too, or a session would go on for ever`()
        async throws
    {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let before = browser.sessionToken
            try await fixture.publish()
            #expect(await browser.get("/account").status == 200)
            #expect(!(await browser.get("/confirm").body.contains("accept.terms")))
            let asked = await browser.submit("/confirm", [("password", Self.password)])
            #expect(asked.status == 409 && asked.body.contains("name=\"accept.terms\""))
            #expect(browser.sessionToken == before)
            let json = #"{"password":"\#(Self.password)""#
            #expect(await browser.json("/v1/confirm", json + "}").problem == "agreement_required")
            let done = await browser.submit(
                "/confirm", [("password", Self.password), ("accept.terms", "1")])
            #expect(done.status == 303 && browser.sessionToken != before)
            #expect(await browser.json("/v1/confirm", json + "}").status == 200)
        }
    }
}

extension AcceptanceTests {
    @Test func `who is leaving signs in without accepting, and is asked when they stay`()
        async throws
    {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let notice = try await fixture.publish(inDays: 7)
            let leave = [("password", Self.password)]
            #expect(await browser.submit("/account/leave", leave).status == 303)
            try await fixture.advance(clock, notice.effective.seconds - noon)
            browser = Browser(fixture)
            #expect(await browser.signIn("ada").status == 303)
            #expect(try await fixture.accepted(ada.id) == nil)
            #expect(await browser.act("/account/leave/cancel").status == 303)
            var next = Browser(fixture)
            #expect(await next.signIn("ada").status == 409)
        }
    }

    @Test(arguments: [(-1, true), (86_399, true), (86_400, false)] as [(Int64, Bool)])
    func `asking to leave later, in turn with staying, doesn't put off the question`(
        _ seconds: Int64, _ goesBefore: Bool
    ) throws {
        let deletion = Deletion(
            user: try UserID.random(from: .system), requested: time(noon + seconds),
            due: time(noon + 30 * 86_400))
        #expect(deletion.goesBefore(time(noon), sessionSeconds: 86_400) == goesBefore)
        #expect(!deletion.goesBefore(nil, sessionSeconds: 86_400))
    }

    private struct Lifetime: Decodable { let absolute_deadline: Int64 }

    private func deadline(_ browser: inout Browser) async throws -> Int64 {
        let answer = await browser.get("/v1/session")
        return try answer.decoded(Lifetime.self).absolute_deadline
    }

    @Test func `changing the password doesn't put off the question`() async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let end = try await deadline(&browser)
            var passwords = [Self.password, "seven grey herons wait", "nine red foxes run"]
            func change() async {
                let (current, new) = (passwords.removeFirst(), passwords[0])
                let changed = await browser.json(
                    "/v1/account/password",
                    #"{"current_password":"\#(current)","new_password":"\#(new)"}"#)
                #expect(changed.status == 200)
            }
            try await fixture.advance(clock, 600)
            await change()
            #expect(try await deadline(&browser) == end + 600, "nothing is missing")
            try await fixture.publish()
            try await fixture.advance(clock, 600)
            await change()
            #expect(try await deadline(&browser) == end + 600, "no later than before")
        }
    }

    @Test func `a session that ends early is idle no longer than it lives`() throws {
        let limits = try #require(SessionLimits(idleSeconds: 60, absoluteSeconds: 600))
        func ending(_ seconds: Int64) -> [Int64]? {
            limits.ending(by: time(noon + seconds), at: time(noon)).map {
                [$0.idleSeconds, $0.absoluteSeconds]
            }
        }
        #expect(ending(601) == [60, 600] && ending(599) == [60, 599])
        #expect(ending(59) == [59, 59] && ending(1) == [1, 1] && ending(0) == nil)
    }
}

@Suite(.serialized) struct ChoiceTests {
    private struct Standing: Decodable {
        struct Document: Decodable {
            let document: String
            let version: Int
            let in_force: Bool
            let required: Bool
            let accepted: Bool
            let accepted_at: Int64?
        }
        struct Choice: Decodable {
            let purpose: String
            let initial: String
            let version: Int
            let holds: Bool
        }
        struct Statement: Decodable {
            let subject: String
            let version: Int
            let given: Bool
            let time: Int64
        }
        let documents: [Document]
        let choices: [Choice]
        let statements: [Statement]
    }

    private func standing(_ browser: inout Browser) async throws -> Standing {
        let answer = await browser.get("/v1/account/agreements")
        return try answer.decoded(Standing.self)
    }

    // Promise: choice
    @Test func `a choice counts at once, wherever it is read`() async throws {
        try await withChoices { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let page = await browser.get("/account/agreements").body
            #expect(page.contains("value=\"2\" aria-describedby=\"choice-letters-hint\">"))
            #expect(page.contains("value=\"1\" aria-describedby=\"choice-calls-hint\" checked>"))
            func holding() async throws -> [Int] {
                var counts: [Int] = []
                for purpose in schema.purposes {
                    counts.append(
                        try await fixture.store.choosers(of: purpose, after: nil, limit: 9).count)
                }
                return counts
            }
            #expect(try await holding() == [0, 1])
            let shown = ("shown", "letters,calls")
            let saved = await browser.submit(
                "/account/agreements", [shown, ("choice.letters", "2")])
            #expect(saved.location == "/account/agreements?notice=saved")
            #expect(try await holding() == [1, 0])
            let standing = try await standing(&browser)
            #expect(standing.choices.map(\.holds) == [true, false])
            #expect(standing.choices.map(\.initial) == ["opt-in", "opt-out"])
            #expect(standing.statements.map(\.subject) == ["purpose:calls", "purpose:letters"])
            #expect(standing.statements.map(\.given) == [false, true])
            let after = await browser.get("/account/agreements?notice=saved").body
            #expect(after.contains("Saved."))
            #expect(after.contains("aria-describedby=\"choice-letters-hint\" checked>"))
            #expect(after.contains("<dt>Withdrawn</dt>") && after.contains("<dt>Given</dt>"))
            // The same once more is nothing new.
            _ = await browser.submit("/account/agreements", [shown, ("choice.letters", "2")])
            #expect(try await self.standing(&browser).statements.count == 2)
            _ = await browser.submit("/account/agreements", [shown])
            #expect(try await holding() == [0, 0])
        }
    }

    @Test func `what a form did not show is not chosen against, and an older text not agreed to`()
        async throws
    {
        try await withChoices { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            for (fields, status) in [
                ([("shown", "letters")], 303), ([], 303), ([("choice.letters", "2")], 303),
                ([("shown", "letters"), ("choice.letters", "1")], 409),
                ([("shown", "letters"), ("choice.letters", "on")], 409),
                ([("shown", "sales")], 422), ([("shown", "Letters")], 422),
                ([("document", "terms"), ("version", "1"), ("given", "yes")], 422),
                ([("document", "T"), ("version", "1"), ("given", "yes")], 422),
            ] as [([(String, String)], Int)] {
                #expect(
                    await browser.submit("/account/agreements", fields).status == status,
                    "\(fields)")
            }
            #expect(try await fixture.store.agreements(of: ada.id, limit: 9).isEmpty)
        }
    }

    @Test func `a form says what was changed in it, and every no that a default could undo`()
        async throws
    {
        try await withChoices { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let page = await browser.get("/account/agreements").body
            #expect(page.contains("name=\"ticked\" value=\"calls\""))
            func said() async throws -> [String] {
                try await fixture.store.agreements(of: ada.id, limit: 9).reversed().map {
                    "\($0.entry.subject.name.text) \($0.entry.version) \($0.entry.isGiven)"
                }
            }
            func save(_ fields: (String, String)...) async {
                let saved = await browser.submit(
                    "/account/agreements", [("shown", "letters,calls")] + fields)
                #expect(saved.status == 303)
            }
            await save(("ticked", "calls"), ("choice.calls", "1"))
            #expect(try await said() == [], "a box that was ticked for them is no yes of theirs")
            await save(("ticked", "calls"))
            #expect(try await said() == ["calls 1 false"])
            await save(("ticked", "letters"))
            #expect(try await said() == ["calls 1 false", "letters 2 false"], "it was ticked")
            // What they said yes to was another version: the box is empty, and they leave it so.
            let bob = try await fixture.makeUser("bob")
            _ = try await fixture.store.record(
                [AgreementEntry(.purpose(name("letters")), version: 1, isGiven: true)],
                of: bob.id, session: nil, purposes: schema.purposes, at: fixture.clock().wall)
            var other = Browser(fixture)
            _ = await other.signIn("bob")
            _ = await other.submit("/account/agreements", [("shown", "letters"), ("ticked", "")])
            let last = try await fixture.store.agreements(of: bob.id, limit: 9)
            #expect(last.map(\.entry.isGiven) == [false, true])
        }
    }

    @Test func `a program's no is recorded even where nothing holds`() async throws {
        try await withChoices { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            for body in [
                #"{"subject":"purpose:letters","given":false}"#,
                #"{"subject":"purpose:calls","given":true}"#,
            ] {
                // The second time it is said already.
                for _ in 1...2 {
                    #expect(await browser.json("/v1/account/agreements", body).status == 204)
                }
            }
            let said = try await fixture.store.agreements(of: ada.id, limit: 9)
            #expect(said.map(\.entry.subject.name.text) == ["calls", "letters"])
            #expect(said.map(\.entry.isGiven) == [true, false])
        }
    }

    @Test func `programs choose and withdraw, each thing by its name`() async throws {
        try await withChoices { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            try await fixture.publish(isRequired: false)
            try await fixture.publish(inDays: 14, isRequired: false)
            var browser = Browser(fixture)
            let stranger = await browser.json(
                "/v1/account/agreements", #"{"subject":"purpose:letters","given":true}"#)
            #expect(stranger.status == 401)
            #expect(await browser.get("/v1/account/agreements").status == 401)
            #expect(await browser.get("/account/agreements").location?.hasPrefix("/resume") == true)
            _ = await browser.signIn("ada")
            for (body, status, problem) in [
                (#"{"subject":"purpose:letters","given":true}"#, 204, nil),
                (
                    #"{"subject":"purpose:letters","version":1,"given":true}"#, 409,
                    "agreement_changed"
                ),
                (#"{"subject":"purpose:letters","version":1,"given":false}"#, 204, nil),
                (#"{"subject":"purpose:sales","given":true}"#, 422, "subject"),
                (#"{"subject":"letters","given":true}"#, 422, "subject"),
                (#"{"subject":"document:privacy","given":true}"#, 422, "subject"),
                (
                    #"{"subject":"document:terms","version":3,"given":true}"#, 409,
                    "agreement_changed"
                ),
                (
                    #"{"subject":"document:terms","version":0,"given":true}"#, 409,
                    "agreement_changed"
                ),
                (#"{"subject":"document:terms","given":true}"#, 204, nil),
                (#"{"subject":"document:terms","version":2,"given":true}"#, 204, nil),
                (#"{"subject":"document:terms","version":1,"given":true}"#, 204, nil),
                (#"{"subject":"document:terms"}"#, 400, "json"),
            ] as [(String, Int, String?)] {
                let answer = await browser.json("/v1/account/agreements", body)
                #expect(answer.status == status && answer.problem == problem, "\(body)")
            }
            #expect(try await fixture.accepted(ada.id) == 2)
            let standing = try await standing(&browser)
            #expect(standing.documents.map(\.accepted) == [true, true])
            #expect(standing.documents.map(\.in_force) == [true, false])
            #expect(standing.documents.map(\.required) == [false, false])
            #expect(standing.statements.map(\.version) == [2, 1, 2, 2])
            let withdrawn = await browser.json(
                "/v1/account/agreements", #"{"subject":"document:terms","given":false}"#)
            #expect(withdrawn.status == 204)
            #expect(try await fixture.accepted(ada.id) == nil)
            #expect(try await fixture.store.agreements(of: ada.id, limit: 1)[0].entry.version == 2)
        }
    }

    // Promise: acceptance
    @Test func `the account shows what was accepted and what is coming; both can be changed`()
        async throws
    {
        try await withChoices { (fixture, clock) async throws in
            try await fixture.publish()
            let ada = try await fixture.makeUserAccepting("ada")
            let second = try await fixture.publish(inDays: 14, title: "Newer terms")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let page = await browser.get("/account/agreements").body
            #expect(
                page.contains("Terms of use, version 1")
                    && page.contains("2026-11-24 12:00 UTC</time>, version 1"))
            #expect(page.contains("Newer terms, version 2") && page.contains("Coming"))
            #expect(page.matches(of: /Needed to sign in/).count == 2)
            let listed = try await standing(&browser).documents
            #expect(listed.map(\.required) == [true, true])
            #expect(page.contains("<dd>Not by you</dd>"))
            let accept = [("document", "terms"), ("version", "2"), ("given", "yes")]
            #expect(await browser.submit("/account/agreements", accept).status == 303)
            #expect(try await fixture.accepted(ada.id) == 2)
            try await fixture.advance(clock, 15 * 86_400)
            #expect(CalendarDay(of: clock.now.wall) > CalendarDay(of: second.effective))
            var later = Browser(fixture)
            #expect(await later.signIn("ada").status == 303, "accepted in advance")
            // The version that was in force is no longer accepted.
            let older = [("document", "terms"), ("version", "1"), ("given", "yes")]
            #expect(await later.submit("/account/agreements", older).status == 409)
            let withdraw = [("document", "terms"), ("version", "2"), ("given", "no")]
            #expect(await later.submit("/account/agreements", withdraw).status == 303)
            #expect(await later.get("/account").status == 200, "the session goes on")
            var next = Browser(fixture)
            #expect(await next.signIn("ada").status == 409)
        }
    }

    @Test func `the last statements are listed, and an export has all`() async throws {
        try await withChoices { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            for number in 0...FrontDoor.maximumShownAgreements {
                let entry = AgreementEntry(
                    .purpose(name("letters")), version: 2, isGiven: number % 2 == 0)
                let outcome = try await fixture.store.record(
                    [entry], of: ada.id, session: nil, purposes: schema.purposes,
                    at: clock.now.wall)
                #expect(outcome == .recorded(1))
            }
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            #expect(
                try await standing(&browser).statements.count == FrontDoor.maximumShownAgreements)
            let exported = try await fixture.door.people.exportedAgreements(of: ada.id)
            guard case .fields(let fields) = exported.value,
                case .list(let statements) = fields.first?.value
            else { throw FrontFixture.NotReady() }
            #expect(statements.count == FrontDoor.maximumShownAgreements + 1)
        }
    }

    @Test func `an export says what was said, and what holds`() async throws {
        try await withChoices { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            for given in [true, false] {
                clock.advance(1)
                _ = await browser.json(
                    "/v1/account/agreements", #"{"subject":"purpose:letters","given":\#(given)}"#)
            }
            func statement(_ given: Bool, _ seconds: Int64) -> ExportValue {
                .fields([
                    .init("kind", .text("purpose")), .init("name", .text("letters")),
                    .init("version", .number(2)), .init("given", .flag(given)),
                    .init("time", .time(time(noon + seconds))),
                ])
            }
            let exported = try await fixture.door.people.exportedAgreements(of: ada.id)
            #expect(
                exported
                    == .init(
                        "agreements",
                        .fields([
                            .init("statements", .list([statement(true, 1), statement(false, 2)])),
                            .init(
                                "choices",
                                .fields([
                                    .init("letters", .flag(false)), .init("calls", .flag(true)),
                                ])),
                        ])))
        }
    }
}

extension FrontFixture {
    /// Somebody who accepted version 1 of the terms as they registered.
    fileprivate func makeUserAccepting(_ text: String) async throws -> User {
        var enrolment = Enrolment()
        enrolment.agreements = [NoticeID(document: name("terms"), version: 1)]
        let outcome = await accounts.register(
            username: Array(text.utf8), password: Array(Self.password.utf8), invitation: nil,
            enrolment: enrolment)
        guard case .registered(let user) = outcome else { throw NotReady() }
        return user
    }
}

extension Browser {
    fileprivate mutating func signInAccepting(_ name: String) async -> FrontResponse {
        await submit(
            "/login",
            [("username", name), ("password", FrontFixture.password), ("accept.terms", "1")])
    }
}
