// The ring under its ring key, and the ring key under each root key: what opens, and what does not.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct KeyringEnvelopeTests {
    private let ring: Keyring

    init() throws { ring = try Keyring.first(at: time(noon), entropy: .system) }

    private func ids(_ ring: Keyring) -> [KeyID] {
        ring.keys.map(\.id) + ring.dataKeys.map(\.id)
    }

    private func next(_ ring: Keyring) throws -> Keyring {
        try Keyring(version: ring.version + 1, keys: ring.keys, dataKeys: ring.dataKeys)
    }

    /// `wrapped` with something else in its place.
    private func altered(
        _ wrapped: WrappedKeyring, version: UInt64? = nil, ringKey: RingKeyID?? = nil,
        sealed: [UInt8]? = nil, wraps: [WrappedKeyring.Wrap]? = nil
    ) -> WrappedKeyring {
        WrappedKeyring(
            version: version ?? wrapped.version, ringKey: ringKey ?? wrapped.ringKey,
            sealed: sealed ?? wrapped.sealed, wraps: wraps ?? wrapped.wraps)
    }

    private func failure(
        _ wrapped: WrappedKeyring, under root: borrowing RootKey
    ) -> KeyringWrapFailure? {
        do throws(KeyringWrapFailure) {
            _ = try root.unwrap(wrapped)
            return nil
        } catch { return error }
    }

    @Test func `whoever has one of two root keys changes the ring for both`() throws {
        let old = try RootKey.random(from: .system)
        let new = try RootKey.random(from: .system)
        let first = try old.wrap(ring, entropy: .system)
        #expect(first.rootKeys == [old.id])
        let both = try old.wrap(
            try next(ring), replacing: first, adding: new, entropy: .system)
        #expect(Set(both.rootKeys) == [old.id, new.id])
        #expect(both.ringKey == first.ringKey)
        var current = both
        for isOld in [true, false] {
            let changed = try old.unwrap(current)
                .addingPendingKey(at: time(noon), entropy: .system)
                .activatingPendingKeys(at: time(noon))
            current =
                isOld
                ? try old.wrap(changed, replacing: current, entropy: .system)
                : try new.wrap(changed, replacing: current, entropy: .system)
            #expect(current.wraps == both.wraps)
            #expect(try ids(old.unwrap(current)) == ids(changed))
            #expect(try ids(new.unwrap(current)) == ids(changed))
        }
    }

    @Test func `a removed root key opens nothing, even with its wrap put back`() throws {
        let old = try RootKey.random(from: .system)
        let new = try RootKey.random(from: .system)
        let both = try old.wrap(
            try next(ring), replacing: try old.wrap(ring, entropy: .system), adding: new,
            entropy: .system)
        let last = try new.wrap(try next(new.unwrap(both)), entropy: .system)
        #expect(try ids(new.unwrap(last)) == ids(ring))
        #expect(failure(last, under: old) == .otherRootKey([new.id], given: old.id))
        #expect(failure(altered(last, wraps: both.wraps), under: old) == .damaged)
        #expect(
            failure(altered(last, ringKey: both.ringKey, wraps: both.wraps), under: old) == .damaged
        )
    }

    @Test func `rows that were exchanged or relabelled do not open`() throws {
        let one = try RootKey.random(from: .system)
        let two = try RootKey.random(from: .system)
        let both = try one.wrap(
            try next(ring), replacing: try one.wrap(ring, entropy: .system), adding: two,
            entropy: .system)
        #expect(failure(both, under: one) == nil)
        #expect(failure(both, under: two) == nil)
        let exchanged = [(0, 1), (1, 0)].map { name, content in
            WrappedKeyring.Wrap(
                rootKey: both.wraps[name].rootKey, sealed: both.wraps[content].sealed)
        }
        #expect(failure(altered(both, wraps: exchanged), under: one) == .damaged)
        #expect(failure(altered(both, wraps: exchanged), under: two) == .damaged)
        // Another ring's wrap, under the right name.
        let other = try one.wrap(ring, entropy: .system)
        #expect(failure(altered(both, wraps: other.wraps), under: one) == .damaged)
        #expect(failure(altered(both, sealed: other.sealed), under: one) == .damaged)
        let ringKey = try #require(both.ringKey)
        for id in [RingKeyID(rawValue: ringKey.rawValue ^ 1), other.ringKey, nil] {
            #expect(
                failure(altered(both, ringKey: .some(id)), under: one) == .damaged, "\(id as Any)")
        }
        // An older ring under a newer version's number.
        #expect(failure(altered(both, version: both.version + 1), under: one) == .damaged)
        // No wrap at all.
        #expect(
            failure(altered(both, wraps: []), under: one) == .otherRootKey([], given: one.id))
    }

    @Test func `a ring or a wrap of which any bit was altered does not open`() throws {
        let root = try RootKey.random(from: .system)
        let wrapped = try root.wrap(ring, entropy: .system)
        for index in wrapped.sealed.indices {
            var sealed = wrapped.sealed
            sealed[index] ^= 1
            #expect(failure(altered(wrapped, sealed: sealed), under: root) == .damaged)
        }
        let wrap = try #require(wrapped.wraps.first?.sealed)
        #expect(wrap.count == 24 + 32 + 16)
        for index in wrap.indices {
            var sealed = wrap
            sealed[index] ^= 1
            let other = WrappedKeyring.Wrap(rootKey: root.id, sealed: sealed)
            #expect(failure(altered(wrapped, wraps: [other]), under: root) == .damaged)
        }
        for count in [0, 1, 39, 40] {
            #expect(
                failure(
                    altered(wrapped, sealed: Array(wrapped.sealed.prefix(count))), under: root)
                    == .damaged)
            let short = WrappedKeyring.Wrap(rootKey: root.id, sealed: Array(wrap.prefix(count)))
            #expect(failure(altered(wrapped, wraps: [short]), under: root) == .damaged)
        }
        #expect(
            failure(altered(wrapped, sealed: Array(wrapped.sealed.dropLast())), under: root)
                == .damaged)
    }

    @Test func `no ring key is made without randomness`() throws {
        let root = try RootKey.random(from: .system)
        #expect(throws: KeyringWrapFailure.sealing) { _ = try root.wrap(ring, entropy: .broken) }
    }

    // MARK: A ring of an earlier release

    private static let earlier = Vector.read("keyring-7.txt")[0]

    @Test
    func `a ring that an earlier release sealed opens, and gets a ring key by its next change`()
        throws
    {
        let vector = Self.earlier
        let root = try RootKey(text: Array(vector.text("root").utf8).span)
        #expect(root.id.text == vector.text("root_id"))
        let stored = WrappedKeyring(
            version: 3, ringKey: nil, sealed: vector.bytes("sealed"),
            wraps: [WrappedKeyring.Wrap(rootKey: root.id, sealed: [])])
        let opened = try root.unwrap(stored)
        #expect(
            opened.keys.map(\.id.text) == [vector.text("retiring"), vector.text("active")])
        #expect(opened.keys.map(\.state) == [.retiring, .active])
        #expect(opened.dataKeys.map(\.purpose) == [.pepper, .lookUp])
        #expect(failure(altered(stored, version: 4), under: root) == .damaged)
        #expect(failure(altered(stored, ringKey: RingKeyID(rawValue: 1)), under: root) == .damaged)
        let stranger = try RootKey.random(from: .system)
        #expect(throws: KeyringWrapFailure.self) { _ = try stranger.unwrap(stored) }
        let renamed = [WrappedKeyring.Wrap(rootKey: stranger.id, sealed: [])]
        #expect(failure(altered(stored, wraps: renamed), under: stranger) == .damaged)

        let changed = try root.wrap(try next(opened), replacing: stored, entropy: .system)
        #expect(changed.ringKey != nil)
        #expect(try ids(root.unwrap(changed)) == ids(opened))
        let both = try root.wrap(
            try next(opened), replacing: stored, adding: stranger, entropy: .system)
        #expect(try ids(stranger.unwrap(both)) == ids(opened))
        #expect(try ids(root.unwrap(both)) == ids(opened))
    }
}
