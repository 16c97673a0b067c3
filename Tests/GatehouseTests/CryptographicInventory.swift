// The cryptographic inventory, written from the constants that the code uses.

import GatehousePasswords
import Testing

@testable import GatehouseCore
@testable import gatehouse

/// Every key, algorithm and use of randomness. A new purpose of a key does not compile until it is described
/// here, and a new call or label fails its test.
enum CryptographicInventory {
    private static let settings = Settings()

    private static func uses(_ purpose: TokenPurpose) -> (uses: String, lives: String) {
        let days = { (seconds: Int64) in "\(seconds / 86_400) d" }
        switch purpose {
        case .session:
            return ("session cookies and bearer tokens", days(settings.sessionAbsoluteSeconds))
        case .remember: return ("remember cookies", days(settings.rememberAbsoluteSeconds))
        case .device: return ("device cookies", "180 d after the last sign-in")
        case .referral: return ("referral cookies; none is sealed yet", "none")
        case .form: return ("form tokens and the form cookie, against forged requests", "a form's")
        }
    }

    private static func uses(_ purpose: DataKeyPurpose) -> String {
        switch purpose {
        case .pepper: "HMAC over Argon2's output, before it is stored or compared"
        case .lookUp: "HMAC over names that rows are found by and must not say"
        case .audit: "HMAC over the entries of the audit trail, each with the one before it"
        case .profile:
            "HKDF to one key that seals profiles and their history, and one for HMAC over what people are "
                + "found by"
        }
    }

    private static let keyRows: [[String]] =
        [
            [
                "root key", "\(8 * RootKey.byteCount)",
                "HKDF to the wrapping key and to its own id",
                "anything in the database, or a password", "until the operator replaces it",
                "its file; secret memory",
            ],
            [
                "wrapping key", "\(8 * XAES256GCM.keyBytes)",
                "seals the ring key; the ring itself in rows of earlier releases",
                "anything else", "one wrap or unwrap", "secret memory, for that long",
            ],
            [
                "ring key", "\(8 * XAES256GCM.keyBytes)", "seals the ring in the database",
                "anything else", "until a root key is removed, which makes another",
                "the database, sealed under each root key; secret memory, for one look or change",
            ],
            [
                "token key", "\(8 * KeySecret.byteCount)", "HKDF to one key for each purpose below",
                "encryption itself", "until the last token under it has expired, or it is revoked",
                "the sealed ring; secret memory",
            ],
        ]
        + TokenPurpose.allCases.map { purpose in
            let (uses, lives) = uses(purpose)
            return [
                "… for `\(purpose.rawValue)`", "\(8 * XAES256GCM.keyBytes)", uses,
                "tokens of another purpose", "the token key's; what it seals: \(lives)",
                "secret memory, expanded",
            ]
        }
        + [
            [
                "message key", "256", "one token or ring", "a second one", "one call",
                "secret memory, wiped after it",
            ]
        ]
        + DataKeyPurpose.allCases.map { purpose in
            [
                "data key `\(purpose.name)`", "\(8 * KeySecret.byteCount)", uses(purpose),
                "tokens; untouched by `keys revoke`", "while a row depends on it",
                "the sealed ring; secret memory",
            ]
        }
        + [
            [
                "keys of TLS certificates", "the certificate's",
                "TLS of the front door and the check endpoint",
                "tokens", "the certificate's", "files; the heap of swift-nio-ssl",
            ]
        ]

    private static let algorithmRows: [[String]] = [
        [
            "XAES-256-GCM (C2SP)",
            "key \(8 * XAES256GCM.keyBytes), nonce \(8 * XAES256GCM.nonceBytes) random, "
                + "tag \(8 * XAES256GCM.tagBytes) bits", "tokens, the ring, profiles",
        ],
        [
            "AES-256-GCM (SP 800-38D)",
            "nonce \(8 * AES256GCM.nonceBytes), tag \(8 * AES256GCM.tagBytes) bits; "
                + "one message a key", "inside XAES",
        ],
        ["AES-256-CMAC (SP 800-38B, SP 800-108r1)", "counter mode, label \"X\"", "inside XAES"],
        ["HKDF-SHA-256 (RFC 5869)", "empty salt; the labels below", "every derived key"],
        ["HMAC-SHA-256 (FIPS 198-1)", "key 256 bits", "data keys"],
        [
            "SHA-256 (FIPS 180-4)", "",
            "links and codes as they are stored; the checksum of a password filter; the head of the "
                + "audit trail, and what its entries hold of personal fields (with a salt)",
        ],
        [
            "Argon2id (RFC 9106)",
            "m \(Argon2Parameters.standard.memoryKiB) KiB, t \(Argon2Parameters.standard.iterations), "
                + "p \(Argon2Parameters.standard.lanes) unless configured; salt \(8 * PasswordHash.saltBytes), "
                + "output \(8 * PasswordHash.outputBytes) bits", "passwords",
        ],
        [
            "Argon2i, scrypt, PBKDF2, and crypt(3)'s bcrypt, sha512crypt and yescrypt",
            "as imported, within bounds",
            "imported password hashes, until their owner's next sign-in; never made",
        ],
        ["SHA-1", "", "lists of leaked passwords, which are published so; protects nothing"],
        [
            "TLS 1.3 and 1.2 (BoringSSL in swift-nio-ssl)",
            "1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305 only",
            "the front door and the check endpoint",
        ],
        ["ECDSA with P-256", "", "certificates of `serve --dev`; refused in production"],
    ]

