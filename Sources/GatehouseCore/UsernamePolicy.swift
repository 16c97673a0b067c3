// Which names may be given to users now. Names that were given earlier are found all the same.

/// What a new name is held to, beyond being a ``Username``.
package struct UsernamePolicy: Sendable, Equatable {
    /// Whether letters outside ASCII are allowed: those of common use (UTS 39 section 3.1), of one
    /// script or of scripts that are written together (Highly Restrictive, section 5.2). Otherwise a
    /// name consists of `a` to `z`, digits, and `.`, `_` and `-`.
    package var allowsUnicode: Bool

    package init(allowsUnicode: Bool = false) { self.allowsUnicode = allowsUnicode }

    /// Why `username` can't be given to anyone; nil when it can. Whether it is taken is the store's
    /// to say.
    package func refusal(of username: Username) -> UsernameRefusal? {
        var isASCII = true
        for byte in username.utf8 where !Self.isPlain(byte) {
            // Other signs of ASCII have a meaning to shells, URLs or mail, whatever the policy.
            guard byte >= 0x80, allowsUnicode else { return .notPlain }
            isASCII = false
        }
        guard !isASCII else { return nil }
        let faults = UnicodeText.faults(of: username.utf8)
        if faults.contains(.restrictedCharacter) { return .restrictedCharacter }
        if faults.contains(.mixedScripts) { return .mixedScripts }
        if faults.contains(.mixedDigits) { return .mixedDigits }
        return faults.contains(.hiddenMark) ? .hiddenMark : nil
    }

    /// Canonical names have no capital letters.
    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }

    /// Names that nobody gets by registering (REQUIREMENTS USR-5): they, and what looks like them,
    /// speak for the site, or mean something to software. Mailboxes: RFC 2142.
    package static let reservedNames: [String] = [
        // Who runs a site or a machine.
        "admin", "administrator", "daemon", "moderator", "operator", "owner", "root", "sa",
        "staff", "superuser", "sudo", "sysadmin", "system", "team",
        // Mailboxes that everyone expects.
        "abuse", "ftp", "hostmaster", "info", "mailer-daemon", "marketing", "news", "no-reply",
        "noc", "noreply", "postmaster", "sales", "security", "support", "usenet", "uucp",
        "webmaster", "www",
        // Whom people ask for help, and pay.
        "billing", "contact", "help", "helpdesk", "official", "service",
        // No one in particular.
        "all", "anonymous", "anyone", "everyone", "guest", "me", "nobody", "null", "self",
        "undefined", "unknown", "user",
        // The service's own words.
        "account", "api", "check", "confirm", "device", "gatehouse", "invite", "login", "logout",
        "password", "recover", "register", "resume", "session", "sessions", "signin", "signout",
        "signup", "username", "users", "v1", "well-known",
    ]
}
