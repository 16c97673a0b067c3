// Web origins: what may send us forms, and where a redirect may lead.

/// Scheme, host and port of `http` or `https` (RFC 6454 section 4).
///
/// Two origins are the same exactly when their parts are: a host has one spelling here, and a port
/// is always a number.
package struct Origin: Hashable, Sendable {
    package enum Scheme: String, CaseIterable, Sendable {
        case http, https

        package var defaultPort: UInt16 {
            switch self {
            case .http: 80
            case .https: 443
            }
        }
    }

    /// The longest text: the longest scheme and host, and a port.
    package static let maximumBytes = "https://".utf8.count + Authority.maximumHostBytes + 6

    package let scheme: Scheme
    package let port: UInt16
    /// The host in ASCII; an IPv6 address with its brackets.
    package let hostBytes: [UInt8]
    package let isLoopback: Bool

    package var host: String { String(decoding: hostBytes, as: UTF8.self) }

    /// As browsers serialise it (RFC 6454 section 6.2): without the scheme's own port.
    package var text: String {
        "\(scheme.rawValue)://\(host)" + (port == scheme.defaultPort ? "" : ":\(port)")
    }

    /// Reads what an operator wrote, such as `https://www.example.org` or `http://[::1]:8080`. As
    /// in a browser the case of scheme and host does not matter and the scheme's own port may be
    /// written; a path, even `/`, a query, a fragment and user information are refused.
    package init?(_ text: String) {
        guard text.utf8.count <= Self.maximumBytes else { return nil }
        self.init(parsing: Array(text.utf8))
    }

    /// Reads the value of an `Origin` header, in the one spelling that browsers send. So `null`, a
    /// list, and anything that a browser would have written differently are no origin.
    package init?(header bytes: [UInt8]) {
        guard bytes.count <= Self.maximumBytes, let origin = Origin(parsing: bytes),
            bytes.elementsEqual(origin.text.utf8)
        else { return nil }
        self = origin
    }

    package init(scheme: Scheme, authority: Authority) {
        self.scheme = scheme
        port = authority.port ?? scheme.defaultPort
        hostBytes = authority.host
        isLoopback = authority.isLoopback
    }

    private init?(parsing bytes: [UInt8]) {
        for scheme in Scheme.allCases {
            let prefix = Array("\(scheme.rawValue)://".utf8)
            guard bytes.prefix(prefix.count).map(\.asciiLowercased) == prefix else { continue }
            guard let authority = Authority(Array(bytes[prefix.count...])) else { return nil }
            self.init(scheme: scheme, authority: authority)
            return
        }
        return nil
    }
}

/// The origins that something accepts, all of them from the configuration (REQUIREMENTS HOST-1).
package struct AllowedOrigins: Sendable {
    package let listed: [Origin]
    /// Whether `https://localhost`, `https://127.0.0.1` and `https://[::1]` are accepted too, at
    /// any port: during development nobody knows the port in advance. Every program of this machine
    /// is then trusted as the site itself.
    package let acceptsDevelopment: Bool

    package init(_ listed: [Origin], acceptsDevelopment: Bool = false) {
        self.listed = listed
        self.acceptsDevelopment = acceptsDevelopment
    }

    package func contains(_ origin: Origin) -> Bool {
        listed.contains(origin)
            || acceptsDevelopment && origin.scheme == .https
                && Self.developmentHosts.contains(origin.hostBytes)
    }

    private static let developmentHosts = ["localhost", "127.0.0.1", "[::1]"].map {
        Array($0.utf8)
    }
}
