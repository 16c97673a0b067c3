// Counters, addresses, the floor of refusals: how often and how fast passwords can be tried.

import GatehouseCore
import GatehousePasswords
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import Synchronization
import Testing

@testable import GatehouseWeb

/// A clock that tests move.
private final class TestClock: Sendable {
    private let seconds = Mutex(noon)
    func advance(_ by: Int64) { seconds.withLock { $0 += by } }
    var now: Instant { instant(seconds.withLock { $0 }) }
}

private func prefix(_ text: String) -> AddressPrefix? { AddressPrefix(Array(text.utf8)) }

@Suite struct AddressPrefixTests {
    @Test func `an IPv4 address stands for itself, an IPv6 one for its 64`() throws {
        #expect(prefix("192.0.2.1") != prefix("192.0.2.2"))
        #expect(prefix("2001:db8:0:1::1") == prefix("2001:db8:0:1:ffff:ffff:ffff:ffff"))
        #expect(prefix("2001:db8:0:1::1") != prefix("2001:db8:0:2::1"))
        #expect(prefix("2001:DB8:0:1::9") == prefix("2001:db8:0:1::1"))
        #expect(prefix("::ffff:192.0.2.1") == prefix("192.0.2.1"), "RFC 4291 section 2.5.5.2")
        #expect(prefix("::192.0.2.1") != prefix("192.0.2.1"))
        #expect(prefix("::c000:201") != prefix("192.0.2.1"))
    }

    @Test(arguments: [
        "", " ", "unknown", "_hidden", "192.0.2.1:80", "[2001:db8::1]", "[2001:db8::1]:443",
        "192.0.2", "192.0.2.1.", "192.0.2.01", "192.0.2.256", "1::2::3", "fe80::1%eth0",
        "192.0.2.1\u{0}", "192.0.2.1 ", "::\u{FF11}", String(repeating: "1", count: 46),
        String(repeating: ":", count: 100_000),
    ])
    func `what is no address is none`(_ text: String) {
        #expect(prefix(text) == nil)
    }

    private static func client(
        peer: String?, _ forwardedFor: [String], trusted: [String] = ["127.0.0.1", "10.0.0.2"]
    ) -> AddressPrefix? {
        ClientAddressRule(trustedProxies: trusted)
            .client(peer: peer, forwardedFor: forwardedFor.map { Array($0.utf8) })
    }

    @Test func `only a listed proxy's word is taken`() {
        #expect(Self.client(peer: "192.0.2.9", ["198.51.100.1"]) == prefix("192.0.2.9"))
        #expect(Self.client(peer: "127.0.0.1", ["198.51.100.1"]) == prefix("198.51.100.1"))
        #expect(Self.client(peer: nil, ["198.51.100.1"]) == prefix("198.51.100.1"))
        #expect(Self.client(peer: "127.0.0.1", [], trusted: []) == prefix("127.0.0.1"))
    }

    @Test func `the last address that is no proxy's is the client, whatever stands before`() {
        let forged = "203.0.113.1, 198.51.100.1"
        #expect(Self.client(peer: "127.0.0.1", [forged]) == prefix("198.51.100.1"))
        #expect(
            Self.client(peer: "127.0.0.1", [forged + ", 10.0.0.2"]) == prefix("198.51.100.1"))
        #expect(
            Self.client(peer: "127.0.0.1", ["203.0.113.1", "198.51.100.1 ,\t10.0.0.2 "])
                == prefix("198.51.100.1"))
        let long = Array(repeating: "203.0.113.1", count: 1000).joined(separator: ",")
        #expect(Self.client(peer: nil, [long + ",198.51.100.1"]) == prefix("198.51.100.1"))
    }

    @Test(arguments: ["", ",", "junk", "203.0.113.1,", "203.0.113.1, unknown", "\u{0}"])
    func `what a proxy passes on and can't be read counts as the proxy`(_ text: String) {
        #expect(Self.client(peer: "127.0.0.1", [text]) == prefix("127.0.0.1"))
        #expect(Self.client(peer: nil, [text]) == nil)
    }

    @Test func `without any word the proxy is the client`() {
        #expect(Self.client(peer: "127.0.0.1", []) == prefix("127.0.0.1"))
        #expect(Self.client(peer: "127.0.0.1", ["10.0.0.2"]) == prefix("127.0.0.1"))
        #expect(Self.client(peer: nil, []) == nil)
    }
}

