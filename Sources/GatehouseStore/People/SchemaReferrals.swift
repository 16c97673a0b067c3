// Codes that people come by: migration 15.

import GRDB

extension Schema {
    static func createReferrals(_ db: Database) throws {
    }
}
