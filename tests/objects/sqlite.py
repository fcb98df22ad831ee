"""The kinds of objects that SQLite has."""

from tests.objects.kinds import Kind

ITEM = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, n INTEGER)"
ITEMS = [
    "INSERT INTO item (id, name, n) VALUES (1, 'Ada', 3)",
    "INSERT INTO item (id, name, n) VALUES (7, 'Bob', NULL)",
]
NOTE = "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)"
NOTES = [f"INSERT INTO note VALUES ({n}, 'some words {n}')" for n in range(1, 40)]

KINDS = [
    Kind("table", [ITEM], ITEMS, "item"),
    Kind("table without a key", ["CREATE TABLE item (a, b BLOB, c TEXT DEFAULT 'x')"], ["INSERT INTO item (rowid, a, b) VALUES (9, 1.5, x'00ff')", "INSERT INTO item (rowid, a) VALUES (3, 'text')"], "item"),
    Kind("WITHOUT ROWID", ["CREATE TABLE item (a TEXT, b INT, c TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID"], ["INSERT INTO item VALUES ('x', 1, 'y')", "INSERT INTO item VALUES ('a', 1, 'z')"], "item"),
    Kind("STRICT", ["CREATE TABLE item (id INTEGER PRIMARY KEY, a ANY, t TEXT NOT NULL) STRICT"], ["INSERT INTO item VALUES (1, 1, 'x')", "INSERT INTO item VALUES (2, '1', 'y')"], "item"),
    Kind("AUTOINCREMENT", ["CREATE TABLE item (id INTEGER PRIMARY KEY AUTOINCREMENT, t TEXT)"], ["INSERT INTO item VALUES (41, 'x')", "DELETE FROM item WHERE id = 41", "INSERT INTO item (t) VALUES ('y')"], "item"),
    Kind("FTS5 of its own", ["CREATE VIRTUAL TABLE words USING fts5(body, tokenize='porter ascii')"], [f"INSERT INTO words VALUES ('running words {n}')" for n in range(30)]),
    Kind("FTS5 of external content", [NOTE, "CREATE VIRTUAL TABLE words USING fts5(body, content='note', content_rowid='id')", "CREATE TRIGGER note_ai AFTER INSERT ON note BEGIN INSERT INTO words(rowid, body) VALUES (new.id, new.body); END", "CREATE TRIGGER note_ad AFTER DELETE ON note BEGIN INSERT INTO words(words, rowid, body) VALUES ('delete', old.id, old.body); END"], [*NOTES, "DELETE FROM note WHERE id = 3"], "note"),
    Kind("FTS5 without content", ["CREATE VIRTUAL TABLE words USING fts5(body, content='')"], ["INSERT INTO words(rowid, body) VALUES (5, 'gone but found')"]),
    Kind("FTS4", ["CREATE VIRTUAL TABLE words USING fts4(body, author, tokenize=porter)"], [f"INSERT INTO words VALUES ('text {n}', 'me')" for n in range(20)]),
    Kind("FTS3", ["CREATE VIRTUAL TABLE words USING fts3(body)"], ["INSERT INTO words VALUES ('text')"], thorough=True),
    Kind("R*Tree", ["CREATE VIRTUAL TABLE area USING rtree(id, x0, x1, y0, y1, +name TEXT)"], [f"INSERT INTO area VALUES ({n}, {n}, {n + 1}, 0, 1, 'a{n}')" for n in range(60)]),
    Kind("R*Tree of integers", ["CREATE VIRTUAL TABLE area USING rtree_i32(id, x0, x1)"], ["INSERT INTO area VALUES (1, 0, 5)"], thorough=True),
    Kind("view", [ITEM, "CREATE VIEW big AS SELECT id, upper(name) AS name FROM item WHERE n > 2", "CREATE VIEW bigger (a) AS SELECT id FROM big"], ITEMS, "item"),
    Kind("INSTEAD OF trigger", [ITEM, "CREATE VIEW v AS SELECT id, name FROM item", "CREATE TRIGGER v_in INSTEAD OF INSERT ON v BEGIN INSERT INTO item (id, name) VALUES (new.id, new.name || '!'); END"], [*ITEMS, "INSERT INTO v VALUES (9, 'by view')"]),
    Kind("trigger", [ITEM, "CREATE TABLE log (t TEXT)", "CREATE TRIGGER one AFTER UPDATE OF name ON item WHEN new.name <> old.name BEGIN INSERT INTO log VALUES (old.name || ';' || new.name); END", "CREATE TRIGGER two BEFORE DELETE ON item BEGIN SELECT RAISE(ABORT, 'kept') WHERE old.id = 1; END"], [*ITEMS, "UPDATE item SET name = 'Bea' WHERE id = 7"], "item"),
    Kind("generated column, virtual", ["CREATE TABLE item (id INTEGER PRIMARY KEY, n INTEGER, d INTEGER GENERATED ALWAYS AS (n * 2) VIRTUAL, e TEXT AS (n || 'x'))", "CREATE INDEX ix_d ON item (d)"], ["INSERT INTO item (id, n) VALUES (1, 4)"], "item"),
    Kind("generated column, stored", ["CREATE TABLE item (id INTEGER PRIMARY KEY, n INTEGER, d INTEGER GENERATED ALWAYS AS (n * 2) STORED)"], ["INSERT INTO item (id, n) VALUES (1, 4)"], "item"),
    Kind("partial index", [ITEM, "CREATE INDEX ix_p ON item (n) WHERE n IS NOT NULL AND name <> 'it''s'", "CREATE UNIQUE INDEX ux_p ON item (name) WHERE n > 1"], ITEMS, "item"),
    Kind("expression index", [ITEM, "CREATE INDEX ix_e ON item (lower(name), n + 1)"], ITEMS, "item"),
    Kind("descending index", [ITEM, "CREATE INDEX ix_d ON item (name DESC, n)"], ITEMS, "item"),
    Kind("collated index", [ITEM, "CREATE INDEX ix_c ON item (name COLLATE NOCASE)"], ITEMS, "item"),
    Kind("collated column", ["CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE UNIQUE)"], ["INSERT INTO item VALUES (1, 'Ada')"], "item"),
    Kind("unique", ["CREATE TABLE item (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b TEXT, c TEXT, CONSTRAINT uq_bc UNIQUE (b, c) ON CONFLICT REPLACE)"], ["INSERT INTO item VALUES (1, 'a', 'b', 'c')"], "item"),
    Kind("CHECK", ["CREATE TABLE item (id INTEGER PRIMARY KEY, n INTEGER CHECK (n >= 0), s TEXT CONSTRAINT short CHECK (length(s) < 9), CONSTRAINT both CHECK (n > 1 OR s = 'it''s'))"], ["INSERT INTO item VALUES (1, 2, 'x')"], "item"),
    Kind("defaults", ["CREATE TABLE item (id INTEGER PRIMARY KEY, a TEXT DEFAULT 'it''s; 100%', b INTEGER DEFAULT (1 + 2), c TEXT DEFAULT CURRENT_TIMESTAMP, d BLOB DEFAULT x'00', e TEXT DEFAULT (hex(randomblob(4))), f REAL DEFAULT -1.5)"], ["INSERT INTO item (id, c, e) VALUES (1, 'then', 'k')"], "item"),
    Kind("foreign key to itself", ["CREATE TABLE item (id INTEGER PRIMARY KEY, up INTEGER REFERENCES item (id) ON DELETE SET NULL ON UPDATE CASCADE)"], ["INSERT INTO item VALUES (1, NULL)", "INSERT INTO item VALUES (2, 1)"], "item"),
    Kind("composite foreign key", ["CREATE TABLE p (a INTEGER, b TEXT, PRIMARY KEY (a, b))", "CREATE TABLE item (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, CONSTRAINT fk FOREIGN KEY (a, b) REFERENCES p (a, b) ON DELETE CASCADE ON UPDATE SET DEFAULT DEFERRABLE INITIALLY DEFERRED)"], ["INSERT INTO p VALUES (1, 'x')", "INSERT INTO item VALUES (1, 1, 'x')"], "item"),
    Kind("parent of others", ["CREATE TABLE item (id INTEGER PRIMARY KEY)", "CREATE TABLE child (id INTEGER PRIMARY KEY, item INTEGER NOT NULL REFERENCES item (id) ON DELETE CASCADE)"], ["INSERT INTO item VALUES (1)", "INSERT INTO child VALUES (1, 1)", "INSERT INTO child VALUES (2, 1)"], "item"),
    Kind("orphans that were there", ["CREATE TABLE p (id INTEGER PRIMARY KEY)", "CREATE TABLE item (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p (id))"], ["INSERT INTO item VALUES (1, 99)"], "item"),
    Kind("a key that names nothing", ["CREATE TABLE item (id INTEGER PRIMARY KEY, p INTEGER REFERENCES nowhere (id))"], ["INSERT INTO item VALUES (1, NULL)"], "item"),
    Kind("names to quote", ['CREATE TABLE "it em" ("se""lect" INTEGER PRIMARY KEY, "a b" TEXT)', 'CREATE INDEX "ix %" ON "it em" ("a b")', 'CREATE TABLE "Üñï" (a INTEGER)'], ["INSERT INTO \"it em\" VALUES (1, 'x')"]),
    Kind("header", [ITEM, "PRAGMA user_version = 42", "PRAGMA application_id = 77"], ITEMS, "item"),
    Kind("statistics", [ITEM, "CREATE INDEX ix_n ON item (n)", "INSERT INTO item (id, name, n) VALUES (99, 'x', 1)", "ANALYZE"], ITEMS, thorough=True),
    Kind("function of the application", [ITEM, "CREATE VIEW v AS SELECT slug(name) AS s FROM item", "CREATE TRIGGER t AFTER INSERT ON item BEGIN UPDATE item SET name = slug(name) WHERE id = new.id; END"], ITEMS, "item"),
    Kind("JSON and blobs", ["CREATE TABLE item (id INTEGER PRIMARY KEY, j JSON, CHECK (json_valid(j)))", "CREATE INDEX ix_j ON item (json_extract(j, '$.a'))"], ["INSERT INTO item VALUES (1, '{\"a\": [1, 2]}')"], "item"),
    Kind("types of any name", ["CREATE TABLE item (id INTEGER PRIMARY KEY, a VARCHAR(20), b DECIMAL(10,2), c BOOLEAN, d DATETIME, e WHATEVER, f POINT(3), g)"], ["INSERT INTO item (id, b, g) VALUES (1, 1.10, 'x')"], "item"),
    Kind("dbstat", ["CREATE VIRTUAL TABLE sizes USING dbstat(main)"], thorough=True),
    Kind("fts5vocab", ["CREATE VIRTUAL TABLE words USING fts5(body)", "CREATE VIRTUAL TABLE vocabulary USING fts5vocab('words', 'row')"], ["INSERT INTO words VALUES ('one two two')"], thorough=True),
]  # fmt: skip
REBUILT = [kind for kind in KINDS if kind.table]
