// The profile at the front door: registering with it, seeing and correcting it, as pages and as JSON.

import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

/// A door that asks for a name, and may be told more.
func withProfiles(
    _ schema: String = profileSchema,
    _ body: (FrontFixture, SettableClock) async throws -> Void
) async throws {
    let clock = SettableClock()
    let fixture = try await FrontFixture(
        schema: try PeopleSchema(yaml: schema, name: "people.yaml"), clock: { clock.now })
    try await body(fixture, clock)
    await fixture.stop()
}

let profileSchema = """
    profile:
      name: {label: Your name, type: text, required: true, maximum: 40, purposes: [letters]}
      email: {label: E-mail, type: email, required: true, purposes: [messages], search: true}
      phone: {label: Phone, type: phone, purposes: [calls], hint: Only if you like calls}
      address: {label: Address, type: lines, purposes: [invoices]}
      people: {label: People, type: integer, minimum: 1, maximum: 500, purposes: [offers]}
      size: {label: Size, type: choice, options: [small, large], purposes: [offers]}
    """

@Suite(.serialized) struct ProfileFlowTests {
    private struct Account: Decodable {
        enum Value: Decodable, Equatable {
            case text(String)
            case number(Int64)

            init(from decoder: any Decoder) throws {
                let container = try decoder.singleValueContainer()
                if let number = try? container.decode(Int64.self) {
                    self = .number(number)
                } else {
                    self = .text(try container.decode(String.self))
                }
            }
        }
        let profile: [String: Value]?
        let profile_revision: Int64?
    }

    private struct Problem: Decodable {
        struct Field: Decodable, Equatable {
            let field: String
            let reason: String
        }
        let type: String
        let fields: [Field]?
    }

