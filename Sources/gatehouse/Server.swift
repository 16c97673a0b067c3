// The composition root of the server: loads everything, then listens, follows, and ends in order.

import Foundation
import GatehouseCheck
import GatehouseCore
import GatehousePasswords
import GatehousePeople
import GatehouseStore
import GatehouseSystem
import GatehouseWeb
import Glibc
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import Synchronization
import UnixSignals

struct Server {
    let settings: Settings
    let isDevelopment: Bool
    private let logger = Logger(label: "gatehouse")

    init(settings: Settings, isDevelopment: Bool) {
        self.settings = settings
        self.isDevelopment = isDevelopment
    }

    func run() async throws {
        try DataDirectory.check(settings.dataDirectory)
        try ProcessLimits.requireLockedMemory()
        let id = NodeID(try Identifier.random(from: .system))
        let rootKey = try settings.rootKeySource.read()
        let store = try await openStore(for: id, rootKey)
        try ProcessLimits.apply(
            connections: settings.checkLimits.maximumConnections + FrontServer.maximumConnections)
        let lease = Lease(maximumStalenessSeconds: settings.maximumStalenessSeconds)
        let tls = try checkTLS()
        let gates = PeerGates(settings)
        let checks = try CheckServer(checkSetup(lease: lease, tls: tls, gate: gates.check))
        let sealer = Sealer(audience: settings.audience, lease: lease, entropy: .system)
        let node = Node(
            id: id, store: store, rootKey: rootKey, lease: lease, entropy: .system,
            rotateEverySeconds: settings.rotateEverySeconds
        ) { snapshot in
            let isSealerReady = await sealer.adopt(snapshot)
            return await checks.publish(snapshot) && isSealerReady
        }
        let hasher = try settings.passwordHasher()
        let rules = try PasswordRules(settings)
        let uses = SessionUses()
        var people = People(
            store: store, schema: try settings.peopleSchema(), node: node, entropy: .system,
            clock: SystemClock.now)
        people.permission.longestSeconds = settings.longestGrantSeconds
        people.departure = settings.departure
        let front = try await frontServer(
            people: people, store: store, sealer: sealer, node: node, hasher: hasher,
            policy: rules.policy, uses: uses, peers: gates.front)

        let meter = KeyMeter(
            checks: checks, sealer: sealer, node: node, store: store, logger: logger)
        let status = ServerStatus(
            lease: lease, node: node, checks: checks, hasher: hasher, meter: meter, gates: gates)
        let admin = AdminServer(
            address: settings.adminAddress, gate: gates.admin,
            logger: Logger(label: "gatehouse.admin"), desk: AdminDesk(people: people),
            statistics: { days in
                try? await ActivityCounts.recent(days, from: store, at: SystemClock.now().wall).json
            }, source: status.report)
        let endpoints = Endpoints(
            check: CheckService(
                server: checks, addresses: settings.checkAddresses, lease: lease),
            front: front, lease: lease)
        let departures = DepartureUpkeep(
            store: store, node: node, rules: settings.departure,
            addressSeconds: settings.addressKeepSeconds, logger: logger)
        let activity = ActivityWriter(
            checks: checks, uses: uses, store: store, keys: meter,
            idleSeconds: settings.sessionIdleSeconds, logger: logger)

        for address in [settings.adminAddress] + (front == nil ? [] : [settings.publicAddress]) {
            guard case .unix(let path) = address else { continue }
            do { try UnixSocketPath.prepare(path) } catch {
                throw CheckService.cannotListen(address, error)
            }
        }
        // Everything is loaded before anything listens.
        do { _ = try await node.refresh(at: SystemClock.now()) } catch {
            throw CommandFailure(error)
        }
        await departures.deleteReturned(at: SystemClock.now().wall)
        let follower = Follower(
            node: node, store: store, checkTLS: tls, auditKeepSeconds: settings.auditKeepSeconds,
            departures: departures, logger: logger)
        // A chain that begins says how far the others had got.
        try await store.checkpointAudit(at: SystemClock.now().wall)
        await meter.writeIfDue(at: SystemClock.now())
        ProcessLimits.trimMemory()
        lease.enter(.serving)
        try await endpoints.check.listen()
        logger.info(
            "started",
            metadata: [
                "event": "sys_startup", "node": "\(node.id.text)",
                "check": "\(settings.checkAddresses.map(\.description).joined(separator: " "))",
                "admin": "\(settings.adminAddress)",
                "public": front == nil ? "none" : "\(settings.publicAddress)",
            ])
        if SecretMemory.usage.unlocked > 0 {
            logger.warning(
                "some keys are not locked in memory: raise the limit (LimitMEMLOCK=)",
                metadata: ["unlocked": "\(SecretMemory.usage.unlocked)"])
        }
        if front == nil {
            logger.notice("no front door: public.origin is not set")
        }
        if isDevelopment { printDevelopmentHelp() }

        let filter = rules.filter.map { PasswordFilterFollower(file: $0, logger: logger) }
        var configuration = ServiceGroupConfiguration(
            services: (filter.map { [.init(service: $0)] } ?? []) + [
                .init(service: follower), .init(service: activity), .init(service: admin),
                .init(service: endpoints), .init(service: gates),
            ],
            gracefulShutdownSignals: [.sigterm, .sigint],
            logger: Logger(label: "gatehouse.services"))
        configuration.maximumGracefulShutdownDuration = Duration.seconds(15)
        do {
            try await ServiceGroup(configuration: configuration).run()
        } catch {
            await node.leave(at: SystemClock.now().wall)
            throw CommandFailure.environment("the server ended: \(error)")
        }
        await meter.write(at: SystemClock.now().wall)
        await node.leave(at: SystemClock.now().wall)
        await hasher.shutdown()
        await checks.shutdown()
        do { try store.close() } catch {
            logger.error("the database was not closed", metadata: ["failure": "\(error)"])
        }
        logger.info("stopped", metadata: ["event": "sys_shutdown"])
    }

