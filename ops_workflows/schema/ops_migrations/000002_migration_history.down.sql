-- Forgets what was done to the schemas; schema_migrations still knows their versions.
drop table ops.migration_history;
