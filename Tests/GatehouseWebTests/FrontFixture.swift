// A front door over a real store, driven in process, and a browser's memory of cookies.

import Foundation
import GatehouseCore
import GatehousePasswords
import GatehousePeople
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import NIOCore
import Synchronization
import Testing

@testable import GatehouseWeb

/// A clock that a test moves.
final class SettableClock: Sendable {
    private let seconds = Mutex<Int64>(noon)

    var now: Instant { instant(seconds.withLock { $0 }) }
    func advance(_ more: Int64) { seconds.withLock { $0 += more } }
}

/// A front door with its store, keys and clock.
final class FrontFixture: Sendable {
    static let origin = "https://app.example"
    static let password = "a fine day for sailing"

    let directory: TemporaryDirectory
    let store: SQLStore
    let node: Node
    let sealer: Sealer
    let lease: Lease
    let hasher: PasswordHasher
    let accounts: Accounts
    let devices: Devices
    let door: FrontDoor
    let uses = SessionUses()
    let clock: @Sendable () -> Instant
    private let rootKey: [UInt8]

    init(
        registration: Registration = .open, usernames: UsernamePolicy = UsernamePolicy(),
        basePath: String = "/", threads: Int = 2, queue: Int = 1000, addressFailures: Int = 0,
        parameters: Argon2Parameters? = nil,
        policy: PasswordPolicy = PasswordPolicy(), sessionLimit: Int = 20,
        atLimit: SessionLimit.AtLimit = .endOldest, deviceEntropy: Entropy = .system,
        pages: PageSettings = PageSettings(), schema: PeopleSchema = PeopleSchema(),
        security: SecurityContact = SecurityContact(),
        remember: RememberLimits? = RememberLimits(absoluteSeconds: 30 * 86_400, graceSeconds: 60),
        returnOrigins: [String] = ["https://app.example", "https://shop.example"],
        continuing earlier: FrontFixture? = nil,
        clock: @escaping @Sendable () -> Instant = { instant(noon) }
    ) async throws {
        self.clock = clock
        directory = earlier?.directory ?? TemporaryDirectory()
        store = try SQLStore(directory: directory.path, createIfMissing: earlier == nil).signed()
        let text = try earlier?.rootKey ?? Self.newRootKey()
        if earlier == nil {
            let outcome = try await KeyringChange.replace(
                with: try Keyring.first(at: time(noon), entropy: .system), onlyWhenLoaded: false,
                audit: [], store: store, rootKey: try RootKey(text: text.span), at: time(noon),
                entropy: .system)
            guard outcome == .replaced else { throw NotReady() }
        }
        rootKey = text
        lease = Lease(maximumStalenessSeconds: 3600)
        lease.enter(.serving)
        let sealer = Sealer(audience: audience(), lease: lease, entropy: .system)
        self.sealer = sealer
        node = Node(
            id: NodeID(try Identifier.random(from: .system)), store: store,
            rootKey: try RootKey(text: text.span), lease: lease, entropy: .system
        ) { await sealer.adopt($0) }
        _ = try await node.refresh(at: clock())
        // The cheapest that is accepted: these tests are about everything else.
        hasher = PasswordHasher(
            parameters: try parameters
                ?? Argon2Parameters(memoryKiB: 12_288, iterations: 3, lanes: 1),
            // Nobody is told to come back because other tests take the processor.
            threads: threads, maximumQueued: queue, deadline: .seconds(600))
        guard let limits = SessionLimits(idleSeconds: 3600, absoluteSeconds: 86_400),
            let origin = Origin(Self.origin), let other = Origin("https://shop.example")
        else { throw NotReady() }
        let gate = try await PasswordGate(
            store: store, node: node, hasher: hasher,
            addresses: AddressThrottle(perMinute: addressFailures), entropy: .system, clock: clock)
        devices = Devices(
            store: store, sealer: sealer, node: node, entropy: deviceEntropy, clock: clock)
        accounts = Accounts(
            registration: registration, usernames: usernames, store: store, sealer: sealer,
            node: node, gate: gate, devices: devices, policy: policy,
            rules: SignInRules(
                sessions: limits,
                remember: remember,
                atOnce: SessionLimit(maximum: sessionLimit, atLimit: atLimit)),
            entropy: .system, clock: clock)
        var settings = FrontDoorSettings(
            origins: AllowedOrigins([origin]),
            returnOrigins: AllowedOrigins(returnOrigins.compactMap { Origin($0) }),
            formTargets: [other], basePath: basePath, cookies: CookieNames(domain: nil),
            siteName: "app.example", sendsHSTS: true)
        settings.pages = pages
        settings.security = security
        door = try FrontDoor(
            settings: settings,
            accounts: accounts,
            people: People(
                store: store, schema: schema, node: node, entropy: .system, clock: clock),
            devices: devices, sealer: sealer, uses: uses, entropy: .system,
            clock: clock)
    }

    private static func newRootKey() throws -> [UInt8] {
        let root = try RootKey.random(from: .system)
        return root.withText { span in span.indices.map { span[$0] } }
    }