    private func checkTLS() throws -> ServerTLS? {
        guard let files = settings.checkTLSFiles else { return nil }
        do { return try ServerTLS(files, acceptsDevelopment: isDevelopment) } catch {
            throw CommandFailure.environment(
                "cannot use the check endpoint's certificate \(files.certificate): \(error)",
                hint: "name certificate and key with check.certificate and check.key")
        }
    }

    private func checkSetup(lease: Lease, tls: ServerTLS?, gate: PeerGate) -> CheckSetup {
        var setup = CheckSetup(audience: settings.audience, lease: lease)
        setup.settings.limits = settings.checkLimits
        setup.settings.cookieName = settings.sessionCookieName
        setup.settings.cookieDomain = settings.cookieDomain
        setup.settings.renewal.afterSeconds = settings.sessionResealSeconds
        setup.settings.renewal.idleSeconds = settings.sessionIdleSeconds
        setup.settings.resumeURL = resumeURL.map { Array($0.utf8) }
        setup.driver = settings.checkDriver
        setup.loops = settings.checkEventLoops > 0 ? settings.checkEventLoops : System.coreCount
        setup.socketMode = settings.checkSocketMode
        setup.trustedProxies = settings.checkTrustedProxies
        setup.gate = gate
        setup.tls = tls
        return setup
    }

    /// Where browsers come back with a session; nil without a front door.
    private var resumeURL: String? {
        let base = settings.publicBasePath == "/" ? "" : settings.publicBasePath
        if let origin = settings.publicOrigin { return "\(origin.text)\(base)/resume" }
        guard isDevelopment, case .tcp(_, let port) = settings.publicAddress else { return nil }
        return "\(settings.publicTLS ? "https" : "http")://localhost:\(port)\(base)/resume"
    }

