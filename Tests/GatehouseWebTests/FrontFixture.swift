// A front door over a real store, driven in process, and a browser's memory of cookies.

import GatehouseCore
import GatehousePasswords
import GatehouseStore
import GatehouseTestSupport
import HTTPTypes
import NIOCore
import Testing

@testable import GatehouseWeb

/// A front door with its store, keys and clock.
final class FrontFixture: Sendable {
    static let origin = "https://app.example"
    static let password = "a fine day for sailing"

    let directory = TemporaryDirectory()
    let store: SQLiteStore
    let node: Node
    let sealer: Sealer
    let lease: Lease
    let hasher: PasswordHasher
    let accounts: Accounts
    let devices: Devices
    let door: FrontDoor
    let uses = SessionUses()

    init(
        registration: Registration = .open, usernames: UsernamePolicy = UsernamePolicy(),
        basePath: String = "/", threads: Int = 2, queue: Int = 1000, addressFailures: Int = 0,
        parameters: Argon2Parameters? = nil,
        policy: PasswordPolicy = PasswordPolicy(), sessionLimit: Int = 20,
        atLimit: SessionLimit.AtLimit = .endOldest, deviceEntropy: Entropy = .system,
        pages: PageSettings = PageSettings(),
        clock: @escaping @Sendable () -> Instant = { instant(noon) }
    ) async throws {
        store = try SQLiteStore(directory: directory.path, createIfMissing: true)
        let root = try RootKey.random(from: .system)
        let text = root.withText { span in span.indices.map { span[$0] } }
        let outcome = try await KeyringChange.replace(
            with: try Keyring.first(at: time(noon), entropy: .system), onlyWhenLoaded: false,
            audit: [], store: store, rootKey: root, at: time(noon), entropy: .system)
        guard outcome == .replaced else { throw NotReady() }
        lease = Lease(maximumStalenessSeconds: 3600)
        lease.enter(.serving)
        let sealer = Sealer(audience: audience(), lease: lease, entropy: .system)
        self.sealer = sealer
        node = Node(
            id: NodeID(try Identifier.random(from: .system)), store: store,
            rootKey: try RootKey(text: text.span), lease: lease, entropy: .system
        ) { await sealer.adopt($0) }
        _ = try await node.refresh(at: instant(noon))
        // The cheapest that is accepted: these tests are about everything else.
        hasher = PasswordHasher(
            parameters: try parameters
                ?? Argon2Parameters(memoryKiB: 12_288, iterations: 3, lanes: 1),
            threads: threads, maximumQueued: queue, deadline: .seconds(60))
        guard let limits = SessionLimits(idleSeconds: 3600, absoluteSeconds: 86_400),
            let origin = Origin(Self.origin), let other = Origin("https://shop.example")
        else { throw NotReady() }
        let gate = try await PasswordGate(
            store: store, node: node, hasher: hasher,
            addresses: AddressThrottle(perMinute: addressFailures), entropy: .system, clock: clock)
        accounts = Accounts(
            registration: registration, usernames: usernames, store: store, sealer: sealer,
            node: node, gate: gate, policy: policy,
            rules: SignInRules(
                sessions: limits,
                remember: RememberLimits(absoluteSeconds: 30 * 86_400, graceSeconds: 60),
                atOnce: SessionLimit(maximum: sessionLimit, atLimit: atLimit)),
            entropy: .system, clock: clock)
        devices = Devices(
            store: store, sealer: sealer, node: node, entropy: deviceEntropy, clock: clock)
        var settings = FrontDoorSettings(
            origins: AllowedOrigins([origin]), returnOrigins: AllowedOrigins([origin, other]),
            formTargets: [other], basePath: basePath, cookies: CookieNames(domain: nil),
            siteName: "app.example", sendsHSTS: true)
        settings.pages = pages
        door = try FrontDoor(
            settings: settings,
            accounts: accounts, devices: devices, sealer: sealer, uses: uses, entropy: .system,
            clock: clock)
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

    /// Whether a check would take the token.
    func isGood(_ token: String?) async -> Bool {
        guard let token else { return false }
        let verdict = await sealer.verdict(
            on: Array(token.utf8), transport: .cookie, at: instant(noon))
        if case .good = verdict { return true }
        return false
    }
}

/// Sends requests as a browser on the site's own pages does, and keeps cookies.
struct Browser {
    let fixture: FrontFixture
    var cookies: [String: String] = [:]
    /// Added to every request; nil takes the usual one away.
    var fields: [String: String?] = [:]

    init(_ fixture: FrontFixture) { self.fixture = fixture }

    var sessionToken: String? { cookies["__Host-gatehouse"] }
    var deviceToken: String? { cookies["__Host-gatehouse-device"] }

    mutating func send(
        _ method: HTTPRequest.Method, _ target: String, body: [UInt8] = [], type: String? = nil,
        host: String? = "app.example", more: [(String, String)] = []
    ) async -> FrontResponse {
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
        if !cookies.isEmpty {
            httpFields[.cookie] = cookies.map { "\($0)=\($1)" }.joined(separator: "; ")
        }
        let request = FrontRequest(
            method: method, target: target, authority: host, fields: httpFields
        ) { limit in body.count > limit ? nil : ByteBuffer(bytes: body) }
        let response = await fixture.door.respond(to: request)
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
        if parts.contains("Max-Age=0") {
            cookies[name] = nil
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
        _ name: String, _ password: String = FrontFixture.password
    ) async -> FrontResponse {
        await submit("/login", [("username", name), ("password", password)])
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

extension FrontResponse {
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
