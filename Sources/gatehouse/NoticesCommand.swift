// `gatehouse notices`: publish, list, show, withdraw.

import ArgumentParser
import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseStore

struct NoticesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "notices", abstract: "Publish terms and other notices, version by version.",
        subcommands: [Publish.self, List.self, Show.self, Withdraw.self])

    private static func document(_ text: String) throws -> SubjectName {
        guard let name = SubjectName(text) else {
            throw CommandFailure.usage(
                "“\(text)” is no name of a document",
                hint: "1 to \(SubjectName.maximumBytes) lower-case letters, digits, - and _, a "
                    + "letter first, such as terms or privacy")
        }
        return name
    }

    private static func day(_ text: String, _ option: String) throws -> CalendarDay {
        guard let day = CalendarDay(text: text) else {
            throw CommandFailure.usage(
                "\(option) “\(text)” is no day", hint: "write 2026-01-31; a day begins at 00:00 UTC"
            )
        }
        return day
    }

    struct Publish: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Publish the next version of a document.",
            discussion: """
                The text is UTF-8 of at most 64 KiB; blank lines part paragraphs. People can read it at \
                once. It takes effect at the beginning of a day (UTC), no sooner than notices.wait \
                business days later; the first version of a document may take effect today. A text \
                that was published never changes.
                """)
        @OptionGroup var options: CommonOptions
        @Argument(help: "The file with the text.") var file: String
        @Option(help: "The document, such as terms or privacy.") var document: String
        @Option(help: "The day on which it takes effect, such as 2026-01-31.") var effective: String
        @Option(help: "The day from which nobody signs in without having accepted it.")
        var requiredFrom: String?
        @Option(help: "What people call it; as the version before, if not given.") var title:
            String?

        func run() async throws {
            let name = try NoticesCommand.document(document)
            let effective = try NoticesCommand.day(effective, "--effective")
            let required = try requiredFrom.map { try NoticesCommand.day($0, "--required-from") }
            let text = try readText()
            let workshop = try await options.openWorkshop()
            let former = try await workshop.store.notices().last { $0.id.document == name }?.title
            guard let title = title ?? former else {
                throw CommandFailure.usage("the first version of a document takes a --title")
            }
            let draft: NoticeDraft
            do {
                draft = try NoticeDraft(
                    document: name, title: title, text: text, effective: effective,
                    requiredFrom: required)
            } catch let refusal as NoticeTextRefusal { throw Self.refused(refusal) }
            let outcome = try await workshop.store.publishNotice(
                draft, period: workshop.settings.noticePeriod, at: workshop.now())
            switch outcome {
            case .published(let notice):
                guard !options.json else { return try Output.json(NoticeOutput(notice)) }
                print(
                    "published \(notice.id.document.text) version \(notice.id.version), in force "
                        + "from \(Output.minute(notice.effective)) UTC")
            case .refused(let refusal): throw Self.refused(refusal, workshop.settings)
            }
        }

        private func readText() throws -> String {
            guard let handle = FileHandle(forReadingAtPath: file),
                case .success(let read) = Result(catching: {
                    try handle.read(upToCount: NoticeDraft.maximumBytes + 1)
                })
            else { throw CommandFailure.refused("cannot read \(file)") }
            guard let text = String(validating: read ?? Data(), as: UTF8.self) else {
                throw Self.refused(NoticeTextRefusal.tooLong, isUTF8: false)
            }
            return text
        }

        private static func refused(
            _ refusal: NoticeTextRefusal, isUTF8: Bool = true
        ) -> CommandFailure {
            guard isUTF8 else {
                return .refused(
                    "the text is not UTF-8, or longer than \(NoticeDraft.maximumBytes) bytes")
            }
            return switch refusal {
            case .empty: .refused("the text is empty")
            case .tooLong: .refused("the text is longer than \(NoticeDraft.maximumBytes) bytes")
            case .control:
                .refused(
                    "the text has control characters other than line feeds and tabs",
                    hint: "lines end with a line feed alone")
            case .badTitle:
                .refused("a title has 1 to \(NoticeDraft.maximumTitleBytes) bytes, on one line")
            }
        }

        private static func refused(
            _ refusal: PublishRefusal, _ settings: Settings
        ) -> CommandFailure {
            switch refusal {
            case .inThePast: .refused("that day has passed", hint: "days are UTC")
            case .tooSoon(let earliest):
                .refused(
                    "people have \(settings.noticePeriod.businessDays) business days to read a "
                        + "change", hint: "it can take effect on \(earliest.text)")
            case .beforeEarlier(let notice):
                .refused(
                    "version \(notice.version) takes effect later",
                    hint: "choose a later day, or withdraw that version")
            case .publishedLater(let notice):
                .refused(
                    "version \(notice.version) was published later than now",
                    hint: "set this machine's clock right")
            case .requiredBeforeEffective:
                .refused("it can't be required before it takes effect")
            case .tooManyDocuments:
                .refused("there are at most \(Notice.maximumDocuments) documents")
            case .tooManyVersions: .refused("the document has too many versions")
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List every version of every document.")
        @OptionGroup var options: CommonOptions

        func run() async throws {
            let settings = try options.settings()
            let notices = try await options.openStore(settings).notices()
            guard !options.json else {
                return try Output.json(["notices": notices.map { NoticeOutput($0) }])
            }
            Output.table(
                ["document", "version", "published", "in force from", "required from", "title"],
                notices.map { notice in
                    [
                        notice.id.document.text, "\(notice.id.version)",
                        Output.minute(notice.published),
                        notice.withdrawn == nil ? Output.minute(notice.effective) : "withdrawn",
                        notice.requiredFrom.map { Output.minute($0) } ?? "-", notice.title,
                    ]
                })
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the text of a version.")
        @OptionGroup var options: CommonOptions
        @Argument(help: "The document.") var document: String
        @Option(help: "The version; the latest, if not given.")
        var version: Int?

        private struct Text: Encodable {
            let notice: NoticeOutput
            let text: String
        }

        func run() async throws {
            let name = try NoticesCommand.document(document)
            let store = try options.openStore(try options.settings())
            let notice = try await store.notices().last { notice in
                notice.id.document == name
                    && version.map({ $0 == notice.id.version }) ?? true
            }
            guard let notice, let text = try await store.noticeText(notice.id) else {
                throw CommandFailure.refused("there is no such version of \(name.text)")
            }
            guard !options.json else {
                return try Output.json(Text(notice: NoticeOutput(notice), text: text))
            }
            print(text)
        }
    }

    struct Withdraw: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take a version back that has not taken effect.")
        @OptionGroup var options: CommonOptions
        @Argument(help: "The document.") var document: String
        @Option(help: "The version.") var version: Int

        func run() async throws {
            let name = try NoticesCommand.document(document)
            let workshop = try await options.openWorkshop()
            let outcome = try await workshop.store.withdrawNotice(
                NoticeID(document: name, version: version), at: workshop.now())
            switch outcome {
            case .withdrawn(let notice):
                guard !options.json else { return try Output.json(NoticeOutput(notice)) }
                print("withdrew \(name.text) version \(version)")
            case .notFound:
                throw CommandFailure.refused("there is no version \(version) of \(name.text)")
            case .tooLate:
                throw CommandFailure.refused(
                    "it has taken effect, or was withdrawn before",
                    hint: "publish another version instead")
            }
        }
    }
}

private struct NoticeOutput: Encodable {
    let document: String
    let version: Int
    let title: String
    let sha256: String
    let published: Int64
    let effective: Int64
    let required_from: Int64?
    let withdrawn: Int64?

    init(_ notice: Notice) {
        document = notice.id.document.text
        version = notice.id.version
        title = notice.title
        sha256 = notice.digest.hex
        published = notice.published.seconds
        effective = notice.effective.seconds
        required_from = notice.requiredFrom?.seconds
        withdrawn = notice.withdrawn?.seconds
    }
}
