// Who may connect to which endpoint, and what is told of those who may not.

import GatehouseSystem
import GatehouseWeb
import Logging
import ServiceLifecycle

/// The lists of the three endpoints. What is turned away is counted at once, and logged now and then: a
/// line for each connection would let anybody fill the log.
struct PeerGates: Service {
    /// One line at most for each endpoint in that time.
    static let logSeconds: Int64 = 60

    let front: PeerGate
    let check: PeerGate
    let admin: PeerGate
    private let logger = Logger(label: "gatehouse.peers")

    init(_ settings: Settings) {
        front = PeerGate(endpoint: "public", ranges: settings.publicAllowed)
        check = PeerGate(endpoint: "check", ranges: settings.checkAllowed)
        admin = PeerGate(endpoint: "admin", ranges: settings.adminAllowed)
    }

    private var all: [PeerGate] { [front, check, admin] }

    var metric: Metric {
        Metric(
            "gatehouse_connections_not_allowed_total", .counter,
            "Connections closed without an answer, because the peer is on no list, by endpoint.",
            all.map {
                .init(labels: [("endpoint", $0.endpoint)], value: Double($0.refused.count))
            })
    }

    func run() async throws {
        // Ends with the server.
        await cancelWhenGracefulShutdown { await logNowAndThen() }
    }

    private func logNowAndThen() async {
        var told = all.map { _ in UInt64(0) }
        while !Task.isCancelled {
            for (index, gate) in all.enumerated() {
                let refused = gate.refused
                guard refused.count > told[index] else { continue }
                logger.warning(
                    "connections closed: the peer is on no list",
                    metadata: [
                        "event": "excess_connections_not_allowed",
                        "endpoint": "\(gate.endpoint)",
                        "connections": "\(refused.count - told[index])",
                        "last": "\(refused.lastNetwork.map(\.description) ?? "unknown")",
                    ])
                told[index] = refused.count
            }
            try? await Task.sleep(for: .seconds(Self.logSeconds))
        }
    }
}
