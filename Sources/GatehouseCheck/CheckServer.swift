// The check endpoint: its drivers, and what the rest of the server does with them.

package import GatehouseCore
package import GatehouseSystem
import Synchronization

/// Which code carries bytes between sockets and connections.
package enum CheckDriverKind: String, CaseIterable, Sendable {
    /// The epoll driver for plain sockets on Linux, SwiftNIO's for TLS.
    case automatic = "auto"
    /// SwiftNIO's for all.
    case nio
}

/// Everything that a check endpoint is made from.
package struct CheckSetup: Sendable {
    package var audience: Audience
    package var lease: Lease
    package var settings = CheckSettings()
    package var driver = CheckDriverKind.automatic
    /// Event loops of each driver that is in use.
    package var loops = 1
    /// The mode of Unix sockets.
    package var socketMode: UInt16 = 0o660
    /// Addresses whose `X-Forwarded-*` fields are believed for the option `forward`; the peers of a Unix
    /// socket always count as listed.
    package var trustedProxies: [String] = []
    /// Who may connect over TCP; nil for everybody.
    package var gate: PeerGate?
    /// TLS for TCP listeners; nil for plain ones.
    package var tls: ServerTLS?
    package var clock: @Sendable () -> Instant = SystemClock.now

    package init(audience: Audience, lease: Lease) {
        self.audience = audience
        self.lease = lease
    }

    /// What the connections of one event loop share. Each loop has its own judge and counters, so that
    /// checks share nothing that changes.
    func makeLoop(counters: CheckCounters) -> CheckLoop {
        CheckLoop(
            judge: Judge(audience: audience, lease: lease), counters: counters, settings: settings)
    }
}

/// Threads that carry connections. Both drivers do, and are held to the same tests.
protocol CheckDriver: AnyObject, Sendable {
    /// One for each loop.
    var counters: [CheckCounters] { get }
    /// Does `body` on each loop in turn; nil where a loop has ended.
    func onEveryLoop<Value: Sendable>(
        _ body: @escaping @Sendable (CheckLoop) -> Value
    ) async -> [Value?]
    /// Opens a listener; gives its port if it has one.
    func listen(on address: ListenAddress) async throws -> Int?
    /// Closes the listeners; connections stay.
    func stopListening() async
    func openConnections() async -> Int
    /// Ends the connections that are not in the middle of a request; gives how many are left.
    func endIdle() async -> Int
    /// Ends everything, connections too.
    func shutdown() async
}

/// The check endpoint's listeners and event loops.
package final class CheckServer: Sendable {
    /// How long connections without a request stay when the endpoint closes, in seconds: a request that
    /// was on its way gets its answer.
    static let idleDrainSeconds: Int64 = 1

    private let clock: @Sendable () -> Instant
    private let plain: any CheckDriver
    private let secure: (any CheckDriver)?
    private var drivers: [any CheckDriver] {
        guard let secure, secure !== plain else { return [plain] }
        return [plain, secure]
    }

    /// Starts the event loops.
    package init(_ setup: CheckSetup) throws {
        clock = setup.clock
        let connections = ConnectionCount()
        #if os(Linux)
            plain =
                setup.driver == .nio
                ? try NIODriver(setup, connections: connections)
                : try EpollDriver(setup, connections: connections)
        #else
            plain = try NIODriver(setup, connections: connections)
        #endif
        guard setup.tls != nil else {
            secure = nil
            return
        }
        secure = plain is NIODriver ? plain : try NIODriver(setup, connections: connections)
    }

    /// Makes every event loop use `snapshot`; returns when all do, or false when one could not.
    package func publish(_ snapshot: CheckSnapshot) async -> Bool {
        var isComplete = true
        for driver in drivers {
            // What is replaced comes back here, and is freed on this thread.
            let replaced = await driver.onEveryLoop { $0.adopt(snapshot) }
            if replaced.contains(where: { ($0 ?? nil) == nil }) { isComplete = false }
        }
        return isComplete
    }

    /// Takes every loop's notes of which sessions were used.
    package func takeActivity() async -> [ActivityNotes] {
        // Empty notes are made here, and exchanged for the loops' own: making them takes a loop longer than
        // many checks. One owner each, or the loop would copy them.
        let fresh = Mutex((0..<loopCount).map { _ in ActivityNotes() })
        let taken = Mutex<[ActivityNotes]>([])
        for driver in drivers {
            _ = await driver.onEveryLoop { loop in
                guard var notes = fresh.withLock({ $0.popLast() }) else { return }
                loop.exchangeActivity(&notes)
                taken.withLock { $0.append(notes) }
            }
        }
        return taken.withLock { $0 }
    }

    /// Takes what keys opened and sealed on every loop.
    package func takeTally() async -> KeyTally {
        var tally = KeyTally()
        for driver in drivers {
            for taken in await driver.onEveryLoop({ $0.takeTally() }) {
                if let taken { tally.add(taken) }
            }
        }
        return tally
    }

    /// The sum over all event loops.
    package func count(_ count: CheckCount) -> UInt64 {
        drivers.reduce(0) { sum, driver in
            driver.counters.reduce(sum) { $0 + $1.value(count) }
        }
    }

    package var loopCount: Int { drivers.reduce(0) { $0 + $1.counters.count } }

    /// Opens a listener: TCP with TLS where there is any, all else plain.
    ///
    /// - Returns: the port of a TCP listener.
    @discardableResult
    package func listen(on address: ListenAddress) async throws -> Int? {
        guard address.isTCP, let secure else { return try await plain.listen(on: address) }
        return try await secure.listen(on: address)
    }

    /// Closes the listeners, so that new connections are refused.
    package func stopListening() async {
        for driver in drivers { await driver.stopListening() }
    }

    /// Waits for connections to end, for `seconds` at most: while the lease is ending each does with its
    /// next answer, and those without a request after a moment.
    package func drain(seconds: Int64) async {
        let start = clock().boot
        while clock().boot < start.advanced(bySeconds: seconds) {
            let isPatient = clock().boot < start.advanced(bySeconds: Self.idleDrainSeconds)
            var open = 0
            for driver in drivers {
                open += isPatient ? await driver.openConnections() : await driver.endIdle()
            }
            guard open > 0 else { return }
            try? await Task.sleep(for: .milliseconds(20))
        }
    }

    /// Ends the event loops, and with them all connections.
    package func shutdown() async {
        for driver in drivers { await driver.shutdown() }
    }
}

/// How many connections all event loops have.
final class ConnectionCount: Sendable {
    private let open = Atomic<Int>(0)

    /// Takes a place, unless `maximum` are taken.
    func enter(maximum: Int) -> Bool {
        if open.wrappingAdd(1, ordering: .relaxed).newValue <= maximum { return true }
        leave()
        return false
    }

    func leave() { open.wrappingSubtract(1, ordering: .relaxed) }
}