    /// What is asked of a library, and where it belongs.
    static let calls: [String: String] = [
        "EVP_aes_256_ecb": "AES-256 blocks for CMAC", "EVP_aes_256_gcm": "AES-256-GCM",
        "EVP_EncryptInit_ex": "AES", "EVP_EncryptUpdate": "AES", "EVP_EncryptFinal_ex": "AES",
        "EVP_DecryptInit_ex": "AES", "EVP_DecryptInit_ex2": "AES", "EVP_DecryptUpdate": "AES",
        "EVP_DecryptFinal_ex": "AES", "EVP_CipherInit_ex": "the name in an error",
        "EVP_KDF_fetch": "HKDF", "EVP_KDF_free": "HKDF", "EVP_KDF_derive": "HKDF", "HMAC": "HMAC",
        "EVP_sha256": "SHA-256", "EVP_sha512": "PBKDF2 of imports", "EVP_Digest": "SHA-256",
        "EVP_MD_fetch": "SHA-1, SHA-256", "EVP_MD_free": "SHA-1, SHA-256",
        "EVP_DigestInit_ex2": "SHA-1, SHA-256", "EVP_DigestUpdate": "SHA-1, SHA-256",
        "EVP_DigestFinal_ex": "SHA-1, SHA-256", "PKCS5_PBKDF2_HMAC": "PBKDF2 of imports",
        "EVP_PBE_scrypt": "scrypt of imports", "argon2_ctx": "Argon2",
        "crypt_rn": "crypt(3) of imports",
        "getentropy": "randomness", "CRYPTO_memcmp": "comparison in constant time",
        "CRYPTO_set_mem_functions": "secret memory", "OPENSSL_cleanse": "wiping",
        "EVP_EC_gen": "development certificates", "EVP_PKEY": "development certificates",
        "EVP_PKEY_free": "development certificates", "X509_sign": "development certificates",
        "RAND_bytes": "serial numbers of development certificates", "EVP_KDF": "HKDF",
    ]

    /// What separates one use of a key from another.
    static let labels: [String: String] = [
        "gatehouse/v1/root-key-id": "HKDF of the root key to its id, which is no secret",
        "gatehouse/v1/keyring":
            "of earlier releases' rings: HKDF of the root key to the wrapping key; associated data",
        "gatehouse/v1/keyring/2": "associated data of the ring",
        "gatehouse/v1/ring-key":
            "HKDF of the root key to the wrapping key; associated data of the ring key",
        "gatehouse/v1/audit": "what an entry of the audit trail is authenticated as",
        "gatehouse/v1/audit-base": "what retention leaves of a chain is authenticated as",
        "gatehouse/v1/audit-head": "SHA-256 of the ends of all chains",
        "gatehouse/v1/audit-personal": "SHA-256 of an entry's salt and personal fields",
        "gatehouse/v1/token/": "and the purpose: HKDF of a token key",
        "gatehouse/v1/data/":
            "and the purpose, for the digests of profiles also `/search`: HKDF of a data key",
        "gatehouse/v1/profile": "associated data of a profile, or an entry of its history",
        "gatehouse/v1/": "and audience, purpose and transport: associated data of a token",
    ]

    private static func table(_ head: [String], _ rows: [[String]]) -> String {
        ([head, head.map { _ in "---" }] + rows)
            .map { "| " + $0.joined(separator: " | ") + " |" }.joined(separator: "\n")
    }

    private static func table(_ head: [String], _ rows: [String: String]) -> String {
        table(head, rows.sorted { $0.key < $1.key }.map { ["`\($0.key)`", $0.value] })
    }

    static let page = """
        # Cryptographic inventory

        Every key, algorithm and source of randomness. Written by `make inventory` from the code's constants; a test fails when it is out of
        date, when a call of a cryptographic library is missing, or a label (REQUIREMENTS KEY-7; ASVS 11.1.1 to 11.1.4).

        ## Keys

        \(table(["key", "bits", "used for", "never for", "lives", "is held in"], keyRows))

        All are random bytes of the kernel, or derived from such; none is made from a password or a name. The life of a token key has its states
        (SP 800-57): pending, active, retiring, revoked, destroyed; see <doc:TokenFormat>. <doc:SecretMemory> says how keys are held.

        ## Algorithms

        \(table(["algorithm", "parameters", "used for"], algorithmRows))

        Nothing in a token, a cookie or a request chooses an algorithm. There are no signatures and no public keys but those of TLS.

        ## Labels

        \(table(["label", "use"], labels))

        ## Randomness

        Everything random comes from the kernel through getentropy(3): keys, ids, nonces, salts. When it gives none, what needed it fails, and
        nothing weaker takes its place. The kernel's generator is seeded anew for children that fork, and after a virtual machine was copied or
        set back where the kernel has vmgenid; no generator of ours keeps a state that a fork or a snapshot would repeat. Nonces have 192 random
        bits, so that even without vmgenid two copies meet only if the kernel gives both the same bytes.

        ## Calls

        \(table(["call", "for"], calls))

        ## Quantum computers

        Tokens, the ring and stored hashes rest on 256-bit symmetric keys, HMAC-SHA-256 and Argon2id: Grover's algorithm leaves 128 bits of
        them. At risk is what TLS exchanges: a recording could be opened later. Sessions have ended by then, passwords in it have not. TLS is
        swift-nio-ssl's, whose BoringSSL offers the hybrid key exchange X25519MLKEM768 first; certificates follow when authorities issue them. A new token format gets a new version byte, which every node must open before one seals it.

        """
}
