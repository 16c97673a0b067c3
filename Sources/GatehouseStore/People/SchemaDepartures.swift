// Who is leaving, and what is counted without names: migration 13.

import GRDB

extension Schema {
    static func createDepartures(_ db: Database) throws {
    }
}