@Suite struct AddressThrottleTests {
    private let start = BootTime(nanoseconds: 0)

    private func charge(
        _ throttle: AddressThrottle, _ times: Int, _ address: String = "192.0.2.1",
        at now: BootTime
    ) -> [Int64?] {
        (0..<times).map { _ in throttle.charge(prefix(address), at: now) }
    }

    @Test func `so many at once, then as they come back`() {
        let throttle = AddressThrottle(perMinute: 6)
        #expect(charge(throttle, 7, at: start) == [nil, nil, nil, nil, nil, nil, 10])
        #expect(charge(throttle, 1, at: start.advanced(bySeconds: 9)) == [1])
        #expect(charge(throttle, 2, at: start.advanced(bySeconds: 10)) == [nil, 10])
        #expect(charge(throttle, 1, "192.0.2.2", at: start) == [nil], "others have their own")
        let later = start.advanced(bySeconds: 3600)
        #expect(charge(throttle, 7, at: later).last == 10, "never more than a minute's")
    }

    @Test func `what is given back can be used again, and never more than there was`() {
        let throttle = AddressThrottle(perMinute: 2)
        for _ in 0..<100 {
            #expect(throttle.charge(prefix("192.0.2.1"), at: start) == nil)
            throttle.refund(prefix("192.0.2.1"), at: start)
        }
        throttle.refund(prefix("192.0.2.1"), at: start)
        #expect(charge(throttle, 3, at: start) == [nil, nil, 30])
        throttle.refund(prefix("192.0.2.7"), at: start)
        #expect(throttle.count == 1)
    }

    @Test func `zero is no limit, and nobody's address is one like others`() {
        let off = AddressThrottle(perMinute: 0)
        #expect(charge(off, 1000, at: start).allSatisfy { $0 == nil })
        #expect(off.count == 0)
        let on = AddressThrottle(perMinute: 1)
        #expect(on.charge(nil, at: start) == nil)
        #expect(on.charge(nil, at: start) == 60)
    }

    @Test func `a clock that goes back gives nothing`() {
        let throttle = AddressThrottle(perMinute: 1)
        #expect(charge(throttle, 1, at: start.advanced(bySeconds: 100)) == [nil])
        #expect(charge(throttle, 1, at: start) == [60])
    }

    @Test func `many addresses take bounded room, and those that are full again go first`() {
        let throttle = AddressThrottle(perMinute: 1)
        func spread(_ range: Range<Int>, at now: BootTime) {
            for index in range {
                let network = String(index, radix: 16)
                _ = throttle.charge(prefix("2001:\(network)::"), at: now)
            }
        }
        spread(0..<AddressThrottle.maximumKeys, at: start)
        #expect(throttle.count == AddressThrottle.maximumKeys)
        for index in 0..<100 { _ = throttle.charge(prefix("192.0.2.\(index)"), at: start) }
        #expect(throttle.count == AddressThrottle.maximumKeys)
        _ = throttle.charge(prefix("198.51.100.1"), at: start.advanced(bySeconds: 61))
        #expect(throttle.count == 1)
    }
}

