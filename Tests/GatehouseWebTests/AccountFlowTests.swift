// Step-up, a new password, and ending sign-ins, as pages and as JSON.

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

private let newPassword = "another fine horse battery"
private let confirmation = #"{"password":"\#(FrontFixture.password)"}"#

@Suite(.serialized) struct SessionLimitTests {
    @Test func `where one more is refused, it is told to pages and programs, and nothing ends`()
        async throws
    {
        let fixture = try await FrontFixture(sessionLimit: 2, atLimit: .refuse)
        let ada = try await fixture.makeUser("ada")
        var browsers = [Browser(fixture), Browser(fixture)]
        for index in browsers.indices { _ = await browsers[index].signIn("ada") }
        var third = Browser(fixture)
        let page = await third.signIn("ada")
        #expect(page.status == 409)
        #expect(page.alert?.contains("as often as you may") == true)
        #expect(third.sessionToken == nil)
        let program = await third.json(
            "/v1/login", #"{"username":"ada","password":"\#(FrontFixture.password)"}"#)
        #expect((program.status, program.problem) == (409, "session_limit"))
        for browser in browsers { #expect(await fixture.isGood(browser.sessionToken)) }
        // It was no guess, and who signs in anew in a browser of theirs takes no place.
        #expect(try await fixture.accounts.gate.attempts(on: ada.username) == nil)
        #expect(await browsers[0].signIn("ada").status == 303)
        await fixture.stop()
    }
}

extension SessionLimitTests {
    @Test func `a remembered browser finds no place either, and comes back when there is one`()
        async throws
    {
        let clock = SettableClock()
        let fixture = try await FrontFixture(
            sessionLimit: 1, atLimit: .refuse, clock: { clock.now })
        _ = try await fixture.makeUser("ada")
        var first = Browser(fixture)
        _ = await first.signIn("ada", remembers: true)
        // The first one's session has idled out; another has taken the place.
        try await fixture.advance(clock, 3601)
        var second = Browser(fixture)
        #expect(await second.signIn("ada").status == 303)
        first.restart()
        #expect(await first.get("/resume").location == "/login")
        #expect(first.sessionToken == nil)
        #expect(await fixture.isGood(second.sessionToken))
        #expect(await second.json("/v1/logout", "{}").status == 204)
        #expect(await first.get("/resume").location == "/account")
        #expect(try await first.session()?.level == 1)
        await fixture.stop()
    }
}

@Suite(.serialized) struct ConfirmTests {
    @Test(arguments: [true, false])
    func `the password once more makes a new session of level 2`(_ isPage: Bool) async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            try await fixture.advance(clock, 61)
            browser.restart()
            _ = await browser.get("/resume")
            let old = try #require(try await browser.session())
            #expect(old.level == 1)
            let oldToken = browser.sessionToken
            let remember = browser.rememberToken
            let answer =
                isPage
                ? await browser.act(
                    "/confirm", [("password", FrontFixture.password), ("return_to", "/pay")])
                : await browser.json("/v1/confirm", confirmation)
            if isPage {
                #expect(answer.location == "/pay")
            } else {
                #expect(answer.status == 200)
                #expect(try answer.decoded(SessionAnswer.self).token == nil)
            }
            let new = try #require(try await browser.session())
            #expect(new.session != old.session)
            #expect((new.level, new.remembered, new.authenticated) == (2, false, noon + 61))
            #expect(await !fixture.isGood(oldToken), "refused at once")
            let opened = await fixture.sealer.claims(
                of: Array(try #require(browser.sessionToken).utf8), transport: .cookie)
            let claims = try #require(opened)
            #expect(claims.methods == .password)
            #expect(fixture.door.isFresh(claims))
            #expect(browser.rememberToken == remember, "remembered as before")
            // By its remember cookie alone it is of level 1 again, within the grace and after it.
            browser.restart()
            _ = await browser.get("/resume")
            let again = try #require(try await browser.session())
            #expect((again.session, again.level, again.remembered) == (new.session, 1, true))
            try await fixture.advance(clock, 61)
            browser.restart()
            _ = await browser.get("/resume")
            #expect(try await browser.session()?.level == 1)
            #expect(await !fixture.isGood(oldToken))
        }
    }

    @Test func `ending the new session ends the series it was handed`() async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            _ = await browser.json("/v1/confirm", confirmation)
            let copy = browser
            browser.cookies["__Host-gatehouse-remember"] = nil
            #expect(await browser.json("/v1/logout", "").status == 204)
            try await fixture.advance(clock, 61)
            var thief = copy
            #expect(await thief.get("/resume").location == "/login")
        }
    }

