// The file of purposes and profile fields: what is taken, and what is said of the rest.

import Testing

@testable import GatehousePeople

struct PeopleSchemaTests {
    @Test func `an unknown part of the file is named`() {
        #expect(throws: PeopleSchemaFaults(findings: ["people.yaml: there is no hobbies"])) {
            try PeopleSchema(yaml: "hobbies: {}", name: "people.yaml")
        }
    }

    @Test func `an empty file asks nothing of anybody`() throws {
        _ = try PeopleSchema(yaml: "", name: "people.yaml")
    }
}
