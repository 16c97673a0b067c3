// The pictures of each report.

enum Pictures {
    private static let width = 820.0

    /// File names without their ending, and SVG documents.
    static func of(_ report: Report) -> [(name: String, svg: String)] {
        var pictures: [(name: String, svg: String)] = []
        if let peers = report.peers {
            pictures.append(("peers", throughput(peers, report.machine)))
            if !peers.latency.isEmpty {
                pictures.append(("latency", latency(peers, report.machine)))
            }
        }
        if let revocation = report.revocation {
            pictures.append(("revocations", cost(revocation, report.machine)))
        }
        if let token = report.token { pictures.append(("token", cost(token, report.machine))) }
        if let check = report.check, let svg = latency(check, report.machine) {
            pictures.append(
                ("check-\(check.transport.replacing(" ", with: "-"))-\(check.mix)", svg))
        }
        return pictures
    }

    private static func range(_ values: [Double]) -> ClosedRange<Double>? {
        guard values.count > 1, let low = values.min(), let high = values.max() else { return nil }
        return low...high
    }

    private static func label(_ row: PeersFigures.Row) -> String {
        "\(row.name), \(row.transport == .unix ? "Unix socket" : row.transport.rawValue.uppercased())"
    }

    private static func isOurs(_ name: String) -> Bool { name == PeerField.gatehouse }

    /// CPU for each request and requests a second, by server.
    private static func throughput(_ peers: PeersFigures, _ machine: Machine) -> String {
        var drawing = Drawing(width: width)
        BarChart(
            title: "CPU for each request", axis: "microseconds, less is better",
            legend: [
                ("user (Gatehouse)", .blue), ("system", .sky), ("user (others)", .orange),
                ("system", .amber), ("line: least and most of all rounds", .ink),
            ],
            bars: peers.throughput.map { row in
                let total = row.median(\.microsecondsPerRequest)
                let user = row.median(\.userPerRequest)
                let isOurs = isOurs(row.name)
                return BarChart.Bar(
                    label: label(row),
                    parts: [
                        (min(user, total), isOurs ? .blue : .orange),
                        (max(0, total - user), isOurs ? .sky : .amber),
                    ], range: range(row.results.map(\.microsecondsPerRequest)),
                    text: text(total, digits: 1))
            }
        ).draw(into: &drawing)
        BarChart(
            title: "Requests a second, one core for the server", axis: "more is better",
            bars: peers.throughput.map { row in
                let value = row.median(\.perSecond)
                return BarChart.Bar(
                    label: label(row), parts: [(value, isOurs(row.name) ? .blue : .orange)],
                    range: range(row.results.map(\.perSecond)), text: grouped(value))
            }
        ).draw(into: &drawing)
        drawing.sign(machine, left: 24)
        return drawing.svg(
            description: "CPU for each request and requests a second of Gatehouse and its peers")
    }

    private static func latency(_ peers: PeersFigures, _ machine: Machine) -> String {
        var drawing = Drawing(width: width)
        let shares = Int(CheckCommand.openLoopShare * 100)
        LatencyChart(
            title: "Latency at \(shares) % of what Gatehouse reaches",
            lines: peers.latency.map { row in
                LatencyChart.Line(
                    label: "\(label(row)), \(grouped(row.rate ?? 0)) requests/s",
                    points: medians(row.results.compactMap(\.latency)),
                    colour: isOurs(row.name) ? .blue : .orange, isDashed: row.transport == .unix)
            }
        ).draw(into: &drawing)
        drawing.sign(machine, left: 24)
        return drawing.svg(
            description: "Latency percentiles of Gatehouse and nginx at the same rate")
    }

    /// Each percentile's median over the rounds.
    private static func medians(_ latencies: [Latency]) -> [Latency.Point] {
        Latency.percentiles.map { percentile in
            Latency.Point(
                percentile: percentile, microseconds: median(latencies.map { $0[percentile] }))
        }
    }

    private static func latency(_ check: CheckFigures, _ machine: Machine) -> String? {
        let open = check.legs.filter { $0.result.latency != nil }
        guard !open.isEmpty else { return nil }
        let colours: [Drawing.Colour] = [.blue, .orange, .green, .purple]
        var drawing = Drawing(width: width)
        LatencyChart(
            title: "Latency over \(check.transport), \(check.mix) cookies",
            lines: Dictionary(grouping: open) { $0.crowd ?? "" }.sorted { $0.key < $1.key }
                .enumerated().map { index, group in
                    LatencyChart.Line(
                        label: (group.key.isEmpty ? "alone" : "with \(group.key)")
                            + ", \(grouped(group.value[0].rate ?? 0)) requests/s",
                        points: medians(group.value.compactMap(\.result.latency)),
                        colour: colours[index % colours.count], isDashed: false)
                }
        ).draw(into: &drawing)
        drawing.sign(machine, left: 24)
        return drawing.svg(description: "Latency percentiles of the check endpoint")
    }

    /// Memory, CPU and start by number of revocations.
    private static func cost(_ revocation: RevocationFigures, _ machine: Machine) -> String {
        var drawing = Drawing(width: width)
        let rows = revocation.rows
        let name = { (row: RevocationFigures.Row) in "\(grouped(Double(row.entries))) revocations" }
        BarChart(
            title: "Memory that revocations add", axis: "MiB",
            bars: rows.map { row in
                let kibibytes = row.memory.residentKiB - revocation.emptyMemory.residentKiB
                let value = max(0, Double(kibibytes) / 1024)
                return BarChart.Bar(
                    label: name(row), parts: [(value, .blue)], text: text(value, digits: 1))
            }
        ).draw(into: &drawing)
        BarChart(
            title: "CPU for each check, against none revoked", axis: "times",
            bars: rows.map { row in
                let value = row.ratio(\.microsecondsPerRequest)
                let ratios = zip(row.full, row.empty).map {
                    $0.microsecondsPerRequest / $1.microsecondsPerRequest
                }
                return BarChart.Bar(
                    label: name(row), parts: [(value, .blue)], range: range(ratios),
                    text: text(value, digits: 3))
            }, mark: (1, "none revoked")
        ).draw(into: &drawing)
        BarChart(
            title: "From start to ready", axis: "seconds",
            bars: rows.map { row in
                BarChart.Bar(
                    label: name(row), parts: [(row.readySeconds, .blue)],
                    text: text(row.readySeconds, digits: 2))
            }
        ).draw(into: &drawing)
        drawing.sign(machine, left: 24)
        return drawing.svg(description: "Memory, CPU and start by number of revocations")
    }

    private static func cost(_ token: TokenFigures, _ machine: Machine) -> String {
        var drawing = Drawing(width: width)
        BarChart(
            title: "One session token", axis: "nanoseconds, less is better",
            bars: token.rows.flatMap { row in
                [
                    BarChart.Bar(
                        label: row.operation.rawValue, parts: [(row.nanoseconds, .blue)],
                        text: text(row.nanoseconds, digits: 0)),
                    BarChart.Bar(
                        label: "libcrypto's calls alone", parts: [(row.bareNanoseconds, .orange)],
                        text: text(row.bareNanoseconds, digits: 0)),
                ]
            }
        ).draw(into: &drawing)
        drawing.sign(machine, left: 24)
        return drawing.svg(description: "Time to seal and to open a token")
    }
}
