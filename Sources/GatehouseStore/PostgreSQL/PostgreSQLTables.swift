// The tables that PostgreSQL's store begins with: sessions, keys, nodes, names and the audit trail.

import GatehouseCore

extension PostgreSQLSchema {
    /// What the other statements rest on.
    static let functions = """
        -- SQLite's functions of two values, null if either is; the aggregates of these names take one.
        CREATE FUNCTION max(a bigint, b bigint) RETURNS bigint
            LANGUAGE sql IMMUTABLE PARALLEL SAFE
            AS $$ SELECT CASE WHEN a >= b THEN a WHEN a < b THEN b END $$;
        CREATE FUNCTION min(a bigint, b bigint) RETURNS bigint
            LANGUAGE sql IMMUTABLE PARALLEL SAFE
            AS $$ SELECT CASE WHEN a <= b THEN a WHEN a > b THEN b END $$;

        -- What a trigger refuses, in its argument's words.
        CREATE FUNCTION gatehouse_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = 'integrity_constraint_violation';
        END $$;
        """

    /// Users, names, sessions, the feed, keys and nodes.
    static let coreTables = """
        -- One row: the feed's end, the latest time of any write, the revocation by time. Every write changes
        -- it: free room lets the new version stay on its page, beside no index.
        CREATE TABLE head (
            id bigint PRIMARY KEY CHECK (id = 1),
            sequence bigint NOT NULL CHECK (sequence >= 0),
            latest_time bigint NOT NULL,
            authenticated_floor bigint NOT NULL,
            audit_floor bigint NOT NULL DEFAULT 0,
            -- The last number of an audit entry: a sequence would leave gaps after what is rolled back.
            audit_sequence bigint NOT NULL DEFAULT 0 CHECK (audit_sequence >= 0),
            -- Made at random: tells this database from another that is put in its place.
            store_id bytea NOT NULL CHECK (octet_length(store_id) = 16)
        ) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0,
            autovacuum_vacuum_cost_delay = 0);
        INSERT INTO head VALUES (1, 0, 0, 0, 0, 0, uuid_send(gen_random_uuid()));

        CREATE TABLE users (
            id bytea PRIMARY KEY CHECK (octet_length(id) = 16),
            state text COLLATE "C" NOT NULL CHECK (state IN ('enabled', 'disabled')),
            epoch bigint NOT NULL CHECK (epoch BETWEEN 0 AND 4294967295),
            created bigint NOT NULL,
            password_hash text COLLATE "C",
            -- Made for tests and measurements: nobody's records.
            test bigint NOT NULL DEFAULT 0 CHECK (test IN (0, 1))
        );

        -- One row: what the skeletons were made by, as those of the first names will be.
        CREATE TABLE skeletons (
            id bigint PRIMARY KEY CHECK (id = 1),
            version text COLLATE "C" NOT NULL
        );
        INSERT INTO skeletons VALUES (1, '\(Username.skeletonVersion)');

        -- Every name that anyone has or had, and those that nobody can have; the keys make them unique.
        CREATE TABLE names (
            canonical text COLLATE "C" PRIMARY KEY CHECK (octet_length(canonical) BETWEEN 1 AND 64),
            skeleton text COLLATE "C" CHECK (octet_length(skeleton) BETWEEN 1 AND 1024),
            user_id bytea REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
            state text COLLATE "C" NOT NULL
                CHECK (state IN ('live', 'former', 'deleted', 'reserved')),
            since bigint NOT NULL,
            CHECK ((state = 'reserved') = (user_id IS NULL))
        );
        CREATE UNIQUE INDEX names_live ON names (user_id) WHERE state = 'live';
        CREATE UNIQUE INDEX names_skeleton ON names (skeleton);
        CREATE INDEX names_by_user ON names (user_id);
        CREATE INDEX names_reserved ON names (canonical) WHERE state = 'reserved';

        -- A key of a partitioned table has to have the column that it is partitioned by. No two ids are
        -- alike without it: they are 128 random bits.
        CREATE TABLE sessions (
            id bytea NOT NULL CHECK (octet_length(id) = 16),
            user_id bytea NOT NULL REFERENCES users (id) DEFERRABLE,
            epoch bigint NOT NULL CHECK (epoch BETWEEN 0 AND 4294967295),
            created bigint NOT NULL,
            authenticated bigint NOT NULL,
            idle_deadline bigint NOT NULL,
            absolute_deadline bigint NOT NULL,
            methods bigint NOT NULL CHECK (methods BETWEEN 0 AND 65535),
            level bigint NOT NULL CHECK (level BETWEEN 1 AND 3),
            remembered bigint NOT NULL CHECK (remembered IN (0, 1)),
            revoked bigint,
            series_id bytea CHECK (octet_length(series_id) = 16),
            -- To about a minute; null before the first use that was written.
            last_used bigint,
            browser text COLLATE "C" CHECK (octet_length(browser) BETWEEN 1 AND 64),
            place text COLLATE "C" CHECK (octet_length(place) BETWEEN 1 AND 64),
            -- Whoever still has the cookie of a session that another took the place of.
            superseded_by bytea CHECK (octet_length(superseded_by) = 16),
            PRIMARY KEY (id, absolute_deadline),
            CHECK (idle_deadline <= absolute_deadline)
        ) PARTITION BY RANGE (absolute_deadline);
        CREATE INDEX sessions_by_user ON sessions (user_id, created);
        CREATE INDEX sessions_by_series ON sessions (series_id) WHERE series_id IS NOT NULL;
        -- The sign-ins that have a limit: an operator may have issued any number beside them.
        CREATE INDEX sessions_signed_in ON sessions (user_id, created)
            WHERE methods != 0 AND revoked IS NULL;
        CREATE TABLE sessions_default PARTITION OF sessions DEFAULT;

        -- kind 1: session; 2: user, value is the minimum epoch; 3: authenticated before value. The locked
        -- row of head makes the numbers unique.
        CREATE TABLE feed (
            sequence bigint NOT NULL,
            time bigint NOT NULL,
            kind bigint NOT NULL CHECK (kind IN (1, 2, 3)),
            subject bytea CHECK (octet_length(subject) = 16),
            value bigint NOT NULL,
            deadline bigint NOT NULL,
            PRIMARY KEY (sequence, deadline),
            CHECK ((kind = 3) = (subject IS NULL))
        ) PARTITION BY RANGE (deadline);
        CREATE TABLE feed_default PARTITION OF feed DEFAULT;

        -- The ring under a ring key, and that one once for each root key.
        CREATE TABLE keyring (
            id bigint PRIMARY KEY CHECK (id = 1),
            version bigint NOT NULL CHECK (version > 0),
            ring_key_id bytea CHECK (octet_length(ring_key_id) = 8),
            sealed bytea NOT NULL
        );
        CREATE TABLE keyring_wraps (
            root_key_id bytea PRIMARY KEY CHECK (octet_length(root_key_id) = 8),
            sealed bytea NOT NULL
        );

        CREATE TABLE key_usage (
            key_id bigint PRIMARY KEY,
            sealed bigint NOT NULL,
            last_deadline bigint NOT NULL
        );
        CREATE TABLE key_deadlines (
            key_id bigint NOT NULL,
            -- No token of the row lives longer.
            ends bigint NOT NULL,
            sealed bigint NOT NULL CHECK (sealed > 0),
            PRIMARY KEY (key_id, ends)
        );
        CREATE TABLE key_opens (
            -- Since 1970.
            minute bigint NOT NULL,
            key_id bigint NOT NULL,
            node_id bytea NOT NULL CHECK (octet_length(node_id) = 16),
            opened bigint NOT NULL CHECK (opened > 0),
            PRIMARY KEY (minute, key_id, node_id)
        );

        CREATE TABLE nodes (
            id bytea PRIMARY KEY CHECK (octet_length(id) = 16),
            started bigint NOT NULL,
            heartbeat bigint NOT NULL,
            lease_seconds bigint NOT NULL,
            position bigint NOT NULL,
            keyring_version bigint NOT NULL,
            root_key_id bytea CHECK (octet_length(root_key_id) = 8),
            rotates bigint NOT NULL DEFAULT 0 CHECK (rotates IN (0, 1)),
            claims_version bigint NOT NULL DEFAULT 1 CHECK (claims_version BETWEEN 1 AND 255),
            -- The newest schema that its program knows.
            schema_version bigint NOT NULL CHECK (schema_version > 0)
        ) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 1000,
            autovacuum_vacuum_scale_factor = 0);
        -- A program may have opened the store before a migration shut it out.
        CREATE FUNCTION gatehouse_admit_node() RETURNS trigger LANGUAGE plpgsql
            SET search_path FROM CURRENT AS $$
        BEGIN
            IF NEW.schema_version < (SELECT max(compatible) FROM schema_versions) THEN
                RAISE EXCEPTION 'the schema is newer than the program'
                    USING ERRCODE = 'object_not_in_prerequisite_state';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER nodes_admitted BEFORE INSERT ON nodes FOR EACH ROW
            EXECUTE FUNCTION gatehouse_admit_node();
        """

