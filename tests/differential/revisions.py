"""What revisions do, as pieces: each reads or writes something that a tool could get wrong."""

import random
from dataclasses import dataclass
from textwrap import indent

from tests.differential.environments import ALL, picked

SCRIPT = '''"""revision {id}"""

import datetime
import logging
import os
import pathlib
import random
import secrets
import sys
import time
import uuid
import warnings

import sqlalchemy as sa
from alembic import context, op

revision = {id!r}
down_revision = {parent!r}
{head}


def upgrade():
{up}


def downgrade():
{down}
'''

ITEM = """op.create_table(
    "item",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(50), nullable=False),
    sa.Column("n", sa.Integer, server_default="3"),
)
op.create_table(
    "note",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("item_id", sa.Integer, sa.ForeignKey("item.id", ondelete="CASCADE")),
    sa.Column("body", sa.Text),
)
op.create_index("ix_item_name", "item", ["name"])
op.create_table("log", sa.Column("k", sa.String(60)), sa.Column("v", sa.String(200)))"""
ITEM_DOWN = 'op.drop_table("log")\nop.drop_table("note")\nop.drop_table("item")'
ROWS = [
    "INSERT INTO item (id, name, n) VALUES (1, 'Ada', 10)",
    "INSERT INTO item (id, name, n) VALUES (2, 'Bob''s 100%% of :x', NULL)",
    "INSERT INTO item (id, name) VALUES (3, 'ünïcode')",
    "INSERT INTO note (id, item_id, body) VALUES (1, 1, 'first')",
    "INSERT INTO note (id, item_id, body) VALUES (2, 1, 'second')",
]


@dataclass
class Piece:
    """Something that a revision does. `@` in its text is a number of its own."""

    name: str
    up: str
    down: str = "pass"
    head: str = ""
    dialects: tuple[str, ...] = ALL
    needs: str = ""
    """What the env.py has to give."""
    refusable: bool = False
    is_last: bool = False
    """It fails: nothing can come after it."""
    chance: bool = False
    """It writes a value that no two databases share."""


def log(value: str) -> str:
    """The text that writes a value down, as most projects do: SQL with the value in it."""
    return f"""value = {value}
op.execute(f"INSERT INTO log (k, v) VALUES ('@', '{{value}}')")"""


def bound(value: str) -> str:
    """The text that gives the value to the driver."""
    return f"""value = str({value})
op.execute(sa.text("INSERT INTO log (k, v) VALUES ('@', :v)").bindparams(v=value))"""


LITE, PG, MY = ("sqlite",), ("postgresql",), ("mariadb",)
SERVERS = ("postgresql", "mariadb")

