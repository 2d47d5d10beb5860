-- Tables that a fingerprint and a dump could get wrong.
CREATE EXTENSION hstore;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy "q"');
CREATE TYPE place AS (street text, spot point);
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE FUNCTION double(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n * 2';

CREATE TABLE odd (
    id serial PRIMARY KEY,
    document jsonb,
    raw json,
    amount numeric(40, 20),
    floating double precision,
    narrow real,
    words text [],
    grid int [] [],
    feeling mood,
    feelings mood [],
    spot place,
    positive positive,
    span int4range,
    spans tstzmultirange,
    content bytea,
    at timestamptz,
    plain timestamp,
    day date,
    lasting interval,
    address inet,
    bits bit varying,
    price money,
    search tsvector,
    pairs hstore,
    kind regclass,
    sorted text COLLATE "C",
    doubled int GENERATED ALWAYS AS (double(id)) STORED,
    virtual int GENERATED ALWAYS AS (id + 1) VIRTUAL,
    UNIQUE (id, at),
    CONSTRAINT sane CHECK (positive < 1000)
);
INSERT INTO odd (
    document, raw, amount, floating, narrow, words, grid, feeling, feelings, spot, positive, span, spans, content, at,
    plain, day, lasting, address, bits, price, search, pairs, kind, sorted
) VALUES
(
    '{"a": [1, "ü", null]}', '{"b" : 1,  "b":2}', 12345.67890123456789, 0.1, 0.1, ARRAY['a,b', '"', NULL, ''],
    '{{1,2},{3,4}}', 'happy "q"', '{sad,"happy \"q\""}', ('Straße (1)', '(1.5,2)'), 7, '[1,10)',
    '{[2026-01-01 00:00+02, 2026-01-02 00:00+02)}', '\x00ff5c27', '2026-03-29 02:30+01', '2026-03-29 02:30:00.000001',
    '4713-01-01 BC', '1 year 2 mons -3 days 04:05:06.789', '2001:db8::1/64', '10101', '1234.56',
    to_tsvector('simple', 'a fat cat'), 'a=>1, "b c"=>NULL', 'odd', 'Ä' || E'\t\n\\'
),
(
    'null', '[]', 'NaN', 'Infinity', '-0', '{}', '{}', 'sad', NULL, NULL, NULL, 'empty', '{}', '', '-infinity',
    'infinity', 'infinity', '-00:00:01', '10.0.0.0/8', '', '-1', '', '', 'pg_class', ''
),
(NULL, NULL, NULL, 'NaN', 'NaN', '{NULL}', NULL, NULL, NULL, (NULL, NULL), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL, NULL, NULL, '🐘');
INSERT INTO odd (floating, amount, sorted, content)
SELECT random() * 1e300, random() * 1e9, md5(n::text), sha256(n::text::bytea) FROM generate_series(1, 2000) AS n;

CREATE TABLE empty (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL DEFAULT 'x');
CREATE TABLE columnless ();
INSERT INTO columnless SELECT FROM generate_series(1, 3);
CREATE TABLE twins (a int, b int);
INSERT INTO twins VALUES (1, 2), (1, 2), (2, 1);
CREATE UNLOGGED TABLE fleeting (a int);
INSERT INTO fleeting VALUES (1);

CREATE SCHEMA "Odd schema.""x""";
CREATE TABLE "Odd schema.""x"""."a b.%s{0}" ("col umn %" text PRIMARY KEY, "t" int, "Q""q" int);
INSERT INTO "Odd schema.""x"""."a b.%s{0}" VALUES ('%', 1, 2), ('{}', NULL, 3);

CREATE TABLE events (at timestamptz NOT NULL, kind text NOT NULL, n int, PRIMARY KEY (at, kind)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
-- Its columns come in another order.
CREATE TABLE events_2 (n int, gone int, kind text NOT NULL, at timestamptz NOT NULL);
ALTER TABLE events_2 DROP COLUMN gone;
ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM ('2026-03-01') TO ('2026-04-01') PARTITION BY LIST (kind);
CREATE TABLE events_3_a PARTITION OF events_3 FOR VALUES IN ('a');
INSERT INTO events SELECT '2026-01-01Z'::timestamptz + n * interval '1 hour', 'a', n FROM generate_series(0, 2000) AS n;

CREATE TABLE parent (a int);
CREATE TABLE child (b int) INHERITS (parent);
ALTER TABLE parent ADD COLUMN c int; -- comes last in the child, and second once it has been restored
INSERT INTO parent VALUES (1, 2);
INSERT INTO child (a, b, c) VALUES (3, 4, 5);

CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM odd;
CREATE TABLE referring (id int PRIMARY KEY, odd int REFERENCES odd (id));
INSERT INTO referring VALUES (1, 1);
SELECT lo_from_bytea(0, '\xcafe');
