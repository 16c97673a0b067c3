// What a load process is told to do, and what it tells when it is done.

/// Where a server listens.
enum Target: Codable, Equatable {
    case tcp(host: String, port: UInt16)
    case unix(path: String)

    /// What to connect to; the port is 0 for a Unix socket.
    var address: (name: String, port: UInt16) {
        switch self {
        case .tcp(let host, let port): (host, port)
        case .unix(let path): (path, 0)
        }
    }
}

/// The work of one load process. It is a process of its own so that its CPU time is never counted as
/// the server's, and so that it can have a core to itself.
struct LoadPlan: Codable {
    var target: Target
    /// The file of trusted authorities; with it the load speaks TLS.
    var authorities: String?
    /// The core to run on.
    var core: Int?
    /// Whether it asks again and again instead of sleeping: a load with a core to itself answers
    /// sooner, and the server never pays for waking it.
    var spins: Bool
    /// Whether it goes before everything else on its core, which it then has to share. It must not spin.
    var isUrgent = false
    /// A file of ``RequestSet`` lines, or of usernames to sign in as.
    var requests: String
    /// A file of ``News`` lines instead, which grows while the load runs: in a closed loop it asks for what
    /// is there, judges by what is told, and ends when it is told to.
    var news: String?
    /// Whether it signs in, with passwords that are wrong, instead of having cookies checked.
    var asksToSignIn = false
    var path = "/check"
    var connections: Int
    /// Requests that a connection has under way at one time.
    var pipelining = 1
    /// Requests a second; nil for a closed loop, where each answer brings the next request.
    var rate: Double?
    /// Before measuring: caches, branch predictors, the server's buffers and TCP's windows settle.
    var warmupSeconds: Double
    var seconds: Double
    var idleConnections = 0
    var slowClients = 0
    /// The roots of the process trees whose CPU time is measured.
    var processes: [Int32] = []
}

struct LoadResult: Codable {
    /// Answered within the measured interval.
    var requests = 0
    var seconds = 0.0
    /// Wrong answers, closed connections, requests without an answer. Anything but 0 is no result.
    var errors = 0
    var firstError: String?
    /// The servers' CPU time in the interval.
    var server = ProcessTimes()
    /// The load's own.
    var load = ProcessTimes()
    /// CPU seconds that other programs took, or another machine on the same hardware: they disturb.
    var others = 0.0
    /// Of an open loop, from the time that a request was meant to be sent.
    var latency: Latency?
    /// Of sign-ins that were answered 503; ``latency`` is then of the others.
    var refusals: Latency?
    /// Whether it was allowed to be urgent, as it should have been; nil where it should not, and in reports
    /// of before.
    var wasUrgent: Bool?
    /// Of a load that was told news.
    var live: LiveCounts?
    /// Whether the load never slept.
    var spun = false
    /// The longest that a load which never sleeps did not get to look at its connections: latencies of
    /// this size may be its own.
    var longestPauseMicroseconds = 0.0
    /// Times that a slow client was thrown out and came back.
    var slowReconnects = 0

    var perSecond: Double { seconds > 0 ? Double(requests) / seconds : 0 }

    /// Microseconds of the servers' CPU for each answer.
    var microsecondsPerRequest: Double { perRequest(server.total) }
    var userPerRequest: Double { perRequest(server.user) }
    var systemPerRequest: Double { perRequest(server.system) }
    /// Cores that the servers kept busy. Well below 1 in a closed loop, the load was the limit, and
    /// only the CPU for each request tells what the server can do.
    var serverBusy: Double { seconds > 0 ? server.total / seconds : 0 }

    /// The same of other programs. Above a few hundredths, latencies are theirs as much as the
    /// server's.
    var othersBusy: Double { seconds > 0 ? others / seconds : 0 }

    /// The part of its core that the load got; 1 for one that never sleeps, if nobody took any.
    var loadBusy: Double { seconds > 0 ? load.total / seconds : 0 }

    /// Whether something else ran on these cores for more than a twentieth of the time, or the machine
    /// below this one took that much: latencies and requests a second are then worth little. CPU for
    /// each request is worth more: other programs only cool its caches.
    var isDisturbed: Bool { spun && (loadBusy < 0.95 || othersBusy > 0.05) }

    private func perRequest(_ time: Double) -> Double {
        requests > 0 ? time * 1e6 / Double(requests) : 0
    }
}
