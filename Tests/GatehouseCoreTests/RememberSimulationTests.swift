// Remember-me as a whole: what holds of every run, however tabs, nodes, losses and thieves interleave.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct RememberSimulationTests {

    /// Runs with the seeds from `first` on; each violation is told with its seed.
    private static func tallies(
        _ runs: Int, _ weather: RememberSimulation.Weather, hasThief: Bool,
        also check: (RememberSimulation) -> String? = { _ in nil }
    ) -> RememberTally {
        var total = RememberTally()
        let first = UInt64.random(in: 0 ... .max)
        for number in 0..<UInt64(runs) {
            let seed = first &+ number
            var simulation = RememberSimulation(seed: seed, weather, hasThief: hasThief)
            simulation.run(steps: 25)
            if let violation = simulation.witness.violation ?? check(simulation) {
                Issue.record("\(violation) (seed \(seed))")
                return total
            }
            total += simulation.witness.tally
        }
        return total
    }

    @Test func `nobody is signed out by their own tabs, lost responses, nodes or restarts`() {
        let tally = Self.tallies(3000, .calm, hasThief: false) { simulation in
            let tally = simulation.witness.tally
            guard tally.quietEnds + tally.thefts + tally.ahead == 0 else { return "signed out" }
            return simulation.isSettled ? nil : "not one generation and one session in the end"
        }
        #expect(tally.advances > 4000 && tally.repetitions > 2000, "\(tally)")
    }

    @Test func `in bad weather it ends only when the grace of what took its place is over`() {
        let tally = Self.tallies(3000, .rough, hasThief: false)
        #expect(tally.quietEnds > 200 && tally.thefts > 100 && tally.ahead > 20, "\(tally)")
        #expect(tally.trueThefts == 0, "there is no thief")
    }

    @Test(arguments: [RememberSimulation.Weather.calm, .rough])
    func `a thief and the owner both go on only within each other's grace`(
        _ weather: RememberSimulation.Weather
    ) {
        let tally = Self.tallies(3000, weather, hasThief: true)
        #expect(tally.trueThefts > 150 && tally.shared > 100, "\(tally)")
    }

    // MARK: Whether it would notice

    /// Rules that are wrong in one thing each.
    private static let wrongRules: [(name: String, rule: RememberService.Rule)] = {
        let rule = RememberService.rule
        typealias Outcome = RememberState.Outcome
        func with(
            _ change: @escaping @Sendable (RememberState, UInt32, Bool, Outcome) -> Outcome
        ) -> RememberService.Rule {
            { state, presented, grace, now in
                let isYoung = now < state.made.advanced(bySeconds: grace)
                return change(state, presented, isYoung, rule(state, presented, grace, now))
            }
        }
        return [
            ("a second too short", { rule($0, $1, $2 - 1, $3) }),
            ("a second too long", { rule($0, $1, $2 + 1, $3) }),
            ("no grace", { rule($0, $1, 0, $3) }),
            ("endless grace", { rule($0, $1, .max, $3) }),
            (
                "grace the wrong way round",
                with { state, presented, isYoung, outcome in
                    guard state.generation == presented + 1 else { return outcome }
                    return isYoung ? .theft : .repeatCurrent
                }
            ),
            (
                "the one before is always good",
                with { $0.generation == $1 + 1 ? .repeatCurrent : $3 }
            ),
            (
                "older ones are good within the grace",
                with { $2 && $1 < $0.generation ? .repeatCurrent : $3 }
            ),
            ("theft ends quietly", with { $3 == .theft ? .endQuietly : $3 }),
            ("theft is refused alone", with { $3 == .theft ? .ahead : $3 }),
            ("a quiet end is theft", with { $3 == .endQuietly ? .theft : $3 }),
            ("a quiet end goes on", with { $3 == .endQuietly ? .repeatCurrent : $3 }),
            ("what is ahead is theft", with { $3 == .ahead ? .theft : $3 }),
            ("what is ahead is good", with { $3 == .ahead ? .repeatCurrent : $3 }),
            ("nothing advances", with { $0.generation == $1 ? .repeatCurrent : $3 }),
            (
                "everything advances",
                with { $0.generation == $1 ? .advance(to: $1 + 1) : $3 }
            ),
            (
                "a generation is left out",
                with { $3 == .advance(to: $1 + 1) ? .advance(to: $1 + 2) : $3 }
            ),
            (
                "the one before takes the next",
                with { $2 && $0.generation == $1 + 1 ? .advance(to: $0.generation + 1) : $3 }
            ),
        ]
    }()

    /// Whether any of the runs that the tests above make breaks an invariant.
    private static func isNoticed(_ service: RememberService) -> Bool {
        for seed in 0..<3000 as Range<UInt64> {
            for (weather, hasThief) in [
                (RememberSimulation.Weather.calm, false), (.calm, true), (.rough, true),
            ] {
                var simulation = RememberSimulation(
                    seed: seed, weather, hasThief: hasThief, service: service)
                simulation.run(steps: 25)
                if simulation.witness.violation != nil { return true }
                let tally = simulation.witness.tally
                if weather == .calm, !hasThief, tally.quietEnds + tally.thefts > 0 { return true }
            }
        }
        return false
    }

    @Test func `the rule breaks none in the runs that find the wrong ones`() {
        #expect(!Self.isNoticed(RememberService()))
    }

    @Test(arguments: wrongRules.indices)
    func `every wrong rule breaks an invariant`(_ number: Int) {
        let (name, rule) = Self.wrongRules[number]
        #expect(Self.isNoticed(RememberService(rule: rule)), "\(name)")
    }

    @Test(arguments: RememberService.Flaw.allCases)
    func `a service that applies the rule wrongly breaks an invariant`(
        _ flaw: RememberService.Flaw
    ) {
        #expect(Self.isNoticed(RememberService(flaw: flaw)))
    }

    // MARK: What is bounded

    /// A browser that loses its session cookie each time, as fast as it can.
    @Test func `resuming in a loop makes a session a minute, and keeps one`() {
        var service = RememberService()
        var cookies = service.signIn(presenting: Cookies(), at: time(noon))
        let seconds: Int64 = 3600
        for second in 0..<seconds {
            for _ in 0..<3 {
                cookies.session = nil
                let answer = service.resume(cookies, at: time(noon + second))
                guard case .renewed(let session, let remember) = answer else {
                    Issue.record("refused after \(second) s")
                    return
                }
                cookies = Cookies(session: session, remember: remember ?? cookies.remember)
            }
        }
        #expect(service.sessionsMade == seconds / RememberService.graceSeconds)
        #expect(service.rows.count == 1 && service.sessions.count == 1)
        // With the session cookie nothing at all is made.
        for _ in 0..<1000 {
            guard case .live = service.resume(cookies, at: time(noon + seconds + 1000)) else {
                Issue.record("the session is not live")
                return
            }
        }
        #expect(service.sessionsMade == seconds / RememberService.graceSeconds)
    }

    @Test func `use never moves the deadline, and the last session ends at it`() {
        var service = RememberService()
        var cookies = service.signIn(presenting: Cookies(), at: time(noon))
        let deadline = noon + RememberService.rememberSeconds
        for at in stride(from: noon + 7200, to: deadline, by: 7200) + [deadline - 1] {
            cookies.session = nil
            guard case .renewed(let session, let remember?) = service.resume(cookies, at: time(at))
            else {
                Issue.record("refused \(deadline - at) s before the deadline")
                return
            }
            #expect(remember.claims.deadline == time(deadline))
            #expect(service.isLive(session, at: time(deadline - 1)) || at < deadline - 3600)
            #expect(!service.isLive(session, at: time(deadline)))
            cookies = Cookies(session: session, remember: remember)
        }
        #expect(service.resume(cookies, at: time(deadline)) == .refused)
    }
}

extension RememberTally {
    static func += (left: inout RememberTally, right: RememberTally) {
        for field in [
            \Self.advances, \.repetitions, \.shared, \.quietEnds, \.thefts, \.trueThefts, \.ahead,
            \.refused, \.signIns,
        ] {
            left[keyPath: field] += right[keyPath: field]
        }
    }
}
