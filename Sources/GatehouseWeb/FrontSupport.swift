// Who may look at a person, and who did: pages and JSON.

import GatehouseCore
import GatehousePeople
import HTTPTypes

extension FrontDoor {
    static let supportRoutes: [String: [HTTPRequest.Method: Handler]] = [:]
}
