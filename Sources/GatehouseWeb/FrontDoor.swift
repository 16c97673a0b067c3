// The front door: pages and JSON for people and programs. One table of routes, one set of headers.

package import GatehouseCore
package import GatehousePeople
import HTTPTypes
import Hummingbird
import Logging
import NIOCore

/// How the front door presents itself.
package struct FrontDoorSettings: Sendable {
    /// Where the site is; links, redirects and the rules of origins come from here only.
    package var origins: AllowedOrigins
    /// Where `return_to` may lead besides.
    package var returnOrigins: AllowedOrigins
    /// Written to the policy that says where forms may lead.
    package var formTargets: [Origin]
    /// `/` or `/path` without a slash at its end.
    package var basePath: String
    package var cookies: CookieNames
    /// The site's host, shown on every page that has no other name; empty when it is not known.
    package var siteName: String
    package var pages = PageSettings()
    /// Sends HSTS; not during development, where it would pin all of localhost.
    package var sendsHSTS: Bool
    package var auditAddresses = AuditAddresses.network
    package var security = SecurityContact()

    package init(
        origins: AllowedOrigins, returnOrigins: AllowedOrigins, formTargets: [Origin],
        basePath: String, cookies: CookieNames, siteName: String, sendsHSTS: Bool
    ) {
        self.origins = origins
        self.returnOrigins = returnOrigins
        self.formTargets = formTargets
        self.basePath = basePath
        self.cookies = cookies
        self.siteName = siteName
        self.sendsHSTS = sendsHSTS
    }
}

/// How much of a client's address the audit trail keeps.
package enum AuditAddresses: String, Sendable, CaseIterable {
    /// An IPv4 /24 or IPv6 /48, as people see it in the list of their sign-ins.
    case network
    /// That, and for `audit.addresses_keep` the address, of IPv6 the /64 that one party holds (RFC 4291
    /// section 2.5.4).
    case address
    case none

    func place(_ address: AddressPrefix?) -> String? {
        self == .none ? nil : address?.network
    }

    /// What is kept for diagnosis, for a while.
    func full(_ address: AddressPrefix?) -> String? { self == .address ? address?.text : nil }
}

