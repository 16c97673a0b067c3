// What a store with many users costs beside one with few.

struct ScaleFigures: Codable {
    /// What is timed. The names are told and recorded.
    enum Operation: String, CaseIterable {
        case signIn = "sign-in at the front door"
        case signInStore = "sign-in, the store alone"
        case list = "`sessions list`"
        case listStore = "list of a user's sessions, the store alone"
        case pageStore = "page of 1000 users, the store alone"
        case revokeUser = "`sessions revoke --user`"
        case revokeUserStore = "revocation of a user's sessions, the store alone"
        case start = "start until ready"
        case revokeBefore = "`sessions revoke --before`"
        case revokeBeforeStore = "revocation by time, the store alone"

        static let ofAll = [revokeBefore, revokeBeforeStore]
        static let others = allCases.filter { !ofAll.contains($0) }
    }

    /// A hundredfold store must not cost more than so many times as much.
    static let bar = 3.0
    /// Revocations by time end a part of the sessions each.
    static let maximumRounds = 99

    struct Writes: Codable {
        let clients: Int
        /// Begun in a second, as a sign-in does.
        let sessions: Double
        /// Tries of a password counted in a second.
        let tries: Double
        /// Uses of sessions noted in a second, a hundred in a transaction.
        let uses: Double
    }

    /// One store.
    struct Site: Codable {
        let database: String
        let users: Int
        /// The medians of each round, by ``Operation``.
        var milliseconds: [String: [Double]] = [:]
        /// On disk, with indexes.
        var bytesPerUser = 0.0
        var bytesPerSession = 0.0
        /// Of the server: without revocations, and with as many as users.
        var memory: ProcessMemory?
        var revokedMemory: ProcessMemory?
        var revokedReadySeconds = 0.0
        var writes: [Writes] = []

        init(database: String, users: Int) {
            self.database = database
            self.users = users
        }

        func milliseconds(_ operation: Operation) -> Double {
            median(milliseconds[operation.rawValue] ?? [])
        }
    }

    var sites: [Site] = []

    private var databases: [[Site]] {
        var databases: [[Site]] = []
        for site in sites {
            if databases.last?.last?.database == site.database {
                databases[databases.count - 1].append(site)
            } else {
                databases.append([site])
            }
        }
        return databases
    }

    /// A large store's to the smallest one's of the same database: the median of the rounds.
    func ratio(_ operation: Operation, _ site: Site) -> Double {
        guard let least = sites.first(where: { $0.database == site.database }) else { return 0 }
        let name = operation.rawValue
        return median(
            zip(site.milliseconds[name] ?? [], least.milliseconds[name] ?? []).map { $0 / $1 })
    }

    var lines: [String] { databases.flatMap { lines(of: $0) } }

    private func lines(of sites: [Site]) -> [String] {
        guard let least = sites.first else { return [] }
        let others = sites.dropFirst()
        let heading =
            ["\(least.database), ms"] + sites.map { "\(grouped(Double($0.users))) users" }
            + others.map { "\($0.users / least.users)-fold" } + (others.isEmpty ? [] : ["bar"])
        let rows = Operation.allCases.map { operation in
            let ratios = others.map { ratio(operation, $0) }
            return [operation.rawValue]
                + sites.map { text($0.milliseconds(operation), digits: 2) }
                + ratios.map { text($0, digits: 2) }
                + (ratios.isEmpty ? [] : [ratios.allSatisfy { $0 <= Self.bar } ? "met" : "missed"])
        }
        return Table.lines(heading, rows) + [""] + sizes(of: sites) + [""] + writes(of: sites) + [
            ""
        ]
    }

    private func sizes(of sites: [Site]) -> [String] {
        func mebibytes(_ memory: ProcessMemory?) -> String {
            text(Double(memory?.residentKiB ?? 0) / 1024, digits: 1)
        }
        return Table.lines(
            [
                sites[0].database, "bytes a user", "bytes a session", "memory, MiB",
                "with as many revocations", "ready with them, s",
            ],
            sites.map { site in
                [
                    "\(grouped(Double(site.users))) users", text(site.bytesPerUser, digits: 0),
                    text(site.bytesPerSession, digits: 0), mebibytes(site.memory),
                    mebibytes(site.revokedMemory), text(site.revokedReadySeconds, digits: 2),
                ]
            })
    }

    private func writes(of sites: [Site]) -> [String] {
        Table.lines(
            [
                "\(sites[0].database): writers", "sessions a second", "tries a second",
                "uses a second",
            ],
            sites.flatMap(\.writes).map { writes in
                [
                    String(writes.clients), text(writes.sessions, digits: 0),
                    text(writes.tries, digits: 0), text(writes.uses, digits: 0),
                ]
            })
    }
}
