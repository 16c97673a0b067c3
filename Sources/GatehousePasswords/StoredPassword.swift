// What stands in a user's row: a hash of ours, or one that was imported.

package import GatehouseCore

/// A stored password hash of any scheme; rows that are neither do not become one.
package enum StoredPassword: Sendable {
    case ours(PasswordHash)
    case foreign(ForeignHash)

    /// Reads the text of a row. What is in our own form and within our own bounds is ours, whoever
    /// made it.
    package init(_ text: String) throws(ForeignHashRefusal) {
        if let ours = try? PasswordHash(text) {
            self = .ours(ours)
        } else {
            self = .foreign(try ForeignHash(Array(text.utf8)))
        }
    }

    /// Whether the password should be hashed again once it was verified.
    package func isBelow(_ policy: Argon2Parameters, pepper: KeyID?) -> Bool {
        switch self {
        case .ours(let hash): hash.isBelow(policy, pepper: pepper)
        case .foreign: true
        }
    }

    /// Whether every byte of `password` counts: other systems' hashes may end at a NUL or after 72 bytes.
    package func reads(all password: Span<UInt8>) -> Bool {
        switch self {
        case .ours: true
        case .foreign(let hash): hash.reads(all: password)
        }
    }

    /// The peppers over it.
    package var layers: [KeyID] {
        switch self {
        case .ours(let hash): hash.layers
        case .foreign: []
        }
    }
}