SCHEMA = [
    Piece("table", 'op.create_table("t@", sa.Column("id", sa.Integer, primary_key=True), sa.Column("s", sa.String(20), server_default="a\'b %% :c"))', 'op.drop_table("t@")'),
    Piece("column", 'op.add_column("item", sa.Column("c@", sa.Integer, nullable=False, server_default="7"))', 'op.drop_column("item", "c@")'),
    Piece("index", 'op.create_index("ix@", "item", ["n", "name"])', 'op.drop_index("ix@", "item")'),
    Piece("partial index", 'op.create_index("px@", "item", ["n"], sqlite_where=sa.text("n > 3"), postgresql_where=sa.text("n > 3"))', 'op.drop_index("px@", "item")', dialects=("sqlite", "postgresql")),
    Piece("view", 'op.execute("CREATE VIEW v@ AS SELECT id, name FROM item WHERE n > 3")', 'op.execute("DROP VIEW v@")'),
    Piece("trigger", """op.execute("CREATE TRIGGER tr@ AFTER INSERT ON item BEGIN INSERT INTO log VALUES ('trigger @', new.name); END")""", 'op.execute("DROP TRIGGER tr@")', dialects=LITE),
    Piece("generated column", 'op.execute("ALTER TABLE item ADD COLUMN g@ INTEGER GENERATED ALWAYS AS (n * 2) VIRTUAL")', 'op.drop_column("item", "g@")', dialects=LITE),
    Piece("fts", """op.execute("CREATE VIRTUAL TABLE fts@ USING fts5(name, content='item', content_rowid='id')")
op.execute("INSERT INTO fts@(fts@) VALUES ('rebuild')")""", 'op.execute("DROP TABLE fts@")', dialects=LITE),
    Piece("raw SQL", 'op.execute("CREATE TABLE raw@ (id INTEGER, t VARCHAR(20) DEFAULT \'x;y\')")\nop.execute("INSERT INTO raw@ (id) SELECT id FROM item")', 'op.execute("DROP TABLE raw@")'),
    Piece("enum", 'sa.Enum("a", "b", name="e@").create(op.get_bind())\nop.execute("ALTER TABLE item ADD COLUMN e@ e@ DEFAULT \'a\'")', 'op.drop_column("item", "e@")\nop.execute("DROP TYPE e@")', dialects=PG),
    Piece("identity", 'op.execute("CREATE TABLE idt@ (id int GENERATED ALWAYS AS IDENTITY, s serial)")\nop.execute("INSERT INTO idt@ DEFAULT VALUES")', 'op.execute("DROP TABLE idt@")', dialects=PG),
    Piece("function", 'op.execute("CREATE FUNCTION f@(i int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT i + 1 $$")', 'op.execute("DROP FUNCTION f@")', dialects=PG),
    Piece("schema", 'op.execute("CREATE SCHEMA s@")\nop.create_table("t", sa.Column("id", sa.Integer), schema="s@")', 'op.drop_table("t", schema="s@")\nop.execute("DROP SCHEMA s@")', dialects=PG),
    Piece("blob", 'op.create_table("b@", sa.Column("b", sa.LargeBinary))', 'op.drop_table("b@")'),
    Piece("boolean and server time", 'op.create_table("bo@", sa.Column("id", sa.Integer, primary_key=True), sa.Column("b", sa.Boolean, server_default=sa.false()), sa.Column("at", sa.DateTime, server_default=sa.func.now()))\nop.execute("INSERT INTO bo@ (id) VALUES (1)")', 'op.drop_table("bo@")'),
    Piece("alter type", 'op.alter_column("item", "name", type_=sa.String(80), existing_type=sa.String(50), existing_nullable=False)', 'op.alter_column("item", "name", type_=sa.String(50), existing_type=sa.String(80), existing_nullable=False)', dialects=SERVERS),
    Piece("rename", 'op.rename_table("note", "note@")\nop.rename_table("note@", "note")'),
    Piece("if not exists", 'op.create_table("ine@", sa.Column("id", sa.Integer), if_not_exists=True)\nop.create_index("ine_ix@", "ine@", ["id"], if_not_exists=True)', 'op.drop_table("ine@", if_exists=True)'),
    Piece("bulk insert", 'op.bulk_insert(sa.table("log", sa.column("k"), sa.column("v")), [{"k": "bulk", "v": "100% :x"}, {"k": "bulk", "v": None}])'),
    Piece("two statements", 'op.execute("UPDATE item SET n = 5 WHERE n IS NULL")\nop.alter_column("item", "n", existing_type=sa.Integer, nullable=True) if op.get_bind().dialect.name != "sqlite" else None'),
    Piece("application-defined function", 'op.execute("CREATE INDEX sx@ ON item (slug(name))")', 'op.execute("DROP INDEX sx@")', dialects=LITE, needs="slug"),
    Piece("custom operation", 'op.make_mark("m@")', 'op.drop_table("mark_m@")', needs="make_mark"),
    Piece("compiled type", 'op.create_table("cb@", sa.Column("b", sa.LargeBinary))', 'op.drop_table("cb@")', needs="blob"),
]  # fmt: skip

