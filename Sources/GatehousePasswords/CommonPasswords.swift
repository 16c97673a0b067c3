// The bundled list of common passwords. The one importer of CCommonPasswords.

import CCommonPasswords
import GatehouseCore

/// The list that `make-common-passwords` writes, as it lies in the program: lines in lower case and NFC,
/// sorted by their bytes, so that a look-up reads some seventeen of them.
package struct CommonPasswords: PasswordList {
    package init() {}

    package func contains(_ typed: Span<UInt8>, folded: Span<UInt8>) -> Bool {
        Self.withText { text in
            // The line that is looked for starts in this range, if it is there.
            var range = 0..<text.count
            while !range.isEmpty {
                let line = Self.line(of: text, around: range.lowerBound + range.count / 2)
                if Self.isOrdered(text.extracting(line), folded) {
                    range = min(line.upperBound + 1, range.upperBound)..<range.upperBound
                } else if Self.isOrdered(folded, text.extracting(line)) {
                    range = range.lowerBound..<max(line.lowerBound, range.lowerBound)
                } else {
                    return true
                }
            }
            return false
        }
    }

    /// Lends the whole list to `body`.
    package static func withText<Result>(_ body: (Span<UInt8>) -> Result) -> Result {
        var count = 0
        let start = unsafe gatehouse_common_passwords(&count)
        // SAFETY: the list is `count` bytes, which are there and stay as they are for as long as the
        // process lives.
        let text = unsafe Span(_unsafeStart: start, count: count)
        return body(text)
    }

    /// The line that the byte at `place` belongs to, without the line feed at its end.
    private static func line(of text: Span<UInt8>, around place: Int) -> Range<Int> {
        let lineFeed = UInt8(ascii: "\n")
        var (start, end) = (place, place)
        while start > 0, text[start - 1] != lineFeed { start -= 1 }
        while end < text.count, text[end] != lineFeed { end += 1 }
        return start..<end
    }

    /// Whether `left` comes before `right` in the order of their bytes.
    private static func isOrdered(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Bool {
        for index in 0..<min(left.count, right.count) where left[index] != right[index] {
            return left[index] < right[index]
        }
        return left.count < right.count
    }
}
