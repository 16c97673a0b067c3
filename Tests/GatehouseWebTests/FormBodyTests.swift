// Forms: strict decoding, limits, and values that leave nothing behind
// (REQUIREMENTS section 10, items 32, 34 and 40).

import CAllocationCount
import GatehouseCore
import GatehouseTestSupport
import GatehouseWeb
import Testing

@Suite struct FormBodyTests {
    /// A form's values under `names`, or why there is no form.
    private func read(
        _ body: [UInt8], _ names: String...
    ) -> Result<[[UInt8]?], FormRefusal> {
        do throws(FormRefusal) {
            let form = try FormBody(body.span)
            return .success(names.map { form.value($0) })
        } catch { return .failure(error) }
    }

    private func read(_ body: String, _ names: String...) -> Result<[[UInt8]?], FormRefusal> {
        do throws(FormRefusal) {
            let form = try FormBody(Array(body.utf8).span)
            return .success(names.map { form.value($0) })
        } catch { return .failure(error) }
    }

    private func refusal(_ body: String) -> FormRefusal? {
        if case .failure(let refusal) = read(body) { refusal } else { nil }
    }

    @Test func `fields are found by name`() throws {
        let form = try FormBody(Array("username=ada&password=a+b&remember=on&x=".utf8).span)
        #expect(form.count == 4)
        #expect(form.value("username") == Array("ada".utf8))
        #expect(form.value("password") == Array("a b".utf8))
        #expect(form.value("remember") == Array("on".utf8))
        #expect(form.value("x") == [])
        for name in ["", "user", "Username", "username ", "usernamé", "return_to"] {
            #expect(form.value(name) == nil)
        }
    }

    @Test func `names are found by what they begin with`() throws {
        let form = try FormBody(Array("p.a=1&q=2&p.%C3%A9=3&P.b=4&p=5&p.=6".utf8).span)
        #expect(form.names(withPrefix: "p.") == ["p.a", "p.é", "p."])
        #expect(form.names(withPrefix: "none").isEmpty)
    }

    @Test func `an empty body is an empty form`() throws {
        let form = try FormBody([UInt8]().span)
        #expect(form.count == 0)
        #expect(form.value("") == nil)
    }

    @Test(arguments: [
        ("a=%41%62%2b", "Ab+"), ("a=b+c%20d", "b c d"), ("a=b=c", "b=c"), ("a==", "="),
        ("%61=b", "b"), ("a=%26%3D", "&="), ("a=%e2%82%AC", "€"), ("a=€", "€"), ("a=%25", "%"),
        ("a=%2541", "%41"), ("a=;b=c", ";b=c"),
    ])
    func `each byte has its encodings`(_ body: String, _ value: String) {
        #expect(read(body, "a") == .success([Array(value.utf8)]))
    }

    @Test(arguments: [
        "a=%00", "a=%0D%0A", "a=%0a", "a=%7f", "a=%EF%BB%BF", "a=+++", "a=\0", "a=b%00c",
        "a=%C2%85", "a=%E2%80%8B",
    ])
    func `a value is any text`(_ body: String) {
        #expect(refusal(body) == nil)
    }

    @Test func `a carriage return and a line feed are two bytes`() {
        #expect(read("a=%0D%0A", "a") == .success([[0x0D, 0x0A]]))
        #expect(read("a=\r\n", "a") == .success([[0x0D, 0x0A]]))
    }

    @Test func `names compare byte by byte`() throws {
        // é composed and decomposed: one String, two names.
        #expect("\u{E9}" == "e\u{301}")
        let form = try FormBody(Array("%C3%A9=1&e%CC%81=2".utf8).span)
        #expect(form.count == 2)
        #expect(form.value("\u{E9}") == Array("1".utf8))
        #expect(form.value("e\u{301}") == Array("2".utf8))
    }

    @Test(arguments: [
        "a=%", "a=%4", "a=%zz", "a=%4g", "a=%g4", "a=%%41", "a=%+41", "a=% 41", "a=%u0041", "a=%-1",
        "a=b%&c=d", "a=%4&b=1", "%=a", "%4=a", "%4g=a", "a=%４１",
    ])
    func `half an encoding is refused`(_ body: String) {
        #expect(refusal(body) == .percentEncoding)
    }

    @Test(arguments: [
        "a=%ff", "a=%C3", "a=%C3%28", "a=%c0%80", "a=%C0%AF", "a=%e0%80%af", "a=%ED%A0%80",
        "a=%ED%B0%80", "a=%f4%90%80%80", "a=%80", "%ff=a", "%C3=%A9", "a=%C3&b=%A9",
    ])
    func `what is not UTF-8 is refused`(_ body: String) {
        #expect(refusal(body) == .invalidUTF8)
    }

    @Test func `plain bytes that are not UTF-8 are refused too`() {
        for bytes: [UInt8] in [[0xFF], [0xC3], [0xC0, 0x80], [0xED, 0xA0, 0x80]] {
            #expect(read(Array("a=".utf8) + bytes) == .failure(.invalidUTF8))
            #expect(read(bytes + Array("=a".utf8)) == .failure(.invalidUTF8))
        }
    }

    @Test(arguments: [
        "a=1&a=2", "a=1&a=1", "a=&a=", "a=1&b=2&a=3", "a=1&%61=2", "%61=1&a=2", "a+b=1&a%20b=2",
        "password=x&username=y&password=z",
    ])
    func `a field that is there twice is refused`(_ body: String) {
        #expect(refusal(body) == .repeatedField)
    }

