// What people agreed to and chose: pages and JSON.

import GatehouseCore
import GatehousePeople
import HTTPTypes

extension FrontDoor {
    static let agreementRoutes: [String: [HTTPRequest.Method: Handler]] = [
        "/account/agreements": [
            .get: { door, request throws(FrontRefusal) in try await door.showAgreements(request) },
            .post: { door, request throws(FrontRefusal) in try await door.saveAgreements(request) },
        ],
        "/v1/account/agreements": [
            .get: { door, request throws(FrontRefusal) in try await door.apiAgreements(request) },
            .post: { door, request throws(FrontRefusal) in try await door.apiAgree(request) },
        ],
    ].merging(noticeRoutes) { own, _ in own }

    /// Statements that the page lists; an export has all.
    static let maximumShownAgreements = 100

    /// Form fields `choice.PURPOSE` of boxes that are ticked, whose value is the version that was read.
    static let choicePrefix = "choice."
    /// The field that names the purposes that the form has boxes for, with commas.
    static let shownField = "shown"
    /// The field that names those of them whose boxes were ticked when the form was shown, with commas.
    static let tickedField = "ticked"
    private static let documentField = "document"
    private static let versionField = "version"
    private static let givenField = "given"

    // MARK: What holds

    /// All that is shown of a person's agreements.
    private struct Standing {
        let board: NoticeBoard
        let state: AgreementState
        let statements: [Agreement]
        let now: UnixTime

        /// The versions that are in force, then those that are coming.
        var notices: [Notice] {
            board.documents.compactMap { board.inForce($0, at: now) } + board.coming(at: now)
        }

        func isAccepted(_ notice: Notice) -> Bool {
            (state.accepted(notice.id.document) ?? 0) >= notice.id.version
        }

        /// Whether nobody signs in without the document, or will not when the notice takes effect.
        func isRequired(_ notice: Notice) -> Bool {
            notice.effective > now
                ? notice.requiredFrom != nil
                : board.required(notice.id.document, at: now) != nil
        }
    }

    private func standing(_ user: UserID) async throws(FrontRefusal) -> Standing {
        let board = try await noticeBoard()
        return try await asking { () async throws(StoreError) in
            Standing(
                board: board, state: try await people.store.agreementState(of: user),
                statements: try await people.store.agreements(
                    of: user, limit: Self.maximumShownAgreements), now: clock().wall)
        }
    }

    /// Writes what the person says: the one way to an agreement of somebody who is signed in.
    private func record(
        _ entries: [AgreementEntry], _ claims: Claims, page: Page? = nil
    ) async throws(FrontRefusal) {
        let outcome = try await asking { () async throws(StoreError) in
            try await people.store.record(
                entries, of: claims.user, session: claims.session,
                purposes: people.schema.purposes, at: clock().wall)
        }
        switch outcome {
        case .recorded: break
        case .noUser: throw Self.noSession
        case .noNotice:
            throw FrontRefusal(
                409, "agreement_changed", "refusal.agreement_changed", page: page)
        case .full:
            throw FrontRefusal(409, "agreement_limit", "refusal.agreement_limit", page: page)
        }
    }

    /// What is said of a document's version: one that is in force, or coming. No earlier one is accepted.
    private func entry(
        _ document: SubjectName, version: Int?, isGiven: Bool, _ standing: Standing,
        page: Page? = nil
    ) throws(FrontRefusal) -> AgreementEntry {
        guard standing.board.documents.contains(document) else {
            throw FrontRefusal(422, "subject", "refusal.subject", page: page)
        }
        guard isGiven else {
            // What is withdrawn is what was given, whatever is there now.
            return AgreementEntry(
                .document(document), version: standing.state.accepted(document) ?? 1,
                isGiven: false)
        }
        let inForce = standing.board.inForce(document, at: standing.now)?.id.version
        let least = inForce ?? 1
        guard let version = version ?? inForce, version >= least,
            standing.board.notice(NoticeID(document: document, version: version)) != nil
        else {
            throw FrontRefusal(409, "agreement_changed", "refusal.agreement_changed", page: page)
        }
        return AgreementEntry(.document(document), version: version, isGiven: true)
    }