BATCH = [
    Piece("batch: add with a constraint", """with op.batch_alter_table("item") as batch:
    batch.add_column(sa.Column("bc@", sa.Integer))
    batch.create_check_constraint("ck@", "n IS NULL OR n < 1000")""", """with op.batch_alter_table("item") as batch:
    batch.drop_constraint("ck@", type_="check")
    batch.drop_column("bc@")""", dialects=LITE),
    Piece("batch: alter", """with op.batch_alter_table("item") as batch:
    batch.alter_column("name", type_=sa.String(90), existing_type=sa.String(50), existing_nullable=False)""", dialects=LITE),
    Piece("batch: always", """with op.batch_alter_table("note", recreate="always") as batch:
    batch.add_column(sa.Column("bn@", sa.String(5), server_default="q"))""", dialects=LITE),
    Piece("batch: copied from", """with op.batch_alter_table("item", reflect_kwargs={}) as batch:
    batch.alter_column("n", server_default="4", existing_type=sa.Integer)""", dialects=LITE),
    Piece("batch: a trigger goes", """op.execute("CREATE TABLE bt@ (id INTEGER PRIMARY KEY, price INTEGER)")
op.execute("CREATE TRIGGER btr@ AFTER INSERT ON bt@ BEGIN INSERT INTO log VALUES ('x', 'y'); END")
with op.batch_alter_table("bt@") as batch:
    batch.alter_column("price", server_default="1", existing_type=sa.Integer)""", 'op.drop_table("bt@")', dialects=LITE, refusable=True),
    Piece("batch: unique", """with op.batch_alter_table("log") as batch:
    batch.add_column(sa.Column("bu@", sa.Integer))
    batch.create_unique_constraint("uq@", ["bu@"])""", dialects=LITE),
    Piece("batch: on a server", """with op.batch_alter_table("item") as batch:
    batch.add_column(sa.Column("bs@", sa.Integer))""", 'op.drop_column("item", "bs@")', dialects=SERVERS),
]  # fmt: skip