    @Test func `a wrong password is charged and slowed as a sign-in's`() async throws {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            browser.cookies["__Host-gatehouse-device"] = nil  // A thief has the session alone.
            let token = browser.sessionToken
            var failures = 0
            for round in 0..<8 {
                let answer =
                    round % 2 == 0
                    ? await browser.act("/confirm", [("password", "wrong")])
                    : await browser.json("/v1/confirm", #"{"password":"wrong"}"#)
                #expect(answer.status == 401)
                let count = try await fixture.accounts.gate.attempts(on: ada.username)
                failures = count?.failures ?? 0
            }
            #expect(failures > 3, "each is charged until it has to wait")
            let charged = try await fixture.accounts.gate.attempts(on: ada.username)
            let count = try #require(charged)
            #expect(count.next > clock.now.wall)
            let right = await browser.json("/v1/confirm", confirmation)
            #expect(right.problem == "credentials", "the right one has to wait too")
            #expect(browser.sessionToken == token)
            #expect(await fixture.isGood(token))
            try await fixture.advance(clock, count.next.seconds - clock.now.wall.seconds)
            #expect(await browser.json("/v1/confirm", confirmation).status == 200)
            #expect(try await fixture.accounts.gate.attempts(on: ada.username)?.failures ?? 0 == 0)
        }
    }

    @Test func `nobody confirms with another's password or without a session`() async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            let outcome = await fixture.accounts.register(
                username: Array("bob".utf8), password: Array(newPassword.utf8), invitation: nil)
            guard case .registered = outcome else { throw FrontFixture.NotReady() }
            var bob = Browser(fixture)
            _ = await bob.signIn("bob", newPassword)
            #expect(await bob.json("/v1/confirm", confirmation).problem == "credentials")
            #expect(await bob.act("/confirm").status == 400)
            var nobody = Browser(fixture)
            #expect(await nobody.json("/v1/confirm", confirmation).problem == "no_session")
            #expect(await nobody.get("/confirm?return_to=/a").location == "/resume?return_to=/a")
            let answer = await nobody.act(
                "/confirm", [("password", FrontFixture.password), ("return_to", "/a")])
            #expect(answer.location == "/resume?return_to=/a")
            #expect(nobody.sessionToken == nil)
            // Ended meanwhile, which this node has not heard: no session comes of it.
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let session = try #require(try await browser.session())
            let id = try #require(Identifier(hex: session.session))
            _ = try await fixture.store.revokeSession(
                SessionID(id), audit: AuditEvent(.sessionRevoked, by: .command),
                at: clock.now.wall)
            #expect(await browser.json("/v1/confirm", confirmation).problem == "no_session")
            #expect(try await fixture.accounts.gate.attempts(on: username("ada")) == nil)
        }
    }

    @Test func `a hash that changes while it is verified does not end the session`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            let text = try await fixture.accounts.gate.hash(
                try Password(Array(FrontFixture.password.utf8).span))
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            var hashes = [try #require(ada.passwordHash), text]
            for _ in 0..<20 {
                let tab = browser
                async let answer = {
                    var tab = tab
                    let answer = await tab.json("/v1/confirm", confirmation)
                    return (answer.status, tab)
                }()
                try await Task.sleep(for: .milliseconds(Int.random(in: 0...20)))
                _ = try await fixture.store.replacePasswordHashes(
                    [(StoredPasswordHash(user: ada.id, text: hashes[0]), hashes[1])], audit: [],
                    at: time(noon))
                hashes.reverse()
                let (status, after) = await answer
                #expect(status == 200)
                browser = after
            }
        }
    }

    @Test func `a program's session is confirmed in the body`() async throws {
        try await withDoor { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            var program = Browser(fixture)
            program.fields = ["sec-fetch-site": nil, "origin": nil]
            let login =
                #"{"username":"ada","password":"\#(FrontFixture.password)","transport":"bearer"}"#
            let first = try await program.json("/v1/login", login).decoded(SessionAnswer.self)
            program.fields["authorization"] = "Bearer \(first.token ?? "")"
            let second = try await program.json("/v1/confirm", confirmation)
                .decoded(SessionAnswer.self)
            #expect(second.session != first.session)
            #expect(try await program.session() == nil, "the old token is refused")
            program.fields["authorization"] = "Bearer \(second.token ?? "")"
            #expect(try await program.session()?.session == second.session)
            #expect(program.cookies.isEmpty)
            let changed = try await program.json(
                "/v1/account/password",
                #"{"current_password":"\#(FrontFixture.password)","new_password":"\#(newPassword)"}"#
            ).decoded(SessionAnswer.self)
            #expect(try await program.session() == nil)
            program.fields["authorization"] = "Bearer \(changed.token ?? "")"
            #expect(try await program.session()?.level == 2)
            #expect(program.cookies.isEmpty)
        }
    }
}

