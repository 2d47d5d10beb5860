-- Whether anybody else was at work on the server in the last second. Whose state is hidden from us counts as at work.
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE coalesce(backend_type, 'client backend') = 'client backend'
        AND application_name NOT LIKE 'ops cache %'
        AND (state IS DISTINCT FROM 'idle' OR state_change > clock_timestamp() - interval '1 second')
)
