// Reads a file line by line in constant memory, however long its lines are.

import GatehouseCore
import Glibc

/// The lines of a regular file, in pieces.
final class LineReader {
    /// A line, or a part of one that is longer than the reader's limit.
    struct Piece {
        /// With the line end, if there is one.
        let bytes: ArraySlice<UInt8>
        let endsLine: Bool
    }

    private static let bufferBytes = 1 << 18

    /// The file's size when it was opened.
    let byteCount: Int
    /// SHA-256 of the file's real path: its name for the store.
    let pathHash: [UInt8]

    private let descriptor: Int32
    private let maximumLineBytes: Int
    private var buffer: [UInt8]
    /// What of the buffer was read and not yet given.
    private var pending = 0..<0
    private var isInsideLine = false

    /// - Parameter maximumLineBytes: the longest piece, its line end included.
    init(path: String, maximumLineBytes: Int) throws {
        precondition(maximumLineBytes <= Self.bufferBytes)
        self.maximumLineBytes = maximumLineBytes
        buffer = [UInt8](repeating: 0, count: Self.bufferBytes)
        // Without O_NONBLOCK a pipe would be waited for.
        descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            throw CommandFailure.refused("cannot open \(path): errno \(errno)")
        }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
            let realPath = unsafe realpath(path, nil)
        else {
            close(descriptor)
            throw CommandFailure.refused(
                "\(path) is not a regular file", hint: "an import can go on only in a file")
        }
        defer { unsafe free(realPath) }
        byteCount = Int(status.st_size)
        pathHash = try sha256(Array(unsafe String(cString: realPath).utf8).span)
    }

    deinit { close(descriptor) }

    /// The next piece; nil at the end of the file.
    func next() throws -> Piece? {
        while true {
            let window = buffer[pending.prefix(maximumLineBytes)]
            if let end = window.firstIndex(of: UInt8(ascii: "\n")) {
                return take(upTo: end + 1, endsLine: true)
            }
            if window.count == maximumLineBytes {
                return take(upTo: window.endIndex, endsLine: false)
            }
            guard try fill() else {
                // A long line that the file ends with has its end too, in a piece without bytes.
                guard isInsideLine || !pending.isEmpty else { return nil }
                return take(upTo: pending.upperBound, endsLine: true)
            }
        }
    }

    private func take(upTo end: Int, endsLine: Bool) -> Piece {
        defer { pending = end..<pending.upperBound }
        isInsideLine = !endsLine
        return Piece(bytes: buffer[pending.lowerBound..<end], endsLine: endsLine)
    }

    /// Reads more behind what is pending; false at the end of the file.
    private func fill() throws -> Bool {
        buffer.replaceSubrange(0..<pending.count, with: Array(buffer[pending]))
        pending = 0..<pending.count
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            // SAFETY: reads at most as much as there is room behind what is pending.
            unsafe read(
                descriptor, bytes.baseAddress.map { unsafe $0 + pending.count },
                bytes.count - pending.count)
        }
        guard count >= 0 else {
            throw CommandFailure.environment("cannot read the file: errno \(errno)")
        }
        pending = 0..<(pending.count + count)
        return count > 0
    }
}