    /// What is said of a purpose; yes is to the text that is shown now.
    private func entry(
        _ name: SubjectName, choice version: Int?, isGiven: Bool, page: Page? = nil
    ) throws(FrontRefusal) -> AgreementEntry {
        guard let purpose = people.schema.purposes.first(where: { $0.name == name }) else {
            throw FrontRefusal(422, "subject", "refusal.subject", page: page)
        }
        guard !isGiven || version == nil || version == purpose.version else {
            throw FrontRefusal(409, "agreement_changed", "refusal.agreement_changed", page: page)
        }
        return AgreementEntry(.purpose(name), version: purpose.version, isGiven: isGiven)
    }

    /// Whether a box of the form says anything. One that was ticked for them and left so is no yes of
    /// theirs; nor is an empty one a no, unless it was ticked, or would be filled without their doing: by a
    /// default, or by a yes to another version.
    private func isStatement(
        _ entry: AgreementEntry, wasTicked: Bool, _ state: AgreementState
    ) -> Bool {
        guard !entry.isGiven else { return !wasTicked }
        let isOptOut = people.schema.purposes.contains {
            $0.name == entry.subject.name && $0.initial == .optOut
        }
        return wasTicked || isOptOut || state.last[entry.subject] != nil
    }

    // MARK: The page

    private func agreementsPage(_ standing: Standing, _ claims: Claims) -> Page {
        var page = Page(kind: .agreements)
        page.username = claims.username?.text ?? ""
        page.sections.append(agreementSection(standing))
        return page
    }

    private func agreementSection(_ standing: Standing) -> AgreementSection {
        let purposes = people.schema.purposes
        return AgreementSection(
            documents: standing.notices.map { notice in
                AgreementSection.Document(
                    notice: notice, isComing: notice.effective > standing.now,
                    isRequired: standing.isRequired(notice),
                    accepted: standing.isAccepted(notice)
                        ? standing.state.last[.document(notice.id.document)] : nil)
            },
            purposes: purposes.map { ($0, standing.state.holds($0)) },
            statements: standing.statements.map { statement in
                let name = statement.entry.subject.name
                let title =
                    switch statement.entry.subject {
                    case .document:
                        standing.board.notices.last { $0.id.document == name }?.title
                    case .purpose: purposes.first { $0.name == name }?.title
                    }
                return (statement, title ?? name.text)
            })
    }

    private func showAgreements(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        guard let claims = try await session(request) else {
            return toSignIn(back: "/account/agreements")
        }
        var page = agreementsPage(try await standing(claims.user), claims)
        let notice = try request.query(["notice"]).value("notice")
        if notice == Array("saved".utf8) { page.notice = "agreements.saved" }
        return await self.page(page, for: request)
    }

    private func saveAgreements(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        let (form, signedIn) = try await accountForm(
            request,
            taking: [
                Self.documentField, Self.versionField, Self.givenField, Self.shownField,
                Self.tickedField,
            ])
        guard let claims = signedIn else { return toSignIn(back: "/account/agreements") }
        try requireOwner(claims)
        let standing = try await standing(claims.user)
        let page = agreementsPage(standing, claims)
        func text(_ field: String) -> String? {
            form.fields[field].map { String(decoding: $0, as: UTF8.self) }
        }
        var entries: [AgreementEntry] = []
        if let document = text(Self.documentField) {
            guard let name = SubjectName(document) else {
                throw FrontRefusal(422, "subject", "refusal.subject", page: page)
            }
            entries = [
                try entry(
                    name, version: text(Self.versionField).flatMap { SubjectVersion.read($0) } ?? 0,
                    isGiven: text(Self.givenField) == "yes", standing, page: page)
            ]
        } else {
            let wereTicked = (text(Self.tickedField) ?? "").split(separator: ",").map(String.init)
            // A purpose that the form did not show was not chosen against.
            for name in (text(Self.shownField) ?? "").split(separator: ",") {
                guard let purpose = SubjectName(String(name)) else {
                    throw FrontRefusal(422, "subject", "refusal.subject", page: page)
                }
                let ticked = text(Self.choicePrefix + purpose.text)
                let entry = try entry(
                    purpose, choice: ticked.map { SubjectVersion.read($0) ?? 0 },
                    isGiven: ticked != nil, page: page)
                if isStatement(
                    entry, wasTicked: wereTicked.contains(purpose.text), standing.state)
                {
                    entries.append(entry)
                }
            }
        }
        try await record(entries, claims, page: page)
        return .redirect(to: path("/account/agreements?notice=saved"))
    }

    // MARK: JSON

