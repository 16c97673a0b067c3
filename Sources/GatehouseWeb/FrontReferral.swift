// Arriving by the code of an affiliate or a promotion.

import GatehouseCore
import GatehousePeople
import HTTPTypes

extension FrontDoor {
    static let referralRoutes: [String: [HTTPRequest.Method: Handler]] = [:]
}
