// All that is held about a person, and how they leave: pages and JSON.

import GatehouseCore
import GatehousePeople
import HTTPTypes

extension FrontDoor {
    static let departureRoutes: [String: [HTTPRequest.Method: Handler]] = [:]
}