@Suite(.serialized) struct PasswordChangeTests {
    private static func body(_ current: String, _ new: String) -> String {
        #"{"current_password":"\#(current)","new_password":"\#(new)"}"#
    }

    @Test(arguments: [true, false])
    func `a new password ends everything but this browser, which goes on anew`(
        _ isPage: Bool
    ) async throws {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var other = Browser(fixture)
            _ = await other.signIn("ada", remembers: true)
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            let whole = browser
            let device = try #require(browser.deviceToken)
            let old = try #require(try await browser.session())
            let answer =
                isPage
                ? await browser.act(
                    "/account/password",
                    [("current_password", FrontFixture.password), ("new_password", newPassword)])
                : await browser.json(
                    "/v1/account/password", Self.body(FrontFixture.password, newPassword))
            #expect(answer.status == (isPage ? 303 : 200))
            if isPage { #expect(answer.location == "/account?notice=password") }
            let new = try #require(try await browser.session())
            #expect(new.session != old.session)
            #expect((new.level, new.remembered) == (2, false))
            #expect(browser.rememberToken == nil)
            #expect(await !fixture.isGood(whole.sessionToken))
            #expect(await !fixture.isGood(other.sessionToken))
            for jar in [whole, other] {
                var jar = jar
                #expect(await jar.get("/resume").location == "/login")
                try await fixture.advance(clock, 61)
                #expect(await jar.get("/resume").location == "/login")
            }
            #expect(try await fixture.known([Array(device.utf8)], user: ada.id) == nil)
            #expect(try await fixture.store.signIns(of: ada.id, at: clock.now.wall).count == 1)
            #expect(await other.signIn("ada").status == 401)
            #expect(await other.signIn("ada", newPassword).status == 303)
        }
    }

