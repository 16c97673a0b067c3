// `gatehouse doctor`: a list of findings about configuration, files, keys, clock and store.

import ArgumentParser
import GatehouseCheck
import GatehouseCore
import GatehouseStore
import GatehouseSystem
import GatehouseWeb
import Glibc

/// One thing that was looked at.
struct Finding: Encodable, Equatable {
    enum Level: String, Encodable { case ok, warning, error }

    let check: String
    let level: Level
    let message: String
    var hint: String?
}

struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Look for what is wrong or soon will be; exits 1 if anything is.")

    @OptionGroup var options: CommonOptions
    @Flag(help: "Look at what is promised to people, and at nothing else; a warning is a breach.")
    var promises = false

    func run() async throws {
        let doctor = Doctor(options: options)
        let findings = await promises ? doctor.promises() : doctor.findings()
        if options.json {
            try Output.json(["findings": findings])
        } else {
            for finding in findings {
                print("\(finding.level.rawValue): \(finding.check): \(finding.message)")
                if let hint = finding.hint { print("  hint: \(hint)") }
            }
        }
        if findings.contains(where: { $0.level == .error }) {
            throw ExitCode(CommandFailure.Code.refused.rawValue)
        }
    }
}

/// Looks at one thing after the other; what can't be looked at because of an earlier error is left
/// out. Later features add their checks to `findings()`.
struct Doctor {
    let options: CommonOptions

    func findings() async -> [Finding] {
        let settings: Settings
        do { settings = try options.settings() } catch {
            return [failed("configuration", error)]
        }
        var findings = [configuration(settings), audience(settings)]
        do { try DataDirectory.check(settings.dataDirectory) } catch {
            return findings + [failed("data directory", error)]
        }
        findings += certificates(settings)
        findings += passwordFilter(settings)
        findings.append(pages(settings))
        findings.append(peopleSchema(settings))
        findings += contact(settings)
        findings.append(directoryMode(settings))
        findings += files(settings)
        let rootKey: RootKeyBox?
        do {
            let read = RootKeyBox(try settings.rootKeySource.read())
            rootKey = read
            findings.append(
                Finding(
                    check: "root key", level: .ok,
                    message: "\(read.key.id.text), \(settings.rootKeySource.name)"))
        } catch {
            rootKey = nil
            findings.append(failed("root key", error))
        }
        let store: SQLStore
        do { store = try settings.openStore() } catch {
            return findings + [failed("store", error)]
        }
        findings += await database(store, settings)
        findings.append(await integrity(store, settings))
        findings.append(await clock(store))
        findings += await usernames(store)
        if let rootKey {
            findings += await keys(store, rootKey: rootKey, settings)
            findings.append(await trail(store, rootKey: rootKey))
            if let wrapped = try? await store.keyring(),
                let ring = try? rootKey.key.unwrap(wrapped)
            {
                findings += await promised(store, ring, settings)
            }
        }
        findings.append(await nodes(store))
        findings += await departures(store, settings)
        return findings
    }

    func failed(_ check: String, _ error: any Error) -> Finding {
        let failure = CommandFailure(error)
        return Finding(check: check, level: .error, message: failure.message, hint: failure.hint)
    }

    private func configuration(_ settings: Settings) -> Finding {
        Finding(
            check: "configuration", level: settings.allowsPlaintextNetwork ? .warning : .ok,
            message: settings.allowsPlaintextNetwork
                ? "check and admin endpoint may listen without TLS where other machines reach them"
                : "every setting is valid",
            hint: settings.allowsPlaintextNetwork
                ? "unset check.allow_plaintext_network, and use loopback or a Unix socket" : nil)
    }

    private func audience(_ settings: Settings) -> Finding {
        let isDefault = settings.audience == Settings().audience
        return Finding(
            check: "audience", level: isDefault ? .warning : .ok,
            message: isDefault ? "it is the default" : "it is set",
            hint: isDefault
                ? "set audience to this deployment's name, so that a copy of the store elsewhere "
                    + "takes none of its cookies" : nil)
    }

