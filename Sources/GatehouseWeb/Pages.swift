// The pages: plain HTML and CSS, no script. Templates are files, rendered with everything escaped.

import Foundation
import GatehouseCore
import GatehousePeople
import Mustache

/// What a page shows. Text is escaped by the template.
struct Page {
    enum Kind: String, CaseIterable {
        case login, register, account, profile, logout, recover, confirm, password, warnings
        case support, agreements, document, referral, cookies, leave, message

        /// Whether it has a form, which needs a cookie. Notices can be read without any.
        var hasForm: Bool { ![.message, .document].contains(self) }
    }

    var kind: Kind
    var title: Message
    /// Whether anything can be sent in from it: then it has a form's token, and the browser a pre-session.
    var hasForm: Bool
    /// Why something was refused.
    var alert: Message?
    /// What to do about it.
    var hint: Message?
    var notice: Message?
    /// What the alert is about; the first one is what it links to.
    var wrongFields: [Field] = []
    /// Each of several things that are wrong, below the alert.
    var problems: [Problem] = []
    var sections: [any PageSection] = []
    var username = ""
    var returnTo: String?
    var formToken: String?
    /// The secret of the link that led here.
    var link: String?
    /// What has to be accepted with the form, on the pages that sign in.
    var required: [Notice] = []
    /// What is ticked of it.
    var accepted: [NoticeID] = []
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
    /// Since when there is the account; on the account page.
    var created: UnixTime?

    /// Something that is wrong with a field that the site defines.
    struct Problem: Sendable {
        /// As programs know it.
        let field: String
        let reason: String
        let text: String
        /// Of the field's element; nil when the page has none.
        let id: String?
    }

    /// A field that something can be wrong with; the raw value is its name and its element's id.
    enum Field: String, CaseIterable {
        case username, password
        case currentPassword = "current_password"
        case newPassword = "new_password"
    }

    /// - Parameter title: the kind's own, if there is none.
    init(kind: Kind, title: Message? = nil) {
        self.kind = kind
        hasForm = kind.hasForm
        self.title = title ?? Message(kind == .message ? "title.refused" : "\(kind).title")
    }
}

/// What a page shows of one thing, beside what all pages have.
protocol PageSection: Sendable {
    /// What templates call it.
    var name: String { get }
    /// By their names; texts as ``EscapedText``, nothing for what is empty.
    var values: [String: Any?] { get }
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
    /// The operator who acts for the user in it; empty when nobody does.
    var actor = ""
}

/// A remember cookie of the user's was used by two parties, and what came of it has ended.
struct WarningRow {
    var time: UnixTime
    /// Of the sign-in that ended.
    var browser: String
    /// Where the old copy was presented from.
    var place: String
}

/// The templates, texts and looks of the pages, ready to be shown.
///
/// Templates find texts as `t.group.name` and every value by its name; all are escaped before they get
/// there, so that no template can show them otherwise.
struct Pages: Sendable {
    /// Several times the largest of ours.
    static let maximumFileBytes = 64 * 1024
    /// Parts of pages; none has parts itself, so that nothing goes round in circles.
    static let parts = ["head", "foot", "hidden", "fields", "documents", "coming"]
    static let styleName = "style.css"

    let texts: Texts
    let style: String
    let logo: PageLogo?
    private let library: MustacheLibrary
    private let basePath: String
    private let site: String
    private let cookies: CookieNames
    private let contact: PeopleContact?
    private let rememberDays: String

