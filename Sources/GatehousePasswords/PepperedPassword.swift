// A stored password with the peppers that its hash names.

package import GatehouseCore

/// A stored password as it is verified: one of ours under its peppers.
package struct PepperedPassword: VerifiableHash {
    private let stored: StoredPassword
    private let peppers: Peppers

    package init(_ stored: StoredPassword, peppers: Peppers) {
        self.stored = stored
        self.peppers = peppers
    }

    package var memoryKiB: Int {
        switch stored {
        case .ours(let hash): hash.parameters.memoryKiB
        case .foreign(let hash): hash.memoryKiB
        }
    }

    package var usesArena: Bool {
        switch stored {
        case .ours: true
        case .foreign(let hash): hash.usesArena
        }
    }

    package func matches(_ password: Span<UInt8>) throws(PasswordHasherError) -> Bool {
        switch stored {
        case .foreign(let hash): return try hash.matches(password)
        case .ours(let hash):
            let output = try argon2idOutput(
                of: password, salt: hash.salt, parameters: hash.parameters)
            do throws(PepperFailure) {
                let sealed = try output.withSpan { span throws(PepperFailure) in
                    try peppers.applied(hash.layers, to: span)
                }
                return sealed.withSpan { hash.isOutput($0) }
            } catch { throw .pepper(error) }
        }
    }
}

/// A hash that names peppers is not verified without them: that throws.
extension PasswordHash: VerifiableHash {
    package var memoryKiB: Int { parameters.memoryKiB }
    package var usesArena: Bool { true }

    package func matches(_ password: Span<UInt8>) throws(PasswordHasherError) -> Bool {
        try PepperedPassword(.ours(self), peppers: .none).matches(password)
    }
}
