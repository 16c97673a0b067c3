// Profiles, sealed, with their history: migration 12.

import GRDB

extension Schema {
    static func createProfiles(_ db: Database) throws {
    }
}
