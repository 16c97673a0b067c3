// Percentiles and medians: that they say what they are named.

import Histogram
import Testing

@testable import gatehouse_bench

@Suite struct LatencyTests {
    @Test func `percentiles are in microseconds, to three digits`() {
        var histogram = Latency.histogram()
        for microseconds in 1...1000 as ClosedRange<UInt64> {
            histogram.record(microseconds * 1000)
        }
        let latency = Latency(histogram)
        #expect(latency.count == 1000)
        #expect(abs(latency[50] - 500) < 1)
        #expect(abs(latency[99] - 990) < 1)
        #expect(abs(latency.maximum - 1000) < 1)
        #expect(latency.points.map(\.percentile) == Latency.percentiles)
    }

    @Test func `the longest latency that a run can have is recorded`() {
        var histogram = Latency.histogram()
        let isRecorded = histogram.record(Latency.maximumNanoseconds)
        #expect(isRecorded)
    }

    @Test func `a median is the middle, or the mean of the two there`() {
        #expect(median([]) == 0)
        #expect(median([3, 1, 2]) == 2)
        #expect(median([4, 1, 2, 3]) == 2.5)
    }

    @Test func `figures are grouped and tables aligned`() {
        #expect(grouped(1_234_567.4) == "1 234 567")
        #expect(grouped(12) == "12")
        #expect(Table.lines(["a", "bb"], [["ccc", "1"]]) == ["a    bb", "ccc   1"])
    }
}
