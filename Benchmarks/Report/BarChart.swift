// Bars with a common scale that begins at nothing.

struct BarChart {
    struct Bar {
        let label: String
        /// Drawn one behind the other.
        let parts: [(value: Double, colour: Drawing.Colour)]
        /// From the least to the most of what the median stands for.
        var range: ClosedRange<Double>?
        /// What stands behind the bar.
        let text: String

        var total: Double { parts.reduce(0) { $0 + $1.value } }
    }

    let title: String
    /// What the scale counts.
    let axis: String
    var legend: [(text: String, colour: Drawing.Colour)] = []
    let bars: [Bar]
    /// A line across all bars, at a value with a meaning.
    var mark: (value: Double, text: String)?

    private static let margin = 24.0
    private static let labelWidth = 270.0
    private static let valueWidth = 110.0
    private static let barHeight = 22.0
    private static let pitch = 32.0
    /// Steps of the scale.
    private static let steps = 5

    /// Draws it below what is there.
    func draw(into drawing: inout Drawing) {
        let left = Self.margin + Self.labelWidth
        let width = drawing.width - left - Self.valueWidth - Self.margin
        let top = drawing.height + Self.margin + Drawing.titleSize
        drawing.text(
            title, Self.margin, top, size: Drawing.titleSize, isBold: true)
        let first = drawLegend(&drawing, top: top)
        let bottom = first + Double(bars.count) * Self.pitch
        let largest = bars.map { max($0.total, $0.range?.upperBound ?? 0) }.max() ?? 0
        let limit = roundedUp(max(largest, mark?.value ?? 0))
        let scale = width / limit
        for step in 0...Self.steps {
            let value = limit * Double(step) / Double(Self.steps)
            let x = left + value * scale
            drawing.line(x, first - 4, x, bottom, .rule)
            drawing.text(
                axisText(value, limit: limit), x, bottom + 16, size: Drawing.noteSize,
                colour: .faint,
                anchor: .middle)
        }
        drawing.text(
            axis, left + width / 2, bottom + 34, size: Drawing.noteSize, colour: .faint,
            anchor: .middle)
        for (index, bar) in bars.enumerated() {
            draw(
                bar, &drawing, x: left, y: first + Double(index) * Self.pitch, scale: scale)
        }
        if let mark {
            let x = left + mark.value * scale
            drawing.line(x, first - 4, x, bottom, .ink, width: 1.5)
            drawing.text(mark.text, x + 4, bottom - 4, size: Drawing.noteSize)
        }
        drawing.reach(bottom + 40)
    }

    /// Returns where the bars begin.
    private func drawLegend(_ drawing: inout Drawing, top: Double) -> Double {
        guard !legend.isEmpty else { return top + 18 }
        var x = Self.margin
        for entry in legend {
            drawing.rectangle(x, top + 14, 12, 12, entry.colour)
            drawing.text(entry.text, x + 18, top + 24.5, size: Drawing.noteSize)
            x += 36 + 7 * Double(entry.text.count)
        }
        return top + 42
    }

    private func draw(_ bar: Bar, _ drawing: inout Drawing, x: Double, y: Double, scale: Double) {
        drawing.text(bar.label, x - 10, y + 15.5, anchor: .end)
        var end = x
        for part in bar.parts {
            drawing.rectangle(end, y, part.value * scale, Self.barHeight, part.colour)
            end += part.value * scale
        }
        if let range = bar.range {
            let middle = y + Self.barHeight / 2
            let from = x + range.lowerBound * scale
            let to = x + range.upperBound * scale
            drawing.line(from, middle, to, middle, .ink)
            for edge in [from, to] { drawing.line(edge, middle - 4, edge, middle + 4, .ink) }
            end = max(end, to)
        }
        drawing.text(bar.text, end + 8, y + 15.5)
    }

    private func axisText(_ value: Double, limit: Double) -> String {
        limit >= 10 ? grouped(value) : text(value, digits: limit > 2 ? 1 : 2)
    }
}
