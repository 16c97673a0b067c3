// The configuration: layers, units, limits on both sides, and every fault at once.

import GatehouseCheck
import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import Logging
import Testing

@testable import gatehouse

@Suite struct SettingsTests {
    private func load(
        _ file: String? = nil, environment: [String: String] = [:],
        flags: [String: [String]] = [:]
    ) throws -> Settings {
        try SettingsLoader(
            file: file.map { ($0, "test.yaml") }, environment: environment, flags: flags,
            requiresOrigin: true
        ).load()
    }

    private func findings(
        _ file: String? = nil, environment: [String: String] = [:],
        flags: [String: [String]] = [:]
    ) -> [String] {
        do {
            _ = try load(file, environment: environment, flags: flags)
            return []
        } catch let errors as SettingsErrors { return errors.findings } catch {
            return ["\(error)"]
        }
    }

    @Test func `without anything the defaults hold`() throws {
        let settings = try load()
        #expect(settings.dataDirectory == "/var/lib/gatehouse")
        #expect(settings.rootKeySource == .file("/var/lib/gatehouse/root.key"))
        #expect(settings.checkAddresses.map(\.description) == ["127.0.0.1:8444"])
        #expect(settings.adminAddress.description == "127.0.0.1:8445")
        #expect(settings.sessionCookieName == "__Host-gatehouse")
        #expect(settings.sessionIdleSeconds == 3600)
        #expect(settings.sessionAbsoluteSeconds == 86_400)
        #expect(settings.maximumStalenessSeconds == 120)
        #expect(settings.rotateEverySeconds == RotationRule.defaultSeconds)
        #expect(settings.checkLimits.head.maximumBytes == 16_384)
        #expect(settings.checkLimits.head.maximumFields == 64)
        #expect(settings.checkLimits.headSeconds == 5)
        #expect(settings.checkLimits.idleSeconds == 60)
    }

    /// The default that a setting names must be the one that holds.
    @Test(arguments: Setting.all.map(\.name))
    func `the default that is written reads as the default that holds`(_ name: String) throws {
        let setting = try #require(Setting.all.first { $0.name == name })
        guard !setting.defaultText.hasPrefix("<") else { return }
        var settings = Settings()
        #expect(setting.read([setting.defaultText], &settings) == nil)
        #expect("\(settings)" == "\(Settings())")
    }

    @Test func `an empty file, and one of comments, sets nothing`() throws {
        for file in ["", "\n", "# nothing\n", "---\n"] {
            #expect(try "\(load(file))" == "\(Settings())")
        }
    }

    @Test func `a later layer wins`() throws {
        let file = "session:\n  idle: 10m\n  absolute: 2h\nlog.level: debug\n"
        let environment = ["GATEHOUSE_SESSION_IDLE": "20m", "HOME": "/x", "PATH": "/y"]
        #expect(try load(file).sessionIdleSeconds == 600)
        #expect(try load(file).sessionAbsoluteSeconds == 7200)
        #expect(try load(file).logLevel == .debug)
        #expect(try load(file, environment: environment).sessionIdleSeconds == 1200)
        let settings = try load(
            file, environment: environment, flags: ["session.idle": ["30m"]])
        #expect(settings.sessionIdleSeconds == 1800)
    }

    @Test func `a list is written as a sequence, or with commas in the environment`() throws {
        let file = "check:\n  listen:\n    - 127.0.0.1:1\n    - unix:/run/g.sock\n"
        #expect(try load(file).checkAddresses.count == 2)
        let environment = ["GATEHOUSE_CHECK_LISTEN": "127.0.0.1:1, unix:/run/g.sock"]
        #expect(try load(environment: environment).checkAddresses == load(file).checkAddresses)
        #expect(try load("check.listen: '[::1]:5'\n").checkAddresses.count == 1)
    }

    @Test func `every fault of every layer is told at once, by its key`() {
        let found = findings(
            "sesion:\n  idle: 1h\nsession:\n  idle: soon\ncheck:\n  max_headers: 7\n",
            environment: ["GATEHOUSE_LOG_LEVEL": "loud", "GATEHOUSE_LOGLEVEL": "info"],
            flags: ["admin.listen": ["localhost:1"]])
        #expect(found.count == 6)
        for (finding, part) in zip(
            found,
            [
                "test.yaml:2: unknown key sesion.idle",
                "test.yaml:4: session.idle must be a duration",
                "test.yaml:6: check.max_headers must be a whole number from 8 to 256",
                "environment: unknown variable GATEHOUSE_LOGLEVEL",
                "environment: GATEHOUSE_LOG_LEVEL must be",
                "command line: admin.listen “localhost:1”",
            ])
        {
            #expect(finding.hasPrefix(part), "\(finding)")
        }
    }

