// The rules that hold for every input: what is taken is a hash as its scheme has it, within bounds.

import FuzzSupport
import GatehouseCore
import GatehouseForeignHashes

/// Checks one input after the other.
final class HashRules {
    func check(_ input: [UInt8]) {
        let hash = try? ForeignHash(input)
        guard (hash != nil) == ReferenceHash.isHash(input) else {
            report("a hash: \(hash == nil)", input)
        }
        if let hash {
            guard Array(hash.text.utf8) == input else { report("the text that was given", input) }
            guard (1...Argon2Parameters.maximumMemoryKiB).contains(hash.memoryKiB) else {
                report("memory within bounds", input)
            }
        }
        // Ours has bounds of its own, within the others'.
        guard let text = String(validating: input, as: UTF8.self),
            let ours = try? PasswordHash(text)
        else { return }
        guard ours.text == text else { report("one spelling of ours", input) }
        guard hash != nil else { report("ours is a hash to others too", input) }
    }
}