    private func pages(_ settings: Settings) -> Finding {
        do throws(PageFaults) {
            try settings.pages.check()
            return Finding(
                check: "pages", level: .ok, message: "templates, texts and logo are good")
        } catch { return failed("pages", error) }
    }

    func peopleSchema(_ settings: Settings) -> Finding {
        do {
            _ = try settings.peopleSchema()
            return Finding(
                check: "people", level: .ok,
                message: settings.peopleSchemaFile.map { "\($0) is good" } ?? "nothing is asked")
        } catch { return failed("people", error) }
    }

    /// Of a site that people reach.
    func contact(_ settings: Settings) -> [Finding] {
        guard settings.publicOrigin != nil else { return [] }
        var missing: [String] = []
        if settings.pages.contact == nil { missing.append("contact.people") }
        if settings.security.contacts.isEmpty { missing.append("contact.security") }
        let isComplete = missing.isEmpty
        return [
            Finding(
                check: "contact", level: isComplete ? .ok : .warning,
                message: isComplete
                    ? "pages and security.txt say whom to ask"
                    : "\(missing.joined(separator: " and ")) is not set",
                hint: isComplete
                    ? nil
                    : "say whom people ask about their data (contact.people), and where to report "
                        + "what is wrong (contact.security, for /.well-known/security.txt)")
        ]
    }

    private func passwordFilter(_ settings: Settings) -> [Finding] {
        guard let path = settings.passwordFilter else { return [] }
        do throws(CommandFailure) {
            let entries = try PasswordRules(settings).filter?.entries ?? 0
            return [
                Finding(
                    check: "password filter", level: .ok, message: "\(path), \(entries) entries")
            ]
        } catch { return [failed("password filter", error)] }
    }

    /// Those that the configuration has the endpoints show.
    func certificates(_ settings: Settings) -> [Finding] {
        var inUse: [(name: String, files: ServerTLS.Files)] = []
        if let files = settings.checkTLSFiles { inUse.append(("check certificate", files)) }
        if settings.publicOrigin != nil, settings.publicTLS {
            inUse.append(
                (
                    "front door's certificate",
                    ServerTLS.Files(
                        certificate: settings.publicCertificatePath, key: settings.publicKeyPath)
                ))
        }
        return inUse.map { name, files in
            do {
                let ends = try ServerTLS.lastValidity(files, acceptsDevelopment: false)
                let days = (ends.seconds - SystemClock.now().wall.seconds) / 86_400
                let endsSoon = days < Self.minimumCertificateDays
                return Finding(
                    check: name, level: endsSoon ? .warning : .ok,
                    message: "\(files.certificate) is valid for \(days) more day(s)",
                    hint: endsSoon ? "renew it; the check endpoint takes it up by itself" : nil)
            } catch {
                return Finding(
                    check: name, level: .error,
                    message: "\(files.certificate) can't be used: \(error)",
                    hint: "the server does not start with it, or goes on with the one before")
            }
        }
    }

    /// A certificate that ends sooner ought to have been renewed: those of ACME are renewed a month
    /// before.
    static let minimumCertificateDays: Int64 = 14

    private func directoryMode(_ settings: Settings) -> Finding {
        var status = stat()
        let known = unsafe stat(settings.dataDirectory, &status) == 0
        let isPrivate = known && status.st_mode & 0o077 == 0
        return Finding(
            check: "data directory", level: isPrivate ? .ok : .warning,
            message: isPrivate
                ? settings.dataDirectory : "others can list \(settings.dataDirectory)",
            hint: isPrivate ? nil : "chmod 700 \(settings.dataDirectory)")
    }

    /// Of the data directory, and of SQLite's.
    private func files(_ settings: Settings) -> [Finding] {
        var paths = [settings.dataDirectory]
        var directories = paths
        var findings: [Finding] = []
        if case .sqlite(let directory) = settings.storeAddress {
            let database = directory + "/" + SQLStore.fileName
            findings.append(databaseMode(database))
            paths.append(database)
            if directory != settings.dataDirectory { directories.append(directory) }
        }
        return findings + paths.compactMap(Self.unwritable) + directories.map { Self.space($0) }
    }

