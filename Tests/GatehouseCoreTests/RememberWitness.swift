// Judges what the service does with remember cookies by who did what and when; it doesn't know the rule.

import GatehouseCore

enum Party: Hashable, CaseIterable {
    case owner, thief
}

/// How often things happened, so that a test can tell that they did.
struct RememberTally {
    var advances = 0
    var repetitions = 0
    /// A party was let in within the grace of a generation that the other had made.
    var shared = 0
    var quietEnds = 0
    var thefts = 0
    /// A theft while two parties had used the cookie; the others are false alarms.
    var trueThefts = 0
    var ahead = 0
    var refused = 0
    var signIns = 0
}

/// Sees every step and says which invariant it breaks.
struct RememberWitness {
    private struct Series {
        let deadline: UnixTime
        var isOver = false
        /// From a backup: what browsers have may be ahead of it, and be met by it later.
        var isRestored = false
        /// When each generation was made; the first is generation 1's.
        var made: [UnixTime]
        var session: SessionID
        /// Whether the current generation or its session was presented.
        var isUsed = false
        var parties: Set<Party> = []
        /// Since when the first generation that the other party made waits for this one.
        var waiting: [Party: UnixTime] = [:]
    }

    private var series: [SeriesID: Series] = [:]
    private(set) var tally = RememberTally()
    /// The first invariant that was broken.
    private(set) var violation: String?

    private mutating func require(_ condition: Bool, _ invariant: @autoclosure () -> String) {
        if !condition, violation == nil { violation = invariant() }
    }

    mutating func signedIn(_ cookies: Cookies, _ service: RememberService) {
        guard let session = cookies.session, let claims = cookies.remember?.claims else {
            return require(false, "a sign-in gives both cookies")
        }
        tally.signIns += 1
        series[claims.series] = Series(
            deadline: service.clock.advanced(bySeconds: RememberService.rememberSeconds),
            made: [service.clock], session: session.id)
        lookedAt(service)
    }

    /// The service has learnt that this session is used.
    mutating func used(_ session: SessionID) {
        for (id, one) in series where one.session == session { series[id]?.isUsed = true }
    }

    mutating func steppedUp(from old: SessionID, to new: SessionID) {
        for (id, one) in series where one.session == old {
            series[id]?.isUsed = true
            series[id]?.session = new
        }
    }

    /// The thief has these cookies from now on, besides what was asked for before.
    mutating func copied(_ cookies: Cookies) {
        guard let claims = cookies.remember?.claims, let one = series[claims.series] else { return }
        let generation = Int(claims.generation)
        let made = generation < one.made.count ? one.made[generation] : nil
        let old = one.parties.contains(.thief) ? one.waiting[.thief] : made
        series[claims.series]?.waiting[.thief] = made.flatMap { made in old.map { max($0, made) } }
    }

    /// Called after something other than the rule may have ended sessions and series.
    mutating func lookedAt(_ service: RememberService) {
        for (id, one) in series where !one.isOver && service.rows[id] == nil {
            series[id]?.isOver = true
        }
        checkState(service)
    }

    /// A backup was put in the store's place: what had ended since then is back, as far as it knows.
    mutating func restored(_ backup: RememberWitness, _ service: RememberService) {
        for id in series.keys {
            series[id] = backup.series[id] ?? series[id]
            series[id]?.isRestored = true
            series[id]?.isOver = service.rows[id] == nil
            if let session = service.rows[id]?.session { series[id]?.session = session }
        }
        checkState(service)
    }

