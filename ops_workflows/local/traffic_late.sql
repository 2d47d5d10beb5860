-- Queries that are logged late: what a queue or a client without a network held back, or an import brought. Sent by
-- `ops traffic --late`, in the format of deploy/traffic.sql.

-- sample: user_id
SELECT id FROM users LIMIT 1000;

-- Minutes ago and up to two years, most of them lately; the first and the last microsecond of months; and the hours in
-- which clocks are put forward and back.
-- sample: moment
(SELECT now() - interval '2 years' * random() ^ 4 FROM generate_series(1, 900))
UNION ALL
(
    SELECT month AT TIME ZONE 'UTC' - interval '1 microsecond' * edge
    FROM generate_series(date_trunc('month', localtimestamp) - interval '2 years', localtimestamp, '1 month') AS month,
         generate_series(0, 1) AS edge
)
UNION ALL
(
    SELECT local AT TIME ZONE zone - interval '10 minutes' * step
    FROM (
        VALUES (timestamp '2025-03-30 03:00', 'Europe/Berlin'), ('2025-10-26 03:00', 'Europe/Berlin'),
               ('2025-03-09 03:00', 'America/New_York'), ('2025-11-02 02:00', 'America/New_York'),
               ('2025-10-05 02:30', 'Australia/Lord_Howe')
    ) AS changes (local, zone), generate_series(0, 9) AS step
    WHERE local AT TIME ZONE zone < now()
);

-- sample: query_type
SELECT unnest(ARRAY['daily_panchangam', 'tithi', 'sunrise_sunset', 'festival_calendar', 'nakshatra', 'muhurta']);

-- sample: milliseconds
SELECT unnest(ARRAY[NULL, 0, 1, 4, 5, 80, 90, 2147483647]);

-- name: a query is logged late
-- weight: 9
INSERT INTO query_log (
    user_id, query_type, latitude, longitude, date, timezone, calculation_system, response_time_ms, created_at
)
SELECT %(user_id)s, %(query_type)s, latitude, longitude, current_date, timezone, 'amanta', %(milliseconds)s, %(moment)s
FROM locations
ORDER BY random()
LIMIT 1;

-- name: a query of which little is known is logged late
-- weight: 1
INSERT INTO query_log (query_type, created_at) VALUES (%(query_type)s, %(moment)s);
