// Notices: documents such as terms or a privacy policy, version by version, each with its day.

package import GatehouseCore

/// The name of a document or a purpose.
package struct SubjectName: Hashable, Comparable, Sendable {
    /// It stands in addresses and in names of form fields.
    package static let maximumBytes = 32

    package let text: String

    /// 1 to 32 lower-case letters, digits, `-` and `_`, a letter first.
    package init?(_ text: String) {
        let letters = UInt8(ascii: "a")...UInt8(ascii: "z")
        guard let first = text.utf8.first, letters.contains(first),
            text.utf8.count <= Self.maximumBytes,
            text.utf8.allSatisfy({ byte in
                letters.contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
            })
        else { return nil }
        self.text = text
    }

    package static func < (left: SubjectName, right: SubjectName) -> Bool {
        left.text.utf8.lexicographicallyPrecedes(right.text.utf8)
    }
}

/// A version of a document or of a purpose, counted from one.
package enum SubjectVersion {
    /// One a day for two thousand years.
    package static let range = 1...1_000_000

    /// Reads digits alone, without a sign or leading zeros.
    package static func read(_ text: String) -> Int? {
        guard text.utf8.count <= 7, let version = Int(text), range.contains(version),
            "\(version)".utf8.elementsEqual(text.utf8)
        else { return nil }
        return version
    }
}

package struct NoticeID: Hashable, Sendable {
    package let document: SubjectName
    package let version: Int

    package init(document: SubjectName, version: Int) {
        self.document = document
        self.version = version
    }
}

/// One version of a document as it was published, without its text.
package struct Notice: Sendable, Equatable {
    /// Each asks for a box of the sign-in form, which has some ten fields beside them.
    package static let maximumDocuments = 16

    package let id: NoticeID
    package let title: String
    /// SHA-256 of the text.
    package let digest: [UInt8]
    /// Since when people can read it.
    package let published: UnixTime
    package let effective: UnixTime
    /// From when on nobody signs in who has not accepted it or a later one; nil for never.
    package let requiredFrom: UnixTime?
    /// When it was taken back, which it can be before it takes effect.
    package let withdrawn: UnixTime?

    package init(
        id: NoticeID, title: String, digest: [UInt8], published: UnixTime, effective: UnixTime,
        requiredFrom: UnixTime?, withdrawn: UnixTime? = nil
    ) {
        self.id = id
        self.title = title
        self.digest = digest
        self.published = published
        self.effective = effective
        self.requiredFrom = requiredFrom
        self.withdrawn = withdrawn
    }

    /// Whether people were ever to go by it, or are: it was not taken back before it took effect.
    package var isBinding: Bool { withdrawn.map { $0 >= effective } ?? true }
}

/// Why a text or a title is not taken.
package enum NoticeTextRefusal: Error, Sendable, Equatable {
    case empty, tooLong
    /// Another control character than a line feed or a tab; a carriage return too.
    case control
    case badTitle
}

/// Why a notice is not published.
package enum PublishRefusal: Error, Sendable, Equatable {
    case inThePast
    /// The day from which it may take effect.
    case tooSoon(CalendarDay)
    /// An earlier version takes effect after it.
    case beforeEarlier(NoticeID)
    /// An earlier version was published later than now: the clock is behind.
    case publishedLater(NoticeID)
    case requiredBeforeEffective
    case tooManyDocuments, tooManyVersions
}