READS = [
    Piece("url: of the config", log('pathlib.Path(sa.make_url(context.config.get_main_option("sqlalchemy.url")).database).stem')),
    Piece("url: of op's context", log("pathlib.Path(str(op.get_context().bind.engine.url.database)).stem"), refusable=True),
    Piece("url: as the script is read", log("HERE"), head='HERE = pathlib.Path(sa.make_url(context.config.get_main_option("sqlalchemy.url")).database).stem\n', refusable=True),
    Piece("x-argument", log('context.get_x_argument(as_dictionary=True)["tenant"]')),
    Piece("environ", log('os.environ["TENANT"]')),
    Piece("environ: getenv", bound('os.getenv("TENANT", "")')),
    Piece("environ: get", log('os.environ.get("TENANT")')),
    Piece("environ: in", log('"yes" if os.environ.get("TENANT") == "bob" else "no"')),
    Piece("environ: in a default", 'op.add_column("item", sa.Column("env@", sa.String(20), server_default=os.environ["TENANT"]))', 'op.drop_column("item", "env@")'),
    Piece("environ: as the script is read", log("HERE"), head='HERE = os.environ["TENANT"]\n'),
    Piece("environ: branches", """if os.environ["TENANT"] == "bob":
    op.create_table("only_bob@", sa.Column("id", sa.Integer))""", 'op.execute("DROP TABLE IF EXISTS only_bob@")'),
    Piece("clock: time", log("'now-' + str(time.time_ns())"), chance=True),
    Piece("clock: datetime", bound("'now-' + str(int(datetime.datetime.now().timestamp() * 1_000_000))"), chance=True),
    Piece("clock: monotonic", log("'now-' + str(time.perf_counter_ns())"), chance=True),
    Piece("clock: as the script is read", log("AT"), head="AT = 'now-' + str(time.time_ns())\n", chance=True),
    Piece("clock: branches", 'op.create_table("since2020@" if datetime.date.today().year > 2020 else "never@", sa.Column("id", sa.Integer))', 'op.drop_table("since2020@")'),
    Piece("random", log("'rnd-' + format(random.getrandbits(64), 'x')"), chance=True),
    Piece("random: seeded", log("random.Random(5).randrange(1000)")),
    Piece("random: imported name", "from random import random as roll\n" + log("'rnd-' + format(int(roll() * 10**15), 'x')"), chance=True),
    Piece("random: a generator of its own", log("'rnd-' + format(random.Random().getrandbits(64), 'x')"), chance=True),
    Piece("random: SystemRandom", log("'rnd-' + format(random.SystemRandom().getrandbits(64), 'x')"), chance=True),
    Piece("uuid4", log("'rnd-' + str(uuid.uuid4())"), chance=True),
    Piece("uuid1", log("'rnd-' + str(uuid.uuid1())"), chance=True),
    Piece("secrets", log("'rnd-' + secrets.token_hex(8)"), chance=True),
    Piece("urandom", log("'rnd-' + os.urandom(8).hex()"), chance=True),
    Piece("id of an object", log("'rnd-' + format(hash(object()) + time.time_ns(), 'x')"), chance=True),
    Piece("uuid: a callable default", """t = sa.table("log", sa.column("k"), sa.column("v"))
op.bulk_insert(t, [{"k": "@", "v": "rnd-" + uuid.uuid4().hex} for _ in range(2)])""", chance=True),
    Piece("uuid: a Table's default", """t = sa.Table("log", sa.MetaData(), sa.Column("k", sa.String(60)), sa.Column("v", sa.String(200), default=lambda: "rnd-" + uuid.uuid4().hex))
op.execute(t.insert().values(k="@"))""", chance=True),
    Piece("uuid: in a server default", 'op.add_column("item", sa.Column("ud@", sa.String(60), server_default="rnd-" + uuid.uuid4().hex))', 'op.drop_column("item", "ud@")', chance=True),
    Piece("file", log('(pathlib.Path(__file__).parent.parent / "words.txt").read_text().strip()')),
    Piece("file: SQL", 'op.execute((pathlib.Path(__file__).parent.parent / "more.sql").read_text().replace("%s", "f@"))', 'op.execute("DROP TABLE f@")'),
    Piece("file: named by the environment", log('open(os.environ["WORDS"]).read().strip()')),
    Piece("module of the project", "from settings import WORD\n" + log("WORD")),
    Piece("module of the project: at the top", log("settings.WORD"), head="import settings\n"),
    Piece("module of the project: reads the environment", log("settings.tenant()"), head="import settings\n"),
    Piece("module of the project: keeps state", log("settings.first_tenant()"), head="import settings\n"),
    Piece("module of the project: keeps state, imported late", "from settings import KEPT\nKEPT['@'] = KEPT.setdefault('tenant', os.environ['TENANT'])\n" + log("KEPT['@']")),
    Piece("count of its own", "global COUNT\nCOUNT += 1\n" + log("COUNT"), head="COUNT = 0\n"),
    Piece("rows: select", """found = op.get_bind().execute(sa.text("SELECT count(*), max(name) FROM item")).one()
""" + log('f"{found[0]} {str(found[1])[:9]}"')),
    Piece("rows: loop", """bind = op.get_bind()
for row in bind.execute(sa.text("SELECT id, name FROM item ORDER BY id")).all():
    bind.execute(sa.text("UPDATE item SET name = :n WHERE id = :i"), {"n": row.name.upper(), "i": row.id})"""),
    Piece("rows: session", """from sqlalchemy.orm import Session
with Session(bind=op.get_bind()) as session:
    session.execute(sa.text("INSERT INTO log (k, v) SELECT '@', name FROM item"))
    session.flush()"""),
    Piece("rows: insert from select", 'op.execute("INSERT INTO log (k, v) SELECT \'@\', name FROM item WHERE n > 3")'),
    Piece("rows: empty or not", """if not op.get_bind().execute(sa.text("SELECT count(*) FROM item")).scalar():
    op.execute("INSERT INTO log (k, v) VALUES ('@', 'empty')")"""),
    Piece("inspector", """if "item" in sa.inspect(op.get_bind()).get_table_names():
    op.add_column("item", sa.Column("ins@", sa.Integer))""", 'op.drop_column("item", "ins@")'),
    Piece("reflects", """meta = sa.MetaData()
t = sa.Table("item", meta, autoload_with=op.get_bind())
op.execute(t.update().where(t.c.id == 1).values(n=t.c.n + 1))"""),
    Piece("offline branches", """if context.is_offline_mode():
    op.execute("INSERT INTO log (k, v) VALUES ('@', 'offline')")
else:
    op.execute("INSERT INTO log (k, v) VALUES ('@', 'online')")"""),
    Piece("offline branches: as_sql", log('"sql" if op.get_context().as_sql else "real"')),
    Piece("asks the context", "op.get_context().config or None\n" + log("context.get_context().dialect.name")),
    Piece("asks the head", bound("context.get_revision_argument()"), refusable=True),
    Piece("asks the context for a bind", log('op.get_context().connection.execute(sa.text("SELECT 1")).scalar()')),
    Piece("executes by context", """context.execute("INSERT INTO log (k, v) VALUES ('@', 'context')")"""),
    Piece("server's random", "op.execute(\"INSERT INTO log (k, v) VALUES ('@', 'rnd-' || lower(hex(randomblob(8))))\")", dialects=LITE, chance=True),
    Piece("server's random", "op.execute(\"INSERT INTO log (k, v) VALUES ('@', 'rnd-' || gen_random_uuid()::text)\")", dialects=PG, chance=True),
    Piece("server's random", "op.execute(\"INSERT INTO log (k, v) VALUES ('@', concat('rnd-', uuid()))\")", dialects=MY, chance=True),
    Piece("server's clock", "op.execute(\"INSERT INTO log (k, v) VALUES ('@', CURRENT_TIMESTAMP)\")"),
    Piece("server's name of it", "op.execute(\"INSERT INTO log (k, v) VALUES ('@', current_database())\")", dialects=PG),
    Piece("server's name of it", "op.execute(\"INSERT INTO log (k, v) VALUES ('@', database())\")", dialects=MY),
    Piece("last id", "op.execute(\"INSERT INTO note (id, body) SELECT coalesce(max(id), 900) + 1, 'new' FROM note\")\nop.execute(\"INSERT INTO log (k, v) VALUES ('@', last_insert_rowid())\")", dialects=LITE),
    Piece("changes()", "op.execute(\"UPDATE item SET n = 1\")\nop.execute(\"INSERT INTO log (k, v) VALUES ('@', changes())\")", dialects=LITE),
    Piece("rowcount", 'done = op.get_bind().execute(sa.text("UPDATE item SET n = 2"))\n' + log("done.rowcount")),
    Piece("host", "import platform\n" + log("platform.system()")),
    Piece("subprocess", "import subprocess\n" + log('subprocess.run(["echo", os.environ["TENANT"]], capture_output=True, text=True).stdout.strip()')),
]  # fmt: skip

