// The shortest stories of what the rule finds, and of what no such rule can tell apart.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct RememberStoryTests {
    private typealias Service = RememberService

    /// A service that has signed one person in, at `noon`, and the cookies, without the session.
    private static func remembered() -> (Service, Cookies) {
        var service = Service()
        let cookies = service.signIn(presenting: Cookies(), at: time(noon))
        return (service, Cookies(remember: cookies.remember))
    }

    /// Presents cookies; nil when the sign-in page is the answer.
    private static func resume(
        _ service: inout Service, _ cookies: Cookies, at seconds: Int64
    ) -> Cookies? {
        switch service.resume(cookies, at: time(noon + seconds)) {
        case .live(let session): Cookies(session: session, remember: cookies.remember)
        case .renewed(let session, let remember):
            Cookies(session: session, remember: remember ?? cookies.remember)
        case .refused: nil
        }
    }

    /// Whether the check endpoint lets it in; the service learns of it at once.
    private static func visit(
        _ service: inout Service, _ cookies: Cookies, at seconds: Int64
    ) -> Bool {
        let now = time(noon + seconds)
        guard let session = cookies.session, service.isLive(session, at: now) else { return false }
        service.note(session.id, used: now)
        return true
    }

    @Test func `two tabs and two nodes get one generation and one session`() throws {
        var (service, old) = Self.remembered()
        // The second request comes to a node whose clock is behind.
        let first = try #require(Self.resume(&service, old, at: 100))
        let second = try #require(Self.resume(&service, old, at: 97))
        #expect(first.session == second.session)
        #expect(first.remember?.claims.generation == 2)
        #expect(second.remember?.claims.generation == 2)
        #expect(service.sessionsMade == 2)
    }

    /// The browser was closed and opened again just before a generation's grace ended, and two of its tabs
    /// are answered on both sides of that, the second first.
    @Test func `tabs on both sides of the grace leave the newer generation in the jar`() throws {
        var (service, old) = Self.remembered()
        let jar = Cookies(remember: try #require(Self.resume(&service, old, at: 100)).remember)
        guard case .renewed(let first, nil) = service.resume(jar, at: time(noon + 159)),
            case .renewed(let second, let newer?) = service.resume(jar, at: time(noon + 160))
        else {
            Issue.record("only a generation that the browser doesn't have is set")
            return
        }
        #expect(first != second && newer.claims.generation == 3)
        // The first answer comes last: a session that has ended, beside the newest generation.
        let next = Self.resume(&service, Cookies(session: first, remember: newer), at: 10_000)
        #expect(next?.remember?.claims.generation == 4)
    }

    @Test(arguments: [(59, true), (60, false)] as [(Int64, Bool)])
    func `a lost response is made good within the grace, and ends quietly after it`(
        _ late: Int64, _ isGood: Bool
    ) {
        var (service, old) = Self.remembered()
        #expect(Self.resume(&service, old, at: 100) != nil)
        #expect((Self.resume(&service, old, at: 100 + late) != nil) == isGood)
        #expect(service.warnings == 0)
        #expect(service.rows.isEmpty == !isGood)
    }

    @Test func `whoever comes second after the grace is noticed, and both are out`() throws {
        for isThiefFirst in [false, true] {
            var (service, copy) = Self.remembered()
            let first = try #require(Self.resume(&service, copy, at: 100))
            #expect(Self.visit(&service, first, at: 101), "thief first: \(isThiefFirst)")
            #expect(Self.resume(&service, copy, at: 160) == nil)
            #expect(service.warnings == 1)
            #expect(!Self.visit(&service, first, at: 161))
            #expect(Self.resume(&service, first, at: 161) == nil)
        }
    }

    @Test func `a thief who makes a generation and never uses it is out with the owner`() throws {
        var (service, copy) = Self.remembered()
        let stolen = try #require(Self.resume(&service, copy, at: 100))
        #expect(Self.resume(&service, copy, at: 160) == nil)
        #expect(service.warnings == 0)
        #expect(!Self.visit(&service, stolen, at: 161))
        #expect(Self.resume(&service, stolen, at: 161) == nil)
    }

    @Test func `another browser of the same person is left alone`() throws {
        var (service, copy) = Self.remembered()
        let other = service.signIn(presenting: Cookies(), at: time(noon))
        let first = try #require(Self.resume(&service, copy, at: 100))
        #expect(Self.visit(&service, first, at: 101))
        #expect(Self.resume(&service, copy, at: 160) == nil)
        #expect(Self.visit(&service, other, at: 161))
        #expect(Self.resume(&service, Cookies(remember: other.remember), at: 162) != nil)
    }

    // MARK: What can't be told apart

    @Test func `a thief who always comes within the grace is not noticed`() throws {
        var (service, owner) = Self.remembered()
        var thief = owner
        for round in 1...100 as ClosedRange<Int64> {
            owner.session = nil
            thief.session = nil
            owner = try #require(Self.resume(&service, owner, at: round * 1000))
            thief = try #require(Self.resume(&service, thief, at: round * 1000 + 59))
            #expect(thief.session == owner.session)
        }
        #expect(service.warnings == 0)
    }

    /// The request with the generation before was on its way for most of the grace, and so was its answer.
    @Test func `a late response that overwrites a newer cookie looks like a copy`() throws {
        var (service, old) = Self.remembered()
        let quick = try #require(Self.resume(&service, old, at: 100))
        let late = try #require(Self.resume(&service, old, at: 159))
        // The browser was closed and opened again.
        let newer = try #require(
            Self.resume(&service, Cookies(remember: quick.remember), at: 160))
        #expect(Self.visit(&service, newer, at: 161))
        // Now the jar holds `late`. Within the grace that is made good.
        var healed = service
        #expect(Self.resume(&healed, late, at: 219)?.session == newer.session)
        #expect(Self.resume(&service, late, at: 220) == nil)
        #expect(service.warnings == 1)
    }

    @Test func `what a browser wakes up with after a crash looks like a copy`() throws {
        var (service, disk) = Self.remembered()
        let lost = try #require(Self.resume(&service, disk, at: 100))
        #expect(Self.visit(&service, lost, at: 101))
        var healed = service
        #expect(Self.resume(&healed, disk, at: 159)?.session == lost.session)
        #expect(Self.resume(&service, disk, at: 160) == nil)
        #expect(service.warnings == 1)
    }

    /// Why a restored backup should be followed by `keys revoke` or a new epoch.
    @Test func `after a restore an old copy can catch up with the owner's cookie`() throws {
        var (service, copy) = Self.remembered()
        let backup = service
        let owner = try #require(Self.resume(&service, copy, at: 100))
        service.restore(backup)
        let newest = Cookies(remember: owner.remember)
        #expect(Self.resume(&service, newest, at: 200) == nil)
        #expect(service.warnings == 0 && service.rows.count == 1)
        let thief = try #require(Self.resume(&service, copy, at: 300))
        #expect(Self.resume(&service, newest, at: 310)?.session == thief.session)
    }
}
