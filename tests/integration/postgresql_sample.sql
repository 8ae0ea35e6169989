-- Every kind of object that a dump must carry. Run by psql; roles are made by the test.
CREATE SCHEMA app AUTHORIZATION "app owner";
CREATE SCHEMA "odd ""schema"";
 -x 🦊";
CREATE EXTENSION hstore SCHEMA public;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION citext SCHEMA app;
CREATE EXTENSION postgres_fdw;
COMMENT ON SCHEMA app IS 'it''s the
application''s \ schema';

-- types
CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy');
ALTER TYPE app.mood ADD VALUE 'so-so' BEFORE 'ok';
CREATE TYPE app.pair AS (first integer, second text);
CREATE DOMAIN app.percent AS numeric(5, 2) DEFAULT 0 NOT NULL CHECK (VALUE BETWEEN 0 AND 100);
CREATE TYPE app.span AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = float8mi);
CREATE COLLATION app.german (LOCALE = 'C');
COMMENT ON TYPE app.mood IS 'how it is';

-- functions, operators, aggregates, casts, text search
CREATE FUNCTION app.add_all(a integer, b integer DEFAULT 3 * (2 + 1), VARIADIC rest integer[] DEFAULT '{}')
    RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT a + b + coalesce((SELECT sum(r) FROM unnest(rest) r), 0)::int $$;
CREATE FUNCTION app.modern(x integer) RETURNS integer LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT x * 2; END;
CREATE PROCEDURE app.work(INOUT n integer) LANGUAGE plpgsql SECURITY DEFINER SET search_path = app, pg_temp
    AS $body$ BEGIN n := n + 1; -- a comment; with 'quotes'
    END $body$;
CREATE FUNCTION app.longest(a text, b text) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT CASE WHEN length(a) >= length(coalesce(b, '')) THEN a ELSE b END $$;
CREATE AGGREGATE app.longest_of(text) (SFUNC = app.longest, STYPE = text, INITCOND = '');
CREATE OPERATOR app.<+> (LEFTARG = text, RIGHTARG = text, FUNCTION = app.longest, COMMUTATOR = OPERATOR(app.<+>));
CREATE FUNCTION app.mood_number(m app.mood) RETURNS integer LANGUAGE sql IMMUTABLE AS
    $$ SELECT CASE m WHEN 'sad' THEN 0 ELSE 1 END $$;
CREATE CAST (app.mood AS integer) WITH FUNCTION app.mood_number(app.mood) AS ASSIGNMENT;
CREATE TEXT SEARCH CONFIGURATION app.words (COPY = pg_catalog.english);
CREATE TEXT SEARCH DICTIONARY app.plain (TEMPLATE = pg_catalog.simple, STOPWORDS = english);
ALTER TEXT SEARCH CONFIGURATION app.words ALTER MAPPING FOR asciiword WITH app.plain;
CREATE CONVERSION app.conv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;

-- tables
CREATE TABLE app.customers(
    id integer GENERATED ALWAYS AS IDENTITY (START WITH 100 INCREMENT BY 5) PRIMARY KEY,
    name varchar(80) NOT NULL CHECK (name IN ('a', 'b') OR length(name) > 1),
    email app.citext UNIQUE,
    mood app.mood DEFAULT 'ok',
    share app.percent,
    two app.pair,
    span app.span,
    tags public.hstore,
    doc jsonb,
    raw bytea,
    "Full Name" text GENERATED ALWAYS AS (upper(name)) STORED,
    price double precision,
    small real,
    amount numeric,
    at timestamp with time zone DEFAULT now(),
    during interval,
    ip inet,
    cost money,
    words tsvector,
    uid uuid,
    bits bit varying(12),
    sorted text COLLATE app.german
);
ALTER TABLE app.customers DROP COLUMN bits;
ALTER TABLE app.customers ALTER COLUMN raw SET STORAGE EXTERNAL;
ALTER TABLE app.customers ALTER COLUMN doc SET STATISTICS 500;
ALTER TABLE app.customers ALTER COLUMN price SET (n_distinct = 7);
ALTER TABLE app.customers OWNER TO "app owner";
ALTER TABLE app.customers SET (fillfactor = 70, autovacuum_enabled = false);
INSERT INTO app.customers(name, email, mood, share, two, span, tags, doc, raw, price, small, amount, at, during, ip, cost, words, uid, sorted)
SELECT 'name ' || i, 'x' || i || '@Example.com', (ARRAY['sad', 'so-so', 'ok', 'happy'])[1 + i % 4]::app.mood, i % 100,
    ROW(i, E'tab\t, "quote" \\ 🦊' || i)::app.pair, app.span(i, i + 0.5), public.hstore('k' || i, 'v'), jsonb_build_object('i', i, 'x', NULL),
    decode(md5(i::text) || '00ff', 'hex'), i / 7.0, i / 3.0, i / 3.0, '2024-02-29 23:59:59.123456+05:30'::timestamptz + i * interval '1 hour',
    make_interval(months => i, secs => i / 7.0), ('10.0.0.' || i % 256)::inet, (i / 3.0)::numeric::money, to_tsvector('english', 'the cats of ' || i),
    md5(i::text)::uuid, 'é' || i