/// Answers requests. Every answer, errors included, has the same security headers.
package struct FrontDoor: Sendable {
    /// How long a request may take to arrive and be answered, in seconds: a body of 16 KiB and a
    /// hash that waits its turn (REQUIREMENTS SW-3).
    static let requestSeconds = 20
    /// A request's header fields, and their bytes, as for the check endpoint (REQUIREMENTS SW-1);
    /// counted here too, because HTTP/2 has limits of its own.
    static let maximumFields = 64
    static let maximumFieldBytes = 16 * 1024
    /// How long its body may take to arrive.
    static let bodySeconds = 10

    let settings: FrontDoorSettings
    let accounts: Accounts
    let people: People
    let devices: Devices
    let sealer: Sealer
    let formTokens: FormTokens
    let uses: SessionUses
    /// What is counted of arrivals by a code, for each address.
    let arrivals = AddressThrottle(perMinute: FrontDoor.arrivalsPerMinute)
    let clock: @Sendable () -> Instant
    let pages: Pages
    private let hostRule: HostRule
    let crossSiteRule: CrossSiteRule
    private let base: String
    let routes: [String: [HTTPRequest.Method: Handler]]
    private let logger = Logger(label: "gatehouse.front")

    typealias Handler =
        @Sendable (FrontDoor, FrontRequest) async throws(FrontRefusal) -> FrontResponse

    /// - Throws: `PageFaults` when templates, texts or logo can't be used.
    package init(
        settings: FrontDoorSettings, accounts: Accounts, people: People, devices: Devices,
        sealer: Sealer,
        uses: SessionUses, entropy: Entropy, clock: @escaping @Sendable () -> Instant
    ) throws {
        self.settings = settings
        self.accounts = accounts
        self.people = people
        self.devices = devices
        self.sealer = sealer
        self.uses = uses
        self.clock = clock
        formTokens = FormTokens(sealer: sealer, entropy: entropy)
        base = settings.basePath == "/" ? "" : settings.basePath
        pages = try Pages(
            basePath: base, host: settings.siteName, cookies: settings.cookies,
            settings: settings.pages)
        hostRule = HostRule(settings.origins)
        crossSiteRule = CrossSiteRule(settings.origins)
        routes = [
            Self.pageRoutes, Self.apiRoutes, Self.deviceRoutes, Self.attemptRoutes,
            Self.sessionRoutes, Self.agreementRoutes, Self.profileRoutes, Self.departureRoutes,
            Self.supportRoutes, Self.referralRoutes, Self.descriptionRoutes,
        ].reduce(into: [:]) { all, some in all.merge(some) { page, _ in page } }
    }

    func path(_ local: String) -> String { base + local }

    static let notFound = FrontRefusal(404, "not_found", "refusal.not_found")

    /// Answers one request, whatever happens.
    func respond(to request: FrontRequest) async -> FrontResponse {
        var context = AuditContext()
        context.origin = origin(request, place: settings.auditAddresses)
        context.address = settings.auditAddresses.full(request.address)
        return await AuditContext.$current.withValue(context) { await answer(request) }
    }

    private func answer(_ request: FrontRequest) async -> FrontResponse {
        let response: FrontResponse
        do throws(FrontRefusal) {
            response = try await route(request)
        } catch {
            logger.debug(
                "refused", metadata: ["status": "\(error.status)", "type": "\(error.type)"])
            response = await answer(to: error, for: request)
        }
        return finish(response, for: request)
    }

    /// A refusal in the form that the request's sender reads.
    private func answer(
        to refusal: FrontRefusal, for request: FrontRequest
    ) async -> FrontResponse {
        request.isAPI(base: base)
            ? .problem(refusal, pages.texts) : await refusalPage(refusal, for: request)
    }

    /// The answer when there was none in time.
    func late(_ request: FrontRequest) async -> FrontResponse {
        var refusal = FrontRefusal(503, "unavailable", "refusal.late")
        refusal.page = Page(kind: .message, title: "title.unavailable")
        return finish(await answer(to: refusal, for: request), for: request)
    }

    /// A refusal for whoever is to see no page of ours: problem details, or a line of text.
    func refuse(_ refusal: FrontRefusal, _ request: FrontRequest) -> FrontResponse {
        var response =
            request.isAPI(base: base)
            ? FrontResponse.problem(refusal, pages.texts)
            : FrontResponse.text(refusal.status, pages.texts.text(refusal.message))
        if !request.isAPI(base: base) { response.headers += refusal.headers }
        return finish(response, for: request)
    }

    private func route(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        guard request.fields.count <= Self.maximumFields,
            request.fields.reduce(0, { $0 + $1.name.rawName.utf8.count + $1.value.utf8.count })
                <= Self.maximumFieldBytes
        else { throw FrontRefusal(431, "too_large", "refusal.too_many_fields") }
        if case .refused(let refusal) = hostRule.judge(request.hosts) {
            throw FrontRefusal(refusal.status, "host", Message(refusal))
        }
        guard let methods = methods(at: request.path) else { throw Self.notFound }
        // HEAD is GET without the body, which is left out where answers are sent.
        let method = request.method == .head ? .get : request.method
        guard let handler = methods[method] else {
            var allowed = methods.keys.map(\.rawValue)
            if methods[.get] != nil { allowed.append("HEAD") }
            var refusal = FrontRefusal(405, "method", "refusal.method")
            refusal.headers.append((.allow, allowed.sorted().joined(separator: ", ")))
            throw refusal
        }
        return try await handler(self, request)
    }

    /// The handlers of a path: one below the base, or a well-known one of the host (RFC 8615).
    private func methods(at path: String) -> [HTTPRequest.Method: Handler]? {
        if path == Self.changePasswordPath { return Self.wellKnownRoutes }
        if path == SecurityContact.path { return Self.securityRoutes }
        guard path.utf8.starts(with: base.utf8) else { return nil }
        let local = path.utf8.dropFirst(base.utf8.count)
        if let methods = routes[String(decoding: local, as: UTF8.self)] { return methods }
        if Self.isNotice(String(decoding: local, as: UTF8.self)) {
            return routes["/notices/{document}"]
        }
        if Self.referralText(of: local) != nil { return routes[Self.referralRoute] }
        guard let slash = local.lastIndex(of: UInt8(ascii: "/")),
            Identifier(hex: String(decoding: local[slash...].dropFirst(), as: UTF8.self)) != nil
        else { return nil }
        let parent = String(decoding: local[...slash], as: UTF8.self)
        return routes[parent + "{session}"] ?? routes[parent + "{grant}"]
    }

    /// A refusal outside a form: a page of its own.
    private func refusalPage(
        _ refusal: FrontRefusal, for request: FrontRequest
    ) async -> FrontResponse {
        var page = refusal.page ?? Page(kind: .message)
        if page.kind == .message, pages.texts.keys.contains("title.\(refusal.type)") {
            page.title = Message("title.\(refusal.type)")
        }
        page.alert = refusal.message
        let hint = "hint.\(refusal.type)"
        page.hint = pages.texts.keys.contains(hint) ? Message(hint) : nil
        page.wrongFields = refusal.wrongFields(on: page)
        var response = await self.page(page, status: refusal.status, for: request)
        response.headers += refusal.headers
        return response
    }

    /// A page; one with a form gets its token, and the browser its pre-session.
    func page(
        _ page: Page, status: Int = 200, for request: FrontRequest
    ) async -> FrontResponse {
        var page = page
        page.canRegister = accounts.registration == .open
        page.canRemember = accounts.rules.remember != nil
        var cookie: String?
        let acting = await actingSection(request)
        if let acting { page.sections.append(acting) }
        page.sections += await noticeSections(of: page)
        if page.hasForm || acting != nil {
            do {
                let now = clock()
                var binding = await formBinding(request)
                if binding == nil {
                    let made = try await formTokens.newPreSession(at: now)
                    binding = .preSession(made.preSession)
                    cookie = settings.cookies.setting(settings.cookies.form, to: made.cookie)
                }
                if let binding {
                    page.formToken = try await formTokens.field(for: binding, at: now)
                }
            } catch {
                // Nothing can be sent in from this page; the message needs no token.
                return await refusalPage(.unavailable, for: request)
            }
        }
        var response = FrontResponse(
            status: status, contentType: "text/html; charset=utf-8", body: pages.render(page))
        if let cookie { response.headers.append((.setCookie, cookie)) }
        return response
    }

    /// Adds what every answer has (REQUIREMENTS HDR-1).
    func finish(_ response: FrontResponse, for request: FrontRequest) -> FrontResponse {
        let isAPI = request.isAPI(base: base)
        var response = response
        let targets = (["'self'"] + settings.formTargets.map(\.text)).joined(separator: " ")
        if !response.headers.contains(where: { $0.0 == .contentSecurityPolicy }) {
            response.headers.append(
                (
                    .contentSecurityPolicy,
                    "default-src 'none'; style-src 'self'; form-action \(targets); "
                        + "frame-ancestors 'none'; base-uri 'none'"
                        + (pages.logo == nil ? "" : "; img-src 'self'")
                ))
        }
        response.headers += [
            (.cacheControl, "no-store"),
            (.xContentTypeOptions, "nosniff"),
            // With no-referrer a form would post `Origin: null`.
            (FrontHeader.referrerPolicy, isAPI ? "no-referrer" : "same-origin"),
            (FrontHeader.crossOriginOpenerPolicy, "same-origin"),
            (FrontHeader.crossOriginResourcePolicy, "same-origin"),
        ]
        if settings.sendsHSTS {
            response.headers.append(
                (.strictTransportSecurity, "max-age=31536000; includeSubDomains"))
        }
        return response
    }

    // MARK: What handlers share

    /// Who is signed in, by the session cookie or a bearer token.
    struct SignedInClient {
        let claims: Claims
        let transport: TokenTransport
    }

    func client(_ request: FrontRequest) async throws(FrontRefusal) -> SignedInClient? {
        guard let (token, transport) = sessionToken(request) else { return nil }
        switch await sealer.verdict(on: token, transport: transport, at: clock()) {
        case .good(let claims): return SignedInClient(claims: claims, transport: transport)
        case .denied: return nil
        case .unavailable: throw .unavailable
        }
    }

    /// The one token that can be a session's.
    func sessionToken(_ request: FrontRequest) -> (token: [UInt8], transport: TokenTransport)? {
        let cookies = request.cookies.values(settings.cookies.session)
        if let bearer = request.bearerToken, cookies.isEmpty { return (bearer, .bearer) }
        return cookies.count == 1 ? (cookies[0], .cookie) : nil
    }

    /// The session of the request, if it is good; it counts as used.
    func session(_ request: FrontRequest) async throws(FrontRefusal) -> Claims? {
        let claims = try await client(request)?.claims
        if let claims { uses.note(claims.session, at: clock().wall) }
        return claims
    }

    /// What a form of this browser is bound to: its session if it has one, else its pre-session.
    func formBinding(_ request: FrontRequest) async -> FormTokens.Binding? {
        let tokens = request.cookies.values(settings.cookies.session)
        if tokens.count == 1, let claims = await sealer.claims(of: tokens[0], transport: .cookie) {
            return .session(claims.session)
        }
        return await formTokens.preSession(request.cookies.values(settings.cookies.form))
            .map { .preSession($0) }
    }

    /// Whether a request that changes something comes from one of our pages.
    func requireSameSite(
        _ request: FrontRequest, body: BodyKind
    ) throws(FrontRefusal) {
        let outcome = crossSiteRule.judge(
            CrossSiteRule.Request(
                fetchSites: request.values(FrontHeader.secFetchSite),
                origins: request.values(.origin), body: body,
                carriesOurCookies: settings.cookies.all.contains {
                    !request.cookies.values($0).isEmpty
                }))
        if case .refused(let refusal) = outcome {
            logger.notice(
                "cross-site request refused",
                metadata: ["event": "malicious_csrf", "reason": "\(refusal.rawValue)"])
            throw FrontRefusal(CrossSiteRefusal.status, "cross_site", "refusal.cross_site")
        }
    }

    func requireMediaType(
        _ request: FrontRequest, _ kind: BodyKind
    ) throws(FrontRefusal) {
        guard case .accepted = MediaTypeRule(kind).judge(request.values(.contentType)) else {
            throw FrontRefusal(
                MediaTypeRefusal.status, "media_type",
                Message("refusal.media_type", ["expected": kind.rawValue]))
        }
    }
}

