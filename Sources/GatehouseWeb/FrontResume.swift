// Coming back: proxies send browsers here after a 401, programs ask by themselves.

import GatehouseCore
import HTTPTypes

extension FrontDoor {
    /// Where a browser goes that is not signed in, to come back to one of our pages.
    func toSignIn(back local: String) -> FrontResponse {
        .redirect(to: path("/resume?return_to=\(path(local))"))
    }

    private func returning(
        _ request: FrontRequest, takesBearer: Bool
    ) -> Accounts.Returning {
        var session = sessionToken(request)
        if !takesBearer, session?.transport == .bearer { session = nil }
        return Accounts.Returning(
            sessions: session.map { [$0.token] }
                ?? request.cookies.values(settings.cookies.session),
            transport: session?.transport ?? .cookie,
            // A program with a token is no browser.
            remember: session?.transport == .bearer
                ? [] : request.cookies.values(settings.cookies.remember),
            origin: origin(request))
    }

    private func cookies(
        _ resumed: Accounts.Resumed, _ request: FrontRequest
    ) async -> [(HTTPField.Name, String)] {
        let cookies = settings.cookies
        var headers: [(HTTPField.Name, String)] = [
            (.setCookie, cookies.setting(cookies.session, to: resumed.token))
        ]
        if let remember = resumed.remember { headers.append(set(remember)) }
        if let begun = resumed.begun {
            headers += await deviceCookie(for: begun, request, series: begun.series)
        }
        return headers
    }

    /// The one GET that changes something: it does nothing that doing it once more would not do, and sets
    /// cookies of whoever sent them (DESIGN section 5). What fails deletes none: another tab may have just
    /// set them.
    func resume(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        let modes = request.values(FrontHeader.secFetchMode)
        guard modes.isEmpty || modes == [Array("navigate".utf8)] else {
            throw FrontRefusal(403, "navigation", "refusal.navigation")
        }
        let target = try request.returnTarget(allowed: settings.returnOrigins)
        switch await accounts.resume(returning(request, takesBearer: false)) {
        case .resumed(let resumed):
            // Somebody who comes back has not signed in, where they would have been told.
            let isUntold: Bool
            if resumed.begun == nil {
                isUntold = false
            } else {
                isUntold = await untold(resumed.claims) != nil
            }
            var response = FrontResponse.redirect(
                to: isUntold
                    ? path("/account/warnings") + returnQuery(target)
                    : target?.location ?? path("/account"))
            response.headers += await cookies(resumed, request)
            return response
        case .signedOut: return .redirect(to: path("/login") + returnQuery(target))
        case .agreementRequired:
            let back = target.map { "&return_to=" + $0.queryText } ?? ""
            return .redirect(to: path("/login?notice=agreements") + back)
        case .stolen:
            let back = target.map { "&return_to=" + $0.queryText } ?? ""
            return .redirect(to: path("/login?notice=stolen") + back)
        case .failed(let failure): throw .failed(failure)
        }
    }

    func apiResume(_ request: FrontRequest) async throws(FrontRefusal) -> FrontResponse {
        try requireMediaType(request, .json)
        try requireSameSite(request, body: .json)
        let returning = returning(request, takesBearer: true)
        switch await accounts.resume(returning) {
        case .resumed(let resumed):
            var body = SessionBody(resumed.claims)
            body.warnings = await untold(resumed.claims)
            if returning.transport == .bearer { body.token = resumed.token }
            var response = try FrontResponse.json(200, body)
            if returning.transport == .cookie {
                response.headers += await cookies(resumed, request)
            }
            return response
        case .signedOut, .agreementRequired, .stolen: throw Self.noSession
        case .failed(let failure): throw .failed(failure)
        }
    }
}
