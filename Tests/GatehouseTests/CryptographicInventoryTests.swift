// The cryptographic inventory is what the code says (REQUIREMENTS KEY-7; ASVS 11.1.1 to 11.1.4).

import Foundation
import Testing

@Suite struct CryptographicInventoryTests {
    private static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    private static let page = root.appendingPathComponent(
        "Sources/GatehouseCore/GatehouseCore.docc/CryptographicInventory.md")

    /// `make inventory` writes the page instead.
    @Test func `the page is what the constants make of it`() throws {
        if ProcessInfo.processInfo.environment["WRITE_INVENTORY"] == "1" {
            try CryptographicInventory.page.write(to: Self.page, atomically: true, encoding: .utf8)
        }
        let page = try String(contentsOf: Self.page, encoding: .utf8)
        #expect(page == CryptographicInventory.page, "make inventory writes it")
    }

    /// ASVS 11.1.3: all cryptography in the code is found, and is in the inventory.
    @Test func `every call of a cryptographic library stands in the inventory`() throws {
        let calls = try Self.matches(
            of:
                /\b(?:EVP_(?!CIPHER_CTX|MD_CTX|KDF_CTX|CTRL_)\w+|RAND_\w+|PKCS5_\w+|CRYPTO_\w+|OPENSSL_cleanse|HMAC(?=\()|argon2_ctx|crypt_rn|getentropy|X509_sign)\b/
        )
        #expect(calls.subtracting(CryptographicInventory.calls.keys).sorted() == [])
        #expect(Set(CryptographicInventory.calls.keys).subtracting(calls).sorted() == [])
        #expect(calls.count > 10)
    }

    /// Every label that separates one use of a key from another.
    @Test func `every label of a derivation stands in the inventory`() throws {
        let labels = try Self.matches(of: /"gatehouse\/v1\/[^"\\]*/).map { String($0.dropFirst()) }
        #expect(Set(labels) == Set(CryptographicInventory.labels.keys))
    }

    private static func matches(of pattern: Regex<Substring>) throws -> Set<String> {
        let sources = root.appendingPathComponent("Sources")
        let files = try #require(
            FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil))
        var found: Set<String> = []
        for case let file as URL in files where ["swift", "c", "h"].contains(file.pathExtension) {
            let text = try String(contentsOf: file, encoding: .utf8)
            // Code, not what is said about it.
            for line in text.split(separator: "\n") {
                guard !line.drop(while: { $0 == " " }).hasPrefix("//") else { continue }
                for match in line.matches(of: pattern) { found.insert(String(match.output)) }
            }
        }
        return found
    }
}
