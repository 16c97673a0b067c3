// The one importer of CICU: mappings of UTF-8 text and facts about code points (ICU's Unicode data).

import CICU

/// Unicode as usernames and passwords need it, on bytes.
enum UnicodeText {
    /// The longest text a mapping takes or gives, in bytes: the longest text we map is a password.
    static let maximumBytes = Int(GATEHOUSE_ICU_MAXIMUM_BYTES)

    enum Mapping {
        /// Wide and narrow code points become what they are forms of (RFC 8264 section 5.2.1).
        case width
        /// Full lower-casing, of no language in particular (RFC 8264 section 5.2.3).
        case lowerCase
        /// Normalisation form C (UAX 15).
        case nfc
        /// The order in which text is shown (UAX 9), in a line from left to right.
        case displayOrder
        /// What every character looks like: internalSkeleton (UTS 39 section 4).
        case prototypes
    }

    enum Failure: Error {
        case invalidUTF8
        /// The input is longer than `maximumBytes`, or the result longer than the room for it.
        case tooLong
    }

    /// Maps `input` and writes the result to the start of `output`. What ICU worked on has been wiped
    /// afterwards; so has `output`, when the mapping fails.
    ///
    /// - Returns: how many bytes were written.
    static func map(
        _ mapping: Mapping, _ input: Span<UInt8>, into output: inout MutableSpan<UInt8>
    ) throws(Failure) -> Int {
        var written = 0
        let status = unsafe input.withUnsafeBufferPointer { source in
            unsafe output.withUnsafeMutableBufferPointer { target in
                // SAFETY: both buffers are as large as their counts say, for the length of the call,
                // and do not overlap, since `output` is held exclusively.
                unsafe gatehouse_icu_map(
                    mapping.code, source.baseAddress, source.count, target.baseAddress,
                    target.count, &written)
            }
        }
        switch status {
        case GATEHOUSE_ICU_OK: return written
        case GATEHOUSE_ICU_INVALID_UTF8: throw .invalidUTF8
        case GATEHOUSE_ICU_TOO_LONG: throw .tooLong
        // No input brings this about; Swift itself stops when memory is exhausted.
        default: preconditionFailure("ICU does not work here")
        }
    }

    /// `map` for text that is no secret.
    static func mapped(_ mapping: Mapping, _ input: [UInt8]) throws(Failure) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: maximumBytes)
        var span = output.mutableSpan
        let count = try map(mapping, input.span, into: &span)
        // A copy, that takes no more room than it needs.
        return Array(output[..<count])
    }

    /// What UTS 39 finds wrong with `identifier`, which is valid UTF-8 of at most `maximumBytes`.
    static func faults(of identifier: [UInt8]) -> IdentifierFaults {
        var faults: UInt32 = 0
        let status = unsafe identifier.withUnsafeBufferPointer { text in
            // SAFETY: the buffer is as large as its count says, for the length of the call.
            unsafe gatehouse_icu_inspect_identifier(text.baseAddress, text.count, &faults)
        }
        precondition(
            status == GATEHOUSE_ICU_OK, "ICU does not work here, or was given no identifier")
        return IdentifierFaults(rawValue: faults)
    }

    /// The versions of ICU and of its Unicode data.
    static var version: String {
        func text(_ version: UInt32) -> String { "\(version >> 8).\(version & 0xFF)" }
        return "ICU \(text(gatehouse_icu_version())), "
            + "Unicode \(text(gatehouse_icu_unicode_version()))"
    }
}

/// What makes an identifier easy to mistake for another, or not one that people write.
struct IdentifierFaults: OptionSet {
    let rawValue: UInt32

    /// Its Identifier_Status is not Allowed (UTS 39 section 3.1).
    static let restrictedCharacter = Self(rawValue: GATEHOUSE_ICU_RESTRICTED_CHARACTER)
    /// Neither of one script nor Highly Restrictive (UTS 39 section 5.2).
    static let mixedScripts = Self(rawValue: GATEHOUSE_ICU_MIXED_SCRIPTS)
    /// Digits of several decimal systems (UTS 39 section 5.3).
    static let mixedDigits = Self(rawValue: GATEHOUSE_ICU_MIXED_DIGITS)
    /// Repeated, or over a letter that has it already (UTS 39 section 5.4).
    static let hiddenMark = Self(rawValue: GATEHOUSE_ICU_HIDDEN_MARK)
}

/// What a code point is, as far as names and passwords care.
struct CodePointProperties: OptionSet {
    let rawValue: UInt32

    init(rawValue: UInt32) { self.rawValue = rawValue }

    init(of scalar: Unicode.Scalar) {
        rawValue = gatehouse_icu_properties(scalar.value)
    }

    /// A character or private use: neither unassigned nor a noncharacter.
    static let assigned = Self(rawValue: GATEHOUSE_ICU_ASSIGNED)
    /// General category Ll, Lo or Lm.
    static let letter = Self(rawValue: GATEHOUSE_ICU_LETTER)
    /// General category Mn or Mc.
    static let mark = Self(rawValue: GATEHOUSE_ICU_MARK)
    /// General category Nd.
    static let digit = Self(rawValue: GATEHOUSE_ICU_DIGIT)
    static let space = Self(rawValue: GATEHOUSE_ICU_SPACE)
    /// General category Cc.
    static let control = Self(rawValue: GATEHOUSE_ICU_CONTROL)
    /// General category Cf, or default-ignorable: joiners, direction marks, fillers.
    static let invisible = Self(rawValue: GATEHOUSE_ICU_INVISIBLE)
    /// NFKC changes it (RFC 8264 section 9.17).
    static let compatibility = Self(rawValue: GATEHOUSE_ICU_COMPATIBILITY)
    /// Bidi_Class R or AL.
    static let rightToLeft = Self(rawValue: GATEHOUSE_ICU_RIGHT_TO_LEFT)
    /// Bidi_Class L.
    static let leftToRight = Self(rawValue: GATEHOUSE_ICU_LEFT_TO_RIGHT)
    /// Bidi_Class EN.
    static let europeanNumber = Self(rawValue: GATEHOUSE_ICU_EUROPEAN_NUMBER)
    /// Bidi_Class AN.
    static let arabicNumber = Self(rawValue: GATEHOUSE_ICU_ARABIC_NUMBER)
    /// Bidi_Class NSM.
    static let nonspacing = Self(rawValue: GATEHOUSE_ICU_NONSPACING)
    /// Bidi_Class ES, CS, ET, ON or BN.
    static let neutral = Self(rawValue: GATEHOUSE_ICU_NEUTRAL)
    /// A letter that makes a Hangul syllable only with others (RFC 8264 section 9.9).
    static let conjoiningJamo = Self(rawValue: GATEHOUSE_ICU_CONJOINING_JAMO)
}

extension UnicodeText.Mapping {
    fileprivate var code: gatehouse_icu_mapping {
        switch self {
        case .width: GATEHOUSE_ICU_WIDTH
        case .lowerCase: GATEHOUSE_ICU_LOWER_CASE
        case .nfc: GATEHOUSE_ICU_NFC
        case .displayOrder: GATEHOUSE_ICU_DISPLAY_ORDER
        case .prototypes: GATEHOUSE_ICU_PROTOTYPES
        }
    }
}
