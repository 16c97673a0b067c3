// An export as JSON: in its own order, times as RFC 3339 writes them.

import GatehouseCore

extension ExportValue {
    /// Indented, with a line end behind it.
    package var json: String {
        var text = ""
        write(to: &text, indent: "")
        return text + "\n"
    }

    private func write(to text: inout String, indent: String) {
        switch self {
        case .none: text += "null"
        case .text(let string): Self.write(string, to: &text)
        case .number(let number): text += "\(number)"
        case .flag(let flag): text += flag ? "true" : "false"
        case .time(let time): text += "\"\(time.rfc3339)\""
        case .list(let values):
            Self.write(values, "[", "]", to: &text, indent: indent) { value, text, inner in
                value.write(to: &text, indent: inner)
            }
        case .fields(let fields):
            Self.write(fields, "{", "}", to: &text, indent: indent) { field, text, inner in
                Self.write(field.name, to: &text)
                text += ": "
                field.value.write(to: &text, indent: inner)
            }
        }
    }

    private static func write<Part>(
        _ parts: [Part], _ open: String, _ close: String, to text: inout String, indent: String,
        _ body: (Part, inout String, String) -> Void
    ) {
        guard !parts.isEmpty else {
            text += open + close
            return
        }
        let inner = indent + "  "
        text += open
        for (index, part) in parts.enumerated() {
            text += (index == 0 ? "\n" : ",\n") + inner
            body(part, &text, inner)
        }
        text += "\n" + indent + close
    }

    /// RFC 8259 section 7; `<`, `&` and line separators too, for whoever puts it where they mean something.
    private static func write(_ string: String, to text: inout String) {
        text += "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "<", ">", "&", "\u{2028}", "\u{2029}", "\u{0}"..."\u{1F}", "\u{7F}":
                text += "\\u" + UInt16(scalar.value).hex
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
