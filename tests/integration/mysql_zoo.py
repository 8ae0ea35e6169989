"""A database with every kind of object, type and odd name that MariaDB has."""

from __future__ import annotations

TABLES = (
    "CREATE TABLE numbers(id INT AUTO_INCREMENT PRIMARY KEY, t TINYINT, tu TINYINT UNSIGNED ZEROFILL, s SMALLINT,"
    " m MEDIUMINT, b BIGINT, bu BIGINT UNSIGNED, d DECIMAL(65,30), f FLOAT, g DOUBLE, n BIT(64), o BOOLEAN)",
    "INSERT INTO numbers VALUES(1, -128, 255, -32768, -8388608, -9223372036854775808, 18446744073709551615,"
    " -99999999999999999999999999999999999.999999999999999999999999999999, 1.5, 1.7976931348623157e308,"
    " b'1111111111111111111111111111111111111111111111111111111111111111', true),"
    " (5, 127, 0, 32767, 8388607, 9223372036854775807, 0, 0, -3.40282e38, 2.2250738585072014e-308, b'0', false),"
    " (6, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1.17549e-38, -0.1, NULL, NULL),"
    " (9, 0, 7, 0, 0, 0, 1, 0.000000000000000000000000000001, 0, 0.1e0 + 0.2e0, b'101', NULL)",
    "CREATE TABLE texts(id INT PRIMARY KEY, c CHAR(20), v VARCHAR(9000) CHARACTER SET latin1,"
    " u TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, l LONGTEXT CHARACTER SET utf16,"
    " s VARCHAR(20) CHARACTER SET sjis,"
    " b VARBINARY(300),"
    " bl LONGBLOB, e ENUM('', 'a', 'it''s', 'b,c'), st SET('x', 'y', 'z'), j JSON) DEFAULT CHARSET utf8mb4",
    r"INSERT INTO texts VALUES(1, 'it''s', 'caf\u00e9 \\ \n \r \t \0 \Z end', '\U0001f600 \'quoted\' \"two\" ;',"
    r" 'long \U0001f600', 'テスト表', 0x000102FF27225C0A0D1A, repeat(0x00FF275C, 5000), 'it''s', 'x,z',"
    r" '{\"a\": [1, 2.50, null]}'),"
    " (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),"
    " (3, '', '', '', '', '', '', '', '', '', '[]'),"
    " (4, 'NULL', 'INSERT INTO `texts` VALUES\nINSERT INTO `texts` (1);', '-- no comment', 'DELIMITER ;;', NULL, 'x',"
    " 'y', 'b,c', 'y', '\"text\"')",
    "CREATE TABLE times(id INT PRIMARY KEY, d DATE, t TIME(6), dt DATETIME(6), ts TIMESTAMP(3) NULL, y YEAR)",
    "INSERT INTO times VALUES(1, '9999-12-31', '838:59:59.000001', '1000-01-01 00:00:00.000001',"
    " '2038-01-19 03:14:07.999', 2155),"
    " (2, '0000-00-00', '-838:59:59', '0000-00-00 00:00:00', '1970-01-01 00:00:01', 0),"
    " (3, '2024-02-30', '00:00:00', '2024-10-27 02:30:00', '2024-10-27 01:30:00', 1901),"
    " (4, NULL, NULL, NULL, NULL, NULL)",
    "CREATE TABLE zones(id INT PRIMARY KEY, made TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,"
    " i6 INET6 /*M!100700 , u UUID DEFAULT '123e4567-e89b-12d3-a456-426655440000' */"
    " /*M!101000 , i4 INET4 DEFAULT '10.0.0.1' */) DEFAULT CHARSET latin1",
    "INSERT INTO zones(id, made, i6) VALUES(1, '2020-05-05 05:05:05', '::1')",
    "CREATE TABLE places(id INT PRIMARY KEY, g GEOMETRY NOT NULL, p POINT REF_SYSTEM_ID=4326, SPATIAL INDEX(g))",
    "INSERT INTO places VALUES(1, ST_GeomFromText('POLYGON((0 0,0 5,5 5,5 0,0 0))'),"
    " ST_GeomFromText('POINT(1 2)', 4326)),"
    " (2, ST_GeomFromText('LINESTRING(0 0.1,1e10 -1)'), NULL)",
    "CREATE TABLE made(id INT PRIMARY KEY, a INT, secret INT INVISIBLE DEFAULT 7,"
    " v VARCHAR(30) AS (concat('v', a)) VIRTUAL, s INT AS (a * 2) STORED, CHECK (a > 0), KEY(s))",
    "INSERT INTO made(id, a, secret) VALUES(1, 10, 1), (2, 20, NULL)",
    "CREATE TABLE parents(id INT PRIMARY KEY, name VARCHAR(20) UNIQUE COMMENT 'it''s; a `comment` AUTO_INCREMENT=5')",
    "CREATE TABLE children(id INT AUTO_INCREMENT PRIMARY KEY, parent INT, name VARCHAR(20), CONSTRAINT of_parent"
    " FOREIGN KEY(parent) REFERENCES parents(id) ON DELETE CASCADE ON UPDATE SET NULL, FOREIGN KEY(name)"
    " REFERENCES parents(name), KEY(name), FULLTEXT KEY(name)) AUTO_INCREMENT=1000 COMMENT='AUTO_INCREMENT=77'",
    "INSERT INTO parents VALUES(1, 'one'), (2, 'two'), (-3, 'minus')",
    "INSERT INTO children(parent, name) VALUES(1, 'one'), (2, NULL), (NULL, 'two'), (-3, 'minus')",
    "CREATE TABLE circle_a(id INT PRIMARY KEY, b INT)",
    "CREATE TABLE circle_b(id INT PRIMARY KEY, a INT, FOREIGN KEY(a) REFERENCES circle_a(id))",
    "ALTER TABLE circle_a ADD FOREIGN KEY(b) REFERENCES circle_b(id)",
    "INSERT INTO circle_a VALUES(1, NULL)",
    "INSERT INTO circle_b VALUES(1, 1)",
    "UPDATE circle_a SET b = 1",
    "CREATE TABLE parted(id INT, day DATE, PRIMARY KEY(id, day)) PARTITION BY RANGE(to_days(day))"
    " (PARTITION old VALUES LESS THAN (to_days('2020-01-01')), PARTITION new VALUES LESS THAN MAXVALUE)",
    "INSERT INTO parted VALUES(1, '2019-01-01'), (2, '2024-01-01')",
    "CREATE TABLE no_key(a INT COMMENT 'of\r\nWindows', b VARCHAR(10)) COMMENT 'two\r\nlines'",
    "INSERT INTO no_key VALUES(1, 'x'), (1, 'x'), (1, 'x'), (NULL, NULL), (NULL, NULL)",
    "CREATE TABLE `empty`(id INT PRIMARY KEY)",
    "CREATE TABLE zero(id INT AUTO_INCREMENT PRIMARY KEY, v INT)",
    "INSERT INTO zero VALUES(1, 1), (2, 2)",
    "UPDATE zero SET id = 0 WHERE id = 2",
    "CREATE TABLE plain(id INT PRIMARY KEY, v TEXT) ENGINE=MyISAM",
    "INSERT INTO plain VALUES(1, 'myisam')",
    "CREATE TABLE aria(id INT PRIMARY KEY, v TEXT) ENGINE=Aria TRANSACTIONAL=1",
    "INSERT INTO aria VALUES(1, 'aria')",
    "CREATE TABLE `-dashed`(`select` INT PRIMARY KEY, `a b` INT)",
    "INSERT INTO `-dashed` VALUES(1, 2)",
    "CREATE TABLE `o'd``d\"n-ä😀 me`(`c'o``l\"😀` INT PRIMARY KEY)".replace("😀", "ø"),
    "INSERT INTO `o'd``d\"n-äø me` VALUES(42)",
    "CREATE TABLE `line\nbreak`(id INT PRIMARY KEY, `col\numn` INT AS (id + 1) STORED, v VARCHAR(50))",
    "INSERT INTO `line\nbreak`(id, v) VALUES(1, 'INSERT INTO `empty` VALUES\n(9);')",
    "CREATE TABLE packed(id INT PRIMARY KEY, v TEXT COMPRESSED) ROW_FORMAT=COMPRESSED",
    "INSERT INTO packed VALUES(1, repeat('packed ', 500))",
)
OBJECTS = (
    "CREATE SEQUENCE counter START WITH 10 INCREMENT BY 5 NOCACHE",
    "SELECT nextval(counter)",
    "CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC COMMENT 'it''s' RETURN n * 2",
    "CREATE PROCEDURE fill(IN n INT) BEGIN DECLARE i INT DEFAULT 0; -- a; comment\n WHILE i < n DO SET i = i + 1;"
    " END WHILE; SELECT ';;', '$$', 'DELIMITER'; END",
    "CREATE PROCEDURE of_windows() COMMENT 'two\r\nlines' BEGIN\r\n  SELECT 'a\r\nb\rc\x1ad';\r\n\r\n  -- end\r\nEND",
    "CREATE VIEW b_first AS SELECT id, twice(a) AS t FROM made",
    "CREATE VIEW a_second AS SELECT f.id, p.name FROM b_first f JOIN parents p ON p.id = f.id WHERE p.name <> 'x;y'",
    "CREATE ALGORITHM=MERGE SQL SECURITY INVOKER VIEW checked AS SELECT id FROM parents WHERE id > 0 WITH CHECK OPTION",
    "CREATE TRIGGER children_one BEFORE INSERT ON children FOR EACH ROW SET new.name = trim(new.name)",
    "CREATE TRIGGER children_two BEFORE INSERT ON children FOR EACH ROW FOLLOWS children_one BEGIN\r\n"
    " SET new.name = concat(new.name, '');\r\nEND",
    "CREATE TRIGGER `tr'ig``ger` AFTER DELETE ON parents FOR EACH ROW DELETE FROM no_key WHERE a = old.id",
    "CREATE EVENT often ON SCHEDULE EVERY 1 SECOND DO INSERT INTO `empty` VALUES(1)",
    "CREATE EVENT never ON SCHEDULE AT '2037-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE"
    " COMMENT 'it''s' DO BEGIN\r\nEND",
    "CREATE TABLE calls(id INT DEFAULT nextval(counter) PRIMARY KEY)",
    "INSERT INTO calls VALUES(), ()",
)
