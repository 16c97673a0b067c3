// What people say of themselves: pages and JSON.

import GatehouseCore
import GatehousePeople
import HTTPTypes

extension FrontDoor {
    static let profileRoutes: [String: [HTTPRequest.Method: Handler]] = [
        "/account/profile": [
            .get: { door, request throws(FrontRefusal) in try await door.showProfile(request) },
            .post: { door, request throws(FrontRefusal) in
                try await door.changeProfile(request)
            },
        ]
    ]

    /// What the fields' names begin with in forms.
    static let profilePrefix = "profile."
    /// The form's field that says which revision was shown.
    static let revisionField = "revision"
    /// The largest body with a profile in it: encoding makes a byte three at most, and what other forms
    /// have has room beside it.
    static let profileBodyBytes = FormBody.maximumBytes + 3 * Profile.maximumBytes
    /// Where nothing is asked there is no profile to have room for.
    var profileBodyLimit: Int {
        schema.fields.isEmpty ? FormBody.maximumBytes : Self.profileBodyBytes
    }
    /// Each lost race means that another writer succeeded; more than this many is no race.
    private static let maximumProfileTries = 20

    private var schema: ProfileSchema { people.schema.profile }

    /// Who writes in this session. The one place that says so.
    private func writer(_ claims: Claims) -> ProfileWriter {
        claims.actor.map { .actor($0.text) } ?? .owner
    }

    private func tryingProfile<Value>(
        page: Page? = nil, _ work: () async throws(ProfileFailure) -> Value
    ) async throws(FrontRefusal) -> Value {
        do throws(ProfileFailure) { return try await work() } catch {
            throw .failed(accounts.failed(error), page: page)
        }
    }

    private static let changedMeanwhile = "profile_changed"

    // MARK: Pages

    /// What a form of profile fields has, as it was sent.
    private func typed(_ form: Form?) -> [String: ProfileInput] {
        var typed: [String: ProfileInput] = [:]
        for (name, value) in form?.fields ?? [:] where name.hasPrefix(Self.profilePrefix) {
            typed[String(name.dropFirst(Self.profilePrefix.count))] = .text(value)
        }
        return typed
    }

    /// The fields of a form with what was typed, or else with what is stored.
    private func section(
        _ fields: [ProfileField], _ typed: [String: ProfileInput], stored: Profile = Profile(),
        faults: [ProfileFieldFault] = [], comparing: Bool = false
    ) -> ProfileSection {
        ProfileSection(
            fields: fields.map { field in
                let value = stored.values[field.name] ?? ""
                var row = ProfileSection.Row(field: field, value: value)
                if case .text(let bytes) = typed[field.name] {
                    row.value = String(decoding: bytes, as: UTF8.self)
                }
                row.stored = comparing && row.value != value ? value : nil
                row.problem = faults.first { $0.field == field.name }.map { text($0) }
                return row
            })
    }

    private func text(_ fault: ProfileFieldFault) -> String {
        pages.texts.text(Message(fault, label: schema.field(fault.field)?.label))
    }

    /// What is wrong, with links to the fields that the page has.
    private func refusal(
        _ faults: ProfileFaults, page: Page?, fields: [ProfileField]
    ) -> FrontRefusal {
        var refusal = FrontRefusal(422, "profile", "profile.refused", page: page)
        let problems = faults.faults.map { fault in
            Page.Problem(
                field: fault.field, reason: fault.fault.name, text: text(fault),
                id: fields.contains { $0.name == fault.field }
                    ? ProfileSection.id(fault.field) : nil)
        }
        refusal.problems = problems
        refusal.page?.problems = problems
        return refusal
    }

    private func profilePage(_ claims: Claims) -> Page {
        var page = Page(kind: .profile)
        page.username = claims.username?.text ?? ""
        return page
    }

    private func showProfile(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        guard let claims = try await session(request) else {
            return toSignIn(back: "/account/profile")
        }
        var page = profilePage(claims)
        let (stored, history) = try await tryingProfile {
            () async throws(ProfileFailure) in
            try await people.profileWithHistory(of: claims.user)
        }
        page.sections = [
            shown(section(schema.fields, [:], stored: stored.profile), stored, history)
        ]
        let notice = try request.query(["notice"]).value("notice")
        if notice == Array("saved".utf8) { page.notice = "profile.saved" }
        return await self.page(page, for: request)
    }

