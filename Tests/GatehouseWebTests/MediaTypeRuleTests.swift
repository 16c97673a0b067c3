// Content types: two are taken, each by its own routes, and nothing that looks like them.

import GatehouseWeb
import Testing

@Suite struct MediaTypeRuleTests {
    private func outcome(_ values: String..., expecting kind: BodyKind) -> MediaTypeOutcome {
        MediaTypeRule(kind).judge(values.map { Array($0.utf8) })
    }

    @Test(arguments: BodyKind.allCases)
    func `the expected type is taken, with UTF-8 or without`(_ kind: BodyKind) {
        let type = kind.rawValue
        for value in [
            type, type.uppercased(), "\(type);charset=utf-8", "\(type); charset=utf-8",
            "\(type); charset=UTF-8", "\(type); Charset=Utf-8", "\(type);charset=\"utf-8\"",
            "\(type) ;\t charset=\"UTF-8\"",
        ] {
            #expect(outcome(value, expecting: kind) == .accepted, "\(value)")
        }
    }

    @Test func `a form is not taken for JSON, nor JSON for a form`() {
        #expect(outcome("application/json", expecting: .form) == .refused(.other))
        #expect(
            outcome("application/x-www-form-urlencoded", expecting: .json) == .refused(.other))
    }

    @Test(
        arguments: [
            "", " ", ";", "; charset=utf-8", "text/plain", "text/plain; application/json",
            "text/plain;charset=utf-8", "multipart/form-data", "multipart/form-data; boundary=a",
            "text/json", "application/jsonp", "application/json5", "application/problem+json",
            "application/x-json", "application/*", "*/*", "json", "application", "application/",
            "application/json,text/plain", "application/json,", "\"application/json\"",
            "application /json", " application/json", "application/json\0",
            "application/json\u{A0}",
            "application/ｊson", "application/x-www-form-urlencoded,application/json",
            "application/x-www-form-urlencodedx", "application/x-www-form-urlencode",
        ], BodyKind.allCases)
    func `any other type is refused`(_ value: String, _ kind: BodyKind) {
        #expect(outcome(value, expecting: kind) == .refused(.other))
    }

    @Test(
        arguments: [
            " ", "\t", ";", "; ", "; charset", "; charset=", "; charset=utf8", "; charset=utf-16",
            "; charset=utf-7", "; charset=iso-8859-1", "; charset = utf-8", "; charset= utf-8",
            "; charset='utf-8'", "; charset=\"utf-8", "; charset=utf-8\"", "; charset=\"utf-8\\\"",
            "; charset=utf-8 ", "; charset=utf-8;", "; charset=utf-8; charset=utf-8",
            "; charset=utf-8; charset=utf-7", "; charset=utf-8, text/plain", ";; charset=utf-8",
            "; boundary=a", "; charset=utf-8; a=b", "; a=b; charset=utf-8", " charset=utf-8",
            " ,charset=utf-8", "; charset=utf-8\0", "; charset=utf-8\r\n",
        ], BodyKind.allCases)
    func `any other parameter is refused`(_ parameters: String, _ kind: BodyKind) {
        #expect(outcome(kind.rawValue + parameters, expecting: kind) == .refused(.parameters))
    }

    @Test(arguments: BodyKind.allCases)
    func `there is one type`(_ kind: BodyKind) {
        #expect(MediaTypeRule(kind).judge([]) == .refused(.missing))
        #expect(outcome(kind.rawValue, kind.rawValue, expecting: kind) == .refused(.repeated))
        #expect(outcome(kind.rawValue, "text/plain", expecting: kind) == .refused(.repeated))
        #expect(outcome("text/plain", kind.rawValue, expecting: kind) == .refused(.repeated))
    }
}
