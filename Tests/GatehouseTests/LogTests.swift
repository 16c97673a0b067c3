// Logs: one line an event, whatever is in it.

import Foundation
import Logging
import Synchronization
import Testing

@testable import gatehouse

@Suite struct LogTests {
    private final class Lines: Sendable {
        private let bytes = Mutex<[UInt8]>([])
        func append(_ line: [UInt8]) { bytes.withLock { $0 += line } }
        var all: [UInt8] { bytes.withLock { $0 } }
    }

    private func logged(
        _ level: Logger.Level = .info, _ body: (Logger) -> Void
    ) throws -> [String: String] {
        let lines = Lines()
        var logger = Logger(label: "test") { label in
            JSONLogHandler(label: label, level: .info) { lines.append($0) }
        }
        logger[metadataKey: "own"] = "kept"
        body(logger)
        let bytes = lines.all
        #expect(bytes.count { $0 == 0x0A } == 1, "one line")
        #expect(bytes.allSatisfy { $0 == 0x0A || ($0 >= 0x20 && $0 != 0x7F) })
        let object = try JSONSerialization.jsonObject(with: Data(bytes))
        return try #require(object as? [String: String])
    }

    @Test func `an event is one object with its time, level, message and metadata`() throws {
        let event = try logged { $0.info("hello", metadata: ["key": "a1b2c3d4"]) }
        #expect(event["message"] == "hello")
        #expect(event["level"] == "info")
        #expect(event["logger"] == "test")
        #expect(event["key"] == "a1b2c3d4")
        #expect(event["own"] == "kept")
        let time = try #require(event["time"])
        #expect(time.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/) != nil, "\(time)")
        let date = try Date(time.prefix(19) + "Z", strategy: .iso8601)
        #expect(abs(date.timeIntervalSinceNow) < 60)
    }

    @Test(arguments: [
        "a\r\nb", "a\nb", "a\rb", "a\u{85}b", "a\u{2028}b", "a\u{2029}b", "\u{1B}[31mred",
        "\u{202E}abc",
        "\u{2066}x\u{2069}", "\"},{\"level\":\"error", "back\\slash", "\0", "\u{7F}", "\u{FEFF}x",
        "\u{9B}31m",
    ])
    func `no value breaks a line, reorders it or leaves its string`(_ value: String) throws {
        let event = try logged { $0.info("\(value)", metadata: ["value": "\(value)"]) }
        #expect(event["message"].map { Array($0.utf8) } == Array(value.utf8))
        #expect(event["value"].map { Array($0.utf8) } == Array(value.utf8))
        let lines = Lines()
        var line: [UInt8] = []
        JSONLogHandler.append(value, to: &line)
        lines.append(line)
        for scalar in ["\u{2028}", "\u{202E}", "\u{85}", "\u{9B}", "\u{1B}"] {
            #expect(
                !String(decoding: line, as: UTF8.self).unicodeScalars.contains(
                    Unicode.Scalar(scalar)!))
        }
    }

    @Test func `a value of 1,024 bytes is whole, a longer one is cut`() throws {
        let limit = JSONLogHandler.maximumValueBytes
        for (count, isWhole) in [(limit, true), (limit + 1, false), (1 << 20, false)] {
            let value = String(repeating: "x", count: count)
            let event = try logged { $0.info("m", metadata: ["value": "\(value)"]) }
            #expect(event["value"] == (isWhole ? value : String(value.prefix(limit)) + "…"))
        }
    }

    @Test func `what is below the level is not written`() {
        let lines = Lines()
        let logger = Logger(label: "test") { label in
            JSONLogHandler(label: label, level: .warning) { lines.append($0) }
        }
        logger.info("quiet")
        #expect(lines.all.isEmpty)
        logger.warning("loud")
        #expect(!lines.all.isEmpty)
    }
}
