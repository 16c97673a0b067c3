// Our own hash with the peppers that its layers name.

package import GatehouseCore

/// An Argon2id hash that is verified under its peppers.
package struct PepperedHash: VerifiableHash {
    private let hash: PasswordHash
    private let peppers: Peppers

    package init(_ hash: PasswordHash, peppers: Peppers) {
        self.hash = hash
        self.peppers = peppers
    }

    package var memoryKiB: Int { hash.parameters.memoryKiB }

    package func matches(_ password: Span<UInt8>) throws(PasswordHasherError) -> Bool {
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

/// A hash that names peppers is not verified without them: that throws.
extension PasswordHash: VerifiableHash {
    package var memoryKiB: Int { parameters.memoryKiB }

    package func matches(_ password: Span<UInt8>) throws(PasswordHasherError) -> Bool {
        try PepperedHash(self, peppers: .none).matches(password)
    }
}
