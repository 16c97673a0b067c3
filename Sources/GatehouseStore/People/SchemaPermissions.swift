// Grants, who looked at whom, and operators with a token: migration 14.

import GRDB

extension Schema {
    static func createPermissions(_ db: Database) throws {
    }
}
