// The admin endpoint: is it alive, is it ready, what has it done.

package import GatehouseCore
import GatehousePeople
package import GatehouseSystem
import Hummingbird
import HummingbirdCore
package import Logging
import ServiceLifecycle

/// What the admin endpoint tells; made anew for each request.
package struct AdminReport: Sendable {
    /// Why checks are answered 503 or nothing can be sealed; empty when ready.
    package let unreadyReasons: [String]
    package let metrics: [Metric]

    package init(unreadyReasons: [String], metrics: [Metric]) {
        self.unreadyReasons = unreadyReasons
        self.metrics = metrics
    }
}

/// `/livez`, `/readyz`, `/metrics`, counts of people and their records, on a listener of their own: no request on the check endpoint
/// can look like one of these (REQUIREMENTS CHK-8).
package struct AdminServer: Service {
    private let address: ListenAddress
    private let gate: PeerGate
    private let logger: Logger
    private let desk: AdminDesk
    private let statistics: @Sendable (_ days: Int64) async -> String?
    private let source: @Sendable () async -> AdminReport

    /// - Parameter statistics: how many people were here in the last days, as JSON; nil when nobody can tell.
    package init(
        address: ListenAddress, gate: PeerGate, logger: Logger, desk: AdminDesk,
        statistics: @escaping @Sendable (_ days: Int64) async -> String?,
        source: @escaping @Sendable () async -> AdminReport
    ) {
        self.address = address
        self.gate = gate
        self.logger = logger
        self.desk = desk
        self.statistics = statistics
        self.source = source
    }

    package func run() async throws {
        let bind: BindAddress =
            switch address {
            case .tcp(let host, let port): .hostname(host, port: port)
            case .unix(let path): .unixDomainSocket(path: path)
            }
        let application = Application(
            router: Self.router(desk: desk, statistics: statistics, source: source),
            server: .http1(at: address, gate: gate),
            configuration: ApplicationConfiguration(address: bind), logger: logger)
        try await application.runService(gracefulShutdownSignals: [])
    }

    static func router(
        desk: AdminDesk, statistics: @escaping @Sendable (_ days: Int64) async -> String?,
        source: @escaping @Sendable () async -> AdminReport
    ) -> Router<BasicRequestContext> {
        let router = Router()
        router.get("livez") { _, _ in Self.response(.ok, "text/plain; charset=utf-8", "alive\n") }
        router.get("readyz") { _, _ in
            let reasons = await source().unreadyReasons
            let list = reasons.map { "\"\($0)\"" }.joined(separator: ",")
            return Self.response(
                reasons.isEmpty ? .ok : .serviceUnavailable, "application/json",
                #"{"ready":\#(reasons.isEmpty),"reasons":[\#(list)]}"# + "\n")
        }
        router.get("metrics") { _, _ in
            Self.response(
                .ok, "text/plain; version=0.0.4; charset=utf-8",
                await source().metrics.map(\.text).joined())
        }
        router.get("v1/admin/users/:username") { request, context in
            let answer = await desk.record(
                of: context.parameters.get("username") ?? "", request.headers)
            var response = Self.response(
                HTTPResponse.Status(code: answer.status), answer.type, answer.body)
            for (name, value) in answer.headers { response.headers[name] = value }
            return response
        }
        router.get("v1/admin/statistics") { request, _ in
            let texts = request.uri.queryParameters.getAll("days")
            let days = texts.first.map { Int64($0) } ?? ActivityCounts.defaultDays
            guard texts.count <= 1, let days, (1...ActivityCounts.keptDays).contains(days) else {
                return Self.problem(
                    .badRequest, "days", "days is a number from 1 to \(ActivityCounts.keptDays).")
            }
            guard let body = await statistics(days) else {
                return Self.problem(.serviceUnavailable, "unavailable", "The store is away.")
            }
            return Self.response(.ok, "application/json", body)
        }
        return router
    }

    /// RFC 9457.
    private static func problem(
        _ status: HTTPResponse.Status, _ type: String, _ title: String
    ) -> Response {
        response(
            status, "application/problem+json",
            #"{"status":\#(status.code),"title":"\#(title)","type":"urn:gatehouse:problem:\#(type)"}"#
                + "\n")
    }

    private static func response(
        _ status: HTTPResponse.Status, _ type: String, _ body: String
    ) -> Response {
        Response(
            status: status,
            headers: [
                .contentType: type, .cacheControl: "no-store", .contentLength: "\(body.utf8.count)",
            ],
            body: ResponseBody(byteBuffer: ByteBuffer(string: body)))
    }
}
