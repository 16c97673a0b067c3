// What `peers` found out.

struct PeersFigures: Codable {
    struct Row: Codable {
        let name: String
        let transport: Transport
        /// Requests a second of an open loop.
        var rate: Double?
        /// One of each round, in order.
        var results: [LoadResult] = []

        func median(_ value: (LoadResult) -> Double) -> Double {
            gatehouse_bench.median(results.map(value))
        }

        /// The median of the rounds' ratios to `other`.
        func ratio(to other: Row, _ value: (LoadResult) -> Double) -> Double {
            gatehouse_bench.median(zip(results, other.results).map { value($0) / value($1) })
        }
    }

    var connections: Int
    var cookies: Int
    var revocations: Int
    var answerBytes: Int
    var throughput: [Row] = []
    var latency: [Row] = []

    init(connections: Int, cookies: Int, revocations: Int, answerBytes: Int) {
        self.connections = connections
        self.cookies = cookies
        self.revocations = revocations
        self.answerBytes = answerBytes
    }

    /// nginx's row over the same transport.
    private func limit(of row: Row, in rows: [Row]) -> Row? {
        rows.first { $0.name == PeerField.nginx && $0.transport == row.transport }
    }

    var lines: [String] {
        let rounds = throughput.first?.results.count ?? 0
        var lines = [
            "\(connections) connections, no pipelining, \(cookies) different cookies, "
                + "\(revocations) revocations, answers of \(answerBytes) bytes; "
                + "medians of \(rounds) rounds", "",
        ]
        lines += Table.lines(
            [
                "closed loop", "over", "validations/s", "CPU µs/request", "user", "system",
                "CPU to nginx's", "validations to nginx's", "cores busy",
            ],
            throughput.map { row in
                let limit = limit(of: row, in: throughput)
                return [
                    row.name, row.transport.rawValue, grouped(row.median(\.perSecond)),
                    text(row.median(\.microsecondsPerRequest), digits: 2),
                    text(row.median(\.userPerRequest), digits: 2),
                    text(row.median(\.systemPerRequest), digits: 2),
                    limit.map { text(row.ratio(to: $0, \.microsecondsPerRequest), digits: 3) }
                        ?? "-",
                    limit.map { text(row.ratio(to: $0, \.perSecond), digits: 3) } ?? "-",
                    text(row.median(\.serverBusy), digits: 2),
                ]
            })
        lines += secureCookieLines + [""]
        lines += Table.lines(
            [
                "open loop, µs", "over", "requests/s", "p50", "p99", "p99.9", "max",
                "p99 to nginx's",
            ],
            latency.map { row in
                let limit = limit(of: row, in: latency)
                return [row.name, row.transport.rawValue, grouped(row.rate ?? 0)]
                    + [50, 99, 99.9, 100].map { percentile in
                        grouped(row.median { $0.latency?[percentile] ?? 0 })
                    } + [
                        limit.map { text(row.ratio(to: $0) { $0.latency?[99] ?? 0 }, digits: 3) }
                            ?? "-"
                    ]
            })
        return lines + [""]
    }

    var results: [LoadResult] { (throughput + latency).flatMap(\.results) }

    private var secureCookieLines: [String] {
        guard let go = throughput.first(where: { $0.name == PeerField.secureCookie }),
            let ours = throughput.first(where: {
                $0.name == PeerField.gatehouse && $0.transport == go.transport
            })
        else { return [] }
        let cpu = text(go.ratio(to: ours, \.microsecondsPerRequest), digits: 2)
        let rate = text(ours.ratio(to: go, \.perSecond), digits: 2)
        return [
            "\(go.name) takes \(cpu) times Gatehouse's CPU; Gatehouse validates \(rate) times as many"
        ]
    }
}
