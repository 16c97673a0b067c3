// What operators are told: by doctor, by commands that wait, and about root keys.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import gatehouse

@Suite struct OperationsTests {
    private func node(silentFor seconds: Int64) throws -> (NodeRecord, UnixTime) {
        let heartbeat = try #require(UnixTime(seconds: 1_800_000_000))
        let node = NodeRecord(
            id: NodeID(try Identifier.random(from: .system)), started: heartbeat,
            heartbeat: heartbeat, leaseSeconds: 120, position: 3, keyringVersion: 1)
        return (node, heartbeat.advanced(bySeconds: seconds))
    }

    /// A wall clock that has stepped may be wrong, and removes no old entries of the trail.
    @Test(
        arguments: [
            (3600, true), (-3600, true), (3601, false), (-3601, false), (500 * 86_400, false),
        ] as [(Int64, Bool)])
    func `a clock is steady up to an hour's step`(step: Int64, isSteady: Bool) {
        let now = Instant(wall: time(noon + 86_400 + step), boot: instant(noon + 86_400).boot)
        #expect(Follower.isSteady(at: now, since: instant(noon)) == isSteady)
    }

    @Test func `a server is silent once two of its beats are missing`() throws {
        let (node, now) = try node(silentFor: NodeRecord.silentSeconds)
        #expect(node.silence(at: now) == nil)
        #expect(
            node.silence(at: now.advanced(bySeconds: 1))
                == "silent for 11 s, given up in 114 s")
        #expect(
            node.silence(at: now.advanced(bySeconds: 200))
                == "silent for 210 s, given up in 0 s")
        #expect(node.silence(at: now.advanced(bySeconds: -100)) == nil, "another clock was ahead")
    }

    @Test func `a server that is waited for is told of again once it is silent`() throws {
        let (node, late) = try node(silentFor: 40)
        let steps = Steps(isJSON: true, isTold: true, interruption: "")
        for now in [node.heartbeat, node.heartbeat, late, late] {
            steps.look(at: [node], for: .ring(2), now: now)
        }
        #expect(steps.all.map(\.step) == ["waiting", "waiting"])
        steps.look(at: [node], for: .ring(1), now: late)
        #expect(steps.all.map(\.step) == ["waiting", "waiting", "reached"])
    }

    @Test func `doctor tells of a ring that fills from 48 keys on`() {
        #expect(Doctor.room(keys: 47, next: "none has ended") == nil)
        let finding = Doctor.room(keys: 48, next: "none has ended")
        #expect(finding?.level == .warning)
        #expect(
            finding?.message == "it holds 48 keys, and takes no new one from 64 on; none has ended")
    }

    @Test func `doctor tells of a disk that is nearly full`() {
        let directory = TemporaryDirectory()
        #expect(Doctor.minimumFreeBytes == 67_108_864)
        #expect(Doctor.space(directory.path, minimum: 0).level == .ok)
        #expect(Doctor.space(directory.path, minimum: .max).level == .warning)
        let gone = Doctor.space(directory.path + "/gone", minimum: 0)
        #expect(gone.level == .warning)
        #expect(gone.message.contains("can't be told: errno 2"))
    }

    @Test func `doctor tells of what can't be written to`() {
        let directory = TemporaryDirectory()
        #expect(Doctor.unwritable(directory.path) == nil)
        #expect(Doctor.unwritable(directory.path + "/gone") == nil, "others tell")
        // The kernel refuses it to root too.
        let path = "/proc/sys/kernel/ostype"
        let finding = Doctor.unwritable(path)
        #expect(finding?.level == .error)
        let messages = [
            "this user can't write to \(path)",
            "\(path) is on a file system that is mounted read-only",
        ]
        #expect(messages.contains(finding?.message ?? ""))
    }

    @Test func `of two root keys the configured one is first and marked`() throws {
        let ids = try (0..<2).map { _ in try RootKey.random(from: .system).id }
        func list(_ ids: [RootKey.Identifier64], _ configured: RootKey.Identifier64) -> String {
            KeysCommand.Rewrap.list(ids, configured: configured)
        }
        #expect(list(ids, ids[1]) == "root key \(ids[1].text) (configured) and \(ids[0].text)")
        #expect(list(ids, ids[0]) == "root key \(ids[0].text) (configured) and \(ids[1].text)")
        #expect(list([ids[0]], ids[0]) == "root key \(ids[0].text)")
    }

    @Test func `a time that has not passed revokes nothing`() throws {
        let now = try #require(UnixTime(seconds: 1_800_000_000))
        for text in ["0", "1800000000", "1800000001", "2027-01-15T08:00:00Z"] {
            #expect(throws: Never.self, "\(text)") { try Output.passedTime(text, at: now) }
        }
        for text in ["1800000002", "2099-01-01T00:00:00Z"] {
            #expect(throws: CommandFailure.usage("--before takes a time that has passed")) {
                try Output.passedTime(text, at: now)
            }
        }
    }

    @Test func `failures are told in words`() throws {
        let failures: [any Error] = [
            StoreError.busy, StoreError.unavailable("x"), StoreError.schema("x"),
            StoreError.damaged("x"), StoreError.clockAhead(seconds: 4000),
            RefreshFailure.store(.unavailable("x")), RefreshFailure.keyring(.damaged),
            RefreshFailure.keyring(.sealing), RefreshFailure.noKeyring,
            RefreshFailure.storeWentBack, RefreshFailure.notPublished,
            RefreshFailure.keyring(
                .otherRootKey(
                    [try RootKey.random(from: .system).id],
                    given: try RootKey.random(from: .system).id)),
        ]
        for failure in failures {
            #expect(!"\(failure)".contains { "()".contains($0) }, "\(failure)")
            #expect(CommandFailure(failure).message == "\(failure)")
        }
        #expect("\(failures[5])" == "the store is unavailable: x")
    }
}