    /// - Parameters:
    ///   - basePath: without a slash at its end; empty for the root.
    ///   - host: the site's host; empty when it is not known.
    /// - Throws: every fault of every file.
    init(
        basePath: String, host: String, cookies: CookieNames, settings: PageSettings
    ) throws(PageFaults) {
        self.basePath = basePath
        self.cookies = cookies
        contact = settings.contact
        site = settings.name ?? host
        rememberDays = "\(settings.rememberSeconds / 86_400)"
        let english = try Texts.english()
        var findings: [String] = []
        func collect<Value>(_ read: () throws(PageFaults) -> Value?) -> Value? {
            do { return try read() } catch {
                findings += error.findings
                return nil
            }
        }
        texts =
            collect { () throws(PageFaults) in
                guard let path = settings.texts else { return english }
                let bytes = try pageFile(path, maximumBytes: Texts.maximumBytes)
                return try Texts(bytes, name: path, like: english)
            } ?? english
        logo = collect { () throws(PageFaults) in
            guard let path = settings.logo else { return nil }
            let bytes = try pageFile(path, maximumBytes: PageLogo.maximumBytes)
            guard let logo = PageLogo(bytes) else {
                throw PageFaults(findings: ["\(path) is no PNG, JPEG, WebP or SVG picture"])
            }
            return logo
        }
        let files = Self.files(settings.templates, &findings)
        style = settings.colour.style + (files[Self.styleName]?.text ?? "")
        var library = MustacheLibrary()
        for (file, content) in files.sorted(by: { $0.key < $1.key }) where file != Self.styleName {
            let name = String(file.dropLast(".mustache".count))
            let faults = Self.faults(in: content.text, isPart: Self.parts.contains(name), texts)
            findings += faults.map { "\(content.place): \($0)" }
            do { try library.register(content.text, named: name) } catch {
                let parser = error as? MustacheTemplate.ParserError
                findings.append(
                    "\(content.place) is no template: line \(parser?.context.lineNumber ?? 0): "
                        + "\(parser?.error ?? error)")
            }
        }
        guard findings.isEmpty else { throw PageFaults(findings: findings) }
        self.library = library
    }

    // MARK: Files

    private static let own: [String: [UInt8]] = [
        "head.mustache": PackageResources.head_mustache,
        "foot.mustache": PackageResources.foot_mustache,
        "hidden.mustache": PackageResources.hidden_mustache,
        "documents.mustache": PackageResources.documents_mustache,
        "coming.mustache": PackageResources.coming_mustache,
        "agreements.mustache": PackageResources.agreements_mustache,
        "document.mustache": PackageResources.document_mustache,
        "login.mustache": PackageResources.login_mustache,
        "register.mustache": PackageResources.register_mustache,
        "fields.mustache": PackageResources.fields_mustache,
        "account.mustache": PackageResources.account_mustache,
        "profile.mustache": PackageResources.profile_mustache,
        "logout.mustache": PackageResources.logout_mustache,
        "recover.mustache": PackageResources.recover_mustache,
        "confirm.mustache": PackageResources.confirm_mustache,
        "password.mustache": PackageResources.password_mustache,
        "warnings.mustache": PackageResources.warnings_mustache,
        "support.mustache": PackageResources.support_mustache,
        "message.mustache": PackageResources.message_mustache,
        "referral.mustache": PackageResources.referral_mustache,
        "cookies.mustache": PackageResources.cookies_mustache,
        "leave.mustache": PackageResources.leave_mustache,
        styleName: PackageResources.style_css,
    ]

    /// Our files, and those of the directory instead, with what findings call them.
    private static func files(
        _ directory: String?, _ findings: inout [String]
    ) -> [String: (text: String, place: String)] {
        var files = own.mapValues { (text: String(decoding: $0, as: UTF8.self), place: "") }
        guard let directory else { return files }
        let names: [String]
        do { names = try FileManager.default.contentsOfDirectory(atPath: directory) } catch {
            findings.append("cannot read \(directory): \(error.localizedDescription)")
            return files
        }
        // Hidden ones are left by editors, and by what mounts a directory.
        for name in names.sorted() where !name.hasPrefix(".") {
            let path = directory + "/" + name
            guard own[name] != nil else {
                findings.append(
                    "\(path) is no template: there are \(own.keys.sorted().joined(separator: ", "))"
                )
                continue
            }
            do throws(PageFaults) {
                let bytes = try pageFile(path, maximumBytes: maximumFileBytes)
                guard let text = String(validating: bytes, as: UTF8.self) else {
                    throw PageFaults(findings: ["\(path) is not UTF-8"])
                }
                files[name] = (text, path)
            } catch { findings += error.findings }
        }
        return files
    }

