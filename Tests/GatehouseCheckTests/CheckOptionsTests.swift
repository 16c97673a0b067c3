// The options of a check: what each means, what is refused, and that nothing behind them counts.

import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseCheck

@Suite struct CheckOptionsTests {
    private let fixture: CheckFixture

    init() throws { fixture = try CheckFixture() }

    /// Reads what follows `/check`.
    private func options(_ rest: String) -> CheckOptions? { CheckOptions(Array(rest.utf8).span) }

    private func made(_ change: (inout CheckOptions) -> Void) -> CheckOptions {
        var options = CheckOptions()
        change(&options)
        return options
    }

    @Test func `each option means its own and nothing else`() {
        #expect(options(",passive") == made { $0.isPassive = true })
        #expect(options(",renew") == made { $0.renews = true })
        #expect(options(",bearer") == made { $0.isBearer = true })
        #expect(options(",optional") == made { $0.isOptional = true })
        #expect(options(",forward") == made { $0.forwards = true })
        #expect(options(",fresh=300") == made { $0.requirement.freshSeconds = 300 })
        #expect(options(",level=1") == made { _ in })
        #expect(options(",level=2") == made { $0.requirement.level = .password })
        #expect(options(",level=3") == made { $0.requirement.level = .secondFactor })
        #expect(options("") == made { _ in })
    }

    @Test func `options add up in any order`() {
        let all = made {
            $0 = CheckOptions()
            $0.isPassive = true
            $0.renews = true
            $0.isBearer = true
            $0.isOptional = true
            $0.forwards = true
            $0.requirement = SessionRequirement(freshSeconds: 60, level: .secondFactor)
        }
        var names = [
            "passive", "renew", "bearer", "optional", "forward", "fresh=60", "level=3",
        ]
        for _ in names.indices {
            names.append(names.removeFirst())
            #expect(options("," + names.joined(separator: ",")) == all)
            #expect(options("," + names.reversed().joined(separator: ",")) == all)
        }
    }

    @Test func `the numbers' limits are those of the design`() {
        #expect(options(",fresh=1")?.requirement.freshSeconds == 1)
        #expect(options(",fresh=2592000")?.requirement.freshSeconds == 2_592_000)
        for value in [
            "0", "2592001", "999999999", "1000000000", "99999999999999999999", "01", "00", "+1",
            "-1", "", "1e3", "1.0", "0x1", "1 ", " 1", "1_0", "१", "1%30", "\u{FF11}",
        ] {
            #expect(options(",fresh=\(value)") == nil, "fresh=\(value)")
        }
        for value in ["0", "4", "9", "10", "01", "+2", "-1", "", "2.0", "two", "%32", "256", "258"]
        {
            #expect(options(",level=\(value)") == nil, "level=\(value)")
        }
    }

    /// What the endpoint refuses, as it follows `/check`.
    static let refused = [
        ",", ",,", ",passive,", ",,passive", ",passive,,renew", ",unknown", ",passive,unknown",
        ",fresh", ",level", ",fresh=", ",level=", ",fresh=0", ",fresh=2592001", ",fresh=01",
        ",fresh=+1", ",fresh=1e3", ",level=0", ",level=4", ",level=01", ",passive,passive",
        ",renew,renew", ",bearer,bearer", ",optional,optional", ",forward,forward",
        ",fresh=1,fresh=1", ",fresh=300,fresh=1", ",level=2,level=1", ",level=3,fresh=9,level=3",
        ",Passive", ",RENEW", ",Bearer", ",oPtional", ",FORWARD", ",Fresh=1", ",LEVEL=2",
        ",passive=", ",passive=1", ",optional=0", ",bearer;", ",renew;", ",forward;", ",level=2;",
        ",%70assive", ",fresh%3D1", "%2Cpassive", ";passive", ",passive;optional",
        ",passive%2coptional",
        ",passive&optional", ",passive\\", ",passive#", ",passive.", "..", ".", "*", "=", ",*",
        ",level=2:443", ",fresh=3http://a",
    ]

