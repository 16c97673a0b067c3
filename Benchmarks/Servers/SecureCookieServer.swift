// The Go program of Benchmarks/peers/securecookie.

import Foundation

final class SecureCookieServer {
    private let directory: ScratchDirectory
    private let port: UInt16
    private let child: ChildProcess
    /// Cookies that it made, each good.
    let good: [Question]
    /// Cookies that it must refuse: a flipped one and an expired one.
    let bad: [Question]

    /// Where Debian's golang-github-gorilla-securecookie-dev lies.
    private static let goPath = "/usr/share/gocode"
    private static let startSeconds = 20.0

    private static var compiler: String? {
        (try? SourceTree.path(".build-bench/bin/go")) ?? ChildProcess.find("go")
    }

    /// Why it can't be run here; nil when it can.
    static var missing: String? {
        let library = goPath + "/src/github.com/gorilla/securecookie"
        if compiler == nil { return "there is no Go toolchain" }
        return FileManager.default.fileExists(atPath: library)
            ? nil : "golang-github-gorilla-securecookie-dev is not installed"
    }

    init(cookies count: Int, core: Int?) throws {
        guard let compiler = Self.compiler else {
            throw BenchmarkFailure("there is no Go toolchain")
        }
        directory = try ScratchDirectory()
        port = try freePort()
        let program = directory.file("securecookie")
        // Nothing is downloaded: the library is the system's, and the toolchain the one that is here.
        _ = try ChildProcess.output(
            of: compiler,
            ["build", "-o", program, try SourceTree.path("Benchmarks/peers/securecookie/main.go")],
            environment: [
                "GO111MODULE": "off", "GOPATH": Self.goPath, "GOFLAGS": "", "GOPROXY": "off",
                "GOTOOLCHAIN": "local", "GOCACHE": directory.file("cache"),
            ])
        let cookies = directory.file("cookies")
        let child = try ChildProcess(
            program,
            ["-listen", "127.0.0.1:\(port)", "-count", "\(count)", "-cookies", cookies],
            // As many threads that compute as the other servers have.
            core: core, environment: ["GOMAXPROCS": "1"])
        self.child = child
        let target = Target.tcp(host: "127.0.0.1", port: port)
        try waitUntil("the Go server listens", seconds: Self.startSeconds) {
            guard child.isRunning else { throw BenchmarkFailure("the Go server ended: see above") }
            return (try? Wire(target)) != nil
        }
        let lines = try String(contentsOfFile: cookies, encoding: .utf8).split(separator: "\n")
        let all = lines.compactMap { Question(line: $0) }
        good = all.filter { $0.status == 200 }
        bad = all.filter { $0.status == 401 }
        guard good.count == count, bad.count == 2 else {
            throw BenchmarkFailure("the Go server made other cookies than it was asked for")
        }
    }

    deinit { child.stop() }

    var tcp: Target { .tcp(host: "127.0.0.1", port: port) }
    var process: Int32 { child.process }
}