    private func databaseMode(_ path: String) -> Finding {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else {
            return Finding(
                check: "database file", level: .error, message: "there is none at \(path)",
                hint: "start the server once")
        }
        let isPrivate = status.st_mode & 0o077 == 0 && status.st_uid == geteuid()
        return Finding(
            check: "database file", level: isPrivate ? .ok : .error,
            message: isPrivate ? path : "others have access to \(path)",
            hint: isPrivate ? nil : "chmod 600 it, and chown it to the user of the server")
    }

    /// Nil for a path that this user can write to, or that is not there, which others tell.
    static func unwritable(_ path: String) -> Finding? {
        guard unsafe access(path, W_OK) != 0, errno != ENOENT else { return nil }
        return Finding(
            check: "disk", level: .error,
            message: errno == EROFS
                ? "\(path) is on a file system that is mounted read-only"
                : "this user can't write to \(path)",
            hint: "nobody can sign in, and nothing can be revoked, until it can be written to")
    }

    /// Days of sign-ins, and time to act; a full disk stops every write.
    static let minimumFreeBytes: UInt64 = 64 << 20

    static func space(_ directory: String, minimum: UInt64 = minimumFreeBytes) -> Finding {
        var status = statvfs()
        let isKnown = unsafe statvfs(directory, &status) == 0
        let (free, isVast) = UInt64(status.f_bavail).multipliedReportingOverflow(
            by: UInt64(status.f_frsize))
        let isEnough = isKnown && (isVast || free >= minimum)
        return Finding(
            check: "disk", level: isEnough ? .ok : .warning,
            message: isKnown
                ? "\(free >> 20) MiB are free for \(directory)"
                : "how much is free for \(directory) can't be told: errno \(errno)",
            hint: isEnough ? nil : "a full disk stops sign-ins and revocations: make room")
    }

    /// A ring with this many keys is told of, long before it takes no more.
    static let manyKeys = Keyring.maximumKeys * 3 / 4

    /// - Parameter next: when there is room again, as ``KeyLife`` says.
    static func room(keys: Int, next: String) -> Finding? {
        guard keys >= manyKeys else { return nil }
        return Finding(
            check: "keyring", level: .warning,
            message: "it holds \(keys) keys, and takes no new one from \(Keyring.maximumKeys) on; "
                + next,
            hint: "rotate less often (keys.rotate_every), or `gatehouse keys prune` now")
    }

    private func integrity(_ store: SQLStore, _ settings: Settings) async -> Finding {
        var sound = "the whole database was read, and is sound"
        if case .postgresql = settings.storeAddress {
            sound = "PostgreSQL knows of nothing that is damaged"
        }
        do {
            let faults = try await store.integrityFindings()
            return Finding(
                check: "store", level: faults.isEmpty ? .ok : .error,
                message: faults.isEmpty
                    ? sound
                    : faults.joined(separator: "; "),
                hint: faults.isEmpty ? nil : "stop the server and restore the last good backup")
        } catch { return failed("store", error) }
    }

    private func clock(_ store: SQLStore) async -> Finding {
        do {
            let latest = try await store.head().latestTime
            let now = SystemClock.now().wall
            let behind = latest.seconds - now.seconds
            let isBehind = behind > clockSkewSeconds
            return Finding(
                check: "clock", level: isBehind ? .error : .ok,
                message: isBehind
                    ? "this machine's clock is \(behind) s behind the store's latest time"
                    : "not behind the store's latest time",
                hint: isBehind
                    ? "servers answer 503; set the clock right, or if a wrong clock wrote to the "
                        + "store, `gatehouse keys revoke --all --accept-clock`" : nil)
        } catch { return failed("clock", error) }
    }

