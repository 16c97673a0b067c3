// Return targets: a table of attacks, their mixtures, and what must hold of every redirect
// (REQUIREMENTS section 10, items 41 and 45).

import GatehouseTestSupport
import GatehouseWeb
import Testing

let listedOrigins = [
    "https://www.example.org", "https://app.example.org:8443", "http://intranet.example.org",
    "https://xn--bcher-kva.example", "https://[2001:db8::1]",
]

/// A line of `Tests/Vectors/return-targets.txt`.
struct ReturnPayload: Sendable, CustomStringConvertible {
    let written: String
    let bytes: [UInt8]
    /// A location, or `! ` and the reason.
    let expected: String

    var description: String { written }

    static let all: [ReturnPayload] = {
        let path =
            String("\(#filePath)".dropLast("GatehouseWebTests/ReturnTargetTests.swift".count))
            + "Vectors/return-targets.txt"
        return readText(path).utf8.split(separator: UInt8(ascii: "\n")).compactMap { line in
            guard line.first != UInt8(ascii: "#") else { return nil }
            let written = line.prefix { $0 != UInt8(ascii: " ") }
            let expected = line[written.endIndex...].drop { $0 == UInt8(ascii: " ") }
            precondition(!expected.isEmpty, "no result for \(Substring(written))")
            return ReturnPayload(
                written: String(Substring(written)), bytes: unescaped(Array(written)),
                expected: String(Substring(expected)))
        }
    }()

    private static func unescaped(_ text: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        var index = 0
        while index < text.count {
            guard text[index] == UInt8(ascii: "\\") else {
                bytes.append(text[index])
                index += 1
                continue
            }
            if text[index + 1] == UInt8(ascii: "\\") {
                bytes.append(UInt8(ascii: "\\"))
                index += 2
            } else {
                precondition(text[index + 1] == UInt8(ascii: "x"), "no such escape")
                bytes += hexBytes(String(decoding: text[(index + 2)...(index + 3)], as: UTF8.self))
                index += 4
            }
        }
        return bytes
    }
}

@Suite struct ReturnTargetTests {
    private let allowed = AllowedOrigins(listedOrigins.compactMap { Origin($0) })

    private func outcome(_ bytes: [UInt8]) -> Result<String, ReturnTargetRefusal> {
        do throws(ReturnTargetRefusal) {
            return .success(try ReturnTarget(bytes.span, allowed: allowed).location)
        } catch { return .failure(error) }
    }

    private func outcome(_ text: String) -> Result<String, ReturnTargetRefusal> {
        outcome(Array(text.utf8))
    }

    /// Whether a `Location` leads nowhere but to this site or a listed origin, judged by its bytes
    /// alone.
    private func isSafe(_ location: String) -> Bool {
        let bytes = Array(location.utf8)
        guard bytes.allSatisfy({ (0x21...0x7E).contains($0) }),
            !bytes.contains(where: { Array("\\#\"<>".utf8).contains($0) })
        else { return false }
        let origin = listedOrigins.first { location.hasPrefix($0 + "/") } ?? ""
        let local = bytes.dropFirst(origin.utf8.count)
        return local.first == UInt8(ascii: "/") && local.dropFirst().first != UInt8(ascii: "/")
    }

    @Test(arguments: ReturnPayload.all)
    private func `a payload leads where the table says`(_ payload: ReturnPayload) {
        switch outcome(payload.bytes) {
        case .success(let location):
            #expect(location == payload.expected)
            #expect(isSafe(location))
        case .failure(let refusal): #expect("! \(refusal.rawValue)" == payload.expected)
        }
    }

    @Test func `the table is long, has nothing twice, and every reason but two`() {
        #expect(ReturnPayload.all.count >= 200)
        #expect(Set(ReturnPayload.all.map(\.bytes)).count == ReturnPayload.all.count)
        // An empty and a long payload are tested below.
        let reasons = Set(ReturnTargetRefusal.allCases).subtracting([.empty, .tooLong])
        let met = ReturnPayload.all.filter { $0.expected.hasPrefix("! ") }.map {
            String($0.expected.dropFirst(2))
        }
        #expect(Set(met) == Set(reasons.map(\.rawValue)))
    }

    @Test func `nothing is no target`() {
        #expect(outcome("") == .failure(.empty))
    }

