// The keyring: its rules, its changes, and what wraps it.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct KeyringTests {
    private static func key(
        _ id: UInt32, _ state: KeyState, activated: Int64 = noon, ended: Int64 = noon
    ) throws -> TokenKey {
        TokenKey(
            id: try #require(KeyID(rawValue: id)), state: state, created: time(noon),
            activated: state == .pending ? nil : time(activated),
            ended: state == .retiring || state == .revoked ? time(ended) : nil,
            secret: state == .revoked
                ? nil : KeySecret(try Entropy.seeded(UInt64(id)).secret(32)))
    }

    @Test func `the first ring has one active key`() throws {
        let ring = try Keyring.first(at: time(noon), entropy: .system)
        #expect(ring.version == 1)
        #expect(ring.keys.map(\.state) == [.active])
        #expect(ring.active?.activated == time(noon))
    }

    @Test func `rotation adds a pending key, activates it and retires the one before`() throws {
        let first = try Keyring.first(at: time(noon), entropy: .system)
        let second = try first.addingPendingKey(at: time(noon + 1), entropy: .system)
        #expect(second.version == 2)
        #expect(second.active?.id == first.active?.id)
        let third = try second.activatingPendingKeys(at: time(noon + 2))
        #expect(third.version == 3)
        #expect(third.keys.map(\.state) == [.retiring, .active])
        #expect(third.active?.id == second.pending?.id)
        #expect(third.active?.activated == time(noon + 2))
        #expect(third.keys[0].ended == time(noon + 2))
    }

    @Test func `a key is not active since before it was added, though the clock went back`() throws
    {
        let pending = try Keyring.first(at: time(noon), entropy: .system)
            .addingPendingKey(at: time(noon + 100), entropy: .system)
        for (now, activated) in [(noon + 101, noon + 101), (noon + 99, noon + 100)] {
            let ring = try pending.activatingPendingKeys(at: time(now))
            #expect(ring.active?.activated == time(activated))
            #expect(ring.keys.first?.ended == time(now))
        }
    }

    @Test func `a second pending key and an activation without one are refused`() throws {
        let ring = try Keyring.first(at: time(noon), entropy: .system)
        #expect(throws: KeyringDefect.noPendingKey) {
            try ring.activatingPendingKeys(at: time(noon))
        }
        let pending = try ring.addingPendingKey(at: time(noon), entropy: .system)
        #expect(throws: KeyringDefect.severalPendingKeys) {
            try pending.addingPendingKey(at: time(noon), entropy: .system)
        }
    }

    @Test func `revoking the active key drops its secret and adds a pending one`() throws {
        let ring = try Keyring.first(at: time(noon), entropy: .system)
        let id = try #require(ring.active?.id)
        let (changed, revoked) = try #require(
            try ring.revoking(at: time(noon + 5), entropy: .system) { $0.id == id })
        #expect(revoked == [id])
        #expect(changed.active == nil)
        #expect(changed.key(id)?.state == .revoked)
        #expect(changed.key(id)?.secret == nil)
        #expect(changed.key(id)?.ended == time(noon + 5))
        #expect(changed.pending != nil)
        #expect(changed.version == ring.version + 1)
        #expect(try changed.revoking(at: time(noon), entropy: .system) { $0.id == id } == nil)
    }

    @Test func `revoking a retiring key leaves the active one`() throws {
        let ring = try Keyring.first(at: time(noon), entropy: .system)
            .addingPendingKey(at: time(noon), entropy: .system)
            .activatingPendingKeys(at: time(noon))
        let retiring = ring.keys[0].id
        let (changed, _) = try #require(
            try ring.revoking(at: time(noon), entropy: .system) { $0.id == retiring })
        #expect(changed.keys.map(\.state) == [.revoked, .active])
    }

    @Test func `a ring that breaks a rule is none`() throws {
        let active = try Self.key(1, .active)
        #expect(throws: KeyringDefect.severalActiveKeys) {
            try Keyring(version: 1, keys: [active, try Self.key(2, .active)])
        }
        #expect(throws: KeyringDefect.severalPendingKeys) {
            try Keyring(version: 1, keys: [try Self.key(3, .pending), try Self.key(2, .pending)])
        }
        #expect(throws: KeyringDefect.duplicateKeyID) {
            try Keyring(version: 1, keys: [active, try Self.key(1, .retiring)])
        }
        let revoked = try Self.key(4, .revoked)
        #expect(throws: KeyringDefect.secretDoesNotFitState) {
            try Keyring(
                version: 1,
                keys: [
                    TokenKey(
                        id: revoked.id, state: .revoked, created: time(0), activated: nil,
                        ended: nil, secret: active.secret)
                ])
        }
        #expect(throws: KeyringDefect.secretDoesNotFitState) {
            try Keyring(
                version: 1,
                keys: [
                    TokenKey(
                        id: active.id, state: .active, created: time(0), activated: nil,
                        ended: nil, secret: nil)
                ])
        }
    }

    /// Every combination of times in every state; what fits is written out here, not computed.
    @Test(arguments: KeyState.allCases)
    func `the times of a key fit its state`(_ state: KeyState) throws {
        let good: [KeyState: [[Bool]]] = [
            .pending: [[false, false]], .active: [[true, false]], .retiring: [[true, true]],
            .revoked: [[true, true], [false, true]],
        ]
        for (activated, ended) in [(false, false), (false, true), (true, false), (true, true)] {
            let key = TokenKey(
                id: try #require(KeyID(rawValue: 7)), state: state, created: time(noon),
                activated: activated ? time(noon) : nil, ended: ended ? time(noon) : nil,
                secret: state == .revoked ? nil : KeySecret(try Entropy.seeded(7).secret(32)))
            let keys = [key, try Self.key(1, state == .active ? .pending : .active)]
            if try #require(good[state]).contains([activated, ended]) {
                _ = try Keyring(version: 1, keys: keys)
            } else {
                #expect(throws: KeyringDefect.timesDoNotFitState, "\(activated) \(ended)") {
                    try Keyring(version: 1, keys: keys)
                }
            }
        }
    }

    @Test func `only a revocation leaves nothing to seal with`() throws {
        let retiring = try Self.key(1, .retiring)
        #expect(throws: KeyringDefect.noKeyToSealWith) {
            try Keyring(version: 1, keys: [retiring])
        }
        for state in [KeyState.active, .pending, .revoked] {
            _ = try Keyring(version: 1, keys: [retiring, try Self.key(2, state)])
        }
        // What was revoked stays until there is a key again: it is why there is none.
        let revoked = try Keyring(version: 1, keys: [retiring, try Self.key(2, .revoked)])
        func destroyed(in ring: Keyring) throws -> [KeyID]? {
            try ring.destroyingExpiredKeys(
                at: .maximum, leaseSeconds: 0, lastDeadline: { _ in nil })?.destroyed
        }
        #expect(try destroyed(in: revoked) == nil)
        let restored = try revoked.addingPendingKey(at: time(noon), entropy: .system)
        #expect(try destroyed(in: restored)?.count == 2)
    }

    @Test func `a key goes forward through its states, and no other way`() {
        let allowed: [(KeyState, KeyState?)] = [
            (.pending, .active), (.active, .retiring), (.retiring, nil), (.revoked, nil),
            (.pending, .revoked), (.active, .revoked), (.retiring, .revoked),
        ]
        for state in KeyState.allCases {
            for next in KeyState.allCases.map(Optional.some) + [nil] {
                let isAllowed = allowed.contains { $0.0 == state && $0.1 == next }
                #expect(
                    state.mayBecome(next) == isAllowed, "\(state) to \(String(describing: next))")
            }
        }
    }

    @Test func `a ring is followed by one change of the next version, and by nothing else`() throws
    {
        let ring = try Keyring(
            version: 5,
            keys: [
                try Self.key(1, .retiring), try Self.key(2, .active), try Self.key(3, .pending),
            ])
        let (retiring, active, pending) = (ring.keys[0], ring.keys[1], ring.keys[2])
        func follows(_ keys: [TokenKey], version: UInt64 = 6) throws -> Bool {
            ring.mayBecome(try Keyring(version: version, keys: keys))
        }
        #expect(try follows(ring.keys))
        #expect(try follows([active, pending]))
        #expect(
            try follows([
                try Self.key(1, .retiring), try Self.key(2, .retiring), try Self.key(3, .active),
            ]))
        for version in [0, 4, 5, 7] as [UInt64] {
            #expect(try !follows(ring.keys, version: version))
        }
        // An active key that is gone, one that goes back, one that skips, one that comes active.
        #expect(try !follows([retiring, pending]))
        #expect(try !follows([retiring, active]))
        #expect(try !follows([try Self.key(1, .active), try Self.key(2, .revoked), pending]))
        #expect(try !follows([retiring, active, try Self.key(3, .retiring)]))
        #expect(
            try !follows([retiring, try Self.key(2, .retiring), pending, try Self.key(4, .active)]))
    }

    @Test func `rotation ends at 64 keys, and the layout at 255`() throws {
        let keys =
            [try Self.key(1, .active)]
            + (try (2...256).map { try Self.key(UInt32($0), .retiring) })
        let last = try Keyring(version: 1, keys: Array(keys.prefix(Keyring.maximumKeys - 1)))
        let full = try last.addingPendingKey(at: time(noon), entropy: .system)
        #expect(full.keys.count == 64)
        #expect(throws: KeyringDefect.tooManyKeys) {
            try full.activatingPendingKeys(at: time(noon))
                .addingPendingKey(at: time(noon), entropy: .system)
        }
        _ = try Keyring(version: 1, keys: Array(keys.prefix(255)))
        #expect(throws: KeyringDefect.tooManyKeys) { try Keyring(version: 1, keys: keys) }
    }

    @Test(arguments: [64, 255])
    func `an emergency revocation is possible in a full ring, and without randomness`(
        _ count: Int
    ) throws {
        var keys = try (1..<count).map { try Self.key(UInt32($0), .retiring) }
        keys.append(try Self.key(1000, .active))
        let ring = try Keyring(version: 1, keys: keys)
        for entropy in [Entropy.system, .broken] {
            let (changed, revoked) = try #require(
                try ring.revoking(at: time(noon), entropy: entropy) { _ in true })
            #expect(revoked.count == count)
            #expect(changed.active == nil)
            #expect(changed.keys.prefix(count).allSatisfy { $0.state == .revoked })
        }
        let (changed, _) = try #require(
            try ring.revoking(at: time(noon), entropy: .system) { _ in true })
        #expect((changed.pending != nil) == (count < 255))
        let root = try RootKey.random(from: .system)
        #expect(try root.unwrap(root.wrap(changed, entropy: .system)).keys.count >= count)
    }

    @Test func `a key is destroyed only after its last token, the skew and a lease`() throws {
        let retiring = try Self.key(1, .retiring, activated: noon, ended: noon + 10)
        let ring = try Keyring(version: 5, keys: [retiring, try Self.key(2, .active)])
        let last = noon + 1000
        let margin: Int64 = 120 + clockSkewSeconds
        func destroyed(at now: Int64, lastDeadline: UnixTime?) throws -> [KeyID]? {
            try ring.destroyingExpiredKeys(
                at: time(now), leaseSeconds: 120, lastDeadline: { _ in lastDeadline })?.destroyed
        }
        #expect(try destroyed(at: last + margin, lastDeadline: time(last)) == nil)
        #expect(try destroyed(at: last + margin + 1, lastDeadline: time(last)) == [retiring.id])
        // A key that sealed nothing is kept for a lease after it ended.
        #expect(try destroyed(at: noon + 10 + margin, lastDeadline: nil) == nil)
        #expect(try destroyed(at: noon + 10 + margin + 1, lastDeadline: nil) == [retiring.id])
    }

    @Test func `active and pending keys are never destroyed`() throws {
        let ring = try Keyring(
            version: 5, keys: [try Self.key(1, .active), try Self.key(2, .pending)])
        #expect(
            try ring.destroyingExpiredKeys(
                at: .maximum, leaseSeconds: 0, lastDeadline: { _ in time(1) }) == nil)
    }

    @Test func `no key is made without randomness`() throws {
        #expect(throws: KeyringDefect.entropy) {
            try Keyring.first(at: time(noon), entropy: .broken)
        }
    }
}

