// Codes that people come by: migration 15.

import GRDB

extension SQLiteSchema {
    static func createReferrals(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE referral_codes (
                    code TEXT PRIMARY KEY COLLATE BINARY
                        CHECK (length(CAST(code AS BLOB)) BETWEEN 1 AND 64
                            AND code NOT GLOB '*[^A-Za-z0-9._-]*' AND code NOT IN ('.', '..')),
                    label TEXT NOT NULL CHECK (length(CAST(label AS BLOB)) BETWEEN 1 AND 120),
                    created INTEGER NOT NULL,
                    until INTEGER,
                    retired INTEGER
                ) STRICT, WITHOUT ROWID;

                -- Which code a person came by, until they take it back or go.
                CREATE TABLE referrals (
                    user_id BLOB PRIMARY KEY CHECK (length(user_id) = 16)
                        REFERENCES users (id),
                    code TEXT NOT NULL REFERENCES referral_codes (code),
                    -- When they said yes.
                    time INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;

                -- Of nobody in particular: these stay.
                CREATE TABLE referral_counts (
                    code TEXT NOT NULL REFERENCES referral_codes (code),
                    month TEXT NOT NULL
                        CHECK (month GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]'),
                    arrivals INTEGER NOT NULL CHECK (arrivals >= 0),
                    registrations INTEGER NOT NULL CHECK (registrations >= 0),
                    PRIMARY KEY (code, month)
                ) STRICT, WITHOUT ROWID;
                """)
    }
}