WRITES = [
    Piece("prints", 'print("revision @ runs")\nsys.stdout.write("written @\\n")'),
    Piece("logs", 'logging.getLogger("alembic.runtime").warning("of revision @")\nlogging.getLogger("own").setLevel(logging.ERROR)'),
    Piece("configures logging", 'logging.basicConfig(level="INFO", force=True)'),
    Piece("warns", 'warnings.warn("of the project", UserWarning)'),
    Piece("warnings filter", 'warnings.simplefilter("error", ResourceWarning)'),
    Piece("environ write", 'os.environ["SET_BY_@"] = "yes"'),
    Piece("chdir", "os.chdir(pathlib.Path(__file__).parent)", refusable=False),
    Piece("sys.path", "sys.path.append(str(pathlib.Path(__file__).parent))"),
    Piece("class listener", """from sqlalchemy import event
@event.listens_for(sa.Engine, "connect")
def of_revision(dbapi, record):
    pass"""),
    Piece("listener on its bind", """from sqlalchemy import event
SENT = []
event.listen(op.get_bind(), "before_execute", lambda *_: SENT.append(1))
op.execute("INSERT INTO log (k, v) VALUES ('@', 'x')")"""),
    Piece("thread", "import threading\nt = threading.Thread(target=lambda: None)\nt.start()\nt.join()"),
    Piece("event loop", "import asyncio\nasyncio.run(asyncio.sleep(0))", refusable=True),
    Piece("declarative models", """from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
class Base(DeclarativeBase):
    pass
class Log(Base):
    __tablename__ = "log"
    k: Mapped[str] = mapped_column(primary_key=True)
    v: Mapped[str]
with Session(op.get_bind()) as session:
    session.add(Log(k="orm@", v="orm"))
    session.commit()"""),
    Piece("own connection: reads", """from settings import Settings
engine = sa.create_engine(Settings().url)
with engine.connect() as connection:
    sa.inspect(connection).get_table_names()
engine.dispose()
op.execute("INSERT INTO log (k, v) VALUES ('@', 'read')")""", refusable=True, dialects=("sqlite", "mariadb")),
    Piece("own connection: writes first", """from settings import Settings
engine = sa.create_engine(Settings().url)
with engine.begin() as connection:
    connection.execute(sa.text("INSERT INTO log (k, v) VALUES ('own@', 'engine')"))
engine.dispose()""", refusable=True, dialects=("mariadb", "postgresql")),
    Piece("the application's engine", """from settings import engine
with engine.connect() as connection:
    names = sa.inspect(connection).get_table_names()
if "item" in names:
    op.add_column("item", sa.Column("ae@", sa.Integer))""", 'op.drop_column("item", "ae@")', refusable=True, dialects=("sqlite",)),
    Piece("driver of its own", """import sqlite3
from settings import Settings
path = sa.make_url(context.config.get_main_option("sqlalchemy.url")).database
with sqlite3.connect(path) as raw:
    count = raw.execute("SELECT count(*) FROM item").fetchone()[0]
op.execute("INSERT INTO log (k, v) VALUES ('@', 'driver')")""", dialects=LITE, refusable=True),
    Piece("autocommit block", """with op.get_context().autocommit_block():
    op.execute("INSERT INTO log (k, v) VALUES ('@', 'autocommit')")"""),
    Piece("autocommit block: concurrently", """with op.get_context().autocommit_block():
    op.create_index("cc@", "item", ["n"], postgresql_concurrently=True)""", 'op.drop_index("cc@", "item")', dialects=PG),
    Piece("hidden COMMIT", "op.execute(\"INSERT INTO log (k, v) VALUES ('@', 'a')\")\nop.execute(\"COMMIT\")\nop.execute(\"INSERT INTO log (k, v) VALUES ('@', 'b')\")", refusable=True),
    Piece("bind.commit()", "op.execute(\"INSERT INTO log (k, v) VALUES ('@', 'a')\")\nop.get_bind().commit()", refusable=True),
    Piece("executescript", 'op.get_bind().connection.executescript("CREATE TABLE es@ (id INTEGER); INSERT INTO es@ VALUES (1);")', 'op.execute("DROP TABLE es@")', dialects=LITE, refusable=True),
    Piece("savepoint", """with op.get_bind().begin_nested():
    op.execute("INSERT INTO log (k, v) VALUES ('@', 'nested')")"""),
    Piece("savepoint that is rolled back", """inner = op.get_bind().begin_nested()
op.execute("INSERT INTO log (k, v) VALUES ('@', 'never')")
inner.rollback()"""),
    Piece("raw cursor", """cursor = op.get_bind().connection.cursor()
cursor.execute("INSERT INTO log (k, v) VALUES ('@', 'cursor')")
cursor.close()"""),
    Piece("pragma", 'op.execute("PRAGMA user_version = 7")', dialects=LITE),
    Piece("session setting", "op.execute(\"SET lock_timeout = '3s'\")\nop.execute(\"SELECT set_config('work_mem', '8MB', false)\")", dialects=PG),
    Piece("database setting", "op.execute(\"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET datestyle = %L', current_database(), 'ISO, DMY'); END $$\")", dialects=PG, refusable=True),
    Piece("sequence", 'op.execute("CREATE SEQUENCE sq@")\nop.execute("SELECT nextval(\'sq@\')")', 'op.execute("DROP SEQUENCE sq@")', dialects=SERVERS),
    Piece("comment on", "op.execute(\"COMMENT ON TABLE item IS 'one'\")", dialects=PG),
    Piece("temporary table", 'op.execute("CREATE TEMPORARY TABLE tmp@ (id INTEGER)")\nop.execute("INSERT INTO tmp@ SELECT id FROM item")\nop.execute("INSERT INTO log (k, v) SELECT \'@\', count(*) FROM tmp@")\nop.execute("DROP TABLE tmp@")'),
]  # fmt: skip

