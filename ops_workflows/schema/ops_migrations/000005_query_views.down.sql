-- The statistics themselves stay.
drop view ops.query_answers_daily, ops.query_users_daily;
drop function ops.distinct_users(integer[]);
drop function ops.latency_percentile(smallint[], bigint[], double precision);
