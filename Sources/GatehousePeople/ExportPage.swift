// An export as a page that needs nothing else: no script, no file, no font from anywhere.

package import GatehouseCore

/// A document of an export, and the policy that it is shown under.
package struct ExportPage: Sendable {
    package let html: String
    /// Content-Security-Policy: its own style by its hash, and nothing else. The document says so itself too,
    /// for when it is opened as a file.
    package let policy: String

    package init(_ value: ExportValue, title: String) throws(LibCryptoError) {
        let hash = try sha256(Array(Self.style.utf8).span)
        let own =
            "default-src 'none'; style-src 'sha256-\(Self.base64(hash))'; base-uri 'none'; form-action 'none'"
        policy = own + "; frame-ancestors 'none'"
        var body = ""
        Self.write(value, level: 2, to: &body)
        html = """
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta http-equiv="Content-Security-Policy" content="\(own)">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <title>\(Self.escaped(title))</title>
            <style>\(Self.style)</style>
            </head>
            <body>
            <main>
            <h1>\(Self.escaped(title))</h1>
            \(body)</main>
            </body>
            </html>

            """
    }

    private static let style = """
        body { margin: 0; padding: 1.5rem; font: 1rem/1.5 system-ui, sans-serif; }
        main { max-width: 60rem; margin-inline: auto; }
        .scroll { overflow-x: auto; }
        table { border-collapse: collapse; margin-block: 0.5rem 1rem; }
        caption { text-align: start; font-weight: 600; }
        th, td { padding: 0.25rem 0.75rem 0.25rem 0; text-align: start; vertical-align: top; }
        th { font-weight: 600; }
        td { max-width: 24rem; overflow-wrap: break-word; }
        time { white-space: nowrap; }
        tr { border-bottom: 1px solid rgb(128 128 128 / 0.4); }
        """

    private static func write(_ value: ExportValue, level: Int, to text: inout String) {
        switch value {
        case .fields(let fields):
            let plain = fields.filter { $0.value.isPlain }
            if !plain.isEmpty {
                text += "<div class=\"scroll\" tabindex=\"0\"><table>\n"
                for field in plain {
                    text +=
                        "<tr><th scope=\"row\">\(label(field.name))</th>"
                        + "<td>\(cell(field.value))</td></tr>\n"
                }
                text += "</table></div>\n"
            }
            for field in fields where !field.value.isPlain {
                let heading = min(level, 6)
                text += "<h\(heading)>\(label(field.name))</h\(heading)>\n"
                write(field.value, level: level + 1, to: &text)
            }
        case .list(let values): write(values, level: level, to: &text)
        default: text += "<p>\(cell(value))</p>\n"
        }
    }

    /// Rows of the same plain fields are a table; anything else stands one below the other.
    private static func write(_ values: [ExportValue], level: Int, to text: inout String) {
        guard let first = values.first else {
            text += "<p>None.</p>\n"
            return
        }
        if let names = first.plainNames, values.allSatisfy({ $0.plainNames == names }) {
            text += "<div class=\"scroll\" tabindex=\"0\"><table>\n<tr>"
            for name in names { text += "<th scope=\"col\">\(label(name))</th>" }
            text += "</tr>\n"
            for case .fields(let fields) in values {
                text += "<tr>" + fields.map { "<td>\(cell($0.value))</td>" }.joined() + "</tr>\n"
            }
            text += "</table></div>\n"
        } else {
            text += "<ul>\n"
            for value in values {
                text += "<li>"
                write(value, level: level, to: &text)
                text += "</li>\n"
            }
            text += "</ul>\n"
        }
    }

    private static func cell(_ value: ExportValue) -> String {
        switch value {
        case .none: "–"
        case .text(let string): "<bdi>\(escaped(string))</bdi>"
        case .number(let number): "\(number)"
        case .flag(let flag): flag ? "yes" : "no"
        case .time(let time): "<time datetime=\"\(time.rfc3339)\">\(time.rfc3339)</time>"
        case .list(let values): values.map(cell).joined(separator: ", ")
        case .fields(let fields):
            fields.map { "\(label($0.name)): \(cell($0.value))" }.joined(separator: "; ")
        }
    }

    /// `last_used` as "last used".
    private static func label(_ name: String) -> String { escaped(name.replacing("_", with: " ")) }

    private static func escaped(_ text: String) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            case "'": escaped += "&#39;"
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }

    private static let digits = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// Padded (RFC 4648 section 4), as a policy writes hashes.
    private static func base64(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            let word = (0..<3).reduce(UInt32(0)) { word, index in
                word << 8 | (index < group.count ? UInt32(group[start + index]) : 0)
            }
            for index in 0..<4 {
                text.append(
                    index <= group.count
                        ? digits[Int(word >> UInt32(18 - 6 * index) & 63)] : UInt8(ascii: "="))
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}

extension ExportValue {
    /// Whether it fits in a cell.
    fileprivate var isPlain: Bool {
        switch self {
        case .none, .text, .number, .flag, .time: true
        case .list(let values):
            !values.isEmpty
                && values.allSatisfy {
                    switch $0 {
                    case .text, .number: true
                    default: false
                    }
                }
        case .fields: false
        }
    }

    /// The names of fields that all fit in cells.
    fileprivate var plainNames: [String]? {
        guard case .fields(let fields) = self, !fields.isEmpty,
            fields.allSatisfy({ $0.value.isPlain })
        else { return nil }
        return fields.map(\.name)
    }
}