    mutating func resumed(
        _ party: Party, presenting cookies: Cookies, answer: RememberService.Answer,
        before: RememberService, after: RememberService
    ) {
        defer { checkState(after) }
        if case .live(let session) = answer {
            require(session == cookies.session, "a live session is sealed again under its id")
            return used(session.id)
        }
        guard let cookie = cookies.remember, var one = series[cookie.claims.series] else {
            return require(answer == .refused, "no remember cookie yields no session")
        }
        let id = cookie.claims.series
        let presented = Int(cookie.claims.generation)
        let now = after.clock
        one.parties.insert(party)
        switch answer {
        case .live: break
        case .renewed(let session, let renewed):
            require(!one.isOver, "no series that has ended yields a session")
            require(now < one.deadline, "no series yields a session after its deadline")
            require(
                cookie.key == before.key && before.rows[id]?.epoch == before.epoch,
                "neither a revoked key nor an older epoch yields a session")
            require(
                renewed.map { $0.claims.series == id && $0.claims.deadline == one.deadline }
                    ?? true,
                "the deadline is never extended")
            renew(
                &one, party, presented: presented, given: renewed.map { Int($0.claims.generation) },
                session: session.id, wasLive: before.isLive(one.session, at: now), now: now)
        case .refused:
            if after.rows[id] == nil, !one.isOver {
                judgeEnd(
                    &one, presented: presented, warned: after.warnings > before.warnings, now: now)
            } else {
                require(after.warnings == before.warnings, "only a theft is warned of")
                let isAhead = presented > one.made.count
                let isGood =
                    !one.isOver && cookie.key == before.key
                    && before.rows[id]?.epoch == before.epoch && now < one.deadline
                if isAhead, isGood { tally.ahead += 1 } else { tally.refused += 1 }
                require(!isGood || isAhead, "a good cookie is not refused without a reason")
            }
        }
        series[id] = one
    }

    private mutating func renew(
        _ one: inout Series, _ party: Party, presented: Int, given: Int?, session: SessionID,
        wasLive: Bool, now: UnixTime
    ) {
        let current = one.made.count
        let isYoung = now < one.made[current - 1].advanced(bySeconds: RememberService.graceSeconds)
        require(presented <= current, "a generation that there is not yet is refused")
        if let since = one.waiting[party], !one.isRestored {
            require(
                now < since.advanced(bySeconds: RememberService.graceSeconds),
                "two parties go on only while every use of one falls within the other's grace")
            tally.shared += 1
        }
        one.waiting[party] = nil
        if given == nil {
            require(presented == current, "an older generation is replaced")
        }
        if given ?? current == current {
            require(isYoung || presented != current, "an old generation makes the next")
            require(session == one.session || !wasLive, "a repetition gives the same session")
            tally.repetitions += 1
            one.isUsed = one.isUsed || presented == current
        } else {
            require(given == current + 1, "generations are made one by one")
            require(!isYoung && presented == current, "a young generation makes no other")
            require(session != one.session, "each generation has a session of its own")
            tally.advances += 1
            one.made.append(now)
            one.isUsed = false
            for other in Party.allCases where other != party && one.waiting[other] == nil {
                one.waiting[other] = now
            }
        }
        one.session = session
    }

    private mutating func judgeEnd(
        _ one: inout Series, presented: Int, warned: Bool, now: UnixTime
    ) {
        let current = one.made.count
        one.isOver = true
        guard presented < current else {
            return require(false, "who has the current generation or a later one ends nothing")
        }
        // `made` counts from 0: this is the generation after the presented one.
        require(
            now >= one.made[presented].advanced(bySeconds: RememberService.graceSeconds),
            "nobody is signed out within the grace of the generation that took the place of theirs")
        if warned { tally.thefts += 1 } else { tally.quietEnds += 1 }
        if warned, one.parties.count > 1 { tally.trueThefts += 1 }
        require(
            warned == (presented < current - 1 || one.isUsed),
            "it is theft when somebody came with what took its place, or it is older; else quiet")
    }

    /// What holds of the store at any time.
    private mutating func checkState(_ service: RememberService) {
        var live: Set<SeriesID> = []
        for (id, session) in service.sessions {
            guard let row = session.series else { continue }
            require(service.rows[row] != nil, "no session of a series outlives it")
            require(service.rows[row]?.session == id, "a session of a series is the row's")
            require(live.insert(row).inserted, "a series has one session at most")
            require(
                session.deadline <= series[row]?.deadline ?? .zero,
                "no session outlives the deadline of its series")
        }
        for (id, row) in service.rows {
            guard let one = series[id] else { continue }
            require(row.deadline == one.deadline, "the deadline is never extended")
            if !one.isRestored {
                require(Int(row.state.generation) == one.made.count, "no generation is skipped")
            }
        }
    }
}
