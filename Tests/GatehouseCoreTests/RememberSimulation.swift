// One person's browser, a thief, two nodes and the network between them, on a virtual clock.

import GatehouseCore
import GatehouseTestSupport

/// One seeded run. Whatever happens is an event at a second; events of one second come in any order.
struct RememberSimulation {
    enum Weather {
        /// A request or response takes 4 s at most, one that is lost is repeated after 8 s and arrives the
        /// fourth time, nodes' clocks are 3 s apart at most, and the browser is not closed while it waits:
        /// 55 s at most from a new generation to the last request that doesn't know it.
        case calm
        /// Anything may be lost for ever or take minutes, the browser may crash and wake up with the
        /// cookies that it had some time before, and operators and people end what they like.
        case rough
    }

    private typealias Event = (inout RememberSimulation) -> Void

    let weather: Weather
    let hasThief: Bool
    private(set) var service: RememberService
    private(set) var witness = RememberWitness()
    private(set) var jars: [Party: Cookies] = [.owner: Cookies(), .thief: Cookies()]
    /// The owner's cookies as they were written to disk.
    private var disk: Cookies.Remember?
    private var backup: (RememberService, RememberWitness)?
    private var random: SeededGenerator
    private var now: Int64 = noon
    private var queue: [(at: Int64, order: UInt64, event: Event)] = []
    /// Requests of the owner's browser that were not answered yet.
    private var pending = 0
    /// How often the browser was started: it gets no answer to what it asked before.
    private var start = 0
    private let skew: [Int64]
    private let tabs: Int

    init(
        seed: UInt64, _ weather: Weather, hasThief: Bool = false,
        service: RememberService = RememberService()
    ) {
        self.weather = weather
        self.hasThief = hasThief
        self.service = service
        random = SeededGenerator(seed: seed)
        skew = [0, .random(in: 0...3, using: &random)]
        tabs = .random(in: 1...5, using: &random)
    }

    /// What the row and the browser must agree on once all is quiet.
    var isSettled: Bool {
        guard let claims = jars[.owner]?.remember?.claims, let row = service.rows[claims.series]
        else { return false }
        return row.state.generation == claims.generation && row.session == jars[.owner]?.session?.id
            && service.isLive(row.session, at: service.clock)
            && service.sessions.values.filter { $0.series == claims.series }.count == 1
    }

    mutating func run(steps: Int) {
        signIn()
        settle()
        for _ in 0..<steps where witness.violation == nil {
            step()
            let gap = chance(6) ? untilEdge() : gaps.randomElement(using: &random) ?? 1
            runEvents(until: now + gap)
        }
        settle()
    }

    /// Lets everything arrive, then lets the owner look once more.
    mutating func settle() {
        while let last = queue.map(\.at).max() { runEvents(until: last) }
        visit(.owner)
        while let last = queue.map(\.at).max() { runEvents(until: last) }
    }

    private let gaps: [Int64] = [
        0, 1, 2, 5, 20, 58, 59, 60, 61, 600, 3599, 3600, 7200, 90_000, 864_000,
    ]

    /// The seconds from now to one side or the other of where the grace of a generation ends.
    private mutating func untilEdge() -> Int64 {
        guard let row = service.rows.values.max(by: { $0.state.made < $1.state.made }) else {
            return 1
        }
        let edge = row.state.made.seconds + RememberService.graceSeconds - now
        return max(0, edge + .random(in: -2...1, using: &random))
    }

    // MARK: What happens

