// Notices as people read them, and the boxes by which they accept what they have to.

import GatehouseCore
import GatehousePeople
import HTTPTypes

extension FrontDoor {
    static let noticeRoutes: [String: [HTTPRequest.Method: Handler]] = [
        "/notices/{document}": [
            .get: { door, request throws(FrontRefusal) in try await door.showNotice(request) }
        ],
        "/v1/notices": [
            .get: { door, request throws(FrontRefusal) in try await door.apiNotices(request) }
        ],
    ]

    /// Whether a path is one of a document.
    static func isNotice(_ local: some StringProtocol) -> Bool {
        let prefix = "/notices/"
        return local.utf8.starts(with: prefix.utf8)
            && SubjectName(String(local.dropFirst(prefix.count))) != nil
    }

    /// Does something that may fail for want of the store.
    func asking<Value>(
        _ work: () async throws(StoreError) -> Value
    ) async throws(FrontRefusal) -> Value {
        do throws(StoreError) { return try await work() } catch {
            throw .failed(accounts.failed(error))
        }
    }

    func noticeBoard() async throws(FrontRefusal) -> NoticeBoard {
        try await asking { () async throws(StoreError) in try await people.store.noticeBoard() }
    }

    func noticeAddress(_ id: NoticeID) -> String {
        path("/notices/\(id.document.text)?version=\(id.version)")
    }

    // MARK: Reading

    private func showNotice(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let version = try request.query(["version"]).value("version")
        guard let name = request.path.split(separator: "/").last,
            let document = SubjectName(String(name))
        else { throw Self.notFound }
        let board = try await noticeBoard()
        let now = clock().wall
        let all = board.notices.filter { $0.id.document == document }
        let notice: Notice?
        if let version {
            let number = SubjectVersion.read(String(decoding: version, as: UTF8.self))
            notice = number.flatMap { board.notice(NoticeID(document: document, version: $0)) }
        } else {
            notice = board.inForce(document, at: now) ?? all.first
        }
        guard let notice,
            let text = try await asking({ () async throws(StoreError) in
                try await people.store.noticeText(notice.id)
            })
        else { throw Self.notFound }
        var page = Page(kind: .document, title: Message(notice.title))
        page.sections.append(
            ReadingSection(
                notice: notice, text: text, isComing: notice.effective > now,
                others: all.filter { $0.id != notice.id }.reversed()))
        return await self.page(page, for: request)
    }

    private struct NoticesBody: Encodable {
        struct Row: Encodable {
            let document: String
            let version: Int
            let title: String
            let sha256: String
            let published: Int64
            let effective: Int64
            let required_from: Int64?
            let in_force: Bool
            /// The page with the text.
            let url: String
        }
        let notices: [Row]
    }

    private func apiNotices(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let board = try await noticeBoard()
        let now = clock().wall
        return try .json(
            200,
            NoticesBody(
                notices: board.notices.map { notice in
                    NoticesBody.Row(
                        document: notice.id.document.text, version: notice.id.version,
                        title: notice.title, sha256: notice.digest.hex,
                        published: notice.published.seconds, effective: notice.effective.seconds,
                        required_from: notice.requiredFrom?.seconds,
                        in_force: board.inForce(notice.id.document, at: now)?.id == notice.id,
                        url: noticeAddress(notice.id))
                }))
    }

    // MARK: Accepting

    /// Form fields `accept.DOCUMENT`, whose value is the version.
    static let acceptPrefix = "accept."

    /// A version that a JSON body accepts.
    struct Acceptance: Decodable {
        let document: String
        let version: Int

        var notice: NoticeID? {
            SubjectName(document).map { NoticeID(document: $0, version: version) }
        }
    }

    /// What a registration is stored with; refused as long as something has to be accepted.
    func enrolment(
        accepting accepted: [NoticeID], page: Page? = nil
    ) async throws(FrontRefusal) -> Enrolment {
        let outcome = try await asking { () async throws(StoreError) in
            try await accounts.enrolment(accepting: accepted)
        }
        switch outcome {
        case .complete(let notices):
            var enrolment = Enrolment()
            enrolment.agreements = notices
            return enrolment
        case .missing(let notices): throw .agreementRequired(notices, page: page)
        }
    }

