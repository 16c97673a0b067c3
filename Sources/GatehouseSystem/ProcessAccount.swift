// Whose process this is.

import Foundation
import Glibc

package enum ProcessAccount {
    /// The account that the process runs as, and the one that its user signed in to the machine with, where
    /// the kernel knows another: `gatehouse (ada)`.
    package static var name: String {
        let own = name(of: geteuid())
        // Set once at sign-in, and kept by su and sudo (man 3 audit_getloginuid); all ones when unset.
        guard
            let text = try? String(contentsOfFile: "/proc/self/loginuid", encoding: .utf8),
            let id = UInt32(text.filter(\.isNumber)), id != .max, id != geteuid()
        else { return own }
        return "\(own) (\(name(of: id)))"
    }

    /// Who is behind the process: whoever signed in to the machine, where the kernel knows, else the account.
    package static var person: String {
        let name = name
        guard let start = name.firstIndex(of: "("), name.last == ")" else {
            return name.replacing(" ", with: "-")
        }
        return String(name[name.index(after: start)...].dropLast()).replacing(" ", with: "-")
    }

    /// Its name, or `uid N` where it has none.
    private static func name(of id: UInt32) -> String {
        var buffer = [CChar](repeating: 0, count: 16_384)
        let name: String? = unsafe buffer.withUnsafeMutableBufferPointer { buffer in
            var entry = unsafe passwd()
            var found: UnsafeMutablePointer<passwd>?
            // SAFETY: the entry's strings lie in the buffer, and are copied before it goes.
            guard let start = buffer.baseAddress,
                unsafe getpwuid_r(id, &entry, start, buffer.count, &found) == 0,
                unsafe found != nil, let name = unsafe entry.pw_name
            else {
                return nil
            }
            return unsafe String(validatingCString: name)
        }
        guard let name, (1...30).contains(name.utf8.count) else { return "uid \(id)" }
        return name
    }
}
