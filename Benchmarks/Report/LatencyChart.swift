// Latencies from the fastest to the slowest request, one line for each server.

import Foundation

struct LatencyChart {
    struct Line {
        let label: String
        let points: [Latency.Point]
        let colour: Drawing.Colour
        let isDashed: Bool
    }

    let title: String
    let lines: [Line]

    private static let left = 90.0
    private static let plotHeight = 320.0
    private static let margin = 24.0
    /// Where the axis ends; the maximum is drawn there, for it belongs to no percentile.
    private static let lastNines = 4.5

    /// Each nine of the percentile takes the same width: 90 %, 99 %, 99.9 %. Otherwise the part that
    /// matters would be a hair at the edge.
    static func nines(_ percentile: Double) -> Double {
        percentile >= 100 ? lastNines : min(lastNines, -log10(1 - percentile / 100))
    }

    func draw(into drawing: inout Drawing) {
        let top = drawing.height + Self.margin + Drawing.titleSize
        drawing.text(title, Self.margin, top, size: Drawing.titleSize, isBold: true)
        let first = top + 30
        let bottom = first + Self.plotHeight
        let width = drawing.width - Self.left - Self.margin - 20
        let values = lines.flatMap { $0.points.map(\.microseconds) }.filter { $0 > 0 }
        let low = floor(log10(values.min() ?? 1))
        let high = max(low + 1, ceil(log10(values.max() ?? 10)))
        let x = { (nines: Double) in Self.left + width * nines / Self.lastNines }
        let y = { (value: Double) in
            bottom - Self.plotHeight * (log10(max(value, 0.1)) - low) / (high - low)
        }
        for power in Int(low)...Int(high) {
            let value = pow(10, Double(power))
            drawing.line(Self.left, y(value), Self.left + width, y(value), .rule)
            drawing.text(
                value >= 1000 ? "\(grouped(value / 1000)) ms" : "\(grouped(value)) µs",
                Self.left - 8, y(value) + 4, size: Drawing.noteSize, colour: .faint, anchor: .end)
        }
        for (percentile, name) in [
            (0, "0"), (50, "50 %"), (90, "90 %"), (99, "99 %"), (99.9, "99.9 %"),
            (99.99, "99.99 %"),
            (100, "max"),
        ] {
            let place = x(Self.nines(percentile))
            drawing.line(place, first, place, bottom, .rule)
            drawing.text(
                name, place, bottom + 16, size: Drawing.noteSize, colour: .faint, anchor: .middle)
        }
        drawing.text(
            "requests that were answered within this time", Self.left + width / 2, bottom + 34,
            size: Drawing.noteSize, colour: .faint, anchor: .middle)
        for line in lines {
            drawing.path(
                line.points.map { (x(Self.nines($0.percentile)), y($0.microseconds)) }, line.colour,
                isDashed: line.isDashed)
        }
        drawLegend(&drawing, top: bottom + 58)
    }

    private func drawLegend(_ drawing: inout Drawing, top: Double) {
        for (index, line) in lines.enumerated() {
            let y = top + 18 * Double(index)
            drawing.path(
                [(Self.left, y - 4), (Self.left + 30, y - 4)], line.colour, isDashed: line.isDashed)
            drawing.text(line.label, Self.left + 40, y, size: Drawing.noteSize)
        }
    }
}
