// The configuration: every setting, its default, its meaning, and how its text is read.

import Foundation
import GatehouseCheck
import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseSystem
import GatehouseWeb
import Glibc
import Logging

/// All settings, valid and of their own types.
struct Settings: Sendable {
    var dataDirectory = "/var/lib/gatehouse"
    var audience = Settings.audience("gatehouse")
    /// Nil for SQLite in the data directory.
    var storeElsewhere: StoreAddress?
    var storePasswordFile: String?
    var storeConnections = PostgreSQLAddress.serverConnections
    var storeConnectSeconds: Int64 = 5
    var storeStatementSeconds: Int64 = 5
    var storePrepares = true
    var rootKeyFile: String?
    var rootKeyCredential: String?
    var rootKeyCommand: [String] = []
    var checkAddresses = [ListenAddress.tcp(host: "127.0.0.1", port: 8444)]
    var checkSocketMode: UInt16 = 0o660
    var checkEventLoops = 0
    var checkDriver = CheckDriverKind.automatic
    var checkLimits = CheckLimits()
    var checkTLS = false
    var checkCertificate: String?
    var checkKey: String?
    var checkClientAuthority: String?
    var checkTrustedProxies: [String] = []
    /// Empty for everybody, as are the other two.
    var checkAllowed: [AddressRange] = []
    var allowsPlaintextNetwork = false
    var adminAddress = ListenAddress.tcp(host: "127.0.0.1", port: 8445)
    var adminAllowed: [AddressRange] = []
    var cookieDomain: String?
    var publicAddress = ListenAddress.tcp(host: "127.0.0.1", port: 8443)
    var publicOrigin: Origin?
    var publicBasePath = "/"
    var publicTLS = true
    var publicCertificate: String?
    var publicKey: String?
    var trustedProxies: [String] = []
    var publicAllowed: [AddressRange] = []
    var addressFailures = 60
    var returnOrigins: [Origin] = []
    var pages = PageSettings()
    var security = SecurityContact()
    var registration = Registration.open
    /// What is asked of people, and for what; nil when nothing is.
    var peopleSchemaFile: String?
    var noticeBusinessDays = NoticePeriod.defaultBusinessDays
    /// On which nobody works; in the order in which they are written.
    var holidays: [CalendarDay] = []
    var departure = DepartureRules()
    var usernames = UsernamePolicy()
    /// Beside ``UsernamePolicy/reservedNames``.
    var moreReservedNames: [Username] = []
    var passwordThreads = 0
    var passwordMemoryKiB = 512 * 1024
    var passwordQueue = 64
    var passwordDeadlineSeconds: Int64 = 5
    var argon2MemoryKiB = Argon2Parameters.standard.memoryKiB
    var argon2Iterations = Argon2Parameters.standard.iterations
    var passwordContextWords: [String] = []
    var passwordFilter: String?
    var sessionIdleSeconds: Int64 = 3600
    var sessionAbsoluteSeconds: Int64 = 24 * 3600
    var sessionResealSeconds: Int64 = 300
    var sessionsPerUser = 20
    var sessionsAtLimit = SessionLimit.AtLimit.endOldest
    var rememberEnabled = true
    var rememberAbsoluteSeconds = RememberLimits.defaultAbsoluteSeconds
    var rememberGraceSeconds = RememberLimits.defaultGraceSeconds
    var maximumStalenessSeconds: Int64 = 120
    /// Nil when keys are rotated by command only.
    var rotateEverySeconds: Int64? = RotationRule.defaultSeconds
    var auditKeepSeconds: Int64 = 400 * 86_400
    var longestGrantSeconds = PermissionRule().longestSeconds
    var auditAddresses = AuditAddresses.network
    /// How long the audit trail has whole addresses, if it has any.
    var addressKeepSeconds: Int64 = 14 * 86_400
    var logLevel = Logger.Level.info

    var storeAddress: StoreAddress {
        storeElsewhere.map(configured) ?? .sqlite(directory: dataDirectory)
    }

    /// `address` with what the configuration says of connections to PostgreSQL.
    func configured(_ address: StoreAddress) -> StoreAddress {
        guard case .postgresql(var database) = address else { return address }
        database.passwordFile = storePasswordFile
        database.connections = storeConnections
        database.connectTimeout = .seconds(storeConnectSeconds)
        database.statementTimeout = .seconds(storeStatementSeconds)
        database.preparesStatements = storePrepares
        return .postgresql(database)
    }

    /// Where the root key comes from.
    var rootKeySource: RootKeySource {
        if let rootKeyCredential { return .credential(rootKeyCredential) }
        return rootKeyCommand.isEmpty
            ? .file(rootKeyFile ?? dataDirectory + "/root.key") : .command(rootKeyCommand)
    }

    /// How many are set, of which one may be.
    var rootKeySources: Int {
        [rootKeyFile != nil, rootKeyCredential != nil, !rootKeyCommand.isEmpty].count { $0 }
    }

    func peopleSchema() throws -> PeopleSchema {
        guard let path = peopleSchemaFile else { return PeopleSchema() }
        guard let data = FileManager.default.contents(atPath: path),
            data.count <= PeopleSchema.maximumBytes,
            let text = String(validating: data, as: UTF8.self)
        else {
            throw PeopleSchemaFaults(findings: [
                "cannot read \(path): it must be UTF-8 text of at most "
                    + "\(PeopleSchema.maximumBytes) bytes"
            ])
        }
        return try PeopleSchema(yaml: text, name: path)
    }