    private func shown(
        _ section: ProfileSection, _ stored: StoredProfile, _ history: [ProfileHistoryEntry]
    ) -> ProfileSection {
        var section = section
        section.revision = stored.revision
        section.history = history.compactMap { entry in
            schema.field(entry.change.field).map { (entry, $0.label) }
        }
        return section
    }

    private func changeProfile(
        _ request: FrontRequest
    ) async throws(FrontRefusal) -> FrontResponse {
        let form = try await form(
            request, taking: [Self.revisionField], limit: profileBodyLimit
        ) { _ in Page(kind: .message, title: "profile.title") }
        guard let claims = try await session(request) else {
            return toSignIn(back: "/account/profile")
        }
        guard let text = form.fields[Self.revisionField],
            let revision = Int64(String(decoding: text, as: UTF8.self))
        else { throw FrontRefusal(400, "missing_field", "refusal.no_revision") }
        let typed = typed(form)
        let (stored, history) = try await tryingProfile {
            () async throws(ProfileFailure) in
            try await people.profileWithHistory(of: claims.user)
        }
        /// The form again, with what was typed.
        func page(_ faults: [ProfileFieldFault] = [], comparing: Bool = false) -> Page {
            var page = profilePage(claims)
            let section = section(
                schema.fields, typed, stored: stored.profile, faults: faults, comparing: comparing)
            page.sections = [shown(section, stored, history)]
            return page
        }
        // Whoever typed did not see what is stored now.
        guard revision == stored.revision else {
            throw FrontRefusal(
                409, Self.changedMeanwhile, "refusal.profile_changed", page: page(comparing: true))
        }
        let profile: Profile
        do throws(ProfileFaults) {
            profile = try stored.profile.changed(by: typed, in: schema)
        } catch {
            throw refusal(error, page: page(error.faults), fields: schema.fields)
        }
        let outcome = try await tryingProfile(page: page()) { () async throws(ProfileFailure) in
            try await people.change(
                stored, to: profile, of: claims.user, by: writer(claims), session: claims.session)
        }
        switch outcome {
        case .changed, .same: return .redirect(to: path("/account/profile?notice=saved"))
        case .noUser: return toSignIn(back: "/account/profile")
        case .changedMeanwhile:
            // It was faster by less than this request took: the page shows what is stored when sent again.
            throw FrontRefusal(
                409, Self.changedMeanwhile, "refusal.profile_changed", page: page())
        }
    }

    /// Required fields that the person has not given, for the account page; nothing when that can't be told.
    func profileNotice(_ claims: Claims) async -> (any PageSection)? {
        guard !schema.required.isEmpty,
            let stored = try? await people.profile(of: claims.user)
        else { return nil }
        let missing = stored.profile.missing(in: schema)
        return missing.isEmpty ? nil : MissingProfileSection(labels: missing.map(\.label))
    }

    // MARK: Registration

    /// The fields that registering asks for.
    func registrationSection(_ form: Form?) -> (any PageSection)? {
        schema.required.isEmpty ? nil : section(schema.required, typed(form))
    }

    /// What a new user says, from the page's form.
    func newProfile(
        _ form: Form, of user: UserID, page: Page
    ) async throws(FrontRefusal) -> ProfileWrite? {
        try await newProfile(typed(form), of: user, page: page)
    }

    /// What a new user says; nil for nothing.
    func newProfile(
        _ given: [String: ProfileInput], of user: UserID, page: Page? = nil
    ) async throws(FrontRefusal) -> ProfileWrite? {
        let profile: Profile
        do throws(ProfileFaults) { profile = try Profile().changed(by: given, in: schema) } catch {
            var page = page
            if page != nil {
                page?.sections.removeAll { $0 is ProfileSection }
                page?.sections.append(section(schema.required, given, faults: error.faults))
            }
            throw refusal(error, page: page, fields: schema.required)
        }
        return try await tryingProfile(page: page) { () async throws(ProfileFailure) in
            try await people.newProfile(profile, of: user, at: clock().wall)
        }
    }

    // MARK: JSON

    /// A value as JSON has it.
    struct ProfileMember: Decodable {
        let input: ProfileInput