@Suite struct RootKeyTests {
    private static func key(_ text: String) throws -> String {
        try RootKey(text: Array(text.utf8).span).id.text
    }

    private static let text = "gatehouse-root-key-1:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA"

    @Test func `a root key has one text and an id of its own`() throws {
        let key = try RootKey.random(from: .system)
        let text = key.withText { span in span.indices.map { span[$0] } }
        #expect(text.last == UInt8(ascii: "\n"))
        let read = try RootKey(text: text.span)
        #expect(read.id == key.id)
        #expect(try RootKey.random(from: .system).id != key.id)
        #expect(try Self.key(Self.text) == Self.key(Self.text + "\n"))
    }

    @Test func `a text that is no root key is refused with its reason`() {
        let zeros = "gatehouse-root-key-1:" + String(repeating: "A", count: 43)
        for (text, defect) in [
            ("", RootKeyDefect.format), ("hello\n", .format), ("gatehouse-root-key-1:", .format),
            ("gatehouse-root-key-2:" + Self.text.dropFirst(21), .format),
            (String(Self.text.dropLast()), .size), (Self.text + "A", .size),
            (Self.text + "\n\n", .size), (Self.text + "\r\n", .size), (" " + Self.text, .format),
            (Self.text.dropLast() + "=", .format), (Self.text.dropLast() + "B", .format),
            (zeros, .zero),
        ] as [(String, RootKeyDefect)] {
            #expect(throws: defect, "\(text)") { _ = try Self.key(text) }
        }
    }