/// What is to be published.
package struct NoticeDraft: Sendable {
    /// A long contract; a page of a browser.
    package static let maximumBytes = 64 * 1024
    package static let maximumTitleBytes = 100

    package let document: SubjectName
    package let title: String
    package let text: String
    package let digest: [UInt8]
    package let effective: CalendarDay
    package let requiredFrom: CalendarDay?

    package init(
        document: SubjectName, title: String, text: String, effective: CalendarDay,
        requiredFrom: CalendarDay?
    ) throws {
        guard text.utf8.contains(where: { $0 > 0x20 }) else { throw NoticeTextRefusal.empty }
        guard text.utf8.count <= Self.maximumBytes else { throw NoticeTextRefusal.tooLong }
        guard
            !text.unicodeScalars.contains(where: { Self.isControl($0) && $0 != "\n" && $0 != "\t" })
        else { throw NoticeTextRefusal.control }
        guard (1...Self.maximumTitleBytes).contains(title.utf8.count),
            title.utf8.contains(where: { $0 > 0x20 }),
            !title.unicodeScalars.contains(where: Self.isControl)
        else { throw NoticeTextRefusal.badTitle }
        self.document = document
        self.title = title
        self.text = text
        digest = try sha256(Array(text.utf8).span)
        self.effective = effective
        self.requiredFrom = requiredFrom
    }

    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.generalCategory == .control
    }

    /// The notice that this becomes when it is published at `now`.
    ///
    /// - Parameter all: every notice that there was, withdrawn ones too.
    package func notice(
        among all: [Notice], period: NoticePeriod, at now: UnixTime
    ) throws(PublishRefusal) -> Notice {
        let earlier = all.filter { $0.id.document == document }
        if earlier.isEmpty, Set(all.map(\.id.document)).count >= Notice.maximumDocuments {
            throw .tooManyDocuments
        }
        let version = (earlier.map(\.id.version).max() ?? 0) + 1
        guard SubjectVersion.range.contains(version) else { throw .tooManyVersions }
        if let later = earlier.first(where: { $0.published > now }) {
            throw .publishedLater(later.id)
        }
        let today = CalendarDay(of: now)
        guard effective >= today else { throw .inThePast }
        let standing = earlier.filter(\.isBinding)
        // Where there was nothing, nothing was promised.
        if !standing.isEmpty {
            let earliest = period.earliestDay(after: now)
            guard effective >= earliest else { throw .tooSoon(earliest) }
        }
        let start = max(effective.start, now)
        if let later = standing.first(where: { $0.effective > start }) {
            throw .beforeEarlier(later.id)
        }
        if let requiredFrom, requiredFrom < effective { throw .requiredBeforeEffective }
        return Notice(
            id: NoticeID(document: document, version: version), title: title, digest: digest,
            published: now, effective: start,
            requiredFrom: requiredFrom.map { max($0.start, start) })
    }
}

/// All notices that stand, and what they ask of people at a time.
package struct NoticeBoard: Sendable {
    /// By document and version.
    package let notices: [Notice]

    package init(_ all: [Notice]) {
        notices = all.filter { $0.withdrawn == nil }.sorted { left, right in
            (left.id.document, left.id.version) < (right.id.document, right.id.version)
        }
    }

    package var documents: [SubjectName] { Set(notices.map(\.id.document)).sorted() }

    package func notice(_ id: NoticeID) -> Notice? { notices.first { $0.id == id } }

    /// The latest version that has taken effect.
    package func inForce(_ document: SubjectName, at now: UnixTime) -> Notice? {
        notices.last { $0.id.document == document && $0.effective <= now }
    }

    /// What will take effect, the next first.
    package func coming(at now: UnixTime) -> [Notice] {
        notices.filter { $0.effective > now }.sorted { $0.effective < $1.effective }
    }

    /// Changes to come that people were not told of in time; what is in force already can't be helped. One
    /// that claims to have been published before an earlier version was is among them.
    package func hasty(_ period: NoticePeriod, at now: UnixTime) -> [Notice] {
        documents.flatMap { document in
            let versions = notices.filter { $0.id.document == document }
            return zip(versions.dropFirst(), versions).filter { notice, former in
                notice.effective > now
                    && (notice.published < former.published
                        || CalendarDay(of: notice.effective)
                            < period.earliestDay(after: notice.published))
            }.map(\.0)
        }
    }

    /// The latest version that must have been accepted, or one after it.
    package func required(_ document: SubjectName, at now: UnixTime) -> Notice? {
        notices.last { notice in
            notice.id.document == document && (notice.requiredFrom.map { $0 <= now } ?? false)
        }
    }

    /// What somebody has to accept before they sign in: the versions in force of documents of which they
    /// accepted none that is late enough; one that was withdrawn binds nobody.
    package func missing(_ state: AgreementState, at now: UnixTime) -> [Notice] {
        documents.compactMap { document in
            guard let required = required(document, at: now),
                standing(state.accepted(document), of: document) < required.id.version
            else { return nil }
            // One is in force, for none is required before it is.
            return inForce(document, at: now)
        }
    }

    /// The version, or zero for one that was withdrawn or is none.
    private func standing(_ version: Int?, of document: SubjectName) -> Int {
        guard let version, notice(NoticeID(document: document, version: version)) != nil else {
            return 0
        }
        return version
    }

    /// What of `accepted` meets what is missing; nil when something stays missing.
    package func meeting(
        _ missing: [Notice], with accepted: [NoticeID], at now: UnixTime
    ) -> [NoticeID]? {
        var met: [NoticeID] = []
        for notice in missing {
            let document = notice.id.document
            guard let required = required(document, at: now),
                let latest = accepted.filter({ id in
                    id.document == document && id.version >= required.id.version
                        && self.notice(id) != nil
                }).max(by: { $0.version < $1.version })
            else { return nil }
            met.append(latest)
        }
        return met
    }
}
