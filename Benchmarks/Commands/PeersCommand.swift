// `gatehouse-bench peers`: Gatehouse beside other servers, in turns.

import ArgumentParser
import Foundation

struct PeersCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "peers",
        abstract: "Measure Gatehouse and its peers in turns: nginx, and Go with securecookie.",
        discussion: """
            Every server is started once and tried with good and bad cookies; then one after the other \
            is run under the same load, again and again, in alternating order. Compared are the legs \
            of one round with each other; told is the median over the rounds. Load generators fill \
            their core first, so that CPU for each request is the honest figure.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var load: LoadOptions
    @OptionGroup var output: OutputOptions
    @Option(help: "Rounds: each runs every server once.") var pairs = 9
    @Option(help: "Revoked sessions that Gatehouse has loaded.") var revocations = 1_000_000

    func validate() throws {
        guard (1...99).contains(pairs), (0...100_000_000).contains(revocations) else {
            throw ValidationError("--pairs takes 1 to 99, --revocations 0 to 100000000")
        }
    }

    func run() throws {
        let runner = try LoadRunner(cores: server.cores, retries: load.retries)
        var report = Report(machine: Machine(cores: server.cores))
        note("setting up servers, \(load.cookiesCount) cookies, \(revocations) revocations")
        let field = try PeerField(
            gatehouse: try server.gatehouseOptions(), cookies: load.cookiesCount,
            revocations: revocations, runner: runner)
        report.leftOut = field.leftOut
        // The servers end with the field.
        report.peers = try withExtendedLifetime(field) { try measure(field, runner) }
        try output.tell(report)
    }

    private func measure(_ field: PeerField, _ runner: LoadRunner) throws -> PeersFigures {
        var figures = PeersFigures(
            connections: load.connections, cookies: load.cookiesCount, revocations: revocations,
            answerBytes: field.answerBytes)
        figures.throughput = try rounds("closed loop", field.peers, runner) { plan($0) }
        // Gatehouse sets the pace; nginx has to keep it too.
        var rates: [Transport: Double] = [:]
        for row in figures.throughput where row.name == PeerField.gatehouse {
            let reached = median(row.results.map(\.perSecond))
            rates[row.transport] = (reached * CheckCommand.openLoopShare).rounded()
        }
        let paced = field.peers.filter {
            [PeerField.gatehouse, PeerField.nginx].contains($0.name)
        }
        figures.latency = try rounds("open loop", paced, runner) { peer in
            var plan = plan(peer)
            plan.rate = rates[peer.transport]
            return plan
        }
        return figures
    }

    private func plan(_ peer: PeerField.Peer) -> LoadPlan {
        var plan = load.plan(peer.target, requests: peer.requests)
        plan.processes = peer.processes
        return plan
    }

    /// Runs every peer once a round, in turning order, so that neither drift nor neighbourhood
    /// favours one.
    private func rounds(
        _ what: String, _ peers: [PeerField.Peer], _ runner: LoadRunner,
        plan: (PeerField.Peer) -> LoadPlan
    ) throws -> [PeersFigures.Row] {
        var rows = peers.map { PeersFigures.Row(name: $0.name, transport: $0.transport) }
        for round in 0..<pairs {
            note("\(what), round \(round + 1) of \(pairs)")
            let order = round.isMultiple(of: 2) ? Array(peers.indices) : peers.indices.reversed()
            for index in order {
                let plan = plan(peers[index])
                rows[index].rate = plan.rate
                rows[index].results.append(try run(plan, peers[index], runner))
            }
        }
        return rows
    }

    private func run(
        _ plan: LoadPlan, _ peer: PeerField.Peer, _ runner: LoadRunner
    ) throws -> LoadResult {
        do { return try runner.run(plan) } catch let failure as BenchmarkFailure {
            throw BenchmarkFailure(
                "\(peer.name) over \(peer.transport.rawValue): \(failure.message)",
                hint: failure.hint)
        }
    }
}

/// The servers, started and tried.
struct PeerField {
    struct Peer {
        let name: String
        let transport: Transport
        let target: Target
        /// The file of its requests.
        let requests: String
        let processes: [Int32]
    }

    static let gatehouse = "Gatehouse"
    static let nginx = "nginx, static 204"
    static let authRequest = "nginx auth_request + Gatehouse"
    static let secureCookie = "Go net/http + securecookie"

    private(set) var peers: [Peer] = []
    private(set) var leftOut: [String] = []
    /// Of Gatehouse's answer to a good cookie, and of nginx's 204.
    private(set) var answerBytes = 0
    /// Kept so that they run.
    private var servers: [AnyObject] = []

    init(
        gatehouse options: GatehouseOptions, cookies: Int, revocations: Int, runner: LoadRunner
    ) throws {
        let gatehouse = try GatehouseServer(options)
        servers.append(gatehouse)
        let good = try gatehouse.questions(.valid, count: cookies)
        let bad = try [RequestMix.absent, .forged, .expired, .revoked].flatMap {
            try gatehouse.questions($0, count: 1)
        }
        if revocations > 0 { try gatehouse.revokeInBulk(revocations) }
        try gatehouse.start(core: runner.cores.server)
        for target in [gatehouse.tcp, gatehouse.unix] {
            try Trial.of(Self.gatehouse, at: target, bad)
            answerBytes = try Trial.of(Self.gatehouse, at: target, Array(good.prefix(1))).count
        }
        let requests = try runner.requestsFile(good, name: "gatehouse")
        for (transport, target) in [(Transport.tcp, gatehouse.tcp), (.unix, gatehouse.unix)] {
            peers.append(
                Peer(
                    name: Self.gatehouse, transport: transport, target: target, requests: requests,
                    processes: [gatehouse.process]))
        }
        try addNginx(beside: gatehouse, good: good, bad: bad, runner: runner)
        try addSecureCookie(cookies: cookies, runner: runner)
    }

    private mutating func addNginx(
        beside gatehouse: GatehouseServer, good: [Question], bad: [Question],
        runner: LoadRunner
    ) throws {
        guard NginxServer.program != nil else {
            leftOut += ["nginx, static and auth_request: not installed (make bench-tools)"]
            return
        }
        let core = runner.cores.server
        // The same bytes are asked; only the right answer is another.
        let asked = good.map { Question(token: $0.token, status: 204) }
        let probe = try NginxServer("nginx-static.conf", values: ["PADDING": "x"], core: core)
        let bytes = try Trial.of(Self.nginx, at: probe.tcp, Array(asked.prefix(1))).count
        guard bytes < answerBytes else { throw BenchmarkFailure("nginx's answer is too long") }
        let padding = String(repeating: "x", count: 1 + answerBytes - bytes)
        let nginx = try NginxServer("nginx-static.conf", values: ["PADDING": padding], core: core)
        servers.append(nginx)
        let requests = try runner.requestsFile(asked, name: "nginx")
        for (transport, target) in [(Transport.tcp, nginx.tcp), (.unix, nginx.unix)] {
            let count = try Trial.of(Self.nginx, at: target, Array(asked.prefix(1))).count
            guard count == answerBytes else {
                throw BenchmarkFailure(
                    "nginx answers with \(count) bytes, Gatehouse with \(answerBytes)")
            }
            peers.append(
                Peer(
                    name: Self.nginx, transport: transport, target: target, requests: requests,
                    processes: [nginx.process]))
        }
        let upstream = try SourceTree.text("Deploy/nginx/gatehouse-upstream-unix.conf")
            .replacing("/run/gatehouse/check.sock", with: gatehouse.unix.address.name)
        let shipped = ["maps", "check", "ask", "protect", "identity"].map { "gatehouse-\($0).conf" }
        var files = ["gatehouse-upstream.conf": upstream]
        for name in shipped { files[name] = try SourceTree.text("Deploy/nginx/\(name)") }
        let front = try NginxServer("nginx-auth-request.conf", files: files, core: core)
        servers.append(front)
        try Trial.of(Self.authRequest, at: front.tcp, bad + good.prefix(1))
        peers.append(
            Peer(
                name: Self.authRequest, transport: .tcp, target: front.tcp,
                requests: try runner.requestsFile(good, name: "auth-request"),
                processes: [front.process, gatehouse.process]))
    }

    private mutating func addSecureCookie(cookies: Int, runner: LoadRunner) throws {
        if let reason = SecureCookieServer.missing {
            leftOut.append("\(Self.secureCookie): \(reason) (make bench-tools)")
            return
        }
        let go = try SecureCookieServer(cookies: cookies, core: runner.cores.server)
        servers.append(go)
        try Trial.of(Self.secureCookie, at: go.tcp, go.bad + go.good.prefix(1))
        peers.append(
            Peer(
                name: Self.secureCookie, transport: .tcp, target: go.tcp,
                requests: try runner.requestsFile(go.good, name: "securecookie"),
                processes: [go.process]))
    }
}
