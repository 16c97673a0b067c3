// The load: one thread that asks over many connections, and checks every answer.

import CBenchmark
import Foundation
import GatehouseSystem
import Glibc
import Histogram

/// Drives one server as a ``LoadPlan`` says. Nothing is allocated for a request, so that the load
/// stays faster than what it measures.
final class LoadLoop {
    private let plan: LoadPlan
    private let requests: RequestSet
    private var live: LiveRequests?
    private let news: NewsReader?
    private var newsDue: UInt64 = 0
    private let poller: Poller
    private var connections: [LoadConnection] = []
    private let idle: [Wire]
    private var slow: SlowClients?
    private let processes: [Int32]

    /// The next request of the set: all connections take from one sequence, so that every cookie
    /// has its turn whatever the number of connections.
    private var cursor = 0
    private var answered = 0
    private var histogram = Latency.histogram()
    /// Of sign-ins that the server had no time for.
    private var refusals = Latency.histogram()
    private var longestPause: UInt64 = 0
    private var result = LoadResult()
    private var schedule: Schedule
    /// Open loop: connections with room for a request, each once for each place, oldest first.
    private var free: Ring

    /// Requests that are still under way at the end get this long.
    private static let drainNanoseconds: UInt64 = 10_000_000_000
    /// What a sign-in that was not taken in gets.
    private static let refusalStatus = 503
    /// How long a load without a core of its own sleeps for events.
    private static let sleepNanoseconds: UInt64 = 1_000_000
    /// How often news are looked for; an answer that seems wrong looks at once.
    private static let newsNanoseconds: UInt64 = 5_000_000
    /// A request with a token of the longest kind.
    private static let longestLiveRequest = 1024

    init(_ plan: LoadPlan) throws {
        try ProcessLimits.apply(
            connections: plan.connections + plan.idleConnections + plan.slowClients)
        if let core = plan.core, bench_pin(Int32(core)) != 0 {
            throw BenchmarkFailure("cannot run on core \(core)")
        }
        self.plan = plan
        if plan.isUrgent { result.wasUrgent = !plan.spins && bench_become_urgent() == 0 }
        news = try plan.news.map { try NewsReader($0) }
        live = plan.news == nil ? nil : LiveRequests()
        let requests =
            plan.news != nil
            ? RequestSet([], path: plan.path)
            : plan.asksToSignIn
                ? RequestSet(signInsOf: try String(contentsOfFile: plan.requests, encoding: .utf8))
                : try RequestSet(file: plan.requests, path: plan.path)
        self.requests = requests
        poller = try Poller()
        let security = try plan.authorities.map { try TLSContext(authorities: $0) }
        idle = try (0..<plan.idleConnections).map { index in
            // Each has been used once, as a proxy's spare connections have.
            let wire = try Wire(plan.target, security: security)
            let request = index % requests.count
            let answer = try wire.exchange(Array(requests.bytes[requests.range(request)]))
            guard answer.head.status == requests.statuses[request] else {
                throw BenchmarkFailure("an idle connection was answered \(answer.head.status)")
            }
            return wire
        }
        processes = ProcessTimes.tree(of: plan.processes)
        schedule = Schedule(plan, from: 0)
        free = Ring(capacity: plan.connections * plan.pipelining)
        connections = try (0..<plan.connections).map { _ in
            let wire = try Wire(plan.target, security: security)
            wire.makeNonblocking()
            return LoadConnection(
                wire, pipelining: plan.pipelining,
                longestRequest: plan.news == nil ? requests.longest : Self.longestLiveRequest)
        }
        if plan.slowClients > 0 { slow = SlowClients(count: plan.slowClients, of: plan.target) }
        for (index, connection) in connections.enumerated() {
            poller.watch(connection.wire.descriptor, as: index, room: false, .add)
        }
    }

    /// Runs the plan to its end, or to the first error that nothing can follow.
    func run() -> LoadResult {
        schedule = Schedule(plan, from: monotonicNanoseconds())
        if plan.rate == nil {
            hear()
            for index in connections.indices { refill(index) }
        } else {
            for _ in 0..<plan.pipelining {
                for index in connections.indices { free.append(index) }
            }
        }
        var last = monotonicNanoseconds()
        while true {
            let now = monotonicNanoseconds()
            if schedule.isMeasuring, plan.spins { longestPause = max(longestPause, now - last) }
            last = now
            if live != nil, now >= newsDue { turnLive(at: now) }
            advance(to: now)
            if schedule.isDone || result.firstError != nil && outstanding == 0 { break }
            if schedule.isMeasured, outstanding == 0, schedule.isAllSent { break }
            if now > schedule.end + Self.drainNanoseconds {
                fail("\(outstanding) request(s) without an answer", at: nil)
                break
            }
            if plan.rate != nil { dispatch(at: now) }
            slow?.turn(at: now)
            let sleep = min(schedule.untilNext(at: now), Self.sleepNanoseconds)
            poller.wait(nanoseconds: plan.spins ? 0 : sleep) { handle($0) }
        }
        return finish()
    }

