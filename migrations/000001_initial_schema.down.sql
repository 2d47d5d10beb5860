-- Removes every table of the application WITH ITS ROWS. Extensions stay: other schemas may use them, and an
-- administrator may have installed them.
drop table audit_log;
drop table api_keys;
drop table feature_flags;
drop table locations;
drop table query_log;
drop table panchangam_cache;
drop table user_preferences;
drop table users;

drop function create_query_log_months(timestamptz, timestamptz);
drop function set_updated_at();

drop type regional_variation;
drop type calculation_system;
