// The figures of sign-ins: what is compared with what.

import CBenchmark
import Testing

@testable import gatehouse_bench

@Suite struct SignInFiguresTests {
    @Test func `legs of one round are compared, and the median is told`() {
        var figures = LoginFigures(threads: 2, memoryMiB: 64, iterations: 3)
        func legs(_ rates: [Double]) -> [LoginFigures.Leg] {
            rates.map {
                LoginFigures.Leg(
                    bench_use(seconds: 8 / $0, cpu: 4, page_faults: 80), hashes: 8)
            }
        }
        figures.legs[LoginFigures.Subject.service.rawValue] = legs([10, 20, 30])
        figures.legs[LoginFigures.Subject.bare.rawValue] = legs([10, 10, 20])
        #expect(abs(figures.ratio(to: .bare, \.perSecond) - 1.5) < 1e-9)
        #expect(figures.legs[LoginFigures.Subject.bare.rawValue]?[0].cpuMilliseconds == 500)
        #expect(figures.legs[LoginFigures.Subject.bare.rawValue]?[0].pageFaults == 10)
    }

    @Test func `checks under the flood are compared with the mean of those alone`() {
        var figures = FloodFigures(
            threads: 1, budgetKiB: 1024, capacityPerSecond: 1, offeredPerSecond: 10, seconds: 1,
            idleMemoryKiB: 100)
        #expect(figures.ratio(99) == 0)
        figures.idle = [result(p99: 100), result(p99: 300)]
        figures.checks = result(p99: 300)
        #expect(figures.ratio(99) == 1.5)
        figures.peakMemoryKiB = 1124
        #expect(figures.lines.contains { $0.hasSuffix("1.000") && $0.hasPrefix("the server") })
    }

    private func result(p99: Double) -> LoadResult {
        var result = LoadResult()
        var latency = Latency(Latency.histogram())
        latency.points = [.init(percentile: 99, microseconds: p99)]
        result.latency = latency
        return result
    }
}