    private struct AgreementsBody: Encodable {
        struct Document: Encodable {
            let document: String
            let version: Int
            let title: String
            let effective: Int64
            let in_force: Bool
            /// Whether nobody signs in without this document.
            let required: Bool
            let accepted: Bool
            /// When; absent where it is not.
            let accepted_at: Int64?
        }
        struct Choice: Encodable {
            let purpose: String
            let title: String
            let text: String
            let initial: String
            let version: Int
            let holds: Bool
        }
        struct Statement: Encodable {
            let subject: String
            let version: Int
            let given: Bool
            let time: Int64
        }
        let documents: [Document]
        let choices: [Choice]
        /// The latest first.
        let statements: [Statement]
    }

    private func apiAgreements(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        guard let claims = try await session(request) else { throw Self.noSession }
        let standing = try await standing(claims.user)
        let documents = standing.notices.map { notice in
            let isAccepted = standing.isAccepted(notice)
            return AgreementsBody.Document(
                document: notice.id.document.text, version: notice.id.version, title: notice.title,
                effective: notice.effective.seconds, in_force: notice.effective <= standing.now,
                required: standing.isRequired(notice), accepted: isAccepted,
                accepted_at: isAccepted
                    ? standing.state.last[.document(notice.id.document)]?.time.seconds : nil)
        }
        let choices = people.schema.purposes.map { purpose in
            AgreementsBody.Choice(
                purpose: purpose.name.text, title: purpose.title, text: purpose.text,
                initial: purpose.initial.rawValue, version: purpose.version,
                holds: standing.state.holds(purpose))
        }
        let statements = standing.statements.map { statement in
            AgreementsBody.Statement(
                subject: statement.entry.subject.text, version: statement.entry.version,
                given: statement.entry.isGiven, time: statement.time.seconds)
        }
        return try .json(
            200,
            AgreementsBody(documents: documents, choices: choices, statements: statements))
    }

    private struct Saying: Decodable {
        let subject: String
        let version: Int?
        let given: Bool
    }

    private func apiAgree(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let body: Saying = try await json(request)
        guard let claims = try await session(request) else { throw Self.noSession }
        try requireOwner(claims)
        let said: AgreementEntry
        switch AgreementSubject(text: body.subject) {
        case .document(let name):
            said = try entry(
                name, version: body.version, isGiven: body.given,
                try await standing(claims.user))
        case .purpose(let name):
            said = try entry(name, choice: body.version, isGiven: body.given)
        case nil: throw FrontRefusal(422, "subject", "refusal.subject")
        }
        try await record([said], claims)
        return FrontResponse(status: 204)
    }
}

/// What a person agreed to and chose.
struct AgreementSection: PageSection {
    struct Document {
        let notice: Notice
        let isComing: Bool
        let isRequired: Bool
        /// Nil where it is not accepted.
        let accepted: Agreement?
    }

    let documents: [Document]
    let purposes: [(Purpose, holds: Bool)]
    let statements: [(Agreement, title: String)]

    var name: String { "agreements" }
    var values: [String: Any?] {
        [
            "documents": documents.map { document in
                var values = document.notice.values
                values["isComing"] = document.isComing
                values["isRequired"] = document.isRequired
                values["isAccepted"] = document.accepted != nil
                values["accepted"] = document.accepted.map { agreement in
                    Pages.values([
                        "time": Pages.time(agreement.time),
                        "acceptedVersion": "\(agreement.entry.version)",
                    ])
                }
                return Pages.values(values)
            },
            "shownPurposes": Pages.value(
                purposes.map(\.0.name.text).joined(separator: ",")),
            "tickedPurposes": Pages.value(
                purposes.filter(\.holds).map(\.0.name.text).joined(separator: ",")),
            "purposes": purposes.map { purpose, holds in
                Pages.values([
                    "purpose": Pages.value(purpose.name.text),
                    "purposeTitle": Pages.value(purpose.title),
                    "meaning": Pages.value(purpose.text), "version": "\(purpose.version)",
                    "isOptOut": purpose.initial == .optOut, "holds": holds,
                ])
            },
            "statements": statements.map { statement, title in
                Pages.values([
                    "time": Pages.time(statement.time), "subjectTitle": Pages.value(title),
                    "version": "\(statement.entry.version)", "isGiven": statement.entry.isGiven,
                ])
            },
        ]
    }
}
