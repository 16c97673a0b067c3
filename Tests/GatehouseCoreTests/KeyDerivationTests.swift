// PBKDF2 and scrypt against the vectors of RFC 7914.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct KeyDerivationTests {
    private func hex(_ secret: borrowing SecretBytes) -> [UInt8] {
        secret.withSpan { span in span.indices.map { span[$0] } }
    }

    @Test func `PBKDF2 with SHA-256 gives what RFC 7914 section 11 has`() throws {
        let one = try pbkdf2(
            password: Array("passwd".utf8).span, salt: Array("salt".utf8).span, iterations: 1,
            digest: .sha256, byteCount: 64)
        #expect(
            hex(one)
                == hexBytes(
                    "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
                        + "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"))
        let many = try pbkdf2(
            password: Array("Password".utf8).span, salt: Array("NaCl".utf8).span,
            iterations: 80_000, digest: .sha256, byteCount: 64)
        #expect(
            hex(many)
                == hexBytes(
                    "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
                        + "a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d"))
    }

    @Test func `PBKDF2 with SHA-512 gives what Python's hashlib does`() throws {
        let one = try pbkdf2(
            password: Array("passwd".utf8).span, salt: Array("salt".utf8).span, iterations: 1,
            digest: .sha512, byteCount: 64)
        #expect(
            hex(one)
                == hexBytes(
                    "c74319d99499fc3e9013acff597c23c5baf0a0bec5634c46b8352b793e324723"
                        + "d55caa76b2b25c43402dcfdc06cdcf66f95b7d0429420b39520006749c51a04e"))
    }

    @Test func `scrypt gives what RFC 7914 section 12 has`() throws {
        let output = try scrypt(
            password: Array("password".utf8).span, salt: Array("NaCl".utf8).span, logCost: 10,
            blockSize: 8, parallelism: 16, byteCount: 64)
        #expect(
            hex(output)
                == hexBytes(
                    "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
                        + "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"))
    }
}
