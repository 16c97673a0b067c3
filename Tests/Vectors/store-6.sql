-- A database as the release before people were remembered left it (migrations 1 to 6): a user with a
-- live session and a revoked one.
PRAGMA journal_mode = WAL;
CREATE TABLE grdb_migrations (identifier TEXT NOT NULL PRIMARY KEY);
INSERT INTO grdb_migrations VALUES ('1'), ('2'), ('3'), ('4'), ('5'), ('6');

CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    latest_time INTEGER NOT NULL,
    authenticated_floor INTEGER NOT NULL
) STRICT;
CREATE TABLE users (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    state TEXT NOT NULL CHECK (state IN ('enabled', 'disabled')),
    epoch INTEGER NOT NULL CHECK (epoch BETWEEN 0 AND 4294967295),
    created INTEGER NOT NULL,
    password_hash TEXT
) STRICT, WITHOUT ROWID;
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
CREATE TABLE links (
    hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
    kind TEXT NOT NULL CHECK (kind IN ('invitation', 'recovery')),
    user_id BLOB REFERENCES users (id),
    expires INTEGER NOT NULL,
    used INTEGER,
    CHECK ((kind = 'recovery') = (user_id IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX links_by_expiry ON links (expires);
CREATE TABLE skeletons (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    version TEXT NOT NULL
) STRICT;
CREATE TABLE names (
    canonical TEXT PRIMARY KEY COLLATE BINARY
        CHECK (length(CAST(canonical AS BLOB)) BETWEEN 1 AND 64),
    skeleton TEXT COLLATE BINARY
        CHECK (length(CAST(skeleton AS BLOB)) BETWEEN 1 AND 1024),
    user_id BLOB REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
    state TEXT NOT NULL CHECK (state IN ('live', 'former', 'deleted', 'reserved')),
    since INTEGER NOT NULL,
    CHECK ((state = 'reserved') = (user_id IS NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX names_live ON names (user_id) WHERE state = 'live';
CREATE UNIQUE INDEX names_skeleton ON names (skeleton);
CREATE INDEX names_by_user ON names (user_id);
CREATE INDEX names_reserved ON names (canonical) WHERE state = 'reserved';
CREATE TABLE attempts (
    key BLOB PRIMARY KEY CHECK (length(key) = 32),
    failures INTEGER NOT NULL CHECK (failures >= 0),
    next INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_by_expiry ON attempts (expires);
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

INSERT INTO head VALUES (1, 0, 0, 0);
INSERT INTO skeletons VALUES (1, '');
INSERT INTO users VALUES (x'0198f3a27c5b4d1e8a90b1c2d3e4f506', 'enabled', 0, 1795520600, '$old');
INSERT INTO names VALUES ('ada', 'ada', x'0198f3a27c5b4d1e8a90b1c2d3e4f506', 'live', 1795520600);
INSERT INTO sessions VALUES (x'5e551000000000000000000000000001', x'0198f3a27c5b4d1e8a90b1c2d3e4f506', 0,
    1795521600, 1795521600, 1795525200, 1795608000, 1, 2, 0, NULL);
INSERT INTO sessions VALUES (x'5e551000000000000000000000000002', x'0198f3a27c5b4d1e8a90b1c2d3e4f506', 0,
    1795521100, 1795521100, 1795524700, 1795607500, 1, 2, 0, 1795521200);
INSERT INTO feed VALUES (1, 1795521200, 1, x'5e551000000000000000000000000002', 0, 1795607500);
INSERT INTO key_usage VALUES (7, 2, 1795608000);
INSERT INTO audit VALUES (1, 1795520600, 'user_created', 'command',
    x'0198f3a27c5b4d1e8a90b1c2d3e4f506', NULL, NULL);
UPDATE head SET sequence = 1, latest_time = 1795521600;
