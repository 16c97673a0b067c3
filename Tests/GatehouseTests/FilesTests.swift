// The data directory and the root key file: what is refused, and why.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import gatehouse

@Suite struct FilesTests {
    private let directory = TemporaryDirectory()
    private var path: String { directory.path + "/root.key" }

    private func refusal(_ body: () throws -> Void) -> String {
        do {
            try body()
            return "none"
        } catch let refusal as FileRefusal { return refusal.message } catch { return "\(error)" }
    }

    private func readRefusal() -> String { refusal { _ = try RootKeyFile.read(path) } }

    private func setMode(_ mode: Int, _ path: String) throws {
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }

    @Test func `a root key that was made is read again, and is never replaced`() throws {
        try RootKeyFile.create(path)
        let id = try RootKeyFile.read(path).id
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        #expect(refusal { try RootKeyFile.create(path) }.hasPrefix("there is a file at"))
        let names = try FileManager.default.contentsOfDirectory(atPath: directory.path)
        #expect(names == ["root.key"], "no draft is left")
        #expect(try RootKeyFile.read(path).id == id)
    }

    @Test(arguments: [0o640, 0o604, 0o660, 0o601, 0o610, 0o777])
    func `a root key that others can reach is refused`(_ mode: Int) throws {
        try RootKeyFile.create(path)
        try setMode(mode, path)
        #expect(readRefusal().hasPrefix("others have access"))
        try setMode(0o400, path)
        #expect(readRefusal() == "none")
    }

    @Test func `a missing root key, a link, a directory and another file are refused`() throws {
        #expect(readRefusal().hasPrefix("there is no root key"))
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        #expect(readRefusal().contains("not a regular file"))
        try FileManager.default.removeItem(atPath: path)
        try RootKeyFile.create(directory.path + "/real.key")
        try FileManager.default.createSymbolicLink(
            atPath: path, withDestinationPath: directory.path + "/real.key")
        #expect(readRefusal().contains("symbolic link"))
    }

    @Test(.timeLimit(.minutes(1))) func `a FIFO is refused, and not waited for`() {
        #expect(unsafe mkfifo(path, 0o600) == 0)
        #expect(readRefusal().contains("not a regular file"))
    }

    @Test func `a root key where others can write is neither made nor read`() throws {
        for mode in [0o777, 0o770, 0o707] {
            try setMode(mode, directory.path)
            #expect(refusal { try RootKeyFile.create(path) }.hasPrefix("others can write to"))
        }
        // Nobody takes a file of another user's out of one with the sticky bit.
        try setMode(0o1777, directory.path)
        try RootKeyFile.create(path)
        #expect(readRefusal() == "none")
        try setMode(0o777, directory.path)
        #expect(readRefusal().hasPrefix("others can write to \(directory.path), where"))
        try setMode(0o755, directory.path)
        #expect(readRefusal() == "none")
    }

    @Test(arguments: [
        "", "hello\n", String(repeating: "x", count: 4096), String(repeating: "x", count: 4097),
        "gatehouse-root-key-1:" + String(repeating: "A", count: 43) + "\n",
        "gatehouse-root-key-1:AAAA\n",
    ])
    func `a file that holds no root key is refused`(_ content: String) throws {
        try Data(content.utf8).write(to: URL(fileURLWithPath: path))
        try setMode(0o600, path)
        let message = readRefusal()
        #expect(message.hasPrefix("the root key \(path)"))
        #expect(content.isEmpty || !message.contains(content), "it is not repeated")
    }

    @Test func `a data directory that others can write to, or that is none, is refused`() throws {
        let data = directory.path + "/data"
        #expect(refusal { try DataDirectory.check(data) }.hasPrefix("there is no data directory"))
        try DataDirectory.create(data)
        try DataDirectory.create(data)
        #expect(refusal { try DataDirectory.check(data) } == "none")
        for mode in [0o720, 0o702, 0o777] {
            try setMode(mode, data)
            #expect(refusal { try DataDirectory.check(data) }.hasPrefix("others can write"))
        }
        for mode in [0o700, 0o755] {
            try setMode(mode, data)
            #expect(refusal { try DataDirectory.check(data) } == "none")
        }
        try RootKeyFile.create(path)
        #expect(refusal { try DataDirectory.check(path) }.contains("not a directory"))
        #expect(
            refusal { try DataDirectory.create(directory.path + "/a/b") }.hasPrefix("cannot make"))
    }
}
