// Asking to be deleted, and changing one's mind. No HTTP here.

import GatehouseCore
import GatehousePeople
import Logging

extension Accounts {
    enum LeaveOutcome: Sendable {
        /// With what holds now, which may have been asked before.
        case requested(Deletion)
        case refused
        /// Too many failures from this address.
        case slowDown(seconds: Int64)
        case sessionEnded
        case failed(Failure)
    }

    /// Verifies the password of a session's user once more, and notes that they want to go.
    func leave(
        _ claims: Claims, _ attempt: PasswordGate.Try, waitSeconds: Int64
    ) async -> LeaveOutcome {
        do {
            switch try await gate.check(attempt) {
            case .refused: return .refused
            case .slowDown(let seconds): return .slowDown(seconds: seconds)
            case .right(let right):
                let (user, counter) = (right.user, right.counter)
                guard user.id == claims.user, user.epoch == claims.epoch else {
                    await gate.refund(counter)
                    return .sessionEnded
                }
                let now = clock().wall
                let outcome: DeletionRequestOutcome
                do {
                    outcome = try await store.requestDeletion(
                        DeletionRequest(
                            user: user.id, epoch: user.epoch, passwordHash: right.hash.text,
                            clearing: counter, due: now.advanced(bySeconds: waitSeconds)),
                        audit: AuditEvent(
                            .deletionRequested, by: .server, user: user.id,
                            session: claims.session), at: now)
                } catch {
                    await gate.refund(counter)
                    throw error
                }
                guard case .requested(let deletion) = outcome else {
                    await gate.refund(counter)
                    return .sessionEnded
                }
                logger.notice(
                    "deletion requested",
                    metadata: ["event": "user_deletion_requested", "user": "\(user.id.text)"])
                return .requested(deletion)
            }
        } catch { return .failed(failed(error)) }
    }

    /// False when there is nothing to cancel any more.
    func stay(_ claims: Claims) async throws(Failure) -> Bool {
        do {
            return try await store.cancelDeletion(
                of: claims.user,
                audit: AuditEvent(
                    .deletionCancelled, by: .server, user: claims.user, session: claims.session),
                at: clock().wall)
        } catch { throw failed(error) }
    }

    func deletion(of user: UserID) async throws(Failure) -> Deletion? {
        do { return try await store.deletion(of: user) } catch { throw failed(error) }
    }
}