    @Test func `a wrapped ring opens under its root key and no other`() throws {
        let ring = try Keyring.first(at: time(noon), entropy: .system)
            .addingPendingKey(at: time(noon + 1), entropy: .system)
            .activatingPendingKeys(at: time(noon + 2))
        let (withRevoked, _) = try #require(
            try ring.revoking(at: time(noon + 3), entropy: .system) { $0.state == .retiring })
        let root = try RootKey.random(from: .system)
        let wrapped = try root.wrap(withRevoked, entropy: .system)
        let opened = try root.unwrap(wrapped)
        #expect(opened.version == withRevoked.version)
        #expect(opened.keys.map(\.id) == withRevoked.keys.map(\.id))
        #expect(opened.keys.map(\.state) == [.revoked, .active])
        #expect(opened.keys.map(\.activated) == withRevoked.keys.map(\.activated))
        #expect(opened.keys.map(\.ended) == withRevoked.keys.map(\.ended))
        for (one, other) in zip(opened.keys, withRevoked.keys) {
            let secrets = [one, other].map { key in
                key.secret?.withSpan { span in span.indices.map { span[$0] } }
            }
            #expect(secrets[0] == secrets[1])
        }
        let stranger = try RootKey.random(from: .system)
        let failure = #expect(throws: KeyringWrapFailure.self) { _ = try stranger.unwrap(wrapped) }
        #expect(failure == .otherRootKey([root.id], given: stranger.id))
    }
}
