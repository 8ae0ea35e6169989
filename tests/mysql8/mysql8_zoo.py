"""A database with every kind of object and type that MySQL 8.0 has, beside what it shares with MariaDB."""

from __future__ import annotations

from mysql_zoo import OBJECTS as SHARED_OBJECTS
from mysql_zoo import TABLES as SHARED_TABLES

# What MySQL does not know or takes otherwise; names that are not ASCII do not pass Wine's command line.
NOT_HERE = ("zones", "places", "made", "aria", "packed", "calls", "counter", "`o'd``d\"n-äø me`")


def _shared(statements: tuple[str, ...]) -> tuple[str, ...]:
    """The statements that MySQL takes as well, in its words."""
    return tuple(one.replace("utf8mb4_bin", "utf8mb4_0900_bin") for one in statements if not _is_other(one))


def _is_other(statement: str) -> bool:
    words = statement.partition("(")[0] + " "
    return any(f" {name} " in words.replace("(", " ") or f"{name})" in statement for name in NOT_HERE)


TABLES = (
    *_shared(SHARED_TABLES),
    "CREATE TABLE made(id INT PRIMARY KEY, a INT, secret INT DEFAULT 7 INVISIBLE,"
    " v VARCHAR(30) AS (concat('v', a)) VIRTUAL, s INT AS (a * 2) STORED, CONSTRAINT positive CHECK (a > 0),"
    " CONSTRAINT lax CHECK (a < 15) NOT ENFORCED, KEY(s), KEY hidden(a) INVISIBLE, KEY descending(a DESC, id),"
    " KEY functional((a + 1), (upper(v))))",
    "INSERT INTO made(id, a, secret) VALUES(1, 10, 1), (2, 20, NULL)",
    "CREATE TABLE places(id INT PRIMARY KEY, g GEOMETRY NOT NULL SRID 0, p POINT NOT NULL SRID 4326, SPATIAL INDEX(g),"
    " SPATIAL KEY(p))",
    "INSERT INTO places VALUES(1, ST_GeomFromText('POLYGON((0 0,0 5,5 5,5 0,0 0))'),"
    " ST_GeomFromText('POINT(1 2)', 4326)),"
    " (2, ST_GeomFromText('LINESTRING(0 0.1,1e10 -1)'), ST_GeomFromText('POINT(-33.5 151.25)', 4326))",
    "CREATE TABLE documents(id BINARY(16) DEFAULT (uuid_to_bin(uuid())) PRIMARY KEY, j JSON DEFAULT (json_array()),"
    " tags JSON, made TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,"
    " name VARCHAR(40) GENERATED ALWAYS AS (j->>'$.name') VIRTUAL, KEY(name),"
    " KEY many((cast(tags->'$' AS UNSIGNED ARRAY))))",
    "INSERT INTO documents(id, j, tags) VALUES(0x00112233445566778899AABBCCDDEEFF,"
    r" '{\"name\": \"caf\\u00e9\", \"n\": [1, 2.50, 1e300, null, true], \"\": {}}', '[3, 1, 2]'),"
    " (0x01, '1', NULL), (0x02, 'null', '[]'), (0x03, NULL, NULL),"
    " (0x04, json_object('b', x'ff00', 't', cast('2020-01-02 03:04:05.6' AS DATETIME(3))), '[1]')",
    "CREATE TABLE hashed(id INT, v VARCHAR(9), KEY(id)) PARTITION BY KEY(id) PARTITIONS 3",
    "INSERT INTO hashed VALUES(1, 'a'), (2, 'b'), (NULL, 'c')",
    "CREATE TABLE described(id INT PRIMARY KEY COMMENT 'it''s', v INT) COMMENT 'a; `b`' STATS_PERSISTENT=1"
    " ROW_FORMAT=COMPRESSED",
    "INSERT INTO described WITH RECURSIVE seqs(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM seqs WHERE seq < 200)"
    " SELECT seq, seq % 7 FROM seqs",
    "CREATE TABLE `o'd``d\"n \\me %`(`c'o``l\"` INT PRIMARY KEY)",
    "INSERT INTO `o'd``d\"n \\me %` VALUES(42)",
    "CREATE TABLE numbered(a INT, id BIGINT UNSIGNED AUTO_INCREMENT UNIQUE)",
    "INSERT INTO numbered(a) VALUES(1), (2)",
)
OBJECTS = _shared(SHARED_OBJECTS)
HISTOGRAM = "ANALYZE TABLE described UPDATE HISTOGRAM ON v WITH 8 BUCKETS"
