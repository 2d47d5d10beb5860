-- ops: restores-data
drop index concurrently if exists users_email_lower_idx;
