// Queries: the fields that a page asks for, and no others.

import GatehouseTestSupport
import GatehouseWeb
import Testing

@Suite struct QueryStringTests {
    private func value(
        _ query: String, _ name: String = "return_to"
    ) throws(FormRefusal) -> [UInt8]? {
        try QueryString(Array(query.utf8).span, names: ["return_to", "invite"]).value(name)
    }

    private func refusal(_ query: String) -> FormRefusal? {
        do throws(FormRefusal) {
            _ = try value(query)
            return nil
        } catch { return error }
    }

    @Test(arguments: [
        ("return_to=/inbox", "/inbox"), ("return_to=%2Finbox%3Fa%3Db", "/inbox?a=b"),
        ("return_to=", ""), ("a=b&return_to=/", "/"), ("return_to=/&a=b", "/"),
        ("return%5Fto=/", "/"), ("return_to=/a?b=c", "/a?b=c"), ("return_to=a+b", "a b"),
        ("return_to=%252F", "%2F"),
    ])
    func `a field that is asked for is decoded once`(_ query: String, _ expected: String) throws {
        #expect(try value(query) == Array(expected.utf8))
    }

    @Test func `several fields are found by name`() throws {
        let query = "invite=abc&return_to=/"
        #expect(try value(query, "invite") == Array("abc".utf8))
        #expect(try value(query, "return_to") == Array("/".utf8))
    }

    @Test(arguments: [
        "", "&", "a=b", "Return_to=/", "return_to%00=/", "xreturn_to=/", "return-to=/", "token=a",
        "%=a", "%ff=a", "=/", "=", "a%",
    ])
    func `without the field there is no value`(_ query: String) throws {
        #expect(try value(query) == nil)
    }

    @Test func `a field that is not asked for is not judged`() throws {
        for other in ["a", "a&a", "a=1&a=2", "a=%", "a=%ff", "%zz=1", "=", "&&", "token=1&token=2"]
        {
            #expect(try value("return_to=/&" + other) == Array("/".utf8))
            #expect(try value(other + "&return_to=/") == Array("/".utf8))
        }
    }

    @Test(arguments: [
        ("return_to=/&return_to=/", FormRefusal.repeatedField),
        ("return_to=/a&x=y&return_to=/b", .repeatedField),
        ("return_to=/&return%5fto=/", .repeatedField), ("invite=a&invite=b", .repeatedField),
        ("return_to=/&return_to", .repeatedField), ("return_to", .noValue),
        ("a=b&return_to", .noValue), ("return_to&a=b", .noValue),
        ("return_to=%", .percentEncoding), ("return_to=%2", .percentEncoding),
        ("return_to=%zz", .percentEncoding), ("invite=%", .percentEncoding),
        ("return_to=%ff", .invalidUTF8), ("return_to=%C0%AF", .invalidUTF8),
        ("return_to=%ED%A0%80", .invalidUTF8),
    ])
    func `a field that is asked for is held to the rules`(_ query: String, _ why: FormRefusal) {
        #expect(refusal(query) == why)
    }

    @Test func `a query has at most 8 KiB`() {
        let query = "return_to=/" + String(repeating: "a", count: 8 * 1024 - 11)
        #expect(refusal(query) == nil)
        #expect(refusal(query + "a") == .queryTooLarge)
        #expect(refusal(String(repeating: "&", count: 8 * 1024)) == nil)
    }

    @Test func `the longest return target has room, all of it encoded`() throws {
        let target = [UInt8](repeating: UInt8(ascii: "/"), count: ReturnTarget.maximumBytes)
        let encoded = String(repeating: "%2F", count: ReturnTarget.maximumBytes)
        #expect(try value("return_to=\(encoded)") == target)
    }
}
