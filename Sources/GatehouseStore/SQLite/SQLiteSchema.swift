// The tables, as numbered migrations. They only go forward; one that was released never changes.

import GRDB

enum SQLiteSchema {
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1", migrate: createFirstTables)
        migrator.registerMigration("2", migrate: createLinks)
        migrator.registerMigration("3", migrate: addSkeletons)
        migrator.registerMigration("4", migrate: createAttempts)
        migrator.registerMigration("5", migrate: createDevices)
        migrator.registerMigration("6", migrate: createImports)
        migrator.registerMigration("7", migrate: createSeries)
        migrator.registerMigration("8", migrate: addRingKey)
        migrator.registerMigration("9", migrate: countKeyUse)
        migrator.registerMigration("10", migrate: chainAudit)
        migrator.registerMigration("11", migrate: createAgreements)
        migrator.registerMigration("12", migrate: createProfiles)
        migrator.registerMigration("13", migrate: createDepartures)
        migrator.registerMigration("14", migrate: createPermissions)
        migrator.registerMigration("15", migrate: createReferrals)
        migrator.registerMigration("16", migrate: meetPostgreSQL)
        return migrator
    }

    /// What a database of this release has applied.
    static let currentMigrations = Set((1...version).map { "\($0)" })
    static let version = 16

    /// Identifiers are 16-byte blobs, times are Unix seconds, names compare by their bytes.
    private static func createFirstTables(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                -- One row: the feed's end, the latest time of any write, the revocation by time.
                CREATE TABLE head (
                    id INTEGER PRIMARY KEY CHECK (id = 1),
                    sequence INTEGER NOT NULL CHECK (sequence >= 0),
                    latest_time INTEGER NOT NULL,
                    authenticated_floor INTEGER NOT NULL
                ) STRICT;
                INSERT INTO head VALUES (1, 0, 0, 0);

                CREATE TABLE users (
                    id BLOB PRIMARY KEY CHECK (length(id) = 16),
                    state TEXT NOT NULL CHECK (state IN ('enabled', 'disabled')),
                    epoch INTEGER NOT NULL CHECK (epoch BETWEEN 0 AND 4294967295),
                    created INTEGER NOT NULL,
                    password_hash TEXT
                ) STRICT, WITHOUT ROWID;

                -- Every name that anyone has or had; the primary key makes them unique.
                CREATE TABLE names (
                    canonical TEXT PRIMARY KEY COLLATE BINARY
                        CHECK (length(CAST(canonical AS BLOB)) BETWEEN 1 AND 64),
                    user_id BLOB NOT NULL REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
                    state TEXT NOT NULL CHECK (state IN ('live', 'former', 'deleted')),
                    since INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;
                CREATE UNIQUE INDEX names_live ON names (user_id) WHERE state = 'live';

                CREATE TABLE sessions (
                    id BLOB PRIMARY KEY CHECK (length(id) = 16),
                    user_id BLOB NOT NULL REFERENCES users (id),
                    epoch INTEGER NOT NULL CHECK (epoch BETWEEN 0 AND 4294967295),
                    created INTEGER NOT NULL,
                    authenticated INTEGER NOT NULL,
                    idle_deadline INTEGER NOT NULL,
                    absolute_deadline INTEGER NOT NULL CHECK (idle_deadline <= absolute_deadline),
                    methods INTEGER NOT NULL CHECK (methods BETWEEN 0 AND 65535),
                    level INTEGER NOT NULL CHECK (level BETWEEN 1 AND 3),
                    remembered INTEGER NOT NULL CHECK (remembered IN (0, 1)),
                    revoked INTEGER
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX sessions_by_user ON sessions (user_id, created);
                CREATE INDEX sessions_by_deadline ON sessions (absolute_deadline);

                -- kind 1: session; 2: user, value is the minimum epoch; 3: authenticated before value.
                CREATE TABLE feed (
                    sequence INTEGER PRIMARY KEY,
                    time INTEGER NOT NULL,
                    kind INTEGER NOT NULL CHECK (kind IN (1, 2, 3)),
                    subject BLOB CHECK (length(subject) = 16),
                    value INTEGER NOT NULL,
                    deadline INTEGER NOT NULL,
                    CHECK ((kind = 3) = (subject IS NULL))
                ) STRICT;
                CREATE INDEX feed_by_deadline ON feed (deadline);

                -- The wrapped ring, once for each root key that opens it.
                CREATE TABLE keyring (
                    root_key_id BLOB PRIMARY KEY CHECK (length(root_key_id) = 8),
                    version INTEGER NOT NULL CHECK (version > 0),
                    sealed BLOB NOT NULL
                ) STRICT, WITHOUT ROWID;

                CREATE TABLE key_usage (
                    key_id INTEGER PRIMARY KEY,
                    sealed INTEGER NOT NULL,
                    last_deadline INTEGER NOT NULL
                ) STRICT;

                CREATE TABLE nodes (
                    id BLOB PRIMARY KEY CHECK (length(id) = 16),
                    started INTEGER NOT NULL,
                    heartbeat INTEGER NOT NULL,
                    lease_seconds INTEGER NOT NULL,
                    position INTEGER NOT NULL,
                    keyring_version INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;

                -- Append only; names people by user id and nothing else.
                CREATE TABLE audit (
                    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
                    time INTEGER NOT NULL,
                    kind TEXT NOT NULL,
                    actor TEXT NOT NULL,
                    user_id BLOB CHECK (length(user_id) = 16),
                    session_id BLOB CHECK (length(session_id) = 16),
                    key_id INTEGER
                ) STRICT;
                CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
                BEGIN SELECT RAISE(ABORT, 'the audit trail is append only'); END;
                CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
                BEGIN SELECT RAISE(ABORT, 'the audit trail is append only'); END;
                """)
    }

    /// What the same statements need on both databases.
    private static func meetPostgreSQL(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                DROP INDEX audit_personal_places;
                CREATE INDEX audit_personal_places ON audit_personal (sequence)
                    WHERE place NOT LIKE '%/24' AND place NOT LIKE '%/48';
                -- The newest migration that a node's program knows.
                ALTER TABLE nodes ADD COLUMN schema_version INTEGER NOT NULL DEFAULT 15;
                """)
    }

    /// Single-use links, by the hash of their secret.
    private static func createLinks(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE links (
                    hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
                    kind TEXT NOT NULL CHECK (kind IN ('invitation', 'recovery')),
                    user_id BLOB REFERENCES users (id),
                    expires INTEGER NOT NULL,
                    used INTEGER,
                    CHECK ((kind = 'recovery') = (user_id IS NOT NULL))
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX links_by_expiry ON links (expires);
                """)
    }

    /// Names that look alike, and reserved names, which belong to nobody. A name that was given while
    /// another looked like it stays, with no skeleton of its own.
    private static func addSkeletons(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                -- One row: what the skeletons were made by.
                CREATE TABLE skeletons (
                    id INTEGER PRIMARY KEY CHECK (id = 1),
                    version TEXT NOT NULL
                ) STRICT;
                INSERT INTO skeletons VALUES (1, '');

                CREATE TABLE new_names (
                    canonical TEXT PRIMARY KEY COLLATE BINARY
                        CHECK (length(CAST(canonical AS BLOB)) BETWEEN 1 AND 64),
                    skeleton TEXT COLLATE BINARY
                        CHECK (length(CAST(skeleton AS BLOB)) BETWEEN 1 AND 1024),
                    user_id BLOB REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
                    state TEXT NOT NULL CHECK (state IN ('live', 'former', 'deleted', 'reserved')),
                    since INTEGER NOT NULL,
                    CHECK ((state = 'reserved') = (user_id IS NULL))
                ) STRICT, WITHOUT ROWID;
                INSERT INTO new_names (canonical, user_id, state, since)
                    SELECT canonical, user_id, state, since FROM names;
                DROP TABLE names;
                ALTER TABLE new_names RENAME TO names;
                CREATE UNIQUE INDEX names_live ON names (user_id) WHERE state = 'live';
                CREATE UNIQUE INDEX names_skeleton ON names (skeleton);
                CREATE INDEX names_by_user ON names (user_id);
                CREATE INDEX names_reserved ON names (canonical) WHERE state = 'reserved';
                """)
        _ = try NameTable.rewriteSkeletons(Database(SQLiteEngine(db)))
    }

    /// Counters of tried passwords, by a keyed hash of the name or device (``AttemptKey``).
    private static func createAttempts(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE attempts (
                    key BLOB PRIMARY KEY CHECK (length(key) = 32),
                    failures INTEGER NOT NULL CHECK (failures >= 0),
                    next INTEGER NOT NULL,
                    expires INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX attempts_by_expiry ON attempts (expires);
                """)
    }

    /// How far files of users have been imported.
    private static func createImports(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE imports (
                    file BLOB PRIMARY KEY CHECK (length(file) = 32),
                    digest BLOB NOT NULL CHECK (length(digest) = 32),
                    position INTEGER NOT NULL CHECK (position >= 0),
                    lines INTEGER NOT NULL CHECK (lines >= 0),
                    added INTEGER NOT NULL CHECK (added >= 0),
                    refused INTEGER NOT NULL CHECK (refused >= 0),
                    -- JSON: lines and reasons.
                    unreported TEXT NOT NULL,
                    updated INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;
                """)
    }

    /// Browsers that people are known in, and what they keep there. A device that ends is removed: its
    /// id is never made again, so no late write can bring it back.
    private static func createDevices(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE devices (
                    id BLOB PRIMARY KEY CHECK (length(id) = 16),
                    user_id BLOB NOT NULL REFERENCES users (id),
                    created INTEGER NOT NULL,
                    last_used INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX devices_by_user ON devices (user_id);
                CREATE INDEX devices_by_last_use ON devices (last_used);

                CREATE TABLE preferences (
                    device_id BLOB NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
                    key TEXT NOT NULL COLLATE BINARY
                        CHECK (length(CAST(key AS BLOB)) BETWEEN 1 AND 32),
                    value TEXT NOT NULL CHECK (length(CAST(value AS BLOB)) BETWEEN 1 AND 256),
                    PRIMARY KEY (device_id, key)
                ) STRICT, WITHOUT ROWID;
                """)
    }

    /// The ring under a ring key, and that one once for each root key. What an earlier release left has no
    /// ring key, and its wrap is empty: the next change of the ring, which takes the root key, adds it.
    private static func addRingKey(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE new_keyring (
                    id INTEGER PRIMARY KEY CHECK (id = 1),
                    version INTEGER NOT NULL CHECK (version > 0),
                    ring_key_id BLOB CHECK (length(ring_key_id) = 8),
                    sealed BLOB NOT NULL
                ) STRICT;
                CREATE TABLE keyring_wraps (
                    root_key_id BLOB PRIMARY KEY CHECK (length(root_key_id) = 8),
                    sealed BLOB NOT NULL
                ) STRICT, WITHOUT ROWID;
                INSERT INTO new_keyring
                    SELECT 1, version, NULL, sealed FROM keyring ORDER BY version DESC LIMIT 1;
                INSERT INTO keyring_wraps
                    SELECT root_key_id, x'' FROM keyring ORDER BY version DESC LIMIT 1;
                DROP TABLE keyring;
                ALTER TABLE new_keyring RENAME TO keyring;

                ALTER TABLE nodes ADD COLUMN root_key_id BLOB CHECK (length(root_key_id) = 8);
                -- Nodes of earlier releases rotate nothing by themselves.
                ALTER TABLE nodes ADD COLUMN rotates INTEGER NOT NULL DEFAULT 0
                    CHECK (rotates IN (0, 1));
                """)
    }

    /// "Remember me": series, the sessions that come of them, and what people are told of a stolen one.
    /// A series that ends is removed: its id is never made again, so no late write can bring it back.
    private static func createSeries(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE series (
                    id BLOB PRIMARY KEY CHECK (length(id) = 16),
                    user_id BLOB NOT NULL REFERENCES users (id),
                    epoch INTEGER NOT NULL CHECK (epoch BETWEEN 0 AND 4294967295),
                    created INTEGER NOT NULL,
                    authenticated INTEGER NOT NULL,
                    methods INTEGER NOT NULL CHECK (methods BETWEEN 0 AND 65535),
                    deadline INTEGER NOT NULL,
                    generation INTEGER NOT NULL CHECK (generation BETWEEN 1 AND 4294967295),
                    -- When the generation was made, and whether it or its session was ever presented.
                    made INTEGER NOT NULL,
                    presented INTEGER NOT NULL CHECK (presented IN (0, 1)),
                    -- The last session that came of it; its row may have expired.
                    session_id BLOB NOT NULL CHECK (length(session_id) = 16),
                    device_id BLOB CHECK (length(device_id) = 16),
                    browser TEXT CHECK (length(CAST(browser AS BLOB)) BETWEEN 1 AND 64),
                    place TEXT CHECK (length(CAST(place AS BLOB)) BETWEEN 1 AND 64)
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX series_by_user ON series (user_id);
                CREATE UNIQUE INDEX series_by_session ON series (session_id);
                CREATE INDEX series_by_deadline ON series (deadline);

                ALTER TABLE sessions ADD COLUMN series_id BLOB CHECK (length(series_id) = 16);
                -- To about a minute; null before the first use that was written.
                ALTER TABLE sessions ADD COLUMN last_used INTEGER;
                ALTER TABLE sessions ADD COLUMN browser TEXT
                    CHECK (length(CAST(browser AS BLOB)) BETWEEN 1 AND 64);
                ALTER TABLE sessions ADD COLUMN place TEXT
                    CHECK (length(CAST(place AS BLOB)) BETWEEN 1 AND 64);
                CREATE INDEX sessions_by_series ON sessions (series_id)
                    WHERE series_id IS NOT NULL;
                -- The sign-ins that have a limit: an operator may have issued any number beside them.
                CREATE INDEX sessions_signed_in ON sessions (user_id, created)
                    WHERE methods != 0 AND revoked IS NULL;

                -- Whether the password was given with it; until now no other way made one.
                ALTER TABLE devices ADD COLUMN proved INTEGER NOT NULL DEFAULT 1
                    CHECK (proved IN (0, 1));
                -- Whoever still has the cookie of a session that another took the place of.
                ALTER TABLE sessions ADD COLUMN superseded_by BLOB
                    CHECK (length(superseded_by) = 16);

                CREATE TABLE warnings (
                    id INTEGER PRIMARY KEY AUTOINCREMENT,
                    user_id BLOB NOT NULL REFERENCES users (id),
                    time INTEGER NOT NULL,
                    browser TEXT,
                    place TEXT
                ) STRICT;
                CREATE INDEX warnings_by_user ON warnings (user_id);
                CREATE INDEX warnings_by_time ON warnings (time);

                ALTER TABLE audit ADD COLUMN series_id BLOB CHECK (length(series_id) = 16);
                ALTER TABLE audit ADD COLUMN detail TEXT
                    CHECK (length(CAST(detail AS BLOB)) BETWEEN 1 AND 256);
                """)
    }

    /// Chains of audit entries. What earlier releases wrote has none; its digest is in the first checkpoint.
    private static func chainAudit(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                ALTER TABLE audit ADD COLUMN operator TEXT
                    CHECK (length(CAST(operator AS BLOB)) BETWEEN 1 AND 64);
                -- SHA-256 of what audit_personal has, or had.
                ALTER TABLE audit ADD COLUMN personal BLOB CHECK (length(personal) = 32);
                -- Of a checkpoint: chain, position and MAC of every chain that has grown.
                ALTER TABLE audit ADD COLUMN ends BLOB CHECK (length(ends) % 56 = 0);
                ALTER TABLE audit ADD COLUMN chain BLOB CHECK (length(chain) = 16);
                ALTER TABLE audit ADD COLUMN position INTEGER CHECK (position > 0);
                ALTER TABLE audit ADD COLUMN audit_key INTEGER;
                ALTER TABLE audit ADD COLUMN mac BLOB CHECK (length(mac) = 32);
                CREATE UNIQUE INDEX audit_by_chain ON audit (chain, position);
                CREATE INDEX audit_by_user ON audit (user_id) WHERE user_id IS NOT NULL;
                CREATE INDEX audit_checkpoints ON audit (sequence)
                    WHERE kind = 'audit_checkpoint';
                CREATE TRIGGER audit_chained BEFORE INSERT ON audit
                WHEN NEW.chain IS NULL OR NEW.position IS NULL OR NEW.audit_key IS NULL
                    OR NEW.mac IS NULL
                BEGIN SELECT RAISE(ABORT, 'an audit entry without a chain'); END;

                -- What can be erased of an entry.
                CREATE TABLE audit_personal (
                    sequence INTEGER PRIMARY KEY,
                    salt BLOB NOT NULL CHECK (length(salt) = 32),
                    place TEXT CHECK (length(CAST(place AS BLOB)) BETWEEN 1 AND 64),
                    browser TEXT CHECK (length(CAST(browser AS BLOB)) BETWEEN 1 AND 64),
                    reason TEXT CHECK (length(CAST(reason AS BLOB)) BETWEEN 1 AND 256)
                ) STRICT;

                -- Where each chain goes on after what retention removed.
                CREATE TABLE audit_bases (
                    chain BLOB PRIMARY KEY CHECK (length(chain) = 16),
                    position INTEGER NOT NULL CHECK (position > 0),
                    mac BLOB NOT NULL CHECK (length(mac) = 32),
                    audit_key INTEGER NOT NULL,
                    seal BLOB NOT NULL CHECK (length(seal) = 32)
                ) STRICT, WITHOUT ROWID;
                ALTER TABLE head ADD COLUMN audit_floor INTEGER NOT NULL DEFAULT 0;
                DROP TRIGGER audit_no_delete;
                CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
                WHEN OLD.sequence > (SELECT audit_floor FROM head)
                BEGIN SELECT RAISE(ABORT, 'the audit trail is append only'); END;
                """)
    }

    /// When what keys sealed expires, and what they opened in the last hour (``KeyTally``).
    private static func countKeyUse(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE key_deadlines (
                    key_id INTEGER NOT NULL,
                    -- No token of the row lives longer.
                    ends INTEGER NOT NULL,
                    sealed INTEGER NOT NULL CHECK (sealed > 0),
                    PRIMARY KEY (key_id, ends)
                ) STRICT, WITHOUT ROWID;
                -- Of what was sealed before, only the last deadline is known.
                INSERT INTO key_deadlines (key_id, ends, sealed)
                    SELECT key_id, last_deadline, sealed FROM key_usage WHERE sealed > 0;

                CREATE TABLE key_opens (
                    -- Since 1970.
                    minute INTEGER NOT NULL,
                    key_id INTEGER NOT NULL,
                    node_id BLOB NOT NULL CHECK (length(node_id) = 16),
                    opened INTEGER NOT NULL CHECK (opened > 0),
                    PRIMARY KEY (minute, key_id, node_id)
                ) STRICT, WITHOUT ROWID;
                """)
    }
}
