// The pages: plain HTML and CSS, no script. Templates are text, rendered with everything escaped.

import GatehouseCore
import Mustache

/// What a page shows. Text is escaped by the template.
struct Page {
    enum Kind: String, CaseIterable {
        case login, register, account, logout, recover, confirm, password, warnings, message
    }

    var kind: Kind
    var title: String
    /// Why something was refused.
    var alert: String?
    var notice: String?
    var username = ""
    var returnTo: String?
    var formToken: String?
    /// The secret of the link that led here.
    var link: String?
    var canRegister = false
    var device = DeviceSection()
    /// Failed sign-ins in a row, on the account page.
    var failures = 0
    /// Whether the box "remember me" is ticked, on the sign-in page.
    /// Or whether this browser is remembered, on the account page.
    var isRemembered = false
    var canRemember = false
    /// On the account page.
    var userID = ""
    /// Where the user is signed in, on the account page.
    var signIns: [SignInRow] = []
    /// What happened to sign-ins of the user's, on the page of warnings.
    var warnings: [WarningRow] = []
    /// The field `last` of that page: what has been shown.
    var lastWarning: Int64 = 0
    /// The site's host.
    var site = ""
}

/// What the account page says about this browser.
struct DeviceSection {
    /// Whether the browser has a device of the user's.
    var isKnown = false
    var preferences: [(key: String, value: String)] = []
    /// What was typed for another one.
    var newKey = ""
    var newValue = ""
}

/// One sign-in of the user's, as the account page lists it.
struct SignInRow {
    /// The session's 32 hex digits.
    var session: String
    /// Whether it is the one that the page is shown in.
    var isCurrent: Bool
    /// Whether the browser is remembered.
    var isRemembered: Bool
    /// "Firefox on Linux"; empty when it is not known.
    var browser: String
    /// The network that it was from; empty when it is not known.
    var place: String
    var created: UnixTime
    var lastUsed: UnixTime
}

/// A remember cookie of the user's was used by two parties, and what came of it has ended.
struct WarningRow {
    var time: UnixTime
    /// Of the sign-in that ended.
    var browser: String
    /// Where the old copy was presented from.
    var place: String
}

struct Pages: Sendable {
    private let library: MustacheLibrary
    private let basePath: String

    /// - Parameter basePath: without a slash at its end; empty for the root.
    init(basePath: String) throws {
        self.basePath = basePath
        var library = MustacheLibrary()
        for (name, body) in Self.bodies {
            try library.register(Self.head + body + Self.foot, named: name.rawValue)
        }
        self.library = library
    }

    func render(_ page: Page) -> String? {
        let values: [String: Any] = [
            "base": basePath, "title": page.title, "username": page.username,
            "canRegister": page.canRegister, "site": page.site,
            "failures": page.failures, "hasFailures": page.failures > 0,
            "hasUsername": !page.username.isEmpty, "hasSite": !page.site.isEmpty,
            "device": [
                "isKnown": page.device.isKnown,
                "preferences": page.device.preferences.map { ["key": $0.key, "value": $0.value] },
                "hasRoom": page.device.preferences.count < Preferences.maximumCount,
                "newKey": page.device.newKey, "newValue": page.device.newValue,
            ] as [String: Any],
        ].merging(
            [
                "alert": page.alert, "notice": page.notice, "returnTo": page.returnTo,
                "formToken": page.formToken, "link": page.link,
                "returnQuery": page.returnTo.map { ReturnTarget.onlyFieldText(of: $0) },
            ].compactMapValues { $0 }, uniquingKeysWith: { first, _ in first })
        return library.render(values, withTemplate: page.kind.rawValue)
    }

    private static let head = """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>{{title}}{{#hasSite}} – {{site}}{{/hasSite}}</title>
        <link rel="stylesheet" href="{{base}}/style.css">
        </head>
        <body>
        <main>
        {{#hasSite}}<p class="site">{{site}}</p>
        {{/hasSite}}<h1>{{title}}</h1>
        {{#alert}}<p class="alert" id="alert" role="alert">{{alert}}</p>
        {{/alert}}{{#notice}}<p class="notice" role="status">{{notice}}</p>
        {{/notice}}
        """
    private static let foot = """

        </main>
        </body>
        </html>

        """
    private static let hidden = """
        <input type="hidden" name="form" value="{{formToken}}">
        {{#returnTo}}<input type="hidden" name="return_to" value="{{returnTo}}">{{/returnTo}}
        """

