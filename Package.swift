// swift-tools-version: 6.2
// The package: one executable, the libraries it is composed from, and their tests.

import PackageDescription

/// One list of settings for every target of ours (STYLE: package settings).
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InferIsolatedConformances"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("ImmutableWeakCaptures"),
]

let package = Package(
    name: "gatehouse",
    products: [
        .executable(name: "gatehouse", targets: ["gatehouse"]),
        .executable(name: "gatehouse-bench", targets: ["gatehouse-bench"]),
    ],
    dependencies: [
        // Sockets and event loops under the check endpoint.
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
        // HTTP server of the admin endpoint, and later of the front door; without its optional
        // parts (its own configuration reader, all of Foundation), which nothing here uses.
        .package(
            url: "https://github.com/hummingbird-project/hummingbird", exact: "2.28.1", traits: []),
        // The pages of the front door, as templates.
        .package(url: "https://github.com/hummingbird-project/swift-mustache", exact: "2.1.1"),
        // TLS of the front door and the check endpoint.
        .package(url: "https://github.com/apple/swift-nio-ssl", exact: "2.37.6"),
        // The parts of HTTP messages, for the front door's deadlines.
        .package(url: "https://github.com/apple/swift-nio-extras", exact: "1.35.2"),
        // SQLite: connections, transactions, migrations.
        .package(url: "https://github.com/groue/GRDB.swift", exact: "7.10.0"),
        // The command line.
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        // The configuration file's syntax; layering and types are ours (decision 0007).
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
        // Start, signals and orderly shutdown of the services in one process.
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", exact: "2.13.0"),
        // The logging interface; our one-line JSON handler stands behind it.
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        // Latency percentiles of the benchmarks, and of nothing else: every value is kept to three
        // digits, in constant memory and time.
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", exact: "0.2.0"),
    ],
    targets: [
        .systemLibrary(
            name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(
            name: "CArgon2", pkgConfig: "libargon2", providers: [.apt(["libargon2-dev"])]),
        .systemLibrary(
            name: "CCrypt", pkgConfig: "libcrypt", providers: [.apt(["libcrypt-dev"])]),
        // The client library of PostgreSQL, the database of installations with many nodes: its own
        // protocol, sign-in and TLS, as the database's project has them.
        .systemLibrary(
            name: "CPostgres", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(name: "CLinux"),
        .systemLibrary(name: "CEpoll"),
        .target(
            name: "CDevelopmentCertificate", linkerSettings: [.linkedLibrary("crypto")]),
        // Wipes heap memory when it is freed, in the program that is linked with it.
        .target(name: "CWipingHeap"),
        .target(
            name: "CICU", linkerSettings: [.linkedLibrary("icui18n"), .linkedLibrary("icuuc")]),
        // The bundled list of common passwords, as bytes of the program.
        .target(
            name: "CCommonPasswords",
            exclude: ["common-passwords.txt", "make-common-passwords"]),
        .target(
            name: "GatehouseCore", dependencies: ["COpenSSL", "CICU"], swiftSettings: settings),
        // What is asked of the machine: clocks, socket paths, limits of the process, certificates.
        .target(
            name: "GatehouseSystem",
            dependencies: [
                "CDevelopmentCertificate", "CLinux", "GatehouseCore",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ],
            swiftSettings: settings),
        .target(
            name: "GatehousePasswords",
            dependencies: [
                "CArgon2", "CCommonPasswords", "CCrypt", "GatehouseCore", "GatehouseSystem",
            ],
            swiftSettings: settings),
        .target(
            name: "GatehousePeople",
            dependencies: ["GatehouseCore", .product(name: "Yams", package: "Yams")],
            swiftSettings: settings),
        .target(
            name: "GatehouseStore",
            dependencies: [
                "CPostgres", "GatehouseCore", "GatehousePeople",
                .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: settings),
        .target(
            name: "GatehouseCheck",
            dependencies: [
                "CEpoll", "GatehouseCore", "GatehouseSystem",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
            ],
            swiftSettings: settings),
        .target(
            name: "GatehouseWeb",
            dependencies: [
                "GatehouseCore", "GatehousePasswords", "GatehousePeople", "GatehouseSystem",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "HummingbirdHTTP2", package: "hummingbird"),
                .product(name: "Mustache", package: "swift-mustache"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            // Templates, texts and descriptions, as bytes of the program.
            resources: [.embedInCode("Resources")],
            swiftSettings: settings),
        .executableTarget(
            name: "gatehouse",
            dependencies: [
                "CWipingHeap", "GatehouseCore", "GatehouseSystem", "GatehousePasswords",
                "GatehousePeople", "GatehouseStore", "GatehouseCheck", "GatehouseWeb",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Yams", package: "Yams"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),
        // What the benchmarks need of C: processes, sockets, TLS, and bare libcrypto to compare with.
        .target(
            name: "CBenchmark", path: "Benchmarks/CBenchmark",
            linkerSettings: [
                .linkedLibrary("ssl"), .linkedLibrary("crypto"), .linkedLibrary("argon2"),
            ]),
        // Measures what the others do; anyone can run it (Benchmarks/README.md). The store is among
        // what it runs by itself: what a sign-in costs there is lost beside its password hash, and a
        // command's work beside the start of its process.
        .executableTarget(
            name: "gatehouse-bench",
            dependencies: [
                "CBenchmark", "CAllocationCount", "GatehouseCheck", "GatehouseCore",
                "GatehousePasswords", "GatehouseStore", "GatehouseSystem",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ],
            path: "Benchmarks",
            exclude: ["CBenchmark", "README.md", "peers", "results"],
            swiftSettings: settings),
        // Counts heap allocations for the tests that assert there are none.
        .target(name: "CAllocationCount", path: "Tests/CAllocationCount"),
        // Fixtures, vectors and seeded randomness for the tests.
        .target(
            name: "GatehouseTestSupport", dependencies: ["GatehouseCore"], path: "Tests/Support",
            swiftSettings: settings),
        // Looks for secrets in its own memory; SecretMemoryTests run it. Reading memory is all it does, so
        // that marking each step as unsafe would say nothing.
        .executableTarget(
            name: "SecretMemoryProbe", dependencies: ["GatehouseCore", "GatehouseSystem"],
            path: "Tests/SecretMemoryProbe",
            swiftSettings: [.swiftLanguageMode(.v5)]),
        .testTarget(
            name: "GatehouseCoreTests",
            dependencies: [
                "GatehouseCore", "GatehouseTestSupport", "CAllocationCount", "COpenSSL",
                "SecretMemoryProbe",
            ],
            swiftSettings: settings),
        .testTarget(
            name: "GatehousePasswordsTests",
            dependencies: ["GatehousePasswords", "GatehouseTestSupport"],
            swiftSettings: settings),
        .testTarget(
            name: "GatehousePeopleTests",
            dependencies: ["GatehousePeople", "GatehouseTestSupport"],
            swiftSettings: settings),
        .testTarget(
            name: "GatehouseStoreTests",
            dependencies: [
                "GatehousePeople", "GatehouseStore", "GatehouseTestSupport", "GatehouseWeb",
                .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "GatehouseCheckTests",
            dependencies: [
                "GatehouseCheck", "GatehouseSystem", "GatehouseTestSupport", "CAllocationCount",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "GatehouseWebTests",
            dependencies: [
                "GatehouseWeb", "GatehouseCore", "GatehousePasswords", "GatehousePeople",
                "GatehouseStore",
                "GatehouseTestSupport", "CAllocationCount",
                .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "GatehouseBenchmarkTests",
            dependencies: [
                "CBenchmark", "gatehouse-bench",
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "GatehouseTests",
            dependencies: [
                "gatehouse", "GatehouseTestSupport", .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: settings),
    ]
)
