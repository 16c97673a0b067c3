// The store of what people agreed to, and when.

package import GatehouseCore

package enum PublishOutcome: Sendable, Equatable {
    case published(Notice)
    case refused(PublishRefusal)
}

package enum WithdrawNoticeOutcome: Sendable, Equatable {
    case withdrawn(Notice)
    case notFound
    /// It has taken effect, or was withdrawn before.
    case tooLate
}

package enum RecordOutcome: Sendable, Equatable {
    /// How many of the entries changed something.
    case recorded(Int)
    /// The user is gone or disabled.
    case noUser
    /// A document has no such version, or it was withdrawn.
    case noNotice
    /// They have said as much as one may (``Agreement/maximumPerUser``).
    case full
}

package protocol AgreementStore: Sendable {
    /// Publishes the next version of a document, if the rules take it.
    func publishNotice(
        _ draft: NoticeDraft, period: NoticePeriod, at now: UnixTime
    ) async throws(StoreError) -> PublishOutcome

    /// Takes a notice back that has not taken effect.
    func withdrawNotice(
        _ id: NoticeID, at now: UnixTime
    ) async throws(StoreError) -> WithdrawNoticeOutcome

    /// Every notice, withdrawn ones too, by document and version.
    func notices() async throws(StoreError) -> [Notice]

    func noticeText(_ id: NoticeID) async throws(StoreError) -> String?

    /// What a person said, the latest first.
    func agreements(of user: UserID, limit: Int) async throws(StoreError) -> [Agreement]

    func agreementState(of user: UserID) async throws(StoreError) -> AgreementState

    /// Writes what a person says now, with its audit entries, in one transaction; what was said
    /// already is not written again.
    ///
    /// - Parameter purposes: those that there are.
    func record(
        _ entries: [AgreementEntry], of user: UserID, session: SessionID?, purposes: [Purpose],
        at now: UnixTime
    ) async throws(StoreError) -> RecordOutcome

    /// The enabled users for whom a purpose holds now, by name.
    func choosers(
        of purpose: Purpose, after name: Username?, limit: Int
    ) async throws(StoreError) -> [Chooser]
}

/// Somebody for whom a purpose holds.
package struct Chooser: Sendable, Equatable {
    package let user: UserID
    package let username: Username

    package init(user: UserID, username: Username) {
        self.user = user
        self.username = username
    }
}

extension AgreementStore {
    package func noticeBoard() async throws(StoreError) -> NoticeBoard {
        NoticeBoard(try await notices())
    }
}

extension People {
    /// What a person agreed to and chose: each statement, and what holds of the purposes now.
    package func exportedAgreements(
        of user: UserID
    ) async throws(StoreError) -> ExportValue.Field {
        let all = try await store.agreements(of: user, limit: .max)
        let state = AgreementState(all.reversed())
        let statements = all.reversed().map { agreement in
            let entry = agreement.entry
            return ExportValue.fields([
                ExportValue.Field("kind", .text(entry.subject.kind.rawValue)),
                ExportValue.Field("name", .text(entry.subject.name.text)),
                ExportValue.Field("version", .number(Int64(entry.version))),
                ExportValue.Field("given", .flag(entry.isGiven)),
                ExportValue.Field("time", .time(agreement.time)),
            ])
        }
        let choices = schema.purposes.map { purpose in
            ExportValue.Field(purpose.name.text, .flag(state.holds(purpose)))
        }
        return ExportValue.Field(
            "agreements",
            .fields([
                ExportValue.Field("statements", .list(statements)),
                ExportValue.Field("choices", .fields(choices)),
            ]))
    }
}
