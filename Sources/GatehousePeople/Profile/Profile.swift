// What somebody says of themselves: values by field, and the bytes that are sealed.

import Foundation

/// The values of one person, each as ``ProfileField/read(_:)`` left it.
package struct Profile: Sendable, Equatable {
    /// An address of many lines has a few hundred.
    package static let maximumValueBytes = 1024
    /// Names and values together: as much as 32 fields that are half full.
    package static let maximumBytes = 16 * 1024

    /// By the fields' names.
    package var values: [String: String]

    package init(_ values: [String: String] = [:]) { self.values = values }

    package var byteCount: Int {
        values.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }
    }

    /// Without fields that the schema has no more.
    package func kept(by schema: ProfileSchema) -> Profile {
        Profile(values.filter { schema.field($0.key) != nil })
    }

    /// Required fields that have no value.
    package func missing(in schema: ProfileSchema) -> [ProfileField] {
        schema.required.filter { values[$0.name] == nil }
    }
}

/// What is wrong with one field.
package struct ProfileFieldFault: Error, Sendable, Equatable {
    /// As it was given; the schema may have none of that name.
    package let field: String
    package let fault: ProfileFault

    package init(_ field: String, _ fault: ProfileFault) {
        self.field = field
        self.fault = fault
    }
}

/// Everything that is wrong with what was given.
package struct ProfileFaults: Error, Equatable {
    package let faults: [ProfileFieldFault]
    package init(_ faults: [ProfileFieldFault]) { self.faults = faults }
}

extension Profile {
    /// The profile with what was given in the place of what is there; fields that were not given stay, and
    /// those that the schema has no more go.
    package func changed(
        by inputs: [String: ProfileInput], in schema: ProfileSchema
    ) throws(ProfileFaults) -> Profile {
        var profile = kept(by: schema)
        var faults: [ProfileFieldFault] = []
        for name in inputs.keys.sorted() where schema.field(name) == nil {
            faults.append(ProfileFieldFault(name, .unknown))
        }
        for field in schema.fields {
            do throws(ProfileFault) {
                if let input = inputs[field.name] {
                    profile.values[field.name] = try field.read(input)
                }
                if field.isRequired, profile.values[field.name] == nil { throw .required }
            } catch { faults.append(ProfileFieldFault(field.name, error)) }
        }
        if faults.isEmpty, profile.byteCount > Self.maximumBytes {
            faults = inputs.keys.sorted().map { ProfileFieldFault($0, .profileTooLarge) }
        }
        guard faults.isEmpty else { throw ProfileFaults(faults) }
        return profile
    }
}

// MARK: What is sealed

/// ```
/// offset  size  field
/// 0       1     version, 0x01
/// 1       1     number of values
///               each, in the order of names: name, value
/// ```
/// A text is two bytes of length, big endian, and UTF-8; 0xFFFF is none. Then zeros (``SealedTexts``).
extension Profile {
    private static let version: UInt8 = 1

    func encoded() -> [UInt8] {
        var texts = SealedTexts([Self.version, UInt8(clamping: values.count)])
        for (name, value) in values.sorted(by: { $0.key < $1.key }) {
            texts.add(name)
            texts.add(value)
        }
        return texts.padded
    }

    /// Nil when it is none, or of a newer release.
    init?(encoded bytes: [UInt8]) {
        guard bytes.count >= 2, bytes[0] == Self.version else { return nil }
        var reading = SealedTextsReading(bytes, from: 2)
        var values: [String: String] = [:]
        for _ in 0..<bytes[1] {
            guard case .some(.some(let name)) = reading.next(),
                case .some(.some(let value)) = reading.next(), values[name] == nil
            else { return nil }
            values[name] = value
        }
        guard reading.isAtEnd else { return nil }
        self.init(values)
    }
}

/// Who changed a profile.
package enum ProfileWriter: Sendable, Hashable {
    /// The person.
    case owner
    /// Somebody who acted for them, by the name that the audit trail knows.
    case actor(String)
}

/// One field that was changed.
package struct ProfileChange: Sendable, Equatable {
    package let field: String
    /// Nil where there was, or is, none.
    package let old: String?
    package let new: String?
    package let writer: ProfileWriter

    package init(field: String, old: String?, new: String?, writer: ProfileWriter) {
        self.field = field
        self.old = old
        self.new = new
        self.writer = writer
    }
}

/// ```
/// offset  size  field
/// 0       1     version, 0x01
///               field, old value, new value, actor's name: texts as above; none for the owner
/// ```
extension ProfileChange {
    private static let version: UInt8 = 1

    func encoded() -> [UInt8] {
        var texts = SealedTexts([Self.version])
        texts.add(field)
        texts.add(old)
        texts.add(new)
        if case .actor(let name) = writer { texts.add(name) } else { texts.add(nil) }
        return texts.padded
    }

    init?(encoded bytes: [UInt8]) {
        guard bytes.first == Self.version else { return nil }
        var reading = SealedTextsReading(bytes, from: 1)
        guard case .some(.some(let field)) = reading.next(), let old = reading.next(),
            let new = reading.next(), let actor = reading.next(), reading.isAtEnd
        else { return nil }
        self.init(field: field, old: old, new: new, writer: actor.map { .actor($0) } ?? .owner)
    }
}

/// Texts one after the other, padded.
struct SealedTexts {
    /// What is sealed is a multiple of this, in bytes. A cipher hides what a profile says and not how long
    /// it is; without padding, a copy of the database would tell who gave an address, and which of two
    /// known people a row is about. In steps of 256 most profiles are of one length.
    static let paddingBytes = 256
    static let noText: UInt16 = .max

    private var bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// Longer ones than are ever kept are cut off.
    mutating func add(_ text: String?) {
        guard let text else {
            bytes += Self.noText.bigEndianTwo
            return
        }
        let utf8 = text.utf8.prefix(Int(Self.noText) - 1)
        bytes += UInt16(utf8.count).bigEndianTwo + utf8
    }

    var padded: [UInt8] {
        let rest = bytes.count % Self.paddingBytes
        return bytes + [UInt8](repeating: 0, count: rest == 0 ? 0 : Self.paddingBytes - rest)
    }
}

struct SealedTextsReading {
    private let bytes: [UInt8]
    private var offset: Int

    init(_ bytes: [UInt8], from offset: Int) {
        self.bytes = bytes
        self.offset = offset
    }

    /// Nil when there is no text; nil within, where it says that there is none.
    mutating func next() -> String?? {
        guard offset + 2 <= bytes.count else { return nil }
        let count = UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1])
        offset += 2
        guard count != SealedTexts.noText else { return .some(nil) }
        guard offset + Int(count) <= bytes.count else { return nil }
        defer { offset += Int(count) }
        return String(validating: bytes[offset..<(offset + Int(count))], as: UTF8.self)
            .map { .some($0) }
    }

    var isAtEnd: Bool { bytes[offset...].allSatisfy { $0 == 0 } }
}

extension UInt16 {
    fileprivate var bigEndianTwo: [UInt8] { [UInt8(self >> 8), UInt8(truncatingIfNeeded: self)] }
}

extension String {
    /// In NFC.
    var precomposed: String { precomposedStringWithCanonicalMapping }
}
