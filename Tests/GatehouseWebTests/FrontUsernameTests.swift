// Usernames at the front door: what is refused, in which words, and what is never told apart.

import GRDB
import GatehouseCore
import GatehousePasswords
import GatehouseStore
import GatehouseTestSupport
import Testing

@testable import GatehouseWeb

@Suite struct FrontUsernameTests {
    private func with(
        usernames: UsernamePolicy = UsernamePolicy(), _ body: (FrontFixture) async throws -> Void
    ) async throws {
        let fixture = try await FrontFixture(usernames: usernames)
        try await body(fixture)
        await fixture.stop()
    }

    private func register(_ name: String, at fixture: FrontFixture) async -> FrontResponse {
        var program = Browser(fixture)
        return await program.json(
            "/v1/register", #"{"username":"\#(name)","password":"\#(FrontFixture.password)"}"#)
    }

    private func audit(_ kind: AuditEvent.Kind, _ user: User) -> AuditEvent {
        AuditEvent(kind, by: .command, user: user.id)
    }

    @Test func `why a name is taken is not told, and costs no hash`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            let store = fixture.store
            let renamed = try await fixture.makeUser("former")
            _ = try await store.renameUser(
                renamed.id, to: username("live"), takingReserved: false,
                audit: audit(.userRenamed, renamed), at: time(noon))
            let deleted = try await fixture.makeUser("deleted")
            _ = try await store.deletePerson(
                deleted.id, onlyIfDue: false, lookUpKey: try lookUpKey(),
                audit: audit(.userDeleted, deleted), at: time(noon))
            #expect(try await store.reserveNames([username("root")], at: time(noon)))
            // Whoever needs a hash from here on gets 503.
            await fixture.hasher.shutdown()
            var answers: Set<String> = []
            for name in ["live", "1ive", "FORMER", "f0rmer", "deleted", "root", "r00t"] {
                let response = await register(name, at: fixture)
                #expect(response.status == 409, "\(name)")
                answers.insert(response.body)
                var browser = Browser(fixture)
                let page = await browser.submit(
                    "/register", [("username", name), ("password", FrontFixture.password)])
                #expect(page.status == 409, "\(name)")
                #expect(page.alert == "This username is taken.")
            }
            #expect(answers.count == 1)
            #expect(await register("free", at: fixture).status == 503)
        }
    }

    @Test(
        arguments: [
            ("zoë", false, "The username may contain the letters a to z, digits, full stops"),
            ("a+b", false, "The username may contain the letters a to z, digits, full stops"),
            ("zoë", true, nil),
            ("שלום", true, nil),
            ("аdmin", true, "The username mixes letters of several alphabets."),
            ("a:b", true, "The username may contain the letters a to z, digits, full stops"),
            ("a\u{200D}b", true, "The username contains an invisible character."),
            (".ada", true, "The username starts or ends with a full stop."),
        ] as [(String, Bool, String?)])
    func `a name against the policy is refused with the reason in words`(
        _ name: String, _ allowsUnicode: Bool, _ reason: String?
    ) async throws {
        let policy = UsernamePolicy(allowsUnicode: allowsUnicode)
        try await with(usernames: policy) { (fixture: FrontFixture) async throws in
            let response = await register(name, at: fixture)
            #expect(response.status == (reason == nil ? 201 : 422))
            if let reason { #expect(response.body.contains(reason)) }
        }
    }

    @Test func `a name that was given before the policy signs in`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            let user = try await fixture.makeUser("ada")
            let hash = try #require(user.passwordHash)
            for name in ["a+b", "zoë", "jane@example.org"] {
                _ = try await fixture.addUser(name, passwordHash: hash)
                var browser = Browser(fixture)
                #expect(await browser.signIn(name).status == 303, "\(name)")
            }
        }
    }

    @Test func `under another version of skeletons nobody registers, and people sign in`()
        async throws
    {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            let queue = try DatabaseQueue(
                path: fixture.directory.path + "/" + SQLStore.fileName)
            try await queue.write { try $0.execute(sql: "UPDATE skeletons SET version = 'x'") }
            let response = await register("bob", at: fixture)
            #expect(response.status == 503)
            #expect(response.header("retry-after") != nil)
            #expect(response.body.contains("urn:gatehouse:problem:usernames_outdated"))
            #expect(await register("ada", at: fixture).status == 503)
            var browser = Browser(fixture)
            #expect(await browser.signIn("ada").status == 303)
        }
    }
}
