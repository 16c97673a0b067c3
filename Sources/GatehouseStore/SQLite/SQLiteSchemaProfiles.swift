// Profiles, sealed, with their history: migration 12.

import GRDB

extension SQLiteSchema {
    static func createProfiles(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE profiles (
                    user_id BLOB PRIMARY KEY REFERENCES users (id),
                    -- Counted from one; a change is made to the revision that was read.
                    revision INTEGER NOT NULL CHECK (revision > 0),
                    updated INTEGER NOT NULL,
                    -- Of the newest entry of the history, zero before the first.
                    last_sequence INTEGER NOT NULL CHECK (last_sequence >= 0),
                    key_id INTEGER NOT NULL CHECK (key_id > 0),
                    -- Nonce (24), a multiple of 256 bytes, tag (16).
                    sealed BLOB NOT NULL
                        CHECK (length(sealed) > 40 AND (length(sealed) - 40) % 256 = 0)
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX profiles_by_key ON profiles (key_id);

                CREATE TABLE profile_history (
                    user_id BLOB NOT NULL REFERENCES profiles (user_id) ON DELETE CASCADE,
                    sequence INTEGER NOT NULL CHECK (sequence > 0),
                    time INTEGER NOT NULL,
                    key_id INTEGER NOT NULL CHECK (key_id > 0),
                    sealed BLOB NOT NULL
                        CHECK (length(sealed) > 40 AND (length(sealed) - 40) % 256 = 0),
                    PRIMARY KEY (user_id, sequence)
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX profile_history_by_key ON profile_history (key_id);

                -- HMAC of what fields say that the operator wants to find people by.
                CREATE TABLE profile_digests (
                    field TEXT NOT NULL CHECK (length(CAST(field AS BLOB)) BETWEEN 1 AND 32),
                    digest BLOB NOT NULL CHECK (length(digest) = 32),
                    user_id BLOB NOT NULL REFERENCES profiles (user_id) ON DELETE CASCADE,
                    key_id INTEGER NOT NULL CHECK (key_id > 0),
                    PRIMARY KEY (field, digest, user_id)
                ) STRICT, WITHOUT ROWID;
                CREATE UNIQUE INDEX profile_digests_by_user ON profile_digests (user_id, field);
                CREATE INDEX profile_digests_by_key ON profile_digests (key_id);
                """)
    }
}