    /// What pages say of notices that their handlers know nothing of: what is coming, and the boxes. A page
    /// without a store says nothing; nothing can be sent in from it either.
    func noticeSections(of page: Page) async -> [any PageSection] {
        let kinds: [Page.Kind] = [.login, .register, .account, .confirm]
        guard kinds.contains(page.kind), let board = try? await people.store.noticeBoard() else {
            return []
        }
        let now = clock().wall
        let required =
            page.kind == .register ? board.missing(AgreementState(), at: now) : page.required
        return [
            ComingSection(notices: page.kind == .confirm ? [] : board.coming(at: now)),
            RequiredSection(notices: required, ticked: page.accepted),
        ]
    }
}

extension FrontDoor.Form {
    /// The versions whose boxes are ticked.
    var accepted: [NoticeID] {
        fields.compactMap { name, value in
            guard name.hasPrefix(FrontDoor.acceptPrefix),
                let document = SubjectName(String(name.dropFirst(FrontDoor.acceptPrefix.count))),
                let version = SubjectVersion.read(String(decoding: value, as: UTF8.self))
            else { return nil }
            return NoticeID(document: document, version: version)
        }
    }
}

extension FrontRefusal {
    /// A document that has to be accepted, as programs are told.
    struct Document: Encodable {
        let document: String
        let version: Int
        let title: String
        let sha256: String
    }

    static func agreementRequired(_ notices: [Notice], page: Page? = nil) -> FrontRefusal {
        var page = page
        page?.required = notices
        var refusal = FrontRefusal(
            409, "agreement_required", "refusal.agreement_required", page: page)
        refusal.documents = notices.map { notice in
            Document(
                document: notice.id.document.text, version: notice.id.version, title: notice.title,
                sha256: notice.digest.hex)
        }
        return refusal
    }
}

extension Notice {
    /// What templates show of it.
    var values: [String: Any?] {
        [
            "document": Pages.value(id.document.text), "version": "\(id.version)",
            "documentTitle": Pages.value(title), "day": CalendarDay(of: effective).text,
        ]
    }
}

/// What will take effect.
struct ComingSection: PageSection {
    let notices: [Notice]
    var name: String { "notices" }
    var values: [String: Any?] { ["coming": notices.map { Pages.values($0.values) }] }
}

/// What has to be accepted with the form.
struct RequiredSection: PageSection {
    let notices: [Notice]
    let ticked: [NoticeID]
    var name: String { "acceptance" }
    var values: [String: Any?] {
        [
            "required": notices.map { notice in
                Pages.values(
                    notice.values.merging(["isTicked": ticked.contains(notice.id)]) { $1 })
            }
        ]
    }
}

/// One version of a document.
struct ReadingSection: PageSection {
    let notice: Notice
    let text: String
    let isComing: Bool
    /// The other versions, the latest first.
    let others: [Notice]

    var name: String { "reading" }
    var values: [String: Any?] {
        var values = notice.values
        values["published"] = Pages.time(notice.published)
        values["requiredDay"] = notice.requiredFrom.map { CalendarDay(of: $0).text }
        values["digest"] = notice.digest.hex
        values["isComing"] = isComing
        values["paragraphs"] = Self.paragraphs(text).map { ["paragraph": Pages.value($0)] }
        values["versions"] = others.map { Pages.values($0.values) }
        return values
    }

    /// What blank lines part; line ends within a paragraph stay.
    static func paragraphs(_ text: String) -> [String] {
        text.split(separator: "\n", omittingEmptySubsequences: false)
            .split { line in line.utf8.allSatisfy { $0 == 0x20 || $0 == 0x09 } }
            .map { $0.joined(separator: "\n") }
    }
}