/// Header names that HTTPTypes has no constant for.
enum FrontHeader {
    // These are tokens, which is all that the initialiser asks.
    /// A second one; the first is the request's authority.
    static let host = name("host")
    static let secFetchSite = name("sec-fetch-site")
    static let secFetchMode = name("sec-fetch-mode")
    static let referrerPolicy = name("referrer-policy")
    static let crossOriginOpenerPolicy = name("cross-origin-opener-policy")
    static let crossOriginResourcePolicy = name("cross-origin-resource-policy")
    static let clearSiteData = name("clear-site-data")
    static let forwardedFor = name("x-forwarded-for")

    private static func name(_ text: String) -> HTTPField.Name {
        guard let name = HTTPField.Name(text) else { preconditionFailure("no header name") }
        return name
    }
}

/// A request that is not done, with its answer.
struct FrontRefusal: Error {
    let status: Int
    /// Stable, for programs.
    let type: String
    /// For people.
    let message: Message
    var headers: [(HTTPField.Name, String)] = []
    /// The form that is shown again.
    var page: Page?
    /// What has to be accepted first.
    var documents: [Document] = []
    /// What is wrong with several fields at once.
    var problems: [Page.Problem] = []

    init(_ status: Int, _ type: String, _ message: Message, page: Page? = nil) {
        self.status = status
        self.type = type
        self.message = message
        self.page = page
        if status == 503 { headers.append((.retryAfter, "\(Self.retrySeconds)")) }
    }