    @Test func `a target has at most 2048 bytes`() {
        let path = "/" + String(repeating: "a", count: 2047)
        #expect(outcome(path) == .success(path))
        #expect(outcome(path + "a") == .failure(.tooLong))
        #expect(outcome("/" + String(repeating: "é", count: 1024)) == .failure(.tooLong))
        #expect(outcome("/" + String(repeating: "a/", count: 500_000)) == .failure(.tooLong))
        // What is dropped counts too.
        #expect(outcome("/#" + String(repeating: "a", count: 2047)) == .failure(.tooLong))
    }

    @Test func `a target never becomes more than three times as long`() throws {
        let target = "/" + String(repeating: "é", count: 1023) + " "
        let location = try ReturnTarget(Array(target.utf8).span, allowed: allowed).location
        #expect(location.utf8.count == 1 + 3 * 2047)
    }

    @Test func `every byte is kept, encoded or refused, in path and query`() throws {
        for byte in UInt8.min...UInt8.max {
            for prefix in ["/a", "/a?b"] {
                guard case .success(let location) = outcome(Array(prefix.utf8) + [byte]) else {
                    continue
                }
                #expect(isSafe(location), "byte \(byte) behind \(prefix)")
                let end = location.utf8.dropFirst(prefix.utf8.count)
                let hex = String(byte, radix: 16, uppercase: true)
                if byte == UInt8(ascii: "#") {
                    #expect(end.isEmpty)
                } else {
                    #expect(
                        end.elementsEqual([byte])
                            || end.elementsEqual("%\(hex.utf8.count == 1 ? "0" : "")\(hex)".utf8))
                }
            }
        }
    }

    @Test func `the fallback stands for all that is refused`() throws {
        let fallback = try ReturnTarget(Array("/home".utf8).span, allowed: allowed)
        for bytes in [nil, [], Array("//evil.example".utf8), Array("javascript:x".utf8)] {
            #expect(
                ReturnTarget.resolve(bytes, allowed: allowed, otherwise: fallback) == fallback)
        }
        let target = ReturnTarget.resolve(
            Array("/inbox".utf8), allowed: allowed, otherwise: fallback)
        #expect(target.location == "/inbox")
        #expect(ReturnTarget.root.location == "/")
    }

    @Test func `development leads to this machine with TLS only`() {
        let allowed = AllowedOrigins([], acceptsDevelopment: true)
        func location(_ text: String) -> String {
            ReturnTarget.resolve(Array(text.utf8), allowed: allowed, otherwise: .root).location
        }
        #expect(location("https://localhost:1/a") == "https://localhost:1/a")
        #expect(location("https://[::1]:8443/a") == "https://[::1]:8443/a")
        #expect(location("http://localhost/a") == "/")
        #expect(location("https://www.example.org/a") == "/")
    }

    @Test func `every mixture of the tricks stays here`() {
        let starts = [
            "", "/", "//", "\\", "https:", "https://", "https:/", "http://", "javascript:",
            "https://www.example.org", "https://www.example.org/", "/a",
        ]
        let tricks = [
            "", "/", "\\", "%2f", "%5c", "%252f", "%25%32%66", "\t", "\r\n", "\0", "%09", "%0d%0a",
            "@", "%40", "..", "/../", "%2e%2e/", "?", "#", ":", ".", " ", ";", "%", "%00", "。", "／",
        ]
        var followed = 0
        for start in starts {
            for first in tricks {
                for second in tricks {
                    let payload = start + first + second + "evil.example"
                    guard case .success(let location) = outcome(payload) else { continue }
                    followed += 1
                    #expect(isSafe(location), "\(payload) gives \(location)")
                }
            }
        }
        #expect(followed > 100)
    }

    @Test func `a location is its own target`() {
        // What was followed once is followed to the same place when it comes back.
        for payload in ReturnPayload.all {
            guard case .success(let location) = outcome(payload.bytes) else { continue }
            #expect(outcome(location) == .success(location))
        }
    }

    @Test func `no bytes stop the parser or lead away`() {
        var generator = SeededGenerator()
        let pieces =
            ["https://www.example.org", "https://", "//", "evil.example", "%2", "%25", "%c3%a9"]
            .map { Array($0.utf8) } + Array("/\\@:?#%.;[]aF0 \t\r\n\0é".utf8).map { [$0] }
            + [[0xFF], [0xC0, 0xAF]]
        for _ in 0..<50_000 {
            let payload = (0..<Int.random(in: 1...8, using: &generator)).flatMap { _ in
                pieces.randomElement(using: &generator) ?? []
            }
            guard case .success(let location) = outcome(payload) else { continue }
            #expect(isSafe(location), "seed \(generator.seed): \(location)")
        }
    }
}
