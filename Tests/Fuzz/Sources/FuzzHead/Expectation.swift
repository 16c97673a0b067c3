// What the lane has to answer to a request, worked out from what llhttp read of it.

import FuzzSupport
import GatehouseCore
import NIOHTTP1

/// The answer that a request has to get.
struct Expectation: Equatable {
    var status = 400
    var reason = ""
    /// What the `x-auth-` headers say, in the order of ``Answer``; empty for nobody.
    var identity = Answer.identityNames.map { _ in "" }
    var location: String?
    var setCookie: String?

    /// A request with options that have to be refused.
    static let refused = Expectation()

    /// - Parameters:
    ///   - head: the request, as NIOHTTP1 read it.
    ///   - isFromTrustedProxy: whether its `X-Forwarded-*` fields are believed.
    init(
        _ head: HTTPRequestHead, options: OptionsAsked, node: Node, isFromTrustedProxy: Bool,
        tokens: SealedTokens
    ) {
        guard node == .serving || node == .draining else {
            status = 503
            return
        }
        var denial = "absent"
        switch ReferenceCredential(head.headers, options: options) {
        case .absent: break
        case .ambiguous: denial = "invalid"
        case .one(let text) where text.isEmpty: break
        case .one(let text):
            let transport: TokenTransport = options.isBearer ? .bearer : .cookie
            switch tokens.judge(text, transport: transport) {
            case (.good, let token?):
                answer(good: token.claims, to: head.headers, options: options)
                return
            case (.expired, _): denial = "expired"
            case (.revoked, _): denial = "revoked"
            default: denial = "invalid"
            }
        }
        if options.isOptional {
            status = 200
        } else if options.forwards, !options.isBearer, Self.isNavigation(head.headers) {
            forward(denial, head.headers, isFromTrustedProxy: isFromTrustedProxy)
        } else {
            status = 401
            reason = denial
        }
    }

    private init() {}

    /// Good, if it is enough.
    private mutating func answer(
        good claims: Claims, to headers: HTTPHeaders, options: OptionsAsked
    ) {
        let age = SealedTokens.noon - claims.authenticated.seconds
        if Int(claims.level.rawValue) < options.level {
            status = 403
            reason = "level"
        } else if let fresh = options.freshSeconds,
            age > fresh || claims.isRemembered || claims.level == .remembered
        {
            status = 403
            reason = "stale"
        } else {
            status = 200
            identity = Identity.texts(claims)
            if options.renews, !options.isPassive, !options.isBearer, Self.isForDocument(headers) {
                setCookie = Renewals.expected(claims)
            }
        }
    }

    private static func isForDocument(_ headers: HTTPHeaders) -> Bool {
        let destinations = values(headers, "sec-fetch-dest")
        return destinations.isEmpty
            || destinations.count == 1 && destinations[0].elementsEqual("document".utf8)
    }

    // MARK: The option `forward`

    private static func isNavigation(_ headers: HTTPHeaders) -> Bool {
        let modes = values(headers, "sec-fetch-mode")
        guard modes.isEmpty else {
            return modes.count == 1 && modes[0].elementsEqual("navigate".utf8)
        }
        let accepted = values(headers, "accept")
        return accepted.count == 1
            && split(accepted[0], at: ",").contains {
                equalsIgnoringCase(trimmed($0), "text/html")
            }
    }

    /// To the front door, with the way back that a listed proxy names. What can't be read of it is an
    /// error and not "no value" (REQUIREMENTS CHK-7).
    private mutating func forward(
        _ denial: String, _ headers: HTTPHeaders, isFromTrustedProxy: Bool
    ) {
        var wayBack = ""
        if isFromTrustedProxy {
            let fields = ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-uri"]
                .map { values(headers, $0) }
            guard fields.allSatisfy({ $0.count <= 1 }) else { return }
            let parts = fields.compactMap(\.first)
            if parts.count == 3 {
                guard let url = Self.url(scheme: parts[0], host: parts[1], path: parts[2]) else {
                    return
                }
                if parts[2].count <= 2048 {
                    wayBack = "?return_to=" + Identity.percentEncoded(url)
                }
            }
        }
        status = 302
        reason = denial
        location = Lane.resumeURL + wayBack
    }

    private static func url(
        scheme: ArraySlice<UInt8>, host: ArraySlice<UInt8>, path: ArraySlice<UInt8>
    ) -> [UInt8]? {
        let isHost = { (byte: UInt8) in
            UnicodeScalar(byte).properties.isASCIIHexDigit || "-.:[]".utf8.contains(byte)
                || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
        }
        guard scheme.elementsEqual("http".utf8) || scheme.elementsEqual("https".utf8),
            (1...260).contains(host.count), host.allSatisfy(isHost),
            path.first == UInt8(ascii: "/"), path.allSatisfy({ (0x21...0x7E).contains($0) })
        else { return nil }
        return scheme + Array("://".utf8) + host + path
    }
}
