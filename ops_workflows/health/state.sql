-- What piles up or is broken in the cluster and in this database.
SELECT
    (SELECT max(greatest(age(datfrozenxid), mxid_age(datminmxid))) FROM pg_database) AS age,
    (SELECT datname FROM pg_database ORDER BY greatest(age(datfrozenxid), mxid_age(datminmxid)) DESC LIMIT 1) AS oldest,
    current_setting('data_checksums') AS checksums,
    (SELECT coalesce(sum(checksum_failures), 0)::bigint FROM pg_stat_database) AS checksum_failures,
    (SELECT max(checksum_last_failure) FROM pg_stat_database) AS last_failure,
    d.deadlocks,
    -- Reset by hand, they leave the database's own time; lost in a crash or a restore, that of each of the other two.
    extract(epoch FROM clock_timestamp() - greatest(d.stats_reset, least(b.stats_reset, a.stats_reset)))
        ::float8 AS counted_seconds,
    (
        SELECT coalesce(array_agg(i.indexrelid::regclass::text ORDER BY 1), '{}')
        FROM pg_index AS i
        WHERE NOT i.indisvalid
            AND NOT EXISTS (
                SELECT FROM pg_stat_progress_create_index AS p
                WHERE p.datname = current_database() AND p.index_relid = i.indexrelid
            )
    ) AS invalid_indexes,
    (SELECT coalesce(array_agg(name ORDER BY 1), '{}') FROM pg_settings WHERE pending_restart) AS pending_restart
FROM pg_stat_database AS d
CROSS JOIN pg_stat_bgwriter AS b
CROSS JOIN pg_stat_archiver AS a
WHERE d.datname = current_database()