    @Test(arguments: [
        "a: [", "\t", "- 1\n- 2\n", "just text", "log.level: info\nlog.level: info\n", "? [a]: b\n",
        "session: {idle: {a: 1}}\n", "check.listen: [[a]]\n", "log.level: [info, debug]\n",
        "a: &x 1\nb: *x\n", "log.level: info\nlog: {level: info}\nlog.level: debug\n",
    ])
    func `a file that is not a mapping of known keys is refused`(_ file: String) {
        #expect(!findings(file).isEmpty)
    }

    @Test(
        arguments: [
            ("check.event_loops", ["0", "64"], ["-1", "65", "", "x", "1.5", " 1", "1_0", "٣"]),
            ("check.max_connections", ["1", "1000000"], ["0", "1000001"]),
            (
                "check.max_head", ["1KiB", "64KiB", "1024", "65536"],
                ["1023", "65KiB", "65537", "1kib", "1 KiB", "KiB"]
            ),
            ("check.max_headers", ["8", "256"], ["7", "257"]),
            ("throttle.address_failures", ["0", "100000"], ["-1", "100001", ""]),
            (
                "check.head_timeout", ["1s", "60s", "1m"],
                ["0s", "61s", "5", "5S", "s", "1s1s", "-1s"]
            ),
            ("check.idle_timeout", ["1s", "1h"], ["0s", "3601s"]),
            ("session.idle", ["1s", "24h"], ["0s", "31d"]),
            ("session.absolute", ["1h", "30d"], ["0s", "2592001s"]),
            ("revocation.max_staleness", ["10s", "1h"], ["9s", "3601s"]),
            ("keys.rotate_every", ["10s", "365d", "0"], ["9s", "366d", "0s", "never", ""]),
            (
                "check.socket_mode", ["0600", "0660", "0777", "0666"],
                ["660", "0560", "01777", "0888", "0x1", ""]
            ),
            ("check.driver", ["auto", "nio"], ["epoll", "AUTO", ""]),
            ("check.tls", ["true", "false"], ["yes", ""]),
            ("check.certificate", ["/x"], ["x", ""]), ("check.key", ["/x"], ["x", ""]),
            ("check.client_ca", ["/x", ""], ["x"]),
            (
                "check.trusted_proxies", ["", "10.0.0.1", "::1"],
                ["localhost", "10.0.0.0/8", "10.0.0.1:1", "1.2.3", "::1%lo", "[::1]"]
            ),
            (
                "check.allow", ["", "10.0.0.0/8", "::1", "0.0.0.0/0", "::/0"],
                ["10.0.0.1/8", "10.0.0.0/33", "localhost", "::1%lo", "127.0.0.1:1"]
            ),
            ("public.allow", ["", "10.0.0.0/8"], ["10.0.0.1/8"]),
            ("admin.allow", ["", "10.0.0.0/8"], ["10.0.0.1/8"]),
            (
                "contact.people",
                [
                    "", "mailto:privacy@example.org", "https://example.org/privacy",
                    "tel:+49-30-1234", "The office, 2nd floor", String(repeating: "a", count: 200),
                ],
                [
                    "mailto:nobody", "http://example.org", "https://", "https:example.org", "12",
                    "a\nb", String(repeating: "a", count: 201),
                ]
            ),
            (
                "contact.security", ["", "mailto:security@example.org", "https://example.org/x"],
                ["security@example.org", "http://example.org", "x y", "javascript:alert(1)"]
            ),
            (
                "contact.policy", ["", "https://example.org/policy"],
                ["mailto:a@example.org", "http://example.org/", "policy"]
            ),
            ("contact.languages", ["", "en", "pt-BR"], ["english language", "e", "en_GB"]),
            ("session.reseal", ["1s", "1d"], ["0s", "86401s", "5"]),
            ("session.max_per_user", ["1", "1000"], ["0", "1001", "many"]),
            ("session.at_limit", ["end_oldest", "refuse"], ["end", ""]),
            ("remember.enabled", ["true", "false"], ["on", ""]),
            ("remember.absolute", ["1d", "400d"], ["86399s", "401d", "30"]),
            ("remember.grace", ["1s", "10m"], ["0s", "601s", "60"]),
            ("check.allow_plaintext_network", ["true", "false"], ["yes", "1", "TRUE", ""]),
            ("audit.keep", ["30d", "4000d"], ["2591999s", "4001d", "0"]),
            ("support.longest_grant", ["1h", "7d", "30d"], ["3599s", "31d", "0"]),
            ("audit.addresses", ["network", "address", "none"], ["", "full"]),
            ("audit.addresses_keep", ["1h", "400d"], ["3599s", "401d"]),
            ("log.level", ["trace", "critical"], ["Info", ""]),
            (
                "cookie.domain", ["", "example.org", "a.b-c.example"],
                [".example.org", "localhost", "Example.org", "a b.c", "é.fr", "a.org/"]
            ),
            (
                "store.url",
                [
                    "sqlite:", "sqlite:/x", "postgresql://h/d", "postgres://h/d",
                    "postgresql:///d?host=/run/x",
                ],
                ["", "sqlite", "sqlite:x", "mysql://h/d", "postgresql://u:p@h/d"]
            ),
            ("store.password_file", ["/x", ""], ["x"]),
            ("store.connections", ["1", "100"], ["0", "101", ""]),
            ("store.connect_timeout", ["1s", "60s"], ["0s", "61s", "5"]),
            ("store.statement_timeout", ["1s", "10m"], ["0s", "601s", "30"]),
            ("store.prepare", ["true", "false"], ["no", ""]),
            ("data_dir", ["/x"], ["x", ""]), ("root_key.file", ["/x"], ["x", ""]),
            (
                "root_key.credential", ["", "root", String(repeating: "a", count: 255)],
                ["a/b", "..", ".", "a:b", "a b", "é", String(repeating: "a", count: 256)]
            ),
            (
                "root_key.command",
                [
                    "", "/x", "/x --key a", "/x" + String(repeating: " a", count: 31),
                    "/" + String(repeating: "x", count: 4095),
                ],
                [
                    "x", "-", "/x" + String(repeating: " a", count: 32), "/x a\u{0}b",
                    "/" + String(repeating: "x", count: 4096),
                ]
            ),
            (
                "audience", ["a", String(repeating: "a", count: 128)],
                ["", "a b", "é", String(repeating: "a", count: 129)]
            ),
            ("admin.listen", ["127.0.0.1:0", "unix:/x"], ["8445", "unix:x", "127.0.0.1"]),
            ("public.listen", ["127.0.0.1:0", "unix:/x"], ["8443", "unix:x", "127.0.0.1"]),
            (
                "public.origin", ["", "https://a.example", "http://127.0.0.1:8080"],
                ["a.example", "http://a.example", "https://a.example/", "null"]
            ),
            (
                "public.base_path",
                ["/", "/auth", "/a/b-c_1", "/" + String(repeating: "a", count: 63)],
                [
                    "", "auth", "/auth/", "//", "/a//b", "/a.b", "/é",
                    "/" + String(repeating: "a", count: 64),
                ]
            ),
            ("public.tls", ["true", "false"], ["yes", ""]),
            ("public.certificate", ["/x"], ["x", ""]), ("public.key", ["/x"], ["x", ""]),
            (
                "public.trusted_proxies", ["", "127.0.0.1", "::1"],
                ["localhost", "10.0.0.0/8", "1.2.3"]
            ),
            (
                "public.return_origins", ["", "https://a.example"],
                ["a.example", "https://a.example/x"]
            ),
            (
                "pages.name", ["", "Zoë’s shop", String(repeating: "ë", count: 64)],
                ["a\nb", "a\u{0}", String(repeating: "a", count: 65)]
            ),
            (
                "pages.colour", ["#000000", "#FFffff", "#1f5fae"],
                ["", "1f5fae", "#1f5fa", "#1f5faee", "#1f5fag", "red", "#１f5fae"]
            ),
            ("pages.logo", ["", "/x"], ["x"]), ("pages.texts", ["", "/x"], ["x"]),
            ("pages.templates", ["", "/x"], ["x"]),
            ("registration", ["open", "invite", "closed"], ["Open", ""]),
            ("username.unicode", ["true", "false"], ["yes", "1", ""]),
            (
                "username.reserved", ["", "shop", "Zoë", String(repeating: "a", count: 64)],
                ["a b", ".", String(repeating: "a", count: 65)]
            ),
            (
                "password.context_words",
                ["", "abc", "äöü", "123456", "a b", String(repeating: "a", count: 64)],
                ["ab", "12345", "1-2-3", String(repeating: "a", count: 65), "abc\u{378}"]
            ),
            ("password.filter", ["", "/x"], ["x"]),
            ("people.schema", ["", "/x"], ["x"]),
            ("notices.wait", ["1", "250"], ["0", "251", "30d", "-1", ""]),
            (
                "notices.holidays", ["", "2026-12-25", "2028-02-29", "1970-01-01"],
                ["2026-12-32", "2027-02-29", "25.12.2026", "2026-12-25T00:00:00Z", "Christmas"]
            ),
            ("people.deletion_wait", ["0s", "90d"], ["-1s", "91d", "0", ""]),
            ("people.backups_kept", ["1d", "400d"], ["86399s", "401d"]),
            ("password.threads", ["0", "64"], ["-1", "65"]),
            ("password.queue", ["0", "10000"], ["-1", "10001"]),
            (
                "password.memory", ["256MiB", "65536MiB", "262144KiB"],
                ["262143KiB", "67108865KiB", "268435457", "512", "1GiB"]
            ),
            ("password.deadline", ["1s", "15s"], ["0s", "16s", "5"]),
            (
                "password.argon2_memory", ["12MiB", "256MiB", "12289KiB"],
                ["12287KiB", "262145KiB", "12582913", "64"]
            ),
            ("password.argon2_iterations", ["1", "16"], ["0", "17"]),
        ] as [(String, [String], [String])])
    func `each setting takes its limits and refuses what lies beyond`(
        _ name: String, _ good: [String], _ bad: [String]
    ) throws {
        let setting = try #require(Setting.all.first { $0.name == name })
        for value in good {
            var settings = Settings()
            #expect(setting.read([value], &settings) == nil, "\(name) \(value)")
        }
        for value in bad {
            var settings = Settings()
            #expect(setting.read([value], &settings) != nil, "\(name) \(value)")
        }
    }

