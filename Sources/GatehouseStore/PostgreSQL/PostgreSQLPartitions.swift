// Sessions and the feed by weeks: what has expired goes as whole tables, which leaves nothing to vacuum.

import GatehouseCore

/// `sessions` and `feed` are partitioned by the deadline that their rows go after, into buckets of seven
/// days that are aligned to the Unix epoch: `sessions_2968` has the deadlines of
/// `2968 * 604800 ..< 2969 * 604800`. What lies outside all buckets is in `sessions_default` and
/// `feed_default`, so that no row is ever refused. A session lives for at most thirty days
/// (`SessionLimits`), and a feed row as long as a session, so that upkeep makes the buckets from now until
/// then, and there are some seven: a look-up by id, which no bucket is known of, probes as many indexes.
enum PostgreSQLPartitions {
    /// Seven days, in seconds.
    static let bucketSeconds: Int64 = 604_800

    /// The deadlines to have buckets for at `now`, and a bucket more: upkeep may fail for days.
    static func span(at now: UnixTime) -> ClosedRange<Int64> {
        let first = now.advanced(bySeconds: -clockSkewSeconds)
        let last = now.advanced(bySeconds: SessionLimits.maximumSeconds + bucketSeconds)
        return first.seconds...last.seconds
    }

    /// The partitioned tables, and the columns of their rows' deadlines.
    static let deadlines = [("sessions", "absolute_deadline"), ("feed", "deadline")]

    /// The buckets that `table` is to have.
    static func names(of table: String, at now: UnixTime) -> Set<String> {
        let span = span(at: now)
        return Set(
            (span.lowerBound / bucketSeconds...span.upperBound / bucketSeconds).map {
                "\(table)_\($0)"
            })
    }

    /// The end of the deadlines of a bucket of `table`; nil when it is none.
    static func end(of name: String, in table: String) -> Int64? {
        guard name.hasPrefix(table + "_") else { return nil }
        return Int64(name.dropFirst(table.count + 1)).map { ($0 + 1) * bucketSeconds }
    }

    /// `gatehouse_add_partitions(first, last)` makes the buckets that are missing for deadlines from
    /// `first` to `last`, and says how many it made. `gatehouse_drop_partitions(before, most)` drops the
    /// buckets whose deadlines are all before `before`, removes at most `most` older rows from each default
    /// partition, and says how many rows and buckets went: to count a bucket's rows it would have to read
    /// them all.
    ///
    /// Both take locks that writers and readers wait for, on the default partitions and, to make a
    /// bucket, on `users`; to drop one, on `sessions` or `feed` as a whole. The caller holds the store's
    /// exclusive lock, since a writer's own order of locks could otherwise be the other way round, and sets
    /// `lock_timeout`, since a long reader would otherwise make all others wait behind us. Two that are
    /// called at once wait for each other; the second finds nothing left to do.
    static let functions = """
        CREATE FUNCTION gatehouse_add_partitions(first bigint, last bigint) RETURNS bigint
            LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
        DECLARE
            -- The last deadlines are those of thirty days; ten times as many are a mistake.
            most CONSTANT bigint := 50;
            parent text;
            deadline text;
            bucket bigint;
            child text;
            options text;
            made bigint := 0;
        BEGIN
            IF first < 0 OR last < first OR last / 604800 - first / 604800 >= most THEN
                RAISE EXCEPTION 'no partitions from % to %', first, last
                    USING ERRCODE = 'invalid_parameter_value';
            END IF;
            PERFORM pg_advisory_xact_lock(1734440037, hashtext(current_schema()));
            FOR parent, deadline, options IN VALUES
                -- Room for the next versions of a session on its page, which no index then hears of.
                ('sessions', 'absolute_deadline', 'WITH (fillfactor = 80)'), ('feed', 'deadline', '')
            LOOP
                FOR bucket IN first / 604800 .. last / 604800 LOOP
                    child := parent || '_' || bucket;
                    CONTINUE WHEN to_regclass(child) IS NOT NULL;
                    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) %s',
                        child, parent, options);
                    -- Nobody adds to the rows there while they are moved.
                    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
                    EXECUTE format(
                        'WITH moved AS (DELETE FROM %I WHERE %I >= $1 AND %2$I < $2 RETURNING *)
                            INSERT INTO %I SELECT * FROM moved',
                        parent || '_default', deadline, child)
                        USING bucket * 604800, (bucket + 1) * 604800;
                    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                        parent, child, bucket * 604800, (bucket + 1) * 604800);
                    made := made + 1;
                END LOOP;
            END LOOP;
            RETURN made;
        END $$;

        CREATE FUNCTION gatehouse_drop_partitions(before bigint, most bigint) RETURNS bigint
            LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
        DECLARE
            parent text;
            deadline text;
            child text;
            removed bigint;
            gone bigint := 0;
        BEGIN
            PERFORM pg_advisory_xact_lock(1734440037, hashtext(current_schema()));
            FOR parent, deadline IN VALUES ('sessions', 'absolute_deadline'), ('feed', 'deadline')
            LOOP
                FOR child IN
                    SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
                    WHERE inhparent = parent::regclass AND relname ~ ('^' || parent || '_[0-9]+$')
                        AND (substring(relname FROM '[0-9]+$')::bigint + 1) * 604800 <= before
                LOOP
                    EXECUTE format('DROP TABLE %I', child);
                    gone := gone + 1;
                END LOOP;
                EXECUTE format(
                    'DELETE FROM %I WHERE ctid IN (SELECT ctid FROM %1$I WHERE %I < $1 LIMIT $2)',
                    parent || '_default', deadline) USING before, most;
                GET DIAGNOSTICS removed = ROW_COUNT;
                gone := gone + removed;
            END LOOP;
            RETURN gone;
        END $$;
        """
}
