// Grants, who looked at whom, and operators with a token: migration 14.

import GRDB

extension SQLiteSchema {
    static func createPermissions(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                -- What a person let support do.
                CREATE TABLE grants (
                    id BLOB PRIMARY KEY CHECK (length(id) = 16),
                    user_id BLOB NOT NULL REFERENCES users (id),
                    reason TEXT NOT NULL CHECK (length(CAST(reason AS BLOB)) BETWEEN 1 AND 256),
                    scope TEXT NOT NULL CHECK (scope IN ('see', 'act')),
                    -- The only one who may use it; null for any operator.
                    operator TEXT CHECK (length(CAST(operator AS BLOB)) BETWEEN 1 AND 32),
                    given INTEGER NOT NULL,
                    ends INTEGER NOT NULL CHECK (ends > given),
                    revoked INTEGER
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX grants_by_user ON grants (user_id, given);

                -- Every look at a person, by a grant of theirs or without their permission.
                CREATE TABLE looks (
                    id INTEGER PRIMARY KEY AUTOINCREMENT,
                    user_id BLOB NOT NULL REFERENCES users (id),
                    time INTEGER NOT NULL,
                    operator TEXT NOT NULL
                        CHECK (length(CAST(operator AS BLOB)) BETWEEN 1 AND 32),
                    grant_id BLOB CHECK (length(grant_id) = 16),
                    -- Why it was done without permission.
                    reason TEXT CHECK (length(CAST(reason AS BLOB)) BETWEEN 1 AND 256),
                    seen TEXT NOT NULL
                        CHECK (seen IN ('account', 'sign_ins', 'token', 'audit', 'export', 'found',
                            'recovery', 'session')),
                    -- The session in which the operator acts.
                    session_id BLOB CHECK (length(session_id) = 16),
                    -- Whether the person has put away what tells of it.
                    told INTEGER NOT NULL DEFAULT 0 CHECK (told IN (0, 1)),
                    CHECK ((grant_id IS NULL) = (reason IS NOT NULL)),
                    CHECK ((seen = 'session') = (session_id IS NOT NULL))
                ) STRICT;
                CREATE INDEX looks_by_user ON looks (user_id, id);
                CREATE INDEX looks_by_grant ON looks (grant_id) WHERE grant_id IS NOT NULL;
                CREATE UNIQUE INDEX looks_by_session ON looks (session_id)
                    WHERE session_id IS NOT NULL;
                CREATE INDEX looks_untold ON looks (user_id)
                    WHERE grant_id IS NULL AND told = 0;
                CREATE INDEX looks_recovery ON looks (user_id, time) WHERE seen = 'recovery';

                -- Operators who ask over the admin endpoint; a name is given once.
                CREATE TABLE admin_tokens (
                    name TEXT PRIMARY KEY COLLATE BINARY
                        CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 32),
                    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
                    created INTEGER NOT NULL,
                    last_used INTEGER,
                    revoked INTEGER
                ) STRICT, WITHOUT ROWID;

                -- Made for tests and measurements: nobody's records.
                ALTER TABLE users ADD COLUMN test INTEGER NOT NULL DEFAULT 0
                    CHECK (test IN (0, 1));
                -- Nodes of earlier releases open the first version only.
                ALTER TABLE nodes ADD COLUMN claims_version INTEGER NOT NULL DEFAULT 1
                    CHECK (claims_version BETWEEN 1 AND 255);
                """)
    }
}
