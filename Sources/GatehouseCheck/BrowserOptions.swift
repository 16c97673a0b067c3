// The options for browsers behind a proxy: `renew` and `forward`, which need more of the request's head.

import GatehouseCore

/// A header field as it stands in a head that was scanned.
enum FieldValue {
    case absent
    case one(Range<Int>)
    case several
}

extension Span<UInt8> {
    /// The field `lowerCase` of the scanned head in these bytes. Looked up only where an option needs it.
    fileprivate func field(_ lowerCase: StaticString) -> FieldValue {
        var value = FieldValue.absent
        var start = 0
        while let end = firstIndex(of: 0x0D, in: start..<count) {
            if let colon = firstIndex(of: UInt8(ascii: ":"), in: start..<end),
                extracting(start..<colon).equalsIgnoringCase(lowerCase)
            {
                guard case .absent = value else { return .several }
                value = .one(trimmed((colon + 1)..<end))
            }
            start = Swift.min(end + 2, count)
        }
        return value
    }

    /// The field's value when there is exactly one, and nil when there is none.
    fileprivate func singleField(_ lowerCase: StaticString) throws(HeadDefect) -> Range<Int>? {
        switch field(lowerCase) {
        case .absent: return nil
        case .one(let range): return range
        case .several: throw .forwarded
        }
    }
}

/// Where a browser is sent to come back with a session, and the URL that it comes back to.
struct ResumeLocation {
    let url: [UInt8]
    let wayBack: [UInt8]?
}

extension CheckLoop {
    /// The value of `Set-Cookie` for a session that is to be renewed; nil when it is not due, or when
    /// what asks is no document: a picture or a script must not race the page for the newer cookie.
    func renewal(
        of claims: borrowing Claims, _ head: RequestHead, _ bytes: Span<UInt8>
    ) -> [UInt8]? {
        guard !head.options.isBearer else { return nil }
        switch bytes.field("sec-fetch-dest") {
        case .absent: break
        case .one(let value) where bytes.extracting(value).equals("document"): break
        case .one, .several: return nil
        }
        guard let token = judge.renewal(of: claims, by: settings.renewal) else { return nil }
        let domain = settings.cookieDomain.map { "; Domain=\($0)" } ?? ""
        return Array("\(settings.cookieName)=".utf8) + token
            + Array("; Path=/; Secure; HttpOnly; SameSite=Lax\(domain)".utf8)
    }

    /// Where a browser that navigates is sent to come back with a session; nil for other requests, and where there is no
    /// front door.
    ///
    /// - Throws: when a listed proxy's forwarded fields can't be read: taking them for absent would be
    ///   wrong silently (REQUIREMENTS CHK-7).
    func resumeLocation(
        _ head: RequestHead, _ bytes: Span<UInt8>, believesForwarded: Bool
    ) throws(HeadDefect) -> ResumeLocation? {
        guard !head.options.isBearer, let resumeURL = settings.resumeURL,
            Self.isNavigation(bytes)
        else { return nil }
        return ResumeLocation(
            url: resumeURL, wayBack: believesForwarded ? try Self.forwardedTarget(bytes) : nil)
    }

    private static func isNavigation(_ bytes: Span<UInt8>) -> Bool {
        switch bytes.field("sec-fetch-mode") {
        case .one(let value): return bytes.extracting(value).equals("navigate")
        case .several: return false
        case .absent:
            // Browsers before 2023 don't say; they ask for a page.
            guard case .one(let accept) = bytes.field("accept") else { return false }
            return bytes.extracting(accept).hasListElement("text/html")
        }
    }

    /// The longest way back, in bytes: past it a person begins at the site's entrance.
    static let maximumReturnBytes = 2048

    /// The URL that the client asked the proxy for, from the three fields that Traefik and Caddy send;
    /// nil when one is missing.
    private static func forwardedTarget(
        _ bytes: Span<UInt8>
    ) throws(HeadDefect) -> [UInt8]? {
        let scheme = try bytes.singleField("x-forwarded-proto")
        let host = try bytes.singleField("x-forwarded-host")
        let path = try bytes.singleField("x-forwarded-uri")
        guard let scheme, let host, let path else { return nil }
        let schemeBytes = bytes.extracting(scheme)
        let hostBytes = bytes.extracting(host)
        let pathBytes = bytes.extracting(path)
        guard schemeBytes.equals("https") || schemeBytes.equals("http"), isHost(hostBytes),
            pathBytes.count > 0, pathBytes[0] == UInt8(ascii: "/"),
            pathBytes.indices.allSatisfy({ (0x21...0x7E).contains(pathBytes[$0]) })
        else { throw .forwarded }
        guard path.count <= maximumReturnBytes else { return nil }
        return Array(bytes, scheme) + Array("://".utf8) + Array(bytes, host) + Array(bytes, path)
    }

    /// A host name or address with or without a port: the bytes that RFC 3986 section 3.2.2 has for them.
    private static func isHost(_ host: Span<UInt8>) -> Bool {
        (1...260).contains(host.count)
            && host.indices.allSatisfy { index in
                switch host[index] {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
                    UInt8(ascii: ":"), UInt8(ascii: "["), UInt8(ascii: "]"):
                    true
                default: false
                }
            }
    }
}

extension [UInt8] {
    fileprivate init(_ bytes: Span<UInt8>, _ range: Range<Int>) { self = range.map { bytes[$0] } }
}
