// Failures in words, for logs and commands alike.

extension StoreError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .busy: "the store is busy"
        case .unavailable(let reason): "the store is unavailable: \(reason)"
        case .schema(let reason): reason
        case .replaced: "the database was replaced while it was open"
        case .damaged(let place): "the store is damaged: \(place)"
        case .clockAhead(let seconds):
            "this machine's clock is \(seconds) s ahead of a running server's"
        }
    }
}

extension KeyringWrapFailure: CustomStringConvertible {
    package var description: String {
        switch self {
        case .otherRootKey(let ids, let given):
            "the keyring opens under root key \(ids.map(\.text).joined(separator: " and ")), "
                + "and this is \(given.text)"
        case .damaged: "the keyring does not open"
        case .sealing: "libcrypto could not seal"
        }
    }
}

extension RefreshFailure: CustomStringConvertible {
    package var description: String {
        switch self {
        case .store(let error): "\(error)"
        case .keyring(let failure): "\(failure)"
        case .noKeyring: "the store has no keyring"
        case .storeWentBack:
            "the store is another, older, or lost what it acknowledged; start this server again"
        case .notPublished: "the keyring could not be made ready"
        }
    }
}
