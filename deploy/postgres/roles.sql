-- The roles of operations, by least privilege: who backs up cannot write, who migrates cannot back up, who keeps house
-- cannot change the schema.
--
-- Run it as a superuser inside the application's database; running it again changes nothing:
--     psql -v ON_ERROR_STOP=1 --single-transaction -d panchangam -f roles.sql
-- It sets no passwords. Set them apart, so that none is ever in a file, a log or a shell history: `\password ops_backup`
-- in psql sends a scram verifier. Each role also needs its line in pg_hba.conf: database `replication` for ops_backup
-- and ops_standby, `all` for ops_backup, which dumps and counts every database, and the application's database for
-- ops_owner and ops_upkeep.

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['ops_backup', 'ops_owner', 'ops_upkeep', 'ops_standby'] LOOP
        -- Roles belong to the whole cluster, and a second database may have brought them already.
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I', role);
        END IF;
        -- Said in full, so that a privilege which somebody added by hand is taken back.
        EXECUTE format('ALTER ROLE %I LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOREPLICATION', role);
    END LOOP;
END
$$;

-- ops_backup takes base backups and dumps, and archives WAL. REPLICATION reads every byte of the cluster anyway;
-- pg_read_all_data lets it dump and count rows, pg_monitor lets it see slots, senders and checksum failures.
-- It can write nowhere.
ALTER ROLE ops_backup REPLICATION;
GRANT pg_read_all_data, pg_monitor TO ops_backup;

-- ops_standby is what a replica connects as: the stream, and nothing else. It is apart from ops_backup because its
-- password lies on another machine.
ALTER ROLE ops_standby REPLICATION;

-- ops_owner owns the schema and is the only one to change it, by migrations. CREATE on the database lets it make
-- schemas and trusted extensions (pg_trgm, uuid-ossp) without a superuser.
-- Tables of an existing application that belong to another role: GRANT that role TO ops_owner, or reassign them.
DO $$
BEGIN
    EXECUTE format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO ops_owner', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO ops_backup, ops_upkeep', current_database());
END
$$;
ALTER SCHEMA public OWNER TO ops_owner;
-- Before it migrates it names the moment in the log, so that a restore can go back to it by name.
GRANT EXECUTE ON FUNCTION pg_create_restore_point(text) TO ops_owner;
-- Every role could create tables in `public` before PostgreSQL 15, and still can in databases that come from there.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO PUBLIC;

-- What operations remember (heartbeats, their own migrations) is kept apart from the application's tables.
CREATE SCHEMA IF NOT EXISTS ops;
ALTER SCHEMA ops OWNER TO ops_owner;

-- ops_upkeep writes heartbeats, prunes and rolls up: rows, never tables. The default privileges reach every table that
-- ops_owner makes later, so a migration need not remember them.
GRANT USAGE ON SCHEMA public, ops TO ops_upkeep;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, ops TO ops_upkeep;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public, ops TO ops_upkeep;
ALTER DEFAULT PRIVILEGES FOR ROLE ops_owner IN SCHEMA public, ops
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO ops_upkeep;
ALTER DEFAULT PRIVILEGES FOR ROLE ops_owner IN SCHEMA public, ops
    GRANT USAGE, SELECT ON SEQUENCES TO ops_upkeep;

-- It prunes only while the standbys follow, and has to see how far behind they are; and a rollup waits for transactions
-- that may still write rows of its period, so it has to see when those of others began.
GRANT pg_read_all_stats TO ops_upkeep;

-- VACUUM and ANALYZE of tables it does not own: a role of PostgreSQL 17 and newer. Before that, autovacuum has to do.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_maintain') THEN
        GRANT pg_maintain TO ops_upkeep;
    END IF;
END
$$;
