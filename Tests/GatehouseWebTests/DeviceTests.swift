// The device cookie at the front door: who is known, what is kept, and what is refused.

import Foundation
import GRDB
import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Synchronization
import Testing

@testable import GatehouseWeb

@Suite(.serialized) struct DeviceTests {
    private static let name = "__Host-gatehouse-device"

    private func with(
        deviceEntropy: Entropy = .system, _ body: (FrontFixture) async throws -> Void
    ) async throws {
        let fixture = try await FrontFixture(deviceEntropy: deviceEntropy)
        try await body(fixture)
        await fixture.stop()
    }

    private func claims(_ browser: Browser) async throws -> DeviceClaims {
        let token = Array(try #require(browser.deviceToken).utf8)
        let content = await browser.fixture.sealer.open(
            token, purpose: .device, transport: .cookie)
        let bytes = try #require(content)
        let claims = DeviceClaims(bytes.span)
        return try #require(claims)
    }

    private func cookies(_ browser: Browser) -> [[UInt8]] {
        browser.deviceToken.map { [Array($0.utf8)] } ?? []
    }

    private func known(_ browser: Browser, _ user: User?) async throws -> DeviceID? {
        try await browser.fixture.known(cookies(browser), user: user?.id)
    }

    /// The `Set-Cookie` of an answer for the device cookie.
    private static func setting(_ response: FrontResponse) -> String? {
        let all = response.headers.filter {
            $0.0 == .setCookie && $0.1.hasPrefix(name + "=")
        }
        #expect(all.count <= 1, "never two of one name (REQUIREMENTS CK-4)")
        return all.first?.1
    }

    private static func attributes(_ response: FrontResponse) -> Substring? {
        setting(response).map { $0.drop { $0 != ";" } }
    }

    private static func preferences(_ response: FrontResponse) throws -> [String: String] {
        struct Body: Decodable { let preferences: [String: String] }
        return try JSONDecoder().decode(Body.self, from: Data(response.body.utf8)).preferences
    }

    private static func type(_ response: FrontResponse) -> String? {
        struct Problem: Decodable { let type: String }
        let problem = try? JSONDecoder().decode(Problem.self, from: Data(response.body.utf8))
        return problem?.type.replacing("urn:gatehouse:problem:", with: "")
    }

    private static let session = "; Path=/; Secure; HttpOnly; SameSite=Lax"
    private static let persistent = session + "; Max-Age=15552000"
    private static let theme = #"{"preferences":{"theme":"dark"}}"#

    // MARK: Sign-in

    // Promise: persistent-on-request
    @Test func `a sign-in sets the cookie for the browser's session, and signing out keeps it`()
        async throws
    {
        try await with { (fixture: FrontFixture) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            #expect(try await known(browser, ada) == nil)
            let answer = await browser.signIn("ada")
            #expect(answer.status == 303)
            #expect(Self.attributes(answer) == Self.session[...])
            let claims = try await claims(browser)
            #expect(claims.people.map(\.user) == [ada.id])
            #expect(claims.people[0].flags == [])
            #expect(claims.issued == time(noon))
            #expect(claims.deadline == time(noon + 180 * 86_400))
            let device = try #require(try await known(browser, ada))
            #expect(await fixture.devices.users(in: cookies(browser)) == [ada.id])
            #expect(Self.setting(await browser.submit("/logout", [])) == nil)
            #expect(try await known(browser, ada) == device)
            // The next sign-in, by a page or a program, is on the same device.
            let json = await browser.json(
                "/v1/login", #"{"username":"ada","password":"\#(FrontFixture.password)"}"#)
            #expect(Self.attributes(json) == Self.session[...])
            #expect(try await known(browser, ada) == device)
            #expect(Self.setting(await browser.signIn("ada", "wrong")) == nil)
            #expect(try await known(browser, ada) == device)
        }
    }

    @Test func `a bearer sign-in sets none`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            let answer = await browser.json(
                "/v1/login",
                #"{"username":"ada","password":"\#(FrontFixture.password)","transport":"bearer"}"#)
            #expect(answer.status == 200)
            #expect(Self.setting(answer) == nil)
        }
    }

    @Test func `people who share a browser have devices of their own`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            var users: [User] = []
            for number in 0..<9 {
                users.append(try await fixture.makeUser("user\(number)"))
                #expect(await browser.signIn("user\(number)").status == 303)
            }
            let claims = try await claims(browser)
            #expect(claims.people.map(\.user) == users.dropFirst().reversed().map(\.id))
            #expect(Set(claims.people.map(\.device)).count == 8)
            #expect(
                try await known(browser, users[0]) == nil, "the ninth took the first one's place")
            for user in users.dropFirst() {
                #expect(try await known(browser, user) == claims.person(user.id)?.device)
            }
            #expect(try #require(browser.deviceToken).utf8.count <= 512)
        }
    }

    @Test func `a remembered sign-in makes the cookie stay, and the next without it does not`()
        async throws
    {
        try await with { (fixture: FrontFixture) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let session = try #require(
                try await fixture.store.sessions(of: ada.id, limit: 1).first)
            for isRemembered in [true, false] {
                let cookie = try #require(
                    await fixture.devices.signedIn(
                        session, cookies: cookies(browser),
                        series: isRemembered ? SeriesID(try Identifier.random(from: .system)) : nil)
                )
                #expect(cookie.isPersistent == isRemembered)
                browser.cookies[Self.name] = cookie.value
                let flags = try await claims(browser).person(ada.id)?.flags
                #expect(flags == (isRemembered ? .remembered : []))
            }
        }
    }

    @Test func `a sign-in succeeds without the cookie when it can't be made`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let session = try #require(
                try await fixture.store.sessions(of: ada.id, limit: 1).first)
            // Of the sealer, of randomness, of the user who has changed meanwhile.
            let stopped = Lease(maximumStalenessSeconds: 3600)
            let sealer = Sealer(audience: audience(), lease: stopped, entropy: .system)
            let (store, node) = (fixture.store, fixture.node)
            let unable = [
                Devices(
                    store: store, sealer: sealer, node: node, entropy: .system,
                    clock: { instant(noon) }),
                Devices(
                    store: store, sealer: fixture.sealer, node: node, entropy: .broken,
                    clock: { instant(noon) }),
            ]
            for devices in unable {
                #expect(
                    await devices.signedIn(session, cookies: [], series: nil) == nil)
            }
            _ = try await store.setUser(
                ada.id, state: .disabled, audit: AuditEvent(.userDisabled, by: .command),
                at: time(noon))
            #expect(
                await fixture.devices.signedIn(session, cookies: [], series: nil) == nil)
            #expect(try await known(browser, ada) == nil)
        }
    }

    @Test func `a device that ends while the password is verified is replaced by another`()
        async throws
    {
        let directory = Mutex("")
        let fixture = try await FrontFixture {
            let path = directory.withLock { $0 }
            // A try is charged after the device was found, and before the session begins.
            if !path.isEmpty {
                try? DatabaseQueue(path: path).write { db in
                    try db.execute(
                        sql: "DELETE FROM devices WHERE EXISTS (SELECT 1 FROM attempts)")
                }
            }
            return instant(noon)
        }
        let ada = try await fixture.makeUser("ada")
        var browser = Browser(fixture)
        _ = await browser.signIn("ada")
        let device = try #require(try await known(browser, ada))
        directory.withLock { $0 = fixture.directory.path + "/" + SQLStore.fileName }
        let page = await browser.signIn("ada")
        directory.withLock { $0 = "" }
        #expect(page.status == 303)
        #expect(await fixture.isGood(browser.sessionToken))
        #expect(try await fixture.store.device(device, of: ada.id, at: time(noon)) == nil)
        #expect(try #require(try await known(browser, ada)) != device)
        await fixture.stop()
    }

    @Test func `people get in when no device can be made`() async throws {
        try await with(deviceEntropy: .broken) { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            browser.cookies[Self.name] = "AAAA"
            let page = await browser.signIn("ada")
            #expect(page.status == 303)
            #expect(Self.setting(page) == nil)
            #expect(await fixture.isGood(browser.sessionToken))
            let json = await browser.json(
                "/v1/login", #"{"username":"ada","password":"\#(FrontFixture.password)"}"#)
            #expect(json.status == 200)
            #expect(Self.setting(json) == nil)
            #expect(await fixture.isGood(browser.sessionToken))
            // What was asked for says that it can't be done.
            let saved = await browser.json("/v1/device", Self.theme, method: .put)
            #expect(saved.status == 503)
            #expect(saved.header("retry-after") != nil)
        }
    }

    // MARK: Attacks

    @Test func `every bit of the cookie counts, and its purpose`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let token = Array(try #require(browser.deviceToken).utf8)
            #expect(try await fixture.known([token], user: ada.id) != nil)
            let bytes = try #require(Base64URL.bytes(token))
            for bit in 0..<(bytes.count * 8) {
                var changed = bytes
                changed[bit / 8] ^= 1 << UInt8(bit % 8)
                let text = Base64URL.text(changed)
                #expect(try await fixture.known([text], user: ada.id) == nil, "bit \(bit)")
            }
            for count in 0..<token.count {
                #expect(try await fixture.known([Array(token[..<count])], user: ada.id) == nil)
            }
            for added in ["=", "A", " ", "\n", "\0", "."] {
                #expect(try await fixture.known([token + added.utf8], user: ada.id) == nil)
            }
            // The same content, sealed for anything else.
            let content = try await claims(browser).encoded()
            for purpose in TokenPurpose.allCases {
                for transport in TokenTransport.allCases {
                    let sealed = try await fixture.sealer.seal(
                        content, purpose: purpose, transport: transport, at: instant(noon))
                    let isOurs = purpose == .device && transport == .cookie
                    let found = try await fixture.known(
                        [Array(sealed.text.utf8)], user: ada.id)
                    #expect((found != nil) == isOurs, "\(purpose) \(transport)")
                }
            }
            // And the other way: the device cookie is no session, and no form's.
            var thief = Browser(fixture)
            thief.cookies["__Host-gatehouse"] = browser.deviceToken
            #expect(await thief.get("/v1/session").status == 401)
            #expect(await fixture.door.formTokens.preSession([token]) == nil)
            // Sealed by us, but not in the layout.
            for content in [[1], content + [0], Array(content.dropLast())] as [[UInt8]] {
                let sealed = try await fixture.sealer.seal(
                    content, purpose: .device, transport: .cookie, at: instant(noon))
                #expect(
                    try await fixture.known([Array(sealed.text.utf8)], user: ada.id) == nil)
            }
        }
    }

    @Test func `another deployment's cookie is none`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            try await with { (other: FrontFixture) async throws in
                let ada = try await fixture.makeUser("ada")
                _ = try await other.makeUser("ada")
                var browser = Browser(other)
                _ = await browser.signIn("ada")
                #expect(try await fixture.known(cookies(browser), user: ada.id) == nil)
                #expect(await fixture.devices.users(in: cookies(browser)).isEmpty)
            }
        }
    }

    @Test func `two cookies of the name are none, and a cookie of another spelling is another`()
        async throws
    {
        try await with { (fixture: FrontFixture) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let token = try #require(browser.deviceToken)
            let device = try #require(try await known(browser, ada))
            var other = Browser(fixture)
            _ = await other.signIn("ada")
            let tossed = try #require(other.deviceToken)
            for values in [[token, token], [token, tossed], [tossed, token], [token, ""]] {
                let bytes = values.map { Array($0.utf8) }
                #expect(try await fixture.known(bytes, user: ada.id) == nil)
                #expect(await fixture.devices.users(in: bytes).isEmpty)
            }
            var doubled = browser
            doubled.cookies[Self.name] = "\(token); \(Self.name)=\(tossed)"
            #expect(try Self.preferences(await doubled.get("/v1/device")).isEmpty)
            // At a sign-in both are forgotten, and a new device is made.
            #expect(await doubled.signIn("ada").status == 303)
            let made = try #require(try await known(doubled, ada))
            #expect(made != device)
            for spelling in [
                "__host-gatehouse-device", "__Secure-gatehouse-device", "gatehouse-device",
                "\u{A0}\(Self.name)", "%5f%5fHost-gatehouse-device",
            ] {
                let read = RequestCookies([Array("\(spelling)=\(token)".utf8)])
                #expect(read.values(Self.name).isEmpty, "\(spelling)")
            }
            let quoted = RequestCookies([Array("\(Self.name)=\"\(token)\"".utf8)])
            #expect(try await fixture.known(quoted.values(Self.name), user: ada.id) == nil)
        }
    }

    @Test func `a cookie is good for a hundred and eighty days and not longer`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            // The device lives on, by sign-ins with other copies of the cookie.
            let day: Int64 = 86_400
            let epoch = ada.epoch
            let person = try #require(try await claims(browser).person(ada.id))
            let key = try #require(try await fixture.store.keyUsage().keys.first)
            let outcome = try await fixture.store.useDevice(
                DeviceUse(
                    id: person.device, isNew: false, user: ada.id, epoch: epoch, preferences: nil,
                    seal: DeviceSeal(key: key, keyringVersion: 1, deadline: time(noon)),
                    isProved: true),
                at: time(noon + 100 * day))
            #expect(outcome == .done)
            for (seconds, isKnown) in [
                (-clockSkewSeconds - 1, false), (-clockSkewSeconds, true), (0, true),
                (180 * day - 1, true), (180 * day, false),
            ] {
                let devices = Devices(
                    store: fixture.store, sealer: fixture.sealer, node: fixture.node,
                    entropy: .system, clock: { instant(noon + seconds) })
                let found = try await fixture.known(
                    cookies(browser), user: ada.id, by: devices)
                #expect((found != nil) == isKnown, "\(seconds)")
                #expect(await devices.users(in: cookies(browser)).isEmpty == !isKnown)
            }
        }
    }

    @Test func `a cookie with somebody's user and another one's device knows neither`() async throws
    {
        try await with { (fixture: FrontFixture) async throws in
            let ada = try await fixture.makeUser("ada")
            let bob = try await fixture.makeUser("bob")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let device = try #require(try await known(browser, ada))
            #expect(try await known(browser, bob) == nil)
            let crossed = DeviceClaims(
                DeviceClaims.Person(user: bob.id, device: device, flags: []), before: nil,
                at: time(noon))
            let sealed = try await fixture.sealer.seal(
                crossed.encoded(), purpose: .device, transport: .cookie, at: instant(noon))
            browser.cookies[Self.name] = sealed.text
            for user in [ada, bob] { #expect(try await known(browser, user) == nil) }
            // Bob's sign-in makes a device of his own and takes nothing of hers.
            _ = await browser.signIn("bob")
            #expect(try #require(try await known(browser, bob)) != device)
            #expect(try await fixture.store.device(device, of: ada.id, at: time(noon)) != nil)
        }
    }

    @Test func `nobody is known under a name that nobody has`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            #expect(try await known(browser, nil) == nil)
            let nobody = UserID(.zero)
            #expect(try await fixture.known(cookies(browser), user: nobody) == nil)
        }
    }

    @Test func `a cookie from before a new password is none`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            #expect(await browser.json("/v1/device", Self.theme, method: .put).status == 204)
            let device = try #require(try await known(browser, ada))
            let link = try await fixture.makeLink(.recovery(ada.id))
            let password = "another horse battery staple"
            let answer = await browser.submit(
                "/recover?token=\(link)", [("token", link), ("password", password)])
            #expect(answer.status == 303)
            #expect(try await known(browser, ada) == nil)
            // The old cookie makes a new device, without what was kept on the old one.
            let signedIn = await browser.signIn("ada", password)
            #expect(Self.attributes(signedIn) == Self.session[...])
            #expect(try #require(try await known(browser, ada)) != device)
            #expect(try Self.preferences(await browser.get("/v1/device")).isEmpty)
        }
    }

    // MARK: Preferences as JSON

    // Promise: device-preferences
    @Test func `preferences survive signing out, and make the cookie stay`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            #expect(await browser.get("/v1/device").status == 401)
            _ = await browser.signIn("ada")
            #expect(try Self.preferences(await browser.get("/v1/device")).isEmpty)
            let saved = await browser.json("/v1/device", Self.theme, method: .put)
            #expect(saved.status == 204)
            #expect(Self.attributes(saved) == Self.persistent[...])
            _ = await browser.submit("/logout", [])
            #expect(await browser.get("/v1/device").status == 401)
            #expect(Self.attributes(await browser.signIn("ada")) == Self.persistent[...])
            let shown = await browser.get("/v1/device")
            #expect(try Self.preferences(shown) == ["theme": "dark"])
            #expect(shown.body.contains(#""created":\#(noon)"#))
            #expect(shown.body.contains(#""last_used":\#(noon / 86_400 * 86_400)"#))
            // The map is replaced as a whole; an empty one lets the cookie end with the browser.
            let other = #"{"preferences":{"size":"large"}}"#
            #expect(await browser.json("/v1/device", other, method: .put).status == 204)
            #expect(try Self.preferences(await browser.get("/v1/device")) == ["size": "large"])
            let emptied = await browser.json("/v1/device", #"{"preferences":{}}"#, method: .put)
            #expect(Self.attributes(emptied) == Self.session[...])
            #expect(Self.attributes(await browser.signIn("ada")) == Self.session[...])
        }
    }

    @Test func `preferences are their owner's, on their own device`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            let ada = try await fixture.makeUser("ada")
            _ = try await fixture.makeUser("bob")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            _ = await browser.json("/v1/device", Self.theme, method: .put)
            let answer = await browser.signIn("bob")
            #expect(Self.attributes(answer) == Self.persistent[...], "ada's wish holds")
            #expect(try Self.preferences(await browser.get("/v1/device")).isEmpty)
            _ = await browser.json(
                "/v1/device", #"{"preferences":{"theme":"light"}}"#, method: .put)
            _ = await browser.signIn("ada")
            #expect(try Self.preferences(await browser.get("/v1/device")) == ["theme": "dark"])
            // On another device there is nothing.
            var second = Browser(fixture)
            _ = await second.signIn("ada")
            #expect(try Self.preferences(await second.get("/v1/device")).isEmpty)
            #expect(try await claims(second).person(ada.id)?.flags == [])
        }
    }

    @Test func `without a device cookie there is nothing, and saving makes a device`() async throws
    {
        try await with { (fixture: FrontFixture) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            browser.cookies[Self.name] = nil
            let nothing = await browser.get("/v1/device")
            #expect(nothing.status == 200)
            #expect(nothing.body == #"{"preferences":{}}"# + "\n")
            #expect(await browser.json("/v1/device", Self.theme, method: .put).status == 204)
            #expect(try await known(browser, ada) == nil, "no password was given with it")
            #expect(try Self.preferences(await browser.get("/v1/device")) == ["theme": "dark"])
            _ = await browser.signIn("ada")
            #expect(try await known(browser, ada) != nil)
            #expect(try Self.preferences(await browser.get("/v1/device")) == ["theme": "dark"])
        }
    }

    @Test(
        arguments: [
            (#"{"preferences":{"theme":"dark"}}"#, 204, nil), ("{}", 422, "preferences"),
            (#"{"preferences":{},"other":{}}"#, 422, "preferences"),
            (#"{"other":{}}"#, 422, "preferences"), ("[]", 400, "json"), ("", 400, "json"),
            (#"{"preferences":{"a":1}}"#, 400, "json"),
            (#"{"preferences":{"a":null}}"#, 400, "json"),
            (#"{"preferences":{"a":"1","a":"2"}}"#, 400, "json"),
            (#"{"preferences":{"a":""}}"#, 422, "preferences"),
            (#"{"preferences":{"A":"1"}}"#, 422, "preferences"),
            (#"{"preferences":{"a":"\u0000"}}"#, 422, "preferences"),
        ] as [(String, Int, String?)])
    func `other input is refused and changes nothing`(
        _ body: String, _ status: Int, _ type: String?
    ) async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            _ = await browser.json("/v1/device", #"{"preferences":{"k":"v"}}"#, method: .put)
            let answer = await browser.json("/v1/device", body, method: .put)
            #expect(answer.status == status)
            #expect(Self.type(answer) == type)
            #expect((Self.setting(answer) != nil) == (type == nil))
            #expect(
                try Self.preferences(await browser.get("/v1/device"))
                    == (type == nil ? ["theme": "dark"] : ["k": "v"]))
        }
    }

    @Test func `only our own pages change a device, and only of a browser with a session`()
        async throws
    {
        try await with { (fixture: FrontFixture) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            for fields in [
                ["sec-fetch-site": "cross-site"], ["sec-fetch-site": "same-site"],
                ["sec-fetch-site": nil, "origin": "https://evil.example"],
                ["sec-fetch-site": nil, "origin": nil],
            ] as [[String: String?]] {
                var foreign = browser
                foreign.fields = fields
                for method in [HTTPRequest.Method.put, .delete] {
                    let answer = await foreign.json("/v1/device", Self.theme, method: method)
                    #expect(answer.status == 403)
                    #expect(Self.type(answer) == "cross_site")
                }
                // A program with the device cookie alone is a browser's request all the same.
                foreign.cookies["__Host-gatehouse"] = nil
                foreign.fields = ["sec-fetch-site": nil, "origin": nil]
                let login = #"{"username":"ada","password":"\#(FrontFixture.password)"}"#
                #expect(await foreign.json("/v1/login", login).status == 403)
            }
            let text = await browser.send(
                .put, "/v1/device", body: Array(Self.theme.utf8), type: "text/plain")
            #expect(text.status == 415)
            // The device cookie signs nobody in, and a bearer token is no browser's.
            let login = await browser.json(
                "/v1/login",
                #"{"username":"ada","password":"\#(FrontFixture.password)","transport":"bearer"}"#)
            let start = try #require(login.body.firstRange(of: #""token":""#))
            let token = String(login.body[start.upperBound...].prefix { $0 != "\"" })
            browser.cookies["__Host-gatehouse"] = nil
            browser.fields = ["authorization": "Bearer \(token)"]
            #expect(await browser.get("/v1/session").status == 200)
            for fields in [[:], ["authorization": "Bearer \(token)"]] as [[String: String?]] {
                browser.fields = fields
                for method in [HTTPRequest.Method.get, .put, .delete] {
                    let answer = await browser.json("/v1/device", Self.theme, method: method)
                    #expect(answer.status == 401)
                    #expect(Self.type(answer) == "no_session")
                }
            }
            #expect(try await known(browser, ada) != nil)
        }
    }

    // MARK: The account page

    @Test func `the page shows preferences, changes them, adds and removes`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            let page = await browser.get("/account").body
            #expect(page.contains("180 days"), "how long is said in words")
            #expect(page.contains("/account/device/forget"))
            func save(_ fields: [(String, String)]) async -> FrontResponse {
                let token = Browser.formToken(await browser.get("/account").body) ?? ""
                return await browser.post("/account/device", fields + [("form", token)])
            }
            func saved() async throws -> [String: String] {
                try Self.preferences(await browser.get("/v1/device"))
            }
            let nasty = #"<b>"&'"#
            let added = await save([("new_key", "theme"), ("new_value", nasty)])
            #expect(added.status == 303)
            #expect(added.header("location") == "/account?notice=saved")
            #expect(Self.attributes(added) == Self.persistent[...])
            #expect(try await saved() == ["theme": nasty])
            let shown = await browser.get("/account?notice=saved").body
            #expect(shown.contains("role=\"status\""))
            #expect(shown.contains("name=\"preference.theme\""))
            #expect(!shown.contains("<b>"))
            #expect(await save([("new_key", "size"), ("new_value", "large")]).status == 303)
            #expect(try await saved() == ["theme": nasty, "size": "large"], "the others stay")
            #expect(
                await save([("preference.theme", "dark"), ("preference.size", "")]).status == 303)
            #expect(try await saved() == ["theme": "dark"])
            let emptied = await save([("preference.theme", ""), ("new_key", ""), ("new_value", "")])
            #expect(Self.attributes(emptied) == Self.session[...])
            #expect(try await saved().isEmpty)
        }
    }

    @Test func `what the page can't take is shown again with the reason`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            _ = await browser.json("/v1/device", Self.theme, method: .put)
            let token = try #require(Browser.formToken(await browser.get("/account").body))
            for (fields, reason) in [
                ([("new_key", "Not a name"), ("new_value", "v")], "name is 1 to 32"),
                ([("new_key", ""), ("new_value", "v")], "name is 1 to 32"),
                ([("new_key", "k"), ("new_value", "")], "value is 1 to 256"),
                (
                    [("preference.theme", String(repeating: "v", count: 257))],
                    "value is 1 to 256"
                ),
                ([("preference.No", "v")], "name is 1 to 32"),
                (
                    (0..<17).map { ("preference.k\($0)", "typed") },
                    "at most 16"
                ),
            ] as [([(String, String)], String)] {
                let answer = await browser.post("/account/device", fields + [("form", token)])
                #expect(answer.status == 422)
                #expect(answer.alert?.contains(reason) == true, "\(answer.alert ?? "")")
                for (_, value) in fields where !value.isEmpty {
                    #expect(answer.body.contains("value=\"\(value)\""), "what was typed stays")
                }
                #expect(Self.setting(answer) == nil)
            }
            #expect(try Self.preferences(await browser.get("/v1/device")) == ["theme": "dark"])
            // Sixteen fit into one form, each as long as it may be and written as three times that.
            let full = Dictionary(
                uniqueKeysWithValues: (0..<16).map {
                    (
                        String(repeating: "k", count: 30) + "\($0 + 10)",
                        String(repeating: "é", count: 128)
                    )
                })
            let json = String(
                decoding: try JSONEncoder().encode(["preferences": full]), as: UTF8.self)
            #expect(await browser.json("/v1/device", json, method: .put).status == 204)
            let all = full.map { ("preference.\($0.key)", String(repeating: "ü", count: 128)) }
            let answer = await browser.post("/account/device", all + [("form", token)])
            #expect(answer.status == 303)
            let page = await browser.get("/account").body
            #expect(!page.contains("new_key"), "there is no room for another")
        }
    }

    @Test func `the page's forms need their token, a page of ours and a session`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            var other = Browser(fixture)
            _ = await other.signIn("ada")
            let token = try #require(Browser.formToken(await browser.get("/account").body))
            let foreign = try #require(Browser.formToken(await other.get("/account").body))
            for target in ["/account/device", "/account/device/forget"] {
                let fields = [("new_key", "k"), ("new_value", "v")]
                for field in ["", foreign, token + "A"] {
                    let answer = await browser.post(target, fields + [("form", field)])
                    #expect(answer.status == 403)
                    #expect(Self.setting(answer) == nil)
                }
                browser.fields = ["sec-fetch-site": "cross-site"]
                #expect(await browser.post(target, fields + [("form", token)]).status == 403)
                browser.fields = [:]
                #expect(await browser.get(target).status == 405)
            }
            #expect(try Self.preferences(await browser.get("/v1/device")).isEmpty)
            #expect(try await known(browser, ada) != nil)
            // When the session has ended meanwhile, the sign-in page.
            let session = Array(try #require(browser.sessionToken).utf8)
            let ended = await fixture.sealer.claims(of: session, transport: .cookie)
            try await fixture.accounts.end(
                PresentedIDs(sessions: [try #require(ended).session]))
            for target in ["/account/device", "/account/device/forget"] {
                let answer = await browser.post(target, [("form", token)])
                #expect(answer.status == 303)
                #expect(answer.header("location") == "/resume?return_to=/account")
                #expect(Self.setting(answer) == nil)
            }
            #expect(try await known(browser, ada) != nil)
        }
    }

    // MARK: Forget

    @Test(arguments: [true, false])
    func `a forgotten browser is unknown, and its old cookie worth nothing`(
        _ onThePage: Bool
    ) async throws {
        try await with { (fixture: FrontFixture) async throws in
            let ada = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            _ = await browser.json("/v1/device", Self.theme, method: .put)
            let old = try #require(browser.deviceToken)
            let device = try #require(try await known(browser, ada))
            func forget() async throws -> FrontResponse {
                guard onThePage else {
                    return await browser.send(.delete, "/v1/device")
                }
                let token = try #require(Browser.formToken(await browser.get("/account").body))
                return await browser.post("/account/device/forget", [("form", token)])
            }
            let answer = try await forget()
            #expect(answer.status == (onThePage ? 303 : 204))
            #expect(Self.attributes(answer) == (Self.session + "; Max-Age=0")[...])
            #expect(browser.deviceToken == nil)
            #expect(await browser.get("/v1/session").status == 200, "the session goes on")
            #expect(try Self.preferences(await browser.get("/v1/device")).isEmpty)
            // Replayed, it makes nobody known and brings nothing back.
            browser.cookies[Self.name] = old
            #expect(try await known(browser, ada) == nil)
            #expect(try Self.preferences(await browser.get("/v1/device")).isEmpty)
            #expect(Self.attributes(await browser.signIn("ada")) == Self.session[...])
            #expect(try #require(try await known(browser, ada)) != device)
            #expect(try Self.preferences(await browser.get("/v1/device")).isEmpty)
            // Twice is once.
            _ = try await forget()
            browser.cookies[Self.name] = old
            #expect(try await forget().status == (onThePage ? 303 : 204))
            #expect(browser.deviceToken == nil)
        }
    }

    @Test func `one person's forgetting leaves the others' marks`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            let ada = try await fixture.makeUser("ada")
            let bob = try await fixture.makeUser("bob")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            _ = await browser.json("/v1/device", Self.theme, method: .put)
            _ = await browser.signIn("bob")
            let answer = await browser.send(.delete, "/v1/device")
            #expect(Self.attributes(answer) == Self.persistent[...])
            #expect(await fixture.devices.users(in: cookies(browser)) == [ada.id])
            #expect(try await known(browser, ada) != nil)
            #expect(try await known(browser, bob) == nil)
            // Nobody's else to forget: it stays as it is.
            _ = await browser.send(.delete, "/v1/device")
            #expect(try await known(browser, ada) != nil)
            _ = await browser.signIn("ada")
            #expect(try Self.preferences(await browser.get("/v1/device")) == ["theme": "dark"])
        }
    }

    @Test func `a cookie that does not open is deleted by forgetting`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            _ = try await fixture.makeUser("ada")
            var browser = Browser(fixture)
            _ = await browser.signIn("ada")
            browser.cookies[Self.name] = "AAAA"
            #expect(await browser.send(.delete, "/v1/device").status == 204)
            #expect(browser.deviceToken == nil)
        }
    }

    @Test func `with a shared domain the cookie is named and set for it`() {
        let cookies = CookieNames(domain: "example.org")
        #expect(
            cookies.setting(cookies.device, to: "x", maximumAgeSeconds: 9)
                == "__Secure-gatehouse-device=x; Path=/; Secure; HttpOnly; SameSite=Lax; "
                + "Domain=example.org; Max-Age=9")
    }
}
