-- A little of everything that a backup carries, for faults to be made in.
CREATE TABLE items (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    facts jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX items_name ON items (name);
INSERT INTO items (name, facts) SELECT md5(n::text), jsonb_build_object('n', n) FROM generate_series(1, 5000) AS n;
CREATE TABLE documents (id int PRIMARY KEY, body text NOT NULL);
-- Random digits: no codec makes them small, so that they lie out of line.
INSERT INTO documents
SELECT d, (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 200 + 0 * d)) FROM generate_series(1, 50) AS d;
CREATE SEQUENCE numbers START 100;
CREATE VIEW named AS SELECT id, name FROM items;
