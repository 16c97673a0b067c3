// Both drivers turn away who is on no list, before a byte is read.

import GatehouseCore
import GatehouseSystem
import GatehouseTestSupport
import Testing

@testable import GatehouseCheck

@Suite struct PeerGateTests {
    private let fixture: CheckFixture

    init() throws { fixture = try CheckFixture() }

    private func gate(_ ranges: String...) throws -> PeerGate {
        PeerGate(endpoint: "check", ranges: try ranges.map { try AddressRange($0) })
    }

    // Promise: allow-lists
    @Test(arguments: SocketHarness.Kind.allCases.filter(\.isTCP))
    func `a peer that is on no list is closed without an answer, and takes no place`(
        _ kind: SocketHarness.Kind
    ) async throws {
        let gate = try gate("192.0.2.0/24", "::1")
        var limits = CheckLimits()
        limits.maximumConnections = 1
        let harness = try await SocketHarness(kind, fixture: fixture, limits: limits, gate: gate)
        for number in 1...3 {
            let socket = try harness.connectPlainly()
            socket.send(Array(fixture.request().utf8))
            var received: [UInt8] = []
            #expect(await !socket.receive(into: &received, seconds: 4), "it is closed")
            #expect(received.isEmpty)
            #expect(gate.refused.count == UInt64(number))
        }
        #expect(gate.refused.lastNetwork == (try AddressRange("127.0.0.0/24")))
        for count in [CheckCount.accepted, .good, .overLimit, .badRequest] {
            #expect(harness.server.count(count) == 0, "\(count)")
        }
        try await harness.stop()
    }

    @Test(arguments: SocketHarness.Kind.allCases.filter(\.isTCP))
    func `a peer on the list is served`(_ kind: SocketHarness.Kind) async throws {
        let gate = try gate("192.0.2.0/24", "127.0.0.0/8")
        let harness = try await SocketHarness(kind, fixture: fixture, gate: gate)
        #expect(try await harness.answers(fixture.request()).map(\.status) == [200])
        #expect(gate.refused.count == 0)
        try await harness.stop()
    }

    /// Who reaches it is the file system's to say.
    @Test(arguments: SocketHarness.Kind.allCases.filter { !$0.isTCP })
    func `a Unix socket has no list`(_ kind: SocketHarness.Kind) async throws {
        let gate = try gate("192.0.2.0/24")
        let harness = try await SocketHarness(kind, fixture: fixture, gate: gate)
        #expect(try await harness.answers(fixture.request()).map(\.status) == [200])
        #expect(gate.refused.count == 0)
        try await harness.stop()
    }
}
