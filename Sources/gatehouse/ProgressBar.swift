// How far a long command has come, on a terminal.

import Foundation
import Glibc

/// A line on standard error that is written over; nothing where that is no terminal.
struct ProgressBar {
    private static let width = 30
    /// Often enough to be seen moving.
    private static let interval = Duration.milliseconds(100)

    private let isShown = isatty(STDERR_FILENO) == 1
    private let clock = ContinuousClock()
    private let start: ContinuousClock.Instant
    private var last: ContinuousClock.Instant?

    init() { start = clock.now }

    /// Shows `done` of `total`, how long the rest will take, and `text`.
    ///
    /// - Parameter first: what was done before this began.
    mutating func show(_ done: Int, of total: Int, since first: Int, _ text: String) {
        let now = clock.now
        guard isShown, last.map({ $0.duration(to: now) >= Self.interval }) ?? true else { return }
        last = now
        let fraction = min(1, Double(done) / Double(max(total, 1)))
        let full = Int(fraction * Double(Self.width))
        let bar = String(repeating: "#", count: full).padding(
            toLength: Self.width, withPad: "-", startingAt: 0)
        let seconds = start.duration(to: now) / .seconds(1)
        let left = Double(total - done) * seconds / Double(max(done - first, 1))
        write("\r\u{1B}[K[\(bar)] \(Int(fraction * 100)) %, \(text), \(Int(left)) s left")
    }

    /// Makes room for other lines.
    mutating func clear() {
        if last != nil { write("\r\u{1B}[K") }
        last = nil
    }

    private func write(_ text: String) {
        FileHandle.standardError.write(Data(text.utf8))
    }
}
