// Where every route that takes `return_to` leads (REQUIREMENTS REDIR-1, section 10, item 41).

import GatehouseCore
import GatehouseTestSupport
import HTTPTypes
import Testing

@testable import GatehouseWeb

@Suite(.serialized) struct ReturnTargetFlowTests {
    private func isText(_ bytes: [UInt8]) -> Bool {
        String(validating: bytes, as: UTF8.self) != nil
    }

    private static func encoded(_ bytes: [UInt8]) -> String {
        bytes.map { "%" + $0.hex }.joined()
    }

    private func post(
        _ browser: inout Browser, _ path: String, _ target: [UInt8], _ form: String,
        _ fields: String = ""
    ) async -> FrontResponse {
        let body = "return_to=\(Self.encoded(target))&form=\(Browser.encode(form))" + fields
        return await browser.send(
            .post, path, body: Array(body.utf8), type: "application/x-www-form-urlencoded")
    }

    @Test func `no route leads elsewhere`() async throws {
        let fixture = try await FrontFixture(
            sessionLimit: 1000, returnOrigins: listedOrigins)
        _ = try await fixture.makeUser("ada")
        let password = "&password=" + Browser.encode(FrontFixture.password)
        var browser = Browser(fixture)
        _ = await browser.signIn("ada")
        var nobody = Browser(fixture)
        let nobodysForm = await nobody.formToken()
        let nobodysJar = nobody.cookies
        for (index, payload) in ReturnPayload.all.enumerated() {
            let isGood = !payload.expected.hasPrefix("!")
            let query = "?return_to=" + Self.encoded(payload.bytes)
            let back =
                isGood ? "?return_to=" + ReturnTarget.onlyFieldText(of: payload.expected) : ""
            func expect(_ answer: FrontResponse, _ location: String, _ route: String) {
                if isText(payload.bytes) {
                    #expect(answer.status == 303, "\(route): \(payload)")
                    #expect(answer.location == location, "\(route): \(payload)")
                } else {
                    #expect(answer.status == 400, "\(route): \(payload)")
                    #expect(answer.location == nil, "\(route): \(payload)")
                }
            }
            let form = await browser.formToken()
            let target = isGood ? payload.expected : nil
            expect(await browser.get("/resume" + query), target ?? "/account", "resume")
            expect(
                await browser.get("/account/warnings" + query), target ?? "/account", "warnings")
            expect(
                await post(&browser, "/account/warnings", payload.bytes, form, "&last=0"),
                target ?? "/account", "warnings")
            nobody.cookies = nobodysJar
            expect(await nobody.get("/resume" + query), "/login" + back, "resume, signed out")
            expect(await nobody.get("/confirm" + query), "/resume" + back, "confirm, signed out")
            expect(
                await post(&nobody, "/confirm", payload.bytes, nobodysForm, password),
                "/resume" + back, "confirm, signed out")
            expect(
                await post(&nobody, "/logout", payload.bytes, nobodysForm),
                target ?? "/login?notice=signed-out", "logout")
            // These hash a password each.
            guard index % 16 == 0 || !isGood && index % 8 == 0 else { continue }
            expect(
                await post(&browser, "/confirm", payload.bytes, form, password),
                target ?? "/account", "confirm")
            nobody.cookies = nobodysJar
            expect(
                await post(
                    &nobody, "/register", payload.bytes, nobodysForm,
                    "&username=user\(index)" + password),
                "/login?notice=registered"
                    + (isGood ? "&return_to=" + ReturnTarget.queryText(of: payload.expected) : ""),
                "register")
            nobody.cookies = nobodysJar
            expect(
                await post(
                    &nobody, "/login", payload.bytes, nobodysForm, "&username=ada" + password),
                target ?? "/account", "login")
        }
        await fixture.stop()
    }
}
