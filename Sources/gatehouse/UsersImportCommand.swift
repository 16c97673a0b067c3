// `gatehouse users import`: users of another system, with their password hashes, from JSON Lines.

import ArgumentParser
import Foundation
import GatehouseCore
import GatehouseSystem

struct UsersImportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Import users with the password hashes of another system.",
        discussion: """
            One JSON object a line: {"username": "ada", "password_hash": "$2b$12$…"}. Run again after \
            an interruption, it goes on where it stopped. Lines that are refused are told with their \
            numbers and change nothing; if there are any, the exit code is 1.
            """)

    @OptionGroup var options: CommonOptions
    @Argument(help: "The file, a JSON object a line.") var file: String
    @Option(help: "Append refused lines to this file, as JSON Lines, instead of printing them.")
    var refused: String?
    @Flag(help: "Read the file from its beginning, whatever was imported from it before.")
    var fromStart = false

    func run() async throws {
        let store = try await options.openWorkshop().store
        let report = try RefusalReport(path: refused)
        let work = try UsersImport(path: file, store: store, report: report)
        let stored = try await work.stored()
        let first = fromStart ? nil : stored
        if let first {
            try work.skip(to: first)
            printError("going on after line \(first.lines)")
        }
        let progress = try await work.run(from: first, replacing: stored)
        if options.json {
            try Output.json(
                Summary(
                    lines: progress.lines, added: progress.added, refused: progress.refused,
                    resumed_after: first?.lines ?? 0))
        } else {
            print(
                "added \(progress.added) user(s) of \(progress.lines) line(s), refused "
                    + "\(progress.refused)")
        }
        if progress.refused > 0 { throw ExitCode(CommandFailure.Code.refused.rawValue) }
    }

    /// Of the whole file, whatever part of it this run has read.
    private struct Summary: Encodable {
        let lines: Int
        let added: Int
        let refused: Int
        let resumed_after: Int
    }
}

/// Where refused lines are told: on standard error, or in a file.
struct RefusalReport {
    private let file: FileHandle?

    init(path: String?) throws {
        guard let path else {
            file = nil
            return
        }
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw CommandFailure.environment("cannot write \(path): errno \(errno)")
        }
        file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    }

    func write(_ lines: [RefusedLine]) throws {
        guard let file else {
            return lines.forEach { printError("line \($0.line): \($0.reason)") }
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var text = Data()
        for line in lines { text += try encoder.encode(line) + [UInt8(ascii: "\n")] }
        try file.write(contentsOf: text)
    }
}

/// Moves a file of users to the store, batch by batch.
final class UsersImport {
    /// Lines of one transaction: many, since each waits for the disk, and few enough for the
    /// transactions of a running server to find their turn.
    static let batchLines = 1000

    private let path: String
    private let store: any Store
    private let report: RefusalReport
    private let reader: LineReader

    init(path: String, store: any Store, report: RefusalReport) throws {
        self.path = path
        self.store = store
        self.report = report
        reader = try LineReader(path: path, maximumLineBytes: ImportLine.maximumBytes)
    }

    /// How far an earlier run has come.
    func stored() async throws -> ImportProgress? {
        try await store.importProgress(of: reader.pathHash)
    }

    /// Reads again what an earlier run has read, which must be what it was then, and tells what that
    /// run may not have told.
    func skip(to stored: ImportProgress) throws {
        var progress = ImportProgress(file: reader.pathHash)
        while progress.position < stored.position, let piece = try reader.next() {
            try progress.advance(over: piece)
        }
        guard progress.position == stored.position, progress.digest == stored.digest else {
            throw CommandFailure.refused(
                "\(path) has changed since \(stored.lines) line(s) of it were imported",
                hint: "--from-start reads all of it; users that exist are refused")
        }
        try report.write(stored.unreported)
    }

    /// Imports what comes after `first`, or the whole file, where `stored` is what is in the store.
    func run(
        from first: ImportProgress?, replacing stored: ImportProgress?
    ) async throws -> ImportProgress {
        var bar = ProgressBar()
        let start = first?.position ?? 0
        var stored = stored
        var progress = first ?? ImportProgress(file: reader.pathHash)
        while let batch = try readBatch(after: progress) {
            let begins = progress.position == 0
            progress = try await store(
                batch.users, from: stored, to: batch.progress,
                audit: begins ? [AuditEvent(.usersImported, by: .command)] : [])
            stored = progress
            if !progress.unreported.isEmpty {
                bar.clear()
                try report.write(progress.unreported)
            }
            bar.show(
                progress.position, of: reader.byteCount, since: start,
                "\(progress.added) added, \(progress.refused) refused")
        }
        bar.clear()
        guard !progress.unreported.isEmpty else { return progress }
        // All is told.
        var told = progress
        told.unreported = []
        return try await store([], from: stored, to: told, audit: [])
    }

    private func store(
        _ users: [ImportedUser], from old: ImportProgress?, to new: ImportProgress,
        audit: [AuditEvent]
    ) async throws -> ImportProgress {
        let outcome = try await store.importUsers(
            users, from: old, to: new, audit: audit, at: SystemClock.now().wall)
        switch outcome {
        case .imported(let progress): return progress
        case .skeletonsOutdated: throw UsersCommand.skeletonsOutdated
        case .overtaken:
            throw CommandFailure.refused(
                "another command imports \(path)", hint: "wait for it, and run this again")
        }
    }

    /// The next lines and where they end; nil at the end of the file.
    private func readBatch(
        after start: ImportProgress
    ) throws -> (users: [ImportedUser], progress: ImportProgress)? {
        var progress = start
        progress.unreported = []
        var users: [ImportedUser] = []
        var line: [UInt8] = []
        var isTooLong = false
        while progress.lines - start.lines < Self.batchLines, let piece = try reader.next() {
            try progress.advance(over: piece)
            isTooLong = isTooLong || !piece.endsLine
            line = isTooLong ? [] : Array(piece.bytes)
            guard piece.endsLine else { continue }
            if line.last == UInt8(ascii: "\n") { line.removeLast() }
            if line.last == UInt8(ascii: "\r") { line.removeLast() }
            do {
                if isTooLong { throw ImportLineRefusal.tooLong }
                // An empty line says nothing that could be lost.
                if !line.isEmpty {
                    let content = try ImportLine(line)
                    users.append(
                        ImportedUser(
                            line: progress.lines, username: content.username,
                            id: try UserID.random(from: .system),
                            passwordHash: content.passwordHash))
                }
            } catch let refusal as ImportLineRefusal {
                progress.refused += 1
                progress.unreported.append(
                    RefusedLine(line: progress.lines, reason: refusal.message))
            }
            isTooLong = false
        }
        return progress.position > start.position ? (users, progress) : nil
    }
}

extension ImportProgress {
    /// Past a piece of a line: the digest is a chain, so that it says what was read and in what order.
    fileprivate mutating func advance(over piece: LineReader.Piece) throws {
        let chained = digest + piece.bytes
        if !piece.bytes.isEmpty { digest = try sha256(chained.span) }
        position += piece.bytes.count
        if piece.endsLine { lines += 1 }
    }
}
