// What people agreed to and chose: one record for notices, terms and choices.

package import GatehouseCore

/// What an agreement is about.
package enum AgreementSubject: Hashable, Sendable {
    case document(SubjectName)
    case purpose(SubjectName)

    package enum Kind: String, Sendable { case document, purpose }

    package init(_ kind: Kind, _ name: SubjectName) {
        switch kind {
        case .document: self = .document(name)
        case .purpose: self = .purpose(name)
        }
    }

    /// Reads `document:terms` or `purpose:newsletters`.
    package init?(text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let kind = Kind(rawValue: String(parts[0])),
            let name = SubjectName(String(parts[1]))
        else { return nil }
        self.init(kind, name)
    }

    package var kind: Kind {
        switch self {
        case .document: .document
        case .purpose: .purpose
        }
    }

    package var name: SubjectName {
        switch self {
        case .document(let name), .purpose(let name): name
        }
    }

    package var text: String { "\(kind.rawValue):\(name.text)" }
}

/// What somebody says: yes or no, to one version of a subject.
package struct AgreementEntry: Sendable, Equatable {
    package let subject: AgreementSubject
    package let version: Int
    package let isGiven: Bool

    package init(_ subject: AgreementSubject, version: Int, isGiven: Bool) {
        self.subject = subject
        self.version = version
        self.isGiven = isGiven
    }

    package init(accepting notice: NoticeID) {
        self.init(.document(notice.document), version: notice.version, isGiven: true)
    }
}

/// What somebody said, and when. It stays as it is; what they say later stands beside it.
package struct Agreement: Sendable, Equatable {
    /// For one person: a change a day for twenty-five years, which no hand makes. Beyond it they can still
    /// withdraw.
    package static let maximumPerUser = 10_000

    package let entry: AgreementEntry
    package let time: UnixTime

    package init(_ entry: AgreementEntry, at time: UnixTime) {
        self.entry = entry
        self.time = time
    }
}

/// The last that a person said of each subject.
package struct AgreementState: Sendable, Equatable {
    package private(set) var last: [AgreementSubject: Agreement] = [:]

    package init() {}

    /// - Parameter agreements: from the earliest to the latest.
    package init(_ agreements: [Agreement]) { for agreement in agreements { note(agreement) } }

    package mutating func note(_ agreement: Agreement) {
        last[agreement.entry.subject] = agreement
    }

    /// The version of a document that is accepted; nil when none is.
    package func accepted(_ document: SubjectName) -> Int? {
        last[.document(document)].flatMap { $0.entry.isGiven ? $0.entry.version : nil }
    }

    /// Whether a purpose holds for the person.
    package func holds(_ purpose: Purpose) -> Bool {
        guard let entry = last[.purpose(purpose.name)]?.entry else {
            return purpose.initial == .optOut
        }
        // What was agreed to was the earlier text; who said no meant the later one too.
        return entry.isGiven && (purpose.initial == .optOut || entry.version >= purpose.version)
    }

    /// Whether saying this is anything new. A yes to a later version covers the earlier ones. It is compared
    /// with what was said last, not with what holds: a default or a version that changes, or changes back,
    /// must find the no that was said.
    ///
    /// - Parameter purposes: those that there are.
    package func isChanged(by entry: AgreementEntry, purposes: [Purpose]) -> Bool {
        switch entry.subject {
        case .document(let name):
            return entry.isGiven ? (accepted(name) ?? 0) < entry.version : accepted(name) != nil
        case .purpose(let name):
            guard purposes.contains(where: { $0.name == name }) else { return false }
            guard let said = last[entry.subject]?.entry else { return true }
            return entry.isGiven
                ? !said.isGiven || said.version < entry.version : said.isGiven
        }
    }
}
