// Pictures: whole documents, with everything in them that a figure needs.

import Foundation
import Histogram
import Testing

@testable import gatehouse_bench

private func report() -> Report {
    var report = Report(machine: Machine())
    var figures = PeersFigures(connections: 32, cookies: 10, revocations: 0, answerBytes: 325)
    for (name, microseconds) in [(PeerField.gatehouse, 5.0), (PeerField.nginx, 4.0)] {
        var result = LoadResult()
        result.requests = 1_000_000
        result.seconds = 10
        result.server = ProcessTimes(
            user: microseconds / 2, system: microseconds / 2, total: microseconds)
        var histogram = Latency.histogram()
        histogram.record(20_000)
        result.latency = Latency(histogram)
        var row = PeersFigures.Row(name: name, transport: .tcp)
        row.results = [result, result]
        figures.throughput.append(row)
        row.rate = 70_000
        figures.latency.append(row)
    }
    report.peers = figures
    return report
}

@Suite struct DrawingTests {
    @Test func `a picture is one document, and says machine and date`() {
        let report = report()
        let pictures = Pictures.of(report)
        #expect(pictures.map(\.name) == ["peers", "latency"])
        for picture in pictures {
            #expect(picture.svg.hasPrefix("<svg "))
            #expect(picture.svg.hasSuffix("</svg>\n"))
            #expect(picture.svg.contains(report.machine.date))
            let opened = picture.svg.split(separator: "<text ").count
            let closed = picture.svg.split(separator: "</text>").count
            #expect(opened == closed)
        }
    }

    @Test func `the same report makes the same picture, also after a file`() throws {
        let report = report()
        let read = try JSONDecoder().decode(
            Report.self, from: Data(try report.json().utf8))
        #expect(Pictures.of(read).map(\.svg) == Pictures.of(report).map(\.svg))
    }

    @Test func `the table gives the ratio to nginx`() {
        let lines = report().lines
        #expect(lines.contains { $0.hasPrefix("Gatehouse") && $0.contains("1.250") })
    }

    @Test func `text can't end an element`() {
        #expect(Drawing.escaped("a<b & \"c\">") == "a&lt;b &amp; &quot;c&quot;&gt;")
    }

    @Test func `long lines are broken at spaces`() {
        #expect(Drawing.wrapped("aa bb cc", to: 5) == ["aa bb", "cc"])
    }

    @Test(arguments: [(0.9, 1.0), (1, 1), (1.1, 2), (2.5, 5), (7, 10), (101, 200), (0, 1)])
    func `scales end at round numbers`(_ value: Double, _ limit: Double) {
        #expect(abs(roundedUp(value) - limit) < 1e-9)
    }

    @Test func `every nine takes the same width`() {
        #expect(abs(LatencyChart.nines(90) - 1) < 1e-9)
        #expect(abs(LatencyChart.nines(99.9) - 3) < 1e-9)
        #expect(LatencyChart.nines(100) > LatencyChart.nines(99.99))
    }
}

@Suite struct DisturbanceTests {
    private func result(load: Double, others: Double, spun: Bool = true) -> LoadResult {
        var result = LoadResult()
        result.seconds = 1
        result.spun = spun
        result.load.total = load
        result.others = others
        return result
    }

    @Test func `a leg is disturbed when its core or another was taken`() {
        #expect(!result(load: 0.99, others: 0.01).isDisturbed)
        #expect(result(load: 0.90, others: 0).isDisturbed)
        #expect(result(load: 0.99, others: 0.10).isDisturbed)
    }

    @Test func `a load that sleeps tells nothing about others`() {
        #expect(!result(load: 0.5, others: 0, spun: false).isDisturbed)
    }

    @Test func `CPU for each request is the servers' time by the answers`() {
        var result = LoadResult()
        #expect(result.microsecondsPerRequest == 0)
        result.requests = 100_000
        result.server.total = 0.5
        #expect(abs(result.microsecondsPerRequest - 5) < 1e-9)
    }
}
