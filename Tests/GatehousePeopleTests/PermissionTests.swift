// The rules of grants, reasons and acting sessions.

import GatehouseCore
import GatehousePeople
import GatehouseTestSupport
import Testing

@Suite struct PermissionTests {
    private static let user = UserID(Identifier(high: 1, low: 1))
    private static let other = UserID(Identifier(high: 2, low: 2))

    private func name(_ text: String) throws -> OperatorName {
        try #require(OperatorName(text))
    }

    private func grant(
        _ scope: Grant.Scope = .act, onlyFor: String? = nil, revoked: Int64? = nil
    ) throws -> Grant {
        Grant(
            id: GrantID(Identifier(high: 3, low: 3)), user: Self.user,
            reason: try #require(LookReason("an invoice is wrong")), scope: scope,
            onlyFor: try onlyFor.map { try name($0) }, given: time(noon), ends: time(noon + 3600),
            revoked: revoked.map { time($0) })
    }

    // Promise: permission
    @Test func `a grant is good for its person, operator, scope and time, and for nothing else`()
        throws
    {
        func refusal(
            _ grant: Grant, _ kind: Grant.Scope = .act, on user: UserID = Self.user,
            by: String = "eve", at now: Int64 = noon
        ) throws -> LookRefusal? {
            grant.refusal(of: kind, on: user, by: try name(by), at: time(now))
        }
        #expect(try refusal(grant()) == nil)
        #expect(try refusal(grant(), on: Self.other) == .otherUser)
        #expect(try refusal(grant(), at: noon + 3599) == nil)
        #expect(try refusal(grant(), at: noon + 3600) == .expired)
        #expect(try refusal(grant(revoked: noon)) == .revoked)
        #expect(try refusal(grant(.see), .see) == nil)
        #expect(try refusal(grant(.see)) == .scope)
        #expect(try refusal(grant(), .see) == nil)
        #expect(try refusal(grant(onlyFor: "eve")) == nil)
        #expect(try refusal(grant(onlyFor: "eve"), by: "mallory") == .otherOperator)
        #expect(try refusal(grant(onlyFor: "eve"), by: "Eve") == .otherOperator)
    }

    @Test func `a time of a minute and of the longest is taken, and no other`() {
        var rule = PermissionRule()
        #expect(rule.seconds(nil) == 3600)
        #expect(rule.seconds(60) == 60)
        #expect(rule.seconds(59) == nil)
        #expect(rule.seconds(-1) == nil)
        #expect(rule.seconds(604_800) == 604_800)
        #expect(rule.seconds(604_801) == nil)
        rule.longestSeconds = 1800
        #expect(rule.seconds(nil) == 1800)
        #expect(rule.seconds(1801) == nil)
    }

    @Test func `a reason is one line of 1 to 256 bytes that says something`() {
        for text in ["x", String(repeating: "x", count: 256), "ä", "Ticket 7: can't sign in"] {
            #expect(LookReason(text)?.text == text)
        }
        for text in [
            "", " ", "   ", String(repeating: "x", count: 257), "a\nb", "a\u{2028}b", "\0",
        ] {
            #expect(LookReason(text) == nil)
        }
    }

    // Promise: permission
    @Test func `an acting session never outlives its grant, and proves nothing`() throws {
        let limits = try #require(SessionLimits(idleSeconds: 3600, absoluteSeconds: 86_400))
        let user = User(
            id: Self.user, username: username("ada"), state: .enabled, epoch: 4,
            created: time(noon), passwordHash: nil)
        func session(until ends: Int64?) throws -> ActingSession {
            try ActingSession(
                for: user, by: try name("eve"),
                permission: .grant(GrantID(Identifier(high: 3, low: 3))),
                until: ends.map { time($0) }, limits: limits, floor: .zero, at: time(noon),
                entropy: .system)
        }
        let short = try session(until: noon + 600)
        #expect(short.session.absoluteDeadline == time(noon + 600))
        #expect(short.session.idleDeadline == time(noon + 600))
        #expect(short.session.level == .remembered)
        #expect(short.session.methods.isEmpty)
        #expect(short.session.series == nil)
        #expect(short.claims.actor == (try name("eve")))
        #expect(short.claims.epoch == 4)
        #expect(
            short.claims.renewed(idleSeconds: 3600, at: time(noon + 599)).idleDeadline
                == time(noon + 600), "renewing doesn't move the end")
        #expect(short.look.session == short.session.id)
        #expect(short.look.seen == .session)
        let long = try session(until: noon + 7 * 86_400)
        #expect(long.session.absoluteDeadline == time(noon + 86_400))
        #expect(long.session.idleDeadline == time(noon + 3600))
        #expect(try session(until: nil).session.absoluteDeadline == time(noon + 3600))
    }

    @Test func `an admin token is known by its secret only, and not once it is revoked`() throws {
        func token(_ text: String, revoked: UnixTime? = nil) throws -> AdminToken {
            let hash = try sha256(Array(text.utf8).span)
            return AdminToken(
                name: try name(text), hash: hash, created: time(noon), revoked: revoked)
        }
        let tokens = [try token("a"), try token("b"), try token("c", revoked: time(noon))]
        #expect(AdminToken.matching(Array("b".utf8), in: tokens)?.name.text == "b")
        #expect(AdminToken.matching(Array("c".utf8), in: tokens) == nil)
        #expect(AdminToken.matching(Array("d".utf8), in: tokens) == nil)
        #expect(AdminToken.matching([], in: tokens) == nil)
    }
}
