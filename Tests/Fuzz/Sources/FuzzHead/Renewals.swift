// The cookies that an answer sets. Each has a nonce of its own, so what they say takes their place.

import FuzzSupport
import GatehouseCore

struct Renewals {
    private static let beginning = Array("\r\nset-cookie: \(Lane.cookieName)=".utf8)
    private let cipher: TokenCipher

    init(_ tokens: SealedTokens) {
        do {
            cipher = try TokenCipher(
                keyring: tokens.snapshot.keyring, audience: tokens.audience, purposes: [.session])
        } catch {
            report("no cipher: \(error)", [])
        }
    }

    /// What an answer to `claims` has to set; nil when they are not due: the session once more, idle
    /// for an hour again and never past its absolute deadline (DESIGN section 5).
    static func expected(_ claims: Claims) -> String? {
        let idle = min(
            max(claims.idleDeadline.seconds, SealedTokens.noon + 3600),
            claims.absoluteDeadline.seconds)
        guard claims.issued.seconds + 300 <= SealedTokens.noon, idle > claims.idleDeadline.seconds
        else { return nil }
        return
            "\(Lane.cookieName)={\(said(claims, issued: SealedTokens.noon, idle: idle))}; "
            + "Path=/; Secure; HttpOnly; SameSite=Lax"
    }

    private static func said(_ claims: Claims, issued: Int64, idle: Int64) -> String {
        (Identity.texts(claims) + [
            String(issued), String(idle), String(claims.absoluteDeadline.seconds),
            String(claims.epoch),
        ]).joined(separator: " ")
    }

    /// `output` with what each new token says in its place.
    func told(_ output: [UInt8]) -> [UInt8] {
        var told: [UInt8] = []
        var start = 0
        for index in output.indices
        where index >= start && output[index] == 0x0D
            && output[index...].starts(with: Self.beginning)
        {
            let place = index + Self.beginning.count
            let token = output[place...].prefix { $0 != UInt8(ascii: ";") }
            guard
                case .opened(let claims, _) = cipher.openSession(
                    Array(token).span, transport: .cookie)
            else { report("a cookie that is set opens", output) }
            let text = Self.said(
                claims, issued: claims.issued.seconds, idle: claims.idleDeadline.seconds)
            told += output[start..<place] + Array("{\(text)}".utf8)
            start = token.endIndex
        }
        return told + output[start...]
    }
}
