// Notices, and what people agreed to or chose: migration 11.

import GRDB

extension Schema {
    static func createAgreements(_ db: Database) throws {
    }
}
