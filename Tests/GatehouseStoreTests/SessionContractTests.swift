// The contract of `Store` about how sessions begin, are used, listed and ended, run on every backend.

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import Testing

@Suite struct SessionContractTests {
    private let directory = TemporaryDirectory()

    private func commandAudit(_ kind: AuditEvent.Kind) -> AuditEvent {
        AuditEvent(kind, by: .command)
    }

    // MARK: Taking the place of a session

    @Test(arguments: Backend.allCases)
    func `a session takes the place of a live one, and its series goes on with it`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let first = try await store.makeSignIn(ada, remembers: true)
        let series = try #require(first.series)
        // The store's idle deadline has passed; the token may know a later one.
        let now = noon + idle
        let second = try await store.signIn(ada, at: now, superseding: first.id)
        #expect(second.outcome == .created(position: 1))
        #expect(try await store.isRevoked(first.id))
        #expect(try await store.session(second.id)?.series == series.id, "lineage")
        let view = try #require(try await store.remembered(series.id, at: time(now)))
        #expect(view.session?.id == second.id)
        #expect(view.series.state.wasPresented, "the session that asked for it had arrived")
        #expect(try await store.feed(after: 0, limit: 9).map(\.change) == [.session(first.id)])
        // Theft ends what was stepped up, too.
        _ = try await store.present(series.id, 1, at: now)
        #expect(try await store.present(series.id, 2, at: now + 1)?.rule == .repeatCurrent)
        #expect(try await store.present(series.id, 1, at: now + grace)?.rule == .theft)
        #expect(try await store.isRevoked(second.id))
    }

    @Test(arguments: Backend.allCases)
    func `nothing takes the place of a session that has ended in any way, or of another's`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, bob) = (try await store.makeUser("ada"), try await store.makeUser("bob"))
        let ended = try await store.makeSignIn(ada)
        _ = try await store.logOut([ended.id])
        let others = try await store.makeSignIn(bob)
        let unknown = SessionID(try Identifier.random(from: .system))
        let live = try await store.makeSignIn(ada)
        for old in [ended.id, others.id, unknown] {
            #expect(try await store.signIn(ada, superseding: old).outcome == .userChanged)
        }
        // Both sides of the absolute deadline.
        let last = noon + absolute - 1
        let next = try await store.signIn(ada, at: last, superseding: live.id)
        #expect(next.outcome == .created(position: 2))
        let old = try await store.makeSignIn(bob, at: noon)
        let at = noon + absolute
        #expect(try await store.signIn(bob, at: at, superseding: old.id).outcome == .userChanged)
        // The time that was written stays, whatever a clock says.
        _ = try await store.makeUser("eve", at: at)
        #expect(try await store.signIn(bob, superseding: old.id).outcome == .userChanged)
        // A revocation by time ends what was begun before it.
        _ = try await store.revokeSessions(
            authenticatedBefore: time(at), audit: commandAudit(.sessionsRevokedBefore),
            at: time(at))
        #expect(
            try await store.signIn(ada, at: at, superseding: next.id).outcome == .userChanged)
        #expect(try await store.sessions(of: bob.id, limit: 9).count == 2)
    }

    @Test(arguments: Backend.allCases)
    func `a sign-in ends what the browser presented, whosever that is, and what belongs to it`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, bob) = (try await store.makeUser("ada"), try await store.makeUser("bob"))
        let bySession = try await store.makeSignIn(ada, remembers: true)
        let bySeries = try await store.makeSignIn(bob, remembers: true)
        let untouched = try await store.makeSignIn(bob, remembers: true)
        let unknown = SessionID(try Identifier.random(from: .system))
        let begun = try await store.signIn(
            bob, remembers: true,
            ending: PresentedIDs(
                sessions: [unknown, bySession.id], series: [try #require(bySeries.series).id]))
        #expect(begun.outcome == .created(position: 2))
        for gone in [bySession, bySeries] {
            #expect(try await store.isRevoked(gone.id))
            #expect(try await !store.isRemembered(gone.series, at: noon))
        }
        for kept in [untouched, begun] {
            #expect(try await !store.isRevoked(kept.id))
            #expect(try await store.isRemembered(kept.series, at: noon))
        }
        #expect(try await store.session(unknown) == nil, "nothing is adopted")
    }

    // MARK: How many

    private func limit(_ maximum: Int, _ atLimit: SessionLimit.AtLimit) -> SessionLimit {
        SessionLimit(maximum: maximum, atLimit: atLimit)
    }

    @Test(arguments: Backend.allCases)
    func `the oldest sign-in ends for one too many, and its series does not`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let two = limit(2, .endOldest)
        let first = try await store.makeSignIn(ada, at: noon, remembers: true)
        let second = try await store.signIn(ada, at: noon + 1, limit: two)
        #expect(try await !store.isRevoked(first.id))
        let third = try await store.signIn(ada, at: noon + 2, limit: two)
        #expect(third.outcome == .created(position: 1))
        #expect(try await store.isRevoked(first.id))
        #expect(try await !store.isRevoked(second.id))
        #expect(try await store.isRemembered(first.series, at: noon + 2))
        // The browser comes back, and then it is another that ends.
        let series = try #require(first.series)
        let back = try await store.present(series.id, 1, at: noon + 100, limit: two)
        #expect(back?.rule == .advance(to: 2))
        #expect(try await store.isRevoked(second.id))
        #expect(try await !store.isRevoked(third.id))
    }

    @Test(arguments: Backend.allCases)
    func `issued, ended and expired sessions, and what ends with the sign-in, do not count`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, bob) = (try await store.makeUser("ada"), try await store.makeUser("bob"))
        let one = limit(1, .refuse)
        for _ in 0..<3 { _ = try await store.signIn(ada, methods: []) }
        _ = try await store.makeSignIn(ada, at: noon - idle)
        _ = try await store.makeSignIn(bob)
        let first = try await store.signIn(ada, limit: one)
        #expect(first.outcome == .created(position: 0))
        #expect(try await store.signIn(ada, limit: one).outcome == .limitReached)
        let second = try await store.signIn(
            ada, remembers: true, ending: PresentedIDs(sessions: [first.id]), limit: one)
        #expect(second.outcome == .created(position: 1))
        let third = try await store.signIn(
            ada, ending: PresentedIDs(series: [try #require(second.series).id]), limit: one)
        #expect(third.outcome == .created(position: 2))
        let stepUp = try await store.signIn(ada, superseding: third.id, limit: one)
        #expect(stepUp.outcome == .created(position: 3))
        _ = try await store.logOut([stepUp.id])
        #expect(try await store.signIn(ada, limit: one).outcome == .created(position: 4))
    }

    @Test(arguments: Backend.allCases)
    func `a remembered browser counts once however often it comes back`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let two = limit(2, .refuse)
        let series = try #require(try await store.makeSignIn(ada, remembers: true).series)
        for generation in 1...3 as ClosedRange<UInt32> {
            let at = noon + Int64(generation) * grace
            let back = try await store.present(series.id, generation, at: at, limit: two)
            #expect(back?.rule == .advance(to: generation + 1))
        }
        let at = noon + 4 * grace - 1
        #expect(try await store.signIn(ada, at: at, limit: two).outcome == .created(position: 3))
        #expect(try await store.signIn(ada, at: at, limit: two).outcome == .limitReached)
        // It has its place already; without a session it needs one.
        #expect(
            try await store.present(series.id, 4, at: at, limit: limit(1, .refuse))?.rule
                == .repeatCurrent)
        let current = try #require(try await store.remembered(series.id, at: time(at))?.session)
        _ = try await store.signIn(ada, at: at + idle - 1, limit: limit(9, .refuse))
        #expect(current.idleDeadline < time(at + idle))
        #expect(
            try await store.present(series.id, 4, at: at + idle, limit: limit(1, .refuse)) == nil)
        #expect(
            try await store.present(series.id, 4, at: at + idle, limit: two)?.rule
                == .advance(to: 5))
    }

    @Test(arguments: Backend.allCases, SessionLimit.AtLimit.allCases)
    func `of twenty racing sign-ins under a cap of five, five are live`(
        _ backend: Backend, _ atLimit: SessionLimit.AtLimit
    ) async throws {
        let stores = [try backend.open(directory), try backend.open(directory)]
        let ada = try await stores[0].makeUser("ada")
        let five = limit(5, atLimit)
        let outcomes = try await race(20) { index in
            try await stores[index % 2].signIn(ada, remembers: index % 3 == 0, limit: five).outcome
        }
        let refused = outcomes.count { $0 == .limitReached }
        #expect(refused == (atLimit == .refuse ? 15 : 0))
        let all = try await stores[0].sessions(of: ada.id, limit: 100)
        #expect(all.count == 20 - refused)
        #expect(all.count { $0.revoked == nil } == 5)
        #expect(try await stores[1].feed(after: 0, limit: 100).count == 15 - refused)
    }

    // MARK: Use

    @Test(arguments: Backend.allCases)
    func `a live session is renewed, until the later of two idle deadlines and never past its end`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let session = try await store.makeSignIn(ada)
        func deadline() async throws -> Int64? {
            try await store.session(session.id).map { $0.idleDeadline.seconds - noon }
        }
        #expect(try await store.renew(session.id, at: noon + idle - 1) == .renewed)
        #expect(try await deadline() == 2 * idle - 1)
        // By the store it is idle, by its token it is not.
        let at = noon + 2 * idle
        #expect(try await store.renew(session.id, at: at, known: at) == .ended)
        #expect(try await store.renew(session.id, at: at, known: at + 1, key: 9) == .renewed)
        #expect(try await deadline() == 3 * idle)
        let stored = try #require(try await store.session(session.id))
        #expect(stored.lastUsed == time(at))
        let key = try #require(KeyID(rawValue: 9))
        #expect(
            try await store.keyUsage()[key]
                == KeyUsage(sealed: 1, lastDeadline: time(noon + absolute)))
        let end = noon + absolute
        #expect(try await store.renew(session.id, at: end - 1, known: end) == .renewed)
        #expect(try await deadline() == absolute, "no further")
        #expect(try await store.session(session.id)?.absoluteDeadline == time(end))
        #expect(try await store.renew(session.id, at: end, known: end + idle) == .ended)
        // A clock that was set back revives nothing.
        #expect(try await store.renew(session.id, at: end - 1, known: end) == .ended)
        #expect(try await store.renew(session.id, at: noon, known: end) == .ended)
    }

    @Test(arguments: Backend.allCases)
    func `a session that has ended in any way is not renewed, and is not changed`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        var ended: [SessionID] = []
        for name in ["revoked", "epoch", "disabled", "renamed", "floor", "idle"] {
            let user = try await store.makeUser(name)
            let session = try await store.makeSignIn(user)
            ended.append(session.id)
            switch name {
            case "revoked": _ = try await store.logOut([session.id])
            case "epoch":
                _ = try await store.revokeSessions(
                    of: user.id, audit: commandAudit(.sessionsRevokedForUser), at: time(noon))
            case "disabled": _ = try await store.set(user, .disabled)
            case "renamed":
                _ = try await store.renameUser(
                    user.id, to: username("other"), takingReserved: false,
                    audit: commandAudit(.userRenamed), at: time(noon))
            case "floor":
                #expect(try await store.renew(session.id, at: noon) == .renewed)
                _ = try await store.revokeSessions(
                    authenticatedBefore: time(noon + 1),
                    audit: commandAudit(.sessionsRevokedBefore), at: time(noon))
            default: break
            }
            let before = try await store.session(session.id)
            let at = name == "idle" ? noon + idle : noon + 1
            #expect(try await store.renew(session.id, at: at) == .ended, "\(name)")
            #expect(try await store.session(session.id) == before, "\(name)")
        }
        let unknown = SessionID(try Identifier.random(from: .system))
        #expect(try await store.renew(unknown, at: noon) == .ended)
        let key = try #require(KeyID(rawValue: 7))
        #expect(try await store.keyUsage()[key]?.sealed == 7, "six began, one was renewed")
    }

    @Test(arguments: Backend.allCases)
    func `a session sealed with another ring is not renewed`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let session = try await store.makeSignIn(try await store.makeUser("ada"))
        let outcome = try await store.renewSession(
            SessionRenewal(
                session: session.id, idleDeadline: .zero, idleSeconds: idle,
                seal: try store.seal(version: 1)), at: time(noon + 1))
        #expect(outcome == .outdated)
        #expect(try await store.session(session.id)?.lastUsed == nil)
    }

    @Test(arguments: Backend.allCases)
    func `in a thousand races of use, renewal and logout nothing comes back`(
        _ backend: Backend
    ) async throws {
        let stores = [try backend.open(directory), try backend.open(directory)]
        let ada = try await stores[0].makeUser("ada")
        let sessions = try (0..<1000).map { _ in
            try SessionRecord(
                for: ada, at: time(noon), floor: .zero, limits: stores[0].limits(),
                methods: .password, level: .password, entropy: .system)
        }
        _ = try await stores[0].create(sessions)
        for (round, session) in sessions.enumerated() {
            let (here, there) = (stores[round % 2], stores[(round + 1) % 2])
            let at = noon + 100
            _ = try await race(3) { part in
                switch (part + round) % 3 {
                case 0: try await here.touch(session.id, at: at)
                case 1: _ = try await there.renew(session.id, at: at)
                default:
                    #expect(try await here.logOut([session.id], at: at) == 1)
                    let after = try await here.session(session.id)
                    #expect(try await here.renew(session.id, at: at + 200) == .ended)
                    try await here.touch(session.id, at: at + 200)
                    #expect(try await here.session(session.id) == after)
                }
            }
        }
        let all = try await stores[1].sessions(of: ada.id, limit: 2000)
        #expect(all.count == 1000 && all.allSatisfy { $0.revoked != nil })
        let feed = try await stores[1].feed(after: 0, limit: 2000)
        #expect(feed.count == 1000)
        #expect(Set(feed.map(\.change)) == Set(sessions.map { .session($0.id) }))
        #expect(feed.allSatisfy { $0.deadline == time(noon + absolute) })
    }

    @Test(arguments: Backend.allCases)
    func `of a step-up that races with a logout no session stays`(
        _ backend: Backend
    ) async throws {
        let stores = [try backend.open(directory), try backend.open(directory)]
        let ada = try await stores[0].makeUser("ada")
        for round in 0..<60 {
            let first = try await stores[0].makeSignIn(ada, remembers: true)
            let series = try #require(first.series)
            let stepped = try await race(2) { part in
                if part == round % 2 {
                    return try await stores[0].signIn(ada, superseding: first.id)
                }
                _ = try await stores[1].logOut([first.id], [series.id])
                return nil
            }.compactMap(\.self)
            #expect(try await stores[1].isRevoked(first.id))
            #expect(try await !stores[1].isRemembered(series, at: noon))
            let second = try #require(stepped.first)
            if case .created = second.outcome {
                #expect(try await stores[1].isRevoked(second.id), "round \(round)")
            } else {
                #expect(second.outcome == .userChanged)
            }
        }
        let feed = try await stores[0].feed(after: 0, limit: 1000)
        #expect(Set(feed.map(\.change)).count == feed.count, "each ended once")
    }

    @Test(arguments: Backend.allCases)
    func `the first use of a remembered session is always written, later ones in steps`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let plain = try await store.makeSignIn(ada)
        let first = try await store.makeSignIn(ada, remembers: true)
        let series = try #require(first.series)
        func wasPresented() async throws -> Bool? {
            try await store.remembered(series.id, at: time(noon))?.series.state.wasPresented
        }
        #expect(try await wasPresented() == false)
        for id in [plain.id, first.id] { try await store.touch(id, at: noon + 1) }
        #expect(try await store.session(plain.id)?.lastUsed == nil)
        #expect(try await store.session(first.id)?.lastUsed == time(noon + 1))
        #expect(try await store.session(first.id)?.idleDeadline == time(noon + 1 + idle))
        #expect(try await wasPresented() == true)
        for used in [61, 10, -5] as [Int64] { try await store.touch(first.id, at: noon + used) }
        #expect(try await store.session(first.id)?.lastUsed == time(noon + 1), "a step is 60 s")
        try await store.touch(first.id, at: noon + 62)
        #expect(try await store.session(first.id)?.lastUsed == time(noon + 62))
    }

    // MARK: Where a user is signed in

    @Test(arguments: Backend.allCases)
    func `sign-ins are listed with what was used last first, and what has ended is not`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, bob) = (try await store.makeUser("ada"), try await store.makeUser("bob"))
        _ = try await store.makeSignIn(bob, remembers: true)
        let plain = try await store.makeSignIn(ada, at: noon)
        let series = try await store.makeSignIn(ada, at: noon + 10, remembers: true)
        let ended = try await store.makeSignIn(ada, at: noon + 20, remembers: true)
        _ = try await store.logOut([ended.id], at: noon + 20)
        try await store.touch(plain.id, at: noon + 100)
        let list = try await store.signIns(of: ada.id, at: time(noon + 100))
        #expect(
            list == [
                SignIn(
                    session: plain.id, isRemembered: false, created: time(noon),
                    lastUsed: time(noon + 100), origin: plain.session.origin),
                SignIn(
                    session: series.id, isRemembered: true, created: time(noon + 10),
                    lastUsed: time(noon + 10), origin: series.session.origin),
            ])
        // Its row goes; the series still brings the browser back, and is ended by that same id.
        let later = noon + 2 * absolute
        _ = try await store.prune(limit: 100, at: time(later))
        #expect(try await store.session(series.id) == nil)
        #expect(
            try await store.signIns(of: ada.id, at: time(later)) == [
                SignIn(
                    session: series.id, isRemembered: true, created: time(noon + 10),
                    lastUsed: time(noon + 10), origin: series.session.origin)
            ])
        func end(_ id: SessionID, of user: User) async throws -> RevocationOutcome {
            try await store.endSignIn(id, of: user.id, audit: .sessionRevoked, at: time(later))
        }
        #expect(try await end(series.id, of: bob) == .notFound)
        #expect(try await store.isRemembered(series.series, at: later))
        #expect(try await end(series.id, of: ada) == .revoked(position: 1, sessions: 0))
        #expect(try await !store.isRemembered(series.series, at: later))
        #expect(try await store.signIns(of: ada.id, at: time(later)).isEmpty)
        #expect(try await end(series.id, of: ada) == .notFound)
    }

    @Test(arguments: Backend.allCases)
    func `nobody ends the session of somebody else, and the series of one's own ends with it`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, bob) = (try await store.makeUser("ada"), try await store.makeUser("bob"))
        let session = try await store.makeSignIn(ada, remembers: true)
        func end(_ user: User) async throws -> RevocationOutcome {
            try await store.endSignIn(
                session.id, of: user.id, audit: .sessionRevoked, at: time(noon))
        }
        #expect(try await end(bob) == .notFound)
        #expect(try await !store.isRevoked(session.id))
        #expect(try await end(ada) == .revoked(position: 1, sessions: 1))
        #expect(try await store.isRevoked(session.id))
        #expect(try await !store.isRemembered(session.series, at: noon))
    }

    @Test(arguments: Backend.allCases)
    func `ending the others spares the current sign-in and its series`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, bob) = (try await store.makeUser("ada"), try await store.makeUser("bob"))
        let others = [
            try await store.makeSignIn(ada), try await store.makeSignIn(ada, remembers: true),
            try await store.signIn(ada, methods: []),
        ]
        let lost = try await store.makeSignIn(ada, remembers: true)
        let kept = try await store.makeSignIn(ada, at: noon + absolute - 1, remembers: true)
        let stranger = try await store.makeSignIn(bob, remembers: true)
        // Of this series only the cookie is left.
        _ = try await store.signIn(
            ada, limit: SessionLimit(maximum: 1, atLimit: .refuse))
        func end(_ user: User, _ session: SessionID, _ now: Int64) async throws -> Int? {
            let outcome = try await store.endSignIns(of: user.id, except: session, at: time(now))
            guard case .revoked(_, let ended) = outcome else { return nil }
            return ended
        }
        #expect(try await end(bob, kept.id, noon) == nil)
        #expect(try await end(ada, kept.id, noon) == 4)
        for other in others + [lost] { #expect(try await store.isRevoked(other.id)) }
        #expect(try await !store.isRemembered(lost.series, at: noon))
        #expect(try await store.isRemembered(kept.series, at: noon))
        #expect(try await !store.isRevoked(kept.id))
        #expect(try await !store.isRevoked(stranger.id))
        #expect(try await store.isRemembered(stranger.series, at: noon))
        #expect(try await end(ada, kept.id, noon) == 0)
        // One that has ended keeps nothing and ends nothing.
        let again = try await store.makeSignIn(ada)
        _ = try await store.logOut([kept.id])
        #expect(try await end(ada, kept.id, noon) == nil)
        #expect(try await !store.isRevoked(again.id))
    }

    @Test(arguments: Backend.allCases)
    func `ending the others says nothing more of what an epoch or a time has ended`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        for _ in 0..<3 { _ = try await store.makeSignIn(ada) }
        _ = try await store.revokeSessions(
            of: ada.id, audit: commandAudit(.sessionsRevokedForUser), at: time(noon))
        let next = try #require(try await store.user(ada.id))
        let kept = try await store.makeSignIn(next)
        #expect(
            try await store.endSignIns(of: ada.id, except: kept.id, at: time(noon))
                == .revoked(position: 1, sessions: 0))
    }

    // MARK: A new password

    private func setPassword(
        _ hash: String, of user: User, in store: any Store
    ) async throws -> User {
        guard let secret = LinkHash(bytes: user.id.value.bytes + user.id.value.bytes) else {
            throw Unexpected("link")
        }
        try await store.addLink(
            Link(hash: secret, purpose: .recovery(user.id), expires: time(noon + 900)),
            audit: commandAudit(.userRecoveryIssued), at: time(noon))
        _ = try await store.setPassword(
            hash, with: secret, lookUpKey: try lookUpKey(), audit: .passwordRecovered,
            at: time(noon))
        guard let user = try await store.user(user.id) else { throw Unexpected("user") }
        return user
    }

    private func change(
        _ user: User, from old: String = "old", to new: String = "new", asking: SessionID,
        epoch: UInt32? = nil, version: UInt64 = 0, clearing: [AttemptKey] = [],
        at now: Int64 = noon,
        in store: any Store
    ) async throws -> Begun {
        let next = User(
            id: user.id, username: user.username, state: user.state, epoch: epoch ?? user.epoch + 1,
            created: user.created, passwordHash: new)
        let session = try SessionRecord(
            for: next, at: time(now), floor: .zero, limits: try store.limits(), methods: .password,
            level: .password, entropy: .system)
        let outcome = try await store.changePassword(
            PasswordChange(
                newHash: new, oldHash: old, session: session, superseding: asking,
                seal: try store.seal(version: version), clearing: clearing), at: time(now))
        return Begun(outcome: outcome, session: session, series: nil)
    }

    @Test(arguments: Backend.allCases)
    func `a new password ends all but the session that it begins`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await setPassword("old", of: try await store.makeUser("ada"), in: store)
        let asking = try await store.makeSignIn(ada, remembers: true)
        let other = try await store.makeSignIn(ada, remembers: true)
        let device = DeviceID(try Identifier.random(from: .system))
        _ = try await store.useDevice(
            DeviceUse(
                id: device, isNew: true, user: ada.id, epoch: ada.epoch, preferences: nil,
                seal: DeviceSeal(
                    key: try store.seal().key, keyringVersion: 0, deadline: time(noon + 1000)),
                isProved: true),
            at: time(noon))
        let hash = try #require(LinkHash(bytes: [UInt8](repeating: 3, count: 32)))
        try await store.addLink(
            Link(hash: hash, purpose: .recovery(ada.id), expires: time(noon + 900)),
            audit: commandAudit(.userRecoveryIssued), at: time(noon))
        let counter = try AttemptKey(ada.username, key: lookUpKey())
        _ = try await store.chargeAttempt(counter, user: ada.id, at: time(noon))
        let begun = try await change(ada, asking: asking.id, clearing: [counter], in: store)
        let position = try await store.head().sequence
        #expect(begun.outcome == .created(position: position))
        let changed = try #require(try await store.user(ada.id))
        #expect(changed.passwordHash == "new")
        #expect(changed.epoch == ada.epoch + 1)
        let feed = try await store.feed(after: position - 1, limit: 9)
        #expect(feed.map(\.change) == [.user(ada.id, minimumEpoch: changed.epoch)])
        for old in [asking, other] {
            #expect(try await store.renew(old.id, at: noon) == .ended)
            #expect(try await !store.isRemembered(old.series, at: noon))
        }
        #expect(try await store.renew(begun.id, at: noon) == .renewed)
        #expect(try await store.signIns(of: ada.id, at: time(noon)).map(\.session) == [begun.id])
        #expect(try await store.device(device, of: ada.id, at: time(noon)) == nil)
        #expect(try await store.link(hash, at: time(noon)) == nil)
        #expect(try await store.attempts(counter) == nil)
    }

    @Test(arguments: Backend.allCases)
    func `a password is changed only from what was verified, by a live session`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await setPassword("old", of: try await store.makeUser("ada"), in: store)
        let bob = try await setPassword("old", of: try await store.makeUser("bob"), in: store)
        let asking = try await store.makeSignIn(ada)
        let ended = try await store.makeSignIn(ada)
        _ = try await store.logOut([ended.id])
        let others = try await store.makeSignIn(bob)
        #expect(
            try await change(ada, asking: asking.id, version: 1, in: store).outcome == .outdated)
        let end = noon + absolute
        for refused in [
            try await change(ada, from: "older", asking: asking.id, in: store),
            try await change(ada, asking: asking.id, epoch: ada.epoch, in: store),
            try await change(ada, asking: asking.id, epoch: ada.epoch + 2, in: store),
            try await change(ada, asking: asking.id, epoch: 0, in: store),
            try await change(ada, asking: ended.id, in: store),
            try await change(ada, asking: others.id, in: store),
            try await change(ada, asking: asking.id, at: end, in: store),
        ] {
            #expect(refused.outcome == .userChanged)
            #expect(try await store.session(refused.id) == nil)
        }
        #expect(try await store.user(ada.id) == ada)
        // The refusal at the deadline was noted as the store's time: ada's session is over now.
        let fresh = try await store.makeSignIn(ada, at: end)
        let begun = try await change(ada, asking: fresh.id, at: end, in: store)
        #expect(try await store.session(begun.id) != nil)
        _ = try await store.set(bob, .disabled, at: end)
        let after = try await change(bob, asking: others.id, epoch: bob.epoch + 2, in: store)
        #expect(after.outcome == .userChanged)
    }

    @Test(arguments: Backend.allCases)
    func `of racing changes of a password one wins, and none after its session's logout`(
        _ backend: Backend
    ) async throws {
        let stores = [try backend.open(directory), try backend.open(directory)]
        let ada = try await setPassword(
            "old", of: try await stores[0].makeUser("ada"), in: stores[0])
        let asking = try await stores[0].makeSignIn(ada)
        let changes = try await race(10) { index in
            try await change(ada, to: "new \(index)", asking: asking.id, in: stores[index % 2])
        }
        let won = changes.filter { $0.outcome != .userChanged }
        #expect(won.count == 1)
        #expect(
            try await stores[0].signIns(of: ada.id, at: time(noon)).map(\.session) == [won[0].id])
        var user = try #require(try await stores[0].user(ada.id))
        for round in 0..<20 {
            let session = try await stores[0].makeSignIn(user)
            let hash = try #require(user.passwordHash)
            let current = user
            let results = try await race(2) { part in
                if part == round % 2 {
                    return try await change(
                        current, from: hash, to: "again \(round)", asking: session.id,
                        in: stores[0])
                }
                _ = try await stores[1].logOut([session.id])
                return nil
            }.compactMap(\.self)
            user = try #require(try await stores[0].user(ada.id))
            let isChanged = results[0].outcome != .userChanged
            #expect(user.passwordHash == (isChanged ? "again \(round)" : hash))
            #expect(user.epoch == current.epoch + (isChanged ? 1 : 0))
            #expect(try await stores[0].renew(session.id, at: noon) == .ended)
        }
    }
}
