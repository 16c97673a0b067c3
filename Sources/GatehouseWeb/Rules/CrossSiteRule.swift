// Whether a request that changes something comes from our own pages (CSRF).

/// Decides whether a state-changing request may go on, from the headers that a browser sets and no
/// page can (REQUIREMENTS CSRF-1, CSRF-3). Forms must carry a sealed token besides (CSRF-2).
///
/// | `Sec-Fetch-Site`     | `Origin`              | form    | JSON                        |
/// |----------------------|-----------------------|---------|-----------------------------|
/// | once, `same-origin`  | any                   | allowed | allowed                     |
/// | anything else        | any                   | refused | refused                     |
/// | absent               | once, an allowed one  | allowed | allowed                     |
/// | absent               | anything else         | refused | refused                     |
/// | absent               | absent                | refused | allowed without our cookies |
///
/// The last line is for programs, which send neither header: without our cookies a request has
/// nobody's rights but those it proves itself. A form has that line's refusal in any case, since
/// signing someone in needs no cookie (login CSRF).
package struct CrossSiteRule: Sendable {
    package struct Request: Sendable {
        /// Every `Sec-Fetch-Site` field's value.
        package let fetchSites: [[UInt8]]
        /// Every `Origin` field's value.
        package let origins: [[UInt8]]
        package let body: BodyKind
        /// Whether a cookie of ours came with it, under any of our names, valid or not.
        package let carriesOurCookies: Bool

        package init(
            fetchSites: [[UInt8]], origins: [[UInt8]], body: BodyKind, carriesOurCookies: Bool
        ) {
            self.fetchSites = fetchSites
            self.origins = origins
            self.body = body
            self.carriesOurCookies = carriesOurCookies
        }
    }

    private let allowed: AllowedOrigins

    /// - Parameter allowed: the origins that the front door's own pages have.
    package init(_ allowed: AllowedOrigins) { self.allowed = allowed }

    package func judge(_ request: Request) -> CrossSiteOutcome {
        if let refusal = refusal(of: request) { .refused(refusal) } else { .allowed }
    }

    private func refusal(of request: Request) -> CrossSiteRefusal? {
        if let site = request.fetchSites.first {
            guard request.fetchSites.count == 1 else { return .fetchSiteRepeated }
            return Self.refusal(ofFetchSite: site)
        }
        if let origin = request.origins.first {
            guard request.origins.count == 1 else { return .originRepeated }
            return refusal(ofOrigin: origin)
        }
        switch request.body {
        case .form: return .formUnattributed
        case .json: return request.carriesOurCookies ? .cookiesUnattributed : nil
        }
    }

    /// W3C Fetch Metadata section 2.3; the values are case-sensitive tokens.
    private static func refusal(ofFetchSite value: [UInt8]) -> CrossSiteRefusal? {
        if value.elementsEqual("same-origin".utf8) { return nil }
        if value.elementsEqual("same-site".utf8) { return .fetchSiteSameSite }
        if value.elementsEqual("cross-site".utf8) { return .fetchSiteCrossSite }
        if value.elementsEqual("none".utf8) { return .fetchSiteNone }
        return .fetchSiteUnknown
    }

    private func refusal(ofOrigin value: [UInt8]) -> CrossSiteRefusal? {
        if value.elementsEqual("null".utf8) { return .originNull }
        guard let origin = Origin(header: value) else { return .originMalformed }
        return allowed.contains(origin) ? nil : .originForeign
    }
}

package enum CrossSiteOutcome: Hashable, Sendable {
    case allowed
    case refused(CrossSiteRefusal)
}

/// Why a request may not go on; the raw values name it in metrics and logs.
package enum CrossSiteRefusal: String, Error, CaseIterable, Sendable {
    case fetchSiteRepeated = "fetch_site_repeated"
    /// From a sibling host, or the same host with another scheme.
    case fetchSiteSameSite = "fetch_site_same_site"
    case fetchSiteCrossSite = "fetch_site_cross_site"
    /// From the address bar or a bookmark, which send no form.
    case fetchSiteNone = "fetch_site_none"
    case fetchSiteUnknown = "fetch_site_unknown"
    case originRepeated = "origin_repeated"
    /// From a sandboxed frame, a local file, a redirect between sites, or a page whose referrer
    /// policy hides its origin.
    case originNull = "origin_null"
    case originMalformed = "origin_malformed"
    case originForeign = "origin_foreign"
    /// A form with neither header.
    case formUnattributed = "form_unattributed"
    /// JSON with neither header, but with a cookie of ours.
    case cookiesUnattributed = "cookies_unattributed"

    package static let status = 403
}
