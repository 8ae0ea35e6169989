CREATE DATABASE promptpilot OWNER promptpilot TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8';
CREATE DATABASE forgotten;
\connect promptpilot
SET ROLE promptpilot;
CREATE SCHEMA app;
CREATE TABLE app.prompts (id serial PRIMARY KEY, body text NOT NULL, at timestamptz DEFAULT now());
INSERT INTO app.prompts (body) SELECT 'prompt ä ' || n FROM generate_series(1, 2000) n;
CREATE VIEW app.newest AS SELECT * FROM app.prompts ORDER BY id DESC LIMIT 10;
CREATE FUNCTION app.twice(n int) RETURNS int LANGUAGE sql AS 'SELECT 2 * n';
REVOKE ALL ON SCHEMA app FROM PUBLIC;