    @Test func `every setting is tested on both sides of its limits`() {
        // check.listen is tested with the contradictions below.
        let tested: Set = [
            "check.event_loops", "check.max_connections", "check.max_head", "check.max_headers",
            "check.head_timeout", "check.idle_timeout", "session.idle", "session.absolute",
            "revocation.max_staleness", "keys.rotate_every", "check.socket_mode",
            "check.allow_plaintext_network",
            "log.level", "cookie.domain", "data_dir", "root_key.file", "store.url",
            "store.password_file", "store.connections", "store.connect_timeout",
            "store.statement_timeout", "store.prepare",
            "root_key.credential", "root_key.command", "audience", "admin.listen",
            "check.listen", "public.listen", "public.origin", "public.base_path", "public.tls",
            "public.certificate", "public.key", "public.trusted_proxies", "public.return_origins",
            "registration", "people.schema", "notices.wait", "notices.holidays",
            "password.threads", "password.queue", "check.driver",
            "check.tls",
            "check.certificate", "check.key", "check.client_ca", "check.trusted_proxies",
            "session.max_per_user", "session.at_limit", "remember.enabled", "remember.absolute",
            "remember.grace", "session.reseal", "throttle.address_failures", "username.unicode",
            "username.reserved",
            "password.context_words", "password.filter", "password.memory", "password.deadline",
            "password.argon2_memory", "password.argon2_iterations", "pages.name", "pages.colour",
            "pages.logo", "pages.texts", "pages.templates", "audit.keep", "audit.addresses",
            "support.longest_grant",
            "check.allow", "public.allow", "admin.allow", "contact.people", "contact.security",
            "contact.policy", "contact.languages",
            "audit.addresses_keep", "people.deletion_wait", "people.backups_kept",
        ]
        #expect(Set(Setting.all.map(\.name)) == tested)
    }

