-- Who holds the advisory locks of a migration. A bigint key shows as two halves: classid above, objid below.
select distinct a.pid, a.application_name, a.backend_start at time zone 'UTC'
from pg_locks l
join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory'
  and l.granted
  and l.objsubid = 1
  and l.database = (select oid from pg_database where datname = current_database())
  and (l.classid::bigint << 32) | l.objid::bigint = any(%(locks)s::bigint[])
