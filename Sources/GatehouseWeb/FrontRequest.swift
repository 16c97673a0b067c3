// A request as the front door's rules read it: fields as bytes, a bounded body.

import GatehouseCore
import HTTPTypes
import Hummingbird
import NIOCore

/// One request, read but for its body.
struct FrontRequest: Sendable {
    let method: HTTPRequest.Method
    let path: String
    let query: String
    let fields: HTTPFields
    /// The authority and any further `Host`.
    let hosts: [[UInt8]]
    let cookies: RequestCookies
    /// Where it comes from, if anyone says.
    let address: AddressPrefix?
    private let body: @Sendable (_ limit: Int) async throws -> ByteBuffer?

    init(
        method: HTTPRequest.Method, target: String, authority: String?, fields: HTTPFields,
        peer: String? = nil, addresses: ClientAddressRule = ClientAddressRule(trustedProxies: []),
        body: @escaping @Sendable (Int) async throws -> ByteBuffer?
    ) {
        self.method = method
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        path = String(parts.first ?? "")
        query = parts.count > 1 ? String(parts[1]) : ""
        self.fields = fields
        hosts =
            (authority.map { [Array($0.utf8)] } ?? []) + Self.values(FrontHeader.host, in: fields)
        cookies = RequestCookies(Self.values(.cookie, in: fields))
        address = addresses.client(
            peer: peer, forwardedFor: Self.values(FrontHeader.forwardedFor, in: fields))
        self.body = body
    }

    /// Whether JSON is spoken here.
    func isAPI(base: String) -> Bool { path.hasPrefix(base + "/v1/") }

    /// Every value of a field, as bytes.
    func values(_ name: HTTPField.Name) -> [[UInt8]] { Self.values(name, in: fields) }

    private static func values(_ name: HTTPField.Name, in fields: HTTPFields) -> [[UInt8]] {
        fields[fields: name].map { field in
            // SAFETY: the bytes are copied within the call.
            unsafe field.withUnsafeBytesOfValue { unsafe Array($0) }
        }
    }

    /// The token of `Authorization: Bearer`, if that is the only such field.
    var bearerToken: [UInt8]? {
        let values = values(.authorization)
        let prefix = Array("Bearer ".utf8)
        guard values.count == 1, values[0].starts(with: prefix) else { return nil }
        return Array(values[0].dropFirst(prefix.count))
    }

    /// The body, of at most `limit` bytes, within its time.
    func body(limit: Int) async throws(FrontRefusal) -> [UInt8] {
        let tooLarge = Message("refusal.too_large", ["maximum": "\(limit)"])
        let lengths = values(.contentLength)
        if let text = lengths.first, let length = Int(String(decoding: text, as: UTF8.self)),
            length > limit
        {
            throw FrontRefusal(413, "too_large", tooLarge)
        }
        let buffer: ByteBuffer?
        do {
            buffer = try await withTimeLimit(seconds: FrontDoor.bodySeconds) { [body] in
                try await body(limit)
            }
        } catch is TimeLimitExceeded {
            throw FrontRefusal(408, "timeout", "refusal.timeout")
        } catch {
            throw FrontRefusal(400, "body", "refusal.body")
        }
        guard let buffer else {
            throw FrontRefusal(413, "too_large", tooLarge)
        }
        return Array(buffer.readableBytesView)
    }

    /// The fields of the query that are asked for.
    func query(_ names: [String]) throws(FrontRefusal) -> QueryString {
        do throws(FormRefusal) {
            return try QueryString(Array(query.utf8).span, names: names)
        } catch { throw FrontRefusal(error.status, "query", Message(error)) }
    }

    /// Where to go afterwards, from the query. A proxy that can't encode writes the address as it
    /// is, as the last field; then all that follows belongs to it.
    func returnTarget(allowed: AllowedOrigins) throws(FrontRefusal) -> ReturnTarget? {
        let prefix = Array("return_to=/".utf8)
        let bytes = Array(query.utf8)
        let raw =
            bytes.starts(with: prefix)
            ? Array(bytes.dropFirst(prefix.count - 1)) : try query(["return_to"]).value("return_to")
        return raw.flatMap { raw in try? ReturnTarget(raw.span, allowed: allowed) }
    }
}

struct TimeLimitExceeded: Error {}

/// Does `work`, or throws when it takes longer than `seconds`; the work is then cancelled.
func withTimeLimit<Value: Sendable>(
    seconds: Int, _ work: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    try await withThrowingTaskGroup(of: Value.self) { group in
        group.addTask { try await work() }
        group.addTask {
            try await Task.sleep(for: .seconds(seconds))
            throw TimeLimitExceeded()
        }
        defer { group.cancelAll() }
        guard let value = try await group.next() else { throw TimeLimitExceeded() }
        return value
    }
}
