// Whom to ask, and where to report what is wrong: for pages, and for security.txt (RFC 9116).

import Foundation
import GatehouseCore

/// A URI that contact is made by: `mailto:`, `tel:` or `https:`. Others are no way to write to people, and
/// `http:` is not taken for security (RFC 9116 section 2.5.3).
package struct ContactURI: Hashable, Sendable {
    /// Longer than any that is shown to people.
    package static let maximumBytes = 256

    package let text: String

    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count <= Self.maximumBytes,
            bytes.allSatisfy({ (0x21...0x7E).contains($0) && !#"<>"\^`{|}"#.utf8.contains($0) })
        else { return nil }
        if text.hasPrefix("mailto:") {
            let address = text.dropFirst("mailto:".count).prefix { $0 != "?" }
            let parts = address.split(separator: "@", omittingEmptySubsequences: false)
            guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty }) else { return nil }
        } else if text.hasPrefix("tel:") {
            guard text.dropFirst("tel:".count).wholeMatch(of: /\+?[0-9][0-9().-]*/) != nil else {
                return nil
            }
        } else if text.hasPrefix("https://") {
            let authority = text.dropFirst("https://".count).prefix { !"/?#".contains($0) }
            guard Authority(Array(authority.utf8)) != nil else { return nil }
        } else {
            return nil
        }
        self.text = text
    }

    /// As people read it: an address without `mailto:`.
    var shown: String {
        for prefix in ["mailto:", "tel:"] where text.hasPrefix(prefix) {
            return String(text.dropFirst(prefix.count).prefix { $0 != "?" })
        }
        return text
    }
}

/// Whom people ask about their data, at the foot of every page.
package enum PeopleContact: Hashable, Sendable {
    /// An address and some words.
    package static let maximumTextBytes = 200

    case uri(ContactURI)
    case words(String)

    /// A URI where it is one, else words on one line.
    package init?(_ text: String) {
        if let uri = ContactURI(text) {
            self = .uri(uri)
            return
        }
        guard (1...Self.maximumTextBytes).contains(text.utf8.count),
            text.contains(where: \.isLetter),
            !text.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }),
            // A link that is written wrongly would be shown as words.
            !["mailto:", "tel:", "https:", "http:"].contains(where: { text.hasPrefix($0) })
        else { return nil }
        self = .words(text)
    }

    var shown: String {
        switch self {
        case .uri(let uri): uri.shown
        case .words(let words): words
        }
    }

    var link: String? {
        if case .uri(let uri) = self { uri.text } else { nil }
    }
}

/// Where to report what is wrong, as `/.well-known/security.txt` says it (RFC 9116).
package struct SecurityContact: Sendable, Equatable {
    /// The text promises to be true that long, in seconds: under the year that RFC 9116 section 2.5.5 names.
    /// It is made anew for each request, so that it never expires while a server answers.
    static let lifetimeSeconds: Int64 = 180 * 86_400

    /// Where it is looked for, whatever the base path (RFC 9116 section 3).
    static let path = "/.well-known/security.txt"

    /// The preferred way first; without any there is no file.
    package var contacts: [ContactURI] = []
    package var policy: ContactURI?
    /// Language tags (RFC 5646), all equal.
    package var languages: [String] = []

    package init() {}

    package static func isLanguage(_ text: String) -> Bool {
        text.wholeMatch(of: /[a-zA-Z]{2,8}(-[a-zA-Z0-9]{1,8}){0,4}/) != nil
    }

    /// The file; nil where nothing is configured.
    ///
    /// - Parameter origin: where the site is; its file's own address is then named.
    func file(origin: Origin?, at now: UnixTime) -> String? {
        guard !contacts.isEmpty else { return nil }
        // To the day, so that the file is the same for a day.
        let expires = now.advanced(bySeconds: Self.lifetimeSeconds)
        let day = Date(
            timeIntervalSince1970: Double(expires.seconds - expires.seconds % 86_400))
        var lines = contacts.map { "Contact: \($0.text)" }
        lines.append("Expires: \(day.formatted(.iso8601))")
        if !languages.isEmpty {
            lines.append("Preferred-Languages: \(languages.joined(separator: ", "))")
        }
        if let origin { lines.append("Canonical: \(origin.text)\(Self.path)") }
        if let policy { lines.append("Policy: \(policy.text)") }
        return lines.map { $0 + "\n" }.joined()
    }
}
