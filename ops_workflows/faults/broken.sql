-- Something to break: a table with an index of each kind, rows that lie out of line, and hint bits set.
CREATE TABLE victim (id int PRIMARY KEY, word text NOT NULL, body text NOT NULL);
INSERT INTO victim
SELECT n, md5(n::text), (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 100 + 0 * n))
FROM generate_series(1, 2000) AS n;
CREATE INDEX victim_word ON victim (word);
CREATE FUNCTION victim_key(n int) RETURNS int LANGUAGE sql IMMUTABLE RETURN n % 100;
CREATE INDEX victim_keys ON victim (victim_key(id));
VACUUM victim;
