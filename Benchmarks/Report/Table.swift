// Tables and numbers for people.

import Foundation

enum Table {
    /// Rows under a heading; the first column to the left, figures to the right.
    static func lines(_ heading: [String], _ rows: [[String]]) -> [String] {
        var widths = heading.map(\.count)
        for row in rows {
            for (column, cell) in row.enumerated() {
                widths[column] = max(widths[column], cell.count)
            }
        }
        return ([heading] + rows).map { row in
            let cells = row.enumerated().map { column, cell in
                let space = String(repeating: " ", count: widths[column] - cell.count)
                return column == 0 ? cell + space : space + cell
            }
            return cells.joined(separator: "  ")
        }
    }
}

/// A number with this many digits behind the point.
func text(_ value: Double, digits: Int) -> String {
    String(format: "%.\(digits)f", value)
}

/// A whole number in groups of three.
func grouped(_ value: Double) -> String {
    let digits = Array(String(Int(value.rounded())))
    var text = ""
    for (index, digit) in digits.enumerated() {
        if index > 0, (digits.count - index).isMultiple(of: 3), digits[index - 1] != "-" {
            text += " "
        }
        text.append(digit)
    }
    return text
}

/// The value in the middle; of an even number the mean of the two there. 0 of none.
func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return 0 }
    let middle = sorted.count / 2
    return sorted.count.isMultiple(of: 2)
        ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
}