    @Test func `names that differ in case are two`() {
        #expect(refusal("a=1&A=2") == nil)
    }

    @Test(arguments: [
        "&", "a", "a&b=1", "a=1&", "&a=1", "a=1&&b=2", "{\"username\":\"ada\"}", "a=1&b",
        "--boundary", "%61",
    ])
    func `a piece without an equals sign is refused`(_ body: String) {
        #expect(refusal(body) == .noValue)
    }

    @Test(arguments: ["=", "=a", "a=1&=b", "=%61"])
    func `a field without a name is refused`(_ body: String) {
        #expect(refusal(body) == .noName)
    }

    @Test(arguments: [
        "a%00=b", "%00=b", "a%0D%0A=b", "a%0a=b", "a\t=b", "a\0=b", "%7F=b", "%1f=b", "a\r\nb=c",
    ])
    func `a control character in a name is refused`(_ body: String) {
        #expect(refusal(body) == .controlInName)
    }

    @Test func `a form has at most 16 KiB`() {
        let body = "a=" + String(repeating: "b", count: 16 * 1024 - 2)
        #expect(refusal(body) == nil)
        #expect(refusal(body + "b") == .tooLarge)
        // Before anything else is looked at.
        let zeros = [UInt8](repeating: 0, count: 1024 * 1024)
        #expect(read(zeros) == .failure(.tooLarge))
    }

    @Test func `a form has at most 64 fields`() {
        func body(_ count: Int) -> String {
            (0..<count).map { "f\($0)=" }.joined(separator: "&")
        }
        #expect(refusal(body(64)) == nil)
        #expect(refusal(body(65)) == .tooManyFields)
        #expect(refusal(body(64) + "&") == .tooManyFields)
        #expect(refusal(String(repeating: "&", count: 16 * 1024)) == .noValue)
    }

    @Test func `each longest field has room, all of it encoded`() {
        let passwords = ["password", "new"].map {
            "\($0)=" + String(repeating: "%ff", count: Password.maximumBytes)
        }
        let target = "return_to=" + String(repeating: "%2f", count: ReturnTarget.maximumBytes)
        let name = "username=" + String(repeating: "%61", count: Username.maximumInputBytes)
        let token = "form=" + String(repeating: "a", count: 512)
        let body = (passwords + [target, name, token]).joined(separator: "&")
        #expect(body.utf8.count <= FormBody.maximumBytes)
    }

    @Test func `a value is lent without a copy`() throws {
        let form = try FormBody(Array("password=correct+horse&empty=".utf8).span)
        let length = try form.withValue("password") { bytes throws(PasswordRefusal) in
            try Password(bytes).codePointCount
        }
        #expect(length == 13)
        #expect(throws: PasswordRefusal.empty) {
            _ = try form.withValue("empty") { bytes throws(PasswordRefusal) in
                try Password(bytes)
            }
        }
        let absent: Int? = form.withValue("absent") { $0.count }
        #expect(absent == nil)
    }

    @Test(arguments: ["password=secret", "password=secret&", "password=%", "a=1&a=2", ""])
    func `the body is wiped, also when it is refused`(_ text: String) {
        var body = Array(text.utf8)
        _ = try? FormBody(wiping: &body)
        #expect(body == [UInt8](repeating: 0, count: text.utf8.count))
    }

    @Test func `a body that is too large is wiped`() {
        var body = [UInt8](repeating: 1, count: FormBody.maximumBytes + 1)
        #expect(throws: FormRefusal.tooLarge) { _ = try FormBody(wiping: &body) }
        #expect(body.allSatisfy { $0 == 0 })
    }

    @Test(arguments: ["", "&password=again", "&a=%"])
    func `no freed memory holds a value`(_ end: String) {
        // 48 letters that nothing else in the process holds together.
        let marker = (0..<48).map { UInt8(ascii: "a") + UInt8($0 * 7 % 26) }
        // SAFETY: the watcher copies the bytes.
        unsafe gatehouse_watch_freed_memory(marker, marker.count)
        do {
            var body: [UInt8] = []
            body.reserveCapacity(200)
            body += "username=ada&password=".utf8
            body += marker
            body += end.utf8
            if let form = try? FormBody(wiping: &body) {
                let length = form.withValue("password") { $0.count }
                #expect(length == 48)
            }
        }
        #expect(gatehouse_watched_frees() == 0)
    }

    @Test func `each refusal has its status`() {
        for refusal in FormRefusal.allCases {
            let status = [.tooLarge: 413, .queryTooLarge: 414][refusal] ?? 400
            #expect(refusal.status == status)
        }
    }

    @Test func `no bytes stop the parser`() {
        var generator = SeededGenerator()
        let alphabet = Array("&&==%%+ab01fF\0\r\n\u{E9}".utf8) + [0xFF, 0xC0, 0x80]
        for _ in 0..<20_000 {
            let body = (0..<Int.random(in: 0...40, using: &generator)).map { _ in
                alphabet.randomElement(using: &generator) ?? 0
            }
            guard case .success(let values) = read(body, "a", "b") else { continue }
            for value in values.compactMap({ $0 }) {
                #expect(value.count <= body.count, "seed \(generator.seed)")
            }
        }
    }
}
