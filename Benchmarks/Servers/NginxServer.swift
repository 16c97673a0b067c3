// nginx, with a configuration of Benchmarks/peers.

import Foundation
import Glibc

final class NginxServer {
    private let directory: ScratchDirectory
    private let port: UInt16
    private let child: ChildProcess

    private static let startSeconds = 10.0

    /// - Parameters:
    ///   - configuration: the name of a file in Benchmarks/peers.
    ///   - values: what its `@NAME@` stand for, beside port and socket.
    ///   - files: others that it includes, by name.
    init(
        _ configuration: String, values: [String: String] = [:], files: [String: String] = [:],
        core: Int?
    ) throws {
        guard let program = Self.program else { throw BenchmarkFailure("nginx is not installed") }
        directory = try ScratchDirectory()
        port = try freePort()
        for (name, text) in files { _ = try directory.write(text, to: name) }
        var text = try SourceTree.text("Benchmarks/peers/\(configuration)")
        let all = values.merging(
            ["PORT": "\(port)", "SOCKET": directory.file("nginx.sock")]) { first, _ in first }
        for (name, value) in all { text = text.replacing("@\(name)@", with: value) }
        let file = try directory.write(text, to: "nginx.conf")
        // As root, nginx would run its worker as a user who can't reach the sockets.
        let user = getuid() == 0 ? ["-g", "user root;"] : []
        child = try ChildProcess(
            program, ["-p", directory.path, "-c", file, "-e", "stderr"] + user, core: core)
        try waitUntil("nginx listens", seconds: Self.startSeconds) {
            guard child.isRunning else { throw BenchmarkFailure("nginx ended: see above") }
            return (try? Wire(tcp)) != nil
        }
    }

    deinit { child.stop() }

    static var program: String? { ChildProcess.find("nginx") }

    var tcp: Target { .tcp(host: "127.0.0.1", port: port) }
    var unix: Target { .unix(path: directory.file("nginx.sock")) }
    /// The master; its worker descends from it.
    var process: Int32 { child.process }
}
