// The certificate of a development server.

import CDevelopmentCertificate

/// PEM texts of a CA for this machine only and a server certificate that it signed.
package struct DevelopmentCertificate: Sendable {
    /// The longest that browsers take.
    static let days: Int32 = 397

    package let authority: String
    package let certificate: String
    package let key: String

    /// Nil when libcrypto fails.
    package init?() {
        let size = Int(GATEHOUSE_PEM_SIZE)
        var authorityText = [CChar](repeating: 0, count: size)
        var certificateText = authorityText
        var keyText = authorityText
        let done = unsafe authorityText.withUnsafeMutableBufferPointer { authority in
            unsafe certificateText.withUnsafeMutableBufferPointer { certificate in
                unsafe keyText.withUnsafeMutableBufferPointer { key in
                    // SAFETY: each buffer has the size that the function asks for.
                    unsafe gatehouse_make_development_certificate(
                        Self.days, authority.baseAddress, certificate.baseAddress,
                        key.baseAddress)
                }
            }
        }
        guard done == 1 else { return nil }
        func text(_ bytes: [CChar]) -> String {
            String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        authority = text(authorityText)
        certificate = text(certificateText)
        key = text(keyText)
    }
}
