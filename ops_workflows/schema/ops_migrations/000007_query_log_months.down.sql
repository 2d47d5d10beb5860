drop table ops.query_log_months;