    /// Tags that name nothing, or would show a value as it is.
    private static func faults(in template: String, isPart: Bool, _ texts: Texts) -> [String] {
        template.matches(of: /\{\{(?<kind>[^\sa-zA-Z.]?)\s*(?<name>[^\s}]*)/).compactMap { tag in
            let name = String(tag.name)
            switch tag.kind {
            case "", "#", "^", "/":
                guard name.hasPrefix("t."), !texts.keys.contains(String(name.dropFirst(2))) else {
                    return nil
                }
                return "there is no text \(name)"
            case "!": return nil
            case ">":
                if isPart { return "a part has no parts" }
                return parts.contains(name) ? nil : "there is no part \(name)"
            default: return "tags that begin with {{\(tag.kind) are not taken"
            }
        }
    }

    // MARK: Rendering

    func render(_ page: Page) -> String {
        let title = texts.text(page.title)
        var values = Self.values([
            "t": texts.templates, "lang": texts.language, "dir": texts.direction,
            "kind": page.kind.rawValue, "base": Self.value(basePath), "site": Self.value(site),
            "hasLogo": logo != nil, "title": Self.value(title),
            "alert": Self.value(page.alert.map(texts.text)),
            "hint": Self.value(page.hint.map(texts.text)),
            "notice": Self.value(page.notice.map(texts.text)),
            "problems": page.problems.map {
                Self.values(["problem": Self.value($0.text), "problemID": Self.value($0.id)])
            },
            "hasProblems": !page.problems.isEmpty,
            "hasSummary": page.alert != nil && page.kind != .message,
            "wrongField": page.wrongFields.first?.rawValue,
            "wrong": Dictionary(
                uniqueKeysWithValues: Page.Field.allCases.map {
                    ($0.rawValue, page.wrongFields.contains($0))
                }),
            "username": Self.value(page.username), "userID": Self.value(page.userID),
            "created": page.created.map(Self.time), "formToken": Self.value(page.formToken),
            "returnTo": Self.value(page.returnTo),
            "returnQuery": Self.value(page.returnTo.map { ReturnTarget.onlyFieldText(of: $0) }),
            "link": Self.value(page.link), "canRegister": page.canRegister,
            "isRemembered": page.isRemembered
                || page.signIns.contains { $0.isCurrent && $0.isRemembered },
            "canRemember": page.canRemember,
            "lastWarning": page.lastWarning > 0 ? "\(page.lastWarning)" : nil,
            "failures": page.failures > 0 ? "\(page.failures)" : nil,
            "hasOtherSignIns": page.signIns.contains { !$0.isCurrent },
            "cookies": [
                "session": cookies.session, "device": cookies.device,
                "remember": cookies.remember,
            ],
            "contact": contact.map { contact in
                Self.values([
                    "shown": Self.value(contact.shown), "uri": Self.value(contact.link),
                ])
            },
            "device": Self.values([
                "isKnown": page.device.isKnown,
                "preferences": page.device.preferences.map {
                    Self.values(["key": Self.value($0.key), "value": Self.value($0.value)])
                },
                "hasRoom": page.device.preferences.count < Preferences.maximumCount,
                "newKey": Self.value(page.device.newKey),
                "newValue": Self.value(page.device.newValue),
            ]),
            "signIns": page.signIns.map { row in
                Self.values([
                    "session": Self.value(row.session), "isCurrent": row.isCurrent,
                    "isRemembered": row.isRemembered, "browser": Self.value(row.browser),
                    "place": Self.value(row.place), "created": Self.time(row.created),
                    "lastUsed": Self.time(row.lastUsed), "actor": Self.value(row.actor),
                ])
            },
            "warnings": page.warnings.map { row in
                Self.values([
                    "time": Self.time(row.time), "browser": Self.value(row.browser),
                    "place": Self.value(row.place),
                ])
            },
        ])
        for section in page.sections { values[section.name] = Self.values(section.values) }
        values.merge(Texts.limits) { own, _ in own }
        values["rememberDays"] = rememberDays
        return library.render(values, withTemplate: page.kind.rawValue) ?? title
    }

    static func values(_ all: [String: Any?]) -> [String: Any] {
        all.compactMapValues { $0 }
    }

    /// Nothing for what is empty, so that a section asks whether it is there.
    static func value(_ text: String?) -> MustacheTemplate? {
        text.flatMap { $0.isEmpty ? nil : EscapedText.value($0) }
    }

    /// `2026-11-24T16:21:42Z` for programs and `2026-11-24 16:21 UTC` for people, of any language.
    static func time(_ time: UnixTime) -> [String: String] {
        let text = Date(timeIntervalSince1970: Double(time.seconds)).formatted(.iso8601)
        return [
            "datetime": text,
            "shown": text.prefix(16).map { $0 == "T" ? " " : "\($0)" }.joined() + " UTC",
        ]
    }
}