    /// Names that were given before their likeness was looked at, or that look alike only to this
    /// version of ICU.
    private func usernames(_ store: SQLStore) async -> [Finding] {
        do {
            let report = try await store.skeletonReport()
            let version =
                report.isOutdated
                ? Finding(
                    check: "usernames", level: .error,
                    message: "nobody can register: their skeletons are of "
                        + "“\(report.storedVersion)”, and this program's are of "
                        + "“\(Username.skeletonVersion)”",
                    hint:
                        "`gatehouse users reindex` rewrites \(report.changed) of them; every name "
                        + "stays")
                : Finding(
                    check: "usernames", level: .ok,
                    message: "skeletons are of \(Username.skeletonVersion)")
            return [version]
                + report.collisions.map { collision in
                    Finding(
                        check: "usernames", level: .warning, message: collision.message,
                        hint: "both work; `gatehouse users rename` gives one of them another name")
                }
        } catch { return [failed("usernames", error)] }
    }

    func keys(
        _ store: SQLStore, rootKey: RootKeyBox, _ settings: Settings
    ) async -> [Finding] {
        do {
            guard let wrapped = try await store.keyring() else {
                return [
                    Finding(
                        check: "keyring", level: .error, message: "there is none",
                        hint: "start the server once")
                ]
            }
            let ring = try rootKey.key.unwrap(wrapped)
            let isRewrapping = wrapped.wraps.count > 1
            let wraps = Finding(
                check: "keyring", level: isRewrapping ? .warning : .ok,
                message: "it opens under "
                    + KeysCommand.Rewrap.list(wrapped.rootKeys, configured: rootKey.key.id),
                hint: isRewrapping
                    ? "`gatehouse keys rewrap --finish` once every server runs with the new one"
                    : nil)
            let next = KeyLife.next(in: ring, try await store.keyUsage(), settings)
            let room = Self.room(keys: ring.keys.count, next: next)
            let ringFindings = [wraps] + [room].compactMap { $0 }
            guard let active = ring.active, let activated = active.activated else {
                return ringFindings + [
                    Finding(
                        check: "keyring", level: .error, message: "no key is active",
                        hint: "`gatehouse keys rotate --wait` brings one")
                ]
            }
            let age = max(0, SystemClock.now().wall.seconds - activated.seconds)
            let days = age / 86_400
            // A server may be stopped when it is time; longer than that, none rotates.
            let isOld = age > 2 * (settings.rotateEverySeconds ?? RotationRule.defaultSeconds)
            let rotation =
                settings.rotateEverySeconds == nil
                ? [
                    Finding(
                        check: "rotation", level: .warning, message: "the servers rotate no keys",
                        hint: "set keys.rotate_every, or run `gatehouse keys rotate` in time")
                ] : []
            return rotation + ringFindings + [
                Finding(
                    check: "keyring", level: isOld ? .warning : .ok,
                    message:
                        "version \(ring.version), key \(active.id.text) active for \(days) day(s)",
                    hint: isOld ? "`gatehouse keys rotate`" : nil)
            ]
        } catch { return [failed("keyring", error)] }
    }

    func trail(_ store: SQLStore, rootKey: RootKeyBox) async -> Finding {
        let check = "audit trail"
        do {
            guard let wrapped = try await store.keyring() else {
                return Finding(check: check, level: .error, message: "there is no keyring")
            }
            let (verifier, _) = try await AuditCommand.verify(
                store, ring: try rootKey.key.unwrap(wrapped))
            let isWhole = verifier.faultCount == 0
            return Finding(
                check: check, level: isWhole ? .ok : .error,
                message: isWhole
                    ? "whole, \(verifier.entries) entries"
                    : "it was altered: \(verifier.faultCount) fault(s)",
                hint: isWhole ? nil : "`gatehouse audit verify` names the places")
        } catch { return failed(check, error) }
    }

    private func nodes(_ store: SQLStore) async -> Finding {
        do {
            let now = SystemClock.now().wall
            let nodes = try await store.liveNodes(at: now)
            let silent = nodes.compactMap { node in
                node.silence(at: now).map { "server \(node.id.text) \($0)" }
            }
            return Finding(
                check: "servers", level: silent.isEmpty ? .ok : .warning,
                message: (["\(nodes.count) running"] + silent).joined(separator: "; "),
                hint: silent.isEmpty
                    ? nil : "is it paused? until it is given up, rotations and --wait wait for it")
        } catch { return failed("servers", error) }
    }
}