    /// The front door, if the configuration says where the site is.
    private func frontServer(
        people: People, store: any Store & PeopleStore, sealer: Sealer, node: Node,
        hasher: PasswordHasher, policy: PasswordPolicy, uses: SessionUses, peers: PeerGate
    ) async throws -> FrontServer? {
        guard settings.publicOrigin != nil || isDevelopment else { return nil }
        guard let limits = settings.sessionLimits, let remember = settings.rememberLimits else {
            throw CommandFailure.environment("session.idle is longer than session.absolute")
        }
        let gate = try await PasswordGate(
            store: store, node: node, hasher: hasher,
            addresses: AddressThrottle(perMinute: settings.addressFailures), entropy: .system,
            clock: SystemClock.now)
        let devices = Devices(
            store: store, sealer: sealer, node: node, entropy: .system, clock: SystemClock.now)
        let accounts = Accounts(
            registration: settings.registration, usernames: settings.usernames, store: store,
            sealer: sealer, node: node, gate: gate, devices: devices, policy: policy,
            rules: SignInRules(
                sessions: limits, remember: settings.rememberEnabled ? remember : nil,
                atOnce: SessionLimit(
                    maximum: settings.sessionsPerUser, atLimit: settings.sessionsAtLimit)),
            entropy: .system, clock: SystemClock.now)
        let own = settings.publicOrigin.map { [$0] } ?? []
        var doorSettings = FrontDoorSettings(
            origins: AllowedOrigins(own, acceptsDevelopment: isDevelopment),
            returnOrigins: AllowedOrigins(
                own + settings.returnOrigins, acceptsDevelopment: isDevelopment),
            formTargets: settings.returnOrigins, basePath: settings.publicBasePath,
            cookies: CookieNames(domain: settings.cookieDomain),
            siteName: settings.publicOrigin?.host ?? "", sendsHSTS: !isDevelopment)
        doorSettings.auditAddresses = settings.auditAddresses
        doorSettings.security = settings.security
        doorSettings.pages = settings.pages
        doorSettings.pages.rememberSeconds = settings.rememberAbsoluteSeconds
        let door = try FrontDoor(
            settings: doorSettings,
            accounts: accounts,
            people: people,
            devices: devices,
            sealer: sealer, uses: uses, entropy: .system, clock: SystemClock.now)
        let security: FrontListener.Security =
            settings.publicTLS
            ? .tls(certificate: settings.publicCertificatePath, key: settings.publicKeyPath)
            : .plain
        do {
            return try FrontServer(
                listener: FrontListener(
                    address: settings.publicAddress, security: security,
                    trustedProxies: settings.trustedProxies, socketMode: settings.checkSocketMode,
                    gate: peers),
                door: door, isDevelopment: isDevelopment, logger: Logger(label: "gatehouse.front"))
        } catch {
            throw CommandFailure.environment(
                "cannot use the front door's certificate \(settings.publicCertificatePath): "
                    + "\(error)",
                hint: "name certificate and key with public.certificate and public.key, or set "
                    + "public.tls: false behind a proxy")
        }
    }