FROM generate_series(1, 200) i;
INSERT INTO app.customers(name, price, small, amount, at, doc, raw) VALUES
    (E'line\nbreak \\N and \\. tab\t', 'NaN', '-Infinity', 'NaN', 'infinity', 'null', ''),
    ('-0', '-0', '-0', 1e-20, '-infinity', '"\u0001"', NULL), (E'\\.', 1e308, 1e-38, 10 ^ 40, NULL, '[]', '\x00');
CREATE INDEX customers_trgm ON app.customers USING gin (name public.gin_trgm_ops);
CREATE UNIQUE INDEX customers_lower ON app.customers (lower(name), (price + 1)) INCLUDE (mood) WHERE mood <> 'sad';
ALTER TABLE app.customers CLUSTER ON customers_pkey;
CREATE STATISTICS app.customers_stats (dependencies, ndistinct) ON mood, share FROM app.customers;
ALTER TABLE app.customers REPLICA IDENTITY FULL;
COMMENT ON COLUMN app.customers."Full Name" IS 'made up';
COMMENT ON CONSTRAINT customers_pkey ON app.customers IS 'the key';
COMMENT ON INDEX app.customers_trgm IS 'for searching';

CREATE TABLE app.orders(
    id bigserial, customer integer NOT NULL REFERENCES app.customers ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    day date NOT NULL, total numeric, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE app.orders_2023 PARTITION OF app.orders FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE app.orders_2024 PARTITION OF app.orders FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY HASH (id);
CREATE TABLE app.orders_2024_a PARTITION OF app.orders_2024 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE app.orders_2024_b PARTITION OF app.orders_2024 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE app.orders_rest PARTITION OF app.orders DEFAULT;
CREATE INDEX orders_by_customer ON app.orders (customer);
INSERT INTO app.orders(customer, day, total) SELECT 100 + 5 * (i % 200), '2023-06-01'::date + i * 7, i FROM generate_series(1, 150) i;
SELECT setval('app.orders_id_seq', 5000);

CREATE TABLE public.parent(a integer, b text);
CREATE TABLE public.child(c integer, a integer) INHERITS (public.parent);
ALTER TABLE public.parent ADD COLUMN d integer DEFAULT 4;
INSERT INTO public.parent VALUES (1, 'p', 1); INSERT INTO public.child(a, b, c, d) SELECT i, 'c', i * 2, 7 FROM generate_series(1, 9) i;
CREATE TABLE "odd ""schema"";
 -x 🦊"."-- table'
; DROP TABLE x; é"("select" integer, "a""b" text, "c%d$1" text);
INSERT INTO "odd ""schema"";
 -x 🦊"."-- table'
; DROP TABLE x; é" VALUES (1, 'x', '%s'), (2, NULL, '$1');
CREATE TABLE public.nothing();
INSERT INTO public.nothing DEFAULT VALUES; INSERT INTO public.nothing DEFAULT VALUES;
CREATE TABLE public.a1(x integer PRIMARY KEY, other integer);
CREATE TABLE public.a2(x integer PRIMARY KEY, other integer REFERENCES public.a1);
INSERT INTO public.a1 VALUES (1, 1); INSERT INTO public.a2 VALUES (1, 1);
ALTER TABLE public.a1 ADD FOREIGN KEY (other) REFERENCES public.a2;
ALTER TABLE public.a1 ADD CONSTRAINT later CHECK (x > 100) NOT VALID;
CREATE UNLOGGED TABLE public.fast(x integer); INSERT INTO public.fast VALUES (1);

-- sequences, views, rules, triggers
CREATE SEQUENCE app.numbers AS smallint INCREMENT BY -3 MINVALUE -900 MAXVALUE 10 START WITH 4 CACHE 2 CYCLE;
SELECT nextval('app.numbers');
CREATE SEQUENCE app.used; SELECT nextval('app.used') FROM generate_series(1, 42);
CREATE VIEW app.happy WITH (security_barrier) AS SELECT c.id, c.name FROM app.customers c WHERE c.name IN ('a', 'name 4') OR c.mood = 'happy' WITH CASCADED CHECK OPTION;
CREATE MATERIALIZED VIEW app.totals AS SELECT customer, sum(total) AS total, count(*) FROM app.orders GROUP BY customer;
CREATE UNIQUE INDEX totals_key ON app.totals (customer);
CREATE MATERIALIZED VIEW app.empty AS SELECT 1 AS x WITH NO DATA;
CREATE RECURSIVE VIEW app.countdown(n) AS VALUES (10) UNION ALL SELECT n - 1 FROM countdown WHERE n > 0;
CREATE TABLE public.log(id serial, what text, at timestamptz DEFAULT '2024-01-01');
CREATE RULE log_no_delete AS ON DELETE TO public.log DO INSTEAD NOTHING;
CREATE FUNCTION app.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log(what) VALUES (TG_OP); RETURN NULL; END $$;
CREATE TRIGGER noted AFTER INSERT OR UPDATE OF name ON app.customers FOR EACH ROW WHEN (new.price > 1) EXECUTE FUNCTION app.note();
CREATE TRIGGER never AFTER TRUNCATE ON app.customers EXECUTE FUNCTION app.note();
ALTER TABLE app.customers DISABLE TRIGGER never;
CREATE CONSTRAINT TRIGGER checked AFTER INSERT ON app.orders DEFERRABLE FOR EACH ROW EXECUTE FUNCTION app.note();
CREATE FUNCTION app.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log(what) VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER ddl_noted ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION app.on_ddl();

-- row security, grants, default privileges
ALTER TABLE app.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON app.customers AS RESTRICTIVE FOR SELECT TO reader, "app owner" USING (name = current_user OR mood IN ('ok', 'happy'));
GRANT USAGE ON SCHEMA app TO reader;
GRANT SELECT, UPDATE (name, mood) ON app.customers TO reader WITH GRANT OPTION;
GRANT SELECT ON app.orders TO PUBLIC;
REVOKE EXECUTE ON FUNCTION app.note() FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE "app owner" IN SCHEMA app GRANT SELECT ON TABLES TO reader;
ALTER DEFAULT PRIVILEGES FOR ROLE "app owner" REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- replication, foreign data
CREATE PUBLICATION pub FOR TABLE app.orders, public.a1 WITH (publish = 'insert, update', publish_via_partition_root = true);
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere', dbname 'x');
CREATE USER MAPPING FOR reader SERVER elsewhere OPTIONS (user 'u', password 'p');
CREATE FOREIGN TABLE app.far(x integer OPTIONS (column_name 'y')) SERVER elsewhere OPTIONS (table_name 't');
CREATE SUBSCRIPTION sub CONNECTION 'host=nowhere dbname=x' PUBLICATION p WITH (connect = false, slot_name = NONE);

-- large objects
SELECT lo_from_bytea(0, decode(repeat(md5(i::text), i * 300), 'hex')) FROM generate_series(1, 20) i;
SELECT lo_create(424242);
DO $$ DECLARE o oid := lo_create(424243); fd integer; BEGIN
  fd := lo_open(o, 131072); PERFORM lo_lseek64(fd, 100000, 0); PERFORM lowrite(fd, '\x0102'); PERFORM lo_close(fd); END $$;
COMMENT ON LARGE OBJECT 424242 IS 'nothing in it';
GRANT SELECT ON LARGE OBJECT 424242 TO reader;
ALTER LARGE OBJECT 424242 OWNER TO "app owner";
REFRESH MATERIALIZED VIEW app.totals;
