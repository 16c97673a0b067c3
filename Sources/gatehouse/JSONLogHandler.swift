// Logs: one line of JSON an event, on standard error.

import Foundation
import GatehouseCore
import Glibc
import Logging
import Synchronization

/// Writes events as one-line JSON (REQUIREMENTS LOG-1): UTC time, level, message, and metadata with
/// every value escaped and cut to a bounded length.
struct JSONLogHandler: LogHandler {
    /// A longer value is cut; nothing that we log needs more.
    static let maximumValueBytes = 1024

    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?
    var logLevel: Logger.Level = .info
    private let label: String
    private let write: @Sendable ([UInt8]) -> Void

    init(
        label: String, level: Logger.Level,
        write: @escaping @Sendable ([UInt8]) -> Void = JSONLogHandler.writeToStandardError
    ) {
        self.label = label
        self.write = write
        logLevel = level
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var line: [UInt8] = []
        line += Array(#"{"time":""#.utf8)
        line += Array(Self.timestamp().utf8)
        line += Array(#"Z","level":""#.utf8)
        line += Array(event.level.rawValue.utf8)
        line += Array(#"","logger":"#.utf8)
        Self.append(label, to: &line)
        line += Array(#","message":"#.utf8)
        Self.append(event.message.description, to: &line)
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { _, new in new } }
        if let own = event.metadata { all.merge(own) { _, new in new } }
        if let error = event.error { all["error.type"] = "\(type(of: error))" }
        for (key, value) in all.sorted(by: { $0.key < $1.key }) {
            line.append(UInt8(ascii: ","))
            Self.append(key, to: &line)
            line.append(UInt8(ascii: ":"))
            Self.append(value.description, to: &line)
        }
        line += Array("}\n".utf8)
        write(line)
    }

    /// Appends a JSON string. Works on Unicode scalars, since `"\r\n"` is one Character: control
    /// characters, line and paragraph separators and bidirectional marks are escaped, so that no
    /// value can break a line or reorder it on a screen.
    static func append(_ text: String, to line: inout [UInt8]) {
        line.append(UInt8(ascii: "\""))
        var count = 0
        for scalar in text.unicodeScalars {
            count += scalar.utf8.count
            guard count <= maximumValueBytes else {
                line += Array("…".utf8)
                break
            }
            switch scalar.value {
            case 0x22: line += [UInt8(ascii: "\\"), UInt8(ascii: "\"")]
            case 0x5C: line += [UInt8(ascii: "\\"), UInt8(ascii: "\\")]
            case 0..<0x20, 0x7F..<0xA0, 0x200E...0x200F, 0x2028...0x202E, 0x2066...0x2069, 0x061C,
                0xFEFF:
                line += Array("\\u".utf8)
                line += Array(UInt16(scalar.value).hex.utf8)
            default: line += Array(String(scalar).utf8)
            }
        }
        line.append(UInt8(ascii: "\""))
    }

    private static func timestamp() -> String {
        Date().formatted(.iso8601.year().month().day().time(includingFractionalSeconds: true))
    }

    private static let lock = Mutex<Void>(())

    /// One write a line, so that lines of several threads do not mix.
    static let writeToStandardError: @Sendable ([UInt8]) -> Void = { line in
        lock.withLock { _ in
            _ = unsafe line.withUnsafeBytes { bytes in
                unsafe Glibc.write(STDERR_FILENO, bytes.baseAddress, bytes.count)
            }
        }
    }
}