@Suite struct FailureFloorTests {
    @Test func `the floor lies above the slowest hash of late, and has a ceiling`() {
        let clock = TestClock()
        let floor = FailureFloor(clock: { clock.now })
        #expect(floor.duration == .zero)
        floor.observe(.milliseconds(400))
        floor.observe(.milliseconds(100))
        #expect(floor.duration == .milliseconds(500))
        clock.advance(FailureFloor.windowSeconds)
        floor.observe(.milliseconds(200))
        #expect(floor.duration == .milliseconds(500), "of this window and the one before")
        clock.advance(FailureFloor.windowSeconds)
        #expect(floor.duration == .milliseconds(250))
        clock.advance(10 * FailureFloor.windowSeconds)
        #expect(floor.duration == .milliseconds(250), "what is known stays known")
        floor.observe(.milliseconds(100), processor: .milliseconds(800))
        clock.advance(10 * FailureFloor.windowSeconds)
        floor.observe(.milliseconds(10))
        clock.advance(10 * FailureFloor.windowSeconds)
        #expect(floor.duration == .seconds(1), "what a hash costs is never forgotten")
        floor.observe(.seconds(60))
        #expect(floor.duration == FailureFloor.maximum)
        let drawn = (0..<100).map { _ in floor.drawn }
        #expect(
            drawn.allSatisfy { (FailureFloor.maximum...FailureFloor.maximum * 1.04).contains($0) })
        #expect(Set(drawn).count > 50)
    }
}

@Suite struct PasswordGateTests {
    private static let password = FrontFixture.password
    /// Python: `hashlib.pbkdf2_hmac('sha256', b'a fine day for sailing', bytes(range(16)), 1000)`,
    /// in base64 with `.` for `+`.
    private static let foreignOutput = "JqpGCfIdT6mFJ9B9Ni2vwaQA2yqx6RrNFwhogt13Doo"

    /// crypt(3) of "0123456789", eight times.
    private static let bcryptOutput = "m2G75IXDN/xsgbNa/hCiPSKyIHQd70S"

    private func with(
        addressFailures: Int = 0, clock: TestClock = TestClock(),
        _ body: (FrontFixture) async throws -> Void
    ) async throws {
        let fixture = try await FrontFixture(
            addressFailures: addressFailures, clock: { clock.now })
        do { try await body(fixture) } catch {
            await fixture.stop()
            throw error
        }
        await fixture.stop()
    }

    private func attempt(
        _ fixture: FrontFixture, _ name: String, _ password: String = password,
        address: String? = nil, device: DeviceClaims? = nil
    ) async -> String {
        let outcome = await fixture.accounts.signIn(
            PasswordGate.Try(
                username: Array(name.utf8), password: Array(password.utf8),
                address: address.flatMap(prefix), browser: device),
            client: Accounts.Client(transport: .cookie))
        switch outcome {
        case .signedIn: return "in"
        case .refused: return "refused"
        case .slowDown(let seconds): return "slow \(seconds)"
        case .agreementRequired, .limitReached, .sessionEnded: return "no place"
        case .failed: return "failed"
        }
    }

