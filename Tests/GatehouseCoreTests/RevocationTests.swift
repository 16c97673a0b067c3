// The revocation index against a plain model, and its edges.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct RevocationTests {
    private static func entry(
        _ change: FeedEntry.Change, sequence: UInt64 = 1, deadline: Int64 = noon + 86_400
    ) -> FeedEntry {
        FeedEntry(sequence: sequence, change: change, deadline: time(deadline))
    }

    private static func snapshot(_ entries: [FeedEntry], at now: Int64 = noon) -> RevocationSnapshot
    {
        var index = RevocationIndex()
        index.apply(entries, at: time(now))
        return index.snapshot
    }

    @Test func `nothing is revoked in an empty index`() {
        #expect(!RevocationSnapshot.empty.revoke(.sample()))
    }

    @Test func `a revoked session is revoked, and its neighbour not`() {
        let snapshot = Self.snapshot([Self.entry(.session(Claims.sample(session: 1).session))])
        #expect(snapshot.revoke(.sample(session: 1)))
        #expect(!snapshot.revoke(.sample(session: 2)))
    }

    @Test func `an epoch revokes what is older, on both sides of it`() {
        let user = Claims.sample().user
        let snapshot = Self.snapshot([Self.entry(.user(user, minimumEpoch: 5))])
        #expect(snapshot.revoke(.sample(epoch: 4)))
        #expect(!snapshot.revoke(.sample(epoch: 5)))
        #expect(!snapshot.revoke(.sample(user: 3, epoch: 4)))
    }

    @Test func `a lower epoch that comes later does not lower it`() {
        let user = Claims.sample().user
        let snapshot = Self.snapshot([
            Self.entry(.user(user, minimumEpoch: 5)),
            Self.entry(.user(user, minimumEpoch: 3), sequence: 2),
        ])
        #expect(snapshot.revoke(.sample(epoch: 4)))
    }

    @Test func `the largest epoch there is revokes all but itself`() {
        let snapshot = Self.snapshot([
            Self.entry(.user(Claims.sample().user, minimumEpoch: .max))
        ])
        #expect(snapshot.revoke(.sample(epoch: .max - 1)))
        #expect(!snapshot.revoke(.sample(epoch: .max)))
    }

    @Test func `a time revokes sessions authenticated before it, on both sides`() {
        let snapshot = Self.snapshot([Self.entry(.authenticatedBefore(time(noon)))])
        #expect(snapshot.revoke(.sample(authenticated: noon - 1)))
        #expect(!snapshot.revoke(.sample(authenticated: noon)))
    }

    @Test func `an entry is kept until its deadline and the skew have passed`() {
        let session = Claims.sample().session
        let deadline = noon + 10
        var index = RevocationIndex()
        index.apply([Self.entry(.session(session), deadline: deadline)], at: time(noon))
        index.dropExpired(at: time(deadline + clockSkewSeconds))
        #expect(index.snapshot.revoke(.sample()))
        index.dropExpired(at: time(deadline + clockSkewSeconds + 1))
        #expect(!index.snapshot.revoke(.sample()))
        #expect(index.snapshot.counts.sessions == 0)
    }

    @Test func `an entry whose deadline can't be written is kept for ever`() {
        var index = RevocationIndex()
        index.apply(
            [Self.entry(.session(Claims.sample().session), deadline: UnixTime.maximumSeconds)],
            at: time(noon))
        index.dropExpired(at: time(UnixTime.maximumSeconds))
        #expect(index.snapshot.revoke(.sample()))
    }

    @Test func `the index agrees with a plain set through every merge`() {
        var generator = SeededGenerator()
        var index = RevocationIndex()
        var sessions = Set<SessionID>()
        var epochs: [UserID: UInt32] = [:]
        var sequence: UInt64 = 0
        func random(_ limit: UInt64) -> Identifier {
            // Few distinct low words make long probe sequences.
            Identifier(
                high: UInt64.random(in: 1...limit, using: &generator),
                low: UInt64.random(in: 0...3, using: &generator) << 62)
        }
        for _ in 0..<60 {
            let batch = (0..<Int.random(in: 1...400, using: &generator)).map { _ in
                sequence += 1
                if Bool.random(using: &generator) {
                    let id = SessionID(random(4000))
                    sessions.insert(id)
                    return Self.entry(.session(id), sequence: sequence)
                }
                let id = UserID(random(500))
                let epoch = UInt32.random(in: 1...100, using: &generator)
                epochs[id] = max(epochs[id] ?? 0, epoch)
                return Self.entry(.user(id, minimumEpoch: epoch), sequence: sequence)
            }
            index.apply(batch, at: time(noon))
        }
        let snapshot = index.snapshot
        for _ in 0..<4000 {
            let session = SessionID(random(4000))
            let user = UserID(random(500))
            let epoch = UInt32.random(in: 0...101, using: &generator)
            let claims = Claims(
                session: session, user: user, username: username("ada"), epoch: epoch,
                issued: time(noon), authenticated: time(noon), idleDeadline: time(noon + 1),
                absoluteDeadline: time(noon + 1), methods: [], level: .password,
                isRemembered: false)
            let expected = sessions.contains(session) || epoch < epochs[user] ?? 0
            #expect(snapshot.revoke(claims) == expected, "seed \(generator.seed)")
        }
        #expect(snapshot.counts.users >= epochs.count)
    }

    /// At start entries are put in place; what comes of it is what applying them gives, whatever sizes
    /// they come in and however many were expected.
    @Test(arguments: [0, 1, 100, 5000])
    func `loading gives what applying gives`(_ expected: Int) {
        var generator = SeededGenerator()
        func random() -> Identifier {
            Identifier(
                high: .random(in: 1 ... .max, using: &generator),
                low: .random(in: 0 ... .max, using: &generator))
        }
        var loaded = RevocationIndex()
        var applied = RevocationIndex()
        var sessions: [Identifier] = []
        var users: [(id: Identifier, epoch: UInt32)] = []
        for size in [1, 2, 7, 300, 2000] {
            var batch: [FeedEntry] = []
            for _ in 0..<size {
                sessions.append(random())
                users.append((random(), .random(in: 1...5, using: &generator)))
                batch.append(Self.entry(.session(SessionID(sessions[sessions.count - 1]))))
                batch.append(
                    Self.entry(
                        .user(
                            UserID(users[users.count - 1].id),
                            minimumEpoch: users[users.count - 1].epoch)))
            }
            loaded.load(batch, expected: expected, at: time(noon))
            applied.apply(batch, at: time(noon))
        }
        #expect(loaded.snapshot.counts == applied.snapshot.counts)
        #expect(loaded.snapshot.counts == (sessions.count, users.count))
        func claims(_ session: Identifier, _ user: Identifier, epoch: UInt32) -> Claims {
            Claims(
                session: SessionID(session), user: UserID(user),
                username: GatehouseTestSupport.username("ada"), epoch: epoch, issued: time(noon),
                authenticated: time(noon), idleDeadline: time(noon + 60),
                absoluteDeadline: time(noon + 60), methods: .password, level: .password,
                isRemembered: false)
        }
        for (session, user) in zip(sessions, users) {
            for snapshot in [loaded.snapshot, applied.snapshot] {
                #expect(snapshot.revoke(claims(session, random(), epoch: 9)))
                #expect(snapshot.revoke(claims(random(), user.id, epoch: user.epoch - 1)))
                #expect(!snapshot.revoke(claims(random(), user.id, epoch: user.epoch)))
            }
        }
    }

    @Test func `users and sessions spread over the table`() throws {
        // A UUID's second word starts with fixed bits; as a hash it would make one long run.
        let count = 20_000
        for isUser in [true, false] {
            let entries = try (0..<count).map { _ in
                RevocationEntry(
                    subject: isUser
                        ? try UserID.random(from: .system).value
                        : try Identifier.random(from: .system),
                    minimumEpoch: isUser ? 1 : 0, deadline: time(noon + 100))
            }
            let table = RevocationTable(merging: [], adding: entries, at: time(noon))
            #expect(table.count == count)
            #expect(table.longestProbe < 200)
        }
    }

    @Test func `an older snapshot stays as it was`() {
        var index = RevocationIndex()
        let before = index.snapshot
        index.apply([Self.entry(.session(Claims.sample().session))], at: time(noon))
        #expect(!before.revoke(.sample()))
        #expect(index.snapshot.revoke(.sample()))
    }
}
