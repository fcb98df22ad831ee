"""What a revision reads beside its arguments keeps it from being replayed."""

import os
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from headway import Project, errors
from headway.dialects import dialect_of
from tests.migrator import making
from tests.migrator.making import rows, run
from tests.migrator.reference import dump
from tests.migrator.scripts import write_revision

T = 'op.create_table("t", sa.Column("n", sa.String(200)))'
INSERT = "op.execute(f\"INSERT INTO t VALUES ('{value}')\")"
CONFIG = "from alembic import context"

READS: dict[str, tuple[list[str], str]] = {
    "the URL": (["value = context.config.get_main_option('sqlalchemy.url')"], CONFIG),
    "an attribute of the options": (["value = context.config.attributes.get('tenant')"], CONFIG),
    "a section of the options": (["value = context.config.get_section('x', {})"], CONFIG),
    "os.environ": (["value = os.environ.get('TENANT')"], "import os"),
    "os.getenv, imported": (["value = getenv('TENANT')"], "from os import getenv"),
    "in os.environ": (["value = 'TENANT' in os.environ"], "import os"),
    "time.time": (["value = time.time()"], "import time"),
    "datetime.now": (["value = datetime.now().year"], "from datetime import datetime"),
    "date.today": (["value = datetime.date.today()"], "import datetime"),
    "utcnow": (["value = datetime.datetime.utcnow().year"], "import datetime"),
    "a date at import": (["value = TODAY"], "import datetime\nTODAY = datetime.date.today()"),
    "strftime": (["value = time.strftime('%Y')"], "import time"),
    "the time zone": (["value = time.timezone"], "import time"),
    "random": (["value = random.randrange(1) + 1"], "import random"),
    "random, imported within": (["from random import choice", "value = choice('a')"], ""),
    "uuid4": (["value = str(uuid.uuid4())[:0]"], "import uuid"),
    "uuid1": (["value = str(uuid.uuid1())[:0]"], "import uuid"),
    "secrets": (["import secrets", "value = secrets.token_hex(4)[:0]"], ""),
    "urandom": (["value = os.urandom(4)[:0].hex()"], "import os"),
    "secret at import": (["value = KEY"], "import secrets\nKEY = secrets.token_hex(4)"),
    "a list of files": (["value = len(os.listdir('/'))"], "import os"),
    "whether a file is there": (
        ["value = Path('/tmp').exists()"],
        "from pathlib import Path",
    ),
    "the network": (["value = socket.gethostname()"], "import socket"),
    "the machine": (["value = platform.node()"], "import platform"),
    "another program": (
        ["value = subprocess.run(['true']).returncode"],
        "import subprocess",
    ),
    "the process": (["value = os.getpid()"], "import os"),
    "the folder": (["value = os.getcwd()"], "import os"),
    "the folder, as a path": (["value = Path.cwd()"], "from pathlib import Path"),
    "the arguments": (["value = len(sys.argv)"], "import sys"),
    "the user": (["value = getpass.getuser()"], "import getpass"),
    "a context variable": (
        ["value = TENANT.get('x')"],
        "import contextvars\nTENANT = contextvars.ContextVar('tenant')",
    ),
    "a counter": (
        ["global N", "N += 1", "value = 'x'"],
        "N = 0",
    ),
    "a counter of itertools": (["value = next(N) * 0"], "import itertools\nN = itertools.count()"),
    "what an earlier run left": (
        ["SEEN.append('x')", "value = len(SEEN)"],
        "SEEN = []",
    ),
    "what an earlier run left in a default": (
        ["value = keep()"],
        "def keep(seen=[]):\n    seen.append('x')\n    return len(seen)",
    ),
    "what an earlier run left in a class": (
        ["Seen.count += 1", "value = Seen.count"],
        "class Seen:\n    count = 0",
    ),
    "what an earlier run left in an object": (
        ["seen.count = seen.count + 1", "value = seen.count"],
        "class Seen:\n    count = 0\nseen = Seen()",
    ),
    "what an earlier run found": (
        ["if not SEEN: SEEN.append(os.environ.get('TENANT'))", "value = SEEN[0]"],
        "import os\nSEEN = []",
    ),
    "the connection": (
        ["bind = op.get_bind()", "value = bind.engine.url.database if bind else 'a'"],
        "",
    ),
    "whether there is a connection": (["value = context.is_offline_mode() and 'x'"], CONFIG),
    "a module's variable": (["value = settings.tenant"], "import settings"),
    "a module's variable, imported": (["value = tenant"], "from settings import tenant"),
    "an object of the application": (["value = current.tenant"], "from settings import current"),
    "a class of the application": (["value = Current.tenant"], "from settings import Current"),
    "a function of the application": (["value = find()"], "from settings import find"),
    "a clock of somebody's": (["value = Day.today()"], "from settings import Day"),
    "a thread": (
        [
            "found = []",
            "thread = threading.Thread(target=lambda: found.append(1))",
            "thread.start()",
            "thread.join()",
            "value = found[0]",
        ],
        "import threading",
    ),
    "compiled text": (["value = eval('1')"], ""),
    "its own address": (["value = id(op) * 0"], ""),
}

