// The file of the database's password: what is taken of it, and who may read it.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Glibc
import Testing

@testable import GatehouseStore

@Suite struct PostgreSQLPasswordFileTests {
    private let directory = TemporaryDirectory()
    private var path: String { directory.path + "/password" }

    private func write(_ bytes: [UInt8], mode: mode_t = 0o600) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        try #require(unsafe chmod(path, mode) == 0)
    }

    /// What is read, or why nothing is.
    private func read() -> Result<[UInt8], StoreError> {
        do throws(StoreError) {
            let secret = try PostgreSQLPasswordFile.read(path)
            return .success(secret.withSpan { span in span.indices.map { span[$0] } })
        } catch { return .failure(error) }
    }

    private func refusal() -> String {
        guard case .failure(.unavailable(let message)) = read() else { return "none" }
        return message
    }

    @Test func `a password is a line, of any bytes but those that end one`() throws {
        for password in [[UInt8]("hunter2".utf8), [0xFF, 0x20, 0x01], [UInt8](" ".utf8)] {
            for end in ["", "\n", "\r\n"] {
                try write(password + Array(end.utf8))
                #expect(read() == .success(password))
            }
        }
    }

    @Test(arguments: ["", "\n", "\r\n"])
    func `a password has a limit`(_ end: String) throws {
        let longest = [UInt8](repeating: 0x78, count: 1024)
        try write(longest + Array(end.utf8))
        #expect(read() == .success(longest))
        try write(longest + [0x78] + Array(end.utf8))
        #expect(refusal().contains("1 to 1024"))
        try write(Array(end.utf8))
        #expect(refusal().contains("1 to 1024"))
    }

    @Test(arguments: ["a\nb", "a\rb", "a\n\n", "a\0b", "\0", "a\r\r\n"])
    func `more than one line, or a NUL, is no password`(_ text: String) throws {
        try write(Array(text.utf8))
        #expect(refusal().contains("on one line"))
        #expect(!refusal().contains("a\n"))
    }

    @Test(arguments: [0o640, 0o604, 0o602, 0o601, 0o610, 0o620, 0o660] as [mode_t])
    func `a file that others can reach is refused`(_ mode: mode_t) throws {
        try write(Array("hunter2".utf8), mode: mode)
        #expect(refusal().contains("nobody else may read it"))
        #expect(!refusal().contains("hunter2"))
        try write(Array("hunter2".utf8), mode: 0o400)
        #expect(read() == .success(Array("hunter2".utf8)))
    }

    @Test func `of a file that is root's the group may read, and nobody else`() {
        #expect(PostgreSQLPasswordFile.isPrivate(0o440, owner: 0, user: 7))
        #expect(PostgreSQLPasswordFile.isPrivate(0o600, owner: 0, user: 7))
        for mode: mode_t in [0o444, 0o460, 0o450, 0o441, 0o442] {
            #expect(!PostgreSQLPasswordFile.isPrivate(mode, owner: 0, user: 7))
        }
        #expect(PostgreSQLPasswordFile.isPrivate(0o600, owner: 7, user: 7))
        #expect(!PostgreSQLPasswordFile.isPrivate(0o440, owner: 7, user: 7))
        #expect(!PostgreSQLPasswordFile.isPrivate(0o600, owner: 8, user: 7))
        #expect(!PostgreSQLPasswordFile.isPrivate(0o440, owner: 0, user: 0))
    }

    @Test(.timeLimit(.minutes(1)))
    func `what is no file of its own is refused, and not waited for`() throws {
        #expect(refusal().contains("cannot be opened"))
        #expect(unsafe mkfifo(path, 0o600) == 0)
        #expect(refusal().contains("not a regular file"))
        try FileManager.default.removeItem(atPath: path)
        try write(Array("hunter2".utf8))
        let real = directory.path + "/real"
        try FileManager.default.moveItem(atPath: path, toPath: real)
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: real)
        #expect(refusal().contains("symbolic link"))
    }
}
