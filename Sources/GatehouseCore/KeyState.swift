// The life of one token key.

/// The states of a token key (DESIGN section 7). A destroyed key is no longer in the ring.
package enum KeyState: UInt8, CaseIterable, Sendable {
    /// Loaded everywhere before it is used: opens, never seals.
    case pending = 1
    /// Seals; at most one key is.
    case active = 2
    /// Opens what it sealed until the last of it has expired.
    case retiring = 3
    /// Neither: every token under it is refused. Its secret is gone from the ring.
    case revoked = 4

    package var name: String {
        switch self {
        case .pending: "pending"
        case .active: "active"
        case .retiring: "retiring"
        case .revoked: "revoked"
        }
    }

    /// Whether a key may go from here to `next`, nil for destroyed. There is no way back:
    /// `pending` → `active` → `retiring` → destroyed, and `revoked` from any of them → destroyed.
    package func mayBecome(_ next: KeyState?) -> Bool {
        switch (self, next) {
        case (.pending, .active), (.active, .retiring), (.retiring, nil), (.revoked, nil),
            (.pending, .revoked), (.active, .revoked), (.retiring, .revoked):
            true
        default: false
        }
    }

    /// Whether a key in this state has begun to seal, and has ended; nil where it may have or not.
    fileprivate var times: (activated: Bool?, ended: Bool) {
        switch self {
        case .pending: (false, false)
        case .active: (true, false)
        case .retiring: (true, true)
        case .revoked: (nil, true)
        }
    }
}

/// The secret of a token key; shared by the ring's copies, wiped with the last of them.
package final class KeySecret: Sendable {
    package static let byteCount = 32
    private let bytes: SecretBytes

    package init(_ bytes: consuming SecretBytes) {
        precondition(bytes.count == Self.byteCount)
        self.bytes = bytes
    }

    /// A new one, nil when the operating system gives no random bytes.
    static func random(from entropy: Entropy) -> KeySecret? {
        guard let bytes = try? entropy.secret(byteCount) else { return nil }
        return KeySecret(bytes)
    }

    package func withSpan<Result: ~Copyable, E: Error>(
        _ body: (Span<UInt8>) throws(E) -> Result
    ) throws(E) -> Result {
        try bytes.withSpan(body)
    }

    /// Compared in constant time.
    func isEqual(to other: KeySecret) -> Bool {
        bytes.withSpan { left in
            other.bytes.withSpan { right in
                var difference: UInt8 = 0
                for index in left.indices { difference |= left[index] ^ right[index] }
                return difference == 0
            }
        }
    }

    /// The key of one purpose: HKDF-SHA-256 of the secret with the info "gatehouse/v1/token/" and
    /// the purpose's name.
    func key(for purpose: TokenPurpose) throws(LibCryptoError) -> XAES256GCM {
        let derived = try bytes.withSpan { span throws(LibCryptoError) in
            try hkdfSHA256(
                secret: span, info: Array("gatehouse/v1/token/\(purpose.rawValue)".utf8),
                byteCount: XAES256GCM.keyBytes)
        }
        return try XAES256GCM(key: derived)
    }
}

/// A token key as the ring holds it.
package struct TokenKey: Sendable {
    package let id: KeyID
    package internal(set) var state: KeyState
    package let created: UnixTime
    /// When it first became active, nil while pending.
    package internal(set) var activated: UnixTime?
    /// When another key took over or it was revoked.
    package internal(set) var ended: UnixTime?
    /// Nil exactly when revoked.
    package internal(set) var secret: KeySecret?

    /// Whether the times are those of a key in this state.
    var timesFitState: Bool {
        let times = state.times
        return (ended != nil) == times.ended
            && times.activated.map { $0 == (activated != nil) } ?? true
    }

    package init(
        id: KeyID, state: KeyState, created: UnixTime, activated: UnixTime?, ended: UnixTime?,
        secret: KeySecret?
    ) {
        self.id = id
        self.state = state
        self.created = created
        self.activated = activated
        self.ended = ended
        self.secret = secret
    }
}
