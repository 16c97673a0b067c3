// Which sessions were used at the front door, until they are written with those of the check endpoint.

package import GatehouseCore
import Synchronization

/// The sessions that were used since the notes were last taken.
package final class SessionUses: Sendable {
    /// Notes beyond it are lost: such a session may count as idle sooner, never longer.
    static let maximumCount = 16_384

    private let notes = Mutex<[SessionID: UnixTime]>([:])

    package init() {}

    func note(_ session: SessionID, at now: UnixTime) {
        notes.withLock { notes in
            if notes.count < Self.maximumCount || notes[session] != nil { notes[session] = now }
        }
    }

    package func take() -> [(session: SessionID, used: UnixTime)] {
        notes.withLock { notes in
            defer { notes = [:] }
            return notes.map { ($0.key, $0.value) }
        }
    }
}