        init(from decoder: any Decoder) throws {
            let value = try decoder.singleValueContainer()
            if value.decodeNil() {
                input = .none
            } else if let text = try? value.decode(String.self) {
                input = .text(Array(text.utf8))
            } else if let number = try? value.decode(Int64.self) {
                input = .number(number)
            } else {
                input = .other
            }
        }
    }

    enum ProfileValue: Encodable {
        case text(String)
        case number(Int64)

        func encode(to encoder: any Encoder) throws {
            var value = encoder.singleValueContainer()
            switch self {
            case .text(let text): try value.encode(text)
            case .number(let number): try value.encode(number)
            }
        }
    }

    struct ProfileBody {
        let values: [String: ProfileValue]
        let revision: Int64
    }

    /// Nil where nothing is asked of anybody.
    func profileBody(_ claims: Claims) async throws(FrontRefusal) -> ProfileBody? {
        guard !schema.fields.isEmpty else { return nil }
        let stored = try await tryingProfile { () async throws(ProfileFailure) in
            try await people.profile(of: claims.user)
        }
        var values: [String: ProfileValue] = [:]
        for field in schema.fields {
            guard let value = stored.profile.values[field.name] else { continue }
            values[field.name] =
                field.kind == .integer
                ? Int64(value).map { .number($0) } ?? .text(value) : .text(value)
        }
        return ProfileBody(values: values, revision: stored.revision)
    }

    private struct ProfilePatch: Decodable {
        let profile: [String: ProfileMember]
        /// That the change is made to; whichever there is when it is absent.
        let revision: Int64?
    }

    func apiChangeProfile(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let patch: ProfilePatch = try await json(request, limit: profileBodyLimit)
        guard let claims = try await session(request) else { throw Self.noSession }
        let given = patch.profile.mapValues(\.input)
        for _ in 0..<Self.maximumProfileTries {
            let stored = try await tryingProfile { () async throws(ProfileFailure) in
                try await people.profile(of: claims.user)
            }
            if let revision = patch.revision, revision != stored.revision { break }
            let profile: Profile
            do throws(ProfileFaults) {
                profile = try stored.profile.changed(by: given, in: schema)
            } catch { throw refusal(error, page: nil, fields: []) }
            let outcome = try await tryingProfile { () async throws(ProfileFailure) in
                try await people.change(
                    stored, to: profile, of: claims.user, by: writer(claims),
                    session: claims.session)
            }
            switch outcome {
            case .changed, .same: return try await account(claims)
            case .noUser: throw Self.noSession
            case .changedMeanwhile: continue
            }
        }
        throw FrontRefusal(409, Self.changedMeanwhile, "refusal.profile_changed")
    }
}

/// The fields of a profile in a form, and the history below it.
struct ProfileSection: PageSection {
    struct Row {
        let field: ProfileField
        var value: String
        /// What is stored, where something else was typed.
        var stored: String?
        /// What is wrong.
        var problem: String?
    }

    var fields: [Row]
    var revision: Int64 = 0
    /// With the fields' labels.
    var history: [(entry: ProfileHistoryEntry, label: String)] = []

    let name = "profileForm"

    /// Of the field's element.
    static func id(_ field: String) -> String { "profile-\(field)" }

    var values: [String: Any?] {
        [
            "rows": fields.map { Self.values($0) }, "hasFields": !fields.isEmpty,
            "revision": "\(revision)",
            "hasHistory": !history.isEmpty,
            "history": history.map { entry, label in
                Pages.values([
                    "time": Pages.time(entry.time), "label": Pages.value(label),
                    "old": Pages.value(entry.change.old), "new": Pages.value(entry.change.new),
                    "actor": Pages.value(Self.actor(entry.change.writer)),
                ])
            },
        ]
    }

    private static func actor(_ writer: ProfileWriter) -> String? {
        if case .actor(let name) = writer { name } else { nil }
    }

