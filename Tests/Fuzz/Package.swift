// swift-tools-version: 6.2
// The fuzz targets, in a package of their own: they need a sanitizer that no other build wants.

import PackageDescription

/// The settings of every target, as in the package that is fuzzed.
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

/// libFuzzer brings `main`; the target has none.
let target: [SwiftSetting] = [.unsafeFlags(["-parse-as-library"])]

let package = Package(
    name: "gatehouse-fuzz",
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2")
    ],
    targets: [
        .systemLibrary(
            name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .target(
            name: "CICU", linkerSettings: [.linkedLibrary("icui18n"), .linkedLibrary("icuuc")]),
        .target(
            name: "GatehouseCore", dependencies: ["COpenSSL", "CICU"],
            exclude: ["GatehouseCore.docc"], swiftSettings: settings),
        // All of it but the drivers: connections as values, and what they are made of.
        .target(
            name: "GatehouseCheck", dependencies: ["GatehouseCore"],
            exclude: [
                "CheckServer.swift", "EpollDriver.swift", "EpollReactor.swift",
                "ListeningSocket.swift", "NIODriver.swift",
            ], swiftSettings: settings),
        // What the front door decides by, without the front door.
        .target(
            name: "GatehouseWebRules", dependencies: ["GatehouseCore"], swiftSettings: settings),
        // The hashes of other systems, as values: what verifies them is left out.
        .target(
            name: "GatehouseForeignHashes", dependencies: ["GatehouseCore"],
            swiftSettings: settings),
        // What the targets share.
        .target(
            name: "FuzzSupport", dependencies: ["GatehouseCore"], swiftSettings: settings),
        .executableTarget(
            name: "FuzzHead",
            dependencies: [
                "FuzzSupport", "GatehouseCheck", "GatehouseCore",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ], swiftSettings: settings + target),
        .executableTarget(
            name: "FuzzToken", dependencies: ["FuzzSupport", "GatehouseCore"],
            swiftSettings: settings + target),
        .executableTarget(
            name: "FuzzForm", dependencies: ["FuzzSupport", "GatehouseWebRules"],
            swiftSettings: settings + target),
        .executableTarget(
            name: "FuzzHash",
            dependencies: ["FuzzSupport", "GatehouseCore", "GatehouseForeignHashes"],
            swiftSettings: settings + target),
    ]
)