    /// The audit trail.
    static let auditTables = """
        -- Append only; names people by user id and nothing else.
        CREATE TABLE audit (
            sequence bigint PRIMARY KEY,
            time bigint NOT NULL,
            kind text COLLATE "C" NOT NULL,
            actor text COLLATE "C" NOT NULL,
            user_id bytea CHECK (octet_length(user_id) = 16),
            session_id bytea CHECK (octet_length(session_id) = 16),
            key_id bigint,
            series_id bytea CHECK (octet_length(series_id) = 16),
            detail text COLLATE "C" CHECK (octet_length(detail) BETWEEN 1 AND 256),
            operator text COLLATE "C" CHECK (octet_length(operator) BETWEEN 1 AND 64),
            -- SHA-256 of what audit_personal has, or had.
            personal bytea CHECK (octet_length(personal) = 32),
            -- Of a checkpoint: chain, position and MAC of every chain that has grown.
            ends bytea CHECK (octet_length(ends) % 56 = 0),
            chain bytea CHECK (octet_length(chain) = 16),
            position bigint CHECK (position > 0),
            audit_key bigint,
            mac bytea CHECK (octet_length(mac) = 32)
        );
        CREATE UNIQUE INDEX audit_by_chain ON audit (chain, position);
        CREATE INDEX audit_by_user ON audit (user_id) WHERE user_id IS NOT NULL;
        CREATE INDEX audit_checkpoints ON audit (sequence) WHERE kind = 'audit_checkpoint';
        CREATE TRIGGER audit_chained BEFORE INSERT ON audit FOR EACH ROW
            WHEN (NEW.chain IS NULL OR NEW.position IS NULL OR NEW.audit_key IS NULL OR NEW.mac IS NULL)
            EXECUTE FUNCTION gatehouse_refuse('an audit entry without a chain');
        CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit FOR EACH ROW
            EXECUTE FUNCTION gatehouse_refuse('the audit trail is append only');
        CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit
            EXECUTE FUNCTION gatehouse_refuse('the audit trail is append only');
        CREATE FUNCTION gatehouse_keep_audit() RETURNS trigger LANGUAGE plpgsql
            SET search_path FROM CURRENT AS $$
        BEGIN
            IF OLD.sequence > (SELECT audit_floor FROM head) THEN
                RAISE EXCEPTION 'the audit trail is append only'
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN OLD;
        END $$;
        CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit FOR EACH ROW
            EXECUTE FUNCTION gatehouse_keep_audit();

        -- What can be erased of an entry.
        CREATE TABLE audit_personal (
            sequence bigint PRIMARY KEY,
            salt bytea NOT NULL CHECK (octet_length(salt) = 32),
            place text COLLATE "C" CHECK (octet_length(place) BETWEEN 1 AND 64),
            browser text COLLATE "C" CHECK (octet_length(browser) BETWEEN 1 AND 64),
            reason text COLLATE "C" CHECK (octet_length(reason) BETWEEN 1 AND 256),
            -- The full address beside its network, as long as it is kept; its hash stays.
            address text COLLATE "C" CHECK (octet_length(address) BETWEEN 1 AND 64),
            address_salt bytea CHECK (octet_length(address_salt) = 32),
            address_hash bytea CHECK (octet_length(address_hash) = 32),
            CHECK ((address_salt IS NULL) = (address IS NULL)),
            CHECK (address_hash IS NOT NULL OR address IS NULL)
        );
        CREATE INDEX audit_personal_addresses ON audit_personal (sequence) WHERE address IS NOT NULL;
        CREATE INDEX audit_personal_places ON audit_personal (sequence)
            WHERE place NOT LIKE '%/24' AND place NOT LIKE '%/48';

        -- Where each chain goes on after what retention removed.
        CREATE TABLE audit_bases (
            chain bytea PRIMARY KEY CHECK (octet_length(chain) = 16),
            position bigint NOT NULL CHECK (position > 0),
            mac bytea NOT NULL CHECK (octet_length(mac) = 32),
            audit_key bigint NOT NULL,
            seal bytea NOT NULL CHECK (octet_length(seal) = 32)
        );
        """

