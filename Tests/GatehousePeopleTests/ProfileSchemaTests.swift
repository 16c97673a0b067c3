// The part `profile` of the schema: what is taken, and every fault at once with its line.

import Testing

@testable import GatehousePeople

struct ProfileSchemaTests {
    private func schema(_ profile: String) throws -> ProfileSchema {
        try PeopleSchema(yaml: "profile:\n" + profile, name: "people.yaml").profile
    }

    private func findings(_ profile: String) -> [String] {
        do { _ = try schema(profile) } catch {
            return (error as? PeopleSchemaFaults)?.findings ?? ["\(error)"]
        }
        return []
    }

    @Test func `fields keep their order, and everything that was said of them`() throws {
        let schema = try schema(
            """
              name: {label: Your name, type: text, required: true, maximum: 80, minimum: 2,
                     purposes: [letters, invoices], search: true, hint: As on letters}
              address: {label: Address, type: lines, purposes: [invoices]}
              size: {label: Size, type: choice, options: [small, large], purposes: [offers]}
              people: {label: People, type: integer, minimum: 1, maximum: 9, purposes: [offers]}
            """)
        #expect(schema.fields.map(\.name) == ["name", "address", "size", "people"])
        var name = ProfileField("name", label: "Your name", kind: .text)
        (name.isRequired, name.minimum, name.maximum) = (true, 2, 80)
        (name.purposes, name.isSearched) = (["letters", "invoices"], true)
        name.hint = "As on letters"
        #expect(schema.fields[0] == name)
        #expect(schema.fields[2].options == ["small", "large"])
        #expect(schema.required.map(\.name) == ["name"])
        #expect(schema.field("nobody") == nil)
    }

    // Promise: profile-minimal
    @Test func `nothing is asked without a purpose`() {
        #expect(
            findings("  name: {label: Name, type: text}")
                == ["people.yaml:2: name has no purposes"])
        #expect(findings("  name: {label: Name, type: text, purposes: [letters]}") == [])
    }

    @Test func `all faults are told at once, each with its line`() {
        let found = findings(
            """
              Name: {label: Name, type: text, purposes: [x]}
              email: {label: E-mail, type: mail, purposes: [x], colour: red}
              phone: {type: phone, purposes: [], maximum: 3}
              size: {label: Size, type: choice, purposes: [x]}
              note: {label: Note, type: text, options: [a], required: perhaps, purposes: [x]}
              age: {label: Age, type: integer, minimum: 9, maximum: 8, purposes: [x, x]}
              street: text
            """)
        #expect(
            found == [
                "people.yaml:2: a field's name is a lower-case letter and letters, digits and "
                    + "underscores, 32 at most",
                "people.yaml:3: email.type is one of text, email, phone, integer, date, country, "
                    + "lines, choice",
                "people.yaml:3: email has no colour",
                "people.yaml:4: phone.purposes is a list of 1 to 8",
                "people.yaml:4: phone has no label",
                "people.yaml:4: phone: phone takes no maximum",
                "people.yaml:5: size: choice needs options",
                "people.yaml:6: note.required is true or false",
                "people.yaml:6: note: text takes no options",
                "people.yaml:7: age.purposes has one twice",
                "people.yaml:7: age.minimum is greater than its maximum",
                "people.yaml:8: street takes label, type and more by their names",
            ])
    }

    private func fields(_ count: Int) -> String {
        (0..<count).map { "  f\($0): {label: F, type: text, purposes: [x]}" }
            .joined(separator: "\n")
    }

    @Test func `a profile has at most so many fields`() {
        #expect(findings(fields(ProfileSchema.maximumFields)) == [])
        #expect(
            findings(fields(ProfileSchema.maximumFields + 1))
                == ["people.yaml:2: profile has more than 32 fields"])
    }

    @Test(arguments: [
        ("name", ProfileField.maximumNameBytes), ("label", ProfileField.maximumLabelBytes),
        ("hint", ProfileField.maximumHintBytes), ("purpose", ProfileField.maximumPurposeBytes),
        ("option", ProfileField.maximumOptionBytes),
    ])
    func `texts of the schema have limits`(_ what: String, _ limit: Int) {
        func yaml(_ count: Int) -> String {
            let long = String(repeating: "a", count: count)
            func text(_ which: String) -> String { which == what ? long : "x" }
            return "  \(text("name")): {label: \(text("label")), type: choice, "
                + "hint: \(text("hint")), options: [\(text("option"))], "
                + "purposes: [\(text("purpose"))]}"
        }
        #expect(findings(yaml(limit)) == [])
        #expect(findings(yaml(limit + 1)).count == 1)
    }

    @Test func `lists of the schema have limits`() {
        func yaml(_ options: Int, _ purposes: Int) -> String {
            func list(_ count: Int) -> String {
                (0..<count).map { "x\($0)" }.joined(separator: ", ")
            }
            return "  a: {label: A, type: choice, options: [\(list(options))], "
                + "purposes: [\(list(purposes))]}"
        }
        let (options, purposes) = (ProfileField.maximumOptions, ProfileField.maximumPurposes)
        #expect(findings(yaml(options, purposes)) == [])
        #expect(findings(yaml(options + 1, purposes)).count == 1)
        #expect(findings(yaml(options, purposes + 1)).count == 1)
    }

    @Test func `text limits are characters that a value can have`() {
        func yaml(_ maximum: Int) -> String {
            "  a: {label: A, type: text, maximum: \(maximum), purposes: [x]}"
        }
        #expect(findings(yaml(1)) == [] && findings(yaml(Profile.maximumValueBytes)) == [])
        for wrong in [0, -1, Profile.maximumValueBytes + 1] {
            #expect(
                findings(yaml(wrong)) == ["people.yaml:2: a: a text has 1 to 1024 characters"])
        }
    }
}