    /// Opens the store for a node, and gives a new one its first ring.
    private func openStore(
        for id: NodeID, _ rootKey: borrowing RootKey
    ) async throws -> SQLStore {
        let store = try settings.openStore(asServer: true)
        let now = SystemClock.now().wall
        if let wrapped = try await store.keyring() {
            // A wrong root key ends the start here, before anything listens.
            let ring = try rootKey.unwrap(wrapped)
            // An older release's ring has no data keys; whoever is faster adds them.
            if let complete = try ring.completingDataKeys(at: now, entropy: .system) {
                try store.signTrail(as: AuditChain(id), under: complete)
                let added = complete.dataKeys.filter { key in
                    !ring.dataKeys.contains { $0.id == key.id }
                }
                _ = try await KeyringChange.replace(
                    with: complete, onlyWhenLoaded: false,
                    audit: added.map { AuditEvent(dataKeyAdded: $0) },
                    store: store, rootKey: rootKey, at: now, entropy: .system)
            }
        } else {
            let first = try Keyring.first(at: now, entropy: .system)
            let key = first.active?.id
            try store.signTrail(as: AuditChain(id), under: first)
            // Where two servers start on an empty store, one of them wins, and both load its ring.
            _ = try await KeyringChange.replace(
                with: first, onlyWhenLoaded: false,
                audit: [
                    AuditEvent(.keyAdded, by: .server, key: key),
                    AuditEvent(.keyActivated, by: .server, key: key),
                ] + first.dataKeys.map { AuditEvent(dataKeyAdded: $0) },
                store: store, rootKey: rootKey, at: now, entropy: .system)
        }
        // Whoever was faster, the trail goes on under the ring that is stored.
        guard let wrapped = try await store.keyring() else {
            throw CommandFailure.environment("the store has no keyring")
        }
        try store.signTrail(as: AuditChain(id), under: try rootKey.unwrap(wrapped))
        let reserved = try UsernamePolicy.reservedNames.map { try Username($0) }
        if try await !store.reserveNames(reserved + settings.moreReservedNames, at: now) {
            logger.error(
                "nobody can register: the usernames' skeletons are of another version",
                metadata: [
                    "version": "\(Username.skeletonVersion)", "hint": "gatehouse users reindex",
                ])
        }
        return store
    }

    private func printDevelopmentHelp() {
        let program = CommandLine.arguments.first ?? "gatehouse"
        let data = settings.dataDirectory
        let quoted = data.contains(" ") ? "'\(data)'" : data
        let base = settings.publicBasePath == "/" ? "" : settings.publicBasePath
        var frontDoorURL = settings.publicAddress.description
        if case .tcp(_, let port) = settings.publicAddress, settings.publicTLS {
            frontDoorURL = "https://localhost:\(port)\(base)/register"
        }
        var check = "http://\(settings.checkAddresses[0])/check"
        if case .unix(let path) = settings.checkAddresses[0] {
            check = "--unix-socket \(path) http://gatehouse/check"
        }
        let help = """

            Gatehouse is running, for development only.
              check endpoint  \(settings.checkAddresses.map(\.description).joined(separator: ", "))
              front door      \(frontDoorURL)   (register and sign in with a browser)
              admin endpoint  \(settings.adminAddress)   (/livez /readyz /metrics)
              data directory  \(data)

            Make a user, get a cookie, check it; paste these in another terminal:

              \(program) users add ada --test --data-dir \(quoted)
              COOKIE=$(\(program) sessions issue ada --data-dir \(quoted))
              curl -i -H "Cookie: \(settings.sessionCookieName)=$COOKIE" \(check)

            Ctrl-C stops the server.


            """
        FileHandle.standardOutput.write(Data(help.utf8))
    }
}

extension AuditEvent {
    fileprivate init(dataKeyAdded key: DataKey) {
        self.init(.keyAdded, by: .server, key: key.id, detail: "purpose=\(key.purpose.name)")
    }
}

/// The check listeners as a service: opens them, and drains them at the end.
final class CheckService: Service {
    /// How long connections in use may finish, in seconds.
    static let drainSeconds: Int64 = 5

    private let server: CheckServer
    private let addresses: [ListenAddress]
    private let lease: Lease

    init(server: CheckServer, addresses: [ListenAddress], lease: Lease) {
        self.server = server
        self.addresses = addresses
        self.lease = lease
    }

    func listen() async throws {
        for address in addresses {
            do { try await server.listen(on: address) } catch {
                throw Self.cannotListen(address, error)
            }
        }
    }

    static func cannotListen(_ address: ListenAddress, _ error: any Error) -> CommandFailure {
        .environment(
            "cannot listen on \(address): \(error)",
            hint: "is another server running there? --check and --admin name other addresses")
    }

    func run() async throws {
        try await gracefulShutdown()
        // The path is freed while it is still ours: once the listener is closed, a successor may
        // have its socket there.
        for case .unix(let path) in addresses { unsafe unlink(path) }
        // New connections are refused first; those that are open get their answers, which are true: the
        // store is followed until the end, and each says `connection: close`.
        lease.enter(.draining)
        await server.stopListening()
        await server.drain(seconds: Self.drainSeconds)
    }
}

