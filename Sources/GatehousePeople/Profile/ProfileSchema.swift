// The fields of all profiles, in the operator's order, as the schema file's part `profile` defines them.

import Yams

/// Nothing but these fields is kept.
package struct ProfileSchema: Sendable, Equatable {
    /// More than anybody should be asked; a form of twice as many fields is refused.
    package static let maximumFields = 32

    package let fields: [ProfileField]

    package init(_ fields: [ProfileField] = []) { self.fields = fields }

    package func field(_ name: String) -> ProfileField? {
        fields.first { $0.name.utf8.elementsEqual(name.utf8) }
    }

    package var required: [ProfileField] { fields.filter(\.isRequired) }
}

extension ProfileSchema {
    /// Reads the part; what is wrong goes to `findings`, with its line.
    init(_ node: Node, name: String, _ findings: inout [String]) {
        var reading = ProfileSchemaReading(name: name)
        self.init(reading.fields(node))
        findings += reading.findings
    }
}

private struct ProfileSchemaReading {
    let name: String
    var findings: [String] = []

    mutating func find(_ what: String, at node: Node) {
        findings.append("\(name)\(node.mark.map { ":\($0.line)" } ?? ""): \(what)")
    }

    mutating func fields(_ node: Node) -> [ProfileField] {
        guard let mapping = node.mapping else {
            find("profile takes fields by their names", at: node)
            return []
        }
        if mapping.count > ProfileSchema.maximumFields {
            find("profile has more than \(ProfileSchema.maximumFields) fields", at: node)
        }
        return mapping.compactMap { field($0.key, $0.value) }
    }

    private mutating func field(_ key: Node, _ node: Node) -> ProfileField? {
        let pattern = /[a-z][a-z0-9_]*/
        guard let name = key.string, name.wholeMatch(of: pattern) != nil,
            name.utf8.count <= ProfileField.maximumNameBytes
        else {
            find(
                "a field's name is a lower-case letter and letters, digits and underscores, "
                    + "\(ProfileField.maximumNameBytes) at most", at: key)
            return nil
        }
        guard let mapping = node.mapping else {
            find("\(name) takes label, type and more by their names", at: node)
            return nil
        }
        var field = ProfileField(name, label: "", kind: .text)
        var keys: Set<String> = []
        for (key, value) in mapping {
            keys.insert(key.string ?? "")
            read(key, value, of: &field)
        }
        for missing in ["label", "type", "purposes"] where !keys.contains(missing) {
            find("\(name) has no \(missing)", at: key)
        }
        check(field, keys, at: key)
        return field
    }

    private mutating func read(_ key: Node, _ value: Node, of field: inout ProfileField) {
        let name = field.name
        switch key.string {
        case "label":
            field.label = text(value, "\(name).label", ProfileField.maximumLabelBytes) ?? ""
        case "hint": field.hint = text(value, "\(name).hint", ProfileField.maximumHintBytes)
        case "type":
            guard let kind = value.string.flatMap({ ProfileField.Kind(rawValue: $0) }) else {
                let kinds = ProfileField.Kind.allCases.map(\.rawValue).joined(separator: ", ")
                return find("\(name).type is one of \(kinds)", at: value)
            }
            field.kind = kind
        case "required": field.isRequired = flag(value, "\(name).required")
        case "search": field.isSearched = flag(value, "\(name).search")
        case "minimum": field.minimum = number(value, "\(name).minimum")
        case "maximum": field.maximum = number(value, "\(name).maximum")
        case "purposes":
            field.purposes = texts(
                value, "\(name).purposes", ProfileField.maximumPurposes,
                ProfileField.maximumPurposeBytes)
        case "options":
            field.options = texts(
                value, "\(name).options", ProfileField.maximumOptions,
                ProfileField.maximumOptionBytes)
        default: find("\(name) has no \(key.string ?? "such key")", at: key)
        }
    }

    /// What the parts of a field say together.
    private mutating func check(_ field: ProfileField, _ keys: Set<String>, at key: Node) {
        let name = field.name
        switch field.kind.limits {
        case nil:
            for limit in ["minimum", "maximum"] where keys.contains(limit) {
                find("\(name): \(field.kind.rawValue) takes no \(limit)", at: key)
            }
        case .characters:
            let limits = 1...Int64(Profile.maximumValueBytes)
            for limit in [field.minimum, field.maximum].compactMap(\.self)
            where !limits.contains(limit) {
                find("\(name): a text has 1 to \(limits.upperBound) characters", at: key)
            }
        case .value: break
        }
        if let minimum = field.minimum, let maximum = field.maximum, minimum > maximum {
            find("\(name).minimum is greater than its maximum", at: key)
        }
        if keys.contains("options") != (field.kind == .choice) {
            find(
                field.kind == .choice
                    ? "\(name): choice needs options"
                    : "\(name): \(field.kind.rawValue) takes no options", at: key)
        }
    }

    private mutating func text(_ node: Node, _ place: String, _ maximumBytes: Int) -> String? {
        guard let text = node.string, (1...maximumBytes).contains(text.utf8.count),
            !text.unicodeScalars.contains(where: { $0.properties.generalCategory == .control })
        else {
            find("\(place) is 1 to \(maximumBytes) bytes of text on one line", at: node)
            return nil
        }
        // As values are, so that what is chosen is found.
        return text.precomposed
    }

    private mutating func texts(
        _ node: Node, _ place: String, _ maximum: Int, _ maximumBytes: Int
    ) -> [String] {
        guard let sequence = node.sequence, (1...maximum).contains(sequence.count) else {
            find("\(place) is a list of 1 to \(maximum)", at: node)
            return []
        }
        let texts = sequence.compactMap { text($0, place, maximumBytes) }
        if Set(texts).count != texts.count { find("\(place) has one twice", at: node) }
        return texts
    }

    private mutating func flag(_ node: Node, _ place: String) -> Bool {
        if let flag = node.bool { return flag }
        find("\(place) is true or false", at: node)
        return false
    }

    private mutating func number(_ node: Node, _ place: String) -> Int64? {
        if let number = node.int { return Int64(number) }
        find("\(place) is a whole number", at: node)
        return nil
    }
}
