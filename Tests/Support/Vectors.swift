// Reads test vectors: text files of `name value` lines, an empty line between cases.

import Glibc

package struct Vector: Sendable, CustomStringConvertible {
    package let fields: [String: String]

    /// The bytes of a field in hex; an empty field has none.
    package func bytes(_ name: String) -> [UInt8] {
        guard let text = fields[name] else { preconditionFailure("the vector has no \(name)") }
        return hexBytes(text)
    }

    package func text(_ name: String) -> String {
        guard let text = fields[name] else { preconditionFailure("the vector has no \(name)") }
        return text
    }

    package var description: String { fields["case"] ?? "\(fields)" }

    /// Where `Tests/Vectors/<name>` is.
    package static func path(of name: String) -> String {
        String("\(#filePath)".dropLast("Support/Vectors.swift".count)) + "Vectors/" + name
    }

    /// Reads `Tests/Vectors/<name>`.
    package static func read(_ name: String) -> [Vector] {
        let path = path(of: name)
        let text = readText(path)
        var vectors: [Vector] = []
        var fields: [String: String] = [:]
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("#") { continue }
            if line.isEmpty {
                if !fields.isEmpty { vectors.append(Vector(fields: fields)) }
                fields = [:]
                continue
            }
            let parts = line.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: true)
            fields[String(parts[0])] = parts.count > 1 ? String(parts[1]) : ""
        }
        if !fields.isEmpty { vectors.append(Vector(fields: fields)) }
        precondition(!vectors.isEmpty, "no vectors in \(path)")
        return vectors
    }
}

package func hexBytes(_ text: String) -> [UInt8] {
    let digits = Array(text.utf8)
    precondition(digits.count % 2 == 0, "odd number of hex digits")
    return stride(from: 0, to: digits.count, by: 2).map { index in
        guard
            let byte = UInt8(String(decoding: digits[index...index + 1], as: UTF8.self), radix: 16)
        else { preconditionFailure("not hex") }
        return byte
    }
}

/// The text of a file of the repository, or the test can't run at all.
package func readText(_ path: String) -> String {
    guard let file = unsafe fopen(path, "r") else { preconditionFailure("cannot read \(path)") }
    defer { unsafe fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = unsafe buffer.withUnsafeMutableBytes {
            unsafe fread($0.baseAddress, 1, $0.count, file)
        }
        guard count > 0 else { break }
        bytes += buffer[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
}
