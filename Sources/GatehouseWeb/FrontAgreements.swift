// What people agreed to and chose: pages and JSON.

import GatehouseCore
import GatehousePeople
import HTTPTypes

extension FrontDoor {
    static let agreementRoutes: [String: [HTTPRequest.Method: Handler]] = [:]
}