    @Test func `what contradicts is refused`() {
        #expect(findings("session: {idle: 2h, absolute: 1h}").count == 1)
        #expect(findings("session: {idle: 1h, absolute: 1h}").isEmpty)
        #expect(findings("check.listen: [127.0.0.1:8445]").count == 1)
        let origin = "origin: https://a.example"
        #expect(findings("public: {listen: 127.0.0.1:8444, \(origin)}").count == 1)
        #expect(findings("public.listen: 127.0.0.1:1").count == 1, "no origin")
        #expect(findings("public: {tls: false, \(origin)}").count == 1)
        #expect(findings("public: {tls: false, trusted_proxies: [127.0.0.1], \(origin)}").isEmpty)
        #expect(findings("public: {tls: false, listen: unix:/run/front.sock, \(origin)}").isEmpty)
        func reserved(_ count: Int) -> String {
            "username.reserved: [" + (1...count).map { "n\($0)" }.joined(separator: ", ") + "]"
        }
        #expect(findings(reserved(1000)).isEmpty)
        #expect(findings(reserved(1001)).count == 1)
        for (key, value) in [
            ("public.trusted_proxies", "10.0.0."), ("public.return_origins", "https://h"),
            ("password.context_words", "word"), ("check.allow", "2001:db8::"),
        ] {
            func list(_ count: Int) -> String {
                "public.\(origin)\n\(key): ["
                    + (1...count).map { value + "\($0)" }.joined(separator: ", ") + "]"
            }
            let limit = ["password.context_words", "check.allow"].contains(key) ? 256 : 64
            #expect(findings(list(limit)).isEmpty, "\(key)")
            #expect(findings(list(limit + 1)).count == 1, "\(key)")
        }
        func uris(_ count: Int) -> String {
            "contact.security: ["
                + (1...count).map { "https://a.example/\($0)" }.joined(separator: ", ") + "]"
        }
        #expect(findings(uris(16)).isEmpty)
        #expect(findings(uris(17)).count == 1)
        func languages(_ count: Int) -> String {
            "contact.languages: ["
                + (1...count).map { "en-x\($0)" }.joined(separator: ", ") + "]"
        }
        #expect(findings(languages(16)).isEmpty)
        #expect(findings(languages(17)).count == 1)
        #expect(findings("check.listen: [127.0.0.1:1, 127.0.0.1:1]").count == 1)
        #expect(findings("check.listen: []").count == 1)
        #expect(
            findings("check.listen: [\((1...16).map { "127.0.0.1:\($0)" }.joined(separator: ","))]")
                .isEmpty)
        #expect(
            findings("check.listen: [\((1...17).map { "127.0.0.1:\($0)" }.joined(separator: ","))]")
                .count == 1)
    }

    @Test func `a hash's memory and iterations are not too weak together`() throws {
        for (memory, iterations) in [("46MiB", 1), ("19MiB", 2), ("12MiB", 3)] {
            let file = "password: {argon2_memory: \(memory), argon2_iterations: \(iterations)}"
            let parameters = try #require(try load(file).argon2Parameters)
            #expect("\(parameters.memoryKiB / 1024)MiB" == memory)
            #expect(parameters.iterations == iterations && parameters.lanes == 1)
        }
        for (memory, iterations) in [("47103KiB", 1), ("19455KiB", 2)] {
            let file = "password: {argon2_memory: \(memory), argon2_iterations: \(iterations)}"
            #expect(findings(file).count == 1)
        }
        #expect(try load().argon2Parameters == .standard)
    }

    @Test func `the root key has one source, which the environment may name`() throws {
        #expect(try load("root_key.file: /k").rootKeySource == .file("/k"))
        #expect(try load("root_key.credential: k").rootKeySource == .credential("k"))
        let command = "root_key.command: [/bin/unwrap, 'a b']"
        #expect(try load(command).rootKeySource == .command(["/bin/unwrap", "a b"]))
        for (variable, value, source) in [
            ("FILE", "/k", .file("/k")), ("CREDENTIAL", "k", .credential("k")),
            ("COMMAND", "/bin/unwrap a b", .command(["/bin/unwrap", "a", "b"])),
            ("COMMAND", "/bin/unwrap,a b", .command(["/bin/unwrap", "a b"])),
        ] as [(String, String, RootKeySource)] {
            let name = "GATEHOUSE_ROOT_KEY_" + variable
            #expect(try load(environment: [name: value]).rootKeySource == source)
            // Whatever else names one too is refused, and neither value is preferred.
            for other in ["root_key.file: /o", "root_key.credential: o", command] {
                let isSame = other.hasPrefix("root_key.\(variable.lowercased()):")
                #expect(findings(other, environment: [name: value]).count == (isSame ? 0 : 1))
            }
        }
        for variable in ["GATEHOUSE_ROOT_KEY", "GATEHOUSE_ROOT_KEY_VALUE"] {
            #expect(findings(environment: [variable: "gatehouse-root-key-1:x"]).count == 1)
        }
    }

    @Test func `the store is in the data directory unless it is elsewhere`() throws {
        #expect(try load().storeAddress == .sqlite(directory: "/var/lib/gatehouse"))
        #expect(try load("data_dir: /d").storeAddress == .sqlite(directory: "/d"))
        #expect(
            try load("{store.url: 'sqlite:', data_dir: /d}").storeAddress.description == "sqlite:/d"
        )
        #expect(try load("store.url: sqlite:/e").storeAddress == .sqlite(directory: "/e"))
        let uri = "postgresql://gatehouse@db.example.org/gatehouse"
        guard case .postgresql(let plain) = try load("store.url: \(uri)").storeAddress else {
            Issue.record("no PostgreSQL")
            return
        }
        #expect(plain == (try PostgreSQLAddress(uri: uri)), "the defaults are the address's own")
        let file = """
            store: {url: "\(uri)", password_file: /p, connections: 20, connect_timeout: 2s,
              statement_timeout: 1m, prepare: false}
            """
        guard case .postgresql(let address) = try load(file).storeAddress else {
            Issue.record("no PostgreSQL")
            return
        }
        #expect(address.uri == uri && address.passwordFile == "/p" && address.connections == 20)
        #expect(address.connectTimeout == .seconds(2) && address.statementTimeout == .seconds(60))
        #expect(!address.preparesStatements)
        // Commands have time, where nobody waits for them.
        for (server, command) in [(plain, 30), (address, 60)] {
            guard case .postgresql(let hasty) = StoreAddress.postgresql(server).forCommands else {
                Issue.record("no PostgreSQL")
                continue
            }
            #expect(hasty.statementTimeout == .seconds(command) && hasty.connections == 1)
        }
        #expect(findings("store.password_file: /p").count == 1, "of SQLite")
        #expect(findings("store: {password_file: /p, url: sqlite:/e}").count == 1)
    }

    @Test func `a database that hangs once doesn't end the lease`() {
        func findings(_ connect: Int, _ statement: Int, _ lease: Int, url: String) -> [String] {
            self.findings(
                """
                store: {url: "\(url)", connect_timeout: \(connect)s, statement_timeout: \(statement)s}
                revocation.max_staleness: \(lease)s
                """)
        }
        let url = "postgresql://db.example.org/gatehouse"
        #expect(findings(5, 5, 13, url: url).isEmpty)
        #expect(findings(5, 5, 12, url: url).count == 1)
        #expect(findings(5, 6, 13, url: url).count == 1)
        #expect(findings(6, 5, 13, url: url).count == 1)
        #expect(findings(5, 6, 13, url: url).first?.contains("revocation.max_staleness") == true)
        #expect(findings(60, 600, 10, url: "sqlite:").isEmpty)
    }

    @Test func `a password in the store's URL is refused, and not repeated`() {
        let url = "postgresql://gatehouse:hunter2@db.example.org/gatehouse"
        for found in [
            findings("store.url: \(url)"), findings(environment: ["GATEHOUSE_STORE_URL": url]),
            findings(flags: ["store.url": [url]]),
        ] {
            #expect(found.count == 1)
            #expect(found.allSatisfy { $0.contains("store.password_file") })
            #expect(found.allSatisfy { !$0.contains("hunter2") })
        }
    }

    @Test func `an address that other machines reach needs to be allowed`() {
        #expect(findings("check.listen: 0.0.0.0:8444").count == 1)
        #expect(findings("admin.listen: 10.0.0.1:1").count == 1)
        #expect(
            findings("check: {listen: 0.0.0.0:8444, allow_plaintext_network: true}").isEmpty)
        #expect(findings("check: {listen: 0.0.0.0:8444, tls: true}").isEmpty)
        #expect(findings("check: {listen: unix:/run/check.sock, tls: true}").count == 1)
        #expect(findings("check.client_ca: /ca.pem").count == 1, "no TLS")
        #expect(findings("check: {client_ca: /ca.pem, tls: true}").isEmpty)
    }

    @Test func `the cookie's prefix tells whether a domain shares it`() throws {
        #expect(try load("cookie.domain: example.org").sessionCookieName == "__Secure-gatehouse")
    }

    @Test func `the README's table is the settings`() throws {
        let root = String("\(#filePath)".dropLast("Tests/GatehouseTests/SettingsTests.swift".count))
        let readme = readText(root + "README.md")
        let rows = readme.split(separator: "\n").filter {
            $0.hasPrefix("| `") && $0.contains("GATEHOUSE_")
        }
        let expected = Setting.all.map { setting in
            "| `\(setting.name)` | `\(setting.environmentName)` | "
                + (setting.defaultText.isEmpty ? "empty" : "`\(setting.defaultText)`")
                + " | \(setting.meaning) |"
        }
        #expect(rows.map(String.init) == expected)
    }
}
