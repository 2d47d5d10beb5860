-- Some of what is there, for the traffic to ask about. `limit` without order: any rows will do, and it costs nothing.
select array(select id from users limit 1000),
       array(select cache_key from panchangam_cache limit 1000),
       array(select id from locations limit 1000);
