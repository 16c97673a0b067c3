// The contract of `Store` about "remember me", run on every backend.

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import Testing

@Suite struct RememberContractTests {
    private let directory = TemporaryDirectory()

    private func begin(
        _ store: any Store, _ name: String = "ada", at now: Int64 = noon
    ) async throws -> (user: User, begun: Begun, series: RememberSeries) {
        let user = try await store.makeUser(name, at: now)
        let begun = try await store.makeSignIn(user, at: now, remembers: true)
        return (user, begun, try #require(begun.series))
    }

    // MARK: Generations

    @Test(arguments: Backend.allCases)
    func `a series is stored as it was made, and its key is kept until it ends`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, begun, series) = try await begin(store)
        let view = try #require(try await store.remembered(series.id, at: time(noon)))
        #expect(
            view
                == RememberView(
                    series: series, session: begun.session, username: ada.username,
                    time: time(noon)))
        let end = noon + rememberedSeconds
        let key = try #require(KeyID(rawValue: 7))
        #expect(
            try await store.keyUsage()[key] == KeyUsage(sealed: 2, lastDeadline: time(end)))
        #expect(try await store.remembered(series.id, at: time(end - 1)) != nil)
        #expect(try await store.remembered(series.id, at: time(end)) == nil)
        let unknown = SeriesID(try Identifier.random(from: .system))
        #expect(try await store.remembered(unknown, at: time(noon)) == nil)
        // The store's time, not a clock that was set back.
        _ = try await store.makeUser("bob", at: end)
        #expect(try await store.remembered(series.id, at: time(noon)) == nil)
    }

    @Test(arguments: Backend.allCases)
    func `an old generation gives the next one, and a session in the place of the last`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (_, begun, series) = try await begin(store)
        let young = try await store.present(series.id, 1, at: noon + grace - 1)
        #expect(young?.rule == .repeatCurrent)
        #expect(young?.session == begun.id)
        let next = try await store.present(series.id, 1, at: noon + grace, key: 8)
        #expect(next?.rule == .advance(to: 2))
        let new = try #require(next?.session)
        let session = try #require(try await store.session(new))
        #expect(session.isRemembered && session.level == .remembered)
        #expect(session.authenticated == begun.session.authenticated)
        #expect(session.series == series.id)
        #expect(try await store.isRevoked(begun.id))
        #expect(try await store.feed(after: 0, limit: 9).map(\.change) == [.session(begun.id)])
        let view = try #require(try await store.remembered(series.id, at: time(noon + grace)))
        #expect(
            view.series.state
                == RememberState(
                    generation: 2, made: time(noon + grace), wasPresented: false))
        #expect(view.series.deadline == series.deadline, "never extended")
        // Each key is kept until the series' deadline, also one that only sealed a repetition.
        _ = try await store.present(series.id, 2, at: noon + grace, key: 9)
        for number in [8, 9] as [UInt32] {
            let key = try #require(KeyID(rawValue: number))
            #expect(
                try await store.keyUsage()[key]
                    == KeyUsage(sealed: 2, lastDeadline: series.deadline))
        }
        let kinds = try await store.audit(after: 0, limit: 20).map(\.event.kind)
        #expect(kinds.filter { $0 == .rememberUsed }.count == 1)
    }

    @Test(arguments: Backend.allCases)
    func `the key of a session that outlasts its series is kept for it`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, _, series) = try await begin(store)
        let at = noon + rememberedSeconds - grace / 2
        let back = try await store.present(series.id, 1, at: at)?.session
        let stepped = try await store.signIn(ada, at: at, superseding: back)
        #expect(stepped.session.absoluteDeadline > series.deadline)
        let again = try await store.present(series.id, 2, at: at + 1, key: 8)
        #expect(again?.session == stepped.id)
        let key = try #require(KeyID(rawValue: 8))
        #expect(
            try await store.keyUsage()[key]?.lastDeadline == stepped.session.absoluteDeadline)
    }

    @Test(arguments: Backend.allCases)
    func `of twenty racing presentations of an old generation come one generation and one session`(
        _ backend: Backend
    ) async throws {
        let stores = [try backend.open(directory), try backend.open(directory)]
        let (ada, _, series) = try await begin(stores[0])
        let results = try await race(20) { index in
            try await stores[index % 2].present(series.id, 1, at: noon + grace)
        }.compactMap(\.self)
        #expect(results.count == 20)
        #expect(results.count { $0.rule == .advance(to: 2) } == 1)
        #expect(results.count { $0.rule == .repeatCurrent } == 19)
        #expect(Set(results.map(\.session)).count == 1)
        let live = try await stores[0].sessions(of: ada.id, limit: 99).filter { $0.revoked == nil }
        #expect(live.map(\.id) == [results[0].session])
        let view = try #require(try await stores[0].remembered(series.id, at: time(noon + grace)))
        #expect(view.series.state.generation == 2)
        #expect(view.session?.id == live[0].id)
    }

    @Test(arguments: Backend.allCases)
    func `what was chosen for another state of the series is not done`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, begun, series) = try await begin(store)
        let at = noon + grace
        let stale = try #require(try await store.remembered(series.id, at: time(at)))
        func present(
            _ action: RememberPresentation.Action, version: UInt64 = 0
        ) async throws -> PresentSeriesOutcome {
            try await store.presentSeries(
                RememberPresentation(
                    expected: stale, presented: 1, action: action, origin: .unknown), at: time(at))
        }
        let (advance, _) = try store.action(.advance(to: 2), stale, at: at)
        // Another ring: nothing is handed out.
        let session = try SessionRecord(
            from: series, at: time(at), limits: store.limits(), origin: .unknown, entropy: .system)
        for action in [
            .repeatCurrent(try store.seal(version: 1)),
            .advance(generation: 2, session, try store.seal(version: 1), nil),
        ] as [RememberPresentation.Action] {
            #expect(try await present(action) == .outdated)
        }
        #expect(try await store.remembered(series.id, at: time(at)) == stale)
        // Its session was used; then it has another session; then none; then it has ended.
        try await store.touch(begun.id, at: at)
        #expect(try await present(advance) == .changed)
        let stepped = try await store.signIn(ada, at: at, superseding: begun.id)
        for action in [advance, .theft, .endQuietly, .ahead, .repeatCurrent(try store.seal())] {
            #expect(try await present(action) == .changed)
        }
        #expect(try await store.isRemembered(series, at: at))
        _ = try await store.logOut([stepped.id], at: at)
        #expect(try await present(advance) == .changed)
        #expect(try await store.session(session.id) == nil)
        #expect(try await store.warnings(of: ada.id).isEmpty)
    }

    @Test(arguments: Backend.allCases)
    func `of a presentation that races with a logout no session stays`(
        _ backend: Backend
    ) async throws {
        let stores = [try backend.open(directory), try backend.open(directory)]
        let ada = try await stores[0].makeUser("ada")
        for round in 0..<60 {
            let begun = try await stores[0].makeSignIn(ada, remembers: true)
            let series = try #require(begun.series)
            // By the cookie, or by the session alone.
            let named = round % 3 == 0 ? [] : [series.id]
            _ = try await race(2) { part in
                if part == round % 2 {
                    _ = try await stores[0].present(series.id, 1, at: noon + grace)
                } else {
                    _ = try await stores[1].logOut([begun.id], named, at: noon + grace)
                }
            }
            #expect(try await !stores[0].isRemembered(series, at: noon + grace))
            let all = try await stores[0].sessions(of: ada.id, limit: 1000)
            #expect(all.allSatisfy { $0.revoked != nil }, "round \(round)")
            #expect(try await stores[1].present(series.id, 1, at: noon + grace) == nil)
        }
        let feed = try await stores[0].feed(after: 0, limit: 1000)
        #expect(Set(feed.map(\.change)).count == feed.count, "each ended once")
    }

    // MARK: Two parties

    @Test(arguments: Backend.allCases)
    func `theft ends the series with all that came of it, and tells the user, and nothing more`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, begun, series) = try await begin(store)
        let other = try await store.makeSignIn(ada, remembers: true)
        var devices: [DeviceID] = []
        for of in [series.id, try #require(other.series).id] {
            devices.append(DeviceID(try Identifier.random(from: .system)))
            let outcome = try await store.useDevice(
                DeviceUse(
                    id: devices[devices.count - 1], isNew: true, user: ada.id, epoch: 0,
                    preferences: nil,
                    seal: DeviceSeal(
                        key: try store.seal().key, keyringVersion: 0, deadline: time(noon + 1)),
                    isProved: true, series: of), at: time(noon))
            #expect(outcome == .done)
        }
        let next = try #require(try await store.present(series.id, 1, at: noon + grace)?.session)
        let stepped = try await store.signIn(ada, at: noon + grace, superseding: next)
        let at = noon + 2 * grace
        let place = String(repeating: "p", count: SessionOrigin.maximumBytes)
        let origin = SessionOrigin(browser: place, place: place)
        #expect(
            try await store.present(series.id, 1, at: at, origin: origin)?.rule == .theft)
        for id in [begun.id, next, stepped.id] { #expect(try await store.isRevoked(id)) }
        #expect(try await !store.isRemembered(series, at: at))
        #expect(try await store.present(series.id, 2, at: at) == nil)
        #expect(try await store.device(devices[0], of: ada.id, at: time(at)) == nil)
        #expect(try await store.device(devices[1], of: ada.id, at: time(at)) != nil)
        #expect(try await store.isRemembered(other.series, at: at))
        #expect(try await !store.isRevoked(other.id))
        let trail = try await store.audit(after: 0, limit: 99).map(\.event)
        #expect(
            trail.filter { $0.kind == .rememberStolen } == [
                AuditEvent(
                    .rememberStolen, by: .server, user: ada.id, series: series.id,
                    detail: "presented=1 current=2 age=60s arrived=yes")
            ])
        let warnings = try await store.warnings(of: ada.id)
        #expect(warnings.map(\.time) == [time(at)])
        #expect(warnings.map(\.place) == [place])
        // Told up to a time: a later one stays.
        let last = try #require(warnings.first).id
        let bob = try await store.makeUser("bob")
        try await store.dismissWarnings(of: bob.id, upTo: last, at: time(at))
        try await store.dismissWarnings(of: ada.id, upTo: last - 1, at: time(at))
        #expect(try await store.warnings(of: ada.id) == warnings)
        try await store.dismissWarnings(of: ada.id, upTo: last, at: time(at))
        #expect(try await store.warnings(of: ada.id).isEmpty)
    }

    @Test(arguments: Backend.allCases)
    func `a use of the session says that its cookie arrived, also when its row has expired`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let uses = ["none", "touch", "renewal", "cookie", "step-up", "repetition"]
        for (index, use) in uses.enumerated() {
            let start = noon + Int64(index) * 1000
            let (user, begun, series) = try await begin(store, use, at: start)
            let at = start + grace
            let next = try #require(
                try await store.present(series.id, 1, at: at)?.session, "\(use)")
            #expect(try await store.isRevoked(begun.id))
            switch use {
            case "touch": try await store.touch(next, at: at + 1)
            case "renewal": #expect(try await store.renew(next, at: at + 1) == .renewed)
            case "cookie": _ = try await store.present(series.id, 2, at: at + 1)
            case "step-up": _ = try await store.signIn(user, at: at, superseding: next)
            case "repetition":
                // The session ends for the limit; the cookie gives another of the same generation.
                _ = try await store.signIn(
                    user, at: at, limit: SessionLimit(maximum: 1, atLimit: .endOldest))
                #expect(try await store.isRevoked(next))
                let again = try await store.present(series.id, 2, at: at + 1)
                #expect(again?.rule == .repeatCurrent)
                #expect(again?.session != next)
            default: break
            }
        }
        let later = noon + 3 * absolute
        _ = try await store.prune(limit: 1000, at: time(later))
        for use in uses {
            let user = try #require(try await store.user(named: username(use)))
            #expect(try await store.sessions(of: user.id, limit: 9).isEmpty)
            let last = try #require(try await store.signIns(of: user.id, at: time(later)).first)
            let trail = try await store.audit(after: 0, limit: 999).map(\.event)
            let series = try #require(
                trail.first { $0.kind == .rememberCreated && $0.user == user.id }?.series)
            #expect(
                try await store.present(series, 1, at: later)?.rule
                    == (use == "none" ? .endQuietly : .theft), "\(use)")
            #expect(try await store.session(last.session) == nil)
            #expect(
                try await store.warnings(of: user.id).count == (use == "none" ? 0 : 1), "\(use)")
        }
    }

    @Test(arguments: Backend.allCases)
    func `a response that was lost for long ends the series without a word`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, _, series) = try await begin(store)
        let next = try #require(try await store.present(series.id, 1, at: noon + grace)?.session)
        let lost = try await store.present(series.id, 1, at: noon + 2 * grace)
        #expect(lost?.rule == .endQuietly)
        #expect(try await store.isRevoked(next))
        #expect(try await !store.isRemembered(series, at: noon + 2 * grace))
        #expect(try await store.warnings(of: ada.id).isEmpty)
    }

    @Test(arguments: Backend.allCases)
    func `a cookie from the future is refused and forgotten, and sessions go on`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, begun, series) = try await begin(store)
        #expect(try await store.present(series.id, 2, at: noon + 1)?.rule == .ahead)
        #expect(try await store.present(series.id, 1, at: noon + 1) == nil)
        #expect(try await !store.isRevoked(begun.id))
        #expect(try await store.session(begun.id)?.series == nil)
        #expect(try await store.warnings(of: ada.id).isEmpty)
        let kinds = try await store.audit(after: 0, limit: 20).map(\.event.kind)
        #expect(kinds.contains(.rememberAhead) && !kinds.contains(.rememberStolen))
    }

    // MARK: Ending

    @Test(arguments: Backend.allCases)
    func `whatever ends a user's sessions ends their series`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let kept = try await begin(store, "kept", at: noon + 2)
        for way in ["epoch", "disable", "rename", "delete", "recover", "time"] {
            let (user, _, series) = try await begin(store, way)
            let audit = AuditEvent(.sessionsRevokedForUser, by: .command, user: user.id)
            #expect(try await store.isRemembered(series, at: noon + 2), "\(way)")
            switch way {
            case "epoch":
                _ = try await store.revokeSessions(of: user.id, audit: audit, at: time(noon))
            case "disable":
                _ = try await store.set(user, .disabled)
                _ = try await store.set(user, .enabled)
            case "rename":
                _ = try await store.renameUser(
                    user.id, to: username("renamed"), takingReserved: false, audit: audit,
                    at: time(noon))
            case "delete": try await store.delete(user.id)
            case "recover":
                let link = try #require(LinkHash(bytes: [UInt8](repeating: 5, count: 32)))
                try await store.addLink(
                    Link(hash: link, purpose: .recovery(user.id), expires: time(noon + 900)),
                    audit: audit, at: time(noon))
                let outcome = try await store.setPassword(
                    "new", with: link, lookUpKey: lookUpKey(), audit: .passwordRecovered,
                    at: time(noon + 2))
                guard case .set = outcome else { throw Unexpected("\(outcome)") }
            default:
                _ = try await store.revokeSessions(
                    authenticatedBefore: time(noon + 2), audit: audit, at: time(noon))
            }
            #expect(try await !store.isRemembered(series, at: noon + 2), "\(way)")
            #expect(try await store.present(series.id, 1, at: noon + 2 + grace) == nil, "\(way)")
        }
        #expect(try await store.isRemembered(kept.series, at: noon + 2))
    }

    @Test(arguments: Backend.allCases)
    func `a user is remembered in a hundred browsers, and for one more the first is forgotten`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, bob) = (try await store.makeUser("ada"), try await store.makeUser("bob"))
        let other = try await store.makeSignIn(bob, remembers: true)
        var begun: [Begun] = []
        for index in 0..<Int64(RememberLimits.maximumPerUser) {
            begun.append(try await store.makeSignIn(ada, at: noon + index, remembers: true))
        }
        let first = try #require(begun[0].series)
        #expect(try await store.remembered(first.id, at: time(noon + 100)) != nil)
        _ = try await store.makeSignIn(ada, at: noon + 100, remembers: true)
        #expect(try await store.remembered(first.id, at: time(noon + 100)) == nil)
        #expect(try await store.session(begun[0].id)?.revoked != nil, "and what came of it")
        for kept in begun.dropFirst() + [other] {
            let series = try #require(kept.series)
            #expect(try await store.remembered(series.id, at: time(noon + 100)) != nil)
        }
    }

    @Test(arguments: Backend.allCases)
    func `a series is forgotten by its owner only, and its session goes on without it`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, begun, series) = try await begin(store)
        let (bob, _, others) = try await begin(store, "bob")
        try await store.forgetSeries([series.id], of: bob.id, at: time(noon))
        #expect(try await store.isRemembered(series, at: noon))
        try await store.forgetSeries([others.id, series.id], of: ada.id, at: time(noon))
        #expect(try await !store.isRemembered(series, at: noon))
        #expect(try await store.isRemembered(others, at: noon))
        #expect(try await store.renew(begun.id, at: noon + 1) == .renewed)
        let list = try await store.signIns(of: ada.id, at: time(noon + 1))
        #expect(list.map(\.isRemembered) == [false])
        let ended = try await store.audit(after: 0, limit: 20).map(\.event)
            .filter { $0.kind == .rememberEnded }
        #expect(
            ended == [AuditEvent(.rememberEnded, by: .server, user: ada.id, series: series.id)])
    }

    @Test(arguments: Backend.allCases)
    func `series and warnings are removed when their time has passed, and not before`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, _, stolen) = try await begin(store)
        let kept = try await store.makeSignIn(ada, at: noon + 1, remembers: true)
        _ = try await store.present(stolen.id, 1, at: noon + grace)
        _ = try await store.present(stolen.id, 2, at: noon + 2 * grace)
        _ = try await store.present(stolen.id, 1, at: noon + 2 * grace)
        #expect(try await store.warnings(of: ada.id).count == 1)
        func prune(_ now: Int64) async throws -> Int {
            try await store.prune(limit: 100, at: time(now))
        }
        _ = try await prune(noon + 2 * absolute)
        let end = noon + 1 + rememberedSeconds + clockSkewSeconds
        #expect(try await prune(end) == 0)
        #expect(try await prune(end + 1) == 1)
        #expect(try await !store.isRemembered(kept.series, at: noon + 1))
        let told = noon + 2 * grace + RememberLimits.maximumAbsoluteSeconds + clockSkewSeconds
        #expect(try await prune(told) == 0)
        #expect(try await store.warnings(of: ada.id).count == 1)
        #expect(try await prune(told + 1) == 1)
        #expect(try await store.warnings(of: ada.id).isEmpty)
    }
}