/// Check endpoint and front door as one service, so that both stop taking connections at the same time:
/// one after the other, a client that dawdles at the front door would keep the check endpoint open.
struct Endpoints: Service {
    let check: CheckService
    let front: FrontServer?
    let lease: Lease

    func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await check.run() }
            if let front { group.addTask { try await front.run() } }
            try await group.waitForAll()
        }
        // Only now: sign-ins in flight still seal, and what is still open gets its answers.
        lease.enter(.stopping)
    }
}

/// What the admin endpoint tells.
struct ServerStatus: Sendable {
    let lease: Lease
    let node: Node
    let checks: CheckServer
    let hasher: PasswordHasher
    let meter: KeyMeter
    let gates: PeerGates

    func report() async -> AdminReport {
        let now = SystemClock.now()
        let keys = await node.loadedKeys
        var reasons: [String] = []
        if let reason = lease.unavailability(at: now) {
            reasons.append(reason.rawValue)
        } else if lease.isEnding {
            reasons.append(Unavailability.stopping.rawValue)
        }
        if !lease.maySeal { reasons.append(Unavailability.keyringUnusable.rawValue) }
        if !keys.contains(where: { $0.state == .active }) { reasons.append("no_active_key") }
        return AdminReport(unreadyReasons: reasons, metrics: await metrics(keys, at: now))
    }

    private func metrics(
        _ keys: [(id: KeyID, state: KeyState)], at now: Instant
    ) async -> [Metric] {
        let applied = await node.applied
        let revoked = await node.revocationCounts
        let states = KeyState.allCases.map { state in
            Metric.Sample(
                labels: [("state", state.name)], value: Double(keys.count { $0.state == state }))
        }
        return [
            verdicts, invalid, refusedRequests, connections, gates.metric,
            Metric(
                "gatehouse_check_connections_open", .gauge,
                "Open connections of the check endpoint.",
                [.init(value: count(.accepted) - count(.closed))]),
            Metric("gatehouse_keys", .gauge, "Token keys in the ring, by state.", states),
            Metric(
                "gatehouse_keyring_version", .gauge, "The version of the ring in use.",
                [.init(value: Double(applied.keyringVersion))]),
            Metric(
                "gatehouse_keyring_usable", .gauge,
                "Whether the newest ring that was seen is in use; if not, nothing is sealed.",
                [.init(value: lease.maySeal ? 1 : 0)]),
            Metric(
                "gatehouse_active_key_age_seconds", .gauge,
                "How long ago the key that seals tokens became active; none while there is none.",
                await node.keyAgeSeconds(at: now.boot).map { [.init(value: Double($0))] } ?? []),
            Metric(
                "gatehouse_feed_position", .gauge,
                "The revocation feed's position that is applied.",
                [.init(value: Double(applied.position))]),
            Metric(
                "gatehouse_revocations", .gauge, "Entries of the revocation index.",
                [
                    .init(labels: [("kind", "session")], value: Double(revoked.sessions)),
                    .init(labels: [("kind", "user")], value: Double(revoked.users)),
                ]),
            Metric(
                "gatehouse_refresh_age_seconds", .gauge,
                "How long ago the last complete refresh from the store started.",
                lease.ageSeconds(at: now.boot).map { [.init(value: $0)] } ?? []),
            Metric(
                "gatehouse_secret_memory_bytes", .gauge,
                "Memory for keys and passwords: locked, and what could not be.",
                [
                    .init(
                        labels: [("locked", "true")], value: Double(SecretMemory.usage.locked)),
                    .init(
                        labels: [("locked", "false")], value: Double(SecretMemory.usage.unlocked)),
                ]),
            Metric(
                "gatehouse_event_loops", .gauge, "Threads that answer checks.",
                [.init(value: Double(checks.loopCount))]),
        ] + hashing + (await meter.metrics)
    }