ABOUT_THE_CONNECTION = {"the connection", "whether there is a connection"}
"""What a build may ask: its answers are compared."""

OF_ITS_RUN = {"what an earlier run left"}
"""No run finds what an earlier one left: each imports its revisions anew."""

SETTINGS = """
import datetime, enum
import sqlalchemy as sa
tenant = "x"
class Current:
    tenant = "x"
current = Current()
def find():
    return tenant
class Day(datetime.date):
    @classmethod
    def today(cls):
        return cls(2026, 1, 1)
class State(enum.Enum):
    OPEN = "open"
class Key(sa.types.TypeDecorator):
    impl = sa.String
    cache_ok = True
    def load_dialect_impl(self, dialect):
        return dialect.type_descriptor(sa.String(32))
"""


@pytest.fixture(autouse=True)
def _tenants() -> Iterator[None]:
    os.environ["TENANT"] = "x"
    yield
    del os.environ["TENANT"]


def write(folder: Path, up: list[str], head: str) -> Project:
    """Two revisions; the second one reads something."""
    (folder.parent / "settings.py").write_text(SETTINGS)
    write_revision(folder, "first", None, [T])
    write_revision(folder, "second", "first", [*up, INSERT], head=f"\n{head}\n")
    return Project.load(folder)


@pytest.mark.parametrize("name", READS)
def test_what_a_revision_reads_is_never_replayed(name: str, scripts: Path, tmp_path: Path) -> None:
    project = write(scripts, *READS[name])
    one, other = project.at(tmp_path / "one.db"), project.at(tmp_path / "other.db")
    one.upgrade("first")
    shutil.copy(tmp_path / "one.db", tmp_path / "other.db")
    assert not one.upgrade().replayed
    assert other.plan().replays is False
    why = other.plan().why
    assert "the moment" in why or "without a database" in why
    assert not other.upgrade().replayed
    assert other.status().current == ("second",)


