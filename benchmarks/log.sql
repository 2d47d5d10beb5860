-- The application's query log as the rollup finds it: %(rows)s queries, evenly over %(hours)s hours before %(until)s, by
-- 20,000 users (a third of the queries by nobody known) from 500 places, of which few are asked about most. The same on
-- each machine: there is no random() in it.
INSERT INTO public.users (id, username, email)
SELECT md5(n::text)::uuid, 'user ' || n, n || '@example.org' FROM generate_series(0, 19999) AS n;

INSERT INTO public.query_log (
    id, user_id, query_type, latitude, longitude, date, timezone, calculation_system, response_time_ms, cache_hit,
    created_at
)
SELECT
    (lpad(to_hex(n), 12, '0') || substr(md5(n::text), 13))::uuid,
    CASE WHEN a %% 3 > 0 THEN md5((floor(20000 * power(b / 65536.0, 2)))::int::text)::uuid END,
    (ARRAY[
        'daily_panchangam', 'daily_panchangam', 'daily_panchangam', 'daily_panchangam', 'daily_panchangam', 'tithi',
        'sunrise_sunset', 'festival_calendar', 'nakshatra', 'muhurta'
    ])[1 + a / 7 %% 10],
    (8 + place * 37 %% 29)::numeric + 0.25,
    (68 + place * 61 %% 60)::numeric + 0.5,
    date '2026-01-01',
    'Asia/Kolkata',
    (CASE WHEN place %% 4 = 0 THEN 'purnimanta' ELSE 'amanta' END)::calculation_system,
    -- Log-normal, near enough: a hit has its median at 4 ms, anything else at 85.
    round(exp((CASE WHEN hit THEN 1.4 ELSE 4.44 END) + 0.6 * (ln((d + 0.5) / (65536.5 - d)) / 1.7))),
    hit,
    %(until)s::timestamptz - %(hours)s * interval '1 hour' * (1 - (n - 0.5) / %(rows)s)
FROM (
    SELECT
        n,
        (h & 65535)::int AS a,
        ((h >> 16) & 65535)::int AS b,
        floor(500 * power(((h >> 32) & 65535) / 65536.0, 3))::int AS place,
        ((h >> 48) & 65535)::int AS d,
        (h & 1048575) %% 5 > 0 AS hit
    FROM (SELECT n, hashint8extended(n, 1) AS h FROM generate_series(1, %(rows)s::bigint) AS n) AS hashed
) AS spread