    /// A hash takes a fraction of a second; a queue of them empties in a few.
    static let retrySeconds = 5

    static let unavailable = FrontRefusal(503, "unavailable", "refusal.unavailable")

    /// What the page's alert is about.
    func wrongFields(on page: Page) -> [Page.Field] {
        switch (page.kind, type) {
        case (.login, "credentials"): [.username, .password]
        case (.confirm, "credentials"), (.leave, "credentials"): [.password]
        case (.password, "credentials"): [.currentPassword]
        case (.password, "password"): [.newPassword]
        case (.register, "password"), (.recover, "password"): [.password]
        case (.register, "username"), (.register, "username_taken"): [.username]
        case (.login, "missing_field"), (.register, "missing_field"):
            page.username.isEmpty ? [.username] : [.password]
        case (.confirm, "missing_field"), (.leave, "missing_field"): [.password]
        case (.password, "missing_field"): [.currentPassword]
        default: []
        }
    }

    /// One answer to whatever was wrong with name and password.
    static func credentials(page: Page? = nil) -> FrontRefusal {
        unauthenticated(
            "credentials",
            page?.kind == .confirm || page?.kind == .leave
                ? "refusal.wrong_password"
                : page?.kind == .password
                    ? "refusal.wrong_current_password" : "refusal.credentials", page: page)
    }

