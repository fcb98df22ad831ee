"""The kinds of objects that MariaDB has."""

from tests.objects.kinds import Kind

ITEM = "CREATE TABLE item (id INT PRIMARY KEY, name VARCHAR(50), n INT)"
ITEMS = ["INSERT INTO item (id, name, n) VALUES (1, 'Ada', 3), (7, 'Bob', NULL)"]

KINDS = [
    Kind("table", [ITEM], ITEMS, "item", thorough=True),
    Kind("system-versioned", ["CREATE TABLE item (id INT PRIMARY KEY, n INT) WITH SYSTEM VERSIONING"], ["INSERT INTO item VALUES (1, 1)", "UPDATE item SET n = 2", "DELETE FROM item"], ""),
    Kind("system-versioned by columns", ["CREATE TABLE item (id INT PRIMARY KEY, n INT, a TIMESTAMP(6) GENERATED ALWAYS AS ROW START, b TIMESTAMP(6) GENERATED ALWAYS AS ROW END INVISIBLE, PERIOD FOR SYSTEM_TIME (a, b)) WITH SYSTEM VERSIONING"], ["INSERT INTO item (id, n) VALUES (1, 1)"], thorough=True),
    Kind("application-time period", ["CREATE TABLE item (id INT, a DATE, b DATE, PERIOD FOR valid (a, b), UNIQUE (id, valid WITHOUT OVERLAPS))"], ["INSERT INTO item VALUES (1, '2001-01-01', '2002-01-01')"], "item", thorough=True),
    Kind("sequence", ["CREATE SEQUENCE bill_no START WITH 7 INCREMENT BY 3 MAXVALUE 1000 CACHE 5 CYCLE", "CREATE TABLE item (id INT PRIMARY KEY, no INT DEFAULT NEXTVAL(bill_no))"], ["INSERT INTO item (id) VALUES (1), (2)"], "item"),
    Kind("procedure", ["CREATE PROCEDURE one(IN a INT, OUT b INT) READS SQL DATA SQL SECURITY INVOKER COMMENT 'it''s' BEGIN SET b = a + 1; SELECT ':x;'; END"]),
    Kind("function", ["CREATE FUNCTION plus(a INT) RETURNS INT DETERMINISTIC NO SQL RETURN a + 1"]),
    Kind("event", [ITEM, "CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE COMMENT 'c' DO DELETE FROM item WHERE n < 0"], ITEMS, "item"),
    Kind("triggers in order", [ITEM, "CREATE TABLE log (t VARCHAR(99))", "CREATE TRIGGER b BEFORE INSERT ON item FOR EACH ROW SET NEW.n = COALESCE(NEW.n, 1)", "CREATE TRIGGER a BEFORE INSERT ON item FOR EACH ROW FOLLOWS b SET NEW.n = NEW.n * 2", "CREATE TRIGGER c AFTER UPDATE ON item FOR EACH ROW BEGIN INSERT INTO log VALUES (OLD.name); INSERT INTO log VALUES (NEW.name); END"], [*ITEMS, "UPDATE item SET name = 'Bea' WHERE id = 7"], "item"),
    Kind("view", [ITEM, "CREATE ALGORITHM=MERGE SQL SECURITY INVOKER VIEW big AS SELECT id, name FROM item WHERE n > 1 WITH CASCADED CHECK OPTION", "CREATE VIEW a_view AS SELECT id FROM big"], ITEMS, "item"),
    Kind("fulltext", ["CREATE TABLE item (id INT PRIMARY KEY, t TEXT, FULLTEXT KEY ft (t))"], ["INSERT INTO item VALUES (1, 'some words here')"], "item"),
    Kind("spatial", ["CREATE TABLE item (id INT PRIMARY KEY, p POINT NOT NULL, SPATIAL INDEX sp (p))"], ["INSERT INTO item VALUES (1, POINT(1, 2))"], "item", thorough=True),
    Kind("partitions", ["CREATE TABLE item (id INT, at DATE) PARTITION BY RANGE (YEAR(at)) (PARTITION p0 VALUES LESS THAN (2001), PARTITION p1 VALUES LESS THAN MAXVALUE)"], ["INSERT INTO item VALUES (1, '2000-01-01'), (2, '2020-01-01')"], "item"),
    Kind("subpartitions", ["CREATE TABLE item (id INT, at DATE) PARTITION BY RANGE (YEAR(at)) SUBPARTITION BY HASH (id) SUBPARTITIONS 2 (PARTITION p0 VALUES LESS THAN (2001), PARTITION p1 VALUES LESS THAN MAXVALUE)"], ["INSERT INTO item VALUES (1, '2000-01-01')"], "item", thorough=True),
    Kind("invisible column", ["CREATE TABLE item (id INT PRIMARY KEY, hidden INT INVISIBLE DEFAULT 4)"], ["INSERT INTO item (id) VALUES (1)"], "item", thorough=True),
    Kind("generated columns", ["CREATE TABLE item (id INT PRIMARY KEY, n INT, v INT AS (n * 2) VIRTUAL, s INT AS (n + 1) STORED, KEY ix_v (v))"], ["INSERT INTO item (id, n) VALUES (1, 4)"], "item"),
    Kind("CHECK", ["CREATE TABLE item (id INT PRIMARY KEY, n INT CHECK (n >= 0), s VARCHAR(20), CONSTRAINT short CHECK (CHAR_LENGTH(s) < 9))"], ["INSERT INTO item VALUES (1, 2, 'x')"], "item", thorough=True),
    Kind("JSON", ["CREATE TABLE item (id INT PRIMARY KEY, j JSON DEFAULT '{\"a\": 1}')"], ["INSERT INTO item (id) VALUES (1)"], "item", thorough=True),
    Kind("charsets", ["CREATE TABLE item (id INT PRIMARY KEY, a VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_german1_ci, b VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin) CHARACTER SET ascii"], ["INSERT INTO item VALUES (1, 'ä', '😀')"], "item"),
    Kind("comments", ["CREATE TABLE item (id INT PRIMARY KEY COMMENT 'it''s', n INT, KEY ix (n) COMMENT 'i') COMMENT = '100% :x'"], ["INSERT INTO item VALUES (1, 1)"], "item", thorough=True),
    Kind("AUTO_INCREMENT", ["CREATE TABLE item (id INT AUTO_INCREMENT PRIMARY KEY, t VARCHAR(9)) AUTO_INCREMENT = 500"], ["INSERT INTO item (t) VALUES ('x')", "DELETE FROM item", "INSERT INTO item (t) VALUES ('y')"], "item"),
    Kind("keys", ["CREATE TABLE p (a INT, b INT, PRIMARY KEY (a, b))", "CREATE TABLE item (id INT PRIMARY KEY, up INT, a INT, b INT, s VARCHAR(300), UNIQUE KEY u (a, s(20)), CONSTRAINT self FOREIGN KEY (up) REFERENCES item (id) ON DELETE SET NULL, CONSTRAINT fk FOREIGN KEY (a, b) REFERENCES p (a, b) ON DELETE CASCADE ON UPDATE CASCADE)", "CREATE INDEX ix_desc ON item (a DESC)"], ["INSERT INTO p VALUES (1, 2)", "INSERT INTO item VALUES (1, NULL, 1, 2, 'x')"], "item", thorough=True),
    Kind("other engines", ["CREATE TABLE item (id INT PRIMARY KEY) ENGINE=MyISAM", "CREATE TABLE a (id INT) ENGINE=Aria TRANSACTIONAL=0"], ["INSERT INTO item VALUES (1)", "INSERT INTO a VALUES (2)"], "item", thorough=True),
    Kind("defaults", ["CREATE TABLE item (id INT PRIMARY KEY, b BOOL DEFAULT FALSE, u CHAR(36) DEFAULT UUID(), at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), e ENUM('a', 'b''c') DEFAULT 'a', s SET('x', 'y'), d DECIMAL(9,2) DEFAULT 1.50, n INT UNSIGNED ZEROFILL, t TEXT DEFAULT 'it''s')"], ["INSERT INTO item (id, u, at) VALUES (1, 'x', '2001-01-01')"], "item", thorough=True),
    Kind("unsigned and binary", ["CREATE TABLE item (id BIGINT UNSIGNED PRIMARY KEY, b BINARY(4), v VARBINARY(9), l LONGBLOB, bi BIT(3), y YEAR, i INET6, u UUID)"], ["INSERT INTO item (id, b, u) VALUES (18446744073709551615, 'ab', '00000000-0000-0000-0000-000000000001')"], "item", thorough=True),
    Kind("names to quote", ["CREATE TABLE `It em` (`se``lect` INT PRIMARY KEY, `a b` VARCHAR(9), KEY `ix %` (`a b`))"], ["INSERT INTO `It em` VALUES (1, 'x')"], thorough=True),
    Kind("ignored index", ["CREATE TABLE item (id INT PRIMARY KEY, n INT, KEY ix (n) IGNORED)"], ["INSERT INTO item VALUES (1, 1)"], "item", thorough=True),
    Kind("compressed column", ["CREATE TABLE item (id INT PRIMARY KEY, t TEXT COMPRESSED) ROW_FORMAT=DYNAMIC"], ["INSERT INTO item VALUES (1, 'x')"], "item", thorough=True),
]  # fmt: skip
