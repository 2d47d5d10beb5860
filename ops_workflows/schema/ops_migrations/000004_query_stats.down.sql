-- Forgets the statistics; those of rows that the log does not hold any more cannot be made again.
drop table ops.query_stats_periods;
drop table ops.query_stats_daily;
drop table ops.query_stats_hourly;
