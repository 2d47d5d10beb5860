-- What the application asks first. A drill puts these questions to the restored database; each gives one value, and as
-- text it has to be what is expected. Nothing here may write.

-- name: the schema is whole and not in the middle of a migration
-- expect: false
SELECT dirty FROM schema_migrations;

-- name: the reference data are there
-- expect: true
SELECT (SELECT count(*) > 0 FROM locations) AND (SELECT count(*) > 0 FROM feature_flags);

-- name: a popular place is found by its name
-- expect: true
SELECT EXISTS (SELECT FROM locations WHERE is_popular AND name % (SELECT name FROM locations WHERE is_popular LIMIT 1));

-- name: every preference belongs to a user
-- expect: 0
SELECT count(*) FROM user_preferences p LEFT JOIN users u ON u.id = p.user_id WHERE u.id IS NULL;

-- name: every cached calculation expires
-- expect: 0
SELECT count(*) FROM panchangam_cache WHERE expires_at IS NULL;

-- name: the newest thousand logged queries are nobody's or an existing user's
-- expect: 0
SELECT count(*)
FROM (SELECT user_id FROM query_log ORDER BY created_at DESC LIMIT 1000) AS q
WHERE q.user_id IS NOT NULL AND NOT EXISTS (SELECT FROM users u WHERE u.id = q.user_id);

-- name: rollout percentages are percentages
-- expect: 0
SELECT count(*) FROM feature_flags WHERE rollout_percentage NOT BETWEEN 0 AND 100;
