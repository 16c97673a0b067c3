// `gatehouse passwords filter`: build, check.

import ArgumentParser
import Foundation
import GatehouseCore
import GatehousePasswords
import Glibc

extension PasswordFilterBuilder.Format: ExpressibleByArgument {}

struct PasswordFilterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "filter",
        abstract: "Make a compact filter of a list of leaked passwords, and look into one.",
        subcommands: [Build.self, Check.self])

    struct Build: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a filter of lists of any size.",
            discussion: """
                Setting password.filter names the filter. A running server takes up a new one of that \
                name within ten seconds.
                """)

        @OptionGroup var options: CommonOptions
        @Argument(help: "The lists; - is standard input.") var inputs: [String]
        @Option(help: "The filter; one that is there is replaced when the new one is whole.")
        var output: String
        @Option(help: "How many other passwords may be refused by mistake, 1e-9 or more, under 1.")
        var falsePositiveRate = 0.00001
        @Option(help: "plain: a password a line; sha1: lines of SHA-1:COUNT.")
        var format = PasswordFilterBuilder.Format.plain

        private struct Report: Encodable {
            let lines, taken, too_short, too_long, invalid, entries, bytes: Int
            let false_positive_rate: Double
        }

        func run() async throws {
            guard
                let exponent = PasswordFilterBuilder.exponent(falsePositiveRate: falsePositiveRate)
            else {
                throw CommandFailure.usage(
                    "there is no filter with a false-positive rate of \(falsePositiveRate)",
                    hint: "give a number from 1e-9 to 1, such as 0.00001")
            }
            let path = CommonOptions.absolute(output)
            let directory = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
            do {
                var builder = try PasswordFilterBuilder(
                    format: format, exponent: exponent,
                    directory: directory.isEmpty ? "/" : directory)
                for input in inputs { try read(input, into: &builder) }
                let counts = builder.counts
                let draft = try OwnFile.Draft(path)
                let header = try builder.write(to: draft.descriptor)
                try draft.publish(isReplacing: true)
                try report(counts, header, path)
            } catch let failure as PasswordFilterFailure {
                throw CommandFailure.environment("\(failure)")
            }
        }

        private func read(_ input: String, into builder: inout PasswordFilterBuilder) throws {
            let descriptor = input == "-" ? 0 : unsafe open(input, O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else {
                throw CommandFailure.refused("cannot open \(input): errno \(errno)")
            }
            defer { if descriptor > 0 { close(descriptor) } }
            let isTerminal = isatty(STDERR_FILENO) == 1
            let clock = ContinuousClock()
            var next = clock.now
            try builder.read(descriptor) { counts in
                guard isTerminal, clock.now >= next else { return }
                FileHandle.standardError.write(Data("\r\(counts.lines) lines".utf8))
                next = clock.now.advanced(by: .milliseconds(500))
            }
            if isTerminal { printError("\r\(builder.counts.lines) lines") }
        }

        private func report(
            _ counts: PasswordFilterBuilder.Counts, _ header: PasswordFilterHeader, _ path: String
        ) throws {
            if options.json {
                return try Output.json(
                    Report(
                        lines: counts.lines, taken: counts.taken, too_short: counts.short,
                        too_long: counts.long, invalid: counts.invalid, entries: header.entries,
                        bytes: header.fileBytes, false_positive_rate: header.falsePositiveRate))
            }
            print("\(counts.lines) lines, \(counts.taken) of them taken")
            for (count, why) in [
                (counts.short, "shorter than any account's password"),
                (counts.long, "longer than \(Password.maximumBytes) bytes"),
                (counts.invalid, format == .plain ? "no valid text" : "no SHA-1"),
            ] where count > 0 {
                print("\(count) left out: \(why)")
            }
            print("\(path): \(header.entries) entries, \(header.fileBytes) bytes")
        }
    }

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say what a filter is, having read the whole of it.",
            discussion: "With --stdin it exits 0 if the password is on the list, else 1.")

        @OptionGroup var options: CommonOptions
        @Argument(help: "The filter.") var file: String
        @Flag(help: "Read a password from standard input; one line end is not part of it.")
        var stdin = false

        private struct Report: Encodable {
            let entries, bytes: Int
            let false_positive_rate: Double
            let format: String
            let listed: Bool?
        }

        func run() async throws {
            do {
                let filter = try PasswordFilter(file)
                let listed = stdin ? try isListed(in: filter) : nil
                try report(filter.header, listed)
                if listed == false { throw ExitCode(CommandFailure.Code.refused.rawValue) }
            } catch let error as PasswordListUnreadable {
                throw CommandFailure.environment("\(file): \(error.reason)")
            }
        }

        private func isListed(in filter: PasswordFilter) throws -> Bool {
            let password = try StandardInput.password()
            return try password.folded().withSpan { folded throws(PasswordListUnreadable) in
                try password.withSpan { typed throws(PasswordListUnreadable) in
                    try filter.contains(typed, folded: folded)
                }
            }
        }

        private func report(_ header: PasswordFilterHeader, _ listed: Bool?) throws {
            let format: PasswordFilterBuilder.Format = header.spelling == .folded ? .plain : .sha1
            if options.json {
                return try Output.json(
                    Report(
                        entries: header.entries, bytes: header.fileBytes,
                        false_positive_rate: header.falsePositiveRate, format: format.rawValue,
                        listed: listed))
            }
            print("\(header.entries) entries, of lists in the format \(format.rawValue)")
            print("\(header.fileBytes) bytes, with the right checksum")
            print("at most 1 of \(1 << header.exponent) other passwords is taken for one of them")
            if let listed {
                print(listed ? "the password is listed" : "the password is not listed")
            }
        }
    }
}

enum StandardInput {
    /// A password, without the line end behind it.
    static func password() throws -> Password {
        // Room for the longest password, a line end, and one byte that says "too long".
        let data = try FileHandle.standardInput.read(upToCount: Password.maximumBytes + 3)
        var bytes = Array(data ?? Data())
        defer { unsafe bytes.withUnsafeMutableBytes { unsafe wipe($0) } }
        var count = bytes.count
        if count > 0, bytes[count - 1] == UInt8(ascii: "\n") { count -= 1 }
        if count > 0, bytes[count - 1] == UInt8(ascii: "\r") { count -= 1 }
        do { return try Password(bytes.span.extracting(0..<count)) } catch {
            throw CommandFailure.refused("the password is refused: \(error.message)")
        }
    }
}
