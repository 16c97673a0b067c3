// What an operator asks of people, and for what: one YAML file of purposes and profile fields.

import Yams

/// Everything that is wrong with the file, each with its place.
package struct PeopleSchemaFaults: Error, Equatable {
    package let findings: [String]
    package init(findings: [String]) { self.findings = findings }
}

/// Purposes that people choose for or against, and the fields of their profiles. Nothing else is kept.
package struct PeopleSchema: Sendable {
    /// Many times what a schema with every field that makes sense has.
    package static let maximumBytes = 64 * 1024

    /// What people choose for or against, in the order of the file.
    package private(set) var purposes: [Purpose] = []
    package var profile = ProfileSchema()

    /// Without a file: nothing is asked of anybody.
    package init() {}

    /// Reads the file's text.
    package init(yaml text: String, name: String) throws(PeopleSchemaFaults) {
        let root: Node?
        do { root = try compose(yaml: text) } catch {
            throw PeopleSchemaFaults(findings: ["\(name) is no YAML: \(error)"])
        }
        self.init()
        guard let root else { return }
        guard let mapping = root.mapping else {
            throw PeopleSchemaFaults(findings: ["\(name) is no mapping of `purposes` and `profile`"]
            )
        }
        var findings: [String] = []
        for (key, value) in mapping {
            switch key.string {
            case "purposes": purposes = Purpose.list(value, file: name, &findings)
            case "profile": profile = ProfileSchema(value, name: name, &findings)
            default: findings.append("\(name): there is no \(key.string ?? "such key")")
            }
        }
        guard findings.isEmpty else { throw PeopleSchemaFaults(findings: findings) }
    }
}