    private mutating func step() {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<45:
            for _ in 0..<Int.random(in: 1...tabs, using: &random) {
                after(.random(in: 0...5, using: &random)) { $0.visit(.owner) }
            }
        case 45..<60: restart()
        case 60..<65: if isQuiet { stepUp() }
        case 65..<68:
            if isQuiet, let session = jars[.owner]?.session { service.endForLimit(session.id) }
        case 68..<70: if hasThief, chance(3) { copyCookies() }
        case 70..<90: if hasThief { visit(.thief) }
        case 90..<92: signOut()
        case 92..<94: if weather == .rough { change { $0.changePassword() } }
        case 94..<95: if weather == .rough { change { $0.revokeKey() } }
        case 95..<97: backup = (service, witness)
        case 97..<99: if weather == .rough { restore() }
        default:
            if hasThief { copyCookies() }
        }
    }

    /// Whether nothing is under way that the calm owner waits for.
    private var isQuiet: Bool { weather == .rough || pending == 0 }

    private mutating func copyCookies() {
        guard var cookies = jars[.owner] else { return }
        // A thief who has the session too needs the remember cookie only later.
        if chance(2) { cookies.session = nil }
        jars[.thief] = cookies
        witness.copied(cookies)
    }

    private mutating func restart() {
        guard isQuiet else { return }
        start += 1
        pending = 0
        jars[.owner]?.session = nil
        if weather == .rough, chance(4) { jars[.owner]?.remember = disk }
    }

    private mutating func change(_ body: (inout RememberService) -> Void) {
        body(&service)
        witness.lookedAt(service)
    }

    private mutating func restore() {
        guard let (service, witness) = backup else { return }
        self.service.restore(service)
        self.witness.restored(witness, self.service)
    }

    // MARK: Browsers and thieves

    mutating func signIn() {
        guard let old = jars[.owner] else { return }
        let cookies = service.signIn(presenting: old, at: node())
        witness.signedIn(cookies, service)
        jars[.owner] = cookies
    }

    private mutating func signOut() {
        guard let cookies = jars[.owner] else { return }
        service.signOut(cookies, at: node())
        witness.lookedAt(service)
        jars[.owner] = Cookies()
    }

    private mutating func stepUp() {
        guard let old = jars[.owner]?.session else { return }
        guard let new = service.stepUp(old, at: node()) else { return }
        witness.steppedUp(from: old.id, to: new.id)
        jars[.owner]?.session = new
    }

    /// A request for a page: the proxy asks the check endpoint, and sends who is not signed in to resume.
    private mutating func visit(_ party: Party) {
        let (session, start) = (jars[party]?.session, start)
        request(of: party)
        after(delay()) { simulation in
            let at = simulation.node()
            let isLive = session.map { simulation.service.isLive($0, at: at) } ?? false
            if isLive, let session { simulation.note(session.id, used: at) }
            let isDone = isLive && !simulation.chance(8)
            simulation.after(simulation.delay()) { simulation in
                guard simulation.answered(party, since: start), !isDone else { return }
                simulation.resume(party, attempt: 0)
            }
        }
    }

    private mutating func resume(_ party: Party, attempt: Int) {
        let (cookies, start) = (jars[party] ?? Cookies(), start)
        request(of: party)
        after(delay()) { simulation in
            let answer = simulation.serve(party, cookies)
            let isLost = simulation.chance(4) && (simulation.weather == .rough || attempt < 3)
            simulation.after(simulation.delay()) { simulation in
                guard simulation.answered(party, since: start) else { return }
                if !isLost { return simulation.receive(answer, by: party) }
                guard simulation.weather == .calm || simulation.chance(2) else { return }
                simulation.request(of: party)
                simulation.after(8) { simulation in
                    guard simulation.answered(party, since: start) else { return }
                    simulation.resume(party, attempt: attempt + 1)
                }
            }
        }
    }

    mutating func serve(_ party: Party, _ cookies: Cookies) -> RememberService.Answer {
        let before = service
        let answer = service.resume(cookies, at: node())
        witness.resumed(
            party, presenting: cookies, answer: answer, before: before, after: service)
        return answer
    }

    /// What comes last is what the jar holds, however old it is.
    private mutating func receive(_ answer: RememberService.Answer, by party: Party) {
        switch answer {
        case .live(let session): jars[party]?.session = session
        case .renewed(let session, let remember):
            jars[party]?.session = session
            guard let remember else { return }
            jars[party]?.remember = remember
            if party == .owner, chance(2) { disk = remember }
        case .refused:
            guard party == .owner else { return }
            // Another tab may have come through in the meantime.
            if let session = jars[.owner]?.session, service.isLive(session, at: service.clock) {
                return
            }
            signIn()
        }
    }

    /// The check endpoint's notes are written within ten seconds.
    private mutating func note(_ session: SessionID, used: UnixTime) {
        after(.random(in: 0...10, using: &random)) { simulation in
            simulation.service.note(session, used: used)
            simulation.witness.used(session)
        }
    }

    private mutating func request(of party: Party) {
        if party == .owner { pending += 1 }
    }

    private mutating func answered(_ party: Party, since start: Int) -> Bool {
        guard party == .owner else { return true }
        guard start == self.start else { return false }
        pending -= 1
        return true
    }

    // MARK: Time and chance

    /// The clock of the node that a request comes to.
    private mutating func node() -> UnixTime {
        time(now + (skew.randomElement(using: &random) ?? 0))
    }

    private mutating func delay() -> Int64 {
        if weather == .rough, chance(10) { return .random(in: 5...200, using: &random) }
        return chance(2) ? 0 : .random(in: 0...4, using: &random)
    }

    /// One in `count`.
    private mutating func chance(_ count: Int) -> Bool {
        Int.random(in: 0..<count, using: &random) == 0
    }

    private mutating func after(_ seconds: Int64, _ event: @escaping Event) {
        queue.append((now + seconds, random.next(), event))
    }

    private mutating func runEvents(until end: Int64) {
        while let next = nextEvent, queue[next].at <= end {
            let (at, _, event) = queue.remove(at: next)
            now = at
            event(&self)
        }
        now = end
    }

    private var nextEvent: Int? {
        queue.indices.min { left, right in
            (queue[left].at, queue[left].order) < (queue[right].at, queue[right].order)
        }
    }
}
