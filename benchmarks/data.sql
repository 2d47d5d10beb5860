-- The benchmark's data: what an application would have, and the same on each machine, so there is no random() in it.
-- The setting bench.rows says how many rows. A row of each table takes 1.23 kB together, indexes included.

-- Evenly spread over 0 .. below - 1, by number and salt.
CREATE FUNCTION spread(n bigint, salt int, below int) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((hashint8extended(n, salt) & 4294967295) % below)::int;

CREATE TABLE query_log AS
SELECT
    md5(n::text)::uuid AS id,
    md5((spread(n, 1, 5000))::text)::uuid AS user_id,
    md5(format('trace %s', n))::uuid AS trace_id,
    (ARRAY['daily', 'monthly', 'muhurta', 'festival', 'range'])[1 + spread(n, 2, 5)] AS query_type,
    (8 + spread(n, 3, 29000) / 1000.0)::numeric(10, 8) AS latitude,
    (68 + spread(n, 4, 29000) / 1000.0)::numeric(11, 8) AS longitude,
    date '2026-01-01' + spread(n, 5, 365) AS date,
    (ARRAY['Asia/Kolkata', 'Asia/Dubai', 'Europe/London', 'America/New_York'])[1 + spread(n, 6, 4)] AS timezone,
    5 + spread(n, 7, 50) * spread(n, 8, 20) AS response_time_ms,
    spread(n, 9, 10) < 7 AS cache_hit,
    timestamptz '2026-01-01 00:00:00+00' + n * interval '173 milliseconds' AS created_at
FROM generate_series(1, current_setting('bench.rows')::bigint) AS n;
ALTER TABLE query_log ADD PRIMARY KEY (id);
CREATE INDEX ON query_log (created_at);

CREATE TABLE panchangam_cache AS
SELECT
    md5((-n)::text)::uuid AS id,
    format('panchangam:%s:%s:purnimanta:%s:%s', date '2026-01-01' + spread(n, 11, 365),
        (ARRAY['tamil', 'telugu', 'kannada', 'malayalam', 'north_indian'])[1 + spread(n, 12, 5)],
        8 + spread(n, 13, 29000) / 1000.0, 68 + spread(n, 14, 29000) / 1000.0) AS cache_key,
    jsonb_build_object(
        'tithi', jsonb_build_object('number', 1 + spread(n, 15, 30), 'ends', 1767225600 + n * 61),
        'nakshatra', jsonb_build_object('number', 1 + spread(n, 16, 27), 'pada', 1 + spread(n, 17, 4)),
        'yoga', 1 + spread(n, 18, 27), 'karana', 1 + spread(n, 19, 11),
        'sunrise', 21600 + spread(n, 20, 7200), 'sunset', 64800 + spread(n, 21, 7200),
        'longitudes', jsonb_build_array(spread(n, 22, 360000000) / 1e6, spread(n, 23, 360000000) / 1e6,
            spread(n, 24, 360000000) / 1e6, spread(n, 25, 360000000) / 1e6, spread(n, 26, 360000000) / 1e6),
        'etag', encode(sha256(int8send(n)), 'hex'),
        'festivals', jsonb_build_array((ARRAY['Ekadashi', 'Pradosham', 'Amavasya', 'Purnima', 'Sankranti', 'Chaturthi'])
            [1 + spread(n, 27, 6)])) AS data,
    timestamptz '2026-01-01 00:00:00+00' + n * interval '421 milliseconds' AS expires_at
FROM generate_series(1, current_setting('bench.rows')::bigint) AS n;
CREATE INDEX ON panchangam_cache (cache_key);

CREATE TABLE audit_log AS
SELECT
    n AS id,
    md5((spread(n, 31, 5000))::text)::uuid AS user_id,
    md5(format('session %s', n))::uuid AS session_id,
    (ARRAY['login', 'logout', 'preferences.update', 'api_key.create', 'location.add'])[1 + spread(n, 32, 5)] AS action,
    jsonb_build_object('language', 'en', 'region', spread(n, 33, 6), 'theme', 'light') AS old_values,
    jsonb_build_object('language', 'ta', 'region', spread(n, 34, 6), 'theme', 'dark') AS new_values,
    format('10.%s.%s.%s', spread(n, 35, 16), spread(n, 36, 256), spread(n, 37, 256))::inet AS ip_address,
    format('Mozilla/5.0 (X11; Linux x86_64; rv:%s.0) Gecko/20100101 Firefox/%s.0', 120 + spread(n, 38, 30),
        120 + spread(n, 38, 30)) AS user_agent,
    timestamptz '2026-01-01 00:00:00+00' + n * interval '97 milliseconds' AS created_at
FROM generate_series(1, current_setting('bench.rows')::bigint) AS n;
ALTER TABLE audit_log ADD PRIMARY KEY (id);
