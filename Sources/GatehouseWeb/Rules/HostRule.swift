// Which Host a request may name: a page of ours under another name is not ours.

/// Whether a request is meant for one of the configured origins (REQUIREMENTS HOST-1). Nothing is
/// ever made from the header's value: links, cookies and redirects come from the configuration.
package struct HostRule: Sendable {
    private let allowed: AllowedOrigins

    package init(_ allowed: AllowedOrigins) { self.allowed = allowed }

    /// - Parameter values: every `Host` field and, where the protocol has one, `:authority`, which
    ///   counts as one of them: a request that carries both must have been reduced to one before.
    package func judge(_ values: [[UInt8]]) -> HostOutcome {
        guard let value = values.first else { return .refused(.missing) }
        guard values.count == 1 else { return .refused(.repeated) }
        guard let authority = Authority(value) else { return .refused(.malformed) }
        // The header names no scheme: without a port it means that of the origin it is compared to.
        // The host's case does not matter (RFC 9110 section 4.2.3), and `Authority` has none.
        let isOurs = Origin.Scheme.allCases.contains { scheme in
            allowed.contains(Origin(scheme: scheme, authority: authority))
        }
        return isOurs ? .allowed : .refused(.foreign)
    }
}

package enum HostOutcome: Hashable, Sendable {
    case allowed
    case refused(HostRefusal)
}

/// Why a request's host is not accepted; the raw values name it in metrics and logs.
package enum HostRefusal: String, Error, CaseIterable, Sendable {
    case missing
    case repeated
    /// No host and port, or one in a spelling that no browser sends, such as a trailing dot.
    case malformed
    case foreign

    package var status: Int {
        switch self {
        // RFC 9112 section 3.2.
        case .missing, .repeated, .malformed: 400
        // RFC 9110 section 15.5.20, Misdirected Request.
        case .foreign: 421
        }
    }
}