FAILS = [
    Piece("fails", 'op.create_table("half@", sa.Column("id", sa.Integer))\nop.execute("INSERT INTO nowhere VALUES (1)")', is_last=True),
    Piece("fails after COMMIT", 'op.execute("CREATE TABLE half@ (id INTEGER)")\nop.execute("COMMIT")\nop.execute("INSERT INTO nowhere VALUES (1)")', is_last=True),
    Piece("fails after bind.commit()", 'op.execute("CREATE TABLE half@ (id INTEGER)")\nop.get_bind().commit()\nop.execute("INSERT INTO nowhere VALUES (1)")', is_last=True),
    Piece("fails after executescript", 'op.get_bind().connection.executescript("CREATE TABLE half@ (id INTEGER);")\nop.execute("INSERT INTO nowhere VALUES (1)")', is_last=True, dialects=LITE),
    Piece("fails in Python", 'op.create_table("half@", sa.Column("id", sa.Integer))\n{}["no"]', is_last=True),
    Piece("ends the program", "sys.exit(3)", is_last=True),
    Piece("fails without words", "raise NotImplementedError", is_last=True),
    Piece("fails after autocommit", 'with op.get_context().autocommit_block():\n    op.execute("CREATE TABLE half@ (id INTEGER)")\nop.execute("INSERT INTO nowhere VALUES (1)")', is_last=True),
    Piece("deletes rows", 'op.execute("DELETE FROM note")', refusable=True, is_last=True),
]  # fmt: skip


