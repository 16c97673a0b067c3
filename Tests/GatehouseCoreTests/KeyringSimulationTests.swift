// Keys as a whole: what holds in every run, however nodes, operators, failures and clocks interleave.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct KeyringSimulationTests {
    /// Steps of a run: a dozen rotations, and long enough for keys to be destroyed.
    private static let steps = 4000
    /// A million steps in all.
    private static let runs = 250

    @Test func `in a million steps no valid token is refused and no revoked one accepted`() throws {
        var total = KeyringTally()
        let first = UInt64.random(in: 0 ... .max)
        for number in 0..<UInt64(Self.runs) {
            let seed = first &+ number
            var simulation = try KeyringSimulation(seed: seed)
            try simulation.run(steps: Self.steps)
            if let violation = simulation.violation {
                Issue.record("\(violation) (seed \(seed))")
                return
            }
            total += simulation.tally
        }
        // That what the invariants are about has happened, and often.
        #expect(total.steps == 1_000_000)
        #expect(total.accepted > 20_000 && total.sealed > 10_000, "\(total)")
        #expect(total.activated > 1000 && total.rotated > 200, "\(total)")
        #expect(total.revoked > 200 && total.destroyed > 200 && total.refused > 200, "\(total)")
        #expect(total.unusable > 1000 && total.ahead > 10 && total.clockSteps > 500, "\(total)")
    }

    @Test(arguments: KeyringSimulation.Flaw.allCases)
    func `whatever is done wrongly breaks an invariant`(_ flaw: KeyringSimulation.Flaw) throws {
        for seed in 0..<UInt64(Self.runs) {
            var simulation = try KeyringSimulation(seed: seed, flaw: flaw)
            try simulation.run(steps: Self.steps)
            if simulation.violation != nil { return }
        }
        Issue.record("\(flaw) was not noticed")
    }
}