@pytest.mark.parametrize("name", sorted(READS.keys() - ABOUT_THE_CONNECTION - OF_ITS_RUN))
def test_what_a_revision_reads_makes_no_template(
    name: str, scripts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project = write(scripts, *READS[name])
    caplog.set_level("INFO")
    for number in range(2):
        caplog.clear()
        assert project.at(tmp_path / f"{number}.db").create() == ("second",)
        assert "Running upgrade first -> second" in caplog.text


KEPT = {
    "a server default": (
        ["op.add_column('t', sa.Column('at', sa.DateTime, server_default='x'))"],
        "",
    ),
    "a default of the server's": (
        ["op.create_table('u', sa.Column('at', sa.DateTime, server_default=sa.func.now()))"],
        "",
    ),
    "text": (["op.execute('CREATE INDEX i ON t (n)')"], ""),
    "a value": (
        ["op.execute(TABLE.insert().values(n='x'))"],
        "TABLE = sa.table('t', sa.column('n', sa.String))",
    ),
    "constants and a loop": (
        [
            "for name in NAMES:",
            "    op.create_table(f'{PREFIX}{name}', sa.Column('id', sa.Integer, primary_key=True))",
        ],
        "NAMES = ['a', 'b']\nPREFIX = 'p_'",
    ),
    "a function and a class of its own": (
        ["add(State.OPEN)"],
        "import enum\nclass State(enum.Enum):\n    OPEN = 'open'\n"
        "def add(state):\n    op.execute(f\"INSERT INTO t VALUES ('{state.value}')\")",
    ),
    "an enumeration of the application": (
        ["op.execute(f\"INSERT INTO t VALUES ('{State.OPEN.value}')\")"],
        "from settings import State",
    ),
    "a type of the application": (
        ["op.add_column('t', sa.Column('key', settings.Key(), nullable=True))"],
        "import settings",
    ),
    "a moment that is written down": (
        ["op.execute(f\"INSERT INTO t VALUES ('{datetime.date(2026, 1, 31):%Y-%m}')\")"],
        "import datetime",
    ),
    "text that is computed": (
        ["op.execute(textwrap.dedent(json.loads('[\"CREATE INDEX i ON t (n)\"]')[0]))"],
        "import json\nimport textwrap",
    ),
    "a file beside it": (
        ["op.execute((HERE / 'second.sql').read_text())"],
        "from pathlib import Path\nHERE = Path(__file__).resolve().parent",
    ),
    "a file beside it, opened": (
        [
            "with open(os.path.join(os.path.dirname(__file__), 'second.sql')) as file:",
            "    op.execute(file.read())",
        ],
        "import os",
    ),
    "-x": (["op.execute(f\"INSERT INTO t VALUES ('{context.get_x_argument()}')\")"], CONFIG),
}


def write_kept(folder: Path, name: str) -> Project:
    up, head = KEPT[name]
    (folder.parent / "settings.py").write_text(SETTINGS)
    (folder / "versions" / "second.sql").write_text("INSERT INTO t VALUES ('one')")
    write_revision(folder, "first", None, [T])
    write_revision(folder, "second", "first", up, head=f"\n{head}\n")
    return Project.load(folder)


@pytest.mark.parametrize("name", KEPT)
def test_what_reads_nothing_is_replayed_and_copied(
    name: str, scripts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project = write_kept(scripts, name)
    one, other = project.at(tmp_path / "one.db"), project.at(tmp_path / "other.db")
    one.upgrade("first")
    shutil.copy(tmp_path / "one.db", tmp_path / "other.db")
    assert not one.upgrade().replayed
    assert other.upgrade().replayed, other.plan().why
    caplog.set_level("INFO")
    project.at(tmp_path / "1.db").create()
    caplog.clear()
    project.at(tmp_path / "2.db").create()
    assert "Running" not in caplog.text
    dumps = {dump(tmp_path / name) for name in ("one.db", "other.db", "1.db", "2.db")}
    assert len(dumps) == 1


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_file_that_was_edited_is_read_again(
    backend: str, scripts: Path, fresh_url: Callable[[str], URL]
) -> None:
    project = write_kept(scripts, "a file beside it")
    one, other, last = (project.at(fresh_url(backend)) for _ in range(3))
    for database in (one, other, last):
        database.upgrade("first")
    one.upgrade()
    assert other.upgrade().replayed
    (scripts / "versions" / "second.sql").write_text("INSERT INTO t VALUES ('two')")
    assert last.plan().replays is None
    assert not last.upgrade().replayed
    assert values(last.address.url) == [("two",)]
    for text in ("one", "one", "two", "two"):
        (scripts / "versions" / "second.sql").write_text(f"INSERT INTO t VALUES ('{text}')")
        url = fresh_url(backend)
        dialect_of(url).drop(url)
        project.at(url).create()
        assert values(url) == [(text,)]


def values(url: URL) -> list[tuple[object, ...]]:
    return rows(url, "SELECT * FROM t")


COMPUTED = "sa.table('t', sa.Column('n', sa.String, default=lambda: secrets.token_hex(8)))"


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    "up",
    [
        f"op.execute({COMPUTED}.insert())",
        f"op.bulk_insert({COMPUTED}, [{{}}])",
        f"op.bulk_insert({COMPUTED}, [{{}}, {{}}])",
    ],
)
def test_a_default_that_python_computes_is_computed_for_each(
    backend: str, up: str, scripts: Path, fresh_url: Callable[[str], URL]
) -> None:
    write_revision(scripts, "first", None, [T])
    write_revision(scripts, "second", "first", [up], head="\nimport secrets\n")
    project = Project.load(scripts)
    found = []
    for _ in range(2):
        url = fresh_url(backend)
        project.at(url).upgrade("first")
        assert not project.at(url).upgrade().replayed
        found += values(url)
    for _ in range(3):
        url = fresh_url(backend)
        dialect_of(url).drop(url)
        project.at(url).create()
        found += values(url)
    assert len(set(found)) == len(found) >= 5


OF_THE_SERVER = {
    "sqlite": {
        "the time": "INSERT INTO t VALUES (CURRENT_TIMESTAMP)",
        "the day": "INSERT INTO t VALUES (date('now'))",
        "chance": "INSERT INTO t VALUES (random())",
        "a default of the time, with rows": (
            "CREATE TABLE u (at TEXT DEFAULT CURRENT_DATE, n INTEGER); INSERT INTO u (n) VALUES (1)"
        ),
        "a copy of the time": "CREATE TABLE u AS SELECT date() AS day",
        "a trigger that asks for it": (
            "CREATE TRIGGER x AFTER INSERT ON t BEGIN UPDATE t SET n = date('now'); END; "
            "INSERT INTO t VALUES ('x')"
        ),
    },
    "postgresql": {
        "the time": "INSERT INTO t VALUES (now()::text)",
        "the day": "INSERT INTO t SELECT CURRENT_DATE::text",
        "the day as a word": "INSERT INTO t VALUES ('today'::date::text)",
        "chance": "INSERT INTO t VALUES (gen_random_uuid()::text)",
        "the database": "INSERT INTO t VALUES (current_database())",
        "the role": "INSERT INTO t VALUES (current_user)",
        "a default of the day, with rows": (
            "CREATE TABLE u (at date DEFAULT CURRENT_DATE, n integer); INSERT INTO u (n) VALUES (1)"
        ),
        "a default that was made of the day": "CREATE TABLE u (at date DEFAULT 'today'::date)",
        "a setting": (
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = %L', "
            "current_database(), 'Asia/Tokyo'); END $$"
        ),
        "a comment": (
            "DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE %I IS %L', "
            "current_database(), 'x'); END $$"
        ),
        "a partition of the day": (
            "CREATE TABLE u (at date) PARTITION BY RANGE (at); "
            "CREATE TABLE v PARTITION OF u FOR VALUES FROM (CURRENT_DATE) TO (MAXVALUE)"
        ),
    },
}


@pytest.mark.parametrize(
    ("backend", "name"), [(kind, name) for kind, sqls in OF_THE_SERVER.items() for name in sqls]
)
def test_what_the_server_is_asked_for_makes_no_template(
    backend: str,
    name: str,
    scripts: Path,
    fresh_url: Callable[[str], URL],
    caplog: pytest.LogCaptureFixture,
) -> None:
    statements = OF_THE_SERVER[backend][name]
    cut = [statements] if "$$" in statements or "TRIGGER" in statements else statements.split("; ")
    if "TRIGGER" in statements:
        cut = [*(f"{one}" for one in statements.rsplit("; ", 1))]
    up = [f"op.execute(sa.text({one!r}))" for one in cut]
    write_revision(scripts, "first", None, [T, *up])
    project = Project.load(scripts)
    caplog.set_level("INFO")
    for _ in range(2):
        url = fresh_url(backend)
        dialect_of(url).drop(url)
        caplog.clear()
        project.at(url).create()
        assert "Running upgrade  -> first" in caplog.text


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_plain_project_is_copied(
    backend: str,
    scripts: Path,
    fresh_url: Callable[[str], URL],
    caplog: pytest.LogCaptureFixture,
) -> None:
    up = [
        T,
        "op.create_table('account', sa.Column('id', sa.Integer, primary_key=True), "
        "sa.Column('at', sa.DateTime, server_default=sa.func.now()))",
        "op.bulk_insert(sa.table('t', sa.column('n')), [{'n': 'x'}, {'n': 'y'}])",
        "op.get_bind().execute(sa.text('SELECT count(*) FROM t')).scalar()",
    ]
    write_revision(scripts, f"first_{os.getpid()}", None, up)
    project = Project.load(scripts)
    caplog.set_level("INFO")
    found = []
    for number in range(3):
        url = fresh_url(backend)
        dialect_of(url).drop(url)
        caplog.clear()
        project.at(url).create()
        assert ("Running upgrade" in caplog.text) is (number == 0)
        found.append(dump(url))
    assert len(set(found)) == 1
    if backend == "postgresql":
        for name in set(dialect_of(url).named(url, "headway_template_")):
            if project.memory.get(("template", name)):
                dialect_of(url).drop(url.set(database=name))


def test_a_version_that_moved_meanwhile_rolls_a_replay_back(
    scripts: Path, fresh_url: Callable[[str], URL]
) -> None:
    write_revision(scripts, "first", None, [T])
    write_revision(scripts, "second", "first", ["op.execute(\"INSERT INTO t VALUES ('x')\")"])
    project = Project.load(scripts)
    one, other = (project.at(fresh_url("postgresql")) for _ in range(2))
    for database in (one, other):
        database.upgrade("first")
    one.upgrade()

    def move(*_: object) -> None:
        run(other.address.url, "UPDATE alembic_version SET version_num = 'elsewhere'")

    with pytest.raises(errors.DatabaseMoved, match="changed meanwhile"):
        other.upgrade(on_step=move)
    assert rows(other.address.url, "SELECT * FROM t") == []
    assert rows(other.address.url, "SELECT version_num FROM alembic_version") == [("elsewhere",)]


def test_a_run_that_sends_many_rows_keeps_none(scripts: Path, tmp_path: Path) -> None:
    write_revision(scripts, "first", None, [T])
    up = [
        "for number in range(200):",
        "    op.get_bind().execute(sa.text('INSERT INTO t VALUES (:n)'), {'n': str(number) * 40000})",
    ]
    write_revision(scripts, "second", "first", up)
    database = Project.load(scripts).at(tmp_path / "one.db")
    database.upgrade("first")
    tracemalloc.start()
    try:
        database.upgrade()
        assert tracemalloc.get_traced_memory()[1] < 8_000_000  # of 20 MB that were sent
    finally:
        tracemalloc.stop()


def test_statements_for_a_person_end_somewhere(
    scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headway.execution.statements.MOST_STATEMENTS", 5)
    write_revision(scripts, "first", None, [T])
    up = ["for n in range(20): op.execute(f\"INSERT INTO t VALUES ('{n}')\")"]
    write_revision(scripts, "second", "first", up)
    project = Project.load(scripts)
    for number in range(2):
        database = project.at(tmp_path / f"{number}.db")
        database.upgrade("first")
        outcome = database.upgrade()
        assert outcome.replayed is bool(number)
        assert len(outcome.statements) == 6
        assert outcome.statements[-1] == "-- and 16 more statements"


REMEMBERS = {
    "a counter": ("import itertools\nNUMBERS = itertools.count(1)", "next(NUMBERS)"),
    "a list": ("SEEN = []\ndef seen():\n    SEEN.append(1)\n    return len(SEEN)", "seen()"),
    "a cache": (
        "import functools\n@functools.lru_cache\ndef first():\n"
        "    return op.get_bind().execute(sa.text('SELECT id FROM first')).scalar()",
        "first()",
    ),
}


@pytest.mark.parametrize("name", list(REMEMBERS))
def test_what_a_revision_remembers_is_of_one_database(name: str, tmp_path: Path) -> None:
    head, value = REMEMBERS[name]
    up = f"op.execute(f'INSERT INTO second VALUES ({{{value}}})')"
    folder = tmp_path / "scripts"
    making.write(folder, a="op.execute('CREATE TABLE second (n INTEGER)')", b=up)
    script = folder / "versions" / "b.py"
    script.write_text(script.read_text().replace("revision =", f"{head}\nrevision =", 1))
    project = Project.load(folder)
    for number in (1, 2, 3):
        url = URL.create("sqlite", database=str(tmp_path / f"{number}.db"))
        run(url, "CREATE TABLE first (id INTEGER)", f"INSERT INTO first VALUES ({number})")
        database = project.at(url)
        database.plan()
        database.upgrade()
        expected = number if name == "a cache" else 1
        assert rows(url, "SELECT n FROM second") == [(expected,)], number
