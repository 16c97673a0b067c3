// Pictures as SVG, written by hand: no library, and the same text for the same figures.

/// Elements of one picture. Light, and with a background of its own, so that it can be read on any
/// page.
struct Drawing {
    let width: Double
    private(set) var height = 0.0
    private var elements: [String] = []

    /// Okabe and Ito's colours, which people tell apart who see colours differently.
    enum Colour: String {
        case ink = "#222222"
        case faint = "#6b6b6b"
        case rule = "#dddddd"
        case paper = "#ffffff"
        case blue = "#0072b2"
        case sky = "#8cc6e8"
        case orange = "#d55e00"
        case amber = "#f0b27f"
        case green = "#009e73"
        case purple = "#b0639b"
    }

    enum Anchor: String { case start, middle, end }

    static let titleSize = 18.0
    static let textSize = 13.0
    static let noteSize = 11.0

    init(width: Double) { self.width = width }

    /// Makes the picture at least so high.
    mutating func reach(_ y: Double) { height = max(height, y) }

    mutating func rectangle(
        _ x: Double, _ y: Double, _ width: Double, _ height: Double, _ colour: Colour
    ) {
        elements.append(
            "<rect x=\"\(number(x))\" y=\"\(number(y))\" width=\"\(number(width))\" "
                + "height=\"\(number(height))\" fill=\"\(colour.rawValue)\"/>")
    }

    mutating func line(
        _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ colour: Colour, width: Double = 1
    ) {
        elements.append(
            "<line x1=\"\(number(x1))\" y1=\"\(number(y1))\" x2=\"\(number(x2))\" "
                + "y2=\"\(number(y2))\" stroke=\"\(colour.rawValue)\" stroke-width=\"\(number(width))\"/>"
        )
    }

    mutating func path(_ points: [(x: Double, y: Double)], _ colour: Colour, isDashed: Bool) {
        let list = points.map { "\(number($0.x)),\(number($0.y))" }.joined(separator: " ")
        elements.append(
            "<polyline points=\"\(list)\" fill=\"none\" stroke=\"\(colour.rawValue)\" "
                + "stroke-width=\"2\"\(isDashed ? " stroke-dasharray=\"6 4\"" : "")/>")
    }

    mutating func text(
        _ text: String, _ x: Double, _ y: Double, size: Double = textSize,
        colour: Colour = .ink, anchor: Anchor = .start, isBold: Bool = false
    ) {
        elements.append(
            "<text x=\"\(number(x))\" y=\"\(number(y))\" font-size=\"\(number(size))\" "
                + "fill=\"\(colour.rawValue)\" text-anchor=\"\(anchor.rawValue)\""
                + "\(isBold ? " font-weight=\"bold\"" : "")>\(Self.escaped(text))</text>")
        reach(y + size / 2)
    }

    /// Where and when, below everything else.
    mutating func sign(_ machine: Machine, left: Double) {
        var y = height + 26
        for line in machine.lines.flatMap({ Self.wrapped($0, to: Int((width - 2 * left) / 6.2)) }) {
            text(line, left, y, size: Self.noteSize, colour: .faint)
            y += 15
        }
        reach(y)
    }

    /// The whole document; `description` is for those who can't see it.
    func svg(description: String) -> String {
        let size = "width=\"\(number(width))\" height=\"\(number(height))\""
        return """
            <svg xmlns="http://www.w3.org/2000/svg" \(size) \
            viewBox="0 0 \(number(width)) \(number(height))" role="img" \
            font-family="system-ui, 'DejaVu Sans', sans-serif">
            <title>\(Self.escaped(description))</title>
            <rect width="100%" height="100%" fill="\(Colour.paper.rawValue)"/>
            \(elements.joined(separator: "\n"))
            </svg>

            """
    }

    private func number(_ value: Double) -> String {
        let text = gatehouse_bench.text(value, digits: 1)
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }

    static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;")
            .replacing(">", with: "&gt;").replacing("\"", with: "&quot;")
    }

    /// Lines of at most `count` characters, broken at spaces.
    static func wrapped(_ text: String, to count: Int) -> [String] {
        var lines: [String] = []
        for word in text.split(separator: " ") {
            if let last = lines.last, last.count + 1 + word.count <= count {
                lines[lines.count - 1] = last + " " + word
            } else {
                lines.append(String(word))
            }
        }
        return lines
    }
}

/// A round number at or above `value`: 1, 2 or 5 times a power of ten.
func roundedUp(_ value: Double) -> Double {
    guard value > 0 else { return 1 }
    var power = 1.0
    while power > value { power /= 10 }
    while power * 10 <= value { power *= 10 }
    return [1, 2, 5, 10].map { $0 * power }.first { $0 >= value } ?? 10 * power
}
