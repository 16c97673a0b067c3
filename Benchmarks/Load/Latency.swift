// Latencies, as percentiles of a histogram.

import Histogram

/// Percentiles in microseconds.
struct Latency: Codable, Equatable {
    struct Point: Codable, Equatable {
        let percentile: Double
        let microseconds: Double
    }

    var count: UInt64 = 0
    /// In the order of ``percentiles``; the last is the maximum.
    var points: [Point] = []

    /// What is reported, and what a picture of the distribution is drawn through.
    static let percentiles: [Double] = [
        0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 100,
    ]

    subscript(percentile: Double) -> Double {
        points.first { $0.percentile == percentile }?.microseconds ?? 0
    }

    var maximum: Double { self[100] }

    /// A histogram for nanoseconds up to a minute, kept to three digits. Of a fixed size, so that
    /// recording never allocates.
    static func histogram() -> Histogram<UInt32> {
        Histogram(
            lowestDiscernibleValue: 1, highestTrackableValue: maximumNanoseconds,
            numberOfSignificantValueDigits: .three)
    }

    /// A request that waits longer is counted as this long; the run ends with an error before that.
    static let maximumNanoseconds: UInt64 = 60_000_000_000

    /// - Parameter histogram: of nanoseconds.
    init(_ histogram: Histogram<UInt32>) {
        count = histogram.totalCount
        points = Self.percentiles.map { percentile in
            let nanoseconds =
                percentile == 0
                ? histogram.min
                : percentile == 100 ? histogram.max : histogram.valueAtPercentile(percentile)
            return Point(percentile: percentile, microseconds: Double(nanoseconds) / 1000)
        }
    }
}
