// What people say of themselves: pages and JSON.

import GatehouseCore
import GatehousePeople
import HTTPTypes

extension FrontDoor {
    static let profileRoutes: [String: [HTTPRequest.Method: Handler]] = [:]
}
