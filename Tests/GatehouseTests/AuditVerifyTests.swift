// A trail is read while retention removes its beginning.

import Foundation
import GRDB
import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import Testing

@testable import gatehouse

@Suite struct AuditVerifyTests {
    private let directory = TemporaryDirectory()

    @Test func `what retention removes meanwhile is no fault, and the trail is read again`()
        async throws
    {
        let store = try SQLStore(directory: directory.path, createIfMissing: true).signed()
        for _ in 0..<4 {
            try await store.note(AuditEvent(.signedIn, by: .server), at: time(noon))
        }
        let ring = try Keyring.first(at: time(noon), entropy: .seeded(7))
        let link = try #require(try await store.audit(after: 1, limit: 1).first?.link)
        let base = try trailKey.base(
            AuditChainEnd(chain: link.chain, position: link.position, mac: link.mac))
        let floor = try trailKey.base(
            AuditChainEnd.floor(2))
        let queue = try DatabaseQueue(path: directory.path + "/" + SQLStore.fileName)
        var told: [UInt64] = []
        let (verifier, head) = try await AuditCommand.verify(store, ring: ring) { entries in
            if told.isEmpty {
                // As retention leaves it.
                try queue.write { db in
                    try db.execute(sql: "UPDATE head SET audit_floor = 2")
                    try db.execute(sql: "DELETE FROM audit WHERE sequence <= 2")
                    for base in [base, floor] {
                        try db.execute(
                            sql: "INSERT INTO audit_bases VALUES (?, 2, ?, ?, ?)",
                            arguments: [
                                Data(base.end.chain.value.bytes), Data(base.end.mac),
                                Int64(base.key.rawValue), Data(base.seal),
                            ])
                    }
                }
            }
            told += entries.map(\.sequence)
        }
        try queue.close()
        #expect(verifier.faults.isEmpty)
        #expect(verifier.entries == 2, "those that are left")
        #expect(head.sequence == 4)
        #expect(told == [1, 2, 3, 4], "each once")
    }
}
