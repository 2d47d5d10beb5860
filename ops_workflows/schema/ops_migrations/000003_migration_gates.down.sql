drop table ops.migration_gates;
