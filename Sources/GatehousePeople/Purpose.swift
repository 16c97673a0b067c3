// Purposes that people choose for or against, as the operator's schema names them.

import Yams

/// What something of people's may be used for, if they choose so.
package struct Purpose: Sendable, Equatable {
    /// What holds before anybody has said anything.
    package enum Initial: String, Sendable {
        case optIn = "opt-in"
        case optOut = "opt-out"
    }

    /// Each is a field of one form, which takes 32.
    package static let maximumCount = 16
    package static let maximumTitleBytes = 100
    /// A few sentences.
    package static let maximumTextBytes = 1000

    package let name: SubjectName
    package let title: String
    package let text: String
    package let initial: Initial
    /// Rises when the text means something else: what was agreed to before no longer counts.
    package let version: Int

    package init(
        name: SubjectName, title: String, text: String, initial: Initial, version: Int
    ) {
        self.name = name
        self.title = title
        self.text = text
        self.initial = initial
        self.version = version
    }

    // MARK: Reading the schema

    /// Reads the part `purposes` of a schema, in the order of the file.
    ///
    /// - Parameters:
    ///   - file: what findings call it.
    ///   - findings: gets everything that is wrong.
    static func list(
        _ node: Yams.Node, file: String, _ findings: inout [String]
    ) -> [Purpose] {
        guard let mapping = node.mapping else {
            findings.append("\(place(node, file)): purposes is no mapping of names")
            return []
        }
        if mapping.count > maximumCount {
            findings.append("\(place(node, file)): there are at most \(maximumCount) purposes")
        }
        return mapping.compactMap { key, value in
            guard let name = key.string.flatMap({ SubjectName($0) }) else {
                findings.append(
                    "\(place(key, file)): a purpose's name is 1 to \(SubjectName.maximumBytes) "
                        + "lower-case letters, digits, - and _, a letter first")
                return nil
            }
            return Purpose(name, value, file: file, &findings)
        }
    }

    private static func place(_ node: Yams.Node, _ file: String) -> String {
        node.mark.map { "\(file):\($0.line)" } ?? file
    }

    private init?(
        _ name: SubjectName, _ node: Yams.Node, file: String, _ findings: inout [String]
    ) {
        let label = "purposes.\(name.text)"
        guard let mapping = node.mapping else {
            findings.append(
                "\(Self.place(node, file)): \(label) is no mapping of title, text, default, version"
            )
            return nil
        }
        let count = findings.count
        var values: [String: String] = [:]
        for (key, value) in mapping {
            guard let key = key.string, ["title", "text", "default", "version"].contains(key) else {
                findings.append(
                    "\(Self.place(key, file)): \(label) has no \(key.string ?? "such key")")
                continue
            }
            guard let text = value.string else {
                findings.append("\(Self.place(value, file)): \(label).\(key) is no text")
                continue
            }
            values[key] = text
        }
        let place = Self.place(node, file)
        func text(_ key: String, maximumBytes: Int) -> String {
            let text = values[key] ?? ""
            if !(1...maximumBytes).contains(text.utf8.count)
                || text.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }
                )
            {
                findings.append(
                    "\(place): \(label).\(key) must be 1 to \(maximumBytes) bytes on one line")
            }
            return text
        }
        let title = text("title", maximumBytes: Self.maximumTitleBytes)
        let meaning = text("text", maximumBytes: Self.maximumTextBytes)
        let initial = values["default"].flatMap { Initial(rawValue: $0) }
        if initial == nil {
            findings.append("\(place): \(label).default must be opt-in or opt-out")
        }
        let version = SubjectVersion.read(values["version"] ?? "1")
        if version == nil {
            findings.append(
                "\(place): \(label).version must be a whole number from "
                    + "\(SubjectVersion.range.lowerBound) to \(SubjectVersion.range.upperBound)")
        }
        guard findings.count == count, let initial, let version else { return nil }
        self.init(name: name, title: title, text: meaning, initial: initial, version: version)
    }
}