    struct NotReady: Error {}

    func stop() async { await hasher.shutdown() }

    /// A user who registered with the usual password.
    func makeUser(_ name: String) async throws -> User {
        let outcome = await accounts.register(
            username: Array(name.utf8), password: Array(Self.password.utf8), invitation: nil)
        guard case .registered(let user) = outcome else { throw NotReady() }
        return user
    }

    func addUser(_ name: String, passwordHash: String) async throws -> User {
        let id = try UserID.random(from: .system)
        let outcome = try await store.addUser(
            username(name), id: id, passwordHash: passwordHash,
            audit: AuditEvent(.userCreated, by: .command, user: id), at: time(noon))
        guard case .added(let user) = outcome else { throw NotReady() }
        return user
    }

    func makeLink(_ purpose: Link.Purpose, expires: Int64 = noon + 900) async throws -> String {
        let secret = try Entropy.system.bytes(Link.secretBytes)
        let hash = try #require(LinkHash(secret: secret))
        try await store.addLink(
            Link(hash: hash, purpose: purpose, expires: time(expires)),
            audit: AuditEvent(.userInvited, by: .command), at: time(noon))
        return String(decoding: Base64URL.text(secret), as: UTF8.self)
    }

    /// Moves the clock, and renews the lease that would run out meanwhile.
    func advance(_ clock: SettableClock, _ seconds: Int64) async throws {
        clock.advance(seconds)
        _ = try await node.refresh(at: clock.now)
    }

    /// Writes which sessions were used, as a server does every few seconds.
    func writeUses() async throws {
        try await store.noteActivity(uses.take(), idleSeconds: 3600, at: clock().wall)
    }

    /// Whether a check would take the token.
    func isGood(_ token: String?) async -> Bool {
        guard let token else { return false }
        let verdict = await sealer.verdict(
            on: Array(token.utf8), transport: .cookie, at: clock())
        if case .good = verdict { return true }
        return false
    }
}

/// Sends requests as a browser on the site's own pages does, and keeps cookies.
struct Browser {
    var fixture: FrontFixture
    var cookies: [String: String] = [:]
    /// When those with a `Max-Age` end; the others end with the browser.
    var ends: [String: Int64] = [:]
    /// Added to every request; nil takes the usual one away.
    var fields: [String: String?] = [:]

    init(_ fixture: FrontFixture) { self.fixture = fixture }

    var sessionToken: String? { cookies["__Host-gatehouse"] }
    var deviceToken: String? { cookies["__Host-gatehouse-device"] }

    var rememberToken: String? { cookies["__Host-gatehouse-remember"] }

    /// Closed and opened again.
    mutating func restart() { cookies = cookies.filter { ends[$0.key] != nil } }

    func request(
        _ method: HTTPRequest.Method, _ target: String, body: [UInt8] = [], type: String? = nil,
        host: String? = "app.example", more: [(String, String)] = []
    ) -> FrontRequest {
        var all: [String: String?] = [
            "sec-fetch-site": "same-origin", "origin": FrontFixture.origin,
        ]
        if let type { all["content-type"] = type }
        all.merge(fields) { _, own in own }
        var httpFields = HTTPFields()
        for (name, value) in all {
            guard let value, let name = HTTPField.Name(name) else { continue }
            httpFields.append(HTTPField(name: name, value: value))
        }
        for (name, value) in more {
            guard let name = HTTPField.Name(name) else { continue }
            httpFields.append(HTTPField(name: name, value: value))
        }
        let now = fixture.clock().wall.seconds
        let sent = cookies.filter { ends[$0.key].map { now < $0 } ?? true }
        if !sent.isEmpty {
            httpFields[.cookie] = sent.map { "\($0)=\($1)" }.joined(separator: "; ")
        }
        return FrontRequest(
            method: method, target: target, authority: host, fields: httpFields, peer: peer
        ) { limit in body.count > limit ? nil : ByteBuffer(bytes: body) }
    }

    /// Its address.
    var peer: String?

    mutating func send(
        _ method: HTTPRequest.Method, _ target: String, body: [UInt8] = [], type: String? = nil,
        host: String? = "app.example", more: [(String, String)] = []
    ) async -> FrontResponse {
        let response = await fixture.door.respond(
            to: request(method, target, body: body, type: type, host: host, more: more))
        for (name, value) in response.headers where name == .setCookie { keep(value) }
        return response
    }

    private mutating func keep(_ setCookie: String) {
        let parts = setCookie.split(separator: ";").map { $0.drop { $0 == " " } }
        guard let pair = parts.first, let equals = pair.firstIndex(of: "=") else { return }
        let name = String(pair[..<equals])
        // What a browser asks of a __Host- cookie.
        guard parts.contains("Secure"), parts.contains("Path=/"),
            !parts.contains(where: { $0.hasPrefix("Domain") })
        else { return }
        let age = parts.first { $0.hasPrefix("Max-Age=") }.flatMap { Int64($0.dropFirst(8)) }
        ends[name] = age.map { fixture.clock().wall.seconds + $0 }
        if age == 0 {
            (cookies[name], ends[name]) = (nil, nil)
        } else {
            cookies[name] = String(pair[pair.index(after: equals)...])
        }
    }

