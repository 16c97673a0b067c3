// When a clock that went far ahead is believed.

package import GatehouseCore

/// The store's time went forward by more than an hour: no server ran for as long, or a clock is wrong. Nobody
/// can tell at once, so what can't be undone waits. The store keeps it, for every server and each restart.
package struct ClockLeap: Sendable, Equatable {
    /// Long enough that a clock which the network sets, minutes after a start, is set; short enough that a
    /// server which is off every night does what is due every day.
    package static let holdSeconds: Int64 = 6 * 3600

    /// What the clock said afterwards.
    package let time: UnixTime

    package init(time: UnixTime) { self.time = time }

    /// When the clock is believed, unless it leaps again or is set back.
    package var believed: UnixTime { time.advanced(bySeconds: Self.holdSeconds) }

    /// A clock that is set back again, because it was wrong, is held until an operator accepts it, or it has
    /// come as far once more.
    package func isHeld(at now: UnixTime) -> Bool { now < believed }
}