    private var outstanding: Int { connections.reduce(0) { $0 + $1.outstanding } }

    /// Begins and ends the measured interval when its time has come.
    private func advance(to now: UInt64) {
        if !schedule.isMeasuring, !schedule.isMeasured, now >= schedule.start {
            schedule.begin(answered: answered, times: times(), at: now)
        }
        if schedule.isMeasuring, now >= schedule.end {
            let used = times() - schedule.timesAtStart
            result.server = used.server
            result.load = used.load
            // A server whose process is not known would count as a stranger.
            if !processes.isEmpty {
                result.others = max(0, used.machine - used.server.total - used.load.total)
            }
            result.requests = answered - schedule.answeredAtStart
            result.seconds = Double(now - schedule.began) / 1e9
            schedule.finish()
        }
    }

    private func times() -> UsedTimes {
        let server = ProcessTimes.now(of: processes)
        if server == nil { fail("a process of the server has ended", at: nil) }
        return UsedTimes(
            server: server ?? ProcessTimes(),
            load: ProcessTimes.now(of: [getpid()]) ?? ProcessTimes(), machine: MachineTimes.now())
    }

    /// Open loop: sends what is due, as far as connections are free. What is not sent now keeps the
    /// time it was meant for, so that a server that stalls is charged for everything it delays.
    private func dispatch(at now: UInt64) {
        let due = schedule.due(at: now)
        while schedule.sent < due, let index = free.removeFirst() {
            let connection = connections[index]
            connection.enqueue(nextRequest(), of: requests, intended: schedule.nextIntended())
            flush(index, connection)
        }
    }

    /// Closed loop: fills the connection's pipeline, with one write.
    private func refill(_ index: Int) {
        let connection = connections[index]
        guard schedule.takesMore, result.firstError == nil else { return }
        if live != nil {
            refillLive(connection)
        } else {
            while !connection.isFull {
                connection.enqueue(nextRequest(), of: requests, intended: 0)
            }
        }
        flush(index, connection)
    }

    private func refillLive(_ connection: LoadConnection) {
        let now = time(nil)
        while !connection.isFull, let (request, standing) = live?.next(at: now),
            let requests = live?.requests
        {
            connection.enqueue(request, of: requests, intended: 0, status: standing.rawValue)
        }
    }

    /// Takes up what has been told meanwhile.
    private func hear() {
        do {
            for item in try news?.read() ?? [] { try live?.apply(item) }
        } catch { fail("\(error)", at: nil) }
    }

    private func turnLive(at now: UInt64) {
        newsDue = now + Self.newsNanoseconds
        hear()
        if live?.hasEnded == true { schedule.end(at: now) }
        // Those that found nothing to ask for the last time.
        for index in connections.indices where connections[index].outstanding == 0 { refill(index) }
    }

    private func judge(_ answer: LoadConnection.Answer, _ connection: LoadConnection) {
        guard let asked = LiveRequests.Standing(rawValue: answer.expected) else { return }
        // Whatever has made this answer right was told before it was done.
        if answer.status != answer.expected { hear() }
        let wrong = live?.judge(
            answer.status, of: answer.request, asked: asked, at: time(nil))
        if let wrong { fail("\(wrong): \(connection.reasons(answer.head))", at: nil) }
    }

    private func nextRequest() -> Int {
        let request = cursor
        cursor = cursor + 1 == requests.count ? 0 : cursor + 1
        return request
    }

    private func flush(_ index: Int, _ connection: LoadConnection) {
        guard connection.flush() else {
            schedule.stop()
            return fail("the server closed a connection", at: connection)
        }
        if connection.hasUnsent != connection.watchesRoom {
            connection.watchesRoom = connection.hasUnsent
            poller.watch(
                connection.wire.descriptor, as: index, room: connection.hasUnsent, .modify)
        }
    }

    private func handle(_ index: Int) {
        let connection = connections[index]
        if connection.hasUnsent { flush(index, connection) }
        let isOpenLoop = plan.rate != nil
        let arrival = connection.receive { answer in
            answered += 1
            guard live == nil else { return judge(answer, connection) }
            let (status, expected) = (answer.status, answer.expected)
            let intended = answer.intended
            let isRefusal = plan.asksToSignIn && status == Self.refusalStatus
            if status != expected && !isRefusal {
                fail("answered \(status) where \(expected) is right", at: nil)
            }
            guard isOpenLoop else { return }
            free.append(index)
            if intended >= schedule.start {
                let waited = min(
                    monotonicNanoseconds() - intended, Latency.maximumNanoseconds)
                if isRefusal { refusals.record(waited) } else { histogram.record(waited) }
            }
        }
        switch arrival {
        case .nothing: return
        case .answers: if !isOpenLoop { refill(index) }
        case .closed: end("the server closed a connection", connection)
        case .malformed: end("not an answer", connection)
        case .unasked: end("an answer that nothing was asked for", connection)
        }
    }

