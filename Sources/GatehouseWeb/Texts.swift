// What people read, in one file a language: keys, texts, and places in them for values.

import Foundation
import GatehouseCore
import GatehousePeople
import Mustache

/// Something to tell a person: the key of a text, and values for its places.
package struct Message: Sendable, Hashable, ExpressibleByStringLiteral {
    let key: String
    var values: [String: String] = [:]

    package init(stringLiteral key: String) { self.key = key }
    init(_ key: String, _ values: [String: String] = [:]) {
        self.key = key
        self.values = values
    }
}

/// Everything that is wrong with the files of the pages, at once.
package struct PageFaults: Error, Equatable {
    package let findings: [String]
}

/// The texts of one language.
///
/// The file is one JSON object of strings. A key is `group.name`; `lang` and `dir` say the language
/// (BCP 47) and its direction. `{name}` in a text is a place. Other files are held to the English
/// one: the same keys, and in each text the same places.
struct Texts: Sendable {
    /// Several times the English file.
    static let maximumBytes = 256 * 1024

    let language: String
    let direction: String
    /// As templates that escape everything but their places, by group and name.
    let templates: [String: [String: MustacheTemplate]]
    private let texts: [String: [Piece]]

    private enum Piece: Hashable { case words(String), place(String) }

    static func english() throws(PageFaults) -> Texts {
        try Texts(PackageResources.english_json, name: "english.json", like: nil)
    }

    /// - Parameter name: what findings call the file.
    init(_ bytes: [UInt8], name: String, like english: Texts?) throws(PageFaults) {
        guard JSONObjectKeys.areUnique(bytes),
            var object = try? JSONDecoder().decode([String: String].self, from: Data(bytes))
        else {
            throw PageFaults(findings: ["\(name) is no JSON object of texts with unique keys"])
        }
        var findings: [String] = []
        language = object.removeValue(forKey: "lang") ?? ""
        direction = object.removeValue(forKey: "dir") ?? ""
        let tag = /[a-zA-Z]{2,8}(-[a-zA-Z0-9]{1,8}){0,4}/
        if language.wholeMatch(of: tag) == nil {
            findings.append("\(name): lang must be a language such as en or pt-BR")
        }
        if !["ltr", "rtl"].contains(direction) {
            findings.append("\(name): dir must be ltr or rtl")
        }
        var texts: [String: [Piece]] = [:]
        var templates: [String: [String: MustacheTemplate]] = [:]
        for (key, text) in object.sorted(by: { $0.key < $1.key }) {
            let parts = key.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, english?.texts.keys.contains(key) != false else {
                findings.append("\(name): unknown key \(key)")
                continue
            }
            guard let pieces = Self.pieces(of: text), !pieces.isEmpty else {
                findings.append("\(name): \(key) is empty, or has a brace that is no place")
                continue
            }
            texts[key] = pieces
            let places = Self.places(in: pieces)
            let known = english.map { $0.places(of: key) } ?? places
            for place in known.subtracting(places).sorted() {
                findings.append("\(name): \(key) lacks the place {\(place)}")
            }
            for place in places.subtracting(known).sorted() {
                findings.append("\(name): \(key) has the unknown place {\(place)}")
            }
            let source = pieces.map { piece in
                switch piece {
                case .words(let words): EscapedText.escape(words)
                case .place(let place): "{{\(place)}}"
                }
            }.joined()
            templates[parts[0], default: [:]][parts[1]] = try? MustacheTemplate(string: source)
        }
        for key in english?.texts.keys.sorted() ?? [] where object[key] == nil {
            findings.append("\(name): missing key \(key)")
        }
        guard findings.isEmpty else { throw PageFaults(findings: findings) }
        self.texts = texts
        self.templates = templates
    }

    var keys: Set<String> { Set(texts.keys) }

    func places(of key: String) -> Set<String> { Self.places(in: texts[key] ?? []) }

    /// The text with its values, not escaped; the key, where there is no such text.
    func text(_ message: Message) -> String {
        guard let pieces = texts[message.key] else { return message.key }
        return pieces.map { piece in
            switch piece {
            case .words(let words): words
            case .place(let place): message.values[place] ?? Self.limits[place] ?? ""
            }
        }.joined()
    }

    private static func places(in pieces: [Piece]) -> Set<String> {
        Set(pieces.compactMap { if case .place(let name) = $0 { name } else { nil } })
    }

