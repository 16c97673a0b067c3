// Whom to ask: security.txt, a well-known file of the host.

import GatehouseCore
import HTTPTypes

extension FrontDoor {
    static let securityRoutes: [HTTPRequest.Method: Handler] = [
        .get: { door, _ throws(FrontRefusal) in
            guard
                let file = door.settings.security.file(
                    origin: door.settings.origins.listed.first, at: door.clock().wall)
            else { throw notFound }
            return FrontResponse(
                status: 200, contentType: "text/plain; charset=utf-8", body: file)
        }
    ]
}
