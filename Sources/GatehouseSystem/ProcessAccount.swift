// Whose process this is.

import Glibc

package enum ProcessAccount {
    /// The name of the account that the process runs as, or `uid N` where it has none.
    package static var name: String {
        let id = geteuid()
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
        guard let name, (1...32).contains(name.utf8.count) else { return "uid \(id)" }
        return name
    }
}