    private static func registration(_ profile: String = #"{"name":"Ada","email":"a@x.example"}"#)
        -> String
    {
        #"{"username":"ada","password":"\#(FrontFixture.password)","profile":\#(profile)}"#
    }

    /// Ada, registered and signed in.
    private func ada(_ fixture: FrontFixture) async -> Browser {
        var browser = Browser(fixture)
        #expect(await browser.json("/v1/register", Self.registration()).status == 201)
        #expect(await browser.signIn("ada").status == 303)
        return browser
    }

    private func account(_ browser: inout Browser) async throws -> Account {
        try await browser.get("/v1/account").decoded(Account.self)
    }

    private func faults(_ response: FrontResponse) throws -> [Problem.Field] {
        try response.decoded(Problem.self).fields ?? []
    }

    private func kinds(_ fixture: FrontFixture) async throws -> [AuditEvent] {
        try await fixture.store.audit(after: 0, limit: 999).map(\.event)
            .filter { $0.kind == .profileChanged }
    }

    // MARK: Registering

    // Promise: profile-minimal
    @Test func `the register page asks for what is required, and for nothing else`() async throws {
        try await withProfiles { (fixture, _) async throws in
            var browser = Browser(fixture)
            let page = await browser.get("/register").body
            for part in [
                "<label for=\"profile-name\">Your name</label>", "name=\"profile.email\"",
                "type=\"email\"", "Used for: letters.", "autocomplete=\"name\"",
                "autocomplete=\"email\"",
            ] { #expect(page.contains(part), "\(part)") }
            #expect(!page.contains("profile.phone") && !page.contains("profile.people"))
            let form = [("username", "ada"), ("password", FrontFixture.password)]
            let bare = await browser.submit("/register", form + [("profile.email", "a@")])
            #expect(bare.status == 422)
            #expect(bare.body.contains("<a href=\"#profile-name\">Your name is needed.</a>"))
            #expect(bare.body.contains("E-mail is no e-mail address"))
            #expect(bare.body.contains("value=\"a@\""), "what was typed comes back")
            #expect(bare.body.contains("value=\"ada\""))
            #expect(try await fixture.store.user(named: username("ada")) == nil)
            let done = await browser.submit(
                "/register",
                form + [("profile.name", "Ada"), ("profile.email", "a@x.example")])
            #expect(done.location == "/login?notice=registered")
            _ = await browser.signIn("ada")
            #expect(
                try await account(&browser).profile
                    == ["name": .text("Ada"), "email": .text("a@x.example")])
        }
    }

    // Promise: profile-minimal
    @Test func `a program that registers is told every fault, and what there is no field for`()
        async throws
    {
        try await withProfiles { (fixture, _) async throws in
            var browser = Browser(fixture)
            let refused = await browser.json(
                "/v1/register",
                Self.registration(#"{"email":"x","people":501,"shoe_size":9,"phone":[1]}"#))
            #expect(refused.status == 422 && refused.problem == "profile")
            #expect(
                try faults(refused).map { "\($0.field) \($0.reason)" }
                    == [
                        "shoe_size unknown", "name required", "email email", "phone kind",
                        "people great",
                    ])
            #expect(try await fixture.store.user(named: username("ada")) == nil)
            let none = await browser.json(
                "/v1/register", #"{"username":"ada","password":"\#(FrontFixture.password)"}"#)
            #expect(try faults(none).map(\.field) == ["name", "email"])
            #expect(await browser.json("/v1/register", Self.registration()).status == 201)
        }
    }

    @Test func `a name that is taken leaves no profile behind`() async throws {
        try await withProfiles { (fixture, _) async throws in
            var browser = Browser(fixture)
            #expect(await browser.json("/v1/register", Self.registration()).status == 201)
            #expect(await browser.json("/v1/register", Self.registration()).status == 409)
            #expect(try await fixture.store.profileRows(after: nil, limit: 9).count == 1)
        }
    }

    @Test func `where nothing is asked, everything is as it was`() async throws {
        try await withDoor { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            #expect(!(await browser.get("/register").body.contains("profile.")))
            _ = await browser.signIn("ada")
            #expect(try await account(&browser).profile == nil)
            #expect(await browser.get("/account/profile").body.contains("asks nothing of you"))
            let refused = await browser.json(
                "/v1/account", #"{"profile":{"name":"Ada"}}"#, method: .patch)
            #expect(try faults(refused) == [Problem.Field(field: "name", reason: "unknown")])
            #expect(try await fixture.store.profileRows(after: nil, limit: 9).isEmpty)
        }
    }

    // MARK: The page

    // Promise: see-and-correct
    @Test func `people see their profile and correct it`() async throws {
        try await withProfiles { (fixture, _) async throws in
            var browser = await ada(fixture)
            let page = await browser.get("/account/profile").body
            for part in [
                "value=\"Ada\"", "value=\"a@x.example\"", "<textarea id=\"profile-address\"",
                "<select id=\"profile-size\"", "Only if you like calls", "Used for: calls.",
            ] { #expect(page.contains(part), "\(part)") }
            let saved = await browser.submit(
                "/account/profile",
                [
                    ("revision", "1"), ("profile.name", " Ada L. "),
                    ("profile.email", "a@x.example"), ("profile.phone", ""),
                    ("profile.address", "1 Road\r\nTown"), ("profile.people", "12"),
                    ("profile.size", "large"),
                ])
            #expect(saved.location == "/account/profile?notice=saved")
            let shown = await browser.get("/account/profile?notice=saved").body
            #expect(shown.contains("Your profile is saved."))
            #expect(shown.contains("value=\"Ada L.\"") && shown.contains("1 Road\nTown</textarea>"))
            #expect(shown.contains("<option value=\"large\" selected>"))
            #expect(
                try await account(&browser).profile
                    == [
                        "name": .text("Ada L."), "email": .text("a@x.example"),
                        "address": .text("1 Road\nTown"), "people": .number(12),
                        "size": .text("large"),
                    ])
            let event = try #require(try await kinds(fixture).first)
            #expect(event.detail == "by=owner fields=address,name,people,size")
            #expect(event.session != nil)
        }
    }

    // Promise: history
    @Test func `the history says what was before, when and by whom`() async throws {
        try await withProfiles { (fixture, clock) async throws in
            var browser = await ada(fixture)
            #expect(!(await browser.get("/account/profile").body.contains("What changed")))
            clock.advance(60)
            _ = await browser.json(
                "/v1/account", #"{"profile":{"name":"Grace","phone":"+47 22 12 34 56"}}"#,
                method: .patch)
            clock.advance(60)
            _ = await browser.json("/v1/account", #"{"profile":{"phone":null}}"#, method: .patch)
            let page = await browser.get("/account/profile").body
            let history = try #require(page.split(separator: "What changed").last)
            for part in [
                "<dd><bdi>Ada</bdi></dd>", "<dd><bdi>Grace</bdi></dd>",
                "<dd><bdi>+47 22 12 34 56</bdi></dd>", "<dd>nothing</dd>", "<dd>you</dd>",
                "2026-11-24 12:01 UTC", "2026-11-24 12:02 UTC",
            ] { #expect(history.contains(part), "\(part)") }
            let entries = try await fixture.door.people.profileWithHistory(
                of: try #require(try await fixture.store.user(named: username("ada"))).id
            ).1
            #expect(
                entries.map { [$0.change.field, $0.change.old, $0.change.new] }
                    == [
                        ["phone", "+47 22 12 34 56", nil], ["phone", nil, "+47 22 12 34 56"],
                        ["name", "Ada", "Grace"],
                    ])
        }
    }

    @Test func `a refusal names every field, says what is wrong, and keeps what was typed`()
        async throws
    {
        try await withProfiles { (fixture, _) async throws in
            var browser = await ada(fixture)
            let refused = await browser.submit(
                "/account/profile",
                [
                    ("revision", "1"), ("profile.name", ""), ("profile.email", "nobody"),
                    ("profile.people", "0"), ("profile.size", "huge"), ("profile.shoe", "9"),
                ])
            #expect(refused.status == 422)
            for part in [
                "<a href=\"#profile-name\">Your name is needed.</a>",
                "<a href=\"#profile-email\">E-mail is no e-mail address",
                "<a href=\"#profile-people\">People is too small: at least 1.</a>",
                "<a href=\"#profile-size\">Size is none of those",
                "<li>There is no field shoe here", "value=\"nobody\"",
                "id=\"profile-people-problem\"", "aria-invalid=\"true\"",
            ] { #expect(refused.body.contains(part), "\(part)") }
            #expect(try await account(&browser).profile_revision == 1)
            #expect(try await kinds(fixture).isEmpty)
        }
    }

    @Test func `a page that is out of date is refused, and shows both`() async throws {
        try await withProfiles { (fixture, _) async throws in
            var browser = await ada(fixture)
            let token = await browser.formToken()
            _ = await browser.json("/v1/account", #"{"profile":{"name":"Other"}}"#, method: .patch)
            let form = [
                ("revision", "1"), ("profile.name", "Mine"), ("profile.email", "a@x.example"),
                ("form", token),
            ]
            let refused = await browser.post("/account/profile", form)
            #expect(refused.status == 409)
            #expect(refused.alert?.contains("changed meanwhile") == true)
            #expect(refused.body.contains("value=\"Mine\""))
            #expect(refused.body.contains("Stored now: <bdi>Other</bdi>"))
            #expect(!refused.body.contains("Stored now: <bdi>a@x.example</bdi>"))
            #expect(refused.body.contains("name=\"revision\" value=\"2\""))
            #expect(try await account(&browser).profile?["name"] == .text("Other"))
            let again = await browser.post(
                "/account/profile", [("revision", "2")] + form.dropFirst())
            #expect(again.status == 303)
            #expect(try await account(&browser).profile?["name"] == .text("Mine"))
            for revision in ["", "x", "-"] {
                let bad = await browser.post(
                    "/account/profile", [("revision", revision)] + form.dropFirst())
                #expect(bad.status == 400, "a form that says nothing of its revision")
            }
        }
    }

    @Test func `saving what is there already changes nothing`() async throws {
        try await withProfiles { (fixture, _) async throws in
            var browser = await ada(fixture)
            let form = [
                ("revision", "1"), ("profile.name", "Ada"), ("profile.email", "a@x.example"),
                ("profile.phone", ""),
            ]
            #expect(await browser.submit("/account/profile", form).status == 303)
            #expect(try await account(&browser).profile_revision == 1)
            #expect(try await kinds(fixture).isEmpty)
        }
    }

    @Test func `the profile is its owner's, and asks who comes without a session to sign in`()
        async throws
    {
        try await withProfiles { (fixture, _) async throws in
            var browser = await ada(fixture)
            var stranger = Browser(fixture)
            #expect(
                await stranger.get("/account/profile").location?.contains("/resume") == true)
            #expect(await stranger.get("/v1/account").status == 401)
            let patch = #"{"profile":{"name":"Mallory"}}"#
            #expect(await stranger.json("/v1/account", patch, method: .patch).status == 401)
            #expect(try await account(&browser).profile?["name"] == .text("Ada"))
        }
    }

    @Test func `who lacks something required is asked on the account page`() async throws {
        try await withProfiles { (fixture, _) async throws in
            _ = try await fixture.makeUser("bob")
            var browser = Browser(fixture)
            _ = await browser.signIn("bob")
            let page = await browser.get("/account").body
            #expect(page.contains("<bdi>Your name, E-mail</bdi>"))
            #expect(page.contains("/account/profile\">Complete it"))
            let refused = await browser.json(
                "/v1/account", #"{"profile":{"phone":"12345"}}"#, method: .patch)
            #expect(try faults(refused).map(\.field) == ["name", "email"])
            let form = [
                ("revision", "0"), ("profile.name", "Bob"), ("profile.email", "b@x.example"),
            ]
            #expect(await browser.submit("/account/profile", form).status == 303)
            #expect(!(await browser.get("/account").body.contains("Complete it")))
        }
    }

    @Test func `a profile of the largest size can be sent as a form and as JSON`() async throws {
        let fields = (0..<16).map {
            "  f\(10 + $0): {label: F\($0), type: text, purposes: [x]}"
        }.joined(separator: "\n")
        try await withProfiles("profile:\n" + fields) { (fixture, _) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            // Every byte of it is encoded as three.
            let value = String(repeating: "\u{E4}", count: 510)
            let form = (0..<16).map { ("profile.f\(10 + $0)", value) }
            #expect(
                await browser.submit("/account/profile", [("revision", "0")] + form).status == 303)
            let json = form.map { "\"\($0.0.dropFirst(8))\":\"\($0.1)b\"" }.joined(separator: ",")
            #expect(
                await browser.json("/v1/account", "{\"profile\":{\(json)}}", method: .patch).status
                    == 200)
            let padding = String(repeating: "x", count: FrontDoor.profileBodyBytes)
            #expect(
                await browser.submit("/account/profile", [("revision", "2"), ("x", padding)]).status
                    == 413)
            #expect(
                await browser.json("/v1/account", "{\"x\":\"\(padding)\"}", method: .patch).status
                    == 413)
            #expect(
                await browser.json("/v1/login", "{\"x\":\"\(padding.prefix(17_000))\"}").status
                    == 413, "nothing else may be as large")
        }
    }

    // MARK: JSON

    @Test func `a program changes what it names, and may say of which revision`() async throws {
        try await withProfiles { (fixture, _) async throws in
            var browser = await ada(fixture)
            func patch(_ body: String) async -> FrontResponse {
                await browser.json("/v1/account", body, method: .patch)
            }
            let first = await patch(#"{"profile":{"people":12},"revision":1}"#)
            #expect(first.status == 200)
            let answer = try first.decoded(Account.self)
            #expect(answer.profile_revision == 2 && answer.profile?["people"] == .number(12))
            let stale = await patch(#"{"profile":{"people":13},"revision":1}"#)
            #expect(stale.status == 409 && stale.problem == "profile_changed")
            #expect(await patch(#"{"profile":{"people":null}}"#).status == 200)
            #expect(try await account(&browser).profile?["people"] == nil)
            #expect(
                try faults(await patch(#"{"profile":{"name":null}}"#))
                    == [Problem.Field(field: "name", reason: "required")])
            for body in [
                "{}", #"{"profile":[]}"#, #"{"profile":{"name":"a","name":"b"}}"#, "[]",
                #"{"profile":{"name":"a"},"revision":"1"}"#,
            ] { #expect(await patch(body).problem == "json", "\(body)") }
            for body in [
                #"{"profile":{"name":true}}"#, #"{"profile":{"name":1}}"#,
                #"{"profile":{"people":1.5}}"#, #"{"profile":{"name":{}}}"#,
            ] { #expect(try faults(await patch(body)).map(\.reason) == ["kind"], "\(body)") }
        }
    }

    @Test func `of racing changes none is lost`() async throws {
        try await withProfiles { (fixture, _) async throws in
            let browser = await ada(fixture)
            await withTaskGroup(of: Int.self) { group in
                for (field, value) in [
                    ("name", "\"Grace\""), ("phone", "\"12345\""), ("people", "7"),
                    ("size", "\"small\""), ("address", "\"Road\""),
                ] {
                    group.addTask {
                        var browser = browser
                        return await browser.json(
                            "/v1/account", "{\"profile\":{\"\(field)\":\(value)}}", method: .patch
                        ).status
                    }
                }
                for await status in group { #expect(status == 200) }
            }
            var after = browser
            let account = try await account(&after)
            #expect(account.profile_revision == 6)
            #expect(account.profile?.count == 6)
        }
    }

    // MARK: What is handed out

    // Promise: export
    @Test func `an export has the values and their history`() async throws {
        try await withProfiles { (fixture, _) async throws in
            var browser = await ada(fixture)
            _ = await browser.json("/v1/account", #"{"profile":{"name":"Grace"}}"#, method: .patch)
            let id = try #require(try await fixture.store.user(named: username("ada"))).id
            let exported = try await fixture.door.people.exportedProfile(of: id)
            #expect(exported.name == "profile")
            #expect(
                exported.value
                    == .fields([
                        ExportValue.Field("updated", .time(time(noon))),
                        ExportValue.Field(
                            "values",
                            .fields([
                                ExportValue.Field("name", .text("Grace")),
                                ExportValue.Field("email", .text("a@x.example")),
                            ])),
                        ExportValue.Field(
                            "history",
                            .list([
                                .fields([
                                    ExportValue.Field("time", .time(time(noon))),
                                    ExportValue.Field("field", .text("name")),
                                    ExportValue.Field("old", .text("Ada")),
                                    ExportValue.Field("new", .text("Grace")),
                                    ExportValue.Field("by", .text("self")),
                                ])
                            ])),
                    ]))
        }
    }

    @Test func `a profile that was altered in the database is not shown, and not replaced`()
        async throws
    {
        try await withProfiles { (fixture, _) async throws in
            var browser = await ada(fixture)
            var bob = Browser(fixture)
            _ = await bob.json(
                "/v1/register",
                #"{"username":"bob","password":"\#(FrontFixture.password)","profile":"#
                    + #"{"name":"Bob","email":"b@x.example"}}"#)
            _ = await bob.signIn("bob")
            try swapProfiles(fixture)
            #expect(await browser.get("/account/profile").status == 503)
            #expect(await browser.get("/v1/account").status == 503)
            #expect(await browser.get("/account").status == 200, "the rest of the account works")
            let answer = await browser.json(
                "/v1/account", #"{"profile":{"name":"x"}}"#, method: .patch)
            #expect(answer.status == 503)
            #expect(!answer.body.contains("Bob"))
        }
    }
}
