// `gatehouse serve`: the server.

import ArgumentParser
import GatehouseCheck
import GatehouseCore
import GatehouseStore
import GatehouseSystem
import GatehouseWeb
import Glibc
import Logging
import NIOPosix
import ServiceLifecycle
import UnixSignals

struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Run the server.")

    @OptionGroup var options: CommonOptions
    @Flag(help: "For a developer's machine: makes what is missing in ./gatehouse-data.")
    var dev = false
    @Option(help: "The check endpoint: ADDRESS:PORT or unix:/PATH; may be repeated.")
    var check: [String] = []
    @Option(help: "The admin endpoint: ADDRESS:PORT or unix:/PATH.")
    var admin: String?
    @Option(name: .customLong("public"), help: "The front door: ADDRESS:PORT or unix:/PATH.")
    var publicAddress: String?

    func run() async throws {
        var flags: [String: [String]] = [:]
        if !check.isEmpty { flags["check.listen"] = check }
        if let admin { flags["admin.listen"] = [admin] }
        if let publicAddress { flags["public.listen"] = [publicAddress] }
        if dev && options.dataDir == nil {
            flags["data_dir"] = [CommonOptions.absolute("gatehouse-data")]
        }
        // What a configuration that is meant for others names is not a developer's to write to.
        if dev && options.storeUrl == nil {
            flags["store.url"] = [StoreAddress.inDataDirectory]
            flags["store.password_file"] = [""]
        }
        let settings = try options.settings(flags: flags, requiresOrigin: !dev)
        let level = settings.logLevel
        LoggingSystem.bootstrap { JSONLogHandler(label: $0, level: level) }
        signal(SIGPIPE, SIG_IGN)
        if dev { try Self.makeDevelopmentFiles(settings) }
        try await Server(settings: settings, isDevelopment: dev).run()
    }

    /// The data directory and root key of a first start. A store whose root key is gone is left
    /// alone: a new key would not open it.
    private static func makeDevelopmentFiles(_ settings: Settings) throws {
        try DataDirectory.create(settings.dataDirectory)
        var hasDatabase = false
        if case .sqlite(let directory) = settings.storeAddress {
            hasDatabase = unsafe access(directory + "/" + SQLStore.fileName, F_OK) == 0
        }
        if !hasDatabase, case .file(let path) = settings.rootKeySource {
            try RootKeyFile.createIfMissing(path)
        }
        try makeCertificate(settings)
    }

    /// A certificate for localhost, unless there is one or the configuration names its own.
    private static func makeCertificate(_ settings: Settings) throws {
        guard settings.publicTLS, settings.publicCertificate == nil, settings.publicKey == nil,
            unsafe access(settings.publicCertificatePath, F_OK) != 0
        else { return }
        guard let made = DevelopmentCertificate() else {
            throw CommandFailure.environment("libcrypto could not make a certificate")
        }
        let directory = settings.dataDirectory + "/tls"
        try DataDirectory.create(directory)
        // The certificate last: it is what tells that there is one.
        try OwnFile.write(made.key, to: settings.publicKeyPath)
        try OwnFile.write(made.authority, to: directory + "/ca.pem")
        try OwnFile.write(made.certificate, to: settings.publicCertificatePath)
    }
}
