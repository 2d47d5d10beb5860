-- How many rows would go, by reason.
SELECT
    (SELECT count(*) FROM public.panchangam_cache WHERE expires_at < %(expired)s),
    (
        SELECT count(*) FROM public.panchangam_cache
        WHERE (expires_at IS NULL OR expires_at = 'infinity') AND created_at < %(unexpiring)s
    )
