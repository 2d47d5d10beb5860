-- What the suite's scratch servers have: the two roles of ours that it needs, and the schema of operations.
CREATE ROLE ops_backup LOGIN REPLICATION;
GRANT pg_read_all_data, pg_monitor TO ops_backup;
CREATE ROLE ops_upkeep LOGIN;
CREATE SCHEMA ops;
