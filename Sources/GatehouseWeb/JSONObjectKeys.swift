// Refuses JSON that two readers could take for two things: repeated names, other encodings.

import Foundation

package enum JSONObjectKeys {
    /// Whether the bytes are UTF-8 without a byte order mark or NUL, and no object in them names a
    /// member twice, however the name is escaped. Foundation's decoder takes UTF-16 and lets one of
    /// two members win; whether the rest is JSON at all is its business.
    package static func areUnique(_ bytes: [UInt8]) -> Bool {
        guard String(validating: bytes, as: UTF8.self) != nil, !bytes.contains(0),
            !bytes.starts(with: [0xEF, 0xBB, 0xBF])
        else { return false }
        var objects: [Set<[UInt8]>] = []
        var index = 0
        while index < bytes.count {
            switch bytes[index] {
            case UInt8(ascii: "{"), UInt8(ascii: "["): objects.append([])
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                guard objects.popLast() != nil else { return false }
            case UInt8(ascii: "\""):
                let start = index
                index += 1
                while index < bytes.count, bytes[index] != UInt8(ascii: "\"") {
                    index += bytes[index] == UInt8(ascii: "\\") ? 2 : 1
                }
                guard index < bytes.count else { return false }
                guard isFollowedByColon(bytes, after: index) else { break }
                let text = Data(bytes[start...index])
                guard let name = try? JSONDecoder().decode(String.self, from: text),
                    let last = objects.indices.last,
                    objects[last].insert(Array(name.utf8)).inserted
                else { return false }
            default: break
            }
            index += 1
        }
        return objects.isEmpty
    }

    private static func isFollowedByColon(_ bytes: [UInt8], after index: Int) -> Bool {
        let next = bytes[(index + 1)...].first { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }
        return next == UInt8(ascii: ":")
    }
}