    @Test(arguments: HarnessKind.allCases)
    func `unknown, repeated and malformed options are 400, and the connection closes`(
        _ kind: HarnessKind
    ) async throws {
        try await kind.run(fixture) { (harness: any CheckHarness) async throws in
            for rest in Self.refused {
                for behind in ["", "/", "?"] {
                    let answer = try await harness.answer(
                        fixture.request("GET /check\(rest)\(behind) HTTP/1.1"))
                    #expect(answer.status == 400, "\(rest)\(behind)")
                    #expect(answer.closes)
                }
            }
        }
    }

    /// The request target of a client, as a proxy may append it. One that begins with a comma can't
    /// come: it is no target (RFC 9112 section 3.2).
    private static let paths = [
        "/", "?", "//", "/?", "?/", "/,optional", "?,optional", "/,level=1", "/,fresh=2592000",
        "/,bearer", "/,passive,renew,optional,forward", "?,level=1,optional", "//,optional",
        "/./,optional", "/../check", "/../check,optional", "/..%2fcheck,optional", "/%2coptional",
        "?%2coptional", "/;optional", "?optional", "/optional", "/%00", "/%0d%0aX:%20y", "/\\..",
        "/,", "?,", "/,,", "/,unknown", "?,unknown=", "/,fresh=0", "/#", "?#", "/x,level=2,level=2",
    ]

    /// The same, but for forms and tricks that can't follow options.
    private static let refusedPaths = [
        "*", "*,optional", "http://a/", "http://a,optional/", "HTTPS://a/,optional", "a:443",
        "a,optional:443", "[::1]:443", "%2coptional", "%2Coptional", ";optional", ";,optional", "#",
        "#,optional", ".", "..", "../,optional", "\\", "\\,optional", "%2f,optional",
        "%3f,optional",
        "&optional", "=1", "=1,optional", "x", "x,optional", "0x", "_", "%", "\"", "'", "!", "~",
    ]

    private static func combinations() -> [String] {
        let names = [
            "passive", "renew", "bearer", "optional", "forward", "fresh=300", "level=2",
        ]
        return (0..<(1 << names.count)).map { bits in
            names.indices.filter { bits >> $0 & 1 == 1 }.map { ",\(names[$0])" }.joined()
        }
    }

    /// Everything that an option can be seen by, but for a renewed token's bytes.
    private func observed(_ loop: CheckLoop, _ request: String) -> [String] {
        var connection = CheckConnection(loop: loop, at: instant(noon).boot)
        let output = AnswerBuffer()
        _ = connection.receive(
            Array(request.utf8).span, loop: loop, at: instant(noon), into: output)
        return String(decoding: output.bytes, as: UTF8.self).split(separator: "\r\n").map {
            $0.hasPrefix("set-cookie: ") ? "set-cookie" : String($0)
        }
    }

    @Test func `what a client appends never makes a check weaker`() throws {
        let credentials = try [
            fixture.cookie(.sample(issued: noon - 600, authenticated: noon - 100)),
            fixture.cookie(.sample(issued: noon - 600, authenticated: noon - 600)),
            fixture.cookie(.sample(methods: [], level: .remembered, isRemembered: true)),
            fixture.bearer(.sample()),
            "X-Nothing: here",
        ]
        let loop = fixture.loop()
        for options in Self.combinations() {
            for credential in credentials {
                func observe(_ path: String) -> [String] {
                    observed(
                        loop,
                        fixture.request(
                            "GET /check\(options)\(path) HTTP/1.1", cookie: credential,
                            headers: ["Sec-Fetch-Mode: navigate"]))
                }
                let expected = observe("")
                #expect(expected.first?.hasPrefix("HTTP/1.1 400") == false)
                for path in Self.paths {
                    #expect(observe(path) == expected, "\(options) \(path) \(credential)")
                }
            }
            for path in Self.refusedPaths {
                let answer = observed(
                    loop, fixture.request("GET /check\(options)\(path) HTTP/1.1"))
                #expect(answer.first == "HTTP/1.1 400 Bad Request", "\(options) \(path)")
            }
        }
    }
}
