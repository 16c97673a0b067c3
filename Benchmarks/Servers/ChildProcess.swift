// Programs that the benchmarks start: servers, commands and load processes.

import CBenchmark
import Foundation
import Glibc

/// A running program, killed with this object and with the benchmark itself.
final class ChildProcess {
    let process: Int32
    private let name: String
    private var status: Int32?

    /// - Parameters:
    ///   - core: the one to run on; any when nil.
    ///   - output, errors: descriptors; standard error of the benchmark when nil.
    ///   - environment: beside the benchmark's own, of which `GATEHOUSE_*` is left out: a server
    ///     would read it.
    init(
        _ program: String, _ arguments: [String], core: Int? = nil, input: Int32? = nil,
        output: Int32? = nil, errors: Int32? = nil, environment: [String: String] = [:]
    ) throws {
        name = program
        var variables = ProcessInfo.processInfo.environment
            .filter { !$0.key.hasPrefix("GATEHOUSE_") }
        variables.merge(environment) { $1 }
        let null = unsafe open("/dev/null", O_RDWR | O_CLOEXEC)
        defer { close(null) }
        process = unsafe Self.withCStrings([program] + arguments) { argumentList in
            unsafe Self.withCStrings(variables.map { "\($0.key)=\($0.value)" }) { environmentList in
                unsafe bench_spawn(
                    argumentList, environmentList, Int32(core ?? -1), input ?? null, output ?? null,
                    errors ?? STDERR_FILENO)
            }
        }
        guard process > 0 else { throw BenchmarkFailure("cannot start \(program)") }
    }

    deinit { kill() }

    /// The texts as a C array of C strings that ends with NULL.
    private static func withCStrings<Result>(
        _ texts: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result
    ) -> Result {
        let strings = unsafe texts.map { unsafe strdup($0) }
        // SAFETY: each was made by strdup, and `body` has returned.
        defer { unsafe strings.forEach { unsafe free($0) } }
        let pointers = unsafe strings.map { unsafe UnsafePointer($0) } + [nil]
        return unsafe pointers.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { preconditionFailure("it holds the NULL") }
            return unsafe body(base)
        }
    }

    var isRunning: Bool {
        reap(waits: false)
        return status == nil
    }

    private func reap(waits: Bool) {
        guard status == nil else { return }
        var code: Int32 = 0
        // SAFETY: writes the one value that it is given.
        let found = unsafe waitpid(process, &code, waits ? 0 : WNOHANG)
        if found == process { status = code }
    }

    /// Waits for the end; the exit code, or 128 and the signal.
    func exitCode() -> Int32 {
        reap(waits: true)
        let status = status ?? 0
        return status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + status & 0x7F
    }

    /// Asks it to end, and after `seconds` sees to it.
    func stop(within seconds: Double = 20) {
        guard isRunning else { return }
        _ = Glibc.kill(process, SIGTERM)
        let deadline = monotonicNanoseconds() + UInt64(seconds * 1e9)
        while isRunning, monotonicNanoseconds() < deadline { usleep(5000) }
        kill()
    }

    func kill() {
        guard isRunning else { return }
        _ = Glibc.kill(process, SIGKILL)
        reap(waits: true)
    }

    /// Runs a program to its end and returns what it printed; anything but exit code 0 is an error, which
    /// says what the program said on standard error.
    static func output(
        of program: String, _ arguments: [String], core: Int? = nil,
        environment: [String: String] = [:], standardInput: String? = nil
    ) throws -> String {
        let output = Pipe()
        let input = Pipe()
        guard let errors = unsafe tmpfile() else {
            throw BenchmarkFailure("no temporary file: errno \(errno)")
        }
        // SAFETY: opened above, and used by nobody else.
        defer { unsafe fclose(errors) }
        let child = try ChildProcess(
            program, arguments, core: core, input: input.fileHandleForReading.fileDescriptor,
            output: output.fileHandleForWriting.fileDescriptor, errors: unsafe fileno(errors),
            environment: environment)
        try output.fileHandleForWriting.close()
        try input.fileHandleForReading.close()
        if let standardInput { input.fileHandleForWriting.write(Data(standardInput.utf8)) }
        try input.fileHandleForWriting.close()
        let text = String(
            decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        let code = child.exitCode()
        guard code == 0 else {
            unsafe rewind(errors)
            let said = FileHandle(fileDescriptor: unsafe fileno(errors)).readDataToEndOfFile()
            throw BenchmarkFailure(
                "\(([program] + arguments).joined(separator: " ")): exit code \(code)\n"
                    + String(decoding: said, as: UTF8.self))
        }
        return text
    }

    /// The file of this program.
    static func ownProgram() throws -> String {
        try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    }

    /// A program of the search path, or of where Debian keeps servers; nil when it isn't installed.
    static func find(_ name: String) -> String? {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
        return (path.split(separator: ":").map(String.init) + ["/usr/sbin"])
            .map { "\($0)/\(name)" }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }
}

/// A TCP port that is free now.
func freePort() throws -> UInt16 {
    let port = bench_free_port()
    guard port != 0 else { throw BenchmarkFailure("no free port") }
    return port
}

/// Waits until `condition` holds.
func waitUntil(
    _ what: String, seconds: Double, everyMicroseconds: UInt32 = 2000,
    _ condition: () throws -> Bool
) throws {
    let deadline = monotonicNanoseconds() + UInt64(seconds * 1e9)
    while try !condition() {
        guard monotonicNanoseconds() < deadline else {
            throw BenchmarkFailure("\(what): not within \(Int(seconds)) s")
        }
        usleep(everyMicroseconds)
    }
}
