// Notices, and what people agreed to or chose: migration 11.

import GRDB

extension SQLiteSchema {
    static func createAgreements(_ db: GRDB.Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE notices (
                    document TEXT NOT NULL COLLATE BINARY
                        CHECK (length(CAST(document AS BLOB)) BETWEEN 1 AND 32),
                    version INTEGER NOT NULL CHECK (version BETWEEN 1 AND 1000000),
                    title TEXT NOT NULL CHECK (length(CAST(title AS BLOB)) BETWEEN 1 AND 100),
                    text TEXT NOT NULL CHECK (length(CAST(text AS BLOB)) BETWEEN 1 AND 65536),
                    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
                    published INTEGER NOT NULL,
                    effective INTEGER NOT NULL CHECK (effective >= published),
                    required_from INTEGER CHECK (required_from >= effective),
                    withdrawn INTEGER CHECK (withdrawn >= published AND withdrawn < effective),
                    PRIMARY KEY (document, version)
                ) STRICT;
                CREATE TRIGGER notices_fixed BEFORE UPDATE ON notices
                WHEN OLD.withdrawn IS NOT NULL OR NEW.withdrawn IS NULL
                    OR NEW.document IS NOT OLD.document OR NEW.version IS NOT OLD.version
                    OR NEW.title IS NOT OLD.title OR NEW.text IS NOT OLD.text
                    OR NEW.sha256 IS NOT OLD.sha256 OR NEW.published IS NOT OLD.published
                    OR NEW.effective IS NOT OLD.effective
                    OR NEW.required_from IS NOT OLD.required_from
                    OR NEW.withdrawn < (SELECT latest_time FROM head)
                BEGIN SELECT RAISE(ABORT, 'what was published does not change'); END;
                CREATE TRIGGER notices_stay BEFORE DELETE ON notices
                BEGIN SELECT RAISE(ABORT, 'what was published stays'); END;
                CREATE TRIGGER notices_in_order BEFORE INSERT ON notices
                WHEN NEW.withdrawn IS NOT NULL OR NEW.version IS NOT
                    (SELECT coalesce(max(version), 0) + 1 FROM notices
                        WHERE document = NEW.document)
                BEGIN SELECT RAISE(ABORT, 'versions are counted from one'); END;
                -- Or the wait would begin before people could read it.
                CREATE TRIGGER notices_not_backdated BEFORE INSERT ON notices
                WHEN NEW.published < (SELECT latest_time FROM head)
                    OR NEW.published < (SELECT max(published) FROM notices
                        WHERE document = NEW.document)
                BEGIN SELECT RAISE(ABORT, 'nothing is published in the past'); END;

                -- Append only: what holds is the last row of a subject.
                CREATE TABLE agreements (
                    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
                    user_id BLOB NOT NULL REFERENCES users (id),
                    kind TEXT NOT NULL CHECK (kind IN ('document', 'purpose')),
                    name TEXT NOT NULL COLLATE BINARY
                        CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 32),
                    version INTEGER NOT NULL CHECK (version BETWEEN 1 AND 1000000),
                    given INTEGER NOT NULL CHECK (given IN (0, 1)),
                    time INTEGER NOT NULL
                ) STRICT;
                CREATE INDEX agreements_by_user ON agreements (user_id, kind, name, sequence);
                CREATE TRIGGER agreements_fixed BEFORE UPDATE ON agreements
                BEGIN SELECT RAISE(ABORT, 'what was said does not change'); END;
                CREATE TRIGGER agreements_to_notices BEFORE INSERT ON agreements
                WHEN NEW.kind = 'document' AND NOT EXISTS
                    (SELECT 1 FROM notices WHERE document = NEW.name AND version = NEW.version)
                BEGIN SELECT RAISE(ABORT, 'there is no such notice'); END;
                """)
    }
}
