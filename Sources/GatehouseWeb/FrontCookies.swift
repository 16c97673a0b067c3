// What the cookies of a request name, and those that signing in and out sets and deletes.

import GatehouseCore
import HTTPTypes

extension FrontDoor {
    /// Every session and series that a token of the request opens to, live or not: sign-in and sign-out
    /// end them all (DESIGN section 5).
    func presented(_ request: FrontRequest) async -> PresentedIDs {
        var presented = PresentedIDs()
        for token in request.cookies.values(settings.cookies.session) {
            if let claims = await sealer.claims(of: token, transport: .cookie) {
                presented.sessions.append(claims.session)
            }
        }
        if let bearer = request.bearerToken,
            let claims = await sealer.claims(of: bearer, transport: .bearer)
        {
            presented.sessions.append(claims.session)
        }
        presented.series = await presentedSeries(request)
        return presented
    }

    func presentedSeries(_ request: FrontRequest) async -> [SeriesID] {
        var series: [SeriesID] = []
        for token in request.cookies.values(settings.cookies.remember) {
            if let content = await sealer.open(token, purpose: .remember, transport: .cookie),
                let claims = RememberClaims(content.span)
            {
                series.append(claims.series)
            }
        }
        return series
    }

    /// Where a request comes from, as its owner will see it unless another place is asked for.
    func origin(
        _ request: FrontRequest, place: AuditAddresses = .network
    ) -> SessionOrigin {
        SessionOrigin(
            browser: BrowserName.label(request.values(.userAgent)),
            place: place.place(request.address))
    }

    /// Whoever signs in with a request; all that it presents ends.
    func newClient(_ request: FrontRequest, _ transport: TokenTransport) async -> Accounts.Client {
        Accounts.Client(
            transport: transport, presented: await presented(request), origin: origin(request))
    }

    // MARK: Setting and deleting

    /// The cookies of somebody who has signed in, in the place of all that were there.
    func signInCookies(
        _ signedIn: Accounts.SignedIn, _ request: FrontRequest
    ) async -> [(HTTPField.Name, String)] {
        let cookies = settings.cookies
        var headers: [(HTTPField.Name, String)] = [
            (.setCookie, cookies.setting(cookies.session, to: signedIn.token)),
            // The pre-session ends here; the next form is bound to the session.
            (.setCookie, cookies.deleting(cookies.form)),
        ]
        if let remember = signedIn.remember {
            headers.append(set(remember))
        } else {
            // Unasked too: another answer may have set somebody else's since this request was sent.
            headers.append((.setCookie, cookies.deleting(cookies.remember)))
        }
        if let device = signedIn.device {
            headers.append(set(device))
        } else {
            headers += await deviceCookie(
                for: signedIn.session, request, series: signedIn.remember?.series)
        }
        return headers
    }

    /// Deletes the session and remember cookies that a request has.
    func deletions(_ request: FrontRequest) -> [(HTTPField.Name, String)] {
        let cookies = settings.cookies
        return [cookies.session, cookies.remember]
            .filter { !request.cookies.values($0).isEmpty }
            .map { (.setCookie, cookies.deleting($0)) }
    }

    /// The remember cookie, until its series ends.
    func set(_ remember: Accounts.RememberCookie) -> (HTTPField.Name, String) {
        let seconds = max(0, remember.deadline.seconds - clock().wall.seconds)
        return (
            .setCookie,
            settings.cookies.setting(
                settings.cookies.remember, to: remember.value, maximumAgeSeconds: seconds)
        )
    }

    /// Deletes the session's cookies and what the browser keeps of the site's pages; the device cookie
    /// stays. Not `"cookies"`, which would clear those of the whole registrable domain (REQUIREMENTS
    /// SES-11).
    var signOutHeaders: [(HTTPField.Name, String)] {
        let cookies = settings.cookies
        return [cookies.session, cookies.remember, cookies.form].map {
            (.setCookie, cookies.deleting($0))
        } + [(FrontHeader.clearSiteData, #""cache", "storage""#)]
    }
}