    /// What the browser says in which the user gave the password once.
    private func device(
        _ fixture: FrontFixture, of user: User
    ) async throws -> DeviceClaims {
        let limits = try #require(SessionLimits(idleSeconds: 3600, absoluteSeconds: 3600))
        let session = try SessionRecord(
            for: user, at: time(noon), floor: .zero, limits: limits, methods: .password,
            level: .password, entropy: .system)
        let cookie = try #require(
            await fixture.devices.signedIn(session, cookies: [], series: nil))
        return try #require(await fixture.devices.claims(in: [Array(cookie.value.utf8)]))
    }

    private func key(_ fixture: FrontFixture, _ name: String) async throws -> AttemptKey {
        try AttemptKey(username(name), key: try await fixture.accounts.gate.lookUpKey())
    }

    @Test func `after five failures the right password waits, and then it clears the counter`()
        async throws
    {
        let clock = TestClock()
        try await with(clock: clock) { fixture in
            _ = try await fixture.makeUser("ada")
            let key = try await key(fixture, "ada")
            for spelling in ["ada", "ADA", "Ada", "ａｄａ", "aDa"] {
                #expect(await attempt(fixture, spelling, "wrong password") == "refused")
            }
            #expect(try await fixture.store.attempts(key)?.failures == 5)
            #expect(await attempt(fixture, "ada") == "refused")
            clock.advance(29)
            #expect(await attempt(fixture, "ada") == "refused")
            clock.advance(1)
            #expect(await attempt(fixture, "ada") == "in")
            #expect(try await fixture.store.attempts(key) == nil)
        }
    }

    @Test func `two hundred simultaneous guesses hash five times`() async throws {
        try await with { fixture in
            _ = try await fixture.makeUser("ada")
            let right = await withTaskGroup(of: String.self) { group in
                for index in 0..<200 {
                    group.addTask { await self.attempt(fixture, "ada", "guess number \(index)") }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(right == Array(repeating: "refused", count: 200))
            // Charged before it is hashed, and not otherwise.
            #expect(try await fixture.store.attempts(key(fixture, "ada"))?.failures == 5)
        }
    }

    @Test func `unknown names are counted like known ones`() async throws {
        try await with { fixture in
            let key = try await key(fixture, "nobody")
            for _ in 0..<9 { #expect(await attempt(fixture, "nobody") == "refused") }
            #expect(try await fixture.store.attempts(key)?.failures == 5)
        }
    }

    @Test func `an owner who is locked out gets in from a known device, and can unlock`()
        async throws
    {
        try await with { fixture in
            let user = try await fixture.makeUser("ada")
            let key = try await key(fixture, "ada")
            for hour in 0..<100 {
                let then = time(noon - (101 - Int64(hour)) * AttemptRule.maximumWaitSeconds)
                let outcome = try await fixture.store.chargeAttempt(key, user: user.id, at: then)
                #expect(outcome == .admitted)
            }
            #expect(await attempt(fixture, "ada") == "refused", "exhausted")
            let device = try await device(fixture, of: user)
            #expect(await attempt(fixture, "ada", device: device) == "in")
            #expect(
                try await fixture.store.attempts(key)?.failures == 100,
                "strangers have used up their own")
            #expect(await attempt(fixture, "ada") == "refused")
            try await fixture.accounts.gate.clearAttempts(on: user.username, user: user.id)
            #expect(await attempt(fixture, "ada") == "in")
        }
    }

    @Test func `a known device has an allowance too`() async throws {
        try await with { fixture in
            let user = try await fixture.makeUser("ada")
            let device = try await device(fixture, of: user)
            for _ in 0..<5 {
                #expect(
                    await attempt(fixture, "ada", "wrong password", device: device) == "refused")
            }
            #expect(await attempt(fixture, "ada", device: device) == "refused")
            #expect(await attempt(fixture, "ada") == "in", "and doesn't use up the others'")
        }
    }

    @Test func `an address waits after its failures, whatever the names; known devices do not`()
        async throws
    {
        try await with(addressFailures: 3) { fixture in
            let user = try await fixture.makeUser("ada")
            for index in 0..<3 {
                #expect(
                    await attempt(fixture, "user\(index)", address: "192.0.2.1") == "refused")
            }
            #expect(await attempt(fixture, "ada", address: "192.0.2.1") == "slow 20")
            #expect(await attempt(fixture, "ada", address: "192.0.2.2") == "in")
            #expect(try await fixture.store.attempts(key(fixture, "ada")) == nil, "not charged")
            let device = try await device(fixture, of: user)
            #expect(
                await attempt(fixture, "ada", address: "192.0.2.1", device: device) == "in")
        }
    }

    @Test func `an address is not charged for what the store could not be asked`() async throws {
        try await with(addressFailures: 2) { fixture in
            _ = try await fixture.makeUser("ada")
            try fixture.store.close()
            for _ in 0..<4 {
                #expect(await attempt(fixture, "ada", address: "192.0.2.1") == "failed")
            }
        }
    }

    @Test func `right passwords from one address are not charged to it`() async throws {
        try await with(addressFailures: 2) { fixture in
            _ = try await fixture.makeUser("ada")
            for _ in 0..<6 {
                #expect(await attempt(fixture, "ada", address: "192.0.2.1") == "in")
            }
        }
    }

    @Test func `over HTTP an address that waits is told 429 and when`() async throws {
        try await with(addressFailures: 1) { fixture in
            var program = Browser(fixture)
            let body = #"{"username":"ada","password":"some password or other"}"#
            #expect(await program.json("/v1/login", body).status == 401)
            let answer = await program.json("/v1/login", body)
            #expect(answer.status == 429)
            #expect(answer.header("retry-after") == "60")
            #expect(answer.body.contains("urn:gatehouse:problem:slow_down"))
            #expect(await program.signIn("ada").status == 429, "pages and JSON share it")
        }
    }

    @Test func `strangers lock an owner out of every browser but their own, who then unlocks`()
        async throws
    {
        try await with { fixture in
            _ = try await fixture.makeUser("ada")
            var own = Browser(fixture)
            #expect(await own.signIn("ada").status == 303)
            #expect(await own.submit("/logout", []).status == 303)
            for _ in 0..<6 { #expect(await attempt(fixture, "ada", "a wrong guess") == "refused") }

            var other = Browser(fixture)
            #expect(await other.signIn("ada").status == 401)
            #expect(await own.signIn("ada").status == 303, "the browser has its device cookie")
            let told = await own.get("/v1/account/attempts")
            #expect(
                told.body.contains(#""failures":5"#) && told.body.contains(#""exhausted":false"#))
            #expect(told.body.contains(#""next":\#(noon + 30)"#))
            #expect(await own.get("/account").body.contains("one after the other: 5."))
            let unlocked = await own.submit("/account", [])
            #expect(unlocked.status == 405, "the page itself takes no form")
            let token = try #require(Browser.formToken(await own.get("/account").body))
            #expect(await own.post("/account/attempts", [("form", "forged")]).status == 403)
            let done = await own.post("/account/attempts", [("form", token)])
            #expect(done.header("location") == "/account?notice=unlocked")
            #expect(await !own.get("/account").body.contains("one after the other"))
            #expect(await own.get("/v1/account/attempts").body.contains(#""failures":0"#))
            #expect(await other.signIn("ada").status == 303)
        }
    }

    @Test func `over JSON the owner sees and clears the failures, and nobody else`() async throws {
        try await with { fixture in
            _ = try await fixture.makeUser("ada")
            _ = try await fixture.makeUser("bob")
            var ada = Browser(fixture)
            _ = await ada.signIn("ada")
            var bob = Browser(fixture)
            _ = await bob.signIn("bob")
            for _ in 0..<3 { _ = await attempt(fixture, "ada", "a wrong guess") }
            var nobody = Browser(fixture)
            #expect(await nobody.get("/v1/account/attempts").status == 401)
            #expect(await nobody.send(.delete, "/v1/account/attempts").status == 401)
            #expect(await bob.send(.delete, "/v1/account/attempts").status == 204)
            #expect(await ada.get("/v1/account/attempts").body.contains(#""failures":3"#))
            var elsewhere = ada
            elsewhere.fields["sec-fetch-site"] = "cross-site"
            #expect(await elsewhere.send(.delete, "/v1/account/attempts").status == 403)
            #expect(await ada.send(.delete, "/v1/account/attempts").status == 204)
            #expect(await ada.get("/v1/account/attempts").body.contains(#""failures":0"#))
        }
    }

    @Test func `a session that is not fresh clears nothing`() async throws {
        let clock = TestClock()
        try await with(clock: clock) { fixture in
            _ = try await fixture.makeUser("ada")
            var ada = Browser(fixture)
            _ = await ada.signIn("ada")
            for _ in 0..<3 { _ = await attempt(fixture, "ada", "a wrong guess") }
            clock.advance(301)
            #expect(await ada.send(.delete, "/v1/account/attempts").status == 403)
            #expect(await ada.get("/v1/account/attempts").body.contains(#""failures":3"#))
            clock.advance(-1)
            #expect(await ada.send(.delete, "/v1/account/attempts").status == 204)
        }
    }

    @Test func `clearing covers the owner's devices`() async throws {
        try await with { fixture in
            let user = try await fixture.makeUser("ada")
            let device = try await device(fixture, of: user)
            for _ in 0..<5 {
                #expect(await attempt(fixture, "ada", "wrong guess", device: device) == "refused")
            }
            #expect(await attempt(fixture, "ada", device: device) == "refused")
            try await fixture.accounts.gate.clearAttempts(on: user.username, user: user.id)
            #expect(await attempt(fixture, "ada", device: device) == "in")
        }
    }

    @Test func `whoever leaves the queue is charged nothing, and his address is`() async throws {
        let fixture = try await FrontFixture(threads: 1, addressFailures: 3)
        _ = try await fixture.makeUser("ada")
        // One that takes long keeps the thread.
        let slow = try Argon2Parameters(memoryKiB: 65_536, iterations: 16, lanes: 1)
        let dear = PasswordHash(
            parameters: slow, salt: Array(repeating: 1, count: 16),
            output: Array(repeating: 2, count: 32).span)
        async let kept = fixture.hasher.verify(
            try Password(Array(Self.password.utf8).span), against: dear)
        try await Task.sleep(for: .milliseconds(50))
        let task = Task { await attempt(fixture, "ada", "a wrong guess", address: "192.0.2.1") }
        for _ in 0..<500 where fixture.hasher.queuedCount == 0 {
            try await Task.sleep(for: .milliseconds(2))
        }
        #expect(try await fixture.store.attempts(key(fixture, "ada"))?.failures == 1)
        task.cancel()
        #expect(await task.value == "failed")
        #expect(try await fixture.store.attempts(key(fixture, "ada")) == nil)
        _ = try await kept
        for _ in 0..<2 {
            #expect(await attempt(fixture, "nobody", address: "192.0.2.1") == "refused")
        }
        #expect(await attempt(fixture, "nobody", address: "192.0.2.1") == "slow 20")
        await fixture.stop()
    }

    @Test func `a known device that comes all the time is a stranger`() async throws {
        try await with(addressFailures: 1) { fixture in
            let user = try await fixture.makeUser("ada")
            let device = try await device(fixture, of: user)
            _ = await attempt(fixture, "nobody", address: "192.0.2.1")
            for _ in 0..<30 {
                #expect(
                    await attempt(fixture, "ada", address: "192.0.2.1", device: device) == "in")
            }
            #expect(
                await attempt(fixture, "ada", address: "192.0.2.1", device: device) == "slow 60")
        }
    }

    @Test func `a name that is given out starts anew, whatever strangers did to it`() async throws {
        try await with { fixture in
            for _ in 0..<6 { #expect(await attempt(fixture, "ada", "a guess or two") == "refused") }
            _ = try await fixture.makeUser("ada")
            #expect(await attempt(fixture, "ada") == "in")
        }
    }

    @Test func `registering counts for the address too, whatever comes of it`() async throws {
        try await with(addressFailures: 2) { fixture in
            var program = Browser(fixture)
            let body = #"{"username":"ada","password":"\#(Self.password)"}"#
            #expect(await program.json("/v1/register", body).status == 201)
            #expect(await program.json("/v1/register", body).status == 409)
            let answer = await program.json("/v1/register", body)
            #expect(answer.status == 429 && answer.header("retry-after") == "30")
        }
    }

    // MARK: Hashes

    @Test func `what bcrypt did not read does not become the password`() async throws {
        try await with { fixture in
            let typed = String(repeating: "0123456789", count: 8)
            let text = "$2b$04$abcdefghijklmnopqrstuu" + Self.bcryptOutput
            _ = try await fixture.addUser("bob", passwordHash: text)
            #expect(await attempt(fixture, "bob", typed + "typo") == "in")
            try await Task.sleep(for: .milliseconds(500))
            #expect(
                try await fixture.store.user(named: username("bob"))?.passwordHash == text)
            #expect(await attempt(fixture, "bob", typed) == "in")
        }
    }

    @Test func `an imported hash lets its user in, and becomes one of ours`() async throws {
        try await with { fixture in
            // crypt(3) with PBKDF2 would do as well: passlib's pbkdf2_sha256, 1000 rounds.
            let foreign = "$pbkdf2-sha256$1000$AAECAwQFBgcICQoLDA0ODw$" + Self.foreignOutput
            _ = try await fixture.addUser("bob", passwordHash: foreign)
            #expect(await attempt(fixture, "bob", "wrong password") == "refused")
            #expect(await attempt(fixture, "bob") == "in")
            var text = foreign
            for _ in 0..<500 where text == foreign {
                try await Task.sleep(for: .milliseconds(10))
                text = try #require(
                    try await fixture.store.user(named: username("bob"))?.passwordHash)
            }
            #expect(text.hasPrefix("$argon2id$"))
            #expect(await attempt(fixture, "bob") == "in")
        }
    }

    @Test func `a new hash is peppered, and an old one gets better when its user signs in`()
        async throws
    {
        try await with { fixture in
            let user = try await fixture.makeUser("ada")
            let fresh = try PasswordHash(try #require(user.passwordHash))
            let pepper = try #require(await fixture.node.loadedKeyring?.peppers.current)
            #expect(fresh.layers == [pepper])

            let bare = try await fixture.hasher.hash(try Password(Array(Self.password.utf8).span))
            _ = try await fixture.addUser("bob", passwordHash: bare.text)
            #expect(await attempt(fixture, "bob") == "in")
            // After the answer.
            var text = bare.text
            for _ in 0..<500 where text == bare.text {
                try await Task.sleep(for: .milliseconds(10))
                text = try #require(
                    try await fixture.store.user(named: username("bob"))?.passwordHash)
            }
            let better = try PasswordHash(text)
            #expect(better.layers == [pepper] && better.salt != bare.salt)
            #expect(await attempt(fixture, "bob") == "in")
            #expect(await attempt(fixture, "bob", "wrong password") == "refused")
        }
    }

    @Test func `a password whose hash is replaced while it is verified is right all the same`()
        async throws
    {
        try await with { fixture in
            let bare = try await fixture.hasher.hash(try Password(Array(Self.password.utf8).span))
            let user = try await fixture.addUser("bob", passwordHash: bare.text)
            let peppers = try #require(await fixture.node.loadedKeyring?.peppers)
            let sealed = try peppers.sealing(bare).text
            async let outcomes = withTaskGroup(of: String.self) { group in
                for _ in 0..<4 { group.addTask { await self.attempt(fixture, "bob") } }
                return await group.reduce(into: []) { $0.append($1) }
            }
            try await Task.sleep(for: .milliseconds(20))
            _ = try await fixture.store.replacePasswordHashes(
                [(StoredPasswordHash(user: user.id, text: bare.text), sealed)], audit: [],
                at: time(noon))
            #expect(await outcomes == ["in", "in", "in", "in"])
        }
    }

    @Test(arguments: [
        "$argon2id$v=19$m=4194304,t=3,p=1$AAECAwQFBgcICQoLDA0ODw$zCibVAF529as+ScNsZ6sL/H9D4iI00ajMEqLvRaQY2E",
        "$argon2id$v=19$m=12288,t=3,p=1,keyid=AQIDBA$AAECAwQFBgcICQoLDA0ODw$zCibVAF529as+ScNsZ6sL/H9D4iI00ajMEqLvRaQY2E",
        "", "x", "$argon2i$v=19$m=12288,t=3,p=1$AAECAwQFBgcICQoLDA0ODw$AAAA",
    ])
    func `a row that was tampered with is refused, and the trail says so`(_ hash: String)
        async throws
    {
        try await with { fixture in
            let user = try await fixture.addUser("ada", passwordHash: hash)
            #expect(await attempt(fixture, "ada") == "refused")
            let event = try await fixture.store.audit(after: 0, limit: 100).last?.event
            #expect(event?.kind == .passwordHashRefused && event?.user == user.id)
            #expect(
                try await fixture.store.user(named: username("ada"))?.passwordHash == hash,
                "nothing is repaired by accident")
        }
    }
}
