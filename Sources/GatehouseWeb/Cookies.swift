// Our cookies: reading them from a request as bytes, and the exact text that sets and deletes them.

/// Names and attributes of the cookies (DESIGN section 4).
package struct CookieNames: Sendable {
    let session: String
    let form: String
    let device: String
    let remember: String
    let referral: String
    private let domain: String?

    /// - Parameter domain: shares the cookies among a domain's hosts; nil for this host only.
    package init(domain: String?) {
        let prefix = domain == nil ? "__Host-" : "__Secure-"
        session = prefix + "gatehouse"
        form = prefix + "gatehouse-form"
        device = prefix + "gatehouse-device"
        remember = prefix + "gatehouse-remember"
        referral = prefix + "gatehouse-referral"
        self.domain = domain
    }

    var all: [String] { [session, form, device, remember, referral] }

    /// A `Set-Cookie` value that lasts as long as the browser's session, or for some seconds.
    func setting(
        _ name: String, to value: String, maximumAgeSeconds: Int64? = nil
    ) -> String {
        "\(name)=\(value)\(attributes)" + (maximumAgeSeconds.map { "; Max-Age=\($0)" } ?? "")
    }

    /// Deleting repeats the attributes: a `__Host-` cookie is not replaced without them.
    func deleting(_ name: String) -> String { "\(name)=\(attributes); Max-Age=0" }

    private var attributes: String {
        "; Path=/; Secure; HttpOnly; SameSite=Lax" + (domain.map { "; Domain=\($0)" } ?? "")
    }
}

/// The cookies of a request (RFC 6265bis; REQUIREMENTS CK-6), as bytes.
struct RequestCookies: Sendable {
    private let pairs: [(name: [UInt8], value: [UInt8])]

    /// - Parameter fields: every `Cookie` field's value.
    init(_ fields: [[UInt8]]) {
        pairs = fields.flatMap { field in
            field.split(separator: UInt8(ascii: ";")).compactMap { pair in
                guard let equals = pair.firstIndex(of: UInt8(ascii: "=")) else { return nil }
                return (Self.trim(pair[..<equals]), Self.trim(pair[(equals + 1)...]))
            }
        }
    }

    /// Every value of the cookies called `name`, byte for byte.
    func values(_ name: String) -> [[UInt8]] {
        pairs.filter { $0.name.elementsEqual(name.utf8) }.map(\.value)
    }

    private static func trim(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        var bytes = bytes
        while let first = bytes.first, first == 0x20 || first == 0x09 { bytes.removeFirst() }
        while let last = bytes.last, last == 0x20 || last == 0x09 { bytes.removeLast() }
        return Array(bytes)
    }
}
