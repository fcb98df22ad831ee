"""A MariaDB database that has one of each kind of object."""

BASE = (
    "CREATE TABLE parent (id INT PRIMARY KEY, n INT)",
    "CREATE TABLE item (id INT PRIMARY KEY AUTO_INCREMENT, n INT DEFAULT 7, t VARCHAR(50), "
    "body TEXT, a INT, twice INT AS (n * 2) VIRTUAL, kind ENUM('x','y'), "
    "price DECIMAL(8,2), `odd``name` INT COMMENT 'it''s, `odd`', pos POINT NOT NULL, "
    "KEY by_n (n), FULLTEXT KEY words (body), SPATIAL KEY places (pos), KEY down (n DESC, t), "
    "CONSTRAINT small CHECK (n < 1000), "
    "CONSTRAINT up FOREIGN KEY (a) REFERENCES parent (id) ON DELETE CASCADE) "
    "COMMENT='things AUTO_INCREMENT=5'",
    "CREATE TABLE kept (id INT PRIMARY KEY, n INT) WITH SYSTEM VERSIONING",
    "CREATE TABLE parts (id INT PRIMARY KEY) PARTITION BY RANGE (id) "
    "(PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))",
    "CREATE TABLE spans (id INT, d1 DATE, d2 DATE, PERIOD FOR span (d1, d2))",
    "INSERT INTO parent VALUES (1, 1)",
    "INSERT INTO item (n, t, body, a, kind, price, pos) "
    "VALUES (1, 'one', 'Grüße', 1, 'x', 1.25, POINT(1, 2))",
    "INSERT INTO kept VALUES (1, 1)",
    "INSERT INTO parts VALUES (1), (11)",
    "CREATE VIEW seen AS SELECT id, n FROM item",
    "CREATE SQL SECURITY INVOKER VIEW above AS SELECT n FROM seen WHERE n > 0",
    "CREATE TRIGGER first BEFORE INSERT ON parent FOR EACH ROW SET NEW.n = NEW.n + 1",
    "CREATE TRIGGER second BEFORE INSERT ON parent FOR EACH ROW SET NEW.n = NEW.n * 2",
    "CREATE PROCEDURE clear_all() MODIFIES SQL DATA DELETE FROM item",
    "CREATE FUNCTION one() RETURNS INT DETERMINISTIC RETURN 1",
    "CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM item",
    "CREATE SEQUENCE numbers START WITH 5",
    "SET sql_mode = 'ORACLE'",
    "CREATE PACKAGE pack AS PROCEDURE p1; END",
    "CREATE PACKAGE BODY pack AS PROCEDURE p1 AS BEGIN NULL; END; END",
    "SET sql_mode = DEFAULT",
)