    /// Nil when a brace is left alone, or what is in a pair is no name.
    private static func pieces(of text: String) -> [Piece]? {
        var pieces: [Piece] = []
        var rest = text[...]
        while let match = rest.firstMatch(of: /\{([a-zA-Z]+)\}/) {
            pieces.append(.words(String(rest[..<match.range.lowerBound])))
            pieces.append(.place(String(match.1)))
            rest = rest[match.range.upperBound...]
        }
        pieces.append(.words(String(rest)))
        pieces.removeAll { $0 == .words("") }
        let hasBrace = pieces.contains { piece in
            if case .words(let words) = piece {
                words.contains { "{}".contains($0) }
            } else {
                false
            }
        }
        return hasBrace ? nil : pieces
    }

    /// Values that every text and template can use.
    static let limits: [String: String] = [
        "rememberDays": "\(RememberLimits.defaultAbsoluteSeconds / 86_400)",
        "passwordMinimum": "\(PasswordPolicy.defaultMinimumCodePoints)",
        "passwordBytes": "\(Password.maximumBytes)",
        "usernameBytes": "\(Username.maximumBytes)",
        "usernameInput": "\(Username.maximumInputBytes)",
        "deviceDays": "\(DeviceClaims.lifetimeSeconds / 86_400)",
        "preferenceCount": "\(Preferences.maximumCount)",
        "preferenceKeyBytes": "\(Preferences.maximumKeyBytes)",
        "preferenceValueBytes": "\(Preferences.maximumValueBytes)",
        "profileHistory": "\(ProfileHistoryRow.maximumPerUser)",
        "profileValueBytes": "\(Profile.maximumValueBytes)",
        "profileBytes": "\(Profile.maximumBytes)", "profileLines": "\(ProfileField.maximumLines)",
        "referralDays": "\(ReferralClaims.lifetimeSeconds / 86_400)",
        "formBytes": "\(FormBody.maximumBytes)", "formFields": "\(FormBody.maximumFields)",
        "reasonBytes": "\(LookReason.maximumBytes)",
        "operatorBytes": "\(OperatorName.maximumBytes)",
        "queryBytes": "\(QueryString.maximumBytes)",
    ]
}

/// Text that stands in HTML as it is, in elements and in quoted attributes.
enum EscapedText {
    /// By Unicode scalars: to the template engine, which goes by characters, a quotation mark with a
    /// combining mark behind it is none. Braces too, for what comes of this is read as a template.
    static func escape(_ text: String) -> String {
        var escaped = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            if let entity = entities[scalar] {
                escaped.append(contentsOf: entity.unicodeScalars)
            } else {
                escaped.append(scalar)
            }
        }
        return String(escaped)
    }

    private static let entities: [Unicode.Scalar: String] = [
        "<": "&lt;", ">": "&gt;", "&": "&amp;", "\"": "&quot;", "'": "&#39;", "{": "&#123;",
        "}": "&#125;",
    ]

    /// As a value for a template: the engine puts in what is a template itself without escaping it
    /// again, whatever kind of tag asks for it.
    static func value(_ text: String) -> MustacheTemplate? {
        // The engine drops white space at the start of a template that has nothing else.
        let scalars = text.unicodeScalars
        let space = scalars.first.flatMap { $0.properties.isWhitespace ? "&#\($0.value);" : nil }
        let rest = String(scalars.dropFirst(space == nil ? 0 : 1))
        return try? MustacheTemplate(string: (space ?? "") + escape(rest))
    }
}

// MARK: Refusals in words

extension Message {
    /// How long to wait, in units that are the same in every language.
    static func wait(_ seconds: Int64) -> [String: String] {
        ["wait": seconds < 120 ? "\(seconds) s" : "\((seconds + 59) / 60) min"]
    }

    init(_ refusal: FormRefusal) { self.init("form.\(refusal.rawValue)") }
    init(_ refusal: HostRefusal) { self.init("host.\(refusal.rawValue)") }
    init(_ refusal: PreferenceRefusal) { self.init("preference.\(refusal.rawValue)") }
    init(_ refusal: UsernameRefusal) { self.init("username.\(refusal)") }
    init(_ refusal: PasswordRefusal) {
        switch refusal {
        case .tooShort(let minimum):
            self.init("new_password.tooShort", ["minimum": "\(minimum)"])
        case .guessable(let source): self.init("new_password.\(source)")
        default: self.init("new_password.\(refusal)")
        }
    }
}
