// Who is leaving, and what is counted without names: migration 13.

import GRDB

extension SQLiteSchema {
    static func createDepartures(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                -- Users who asked to be deleted, and when that is done.
                CREATE TABLE deletions (
                    user_id BLOB PRIMARY KEY REFERENCES users (id),
                    requested INTEGER NOT NULL,
                    due INTEGER NOT NULL CHECK (due >= requested)
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX deletions_by_due ON deletions (due);

                -- The last day on which a user was here, since 1970: nobody is counted twice.
                CREATE TABLE activity (
                    user_id BLOB PRIMARY KEY REFERENCES users (id),
                    day INTEGER NOT NULL CHECK (day >= 0)
                ) STRICT, WITHOUT ROWID;

                -- How many, by day and by week, which begins on its Monday.
                CREATE TABLE activity_counts (
                    period TEXT NOT NULL CHECK (period IN ('day', 'week')),
                    start INTEGER NOT NULL,
                    active INTEGER NOT NULL DEFAULT 0 CHECK (active >= 0),
                    registered INTEGER NOT NULL DEFAULT 0 CHECK (registered >= 0),
                    returned INTEGER NOT NULL DEFAULT 0 CHECK (returned BETWEEN 0 AND active),
                    PRIMARY KEY (period, start),
                    CHECK (period = 'day' OR (start + 3) % 7 = 0)
                ) STRICT, WITHOUT ROWID;

                -- One row: how often something was erased whose older pages the write-ahead log may
                -- have, and since when that is so.
                CREATE TABLE erasures (
                    id INTEGER PRIMARY KEY CHECK (id = 1),
                    count INTEGER NOT NULL CHECK (count >= 0),
                    since INTEGER
                ) STRICT;
                INSERT INTO erasures VALUES (1, 0, NULL);

                -- One row: when the store's time last went forward by more than servers let it.
                CREATE TABLE clock_leaps (
                    id INTEGER PRIMARY KEY CHECK (id = 1),
                    time INTEGER
                ) STRICT;
                INSERT INTO clock_leaps VALUES (1, NULL);

                -- The full address beside its network, as long as it is kept; its hash stays.
                ALTER TABLE audit_personal ADD COLUMN address TEXT
                    CHECK (length(CAST(address AS BLOB)) BETWEEN 1 AND 64);
                ALTER TABLE audit_personal ADD COLUMN address_salt BLOB
                    CHECK (length(address_salt) = 32)
                    CHECK ((address_salt IS NULL) = (address IS NULL));
                ALTER TABLE audit_personal ADD COLUMN address_hash BLOB
                    CHECK (length(address_hash) = 32)
                    CHECK (address_hash IS NOT NULL OR address IS NULL);
                CREATE INDEX audit_personal_addresses ON audit_personal (sequence)
                    WHERE address IS NOT NULL;
                -- Earlier releases wrote it as the place.
                CREATE INDEX audit_personal_places ON audit_personal (sequence)
                    WHERE substr(place, -3) NOT IN ('/24', '/48');
                """)
    }
}