    private var hashing: [Metric] {
        let status = hasher.status
        func memory(_ kibibytes: Int) -> Double { Double(kibibytes) * 1024 }
        return [
            Metric(
                "gatehouse_password_hashes_total", .counter, "Passwords hashed or verified.",
                [.init(value: Double(status.done))]),
            Metric(
                "gatehouse_password_refused_total", .counter,
                "Passwords that were not hashed, by reason.",
                [
                    .init(labels: [("reason", "full")], value: Double(status.refusedFull)),
                    .init(labels: [("reason", "deadline")], value: Double(status.refusedLate)),
                    .init(labels: [("reason", "cancelled")], value: Double(status.cancelled)),
                ]),
            Metric(
                "gatehouse_password_queue", .gauge, "Sign-ins that wait for a hashing thread.",
                [.init(value: Double(status.queued))]),
            Metric(
                "gatehouse_password_threads", .gauge, "Hashing threads, by what they do.",
                [
                    .init(labels: [("state", "busy")], value: Double(status.running)),
                    .init(
                        labels: [("state", "free")], value: Double(hasher.workers - status.running)),
                ]),
            Metric(
                "gatehouse_password_memory_budget_bytes", .gauge,
                "What all password hashes together may take.",
                [.init(value: memory(status.budgetKiB))]),
            Metric(
                "gatehouse_password_memory_bytes", .gauge,
                "Memory of password hashes: in use, and kept for the next ones.",
                [
                    .init(labels: [("state", "used")], value: memory(status.lentKiB)),
                    .init(labels: [("state", "kept")], value: memory(status.keptKiB)),
                ]),
        ]
    }

    private func count(_ count: CheckCount) -> Double { Double(checks.count(count)) }

    private func samples(_ label: String, _ counts: [(String, CheckCount)]) -> [Metric.Sample] {
        counts.map { .init(labels: [(label, $0.0)], value: count($0.1)) }
    }

    private var verdicts: Metric {
        let invalid: [CheckCount] = [
            .ambiguous, .future, .length, .encoding, .version, .unknownKey, .authentication,
            .content,
        ]
        var all = samples(
            "verdict",
            [
                ("good", .good), ("absent", .absent), ("expired", .expired), ("stale", .stale),
                ("level", .level), ("unavailable", .unavailable),
            ])
        all.append(
            .init(labels: [("verdict", "revoked")], value: count(.revoked) + count(.revokedKey)))
        all.append(
            .init(labels: [("verdict", "invalid")], value: invalid.reduce(0) { $0 + count($1) }))
        return Metric(
            "gatehouse_check_verdicts_total", .counter, "Checks answered, by verdict.", all)
    }

    private var invalid: Metric {
        Metric(
            "gatehouse_check_invalid_total", .counter, "Tokens that were invalid, by reason.",
            samples(
                "reason",
                [
                    ("ambiguous", .ambiguous), ("issued_in_future", .future), ("length", .length),
                    ("encoding", .encoding), ("version", .version), ("unknown_key", .unknownKey),
                    ("revoked_key", .revokedKey), ("authentication", .authentication),
                    ("content", .content),
                ]))
    }

    private var refusedRequests: Metric {
        Metric(
            "gatehouse_check_refused_requests_total", .counter,
            "Requests that were not accepted, by reason.",
            samples(
                "reason",
                [
                    ("bad_request", .badRequest), ("body", .body), ("too_large", .tooLarge),
                    ("unknown_option", .unknownOption),
                ]))
    }

    private var connections: Metric {
        Metric(
            "gatehouse_check_connections_total", .counter,
            "Connections of the check endpoint, by what became of them.",
            samples(
                "event",
                [
                    ("accepted", .accepted), ("closed", .closed), ("over_limit", .overLimit),
                    ("head_timeout", .headTimeout), ("idle_timeout", .idleTimeout),
                    ("accept_paused", .acceptPaused),
                ]))
    }
}