    /// What is needed to sign in: links, counters, devices and series.
    static let signInTables = """
        -- Single-use links, by the hash of their secret.
        CREATE TABLE links (
            hash bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
            kind text COLLATE "C" NOT NULL CHECK (kind IN ('invitation', 'recovery')),
            user_id bytea REFERENCES users (id) DEFERRABLE,
            expires bigint NOT NULL,
            used bigint,
            CHECK ((kind = 'recovery') = (user_id IS NOT NULL))
        );
        CREATE INDEX links_by_expiry ON links (expires);
        CREATE INDEX links_by_user ON links (user_id) WHERE user_id IS NOT NULL;

        -- Counters of tried passwords, by a keyed hash of the name or device.
        CREATE TABLE attempts (
            key bytea PRIMARY KEY CHECK (octet_length(key) = 32),
            failures bigint NOT NULL CHECK (failures >= 0),
            next bigint NOT NULL,
            expires bigint NOT NULL
        ) WITH (fillfactor = 80, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02);
        CREATE INDEX attempts_by_expiry ON attempts (expires);

        -- How far files of users have been imported.
        CREATE TABLE imports (
            file bytea PRIMARY KEY CHECK (octet_length(file) = 32),
            digest bytea NOT NULL CHECK (octet_length(digest) = 32),
            position bigint NOT NULL CHECK (position >= 0),
            lines bigint NOT NULL CHECK (lines >= 0),
            added bigint NOT NULL CHECK (added >= 0),
            refused bigint NOT NULL CHECK (refused >= 0),
            -- JSON: lines and reasons.
            unreported text COLLATE "C" NOT NULL,
            updated bigint NOT NULL
        );

        -- Browsers that people are known in, and what they keep there. A device that ends is removed: its
        -- id is never made again, so no late write can bring it back.
        CREATE TABLE devices (
            id bytea PRIMARY KEY CHECK (octet_length(id) = 16),
            user_id bytea NOT NULL REFERENCES users (id) DEFERRABLE,
            created bigint NOT NULL,
            last_used bigint NOT NULL,
            -- Whether the password was given with it.
            proved bigint NOT NULL DEFAULT 1 CHECK (proved IN (0, 1))
        );
        CREATE INDEX devices_by_user ON devices (user_id);
        CREATE INDEX devices_by_last_use ON devices (last_used);
        CREATE TABLE preferences (
            device_id bytea NOT NULL REFERENCES devices (id) ON DELETE CASCADE DEFERRABLE,
            key text COLLATE "C" NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 32),
            value text COLLATE "C" NOT NULL CHECK (octet_length(value) BETWEEN 1 AND 256),
            PRIMARY KEY (device_id, key)
        );

        -- "Remember me": a series that ends is removed.
        CREATE TABLE series (
            id bytea PRIMARY KEY CHECK (octet_length(id) = 16),
            user_id bytea NOT NULL REFERENCES users (id) DEFERRABLE,
            epoch bigint NOT NULL CHECK (epoch BETWEEN 0 AND 4294967295),
            created bigint NOT NULL,
            authenticated bigint NOT NULL,
            methods bigint NOT NULL CHECK (methods BETWEEN 0 AND 65535),
            deadline bigint NOT NULL,
            generation bigint NOT NULL CHECK (generation BETWEEN 1 AND 4294967295),
            -- When the generation was made, and whether it or its session was ever presented.
            made bigint NOT NULL,
            presented bigint NOT NULL CHECK (presented IN (0, 1)),
            -- The last session that came of it; its row may have expired.
            session_id bytea NOT NULL CHECK (octet_length(session_id) = 16),
            device_id bytea CHECK (octet_length(device_id) = 16),
            browser text COLLATE "C" CHECK (octet_length(browser) BETWEEN 1 AND 64),
            place text COLLATE "C" CHECK (octet_length(place) BETWEEN 1 AND 64)
        );
        CREATE INDEX series_by_user ON series (user_id);
        CREATE UNIQUE INDEX series_by_session ON series (session_id);
        CREATE INDEX series_by_deadline ON series (deadline);

        -- What people are told of a stolen series.
        CREATE TABLE warnings (
            id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
            user_id bytea NOT NULL REFERENCES users (id) DEFERRABLE,
            time bigint NOT NULL,
            browser text COLLATE "C",
            place text COLLATE "C"
        );
        CREATE INDEX warnings_by_user ON warnings (user_id);
        CREATE INDEX warnings_by_time ON warnings (time);
        """
}