    mutating func get(_ target: String) async -> FrontResponse { await send(.get, target) }

    /// Opens the page with the form, and posts it with these fields.
    mutating func submit(
        _ page: String, _ fields: [(String, String)], formToken: String? = nil
    ) async -> FrontResponse {
        let shown = await get(page)
        let token = formToken ?? Self.formToken(shown.body) ?? ""
        return await post(String(page.prefix { $0 != "?" }), fields + [("form", token)])
    }

    mutating func post(_ target: String, _ fields: [(String, String)]) async -> FrontResponse {
        let body = fields.map { Self.encode($0.0) + "=" + Self.encode($0.1) }
            .joined(separator: "&")
        return await send(
            .post, target, body: Array(body.utf8), type: "application/x-www-form-urlencoded")
    }

    mutating func json(
        _ target: String, _ body: String, method: HTTPRequest.Method = .post
    ) async -> FrontResponse {
        await send(method, target, body: Array(body.utf8), type: "application/json")
    }

    mutating func signIn(
        _ name: String, _ password: String = FrontFixture.password, remembers: Bool = false
    ) async -> FrontResponse {
        await submit(
            "/login",
            [("username", name), ("password", password)] + (remembers ? [("remember", "on")] : []))
    }

    /// The token of a form of this browser, on whatever page.
    mutating func formToken() async -> String {
        let page = sessionToken == nil ? "/login" : "/logout"
        return Self.formToken(await get(page).body) ?? ""
    }

    /// Posts with this browser's form token.
    mutating func act(_ target: String, _ fields: [(String, String)] = []) async -> FrontResponse {
        let token = await formToken()
        return await post(target, fields + [("form", token)])
    }

    mutating func session() async throws -> SessionAnswer? {
        let response = await get("/v1/session")
        return response.status == 200 ? try response.decoded(SessionAnswer.self) : nil
    }

    static func formToken(_ html: String) -> String? {
        guard let start = html.firstRange(of: "name=\"form\" value=\"") else { return nil }
        return String(html[start.upperBound...].prefix { $0 != "\"" })
    }

    static func encode(_ text: String) -> String {
        text.utf8.map { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                String(UnicodeScalar(byte))
            default: "%" + byte.hex
            }
        }.joined()
    }
}

/// The session object of the JSON answers.
struct SessionAnswer: Decodable {
    struct Person: Decodable {
        let id: String
        let username: String
    }
    let user: Person
    let session: String
    let level: Int
    let remembered: Bool
    let authenticated: Int64
    let idle_deadline: Int64
    let absolute_deadline: Int64
    let token: String?
    let warnings: Int?
    let actor: String?
}

/// A front door with a clock that the test moves.
func withDoor(
    basePath: String = "/", sessionLimit: Int = 20,
    remember: RememberLimits? = RememberLimits(absoluteSeconds: 30 * 86_400, graceSeconds: 60),
    _ body: (FrontFixture, SettableClock) async throws -> Void
) async throws {
    let clock = SettableClock()
    let fixture = try await FrontFixture(
        basePath: basePath, sessionLimit: sessionLimit, remember: remember, clock: { clock.now })
    try await body(fixture, clock)
    await fixture.stop()
}

extension FrontResponse {
    func decoded<Body: Decodable>(_ type: Body.Type) throws -> Body {
        try JSONDecoder().decode(type, from: Data(body.utf8))
    }

    /// The type of a problem, without its prefix.
    var problem: String? {
        struct Problem: Decodable { let type: String }
        return (try? decoded(Problem.self))?.type.replacing("urn:gatehouse:problem:", with: "")
    }

    /// What sets or deletes a cookie of ours: the value's attributes; nil when nothing does.
    func attributes(of name: String) -> String? {
        let all = headers.filter { $0.0 == .setCookie && $0.1.hasPrefix(name + "=") }
        #expect(all.count <= 1, "never two of one name (REQUIREMENTS CK-4)")
        return all.first.map { String($0.1.drop { $0 != ";" }) }
    }

    var location: String? { header("location") }

    func header(_ name: String) -> String? {
        headers.first { $0.0.canonicalName == name }?.1
    }

    /// The text of the element that says why, in the page's alert.
    var alert: String? {
        guard body.contains("role=\"alert\""),
            let reason = body.firstMatch(of: /id="reason"[^>]*>(?:<a [^>]*>)?([^<]*)/)
        else { return nil }
        return String(reason.1)
    }
}

extension FrontFixture {
    /// The device that a sign-in would know the user by.
    func known(
        _ cookies: [[UInt8]], user: UserID?, by devices: Devices? = nil
    ) async throws -> DeviceID? {
        var name = username("nobody")
        if let user, let found = try await store.user(user) { name = found.username }
        let facts = try await store.signInFacts(
            of: name, browser: await (devices ?? self.devices).claims(in: cookies),
            at: clock().wall)
        let device = try facts.device.get()
        return device?.isProved == true ? device?.id : nil
    }
}
