// People who sign in from browsers that know them, while strangers storm the front door.

import Foundation

/// One after the other, a sign-in a second: few enough to be nothing of the storm.
struct KnownSignIns: Sendable {
    static let people = 10
    private static let password = "three herons under bridges"
    private static let cookieName = "__Host-gatehouse-device"

    private let target: Target
    /// A right sign-in of each, with the device cookie of an earlier one.
    private let requests: [[UInt8]]

    /// Registers people and signs each in once.
    init(at target: Target) throws {
        self.target = target
        try Self.register(at: target)
        requests = try (0..<Self.people).map { index in
            let name = Self.name(index)
            let answer = try Wire(target).exchange(
                Self.request("/v1/login", name: name, device: nil))
            let head = String(decoding: answer.bytes[..<answer.head.headBytes], as: UTF8.self)
            guard answer.head.status == 200, let start = head.firstRange(of: Self.cookieName + "=")
            else { throw BenchmarkFailure("a sign-in gave no device cookie") }
            let value = String(head[start.upperBound...].prefix { $0 != ";" })
            return Self.request("/v1/login", name: name, device: value)
        }
    }

    private static func name(_ index: Int) -> String { "regular-\(index)" }

    /// Registers people, and signs none of them in.
    static func register(at target: Target) throws {
        for index in 0..<people {
            let answer = try Wire(target).exchange(
                request("/v1/register", name: name(index), device: nil))
            guard answer.head.status == 201 else {
                throw BenchmarkFailure("registering was answered \(answer.head.status)")
            }
        }
    }

    /// One right sign-in of one of them, from no browser that knows anybody: its status, and the token,
    /// a bearer's or of the session cookie.
    static func signIn(
        _ index: Int, at target: Target, isBearer: Bool
    ) throws -> (status: Int, token: String?) {
        let answer = try Wire(target).exchange(
            request(
                "/v1/login", name: name(index % people), device: nil,
                more: isBearer ? #","transport":"bearer""# : ""))
        let text = String(decoding: answer.bytes, as: UTF8.self)
        let mark = isBearer ? #""token":""# : RequestSet.cookieName + "="
        guard let start = text.firstRange(of: mark) else { return (answer.head.status, nil) }
        let token = text[start.upperBound...].prefix { $0 != ";" && $0 != "\"" }
        return (answer.head.status, String(token))
    }

    /// A request with a name, the password of all of them, and what else is given.
    static func request(
        _ path: String, name: String, device: String? = nil, more: String = ""
    ) -> [UInt8] {
        let body = #"{"username":"\#(name)","password":"\#(password)"\#(more)}"#
        // A browser's request says where it comes from.
        let cookie =
            device.map { "Sec-Fetch-Site: same-origin\r\nCookie: \(cookieName)=\($0)\r\n" } ?? ""
        return Array(
            """
            POST \(path) HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
            \(cookie)Content-Length: \(body.utf8.count)\r\n\r\n\(body)
            """.utf8)
    }

    /// Signs in for so long.
    func run(seconds: Double) throws -> Figures {
        var figures = Figures()
        let start = monotonicNanoseconds()
        for second in 0..<Int(seconds) {
            let due = start + UInt64(second) * 1_000_000_000
            let now = monotonicNanoseconds()
            if due > now { Thread.sleep(forTimeInterval: Double(due - now) / 1e9) }
            let asked = monotonicNanoseconds()
            let answer = try Wire(target).exchange(requests[second % requests.count])
            let milliseconds = Double(monotonicNanoseconds() - asked) / 1e6
            if answer.head.status == 200 {
                figures.milliseconds.append(milliseconds)
            } else {
                figures.refused += 1
            }
        }
        return figures
    }

    struct Figures: Codable, Sendable {
        /// Of each that was let in.
        var milliseconds: [Double] = []
        var refused = 0

        func percentile(_ percent: Double) -> Double {
            let sorted = milliseconds.sorted()
            guard !sorted.isEmpty else { return 0 }
            return sorted[min(sorted.count - 1, Int(Double(sorted.count) * percent / 100))]
        }
    }
}
