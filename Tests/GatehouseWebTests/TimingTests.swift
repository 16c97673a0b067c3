// Whether the time of a refused sign-in says anything about the account (REQUIREMENTS PW-9).

import Foundation
import GatehouseCore
import GatehousePasswords
import GatehouseStore
import GatehouseTestSupport
import Testing

@testable import GatehouseWeb

/// Runs on its own, by `make timing`: what runs beside it would be measured too.
private let samples = ProcessInfo.processInfo.environment["TIMING_SAMPLES"].flatMap { Int($0) }

/// Why a sign-in is refused.
private enum Refusal: String, CaseIterable {
    case wrong, unknown, disabled, waiting, exhausted, oldParameters, bcrypt, noPassword

    var username: String { "timing-\(rawValue.lowercased())" }
}

@Suite(.enabled(if: samples != nil, "make timing"), .serialized) struct TimingTests {
    /// The chance that a sample of one kind is slower than one of another: a half when the kinds can't be
    /// told apart (Mann and Whitney's U over the number of pairs).
    private static func chance(_ left: [Double], slowerThan right: [Double]) -> Double {
        let sorted = right.sorted()
        var wins = 0.0
        for value in left {
            var low = 0
            var high = sorted.count
            while low < high {
                let middle = (low + high) / 2
                if sorted[middle] < value { low = middle + 1 } else { high = middle }
            }
            wins += Double(low)
        }
        return wins / Double(left.count * right.count)
    }

    private static func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

    /// Five standard errors of the chance at 200 samples of each kind (0.029), and more than that at more.
    private static let maximumLead = 0.145
    /// Of the median, in milliseconds: what a timer of the system is late by.
    private static let maximumDifference = 1.0

    @Test(.timeLimit(.minutes(120)))
    func `refusals of all kinds take the same time`() async throws {
        let count = try #require(samples)
        // Passed in small: twice the cost of the old rows.
        let fixture = try await FrontFixture(
            threads: 1,
            parameters: try Argon2Parameters(memoryKiB: 12_288, iterations: 6, lanes: 1))
        let right = Array(FrontFixture.password.utf8)
        let old = PasswordHasher(
            parameters: try Argon2Parameters(memoryKiB: 12_288, iterations: 3, lanes: 1),
            threads: 1, maximumQueued: 1)
        let cheap = try await old.hash(try Password(right.span)).text
        await old.shutdown()
        let hash = try #require(try await fixture.makeUser("timing-model").passwordHash)
        for kind in Refusal.allCases {
            switch kind {
            case .unknown: continue
            case .oldParameters:
                _ = try await fixture.addUser(kind.username, passwordHash: cheap)
            case .bcrypt:
                // A cost of 5: a millisecond.
                _ = try await fixture.addUser(
                    kind.username,
                    passwordHash: "$2b$05$abcdefghijklmnopqrstuuIbAS35EbdSHzTeUzO2QiTiTSVHHnlVS")
            case .noPassword:
                _ = try await fixture.store.makeUserWithoutPassword(kind.username)
            default: _ = try await fixture.addUser(kind.username, passwordHash: hash)
            }
        }
        let disabled = try #require(
            try await fixture.store.user(named: username(Refusal.disabled.username)))
        _ = try await fixture.store.setUser(
            disabled.id, state: .disabled, audit: AuditEvent(.userDisabled, by: .command),
            at: time(noon))
        let lookUp = try await fixture.accounts.gate.lookUpKey()
        func key(_ kind: Refusal) throws -> AttemptKey {
            try AttemptKey(username(kind.username), key: lookUp)
        }
        for failure in 0..<100 {
            _ = try await fixture.store.chargeAttempt(
                try key(.exhausted), user: nil,
                at: time(noon - (101 - Int64(failure)) * AttemptRule.maximumWaitSeconds))
        }

        var taken: [Refusal: [Double]] = [:]
        let clock = ContinuousClock()
        for round in -3..<count {
            // In another order each time, so that none profits from its neighbour.
            for kind in Refusal.allCases.shuffled() {
                if kind == .waiting {
                    for _ in 0..<5 {
                        _ = try await fixture.store.chargeAttempt(
                            try key(kind), user: nil, at: time(noon))
                    }
                } else if kind != .exhausted {
                    try await fixture.store.clearAttempts(
                        [try key(kind)], audit: AuditEvent(.passwordAttemptsReset, by: .command),
                        at: time(noon))
                }
                let password = kind == .disabled ? right : Array("not the password".utf8)
                let start = clock.now
                let outcome = await fixture.accounts.signIn(
                    PasswordGate.Try(username: Array(kind.username.utf8), password: password),
                    client: Accounts.Client(transport: .cookie))
                let elapsed = start.duration(to: clock.now) / .milliseconds(1)
                guard case .refused = outcome else {
                    Issue.record("\(kind) was not refused")
                    continue
                }
                if round >= 0 { taken[kind, default: []].append(elapsed) }
            }
        }
        await fixture.stop()
        let model = try #require(taken[.wrong])
        print("kind            median, ms   slower than a wrong password")
        for kind in Refusal.allCases {
            let values = try #require(taken[kind])
            let difference = Self.median(values) - Self.median(model)
            let lead = Self.chance(values, slowerThan: model) - 0.5
            let name = kind.rawValue.padding(toLength: 14, withPad: " ", startingAt: 0)
            print(
                name,
                String(
                    format: "%12.3f   %+.3f ms, chance %.3f", Self.median(values), difference,
                    lead + 0.5))
            #expect(abs(difference) < Self.maximumDifference, "\(kind)")
            #expect(abs(lead) < Self.maximumLead, "\(kind)")
        }
    }
}

extension SQLStore {
    fileprivate func makeUserWithoutPassword(_ name: String) async throws -> AddUserOutcome {
        let id = try UserID.random(from: .system)
        return try await addUser(
            username(name), id: id, passwordHash: nil,
            audit: AuditEvent(.userCreated, by: .command, user: id), at: time(noon))
    }
}
