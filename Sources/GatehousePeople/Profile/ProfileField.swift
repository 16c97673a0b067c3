// One field of a profile, as the operator defines it, and what its value may be.

import Foundation

/// What is asked of people in one place, and what for.
package struct ProfileField: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable {
        /// One line.
        case text
        case email
        /// As it was typed; the digits are counted.
        case phone
        case integer
        /// A day, `2026-11-24`.
        case date
        /// Two letters, of the shape of ISO 3166-1 alpha-2.
        case country
        /// Several lines, such as an address.
        case lines
        /// One of the field's options.
        case choice

        /// What `minimum` and `maximum` limit; nil where they limit nothing.
        var limits: Limits? {
            switch self {
            case .text, .lines: .characters
            case .integer: .value
            case .email, .phone, .date, .country, .choice: nil
            }
        }

        enum Limits { case characters, value }
    }

    /// The longest name, label and hint, in bytes: each stands beside an input.
    package static let maximumNameBytes = 32
    package static let maximumLabelBytes = 128
    package static let maximumHintBytes = 256
    /// More than a list to choose from that people read through; and the longest of them.
    package static let maximumOptions = 64
    package static let maximumOptionBytes = 128
    /// What one thing is used for can be said in fewer; and the longest of them.
    package static let maximumPurposes = 8
    package static let maximumPurposeBytes = 128
    /// An address has six or seven; this is far more.
    package static let maximumLines = 20
    /// E.164 numbers have at most 15 digits. Those that are dialled within a country have at least 4.
    package static let phoneDigits = 4...15
    /// RFC 5321 section 4.5.3.1.
    package static let maximumLocalPartBytes = 64
    package static let maximumEmailBytes = 254
    /// RFC 1035 section 2.3.4.
    package static let maximumDomainLabelBytes = 63

    /// In lower case; what JSON, forms and commands call it.
    package let name: String
    package var label: String
    package var kind: Kind
    package var isRequired = false
    /// Characters of text, or an integer's value.
    package var minimum: Int64?
    package var maximum: Int64?
    /// What it is used for, in words.
    package var purposes: [String] = []
    /// Whether people are found by it.
    package var isSearched = false
    package var hint: String?
    package var options: [String] = []

    package init(_ name: String, label: String, kind: Kind) {
        self.name = name
        self.label = label
        self.kind = kind
    }
}

/// What was given for a field.
package enum ProfileInput: Sendable, Equatable {
    /// Nothing, which removes what is there.
    case none
    /// What should be UTF-8.
    case text([UInt8])
    case number(Int64)
    /// What JSON has besides.
    case other
}

/// Why a value is not taken. Never with the value.
package enum ProfileFault: Error, Sendable, Hashable {
    /// The schema has no such field.
    case unknown
    case required
    /// It is no text, or for an integer neither text nor an integer.
    case kind
    case invalidUTF8
    case controlCharacter
    case tooManyBytes
    case tooManyLines
    case tooShort(Int64)
    case tooLong(Int64)
    case tooSmall(Int64)
    case tooGreat(Int64)
    case email
    case phone
    case integer
    case date
    case country
    case choice
    /// All values together are longer than a profile may be.
    case profileTooLarge
}

extension ProfileField {
    /// The value as it is kept: in NFC, without white space around it; nil when nothing is left of it.
    package func read(_ input: ProfileInput) throws(ProfileFault) -> String? {
        switch input {
        case .none: return nil
        case .other: throw .kind
        case .number(let number):
            guard kind == .integer else { throw .kind }
            return try read(Array("\(number)".utf8))
        case .text(let utf8): return try read(utf8)
        }
    }

    private func read(_ utf8: [UInt8]) throws(ProfileFault) -> String? {
        // Forms send CR LF for a line end. By bytes: to a String the two are one character.
        let bytes = kind == .lines ? Self.withPlainLineEnds(utf8) : utf8
        guard bytes.count <= Profile.maximumValueBytes else { throw .tooManyBytes }
        guard let typed = String(validating: bytes, as: UTF8.self) else { throw .invalidUTF8 }
        guard !typed.unicodeScalars.contains(where: { isForbidden($0) }) else {
            throw .controlCharacter
        }
        let scalars = Array(typed.unicodeScalars)
        let start = scalars.firstIndex { !$0.properties.isWhitespace } ?? scalars.count
        let end = scalars.lastIndex { !$0.properties.isWhitespace }.map { $0 + 1 } ?? start
        var trimmed = String.UnicodeScalarView()
        trimmed.append(contentsOf: scalars[start..<end])
        let value = String(trimmed).precomposedStringWithCanonicalMapping
        guard !value.isEmpty else { return nil }
        guard value.utf8.count <= Profile.maximumValueBytes else { throw .tooManyBytes }
        return try checked(value)
    }

