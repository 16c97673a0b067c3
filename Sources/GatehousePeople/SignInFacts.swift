// What a sign-in has to know before the password is tried.

package import GatehouseCore

/// All that is stored of somebody who signs in. Read at once, since a database may be far away.
package struct SignInFacts: Sendable {
    /// Nil for a name that nobody has.
    package let user: User?
    /// The user's own in this browser; an error where its rows are damaged.
    package let device: Result<Device?, StoreError>
    /// What was authenticated before is revoked.
    package let authenticatedFloor: UnixTime
    package let board: NoticeBoard
    package let agreements: AgreementState
    package let deletion: Deletion?
    /// How many warnings, and looks without permission, the user has not been told of.
    package let untold: Int

    package init(
        user: User?, device: Result<Device?, StoreError>, authenticatedFloor: UnixTime,
        board: NoticeBoard,
        agreements: AgreementState, deletion: Deletion?, untold: Int
    ) {
        self.user = user
        self.device = device
        self.authenticatedFloor = authenticatedFloor
        self.board = board
        self.agreements = agreements
        self.deletion = deletion
        self.untold = untold
    }
}
