// The OpenAPI description and the table of routes say the same, and each site gets its own address.

import GatehouseCore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

@Suite(.serialized) struct DescriptionTests {
    private func with(
        basePath: String = "/", _ body: (FrontFixture) async throws -> Void
    ) async throws {
        let fixture = try await FrontFixture(basePath: basePath)
        try await body(fixture)
        await fixture.stop()
    }

    /// The operations of a description, as "METHOD /path": paths and methods stand at two depths.
    private static func operations(_ description: String) -> [String] {
        var operations: [String] = []
        var isInPaths = false
        var path = ""
        for line in description.split(separator: "\n") {
            if !line.hasPrefix(" ") { isInPaths = line == "paths:" }
            let depth = line.prefix { $0 == " " }.count
            guard isInPaths, line.hasSuffix(":") else { continue }
            let name = line.dropFirst(depth).dropLast()
            if depth == 2 { path = String(name) }
            if depth == 4, name != "parameters" {
                operations.append("\(name.uppercased()) \(path)")
            }
        }
        return operations
    }

    @Test func `every JSON route is described, and nothing else is`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            let described = Self.operations(await browser.get("/v1/openapi.yaml").body)
            #expect(Set(described).count == described.count)
            var routes: Set<String> = []
            for (path, methods) in fixture.door.routes where path.hasPrefix("/v1/") {
                for method in methods.keys { routes.insert("\(method.rawValue) \(path)") }
            }
            #expect(!routes.isEmpty)
            #expect(Set(described) == routes)
        }
    }

    @Test(arguments: [("/", "https://app.example"), ("/auth", "https://app.example/auth")])
    func `the description has this site's address`(
        _ basePath: String, _ server: String
    ) async throws {
        try await with(basePath: basePath) { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            let base = basePath == "/" ? "" : basePath
            let answer = await browser.get(base + "/v1/openapi.yaml")
            #expect(answer.status == 200)
            #expect(answer.contentType == "application/yaml")
            #expect(answer.body.hasPrefix("openapi: 3.1"))
            let servers = answer.body.split(separator: "\n").filter { $0.hasPrefix("  - url: ") }
            #expect(servers == ["  - url: \(server)"])
        }
    }

    @Test func `whatever is 401 says how to authenticate`() async throws {
        try await with { (fixture: FrontFixture) async throws in
            var browser = Browser(fixture)
            let body = #"{"username":"ada","password":"\#(FrontFixture.password)"}"#
            for answer in [
                await browser.json("/v1/login", body), await browser.get("/v1/session"),
                await browser.signIn("ada"),
            ] {
                #expect(answer.status == 401)
                #expect(answer.header("www-authenticate") == "Gatehouse")
            }
        }
    }

    /// What is refused before a handler runs: an answer that came too late, a peer that is not the proxy.
    @Test func `programs get problem details where no page can be made`() async throws {
        try await with(basePath: "/auth") { (fixture: FrontFixture) async throws in
            for (target, type) in [
                ("/auth/v1/login", "application/problem+json"),
                ("/auth/login", "text/plain; charset=utf-8"),
            ] {
                let request = FrontRequest(
                    method: .post, target: target, authority: "app.example", fields: HTTPFields()
                ) { _ in nil }
                let answer = fixture.door.refuse(FrontRefusal.unavailable, request)
                #expect(answer.status == 503)
                #expect(answer.contentType == type)
                #expect(answer.headers.filter { $0.0 == .retryAfter }.map(\.1) == ["5"])
                #expect(answer.header("cache-control") == "no-store")
            }
        }
    }
}
