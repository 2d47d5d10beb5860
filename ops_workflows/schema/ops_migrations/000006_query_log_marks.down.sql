-- The next rollup counts the whole log.
drop table ops.query_log_marks;
