-- What pruning leaves behind, by the server's clock: rows that expired long ago, with the first moment, and rows that
-- expire implausibly late, with the last. Moments as text, for a client may not know the year.
SELECT
    e.count,
    coalesce(e.first::text, ''),
    f.count,
    coalesce(f.last::text, '')
FROM (
    SELECT count(*) AS count, min(expires_at AT TIME ZONE 'UTC') AS first
    FROM public.panchangam_cache
    WHERE expires_at < now() - %(grace_days)s * interval '1 day'
) AS e, (
    SELECT count(*) AS count, max(expires_at AT TIME ZONE 'UTC') AS last
    FROM public.panchangam_cache
    WHERE expires_at > now() + %(far_days)s * interval '1 day' AND expires_at < 'infinity'
) AS f
