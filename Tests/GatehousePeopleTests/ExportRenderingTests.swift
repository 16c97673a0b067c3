// An export reads as what it holds, in both forms, whatever is in it.

import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseTestSupport
import Testing

struct ExportRenderingTests {
    private static let nasty = "</td><script>alert(1)</script>\"'&\\\n\u{2028}\u{0}\u{7F}é🦉"

    private let value = ExportValue.fields([
        .init("z", .text(nasty)), .init("a", .time(time(noon))), .init("none", .none),
        .init("yes", .flag(true)), .init("count", .number(-7)), .init("empty", .list([])),
        .init("rows", .list([.fields([.init("name", .text(nasty)), .init("n", .number(1))])])),
        .init("words", .list([.text("one"), .text("two")])),
        .init("inner", .fields([.init("deep", .fields([.init("x", .text("y"))]))])),
    ])

    // Promise: export
    @Test func `JSON is JSON, in the order of the fields`() throws {
        let text = value.json
        let parsed = try #require(
            try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(parsed["z"] as? String == Self.nasty)
        #expect(parsed["a"] as? String == "2026-11-24T12:00:00Z")
        #expect(parsed["none"] is NSNull)
        #expect(parsed["yes"] as? Bool == true)
        #expect(parsed["count"] as? Int == -7)
        #expect((parsed["empty"] as? [Any])?.isEmpty == true)
        #expect((parsed["rows"] as? [[String: Any]])?.first?["name"] as? String == Self.nasty)
        #expect(parsed["words"] as? [String] == ["one", "two"])
        let places = ["\"z\"", "\"a\"", "\"none\"", "\"inner\""].map {
            text.firstRange(of: $0)?.lowerBound
        }
        #expect(places.allSatisfy { $0 != nil })
        #expect(places.compactMap { $0 } == places.compactMap { $0 }.sorted())
        #expect(!text.contains("<script"))
    }

    @Test func `the page shows everything, and runs nothing`() throws {
        let page = try ExportPage(value, title: "All of <ada>")
        #expect(page.html.contains("<h1>All of &lt;ada&gt;</h1>"))
        #expect(!page.html.contains("<script"))
        #expect(page.html.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;"))
        for shown in ["2026-11-24T12:00:00Z", ">-7<", "one</bdi>, <bdi>two", "<h3>deep</h3>"] {
            #expect(page.html.contains(shown), "\(shown)")
        }
        #expect(!page.html.contains("src=") && !page.html.contains("href="))
    }

    /// Whatever the style says, its hash is what the policy has.
    @Test func `the policy allows the page's own style and nothing else`() throws {
        let page = try ExportPage(value, title: "x")
        let start = try #require(page.html.firstRange(of: "<style>")).upperBound
        let end = try #require(page.html.firstRange(of: "</style>")).lowerBound
        let hash = Data(try sha256(Array(page.html[start..<end].utf8).span)).base64EncodedString()
        let own =
            "default-src 'none'; style-src 'sha256-\(hash)'; base-uri 'none'; form-action 'none'"
        #expect(page.policy == own + "; frame-ancestors 'none'")
        #expect(page.html.contains("content=\"\(own)\""))
    }
}