    @Test func `a wrong current password, a bad new one, or none changes nothing`() async throws {
        try await withDoor { (fixture, _) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let token = browser.sessionToken
            let device = browser.deviceToken
            browser.cookies["__Host-gatehouse-device"] = nil
            for (current, new, status, problem) in [
                ("wrong", newPassword, 401, "credentials"),
                (FrontFixture.password, "short", 422, "password"),
                (FrontFixture.password, String(repeating: "x", count: 1025), 422, "password"),
                ("wrong", "short", 422, "password"),
            ] {
                let json = await browser.json("/v1/account/password", Self.body(current, new))
                #expect((json.status, json.problem) == (status, problem))
                let page = await browser.act(
                    "/account/password", [("current_password", current), ("new_password", new)])
                #expect(page.status == status)
            }
            #expect(
                try await fixture.accounts.gate.attempts(on: ada.username)?.failures == 2,
                "a wrong one is charged, a bad new one is not")
            for fields in [
                [("current_password", FrontFixture.password)], [("new_password", newPassword)],
            ] {
                #expect(await browser.act("/account/password", fields).status == 400)
            }
            #expect(await browser.json("/v1/account/password", "{}").status == 400)
            #expect(browser.sessionToken == token)
            #expect(await fixture.isGood(token))
            browser.cookies["__Host-gatehouse-device"] = device
            #expect(try await fixture.store.user(ada.id)?.passwordHash == ada.passwordHash)
            var nobody = Browser(fixture)
            #expect(await nobody.get("/account/password").location?.hasPrefix("/resume") == true)
            let answer = await nobody.act(
                "/account/password",
                [("current_password", FrontFixture.password), ("new_password", newPassword)])
            #expect(answer.location?.hasPrefix("/resume") == true)
            let json = await nobody.json(
                "/v1/account/password", Self.body(FrontFixture.password, newPassword))
            #expect(json.problem == "no_session")
        }
    }

    @Test func `of two changes at once one is made`() async throws {
        try await withDoor { (fixture, clock) async throws in
            let ada = try await fixture.makeUser("ada")
            var browsers: [Browser] = []
            for _ in 0..<2 {
                var browser = Browser(fixture)
                _ = await browser.signIn("ada")
                browsers.append(browser)
            }
            let passwords = ["the first new password", "the second new password"]
            let pairs = Array(zip(browsers, passwords))
            let answers = await withTaskGroup(of: (Browser, String, Int).self) { group in
                for (browser, password) in pairs {
                    group.addTask {
                        var browser = browser
                        let answer = await browser.json(
                            "/v1/account/password", Self.body(FrontFixture.password, password))
                        return (browser, password, answer.status)
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(answers.count { $0.2 == 200 } == 1)
            #expect(answers.count { $0.2 == 401 } == 1)
            for (browser, password, status) in answers {
                #expect(await fixture.isGood(browser.sessionToken) == (status == 200))
                var fresh = Browser(fixture)
                try await fixture.advance(clock, 900)
                #expect((await fresh.signIn("ada", password).status == 303) == (status == 200))
            }
            #expect(try await fixture.store.user(ada.id)?.epoch == 1)
        }
    }

    @Test(arguments: ["/", "/auth"])
    func `the well-known address leads to the page`(_ base: String) async throws {
        try await withDoor(basePath: base) { (fixture, _) async throws in
            var browser = Browser(fixture)
            let prefix = base == "/" ? "" : base
            let answer = await browser.get("/.well-known/change-password")
            #expect(answer.status == 303)
            #expect(answer.location == prefix + "/account/password")
            let post = await browser.act(prefix + "/login")
            #expect(post.status == (base == "/" ? 400 : 403), "the form's page is below the base")
            #expect(await browser.send(.post, "/.well-known/change-password").status == 405)
            let elsewhere = await browser.send(
                .get, "/.well-known/change-password", host: "evil.example")
            #expect(elsewhere.status == 421)
            if !prefix.isEmpty {
                let below = await browser.get(prefix + "/.well-known/change-password")
                #expect(below.status == 404)
            }
        }
    }
}

@Suite(.serialized) struct SessionListTests {
    private struct List: Decodable {
        struct Row: Decodable {
            let session: String
            let current: Bool
            let remembered: Bool
            let browser: String?
            let place: String?
            let created: Int64
            let last_used: Int64
        }
        let sessions: [Row]
    }

    @Test func `people see where they are signed in`() async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            _ = try await fixture.makeUser("bob")
            var bob = Browser(fixture)
            _ = await bob.signIn("bob")
            var phone = Browser(fixture)
            phone.peer = "203.0.113.7"
            phone.fields["user-agent"] = "Mozilla/5.0 (Linux; Android 15) Firefox/140.0"
            _ = await phone.signIn("ada", remembers: true)
            try await fixture.advance(clock, 50)
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let list = try await browser.get("/v1/account/sessions").decoded(List.self).sessions
            #expect(list.map(\.current) == [true, false])
            #expect(list.map(\.remembered) == [false, true])
            #expect(list.map(\.browser) == [nil, "Firefox on Android"])
            #expect(list.map(\.place) == [nil, "203.0.113.0/24"])
            #expect(list.map(\.created) == [noon + 50, noon])
            #expect(await browser.get("/account").status == 200)
            var nobody = Browser(fixture)
            #expect(await nobody.get("/v1/account/sessions").problem == "no_session")
            #expect(await nobody.get("/v1/account").problem == "no_session")
            let account = await browser.get("/v1/account").body
            #expect(account.contains(#""created":\#(noon)"#))
        }
    }

    @Test func `others are ended within 300 seconds of the password, and not after`()
        async throws
    {
        for (wait, isFresh) in [(300, true), (301, false)] as [(Int64, Bool)] {
            try await withDoor { (fixture, clock) async throws in
                _ = try await fixture.makeUser("ada")
                var victims: [Browser] = []
                for _ in 0..<4 {
                    var victim = Browser(fixture)
                    _ = await victim.signIn("ada", remembers: true)
                    victims.append(victim)
                }
                var browser = Browser(fixture)
                _ = await browser.signIn("ada", remembers: true)
                var ids: [String] = []
                for index in victims.indices {
                    ids.append(try #require(try await victims[index].session()).session)
                }
                try await fixture.advance(clock, wait)
                let one = await browser.act("/account/sessions/end", [("session", ids[0])])
                #expect(
                    one.location
                        == (isFresh
                            ? "/account?notice=ended"
                            : "/confirm?return_to=/account?notice=confirmed"))
                let two = await browser.json(
                    "/v1/account/sessions/\(ids[1])", "", method: .delete)
                #expect((two.status, two.problem) == (isFresh ? 204 : 403, isFresh ? nil : "stale"))
                #expect(await fixture.isGood(victims[2].sessionToken))
                #expect(await fixture.isGood(victims[0].sessionToken) == !isFresh)
                #expect(await fixture.isGood(victims[1].sessionToken) == !isFresh)
                let three = await browser.json("/v1/account/sessions", "", method: .delete)
                #expect(
                    (three.status, three.problem) == (isFresh ? 204 : 403, isFresh ? nil : "stale"))
                let four = await browser.act("/account/sessions/end-others")
                #expect(
                    four.location
                        == (isFresh
                            ? "/account?notice=ended-others"
                            : "/confirm?return_to=/account?notice=confirmed"))
                for index in victims.indices {
                    #expect(await fixture.isGood(victims[index].sessionToken) == !isFresh)
                    victims[index].restart()
                    let back = await victims[index].get("/resume").location
                    #expect(back == (isFresh ? "/login" : "/account"), "the series too")
                }
                #expect(try await browser.session() != nil)
                browser.restart()
                #expect(await browser.get("/resume").location == "/account")
            }
        }
    }

    @Test func `a remembered session ends itself and no other`() async throws {
        try await withDoor { (fixture, clock) async throws in
            _ = try await fixture.makeUser("ada")
            var other = Browser(fixture)
            _ = await other.signIn("ada")
            let id = try #require(try await other.session()).session
            var browser = Browser(fixture)
            _ = await browser.signIn("ada", remembers: true)
            try await fixture.advance(clock, 61)
            browser.restart()
            _ = await browser.get("/resume")
            let end = await browser.act("/account/sessions/end", [("session", id)])
            #expect(end.location == "/confirm?return_to=/account?notice=confirmed")
            let json = await browser.json("/v1/account/sessions/\(id)", "", method: .delete)
            #expect(json.problem == "stale")
            #expect(await fixture.isGood(other.sessionToken))
            for isPage in [true, false] {
                var own = browser
                if !isPage {
                    _ = await own.signIn("ada", remembers: true)
                    try await fixture.advance(clock, 400)
                }
                let copy = own
                let session = try #require(try await own.session()).session
                let answer =
                    isPage
                    ? await own.act("/account/sessions/end", [("session", session)])
                    : await own.json("/v1/account/sessions/\(session)", "", method: .delete)
                #expect(answer.status == (isPage ? 303 : 204))
                #expect(answer.header("clear-site-data") == #""cache", "storage""#)
                #expect(Array(own.cookies.keys) == ["__Host-gatehouse-device"])
                #expect(await !fixture.isGood(copy.sessionToken))
                var thief = copy
                #expect(await thief.get("/resume").location == "/login")
            }
        }
    }

    @Test func `nobody ends what is not theirs`() async throws {
        try await withDoor { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            _ = try await fixture.makeUser("bob")
            var bob = Browser(fixture)
            _ = await bob.signIn("bob")
            let id = try #require(try await bob.session()).session
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            for id in [id, String(repeating: "ab", count: 16)] {
                #expect(
                    await browser.act("/account/sessions/end", [("session", id)]).location
                        == "/account?notice=ended", "it may have ended already")
                let json = await browser.json("/v1/account/sessions/\(id)", "", method: .delete)
                #expect((json.status, json.problem) == (404, "not_found"))
            }
            #expect(try await bob.session() != nil)
            for id in ["", "x", "{session}", String(id.dropLast()), id + "0", "%00", "../1"] {
                #expect(await browser.act("/account/sessions/end", [("session", id)]).status == 400)
                let json = await browser.json("/v1/account/sessions/\(id)", "", method: .delete)
                #expect((json.status, json.problem) == (404, "not_found"), "\(id)")
            }
            #expect(await browser.act("/account/sessions/end").status == 400)
            #expect(await browser.json("/v1/account/sessions", "", method: .delete).status == 204)
            #expect(await fixture.isGood(bob.sessionToken))
            #expect(await browser.get("/v1/account/sessions/\(id)").status == 405)
        }
    }

    @Test func `a program lists and ends sign-ins`() async throws {
        try await withDoor { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            var other = Browser(fixture)
            _ = await other.signIn("ada", remembers: true)
            var program = Browser(fixture)
            program.fields = ["sec-fetch-site": nil, "origin": nil]
            let first = try await program.json(
                "/v1/login",
                #"{"username":"ada","password":"\#(FrontFixture.password)","transport":"bearer"}"#
            ).decoded(SessionAnswer.self)
            program.fields["authorization"] = "Bearer \(first.token ?? "")"
            let list = try await program.get("/v1/account/sessions").decoded(List.self).sessions
            #expect(list.count == 2)
            let id = try #require(list.first { !$0.current }).session
            let end = await program.send(.delete, "/v1/account/sessions/\(id)")
            #expect(end.status == 204)
            #expect(await !fixture.isGood(other.sessionToken))
            #expect(await program.send(.delete, "/v1/account/sessions").status == 204)
            #expect(try await program.session() != nil)
        }
    }
}