    var noticePeriod: NoticePeriod {
        NoticePeriod(businessDays: noticeBusinessDays, holidays: Set(holidays))
    }

    /// Where people find the pages: the configured place, or this machine during development.
    var publicURL: String {
        var origin = publicOrigin?.text ?? "https://localhost:8443"
        // Plain HTTP is for a proxy, which has TLS.
        if publicOrigin == nil, case .tcp(_, let port) = publicAddress {
            origin = "https://localhost:\(port)"
        }
        return origin + (publicBasePath == "/" ? "" : publicBasePath)
    }

    /// The session cookie's name: with a shared domain a browser takes no `__Host-` cookie.
    var sessionCookieName: String {
        cookieDomain == nil ? "__Host-gatehouse" : "__Secure-gatehouse"
    }

    /// The cost of new password hashes; nil when memory and iterations are together too weak.
    var argon2Parameters: Argon2Parameters? {
        try? Argon2Parameters(
            memoryKiB: argon2MemoryKiB, iterations: argon2Iterations, lanes: 1)
    }

    var sessionLimits: SessionLimits? {
        SessionLimits(idleSeconds: sessionIdleSeconds, absoluteSeconds: sessionAbsoluteSeconds)
    }

    /// Nil when a grace is longer than the series that it belongs to.
    var rememberLimits: RememberLimits? {
        RememberLimits(
            absoluteSeconds: rememberAbsoluteSeconds, graceSeconds: rememberGraceSeconds)
    }

    var publicCertificatePath: String {
        publicCertificate ?? dataDirectory + "/tls/server.pem"
    }
    var publicKeyPath: String { publicKey ?? dataDirectory + "/tls/server.key" }

    /// What the check endpoint shows and asks for; nil where it is plain.
    var checkTLSFiles: ServerTLS.Files? {
        guard checkTLS else { return nil }
        return ServerTLS.Files(
            certificate: checkCertificate ?? dataDirectory + "/tls/server.pem",
            key: checkKey ?? dataDirectory + "/tls/server.key",
            clientAuthority: checkClientAuthority)
    }

    private static func audience(_ text: StaticString) -> Audience {
        guard let audience = Audience("\(text)") else { preconditionFailure("a valid audience") }
        return audience
    }
}

/// One setting. The README's table is tested against ``Setting/all``.
struct Setting: Sendable {
    /// In the file; dots separate levels. The environment variable is derived from it.
    let name: String
    /// As it would be written.
    let defaultText: String
    let meaning: String
    /// Takes up the value, or says what is wrong with it. A list's elements are given one by one
    /// only where `isList`.
    let isList: Bool
    let read: @Sendable (_ values: [String], _ settings: inout Settings) -> String?

    var environmentName: String {
        "GATEHOUSE_"
            + name.map { $0 == "." ? "_" : String($0).uppercased() }.joined()
    }

    private init(
        _ name: String, default defaultText: String, _ meaning: String,
        read: @escaping @Sendable (String, inout Settings) -> String?
    ) {
        self.name = name
        self.defaultText = defaultText
        self.meaning = meaning
        isList = false
        self.read = { values, settings in
            guard values.count == 1, let value = values.first else { return "takes one value" }
            return read(value, &settings)
        }
    }

    private init(
        list name: String, default defaultText: String, _ meaning: String,
        read: @escaping @Sendable ([String], inout Settings) -> String?
    ) {
        self.name = name
        self.defaultText = defaultText
        self.meaning = meaning
        isList = true
        self.read = read
    }

