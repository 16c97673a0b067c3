// The root key from a systemd credential and from a command: what is taken, and what is refused and why.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import gatehouse

/// One after the other: a program that was just written does not start while another is being started,
/// which has it open.
@Suite(.serialized) struct RootKeySourceTests {
    private static let text = "gatehouse-root-key-1:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA"

    private let directory = TemporaryDirectory()
    private var id: RootKey.Identifier64 {
        get throws { try RootKey(text: Array(Self.text.utf8).span).id }
    }

    private func refusal(
        _ source: RootKeySource, _ environment: [String: String] = [:]
    ) -> String {
        do throws(FileRefusal) {
            _ = try source.read(environment: environment)
            return "none"
        } catch { return error.message + " " + error.hint }
    }

    private func write(_ text: String, to name: String, mode: Int) throws -> String {
        let path = directory.path + "/" + name
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        return path
    }

    /// A command that does what `body` says.
    private func command(
        _ body: String, _ arguments: [String] = [], mode: Int = 0o700
    ) throws -> RootKeySource {
        let name = "command-\(UInt32.random(in: 0 ... .max))"
        return .command([try write("#!/bin/sh\n" + body, to: name, mode: mode)] + arguments)
    }

    // MARK: Credentials

    @Test func `a credential is read from the directory that systemd names`() throws {
        let source = RootKeySource.credential("root")
        let environment = ["CREDENTIALS_DIRECTORY": directory.path]
        #expect(refusal(source, environment).hasPrefix("there is no root key at"))
        let path = try write(Self.text + "\n", to: "root", mode: 0o400)
        #expect(try source.read(environment: environment).id == id)
        for other in [[:], ["CREDENTIALS_DIRECTORY": ""], ["CREDENTIALS_DIRECTORY": "x"]] {
            #expect(refusal(source, other).hasPrefix("there is no CREDENTIALS_DIRECTORY"))
        }
        try FileManager.default.setAttributes([.posixPermissions: 0o404], ofItemAtPath: path)
        #expect(refusal(source, environment).hasPrefix("others have access"))
        try FileManager.default.removeItem(atPath: path)
        let real = try write(Self.text, to: "real", mode: 0o400)
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: real)
        #expect(refusal(source, environment).contains("is a symbolic link"))
    }

    @Test func `only a credential of root's may show an access list's mask as its group`() {
        func isPrivate(_ mode: mode_t, owner: uid_t, credential: Bool) -> Bool {
            RootKeyFile.isPrivate(mode, owner: owner, user: 1000, isCredential: credential)
        }
        for mode: mode_t in [0o400, 0o600] {
            #expect(isPrivate(mode, owner: 1000, credential: false))
            #expect(isPrivate(mode, owner: 0, credential: true))
        }
        #expect(isPrivate(0o440, owner: 0, credential: true))
        #expect(!isPrivate(0o440, owner: 0, credential: false))
        #expect(!isPrivate(0o440, owner: 1000, credential: true))
        for mode: mode_t in [0o404, 0o420, 0o410, 0o444, 0o402, 0o401] {
            #expect(!isPrivate(mode, owner: 0, credential: true), "\(mode)")
        }
        #expect(
            !RootKeyFile.isPrivate(0o440, owner: 0, user: 0, isCredential: true), "root needs none")
    }

    // MARK: Commands

    @Test func `a command's output is the root key, and its arguments are its own`() throws {
        let plain = try command("echo \(Self.text)")
        #expect(try plain.read(environment: [:]).id == id)
        // No shell splits or expands them.
        let arguments = ["a b", "$HOME", "*", "", "'"]
        let checks = #"[ "$#" = 5 ] && [ "$1" = "a b" ] && [ "$2" = '$HOME' ] && [ "$3" = "*" ] "#
        let careful = try command(
            checks + #"&& [ -z "$4" ] && [ "$5" = "'" ] && echo "# + Self.text, arguments)
        #expect(refusal(careful) == "none")
    }

    @Test func `a command sees a minimal environment`() throws {
        let seen = directory.path + "/seen"
        let source = try command("env > \(seen); echo \(Self.text)")
        let environment = [
            "HOME": "/h", "CREDENTIALS_DIRECTORY": "/c", "GATEHOUSE_ADMIN_LISTEN": "x", "X": "y",
        ]
        #expect(refusal(source, environment) == "none")
        let lines = Set(readText(seen).split(separator: "\n").map(String.init))
        let names = lines.compactMap { $0.split(separator: "=").first.map(String.init) }
        #expect(
            Set(names).subtracting(["PWD", "_", "SHLVL", "OLDPWD"])
                == ["PATH", "LANG", "HOME", "CREDENTIALS_DIRECTORY"])
        #expect(lines.contains("CREDENTIALS_DIRECTORY=/c") && lines.contains("HOME=/h"))
    }

    @Test func `a command that fails is told by its code and its words, never by its output`()
        throws
    {
        let failed = try command("echo \(Self.text); echo \"no key service\u{1}\" >&2; exit 7")
        #expect(refusal(failed).contains("ended with 7: “no key service"))
        #expect(!refusal(failed).contains("\u{1}"))
        #expect(!refusal(failed).contains("gatehouse-root-key-1"))
        let strayed = try command("echo \(Self.text) >&2; exit 1")
        #expect(refusal(strayed).contains("may hold a key, and is not shown"))
        #expect(!refusal(strayed).contains("AQIDBAUG"))
        #expect(refusal(try command("kill -9 $$")).contains("ended with 137"))
        let loud = try command("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1")
        #expect(refusal(loud).count < 800)
        let secret = try command("exit 1", ["--passphrase=secret"])
        #expect(!refusal(secret).contains("secret"))
    }

    @Test(arguments: [
        "", "echo hello", "echo gatehouse-root-key-1:AAAA", "echo \(text)A", "echo; echo \(text)",
        "echo \(text); echo \(text)",
        "echo gatehouse-root-key-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ])
    func `output that is no root key is refused, and not repeated`(_ body: String) throws {
        let message = refusal(try command(body))
        #expect(message.contains("printed what is refused"))
        #expect(!message.contains("AQIDBAUG") && !message.contains("hello"))
    }

    @Test(arguments: [
        String(repeating: "k", count: 43), String(repeating: "0f", count: 32),
        String(repeating: "+/", count: 20) + "==",
    ])
    func `what may be a key is not passed on, with its name or without`(key: String) throws {
        let said = refusal(try command("echo \"oops: \(key)\" >&2; exit 3"))
        #expect(said.contains("ended with 3"))
        #expect(said.contains("may hold a key"))
        #expect(!said.contains(key))
    }

    @Test func `output has a limit, and so has the time`() throws {
        let limit = RootKeyFile.maximumBytes
        let full = try command("head -c \(limit) /dev/zero")
        #expect(refusal(full).contains("printed what is refused"))
        let over = try command("head -c \(limit + 1) /dev/zero")
        #expect(refusal(over).contains("printed more than \(limit) bytes"))
        let endless = try command("cat /dev/zero")
        #expect(refusal(endless).contains("printed more than"))

        func outcome(_ body: String) throws -> String {
            guard case .command(let words) = try command(body) else { return "" }
            do throws(FileRefusal) {
                _ = try RootKeyCommand.run(words, environment: [:], seconds: 1)
                return "none"
            } catch { return error.message }
        }
        #expect(try outcome("echo \(Self.text)") == "none")
        // Its own child holds the pipe too: both are ended.
        let start = ContinuousClock.now
        #expect(try outcome("sleep 100 & sleep 100").hasSuffix("did not end within 1 s"))
        #expect(ContinuousClock.now - start < .seconds(50))
    }

    @Test func `a command that others can change, or that is none, is refused`() throws {
        let body = "echo \(Self.text)"
        for mode in [0o720, 0o702, 0o777] {
            #expect(refusal(try command(body, mode: mode)).contains("can be changed by others"))
        }
        #expect(refusal(try command(body, mode: 0o755)) == "none")
        #expect(refusal(.command([directory.path + "/none"])).contains("is no file"))
        #expect(refusal(.command([directory.path])).contains("is no file"))
        let path = try write("neither script nor program", to: "text", mode: 0o600)
        #expect(refusal(.command([path])).contains("does not start"))
    }
}
