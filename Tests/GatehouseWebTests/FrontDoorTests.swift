// The front door in process: what people and programs do, and what is refused.

import GatehouseCore
import GatehousePasswords
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

@Suite(.serialized) struct FrontDoorTests {
    private static let password = FrontFixture.password

    private func with(
        registration: Registration = .open, usernames: UsernamePolicy = UsernamePolicy(),
        basePath: String = "/", policy: PasswordPolicy = PasswordPolicy(),
        _ body: (FrontFixture) async throws -> Void
    ) async throws {
        let fixture = try await FrontFixture(
            registration: registration, usernames: usernames, basePath: basePath, policy: policy)
        try await body(fixture)
        await fixture.stop()
    }

    // MARK: The story

    // Promise: session-cookie
    @Test func `a person registers, signs in, sees who they are, and signs out`() async throws {
        try await with(usernames: UsernamePolicy(allowsUnicode: true)) {
            (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            let registered = await browser.submit(
                "/register", [("username", "Zoë"), ("password", Self.password)])
            #expect(registered.status == 303)
            #expect(registered.header("location") == "/login?notice=registered")
            #expect(await browser.get("/login?notice=registered").body.contains("role=\"status\""))
            let signedIn = await browser.submit(
                "/login",
                [("username", "ZOË"), ("password", Self.password), ("return_to", "/a?b=c&d=e")])
            #expect(signedIn.status == 303)
            #expect(signedIn.header("location") == "/a?b=c&d=e")
            #expect(browser.cookies["__Host-gatehouse-form"] == nil, "the pre-session ends")
            #expect(await fixture.isGood(browser.sessionToken))
            #expect(await browser.get("/account").body.contains("<strong><bdi>zoë</bdi></strong>"))
            let token = browser.sessionToken
            let signedOut = await browser.submit("/logout", [])
            #expect(signedOut.status == 303)
            #expect(signedOut.header("clear-site-data") == #""cache", "storage""#)
            #expect(Array(browser.cookies.keys) == ["__Host-gatehouse-device"], "it stays")
            #expect(await !fixture.isGood(token))
            #expect(await browser.get("/account").status == 303)
        }
    }

    @Test func `a program registers, signs in with a bearer token, and signs out`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            var program = Browser(fixture)
            program.fields = ["sec-fetch-site": nil, "origin": nil]
            let body = #"{"username":"ada","password":"\#(Self.password)","transport":"bearer"}"#
            #expect(await program.json("/v1/register", body).status == 201)
            let signedIn = await program.json("/v1/login", body)
            #expect(signedIn.status == 200)
            #expect(program.cookies.isEmpty)
            let start = try #require(signedIn.body.firstRange(of: #""token":""#))
            let token = String(signedIn.body[start.upperBound...].prefix { $0 != "\"" })
            program.fields["authorization"] = "Bearer \(token)"
            #expect(await program.get("/v1/session").status == 200)
            #expect(await program.json("/v1/logout", "").status == 204)
            let after = await program.get("/v1/session")
            #expect(after.status == 401)
            #expect(after.header("www-authenticate") == "Gatehouse")
        }
    }

    @Test func `JSON with a cookie gives no token in the body`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            let body = #"{"username":"ada","password":"\#(Self.password)"}"#
            let signedIn = await browser.json("/v1/login", body)
            #expect(signedIn.status == 200)
            #expect(!signedIn.body.contains("token"))
            #expect(await fixture.isGood(browser.sessionToken))
        }
    }

    @Test func `below a base path everything is there and nowhere else`() async throws {
        try await with(basePath: "/auth") { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            let page = await browser.get("/auth/login")
            #expect(page.status == 200)
            #expect(page.body.contains("action=\"/auth/login\""))
            for path in [
                "/login", "/authlogin", "/auth", "/auth/", "/auth/auth/login", "/auth//login",
            ] {
                #expect(await browser.get(path).status == 404, "\(path)")
            }
        }
    }

    // MARK: One answer for every failed sign-in

    @Test func `unknown, wrong, disabled and impossible are the same answer`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            let off = try await fixture.makeUser("off")
            _ = try await fixture.store.setUser(
                off.id, state: .disabled, audit: AuditEvent(.userDisabled, by: .command),
                at: time(noon))
            let id = try UserID.random(from: .system)
            _ = try await fixture.store.addUser(
                username("nopassword"), id: id, passwordHash: nil,
                audit: AuditEvent(.userCreated, by: .command, user: id), at: time(noon))
            let attempts = [
                ("nobody", Self.password), ("ada", "wrong"), ("off", Self.password),
                ("nopassword", Self.password), ("a b", Self.password), ("", Self.password),
                ("ada", ""), ("ada", String(repeating: "x", count: 1025)), ("ada", "a\0b"),
                (String(repeating: "a", count: 300), Self.password), ("ada", Self.password + "\n"),
            ]
            var bodies = Set<String>()
            for (name, password) in attempts {
                var browser = Browser(fixture)
                let answer = await browser.signIn(name, password)
                #expect(answer.status == 401, "\(name)")
                #expect(browser.sessionToken == nil)
                // The name that was typed is shown again, and the form has its own token.
                let token = try #require(Browser.formToken(answer.body))
                bodies.insert(
                    answer.body.replacing(token, with: "TOKEN")
                        .replacing("value=\"\(name)\"", with: "value=\"NAME\"")
                        // Without a name the cursor is put there.
                        .replacing(" autofocus", with: ""))
                var program = Browser(fixture)
                program.fields = ["sec-fetch-site": nil, "origin": nil]
                guard !name.isEmpty, !password.contains("\0"), !password.contains("\n") else {
                    continue
                }
                let json = await program.json(
                    "/v1/login", #"{"username":"\#(name)","password":"\#(password)"}"#)
                #expect(json.status == 401)
                #expect(json.body.contains("urn:gatehouse:problem:credentials"))
            }
            #expect(bodies.count == 1)
        }
    }

    @Test func `what is typed is shown as text`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            let answer = await browser.signIn("\"><script>alert(1)</script>", "x")
            #expect(!answer.body.contains("<script>"))
            #expect(answer.body.contains("&lt;script&gt;"))
        }
    }

    // MARK: Fixation, and two people on one browser

    @Test func `a new sign-in ends what the browser presented, and never adopts it`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            _ = try await fixture.makeUser("bob")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let first = try #require(browser.sessionToken)
            _ = await browser.signIn("bob")
            let second = try #require(browser.sessionToken)
            #expect(first != second)
            #expect(await !fixture.isGood(first))
            #expect(await browser.get("/account").body.contains("<strong><bdi>bob</bdi></strong>"))
            _ = await browser.signIn("bob")
            #expect(await !fixture.isGood(second), "signing in again ends the session before")

            var fixated = Browser(fixture)
            fixated.cookies["__Host-gatehouse"] = "AAAA"
            _ = await fixated.signIn("ada")
            #expect(fixated.sessionToken != "AAAA")
            #expect(await fixture.isGood(fixated.sessionToken))
        }
    }

    @Test func `two session cookies are nobody's, and sign-out ends both`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            var one = Browser(fixture)
            _ = await one.signIn("ada")
            var two = Browser(fixture)
            _ = await two.signIn("ada")
            let tokens = [try #require(one.sessionToken), try #require(two.sessionToken)]
            one.cookies["__Host-gatehouse"] = tokens.joined(separator: "; __Host-gatehouse=")
            #expect(await one.get("/v1/session").status == 401)
            #expect(await one.submit("/logout", []).status == 303)
            for token in tokens { #expect(await !fixture.isGood(token)) }
        }
    }

    @Test func `signing out twice, or without a session, still deletes the cookies`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            browser.cookies["__Host-gatehouse"] = "AAAA"
            #expect(await browser.submit("/logout", []).status == 303)
            #expect(browser.cookies.isEmpty)
            #expect(await browser.submit("/logout", []).status == 303)
        }
    }

    @Test func `signing out by GET changes nothing`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            #expect(await browser.get("/logout").status == 200)
            #expect(await fixture.isGood(browser.sessionToken))
        }
    }

    /// A sign-in that races with a disabling or a new password leaves no session behind.
    @Test func `a sign-in that races with its user's end leaves no session, hundreds of times`()
        async throws
    {
        try await with { (fixture: FrontFixture) async throws in
            var won = 0
            // One hash for all: the race is about the reading and writing around it.
            let hash = try #require(try await fixture.makeUser("ada").passwordHash)
            let alone = try await ContinuousClock().measure {
                let outcome = await fixture.accounts.signIn(
                    PasswordGate.Try(
                        username: Array("ada".utf8), password: Array(Self.password.utf8)),
                    client: Accounts.Client(transport: .cookie))
                guard case .signedIn = outcome else { throw FrontFixture.NotReady() }
            }
            let microseconds = max(1, Int(alone / .microseconds(1)))
            for round in 0..<300 {
                let user = try await fixture.addUser("user\(round)", passwordHash: hash)
                let secret =
                    round % 2 == 0 ? nil : try await fixture.makeLink(.recovery(user.id))
                async let outcome = fixture.accounts.signIn(
                    PasswordGate.Try(
                        username: user.username.utf8, password: Array(Self.password.utf8)),
                    client: Accounts.Client(transport: .cookie))
                // Now before, now after the sign-in's reading, verifying and writing.
                try await Task.sleep(
                    for: .microseconds(Int.random(in: 0...(2 * microseconds))))
                if let secret {
                    let recovered = await fixture.accounts.recover(
                        Array(secret.utf8), password: Array("another horse battery".utf8))
                    guard case .recovered = recovered else { throw FrontFixture.NotReady() }
                } else {
                    let changed = try await fixture.store.setUser(
                        user.id, state: .disabled,
                        audit: AuditEvent(.userDisabled, by: .command), at: time(noon))
                    guard case .changed(_, let position) = changed else {
                        throw FrontFixture.NotReady()
                    }
                    try await fixture.node.catchUp(to: position, at: time(noon))
                }
                guard case .signedIn(let signedIn) = await outcome else { continue }
                won += 1
                #expect(await !fixture.isGood(signedIn.token), "round \(round)")
            }
            #expect(won > 0 && won < 300, "both orders were tried: \(won)")
        }
    }

    // MARK: Registration

    // Promise: unique-names
    @Test func `of sixty-four racing registrations one is 201 and the others 409`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            let names = ["racer", "RACER", "Racer", "ｒａｃｅｒ", "ＲＡＣＥＲ", "rAcEr"]
            let statuses = await withTaskGroup(of: Int.self) { group in
                for index in 0..<64 {
                    group.addTask {
                        var program = Browser(fixture)
                        let name = names[index % names.count]
                        return await program.json(
                            "/v1/register",
                            #"{"username":"\#(name)","password":"\#(Self.password)"}"#
                        ).status
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses.count { $0 == 201 } == 1)
            #expect(statuses.count { $0 == 409 } == 63)
            #expect(try await fixture.store.users(after: nil, limit: 10).count == 1)
        }
    }

    /// 1024 bytes.
    private static let longest = (0..<256).map { String(1000 + $0) }.joined()

    @Test(arguments: [
        ("ada", "short", 422), ("ada", "fourteen chars", 422), ("a b", "", 422), ("", "x", 422),
        ("\u{202E}abc", "correct horse battery", 422), ("a\0b", "correct horse battery", 422),
        ("ada", "fifteen chars..", 303), ("ada", longest, 303), ("ada", longest + "x", 422),
        ("ada", "nul is \0 allowed in here", 303), ("ada", "crlf \r\n too, and é", 303),
    ])
    func `a registration is refused with its reason`(
        _ name: String, _ password: String, _ status: Int
    ) async throws {
        try await with { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            let answer = await browser.submit(
                "/register", [("username", name), ("password", password)])
            #expect(answer.status == status)
            #expect((answer.alert != nil) == (status != 303))
        }
    }

    private static let policy = PasswordPolicy(
        serviceNames: ["app.example"], contextWords: ["Springfield"], common: CommonPasswords(),
        breached: OneLeaked())

    /// REQUIREMENTS PW-5: the person is told the reason.
    @Test(arguments: [
        ("adalovelace-1815", "your username"), ("Example!Example!1", "name of this service"),
        ("springfield12345", "everybody here would guess"), ("aB1!aB1!aB1!aB1!", "repeated"),
        ("QWERTYuiopasdfgh", "neighbouring"), ("Correct horse battery staple", "common"),
        ("plum over SEVEN ships", "leaked"),
    ])
    func `pages and programs say why a password can't be chosen`(
        _ password: String, _ reason: String
    ) async throws {
        try await with(policy: Self.policy) { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            let page = await browser.submit(
                "/register", [("username", "AdaLovelace"), ("password", password)])
            #expect(page.status == 422)
            #expect(page.alert?.contains(reason) == true, "\(page.alert ?? "")")
            #expect(!page.body.contains(password))
            let problem = await browser.json(
                "/v1/register", #"{"username":"adalovelace","password":"\#(password)"}"#)
            #expect(problem.status == 422)
            #expect(problem.contentType == "application/problem+json")
            #expect(problem.body.contains("urn:gatehouse:problem:password"))
            #expect(problem.body.contains(reason))
            #expect(!problem.body.contains(password))
            #expect(try await fixture.store.users(after: nil, limit: 10).isEmpty)

            let user = try await fixture.makeUser("adalovelace")
            let link = try await fixture.makeLink(.recovery(user.id))
            let recovery = await browser.submit(
                "/recover?token=\(link)", [("password", password), ("token", link)])
            #expect(recovery.status == 422)
            #expect(recovery.alert?.contains(reason) == true)
            let better = [("password", Self.password + password), ("token", link)]
            #expect(await browser.submit("/recover?token=\(link)", better).status == 303)
        }
    }

    @Test func `while a list can't be read, nobody gets a new password`() async throws {
        try await with(policy: PasswordPolicy(breached: NoList())) {
            (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            let fields = [("username", "ada"), ("password", Self.password)]
            let page = await browser.submit("/register", fields)
            #expect(page.status == 503)
            #expect(page.header("retry-after") != nil)
            #expect(try await fixture.store.users(after: nil, limit: 10).isEmpty)
        }
    }

    @Test func `with invitations, one link makes one account`() async throws {
        try await with(registration: .invite) { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            #expect(await browser.get("/register").status == 403)
            #expect(
                await browser.json(
                    "/v1/register", #"{"username":"a","password":"\#(Self.password)"}"#
                ).status == 403)
            let link = try await fixture.makeLink(.invitation)
            let fields = [("username", "ada"), ("password", Self.password), ("invite", link)]
            #expect(await browser.submit("/register?invite=\(link)", fields).status == 303)
            let again = [("username", "eve"), ("password", Self.password), ("invite", link)]
            #expect(await browser.submit("/register?invite=\(link)", again).status == 403)
            let late = try await fixture.makeLink(.invitation, expires: noon)
            let lateFields = [("username", "eve"), ("password", Self.password), ("invite", late)]
            #expect(await browser.submit("/register?invite=\(late)", lateFields).status == 403)
            #expect(try await fixture.store.users(after: nil, limit: 10).count == 1)
        }
    }

    @Test func `a taken name leaves the invitation for another try`() async throws {
        try await with(registration: .invite) { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            for (name, status) in [("ada", 303), ("ada", 409), ("eve", 303)] {
                let link = try await fixture.makeLink(.invitation)
                let fields = [("username", name), ("password", Self.password), ("invite", link)]
                #expect(await browser.submit("/register?invite=\(link)", fields).status == status)
                guard status == 409 else { continue }
                let other = [("username", "bob"), ("password", Self.password), ("invite", link)]
                #expect(await browser.submit("/register?invite=\(link)", other).status == 303)
            }
        }
    }

    @Test func `closed means closed`() async throws {
        try await with(registration: .closed) { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            #expect(await browser.get("/register").status == 403)
            #expect(await !browser.get("/login").body.contains("/register"))
            let body = #"{"username":"ada","password":"\#(Self.password)"}"#
            #expect(await browser.json("/v1/register", body).status == 403)
        }
    }

    // MARK: Recovery

    @Test func `a recovery link sets a password once and ends every session`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            let user = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let token = browser.sessionToken
            let link = try await fixture.makeLink(.recovery(user.id))
            let new = "a new horse battery staple"
            #expect(await browser.get("/recover?token=\(link)").status == 200)
            let weak = await browser.submit(
                "/recover?token=\(link)", [("password", "x"), ("token", link)])
            #expect(weak.status == 422, "and the link is not used up")
            let set = await browser.submit(
                "/recover?token=\(link)", [("password", new), ("token", link)])
            #expect(set.status == 303)
            #expect(await !fixture.isGood(token))
            #expect(await browser.signIn("ada").status == 401)
            #expect(await browser.signIn("ada", new).status == 303)
            #expect(await browser.get("/recover?token=\(link)").status == 403)
            for bad in [
                "", "AAAA", link + "A", String(link.dropLast()),
                try await fixture.makeLink(.invitation),
            ] {
                #expect(await browser.get("/recover?token=\(bad)").status == 403)
            }
        }
    }

    @Test func `a good link is not called bad because the store can't be asked`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            let user = try await fixture.makeUser("ada")
            let link = try await fixture.makeLink(.recovery(user.id))
            try fixture.store.close()
            var browser = Browser(fixture)
            #expect(await browser.get("/recover?token=\(link)").status == 503)
        }
    }

    @Test func `a newer link, a new password and a disabling end every older link`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            let user = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            let first = try await fixture.makeLink(.recovery(user.id))
            let second = try await fixture.makeLink(.recovery(user.id))
            #expect(await browser.get("/recover?token=\(first)").status == 403)
            let fields = [("password", "a new horse battery staple"), ("token", second)]
            #expect(await browser.submit("/recover?token=\(second)", fields).status == 303)
            let third = try await fixture.makeLink(.recovery(user.id))
            _ = try await fixture.store.setUser(
                user.id, state: .disabled, audit: AuditEvent(.userDisabled, by: .command),
                at: time(noon))
            #expect(await browser.get("/recover?token=\(third)").status == 403)
            let fourth = try await fixture.makeLink(.recovery(user.id))
            let refused = await browser.submit(
                "/recover?token=\(fourth)",
                [("password", "another horse battery"), ("token", fourth)])
            #expect(refused.status == 403, "not while the user is disabled")
        }
    }

    // MARK: When this node can't

    @Test func `a node that can't know lets nobody in and says so`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            let page = await browser.get("/login")
            let token = try #require(Browser.formToken(page.body))
            fixture.lease.enter(.starting)
            let answer = await browser.post(
                "/login", [("username", "ada"), ("password", Self.password), ("form", token)])
            #expect(answer.status == 503)
            #expect(answer.header("retry-after") != nil)
            #expect(await browser.get("/v1/session").status == 401, "no cookie, so no question")
            let json = #"{"username":"ada","password":"\#(Self.password)"}"#
            #expect(await browser.json("/v1/login", json).status == 503)
            #expect(browser.sessionToken == nil)
        }
    }

    @Test func `a full queue is 503 with a time to come back`() async throws {
        let fixture = try await FrontFixture(threads: 1, queue: 0)
        let hash = try #require(try await fixture.makeUser("ada").passwordHash)
        for index in 0..<20 { _ = try await fixture.addUser("user\(index)", passwordHash: hash) }
        let statuses = await withTaskGroup(of: Int.self) { group in
            for index in 0..<20 {
                group.addTask {
                    var program = Browser(fixture)
                    let answer = await program.json(
                        "/v1/login",
                        #"{"username":"user\#(index)","password":"\#(Self.password)"}"#)
                    if answer.status == 503 { #expect(answer.header("retry-after") == "5") }
                    return answer.status
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(statuses.contains(503))
        #expect(statuses.contains(200))
        #expect(statuses.allSatisfy { $0 == 200 || $0 == 503 })
        await fixture.stop()
    }
}

private struct OneLeaked: PasswordList {
    func contains(_ typed: Span<UInt8>, folded: Span<UInt8>) -> Bool {
        folded.indices.map { folded[$0] } == Array("plum over seven ships".utf8)
    }
}

private struct NoList: PasswordList {
    func contains(
        _ typed: Span<UInt8>, folded: Span<UInt8>
    ) throws(PasswordListUnreadable) -> Bool {
        throw PasswordListUnreadable("it is gone")
    }
}