    static let all: [Setting] = [
        Setting(
            "data_dir", default: "/var/lib/gatehouse",
            "The directory of what a machine keeps for itself: SQLite's database, the deletion ledger and, by default, the root key. Absolute."
        ) { text, settings in
            guard text.hasPrefix("/") else { return "must be an absolute path" }
            settings.dataDirectory = text
            return nil
        },
        Setting(
            "audience", default: "gatehouse",
            "This deployment's name, sealed into every token: a copy with the same keys and another name takes none of them."
        ) { text, settings in
            guard let audience = Audience(text) else {
                return "must be 1 to \(Audience.maximumBytes) visible ASCII characters"
            }
            settings.audience = audience
            return nil
        },
        Setting(
            "store.url", default: StoreAddress.inDataDirectory,
            "Where the store is: `sqlite:` for the data directory, `sqlite:/DIR` for another, or a PostgreSQL URI such as `postgresql://gatehouse@db.example.org/gatehouse`, without a password."
        ) { text, settings in
            guard text != StoreAddress.inDataDirectory else {
                settings.storeElsewhere = nil
                return nil
            }
            do throws(StoreAddressRefusal) {
                settings.storeElsewhere = try StoreAddress(text)
                return nil
            } catch { return error.message }
        },
        Setting(
            "store.password_file", default: "",
            "A file with PostgreSQL's password on one line, readable for this user only. Read for every new connection. Empty: libpq's own ways, such as `~/.pgpass`."
        ) { text, settings in
            path(text) { settings.storePasswordFile = $0 }
        },
        Setting(
            "store.connections", default: "8",
            "Connections to PostgreSQL for a server's work, 1 to 100; two more follow what other servers do. A command has at most 2."
        ) { text, settings in
            read(text, 1...100) { settings.storeConnections = $0 }
        },
        Setting(
            "store.connect_timeout", default: "5s",
            "How long connecting to PostgreSQL may take, 1s to 60s."
        ) { text, settings in
            read(text, seconds: 1...60) { settings.storeConnectSeconds = $0 }
        },
        Setting(
            "store.statement_timeout", default: "5s",
            "How long PostgreSQL may take for a statement, 1s to 10m; in a command at least 30s. With `store.connect_timeout` and 2 s it must be shorter than `revocation.max_staleness`."
        ) { text, settings in
            read(text, seconds: 1...600) { settings.storeStatementSeconds = $0 }
        },
        Setting(
            "store.prepare", default: "true",
            "Whether PostgreSQL keeps prepared statements; `false` behind a pooler that gives each transaction another connection."
        ) { text, settings in
            guard let value = flag(text) else { return "must be true or false" }
            settings.storePrepares = value
            return nil
        },
        Setting(
            "root_key.file", default: "<data_dir>/root.key",
            "The file with the key that wraps the keyring; mode 0600, in a directory that nobody "
                + "else may write to."
        ) { text, settings in
            guard text.hasPrefix("/") else { return "must be an absolute path" }
            settings.rootKeyFile = text
            return nil
        },
        Setting(
            "root_key.credential", default: "",
            "The systemd credential with that key, in the place of a file of ours: its name in `LoadCredential=` or `LoadCredentialEncrypted=`."
        ) { text, settings in
            guard text.isEmpty || RootKeySource.isCredentialName(text) else {
                return
                    "must be a credential's name: up to 255 visible ASCII characters without / and :"
            }
            settings.rootKeyCredential = text.isEmpty ? nil : text
            return nil
        },
        Setting(
            list: "root_key.command", default: "",
            "A program that prints that key, by its absolute path, and its arguments: a list, or a line that is split at spaces. Run without a shell, within \(RootKeyCommand.maximumSeconds) s."
        ) { texts, settings in
            guard let words = RootKeySource.words(texts) else {
                return
                    "must be the absolute path of a program and at most \(RootKeySource.maximumWords - 1) arguments"
            }
            settings.rootKeyCommand = words
            return nil
        },
        Setting(
            list: "check.listen", default: "127.0.0.1:8444",
            "Where the check endpoint listens: a list of `ADDRESS:PORT` and `unix:/PATH`."
        ) { texts, settings in
            guard !texts.isEmpty else { return "must name at least one address" }
            guard texts.count <= 16 else { return "takes at most 16 addresses" }
            var addresses: [ListenAddress] = []
            for text in texts {
                guard let address = ListenAddress(text) else { return badAddress(text) }
                addresses.append(address)
            }
            guard Set(addresses).count == addresses.count else { return "names an address twice" }
            settings.checkAddresses = addresses
            return nil
        },
        Setting(
            "check.socket_mode", default: "0660",
            "The mode of the check endpoint's Unix sockets, in octal."
        ) { text, settings in
            guard text.hasPrefix("0"), (3...4).contains(text.utf8.count),
                let mode = UInt16(text, radix: 8), mode & 0o600 == 0o600, mode <= 0o777
            else { return "must be octal from 0600 to 0777, such as 0660" }
            settings.checkSocketMode = mode
            return nil
        },
        Setting(
            "check.event_loops", default: "0",
            "Threads that answer checks, 1 to 64; 0 takes one for each core."
        ) { text, settings in
            read(text, 0...64) { settings.checkEventLoops = $0 }
        },
        Setting(
            "check.driver", default: "auto",
            "What carries plain connections: `auto` takes epoll on Linux, `nio` SwiftNIO, which TLS always has."
        ) { text, settings in
            guard let driver = CheckDriverKind(rawValue: text) else { return "must be auto or nio" }
            settings.checkDriver = driver
            return nil
        },
        Setting(
            "check.max_connections", default: "4096",
            "Connections of the check endpoint at one time; further ones are closed at once."
        ) { text, settings in
            read(text, 1...1_000_000) { settings.checkLimits.maximumConnections = $0 }
        },
        Setting(
            "check.max_head", default: "16KiB",
            "The largest request head, 1KiB to 64KiB; a larger one is answered 431."
        ) { text, settings in
            guard let bytes = bytes(text), (1024...65_536).contains(bytes) else {
                return "must be a size from 1KiB to 64KiB"
            }
            settings.checkLimits.head.maximumBytes = bytes
            return nil
        },
        Setting(
            "check.max_headers", default: "64",
            "The most header fields of a request, 8 to 256; more are answered 431."
        ) { text, settings in
            read(text, 8...256) { settings.checkLimits.head.maximumFields = $0 }
        },
        Setting(
            "check.head_timeout", default: "5s",
            "How long a request head may take from its first byte to its last, 1s to 60s."
        ) { text, settings in
            read(text, seconds: 1...60) { settings.checkLimits.headSeconds = $0 }
        },
        Setting(
            "check.idle_timeout", default: "60s",
            "How long a connection may be idle, 1s to 1h; longer than the proxy keeps its own."
        ) { text, settings in
            read(text, seconds: 1...3600) { settings.checkLimits.idleSeconds = $0 }
        },
        Setting(
            "check.tls", default: "false",
            "Whether the check endpoint's TCP addresses speak TLS; its Unix sockets never do."
        ) { text, settings in
            guard let value = flag(text) else { return "must be true or false" }
            settings.checkTLS = value
            return nil
        },
        Setting(
            "check.certificate", default: "<data_dir>/tls/server.pem",
            "The check endpoint's certificate chain, PEM. Taken up without a restart when it changes, as are key and `check.client_ca`."
        ) { text, settings in
            guard text.hasPrefix("/") else { return "must be an absolute path" }
            settings.checkCertificate = text
            return nil
        },
        Setting(
            "check.key", default: "<data_dir>/tls/server.key",
            "The key of the check endpoint's certificate, PEM."
        ) { text, settings in
            guard text.hasPrefix("/") else { return "must be an absolute path" }
            settings.checkKey = text
            return nil
        },
        Setting(
            "check.client_ca", default: "",
            "Certificates, PEM, of those who sign the certificates that callers of the check endpoint must show over TLS. Empty: callers need none."
        ) { text, settings in
            guard text.isEmpty || text.hasPrefix("/") else { return "must be an absolute path" }
            settings.checkClientAuthority = text.isEmpty ? nil : text
            return nil
        },
        Setting(
            list: "check.trusted_proxies", default: "",
            "Addresses of the proxies whose `X-Forwarded-*` tell the option `forward` the way back; those at a Unix socket are trusted."
        ) { texts, settings in
            addresses(texts) { settings.checkTrustedProxies = $0 }
        },
        Setting(
            list: "check.allow", default: "",
            "Addresses and prefixes, such as `10.0.0.0/8` and `2001:db8::/32`, that may connect to the check endpoint over TCP; others are closed without an answer. Empty: all."
        ) { texts, settings in
            ranges(texts) { settings.checkAllowed = $0 }
        },
        Setting(
            "check.allow_plaintext_network", default: "false",
            "Whether check and admin endpoint may listen without TLS on an address that other machines reach."
        ) { text, settings in
            guard let value = flag(text) else { return "must be true or false" }
            settings.allowsPlaintextNetwork = value
            return nil
        },
        Setting(
            "admin.listen", default: "127.0.0.1:8445",
            "Where the admin endpoint listens: one `ADDRESS:PORT` or `unix:/PATH`."
        ) { text, settings in
            guard let address = ListenAddress(text) else { return badAddress(text) }
            settings.adminAddress = address
            return nil
        },
        Setting(
            list: "admin.allow", default: "",
            "The same for the admin endpoint."
        ) { texts, settings in
            ranges(texts) { settings.adminAllowed = $0 }
        },
        Setting(
            "public.listen", default: "127.0.0.1:8443",
            "Where the front door listens: one `ADDRESS:PORT` or `unix:/PATH`."
        ) { text, settings in
            guard let address = ListenAddress(text) else { return badAddress(text) }
            settings.publicAddress = address
            return nil
        },
        Setting(
            "public.origin", default: "",
            "The site's own origin, such as `https://www.example.org`; required as soon as any other `public.` setting is given, but for `--dev`; without it there is no front door. Links, redirects and cross-site rules come from it, never from a request."
        ) { text, settings in
            guard !text.isEmpty else {
                settings.publicOrigin = nil
                return nil
            }
            guard let origin = Origin(text), origin.scheme == .https || origin.isLoopback else {
                return "must be an https origin, such as https://www.example.org"
            }
            settings.publicOrigin = origin
            return nil
        },
        Setting(
            "public.base_path", default: "/",
            "The path under which the proxy mounts the front door, such as `/auth`."
        ) { text, settings in
            guard isBasePath(text) else {
                return "must be / or a path of letters, digits, - and _, such as /auth"
            }
            settings.publicBasePath = text
            return nil
        },
        Setting(
            "public.tls", default: "true",
            "Whether the front door speaks TLS; `false` takes `public.trusted_proxies` or a Unix socket."
        ) { text, settings in
            guard let value = flag(text) else { return "must be true or false" }
            settings.publicTLS = value
            return nil
        },
        Setting(
            "public.certificate", default: "<data_dir>/tls/server.pem",
            "The front door's certificate chain, PEM."
        ) { text, settings in
            guard text.hasPrefix("/") else { return "must be an absolute path" }
            settings.publicCertificate = text
            return nil
        },
        Setting(
            "public.key", default: "<data_dir>/tls/server.key",
            "The key of the front door's certificate, PEM."
        ) { text, settings in
            guard text.hasPrefix("/") else { return "must be an absolute path" }
            settings.publicKey = text
            return nil
        },
        Setting(
            list: "public.trusted_proxies", default: "",
            "Addresses of the proxies that may reach a front door without TLS, and whose `X-Forwarded-For` is taken; a Unix socket's peers count as listed."
        ) { texts, settings in
            addresses(texts) { settings.trustedProxies = $0 }
        },
        Setting(
            list: "public.allow", default: "",
            "The same for the front door. Behind a proxy it is the proxy that connects."
        ) { texts, settings in
            ranges(texts) { settings.publicAllowed = $0 }
        },
        Setting(
            list: "public.return_origins", default: "",
            "Other origins that people may be sent back to after signing in."
        ) { texts, settings in
            var origins: [Origin] = []
            for text in texts where !text.isEmpty {
                guard let origin = Origin(text) else { return "“\(text)” is no origin" }
                origins.append(origin)
            }
            guard origins.count <= 64 else { return "takes at most 64 origins" }
            settings.returnOrigins = origins
            return nil
        },
        Setting(
            "pages.name", default: "",
            "The name that the pages show, at most 64 characters. Empty: the host of `public.origin`."
        ) { text, settings in
            guard text.count <= 64, !text.unicodeScalars.contains(where: { $0.value < 0x20 }) else {
                return "must be at most 64 characters on one line"
            }
            settings.pages.name = text.isEmpty ? nil : text
            return nil
        },
        Setting(
            "pages.colour", default: PageColour.standard.text,
            "The colour of buttons and links, `#rrggbb`, in quotes where the file has it. Text on it, and it as text, are made readable in light and dark."
        ) { text, settings in
            guard let colour = PageColour(text) else {
                return "must be #rrggbb, such as \"#1f5fae\" (with the quotes)"
            }
            settings.pages.colour = colour
            return nil
        },
        Setting(
            "pages.logo", default: "",
            "A picture that the pages show beside the name: PNG, JPEG, WebP or SVG, at most 64 KiB."
        ) { text, settings in
            path(text) { settings.pages.logo = $0 }
        },
        Setting(
            "pages.texts", default: "",
            "A file of the pages' texts in another language, with the keys of `english.json`."
        ) { text, settings in
            path(text) { settings.pages.texts = $0 }
        },
        Setting(
            "pages.templates", default: "",
            "A directory of files that take the place of the pages' own: `login.mustache`, `style.css` and so on."
        ) { text, settings in
            path(text) { settings.pages.templates = $0 }
        },
        Setting(
            "contact.people", default: "",
            "Whom people ask about their data, at the foot of every page: a `mailto:`, `tel:` or `https:` URI, or words, at most 200 bytes."
        ) { text, settings in
            guard !text.isEmpty else {
                settings.pages.contact = nil
                return nil
            }
            guard let contact = PeopleContact(text) else {
                return
                    "must be a mailto:, tel: or https: URI, or words of at most \(PeopleContact.maximumTextBytes) bytes on one line"
            }
            settings.pages.contact = contact
            return nil
        },
        Setting(
            list: "contact.security", default: "",
            "Where to report what is wrong with security, the preferred way first: `mailto:`, `tel:` or `https:` URIs, at most 16. They are in `/.well-known/security.txt`, which there is not without any."
        ) { texts, settings in
            var contacts: [ContactURI] = []
            for text in texts where !text.isEmpty {
                guard let contact = ContactURI(text) else {
                    return "“\(text)” is no mailto:, tel: or https: URI"
                }
                contacts.append(contact)
            }
            guard contacts.count <= 16 else { return "takes at most 16 URIs" }
            settings.security.contacts = contacts
            return nil
        },
        Setting(
            "contact.policy", default: "",
            "The page that says how reports are handled, an `https:` URI; it is in `security.txt`."
        ) { text, settings in
            let policy = ContactURI(text)
            guard text.isEmpty || policy != nil && text.hasPrefix("https://") else {
                return "must be an https: URI"
            }
            settings.security.policy = policy
            return nil
        },
        Setting(
            list: "contact.languages", default: "",
            "Languages that reports are read in, such as `en` and `pt-BR`, at most 16; they are in `security.txt`."
        ) { texts, settings in
            let languages = texts.filter { !$0.isEmpty }
            for text in languages where !SecurityContact.isLanguage(text) {
                return "“\(text)” is no language, such as en or pt-BR"
            }
            guard languages.count <= 16 else { return "takes at most 16 languages" }
            settings.security.languages = languages
            return nil
        },
        Setting(
            "registration", default: "open",
            "Who may make an account: `open`, `invite` (with a link of `gatehouse users invite`) or `closed`."
        ) { text, settings in
            guard let registration = Registration(rawValue: text) else {
                return "must be open, invite or closed"
            }
            settings.registration = registration
            return nil
        },
        Setting(
            "throttle.address_failures", default: "60",
            "Failed sign-ins a minute that are allowed for each IPv4 address or IPv6 /64; `0` for no limit."
        ) { text, settings in
            read(text, 0...100_000) { settings.addressFailures = $0 }
        },
        Setting(
            "username.unicode", default: "false",
            "Whether new usernames may contain letters outside ASCII, of one script or of those that are written together; otherwise `a` to `z`, digits, `.`, `_` and `-`."
        ) { text, settings in
            guard let value = flag(text) else { return "must be true or false" }
            settings.usernames.allowsUnicode = value
            return nil
        },
        Setting(
            list: "username.reserved", default: "",
            "Usernames that nobody gets by registering, at most 1000, beside those that always are; nor what looks like them. Taken up when a server starts."
        ) { texts, settings in
            var names: [Username] = []
            for text in texts where !text.isEmpty {
                do throws(UsernameRefusal) { names.append(try Username(text)) } catch {
                    return "“\(text)”: \(error.message)"
                }
            }
            guard names.count <= 1000 else { return "takes at most 1000 names" }
            settings.moreReservedNames = names
            return nil
        },
        Setting(
            "people.schema", default: "",
            "A YAML file that says what is asked of people, and for what: purposes and profile fields. Taken up when a server starts."
        ) { text, settings in
            guard text.isEmpty || text.hasPrefix("/") else { return "must be an absolute path" }
            settings.peopleSchemaFile = text.isEmpty ? nil : text
            return nil
        },
        Setting(
            "notices.wait", default: "30",
            "Business days (Monday to Friday, UTC, less `notices.holidays`) that lie between the day on which a change of a notice is published and the one on which it takes effect, 1 to 250."
        ) { text, settings in
            read(text, NoticePeriod.businessDayRange) { settings.noticeBusinessDays = $0 }
        },
        Setting(
            list: "notices.holidays", default: "",
            "Days on which nobody works, such as `2026-12-25`, at most 1000; they don't count as business days."
        ) { texts, settings in
            var days: [CalendarDay] = []
            for text in texts where !text.isEmpty {
                guard let day = CalendarDay(text: text) else {
                    return "“\(text)” is no day: write 2026-12-25"
                }
                days.append(day)
            }
            guard days.count <= NoticePeriod.maximumHolidays else {
                return "takes at most \(NoticePeriod.maximumHolidays) days"
            }
            settings.holidays = days
            return nil
        },
        Setting(
            "people.deletion_wait", default: "14d",
            "How long somebody who asks to be deleted can change their mind, 0s to 90d; then a server removes everything about them within minutes."
        ) { text, settings in
            read(text, seconds: 0...DepartureRules.maximumWaitSeconds) {
                settings.departure.waitSeconds = $0
            }
        },
        Setting(
            "people.backups_kept", default: "35d",
            "How long you keep copies of the database, 1d to 400d: people are told when the last one that has them is gone, and that long the deletion ledger deletes them again after a restore."
        ) { text, settings in
            read(text, seconds: 86_400...DepartureRules.maximumBackupSeconds) {
                settings.departure.backupSeconds = $0
            }
        },
        Setting(
            "password.threads", default: "0",
            "Passwords that are hashed at one time, at most 64, as far as `password.memory` has room for them; 0 takes one for each core but one, which is left to the checks."
        ) { text, settings in
            read(text, 0...64) { settings.passwordThreads = $0 }
        },
        Setting(
            "password.memory", default: "512MiB",
            "What all password hashes together may take, 256MiB to 65536MiB. It is taken when it is needed, and given back after a minute without sign-ins."
        ) { text, settings in
            // The least has room for the largest stored hash that is accepted.
            read(text, kibibytes: Argon2Parameters.maximumMemoryKiB...65_536 * 1024) {
                settings.passwordMemoryKiB = $0
            }
        },
        Setting(
            "password.queue", default: "64",
            "Sign-ins that wait for a hashing thread, 0 to 10000, as far as it can serve them before `password.deadline`; further ones are answered 503."
        ) { text, settings in
            read(text, 0...10_000) { settings.passwordQueue = $0 }
        },
        Setting(
            "password.deadline", default: "5s",
            "How long a sign-in waits for a hashing thread before it is answered 503, 1s to 15s."
        ) { text, settings in
            read(text, seconds: 1...15) { settings.passwordDeadlineSeconds = $0 }
        },
        Setting(
            "password.argon2_memory", default: "64MiB",
            "Memory of a new password hash, 12MiB to 256MiB; at least 19MiB with 2 iterations, 46MiB with 1. `gatehouse passwords tune` finds what suits a machine."
        ) { text, settings in
            let least = Argon2Parameters.minimumMemoryKiB(
                iterations: Argon2Parameters.maximumIterations)
            return read(text, kibibytes: least...Argon2Parameters.maximumMemoryKiB) {
                settings.argon2MemoryKiB = $0
            }
        },
        Setting(
            "password.argon2_iterations", default: "3",
            "Passes of a new password hash over its memory, 1 to 16."
        ) { text, settings in
            read(text, 1...Argon2Parameters.maximumIterations) { settings.argon2Iterations = $0 }
        },
        Setting(
            list: "password.context_words", default: "",
            "Words that people here would think of first (the organisation, its products, its town), at most 256: no password is made of little more than these, the username and the service's own names."
        ) { texts, settings in
            let words = texts.filter { !$0.isEmpty }
            guard words.count <= 256 else { return "takes at most 256 words" }
            for word in words
            where word.utf8.count > 64 || GuessableWord(word, from: .context) == nil {
                return "has “\(word)”: a word has at most 64 bytes, and at least "
                    + "\(GuessableWord.minimumCodePoints) characters, or "
                    + "\(GuessableWord.minimumCodePointsWithoutLetters) if none is a letter"
            }
            settings.passwordContextWords = words
            return nil
        },
        Setting(
            "password.filter", default: "",
            "A file of `gatehouse passwords filter build`: passwords on its list are refused. Taken up without a restart when another one is renamed to its name."
        ) { text, settings in
            guard text.isEmpty || text.hasPrefix("/") else { return "must be an absolute path" }
            settings.passwordFilter = text.isEmpty ? nil : text
            return nil
        },
        Setting(
            "cookie.domain", default: "",
            "A domain whose hosts share the cookies; they are then named `__Secure-…` and weaker: any host of the domain can set them. Empty: this host only."
        ) { text, settings in
            guard !text.isEmpty else {
                settings.cookieDomain = nil
                return nil
            }
            guard text.utf8.count <= 253, text.utf8.contains(UInt8(ascii: ".")),
                text.utf8.allSatisfy({ byte in
                    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                        || byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".")
                }), text.utf8.first != UInt8(ascii: ".")
            else { return "must be a host name in lower case, such as example.org" }
            settings.cookieDomain = text
            return nil
        },
        Setting(
            "session.idle", default: "1h",
            "A session ends when it was not used for this long; at most `session.absolute`."
        ) { text, settings in
            read(text, seconds: 1...SessionLimits.maximumSeconds) {
                settings.sessionIdleSeconds = $0
            }
        },
        Setting(
            "session.absolute", default: "24h",
            "A session ends this long after it began, whatever happens; at most 30d."
        ) { text, settings in
            read(text, seconds: 1...SessionLimits.maximumSeconds) {
                settings.sessionAbsoluteSeconds = $0
            }
        },
        Setting(
            "session.reseal", default: "5m",
            "How old a session's cookie must be before the check option `renew` renews it, 1s to 1d."
        ) { text, settings in
            read(text, seconds: 1...86_400) { settings.sessionResealSeconds = $0 }
        },
        Setting(
            "session.max_per_user", default: "20",
            "How many sign-ins a user may have at once, 1 to 1000; a remembered browser counts once."
        ) { text, settings in
            read(text, 1...SessionLimit.highest) { settings.sessionsPerUser = $0 }
        },
        Setting(
            "session.at_limit", default: "end_oldest",
            "What one more sign-in does: `end_oldest` ends the oldest, `refuse` turns the new one away with 409."
        ) { text, settings in
            guard let value = SessionLimit.AtLimit(rawValue: text) else {
                return "must be end_oldest or refuse"
            }
            settings.sessionsAtLimit = value
            return nil
        },
        Setting(
            "remember.enabled", default: "true",
            "Whether people may ask to stay signed in; with `false` no browser is brought back either."
        ) { text, settings in
            guard let value = flag(text) else { return "must be true or false" }
            settings.rememberEnabled = value
            return nil
        },
        Setting(
            "remember.absolute", default: "30d",
            "How long after the sign-in a browser is remembered, whatever happens; 1d to 400d."
        ) { text, settings in
            read(text, seconds: 86_400...RememberLimits.maximumAbsoluteSeconds) {
                settings.rememberAbsoluteSeconds = $0
            }
        },
        Setting(
            "remember.grace", default: "60s",
            "How long a remember cookie still counts after it was replaced, for tabs that race and answers that get lost; 1s to 10m. Shorter than 20s, some thefts look like lost answers."
        ) { text, settings in
            read(text, seconds: 1...600) { settings.rememberGraceSeconds = $0 }
        },
        Setting(
            "revocation.max_staleness", default: "2m",
            "How long a node goes on answering when it can't read the store, 10s to 1h; then 503."
        ) { text, settings in
            read(text, seconds: 10...3600) { settings.maximumStalenessSeconds = $0 }
        },
        Setting(
            "keys.rotate_every", default: "30d",
            "How old the key that seals tokens gets before the servers replace it, 10s to 365d; `0` leaves it to `gatehouse keys rotate`. A ring holds 64 keys, each until its last token has expired."
        ) { text, settings in
            guard text != "0" else {
                settings.rotateEverySeconds = nil
                return nil
            }
            return read(text, seconds: RotationRule.minimumSeconds...RotationRule.maximumSeconds) {
                settings.rotateEverySeconds = $0
            }
        },
        Setting(
            "audit.keep", default: "400d",
            "How long the audit trail keeps an entry, 30d to 4000d; a year and some weeks show any event beside that of the year before."
        ) { text, settings in
            read(text, seconds: (30 * 86_400)...(4000 * 86_400)) {
                settings.auditKeepSeconds = $0
            }
        },
        Setting(
            "audit.addresses", default: "network",
            "What the audit trail keeps of clients' addresses: their `network` (IPv4 /24, IPv6 /48), for a while the `address` (of IPv6 the /64), or `none`."
        ) { text, settings in
            guard let value = AuditAddresses(rawValue: text) else {
                return "must be network, address or none"
            }
            settings.auditAddresses = value
            return nil
        },
        Setting(
            "audit.addresses_keep", default: "14d",
            "How long it keeps an `address`, 1h to 400d, before only the network is left."
        ) { text, settings in
            read(text, seconds: 3600...(400 * 86_400)) { settings.addressKeepSeconds = $0 }
        },
        Setting(
            "support.longest_grant", default: "7d",
            "How long people may let support look at them or act for them at most, 1h to 30d; they can revoke it at any time."
        ) { text, settings in
            read(text, seconds: 3600...(30 * 86_400)) {
                settings.longestGrantSeconds = $0
            }
        },
        Setting(
            "log.level", default: "info", "trace, debug, info, notice, warning, error or critical."
        ) { text, settings in
            guard let level = Logger.Level(rawValue: text) else {
                return "must be trace, debug, info, notice, warning, error or critical"
            }
            settings.logLevel = level
            return nil
        },
    ]

    private static func flag(_ text: String) -> Bool? {
        text == "true" ? true : text == "false" ? false : nil
    }

    /// An absolute path; empty for none.
    private static func path(_ text: String, _ take: (String?) -> Void) -> String? {
        guard text.isEmpty || text.hasPrefix("/") else { return "must be an absolute path" }
        take(text.isEmpty ? nil : text)
        return nil
    }

    private static func isIPAddress(_ text: String) -> Bool {
        var address = in6_addr()
        // SAFETY: an IPv6 address is the larger of the two.
        return unsafe inet_pton(AF_INET, text, &address) == 1
            || inet_pton(AF_INET6, text, &address) == 1
    }

    private static func addresses(_ texts: [String], _ take: ([String]) -> Void) -> String? {
        var proxies: [String] = []
        for text in texts where !text.isEmpty {
            guard isIPAddress(text) else { return "“\(text)” is no IP address" }
            proxies.append(text)
        }
        guard proxies.count <= 64 else { return "takes at most 64 addresses" }
        take(proxies)
        return nil
    }

    private static func ranges(_ texts: [String], _ take: ([AddressRange]) -> Void) -> String? {
        var ranges: [AddressRange] = []
        for text in texts where !text.isEmpty {
            do throws(AddressRange.Refusal) { ranges.append(try AddressRange(text)) } catch {
                return "“\(text)” \(error.message)"
            }
        }
        guard ranges.count <= PeerGate.maximumRanges else {
            return "takes at most \(PeerGate.maximumRanges) addresses and prefixes"
        }
        take(ranges)
        return nil
    }

    private static func isBasePath(_ text: String) -> Bool {
        guard text != "/" else { return true }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        return text.utf8.count <= 64 && parts.first == "" && parts.count > 1
            && parts.dropFirst().allSatisfy { part in
                !part.isEmpty
                    && part.utf8.allSatisfy { byte in
                        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                            || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
                            || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                            || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
                    }
            }
    }

    private static func badAddress(_ text: String) -> String {
        "“\(text)” is no address: write 127.0.0.1:8444, [::1]:8444 or unix:/path (of at most "
            + "\(ListenAddress.maximumPathBytes) bytes)"
    }

    private static func read(
        _ text: String, _ range: ClosedRange<Int>, _ take: (Int) -> Void
    ) -> String? {
        guard isDigits(text), let number = Int(text), range.contains(number) else {
            return "must be a whole number from \(range.lowerBound) to \(range.upperBound)"
        }
        take(number)
        return nil
    }

    private static func read(
        _ text: String, seconds range: ClosedRange<Int64>, _ take: (Int64) -> Void
    ) -> String? {
        guard let value = seconds(text), range.contains(value) else {
            return "must be a duration from \(durationText(range.lowerBound)) to "
                + "\(durationText(range.upperBound)), such as 30s, 5m, 24h or 30d"
        }
        take(value)
        return nil
    }

    private static func read(
        _ text: String, kibibytes range: ClosedRange<Int>, _ take: (Int) -> Void
    ) -> String? {
        guard let bytes = bytes(text), bytes % 1024 == 0, range.contains(bytes / 1024) else {
            return "must be a size from \(sizeText(kibibytes: range.lowerBound)) to "
                + "\(sizeText(kibibytes: range.upperBound)), in whole KiB"
        }
        take(bytes / 1024)
        return nil
    }

    private static func isDigits(_ text: some StringProtocol) -> Bool {
        (1...12).contains(text.utf8.count)
            && text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }

    /// Reads `30s`, `5m`, `24h` or `30d`.
    static func seconds(_ text: String) -> Int64? {
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        guard let last = text.last, let unit = units[last], isDigits(text.dropLast()),
            let number = Int64(text.dropLast())
        else { return nil }
        return number * unit
    }

    /// Reads `1024`, `16KiB` or `64MiB`.
    static func bytes(_ text: String) -> Int? {
        for (suffix, factor) in [("KiB", 1024), ("MiB", 1024 * 1024)] where text.hasSuffix(suffix) {
            let digits = text.dropLast(suffix.count)
            return number(digits).map { $0 * factor }
        }
        return number(text)
    }

    /// Reads a whole number.
    static func number(_ text: some StringProtocol) -> Int? { isDigits(text) ? Int(text) : nil }

    static func sizeText(kibibytes: Int) -> String {
        kibibytes % 1024 == 0 ? "\(kibibytes / 1024)MiB" : "\(kibibytes)KiB"
    }

    static func durationText(_ seconds: Int64) -> String {
        for (unit, size) in [("d", 86_400), ("h", 3600), ("m", 60)] as [(String, Int64)]
        where seconds >= size && seconds % size == 0 {
            return "\(seconds / size)\(unit)"
        }
        return "\(seconds)s"
    }
}
