// Who may connect to a listener, and who was turned away.

import Synchronization

/// The list of one endpoint, asked once for each connection. A connection that is turned away gets no byte.
package final class PeerGate: Sendable {
    /// Ranges of one list: it is gone through for every connection, in less than a microsecond.
    package static let maximumRanges = 256

    package struct Refusals: Sendable {
        package var count: UInt64 = 0
        /// Around the last one; nil where it could not be told.
        package var lastNetwork: AddressRange?
    }

    /// As metrics and logs call it: public, check or admin.
    package let endpoint: String
    private let ranges: [AddressRange]
    private let refusals = Mutex(Refusals())

    /// - Parameter ranges: empty for everybody.
    package init(endpoint: String, ranges: [AddressRange]) {
        self.endpoint = endpoint
        self.ranges = ranges
    }

    /// Whether anybody at all is turned away: else nobody's address has to be asked for.
    package var isOpen: Bool { ranges.isEmpty }

    package var refused: Refusals { refusals.withLock { $0 } }

    /// Counts whom it does not admit.
    ///
    /// - Parameter address: nil for a peer that can't be told, and so is on no list.
    package func admits(_ address: IPAddress?) -> Bool {
        guard !ranges.isEmpty else { return true }
        if let address, ranges.contains(where: { $0.contains(address) }) { return true }
        refusals.withLock { refusals in
            refusals.count &+= 1
            refusals.lastNetwork = address?.network
        }
        return false
    }

    /// The same for an address as text.
    package func admits(_ address: String?) -> Bool {
        isOpen || admits(address.flatMap { IPAddress($0) })
    }
}

/// A peer that is on no list; its connection is closed.
package struct PeerRefused: Error {
    package init() {}
}
