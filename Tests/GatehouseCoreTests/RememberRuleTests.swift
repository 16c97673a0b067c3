// The rule of remember-me's generations, each row by the sentence of the design that it states.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct RememberRuleTests {
    private static let grace: Int64 = 60

    /// - Parameter age: of the current generation, in seconds.
    private static func outcome(
        presenting presented: UInt32, of current: UInt32, age: Int64, wasPresented: Bool = false
    ) -> RememberState.Outcome {
        RememberState(generation: current, made: time(noon), wasPresented: wasPresented).outcome(
            presenting: presented, graceSeconds: grace, at: time(noon + age))
    }

    /// Younger than the grace, the second before its end included; a store's clock never goes back, and
    /// where it seems so the generation is young.
    private static let young: [Int64] = [-1, 0, 1, 59]
    /// From the grace on.
    private static let old: [Int64] = [60, 61, 86_400, UnixTime.maximumSeconds]
    private static let current: [UInt32] = [1, 2, 3, 1000, .max - 1, .max]

    @Test(arguments: current)
    func `the current generation, once it is older than the grace, makes the next`(_ n: UInt32) {
        guard n < .max else { return }
        for age in Self.old {
            for wasPresented in [false, true] {
                let outcome = Self.outcome(
                    presenting: n, of: n, age: age, wasPresented: wasPresented)
                #expect(outcome == .advance(to: n + 1), "\(age) s")
            }
        }
    }

    @Test(arguments: current)
    func `the current generation, while it is younger, rotates nothing`(_ n: UInt32) {
        for age in Self.young {
            for wasPresented in [false, true] {
                let outcome = Self.outcome(
                    presenting: n, of: n, age: age, wasPresented: wasPresented)
                #expect(outcome == .repeatCurrent, "\(age) s")
            }
        }
    }

    @Test(arguments: current.dropFirst())
    func `the one before gives the same while the current one is younger`(_ n: UInt32) {
        for age in Self.young {
            for wasPresented in [false, true] {
                let outcome = Self.outcome(
                    presenting: n - 1, of: n, age: age, wasPresented: wasPresented)
                #expect(outcome == .repeatCurrent, "\(age) s")
            }
        }
    }

    @Test(arguments: current.dropFirst())
    func `after the grace the one before ends it quietly if nobody ever came with the current one`(
        _ n: UInt32
    ) {
        for age in Self.old {
            let outcome = Self.outcome(presenting: n - 1, of: n, age: age)
            #expect(outcome == .endQuietly, "\(age) s")
        }
    }

    @Test(arguments: current.dropFirst())
    func `after the grace the one before is theft if somebody came with the current one`(
        _ n: UInt32
    ) {
        for age in Self.old {
            let outcome = Self.outcome(presenting: n - 1, of: n, age: age, wasPresented: true)
            #expect(outcome == .theft, "\(age) s")
        }
    }

    @Test(arguments: current.dropFirst(2))
    func `anything older is theft at any time`(_ n: UInt32) {
        for presented in [1, n - 2] {
            for age in Self.young + Self.old {
                for wasPresented in [false, true] {
                    let outcome = Self.outcome(
                        presenting: presented, of: n, age: age, wasPresented: wasPresented)
                    #expect(outcome == .theft, "\(presented), \(age) s")
                }
            }
        }
    }

    @Test(arguments: current.dropLast())
    func `a generation above the current one is refused, and not called theft`(_ n: UInt32) {
        for presented in [n + 1, .max] {
            for age in Self.young + Self.old {
                for wasPresented in [false, true] {
                    let outcome = Self.outcome(
                        presenting: presented, of: n, age: age, wasPresented: wasPresented)
                    #expect(outcome == .ahead, "\(presented), \(age) s")
                }
            }
        }
    }

    @Test func `the last generation that there can be goes on`() {
        for age in Self.young + Self.old {
            #expect(Self.outcome(presenting: .max, of: .max, age: age) == .repeatCurrent)
        }
    }

    @Test func `no time and no grace is too large to be added`() {
        let state = RememberState(generation: 2, made: .maximum, wasPresented: true)
        for grace in [1, .max] as [Int64] {
            let before = time(UnixTime.maximumSeconds - 1)
            #expect(
                state.outcome(presenting: 1, graceSeconds: grace, at: before) == .repeatCurrent)
        }
    }
}