    /// Templates look for what is missing here in what is around it, so these have names of their own.
    private static func values(_ row: Row) -> [String: Any] {
        let field = row.field
        let id = id(field.name)
        let describing = [
            field.hint == nil ? nil : "\(id)-hint", "\(id)-purposes",
            row.problem == nil ? nil : "\(id)-problem", row.stored == nil ? nil : "\(id)-stored",
        ].compactMap { $0 }.joined(separator: " ")
        return Pages.values([
            "fieldID": Pages.value(id), "fieldName": Pages.value(field.name),
            "label": Pages.value(field.label), "fieldHint": Pages.value(field.hint),
            "purposes": Pages.value(field.purposes.joined(separator: "; ")),
            "isRequired": field.isRequired, "fieldValue": Pages.value(row.value),
            "problem": Pages.value(row.problem),
            "isOther": row.stored != nil, "stored": Pages.value(row.stored),
            "describing": Pages.value(describing),
            "isLines": field.kind == .lines, "isChoice": field.kind == .choice,
            "isInput": field.kind != .lines && field.kind != .choice,
            "inputType": inputType(field.kind), "inputMode": inputMode(field.kind),
            "autocomplete": autocomplete(field),
            "limit": limit(field).map { "\($0)" },
            "options": field.options.map {
                Pages.values([
                    "option": Pages.value($0), "isChosen": $0 == row.value,
                ])
            },
        ])
    }

    private static func inputType(_ kind: ProfileField.Kind) -> String {
        switch kind {
        case .email: "email"
        case .phone: "tel"
        case .date: "date"
        case .text, .integer, .country, .lines, .choice: "text"
        }
    }

    /// A number is typed as text: browsers change what they take for one when the wheel is turned.
    private static func inputMode(_ kind: ProfileField.Kind) -> String? {
        kind == .integer ? "numeric" : nil
    }

    /// In UTF-16 units as HTML counts, so for text that may have more units than characters the double.
    private static func limit(_ field: ProfileField) -> Int? {
        switch field.kind {
        case .text, .lines: 2 * Int(clamping: field.maximum ?? Int64(Profile.maximumValueBytes / 2))
        case .country: 2
        case .email: ProfileField.maximumEmailBytes
        case .phone, .integer, .date, .choice: nil
        }
    }

    /// The browser's own word for what is asked (HTML, "autofill"; WCAG 1.3.5).
    private static func autocomplete(_ field: ProfileField) -> String {
        switch field.kind {
        case .email: return "email"
        case .phone: return "tel"
        case .country: return "country"
        case .lines: return field.name.contains("address") ? "street-address" : "off"
        case .text, .date, .integer, .choice:
            let words = [
                "name": "name", "full_name": "name", "given_name": "given-name",
                "first_name": "given-name", "family_name": "family-name",
                "last_name": "family-name", "nickname": "nickname", "company": "organization",
                "organisation": "organization", "organization": "organization",
                "job_title": "organization-title", "street": "address-line1",
                "postal_code": "postal-code", "postcode": "postal-code", "zip": "postal-code",
                "city": "address-level2", "town": "address-level2", "birthday": "bday",
                "date_of_birth": "bday",
            ]
            return words[field.name] ?? "off"
        }
    }
}

/// Says on the account page that the profile lacks something.
private struct MissingProfileSection: PageSection {
    let labels: [String]
    let name = "profileMissing"
    var values: [String: Any?] {
        ["missing": Pages.value(labels.joined(separator: ", "))]
    }
}

extension ProfileFault {
    /// Stable, for programs; the end of the key of its text.
    var name: String {
        switch self {
        case .unknown: "unknown"
        case .required: "required"
        case .kind: "kind"
        case .invalidUTF8: "utf8"
        case .controlCharacter: "control"
        case .tooManyBytes: "bytes"
        case .tooManyLines: "lines"
        case .tooShort: "short"
        case .tooLong: "long"
        case .tooSmall: "small"
        case .tooGreat: "great"
        case .email: "email"
        case .phone: "phone"
        case .integer: "integer"
        case .date: "date"
        case .country: "country"
        case .choice: "choice"
        case .profileTooLarge: "profile"
        }
    }
}

extension Message {
    /// - Parameter label: nil for a field that there isn't; its name is told.
    init(_ fault: ProfileFieldFault, label: String?) {
        var values = ["label": label ?? String(fault.field.prefix(64))]
        switch fault.fault {
        case .tooShort(let limit), .tooLong(let limit), .tooSmall(let limit), .tooGreat(let limit):
            values["limit"] = "\(limit)"
        default: break
        }
        self.init("profile.fault_\(fault.fault.name)", values)
    }
}
