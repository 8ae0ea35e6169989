-- What PostgreSQL 17 and 18 brought and a dump must carry. Run by psql behind postgresql_sample.sql.
CREATE SCHEMA newer;
CREATE EXTENSION btree_gist;

-- 17: identity and exclusion of partitioned tables, MAINTAIN, SQL/JSON, MERGE, a collation of the server's own
CREATE TABLE newer.parts(
    id int GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 5), k int NOT NULL, t text, EXCLUDE USING btree (k WITH =)
) PARTITION BY RANGE (k);
CREATE TABLE newer.parts_1 PARTITION OF newer.parts FOR VALUES FROM (0) TO (100);
CREATE TABLE newer.parts_2 PARTITION OF newer.parts FOR VALUES FROM (100) TO (200);
INSERT INTO newer.parts(k, t) SELECT g, 'x' || g FROM generate_series(1, 150) AS g;
CREATE TABLE newer.doc(doc jsonb);
INSERT INTO newer.doc VALUES ('{"a": [{"x": 1, "y": "p"}, {"x": 2, "y": "q"}]}');
CREATE VIEW newer.doc_rows AS SELECT j.* FROM newer.doc,
    JSON_TABLE(doc, '$.a[*]' COLUMNS (n FOR ORDINALITY, x int PATH '$.x', y text PATH '$.y')) AS j;
CREATE VIEW newer.doc_values AS SELECT
    JSON_VALUE(doc, '$.a[0].x' RETURNING int DEFAULT 0 ON ERROR) AS v, JSON_EXISTS(doc, '$.a') AS e,
    JSON_QUERY(doc, '$.a' WITH WRAPPER) AS q, JSON_SERIALIZE(doc) AS s FROM newer.doc;
CREATE TABLE newer.kept(id int PRIMARY KEY);
GRANT MAINTAIN ON newer.kept TO reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA newer GRANT MAINTAIN ON TABLES TO reader;
ALTER TABLE newer.kept ALTER COLUMN id SET STATISTICS 500;
CREATE FUNCTION newer.keep() RETURNS void LANGUAGE sql BEGIN ATOMIC
    MERGE INTO newer.kept USING (VALUES (1), (2)) AS v(id) ON kept.id = v.id
        WHEN NOT MATCHED THEN INSERT VALUES (v.id) WHEN NOT MATCHED BY SOURCE THEN DELETE;
END;
SELECT newer.keep();
CREATE COLLATION newer.builtin (PROVIDER = builtin, LOCALE = 'C.UTF-8');
CREATE TABLE newer.collated(t text COLLATE newer.builtin);
INSERT INTO newer.collated VALUES ('ä'), ('z'), ('Ä');
CREATE FUNCTION newer.logged_in() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER logged_in ON login EXECUTE FUNCTION newer.logged_in();

-- 18: virtual columns, keys over time, constraints that are not enforced, named or unproven NOT NULL
CREATE TABLE newer.virtual(
    a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL, c text GENERATED ALWAYS AS ('x' || a::text) STORED
);
INSERT INTO newer.virtual(a) SELECT generate_series(1, 10);
CREATE PUBLICATION of_generated FOR TABLE newer.virtual WITH (publish_generated_columns = stored);
CREATE TABLE newer.room(id int, valid daterange, PRIMARY KEY (id, valid WITHOUT OVERLAPS));
INSERT INTO newer.room VALUES (1, '[2026-01-01,2026-06-01)'), (1, '[2026-06-01,2027-01-01)');
CREATE TABLE newer.booking(
    id int, room int, during daterange, UNIQUE (room, during WITHOUT OVERLAPS),
    FOREIGN KEY (room, PERIOD during) REFERENCES newer.room(id, PERIOD valid)
);
INSERT INTO newer.booking VALUES (1, 1, '[2026-05-01,2026-07-01)');
CREATE TABLE newer.told(
    id int CHECK (id > 0) NOT ENFORCED, k int, FOREIGN KEY (k) REFERENCES newer.kept NOT ENFORCED
);
INSERT INTO newer.told VALUES (-1, 99);
CREATE TABLE newer.named(id int CONSTRAINT id_is_there NOT NULL NO INHERIT, t text);
COMMENT ON CONSTRAINT id_is_there ON newer.named IS 'a name of its own';
INSERT INTO newer.named VALUES (1, NULL);
ALTER TABLE newer.named ADD CONSTRAINT t_is_there NOT NULL t NOT VALID;
CREATE TABLE newer.references_parted(id int PRIMARY KEY, k int) PARTITION BY RANGE (id);
CREATE TABLE newer.references_parted_1 PARTITION OF newer.references_parted FOR VALUES FROM (0) TO (10);
ALTER TABLE newer.references_parted ADD FOREIGN KEY (k) REFERENCES newer.kept NOT VALID;
CREATE TABLE newer.numbered(id uuid DEFAULT uuidv7(), v int);
INSERT INTO newer.numbered(v) SELECT generate_series(1, 5);
ALTER DEFAULT PRIVILEGES GRANT SELECT ON LARGE OBJECTS TO reader;