    private static func withPlainLineEnds(_ bytes: [UInt8]) -> [UInt8] {
        bytes.indices.filter { index in
            bytes[index] != 0x0D || index + 1 == bytes.count || bytes[index + 1] != 0x0A
        }.map { bytes[$0] }
    }

    /// Control characters, and those that turn the direction of what stands beside them.
    private func isForbidden(_ scalar: Unicode.Scalar) -> Bool {
        if scalar == "\n" { return kind != .lines }
        switch scalar.properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: return true
        default:
            return (0x202A...0x202E).contains(scalar.value)
                || (0x2066...0x2069).contains(scalar.value)
        }
    }

    private func checked(_ value: String) throws(ProfileFault) -> String {
        switch kind {
        case .text: try checkLength(of: value)
        case .lines:
            guard value.utf8.count(where: { $0 == 0x0A }) < Self.maximumLines else {
                throw .tooManyLines
            }
            try checkLength(of: value)
        case .email: guard Self.isEmail(value) else { throw .email }
        case .phone: guard Self.isPhone(value) else { throw .phone }
        case .integer: return "\(try integer(value))"
        case .date: guard Self.isDate(value) else { throw .date }
        case .country:
            let letters = Array(value.utf8).map { $0 & ~0x20 }
            guard value.utf8.count == 2,
                letters.allSatisfy({ (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) })
            else { throw .country }
            return String(decoding: letters, as: UTF8.self)
        case .choice:
            guard options.contains(where: { $0.utf8.elementsEqual(value.utf8) }) else {
                throw .choice
            }
        }
        return value
    }

    private func checkLength(of value: String) throws(ProfileFault) {
        let count = Int64(value.unicodeScalars.count)
        if let minimum, count < minimum { throw .tooShort(minimum) }
        if let maximum, count > maximum { throw .tooLong(maximum) }
    }

    private func integer(_ value: String) throws(ProfileFault) -> Int64 {
        guard let number = Int64(value), "\(number)".utf8.elementsEqual(value.utf8) else {
            throw .integer
        }
        if let minimum, number < minimum { throw .tooSmall(minimum) }
        if let maximum, number > maximum { throw .tooGreat(maximum) }
        return number
    }

    /// What a browser takes (HTML, "valid e-mail address"), and what is not ASCII (RFC 6531). Whether it
    /// can be reached only a message shows.
    private static func isEmail(_ value: String) -> Bool {
        let bytes = Array(value.utf8)
        let parts = bytes.split(separator: UInt8(ascii: "@"), omittingEmptySubsequences: false)
        guard bytes.count <= maximumEmailBytes, parts.count == 2,
            (1...maximumLocalPartBytes).contains(parts[0].count),
            parts[0].allSatisfy({ isAtom($0) })
        else { return false }
        let labels = parts[1].split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        return labels.allSatisfy { label in
            (1...maximumDomainLabelBytes).contains(label.count)
                && label.first != UInt8(ascii: "-") && label.last != UInt8(ascii: "-")
                && label.allSatisfy { isAlphanumeric($0) || $0 == UInt8(ascii: "-") }
        }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), 0x80...:
            true
        default: false
        }
    }

    private static func isAtom(_ byte: UInt8) -> Bool {
        isAlphanumeric(byte) || ".!#$%&'*+/=?^_`{|}~-".utf8.contains(byte)
    }

    private static func isPhone(_ value: String) -> Bool {
        var digits = 0
        for (index, byte) in value.utf8.enumerated() {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digits += 1
            case UInt8(ascii: "+"): guard index == 0 else { return false }
            case _ where " -./()".utf8.contains(byte): break
            default: return false
            }
        }
        return phoneDigits.contains(digits)
    }

    /// A day of the Gregorian calendar (RFC 3339, full-date).
    private static func isDate(_ value: String) -> Bool {
        guard value.wholeMatch(of: /[0-9]{4}-[0-9]{2}-[0-9]{2}/) != nil else { return false }
        let parts = value.split(separator: "-").compactMap { Int($0) }
        let (year, month, day) = (parts[0], parts[1], parts[2])
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let days = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        return year > 0 && (1...12).contains(month) && (1...days[month - 1]).contains(day)
    }

    /// What a value is found by: the same address, however its domain is written, and the same number,
    /// however it is set.
    package func searchForm(of value: String) -> [UInt8] {
        switch kind {
        case .email:
            let at = value.utf8.lastIndex(of: UInt8(ascii: "@")) ?? value.endIndex
            return Array(value[..<at].utf8) + Array(value[at...].lowercased().utf8)
        case .phone:
            return value.utf8.filter {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: "+")
            }
        case .text, .integer, .date, .country, .lines, .choice: return Array(value.utf8)
        }
    }
}