    private static let bodies: [Page.Kind: String] = [
        .login: """
        <form method="post" action="{{base}}/login">
        \(hidden)
        <label for="username">Username</label>
        <input id="username" name="username" value="{{username}}" autocomplete="username"
          autocapitalize="none" spellcheck="false" required maxlength="224"{{^hasUsername}} autofocus{{/hasUsername}}>
        <label for="password">Password</label>
        <input id="password" name="password" type="password" autocomplete="current-password"
          required{{#hasUsername}} autofocus{{/hasUsername}}{{#alert}} aria-invalid="true"
          aria-describedby="alert"{{/alert}}>
        <button type="submit">Sign in</button>
        </form>
        {{#canRegister}}<p>New here? <a href="{{base}}/register{{#returnTo}}?return_to={{returnQuery}}{{/returnTo}}">Make an account</a>.</p>
        {{/canRegister}}
        """,
        .register: """
        <form method="post" action="{{base}}/register">
        \(hidden)
        {{#link}}<input type="hidden" name="invite" value="{{link}}">{{/link}}
        <label for="username">Username</label>
        <input id="username" name="username" value="{{username}}" autocomplete="username"
          autocapitalize="none" spellcheck="false" required maxlength="224"{{^hasUsername}} autofocus{{/hasUsername}}>
        <label for="password">Password</label>
        <input id="password" name="password" type="password" autocomplete="new-password"
          aria-describedby="password-hint{{#alert}} alert{{/alert}}" required{{#hasUsername}} autofocus{{/hasUsername}}>
        <p id="password-hint" class="hint">At least 15 characters. A few words in a row are easy to
        remember; any character may be used.</p>
        <button type="submit">Make an account</button>
        </form>
        <p>You have one? <a href="{{base}}/login">Sign in</a>.</p>
        """,
        .account: """
        <p>You are signed in as <strong>{{username}}</strong>. <a href="/">Go to the site</a></p>
        <form method="post" action="{{base}}/logout">
        \(hidden)
        <button type="submit">Sign out</button>
        </form>
        {{#hasFailures}}
        <h2>Failed sign-ins</h2>
        <p>Somebody tried a wrong password for your name {{failures}} times in a row. The more often
        that happens, the longer new browsers have to wait, with the right password too.</p>
        <form method="post" action="{{base}}/account/attempts">
        \(hidden)
        <button type="submit">Forget them</button>
        </form>
        {{/hasFailures}}
        {{#device}}
        <h2>This browser</h2>
        <p>When you sign in, a cookie marks this browser as one of yours, so that nobody elsewhere can
        lock you out by guessing at your password. It signs nobody in, and only this site can read
        it. It ends when you close the browser; while somebody keeps preferences here, it stays until
        nobody has signed in for 180 days. Signing out keeps it. A new password ends yours.</p>
        <h3>Your preferences in this browser</h3>
        <form method="post" action="{{base}}/account/device">
        <input type="hidden" name="form" value="{{formToken}}">
        {{#preferences}}<label for="preference-{{key}}">{{key}}</label>
        <input id="preference-{{key}}" name="preference.{{key}}" value="{{value}}" maxlength="256"
          autocomplete="off" aria-describedby="preferences-hint">
        {{/preferences}}
        {{#hasRoom}}<label for="new-key">Name of a new one</label>
        <input id="new-key" name="new_key" value="{{newKey}}" maxlength="32" autocomplete="off"
          autocapitalize="none" spellcheck="false" aria-describedby="preferences-hint">
        <label for="new-value">Its value</label>
        <input id="new-value" name="new_value" value="{{newValue}}" maxlength="256" autocomplete="off"
          aria-describedby="preferences-hint">
        {{/hasRoom}}
        <p id="preferences-hint" class="hint">A name has lower-case letters, digits, dots, hyphens and
        underscores. Leave a value empty to remove it.</p>
        <button type="submit">Save preferences</button>
        </form>
        {{#isKnown}}<form method="post" action="{{base}}/account/device/forget">
        <input type="hidden" name="form" value="{{formToken}}">
        <p>This deletes your preferences in this browser and its mark. You stay signed in.</p>
        <button type="submit">Forget this browser</button>
        </form>
        {{/isKnown}}
        {{/device}}
        """,
        .logout: """
        <form method="post" action="{{base}}/logout">
        \(hidden)
        {{#hasUsername}}<p>You are signed in as <strong>{{username}}</strong>. This ends your session
        in this browser.</p>{{/hasUsername}}
        {{^hasUsername}}<p>You are not signed in. This clears what this browser still keeps.</p>
        {{/hasUsername}}
        <button type="submit">Sign out</button>
        </form>
        """,
        .recover: """
        <form method="post" action="{{base}}/recover">
        \(hidden)
        <input type="hidden" name="token" value="{{link}}">
        <label for="password">New password</label>
        <input id="password" name="password" type="password" autocomplete="new-password"
          aria-describedby="password-hint" required autofocus>
        <p id="password-hint" class="hint">At least 15 characters. Setting it signs you out
        everywhere.</p>
        <button type="submit">Set the password</button>
        </form>
        """,
        .confirm: "",
        .password: "",
        .warnings: "",
        .message: """
        <p><a href="{{base}}/login">Go to the sign-in page</a></p>
        """,
    ]

    static let style = String(decoding: PackageResources.style_css, as: UTF8.self)
}