    /// An error after which the connection is no use, and neither is the run.
    private func end(_ reason: String, _ connection: LoadConnection) {
        fail(reason, at: connection)
        schedule.stop()
    }

    private func fail(_ reason: String, at connection: LoadConnection?) {
        result.errors += 1
        guard result.firstError == nil else { return }
        let unread = connection.map { excerpt($0.unread) } ?? ""
        result.firstError = unread.isEmpty ? reason : "\(reason): \(unread)"
    }

    private func finish() -> LoadResult {
        let lost = idle.count { !$0.isIdle }
        if lost > 0 { fail("\(lost) idle connection(s) were closed", at: nil) }
        if let slow {
            result.slowReconnects = slow.reconnects
            if !slow.hasConnected { fail("no slow client got in", at: nil) }
        }
        if result.requests == 0 { fail("nothing was answered", at: nil) }
        if plan.rate != nil { result.latency = Latency(histogram) }
        if plan.rate != nil, plan.asksToSignIn { result.refusals = Latency(refusals) }
        result.live = live?.counts
        result.spun = plan.spins
        result.longestPauseMicroseconds = Double(longestPause) / 1000
        return result
    }
}

/// CPU time of the server, of the load itself, and of everything.
private struct UsedTimes {
    var server = ProcessTimes()
    var load = ProcessTimes()
    var machine = 0.0

    static func - (left: UsedTimes, right: UsedTimes) -> UsedTimes {
        UsedTimes(
            server: left.server - right.server, load: left.load - right.load,
            machine: left.machine - right.machine)
    }
}

/// When what is to happen, in nanoseconds of the monotonic clock.
private struct Schedule {
    /// Of everything, of the measured interval, and its end.
    private let origin: UInt64
    let start: UInt64
    private(set) var end: UInt64
    private let requestsPerNanosecond: Double
    /// Requests of an open loop: all, and those that were sent.
    private let total: Int
    private(set) var sent = 0
    private let isOpenLoop: Bool

    private(set) var isMeasuring = false
    private(set) var isMeasured = false
    private(set) var isDone = false
    private(set) var began: UInt64 = 0
    private(set) var answeredAtStart = 0
    private(set) var timesAtStart = UsedTimes()

    init(_ plan: LoadPlan, from origin: UInt64) {
        self.origin = origin
        start = origin + UInt64(plan.warmupSeconds * 1e9)
        end = start + UInt64(plan.seconds * 1e9)
        isOpenLoop = plan.rate != nil
        requestsPerNanosecond = (plan.rate ?? 0) / 1e9
        total = Int(Double(end - origin) * requestsPerNanosecond)
    }

    mutating func begin(answered: Int, times: UsedTimes, at now: UInt64) {
        isMeasuring = true
        answeredAtStart = answered
        timesAtStart = times
        began = now
    }

    mutating func finish() {
        isMeasuring = false
        isMeasured = true
    }

    mutating func stop() { isDone = true }

    /// Nothing is asked from now on.
    mutating func end(at now: UInt64) { end = min(end, now) }

    /// Closed loop: whether an answer brings another request.
    var takesMore: Bool { !isMeasured }
    var isAllSent: Bool { !isOpenLoop || sent >= total }

    /// Open loop: how many requests should have been sent by now.
    func due(at now: UInt64) -> Int {
        min(total, Int(Double(now - origin) * requestsPerNanosecond))
    }

    /// When the next request is meant to be sent.
    private var intended: UInt64 { origin + UInt64(Double(sent + 1) / requestsPerNanosecond) }

    /// The same; it counts as sent.
    mutating func nextIntended() -> UInt64 {
        defer { sent += 1 }
        return intended
    }

    /// How long nothing is to be sent; for ever in a closed loop.
    func untilNext(at now: UInt64) -> UInt64 {
        isOpenLoop && sent < total ? max(now, intended) - now : .max
    }
}

/// Numbers, first in first out, in memory of a fixed size.
private struct Ring {
    private var numbers: [Int]
    private var first = 0
    private var count = 0

    init(capacity: Int) { numbers = Array(repeating: 0, count: capacity) }

    mutating func append(_ number: Int) {
        precondition(count < numbers.count, "a place is free once")
        var place = first + count
        if place >= numbers.count { place -= numbers.count }
        numbers[place] = number
        count += 1
    }

    mutating func removeFirst() -> Int? {
        guard count > 0 else { return nil }
        defer {
            first = first + 1 == numbers.count ? 0 : first + 1
            count -= 1
        }
        return numbers[first]
    }
}