@dataclass
class Revision:
    """One file of `versions/`."""

    id: str
    parent: str | None
    pieces: list[Piece]
    text: str


def script(number: int, parent: str | None, pieces: list[Piece]) -> Revision:
    """A revision of these pieces."""
    mine = f"r{number}"
    parts = [
        [text.replace("@", f"{number}_{place}") for text in (piece.up, piece.down, piece.head)]
        for place, piece in enumerate(pieces)
    ]
    up = [ups for ups, _, _ in parts]
    down = [downs for _, downs, _ in reversed(parts)]
    head = "".join(heads for _, _, heads in parts)
    if number == 1:
        up.insert(0, ITEM)
        down.append(ITEM_DOWN)
    text = SCRIPT.format(
        id=mine,
        parent=parent,
        head=head,
        up=indent("\n".join(up) or "pass", "    "),
        down=indent("\n".join(down) or "pass", "    "),
    )
    return Revision(mine, parent, pieces, text)


def history(dice: random.Random, dialect: str, gives: set[str]) -> list[Revision]:
    """A few revisions, one upon the other; the first makes the tables that others work on."""

    def fitting(pieces: list[Piece]) -> list[Piece]:
        return [
            piece
            for piece in pieces
            if dialect in piece.dialects and (not piece.needs or piece.needs in gives)
        ]

    found: list[Revision] = []
    count = dice.choice([2, 3, 3, 4])
    for number in range(1, count + 1):
        pieces = dice.sample(fitting(SCHEMA), dice.choice([0, 1, 1, 2]))
        if number > 1:
            kinds = dice.choices([READS, WRITES, BATCH], [5, 3, 2], k=dice.choice([0, 1, 1, 2]))
            pieces += [picked(dice, fitting(kind)) for kind in kinds]
        # A custom type and such are rarely chosen, and what gives them is there for that.
        pieces += [piece for piece in fitting(SCHEMA) if piece.needs and dice.random() < 0.5]
        pieces = list({piece.name: piece for piece in pieces}.values())
        if number == count and dice.random() < 0.08:
            pieces.append(dice.choice(fitting(FAILS)))
        found.append(script(number, found[-1].id if found else None, pieces))
    return found
