// SHAKE-128 for the accumulated vectors; the one test file that imports libcrypto.

import COpenSSL

@safe final class Shake128 {
    private let context: OpaquePointer

    init() {
        guard let context = unsafe EVP_MD_CTX_new() else { preconditionFailure("no memory") }
        unsafe self.context = context
        let done = unsafe EVP_DigestInit_ex(context, EVP_shake128(), nil)
        precondition(done == 1)
    }

    deinit { unsafe EVP_MD_CTX_free(context) }

    func absorb(_ bytes: [UInt8]) {
        let done = unsafe EVP_DigestUpdate(context, bytes, bytes.count)
        precondition(done == 1)
    }

    /// The digest so far; absorbing goes on after it.
    func copyDigest(byteCount: Int) -> [UInt8] {
        let copy = Shake128()
        let done = unsafe EVP_MD_CTX_copy_ex(copy.context, context)
        precondition(done == 1)
        var output = [UInt8](repeating: 0, count: byteCount)
        let finished = unsafe EVP_DigestFinalXOF(copy.context, &output, byteCount)
        precondition(finished == 1)
        return output
    }

    static func digest(of bytes: [UInt8], byteCount: Int) -> [UInt8] {
        let shake = Shake128()
        shake.absorb(bytes)
        return shake.copyDigest(byteCount: byteCount)
    }
}