    /// RFC 9110 section 15.5.2 asks for a challenge; browsers do nothing about a scheme that they don't know.
    static func unauthenticated(
        _ type: String, _ message: Message, page: Page? = nil
    ) -> FrontRefusal {
        var refusal = FrontRefusal(401, type, message, page: page)
        refusal.headers.append((.wwwAuthenticate, "Gatehouse"))
        return refusal
    }

    /// Too many failures from one address.
    static func slowDown(_ seconds: Int64, page: Page? = nil) -> FrontRefusal {
        var refusal = FrontRefusal(
            429, "slow_down", Message("refusal.slow_down", Message.wait(seconds)), page: page)
        refusal.headers.append((.retryAfter, "\(seconds)"))
        return refusal
    }

    static func failed(_ failure: Accounts.Failure, page: Page? = nil) -> FrontRefusal {
        switch failure {
        case .busy:
            FrontRefusal(503, "busy", "refusal.busy", page: page)
        case .unavailable:
            FrontRefusal(503, "unavailable", "refusal.unavailable", page: page)
        }
    }
}

struct FrontResponse: Sendable {
    var status: Int
    var headers: [(HTTPField.Name, String)] = []
    var contentType: String?
    var body = ""
    /// Instead of the text, where it is none.
    var bytes: [UInt8]?

    init(status: Int, contentType: String? = nil, body: String = "") {
        self.status = status
        self.contentType = contentType
        self.body = body
    }

    static func redirect(to location: String) -> FrontResponse {
        var response = FrontResponse(status: 303)
        response.headers.append((.location, location))
        return response
    }

    /// For who comes without a page: operators, and connections that have ended.
    static func text(_ status: Int, _ text: String) -> FrontResponse {
        FrontResponse(
            status: status, contentType: "text/plain; charset=utf-8", body: text + "\n")
    }
}
