-- The application's cache as pruning finds it: %(expired)s rows that have expired, the oldest first as they were made,
-- and %(living)s that have not. The same on each machine: there is no random() in it.
INSERT INTO public.panchangam_cache (
    cache_key, date, latitude, longitude, timezone, calculation_system, regional_variation, data, created_at, expires_at
)
SELECT
    (CASE WHEN n <= %(expired)s THEN 'expired:' || n ELSE 'living:' || n - %(expired)s END),
    date '2000-01-01' + (n / 1000)::int,
    n %% 1000 / 20.0,
    n %% 77,
    'Asia/Kolkata',
    'amanta',
    'tamil',
    jsonb_build_object(
        'date', n, 'vara', 'Monday', 'tithi', jsonb_build_object('name', md5(n::text), 'paksha', 'Shukla', 'ends', '11:22'),
        'nakshatra', jsonb_build_object('name', md5((-n)::text), 'pada', n %% 4, 'ends', '03:17:45'),
        'yoga', jsonb_build_object('name', 'Vishkambha', 'ends', '17:01:09'),
        'karana', jsonb_build_array(jsonb_build_object('name', 'Bava', 'ends', '07:44:13'), 'Taitila'),
        'sun', jsonb_build_object('rise', '06:12:10', 'set', '18:01:44', 'longitude', n / 1000.0),
        'moon', jsonb_build_object('rise', '15:32:20', 'set', '02:41:04', 'longitude', n / 777.0),
        'rahu_kalam', jsonb_build_object('from', '09:30:00', 'to', '11:00:00')
    ),
    now() - interval '60 days' + n * interval '1 second',
    CASE
        WHEN n <= %(expired)s THEN now() - interval '20 days' + n * interval '1 second'
        ELSE now() + interval '10 days' + n * interval '1 second'
    END
FROM generate_series(1, %(expired)s::bigint + %(living)s) AS n
