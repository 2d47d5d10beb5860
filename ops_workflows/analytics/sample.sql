-- Percentiles of one period from the raw rows themselves.
select
    count(*),
    percentile_cont(%(shares)s::float8[]) within group (order by greatest(response_time_ms, 0))
from public.query_log
where created_at >= %(start)s and created_at < %(end)s and response_time_ms is not null
