"""What a project's code registers and sets in this process is in force for that code alone."""

import asyncio
import decimal
import gc
import locale
import logging
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from textwrap import dedent
from typing import Any

import alembic.op
import pytest
import sqlalchemy as sa
from alembic.autogenerate import comparators, renderers
from alembic.ddl import impl
from alembic.operations import Operations
from sqlalchemy import event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL
from sqlalchemy.schema import CreateTable

from headway.errors import MigrationFailed, ScriptsUnreadable
from headway.project import Project
from tests.migrator.team import Team

SHARED = """
from sqlalchemy import event, JSON, Table
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool
from sqlalchemy.orm import Session
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.schema import CreateTable
from alembic.autogenerate import comparators, renderers
from alembic.ddl.sqlite import SQLiteImpl
from alembic.operations import Operations, MigrateOperation
import logging, warnings, logging.config, asyncio, sys

@event.listens_for(Engine, "connect")
def pragma(raw, record):
    raw.cursor().execute("PRAGMA foreign_keys=ON")

@event.listens_for(Table, "before_create")
def created(table, connection, **kw):
    table.info["seen"] = True

@compiles(JSONB, "sqlite")
def jsonb(type_, compiler, **kw):
    return "TEXT /* jsonb */"

@compiles(CreateTable)
def table(element, compiler, **kw):
    return compiler.visit_create_table(element, **kw).replace("(", "( /* made by the team */", 1)

@Operations.register_operation("create_shelf")
class CreateShelf(MigrateOperation):
    def __init__(self, name):
        self.name = name
    @classmethod
    def create_shelf(cls, operations, name):
        return operations.invoke(cls(name))

@Operations.implementation_for(CreateShelf)
def create_shelf(operations, operation):
    operations.execute(f"CREATE TABLE {operation.name} (id INTEGER)")

@comparators.dispatch_for("schema")
def compare(context, operations, schemas):
    pass

@renderers.dispatch_for(CreateShelf)
def render(context, operation):
    return ""

class TeamImpl(SQLiteImpl):
    __dialect__ = "sqlite"

warnings.filterwarnings("error", message="a word of the team")
logging.getLogger("team.own").addHandler(logging.NullHandler())
"""


def _compiled(element: Any) -> str:
    return str(element.compile(dialect=sqlite.dialect()))


def state() -> dict[str, object]:
    """What others in this process would notice."""
    table = sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer))
    loggers = (logging.getLogger(), logging.getLogger("host"))
    return {
        "filters": list(warnings.filters),
        "sql": _compiled(CreateTable(table)),
        "operations": {name for name in dir(Operations) if not name.startswith("_")},
        "op": {name for name in vars(alembic.op) if not name.startswith("_")},
        "comparators": {k: list(v) for k, v in comparators._registry.items() if v},
        "renderers": dict(renderers._registry),
        "impls": dict(impl._impls),
        "loggers": [(one.level, list(one.handlers), one.disabled) for one in loggers],
        "disabled": logging.root.manager.disable,
        "environ": dict(os.environ),
        "path": list(sys.path),
        "folder": Path.cwd(),
        "stdout": sys.stdout,
        "threads": set(threading.enumerate()),
        "names": {name for name in sys.modules if "team" in name},
    }


@pytest.fixture
def loud(team: Team) -> Project:
    """A project that registers everywhere, by a module of its own and by its env.py."""
    team.write("shared_of_the_team.py", SHARED)
    team.ini("prepend_sys_path = %(here)s").env(
        head="""
        import shared_of_the_team
        import logging.config
        logging.config.dictConfig({
            "version": 1, "disable_existing_loggers": True,
            "handlers": {"own": {"class": "logging.NullHandler"}},
            "root": {"handlers": ["own"], "level": "ERROR"},
        })
        assert [type(one).__name__ for one in logging.getLogger().handlers] == ["NullHandler"]
        print("spoken by env.py")
        """
    )
    team.revision("a", None, "op.create_shelf('shelf')\nprint('spoken by a revision')")
    table = (
        "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True), sa.Column('j', JSONB))"
    )
    team.revision(
        "b",
        "a",
        f"from sqlalchemy.dialects.postgresql import JSONB\n{table}",
        "op.drop_table('t')",
    )
    return team.load()


def test_nothing_of_it_is_left(
    loud: Project, team: Team, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state()
    database = loud.at(team.ours)

    for work in (
        database.status,
        lambda: database.upgrade("a"),
        database.plan,
        lambda: database.rehearse(database.plan()),
        database.upgrade,
        lambda: database.downgrade("a"),
        database.upgrade,
    ):
        work()
        assert state() == before

    told = capsys.readouterr()
    assert told.out == ""
    assert "spoken by a revision" in told.err
    with sqlite3.connect(team.ours.database or "") as own:
        made = dict(own.execute("SELECT name, sql FROM sqlite_master"))
    assert "shelf" in made
    assert "TEXT /* jsonb */" in made["t"]
    assert "made by the team" in made["t"]


def test_nothing_of_a_failed_revision_is_left(team: Team, tmp_path: Path) -> None:
    team.two().ini().env(head=f"import os; os.chdir({str(tmp_path)!r})")
    asks = "import os, pathlib\nfolder = os.getcwd()\nos.chdir(pathlib.Path(__file__).parent)\n"
    team.revision("c", "b", f"{asks}raise ValueError(folder)")
    project, before = team.load(), state()
    proxy = vars(alembic.op).get("_proxy")  # a failed run of plain Alembic has left its own there
    for _ in range(2):
        with pytest.raises(MigrationFailed, match=re.escape(str(tmp_path))):
            project.at(team.ours).upgrade()
        assert state() == before
        assert vars(alembic.op).get("_proxy") is proxy


def test_the_next_project_and_the_program_do_not_notice(
    loud: Project, team: Team, postgresql_url: URL
) -> None:
    loud.at(team.ours).upgrade()
    other = Team(team.root.parent / "other").two().ini().env()

    assert other.load().at(postgresql_url).upgrade().after == ("b",)

    engine = sa.create_engine(postgresql_url)
    with engine.connect() as own:  # SQLite's pragma would be an error here
        assert own.execute(sa.text("SELECT count(*) FROM t_a")).scalar() == 0
    engine.dispose()


SETTINGS = """
import decimal, gc, io, locale, os, signal, socket, sys, tempfile, threading, time
sys.excepthook = sys.displayhook = sys.unraisablehook = threading.excepthook = print
sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
locale.setlocale(locale.LC_ALL, "C")
decimal.getcontext().prec = 3
os.umask(0o077)
gc.disable()
gc.set_threshold(77)
socket.setdefaulttimeout(3)
sys.setrecursionlimit(2345)
tempfile.tempdir = "/tmp"
os.environ["TZ"] = "Asia/Tokyo"
time.tzset()
"""


def settings() -> dict[str, object]:
    """What is set for the whole process."""
    os.umask(umask := os.umask(0o22))
    hooks = (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook)
    return {
        "streams": (sys.stdout, sys.stderr),
        "hooks": hooks,
        "signal": signal.getsignal(signal.SIGUSR2),
        "locale": locale.setlocale(locale.LC_ALL),
        "decimal": decimal.getcontext().prec,
        "umask": umask,
        "garbage": (gc.isenabled(), gc.get_threshold()),
        "sockets": socket.getdefaulttimeout(),
        "recursion": sys.getrecursionlimit(),
        "tempdir": tempfile.tempdir,
        "zone": time.tzname,
        "op": getattr(alembic.op, "_proxy", None),
    }


@pytest.mark.parametrize("fails", [False, True], ids=["works", "fails"])
def test_what_is_set_for_the_process_is_set_for_the_project_alone(team: Team, fails: bool) -> None:
    team.env(head=SETTINGS).revision(
        "a",
        up="""
        import decimal, socket, sys, time
        seen = decimal.getcontext().prec, socket.getdefaulttimeout(), sys.getrecursionlimit()
        assert (*seen, time.tzname[0]) == (3, 3, 2345, 'JST'), seen
        """,
    ).revision("b", "a", up="1 / 0" if fails else "pass")
    before = settings()
    database = team.load().at(team.ours)

    for _ in range(2):
        with pytest.raises(MigrationFailed) if fails else nullcontext():
            database.upgrade()
        assert settings() == before


def test_what_the_program_has_registered_stays(team: Team) -> None:
    heard: list[str] = []

    def listener(raw: Any, record: Any) -> None:
        heard.append("connected")

    team.two().ini().env()
    event.listen(sa.Engine, "connect", listener)
    try:
        project = team.load()
        project.at(team.ours).upgrade()
        heard.clear()
        engine = sa.create_engine("sqlite://")
        engine.connect().close()
        engine.dispose()
        assert heard == ["connected"]
        assert project.environment.mode.value == "captured"
    finally:
        event.remove(sa.Engine, "connect", listener)


def test_other_threads_of_the_program_log_as_ever(team: Team) -> None:
    team.ini().env(
        head="import logging\nlogging.basicConfig(force=True, level=logging.CRITICAL)\n"
        "logging.disable(logging.CRITICAL)"
    )
    team.revision(
        "a", None, "import builtins\nbuiltins.revision_runs.set()\nbuiltins.go_on.wait(30)"
    )
    import builtins

    builtins.revision_runs, builtins.go_on = threading.Event(), threading.Event()  # type: ignore[attr-defined]
    records: list[str] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    host, handler = logging.getLogger("host"), Keeps()
    host.addHandler(handler)
    host.setLevel(logging.INFO)
    team_thread = threading.Thread(target=lambda: team.load().at(team.ours).upgrade())
    team_thread.start()
    assert builtins.revision_runs.wait(60)  # type: ignore[attr-defined]
    host.info("while a revision runs")
    builtins.go_on.set()  # type: ignore[attr-defined]
    team_thread.join()
    host.info("after it")
    host.removeHandler(handler)
    del builtins.revision_runs, builtins.go_on  # type: ignore[attr-defined]
    assert records == ["while a revision runs", "after it"]


def test_the_programs_event_loop_is_there_afterwards(team: Team) -> None:
    team.init("async").two()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        team.load().at(team.ours).upgrade()
        assert asyncio.get_event_loop_policy().get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_a_callback_of_the_programs_is_no_code_of_the_projects(
    team: Team, postgresql_url: URL, capsys: pytest.CaptureFixture[str]
) -> None:
    team.ini().env(before="connection.execute(text('SELECT 1')); connection.rollback()")
    team.two()
    own = sa.create_engine(postgresql_url)

    def on_step(number: int, total: int, revision: str) -> None:
        with (
            own.connect() as connection
        ):  # the program's own database, not the one that is migrated
            name = connection.exec_driver_sql("SELECT current_database()").scalar()
        print(f"{revision} {name}")

    team.load().at(team.ours).upgrade(on_step=on_step)

    assert capsys.readouterr().out == f"a {postgresql_url.database}\nb {postgresql_url.database}\n"
    own.dispose()


def test_a_callback_may_migrate_another_database(team: Team, elsewhere_url: str) -> None:
    team.two().ini().env()
    team.revision(
        "c", "b", "import os\nsa.create_engine(os.environ['DATABASE_URL']).connect().close()"
    )
    other = Team(team.root.parent / "other").two().ini().env()
    project = other.load()

    def on_step(*_: object) -> None:
        project.at(other.ours).upgrade()

    assert team.load().at(team.ours).upgrade(on_step=on_step).after == ("c",)
    assert project.at(other.ours).status().current == ("b",)
    assert not Path(elsewhere_url.removeprefix("sqlite:///")).exists()


@pytest.fixture
def elsewhere_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database that the application's settings name."""
    url = f"sqlite:///{tmp_path / 'untouched.db'}"
    monkeypatch.setenv("DATABASE_URL", url)
    return url


def test_what_a_revision_prints_does_not_spoil_json(team: Team) -> None:
    team.ini().env(head="print('spoken by env.py')")
    team.revision("a", None, "print('spoken by a revision')\nimport sys; sys.stdout.flush()")
    command = [sys.executable, "-m", "flask", "migrate", "upgrade", "--json"]
    place = ["--scripts", str(team.scripts), "--url", f"sqlite:///{team.ours.database}"]
    done = subprocess.run([*command, *place], capture_output=True, text=True)
    import json

    assert json.loads(done.stdout)["after"] == ["a"]
    assert "spoken by a revision" in done.stderr


def test_a_thread_that_env_py_left_behind_touches_no_other_database(
    team: Team, tmp_path: Path
) -> None:
    team.two().ini().env(
        head=f"""
        import threading, time, builtins
        from sqlalchemy import create_engine as make
        engine = make("sqlite:///{tmp_path / "of_the_thread.db"}")
        def later():
            builtins.second_project_runs.wait(30)
            with engine.begin() as own:
                own.exec_driver_sql("CREATE TABLE late (id INTEGER)")
        if not hasattr(builtins, "late_thread"):
            builtins.late_thread = threading.Thread(target=later)
            builtins.late_thread.start()
        """
    )
    import builtins

    builtins.second_project_runs = threading.Event()  # type: ignore[attr-defined]
    team.load().at(team.ours).upgrade()
    other = Team(team.root.parent / "other").ini().env()
    other.revision(
        "a",
        None,
        "import builtins\nbuiltins.second_project_runs.set()\nbuiltins.late_thread.join()",
    )
    other.load().at(other.ours).upgrade()
    del builtins.second_project_runs, builtins.late_thread  # type: ignore[attr-defined]

    with sqlite3.connect(other.ours.database or "") as own:
        assert {n for (n,) in own.execute("SELECT name FROM sqlite_master")} == {
            "alembic_version"
        } | {n for (n,) in own.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}


def test_no_variable_of_a_revision_outlives_its_run(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.two().ini().env()
    up = (
        "global COUNT\nCOUNT += 1\n"
        "op.execute(\"CREATE TABLE kept AS SELECT '%s%s' AS n\" % (COUNT, TENANT))"
    )
    team.revision("c", "b", up, "op.drop_table('kept')")
    file = next(one for one in team.root.rglob("*.py") if "COUNT += 1" in one.read_text())
    head = "import os\nCOUNT = 0\nTENANT = os.environ['TENANT_OF_TEAM']\n"
    file.write_text(head + file.read_text())
    monkeypatch.setenv("TENANT_OF_TEAM", "nobody")
    project = team.load()
    for name in ("ann", "bob"):
        monkeypatch.setenv("TENANT_OF_TEAM", name)
        url = team.ours.set(database=str(tmp_path / f"{name}.db"))
        database = project.at(url)
        database.upgrade("b")
        assert f"1{name}" in database.preview(database.plan())
        database.upgrade()
        with sqlite3.connect(url.database or "") as own:
            assert own.execute("SELECT n FROM kept").fetchall() == [(f"1{name}",)]


def test_a_listener_of_env_py_on_the_applications_things_hears_once(team: Team) -> None:
    team.write(
        "models_of_the_team.py",
        "import sqlalchemy as sa\nfrom sqlalchemy import event\n"
        "metadata = sa.MetaData()\nshelf = sa.Table('shelf', metadata, sa.Column('id', sa.Integer))\n"
        "@event.listens_for(shelf, 'after_create')\n"
        "def made(table, connection, **_):\n"
        "    connection.exec_driver_sql('CREATE TABLE of_the_module (id INTEGER)')\n",
    )
    team.ini("prepend_sys_path = %(here)s").env(
        head="""
        import models_of_the_team
        from sqlalchemy import event

        @event.listens_for(models_of_the_team.metadata, "before_create")
        def told(metadata, connection, **_):
            connection.exec_driver_sql("CREATE TABLE of_env_py (id INTEGER)")
        """
    )
    listens = (
        "import models_of_the_team\nfrom sqlalchemy import event\n"
        "@event.listens_for(models_of_the_team.metadata, 'after_create')\n"
        "def told(metadata, connection, **_):\n"
        "    connection.exec_driver_sql('CREATE TABLE of_the_revision (id INTEGER)')\n"
    )
    names = ("of_the_revision", "of_env_py", "of_the_module", "shelf")
    down = "\n".join(f"op.execute('DROP TABLE {name}')" for name in names)
    team.two()
    team.revision("c", "b", f"{listens}models_of_the_team.metadata.create_all(op.get_bind())", down)
    database = team.load().at(team.ours)
    database.upgrade()
    database.downgrade("b")
    database.upgrade()
    with sqlite3.connect(team.ours.database or "") as own:
        made = {name for (name,) in own.execute("SELECT name FROM sqlite_master")}
    assert set(names) <= made


HELPERS = {
    "a dictionary": """
        CACHE = {}
        def tenant(name):
            return CACHE.setdefault("tenant", name)
        """,
    "a dictionary within another": """
        CACHE = {"of": {"tenant": []}}
        def tenant(name):
            CACHE["of"]["tenant"].append(name)
            return CACHE["of"]["tenant"][0]
        """,
    "lru_cache": """
        import functools
        class Box:
            name = None
        @functools.lru_cache
        def box():
            return [Box.name]
        def tenant(name):
            Box.name = Box.name or name
            return box()[0]
        """,
    "a cache of one value for any argument": """
        import functools
        class Any:
            def __init__(self, name):
                self.name = name
            def __hash__(self):
                return 1
            def __eq__(self, other):
                return True
        @functools.cache
        def first(any):
            return any.name
        def tenant(name):
            return first(Any(name))
        """,
    "a counter": """
        COUNT = 0
        def tenant(name):
            global COUNT
            COUNT += 1
            return COUNT
        """,
    "an id generator": """
        import itertools
        ids = itertools.count(1)
        def tenant(name):
            return next(ids)
        """,
    "a generator": """
        def numbers():
            number = 0
            while True:
                number += 1
                yield number
        ids = numbers()
        def tenant(name):
            return next(ids)
        """,
    "a class attribute": """
        class Registry:
            seen = []
            first = None
        def tenant(name):
            Registry.first = Registry.first or name
            Registry.seen.append(name)
            return f"{Registry.first} {Registry.seen[0]}"
        """,
    "an instance": """
        class Settings:
            __slots__ = ("tenant",)
        settings = Settings()
        def tenant(name):
            if not hasattr(settings, "tenant"):
                settings.tenant = name
            return settings.tenant
        """,
    "a closure and a default": """
        def keeper():
            kept = None
            def keep(name, also=[]):
                nonlocal kept
                kept = kept or name
                also.append(name)
                return f"{kept} {also[0]}"
            return keep
        tenant = keeper()
        """,
    "an attribute of a function": """
        def tenant(name):
            tenant.first = getattr(tenant, "first", name)
            return tenant.first
        """,
    "a cached engine": """
        import sqlalchemy as sa
        ENGINE = None
        def tenant(name):
            global ENGINE
            if ENGINE is None:
                ENGINE = sa.create_engine(f"sqlite:///{name}")
            return ENGINE.url.database
        """,
    "a session": """
        import sqlalchemy as sa
        from sqlalchemy.orm import scoped_session, sessionmaker
        Session = scoped_session(sessionmaker())
        def tenant(name):
            Session().info.setdefault("tenant", name)
            return Session().info["tenant"]
        """,
    "a thread's own": """
        import threading
        local = threading.local()
        def tenant(name):
            local.first = getattr(local, "first", name)
            return local.first
        """,
    "a random generator": """
        import random
        dice = random.Random(7)
        def tenant(name):
            return dice.randrange(10**9)
        """,
    "a metadata": """
        import sqlalchemy as sa
        metadata = sa.MetaData()
        def tenant(name):
            sa.Table(f"t_{name}", metadata, sa.Column("id", sa.Integer))
            return sorted(metadata.tables)[0]
        """,
    "models": """
        from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
        class Base(DeclarativeBase):
            seen = []
        class Shelf(Base):
            __tablename__ = "shelf"
            id: Mapped[int] = mapped_column(primary_key=True)
        def tenant(name):
            Shelf.seen.append(name)
            return Shelf.seen[0]
        """,
    "the import itself": """
        from alembic import context
        NAME = context.config.get_main_option("sqlalchemy.url")[-6]
        def tenant(name):
            return NAME
        """,
}
PLACES = {
    "beside it": ("helper_of_team.py", "import helper_of_team as helper"),
    "in its package": ("package_of_team/helper.py", "from package_of_team import helper"),
    "in a folder of the path": ("lib/helper_of_team.py", "import helper_of_team as helper"),
}
WRITES = (
    "name = context.config.get_main_option('sqlalchemy.url')[-6]\n"
    "op.execute(\"CREATE TABLE kept AS SELECT '%s' AS n\" % helper.tenant(name))"
)


WHEN = ("at the top", "while it runs", "by env.py")


def with_helper(team: Team, text: str, place: str = "beside it") -> str:
    """A module of the team's own, and the line that imports it."""
    file, line = PLACES[place]
    team.write(file, text)
    if file.startswith("package"):
        team.write(str(Path(file).with_name("__init__.py")), "")
    team.ini("prepend_sys_path = %(here)s:%(here)s/lib", "path_separator = os")
    return line


def write_kept(team: Team, line: str, when: str, id: str = "c", table: str = "kept") -> None:
    """A revision that writes down what a module of the project answers for its database."""
    work = WRITES.replace("kept", table)
    up = work if when == "at the top" else f"{line}\n{work}"
    team.revision(id, "b" if id == "c" else chr(ord(id) - 1), up, "pass")
    if when == "at the top":
        file = team.scripts / "versions" / f"{id}.py"
        file.write_text(f"{line}\n{file.read_text()}")


def kept_in(url: URL, table: str = "kept") -> list[Any]:
    with sqlite3.connect(url.database or "") as own:
        return own.execute(f"SELECT * FROM {table}").fetchall()


def places_of(team: Team, kind: str) -> list[URL]:
    folder = team.root.parent
    return [URL.create("sqlite", database=str(folder / f"{kind}_{name}.team")) for name in "xyz"]


def as_alone(team: Team) -> None:
    """Move two databases in this process, and two by Alembic in processes of their own."""
    project = team.load()
    for ours, theirs in zip(places_of(team, "ours")[:2], places_of(team, "theirs"), strict=False):
        project.at(ours).upgrade()
        team.alembic(url=theirs)
        assert kept_in(ours) == kept_in(theirs)


@pytest.fixture(scope="module", params=WHEN)
def alone_with(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, list[Any]]]:
    """What Alembic makes of every helper, for each of three databases in a process of its own."""
    team = Team(tmp_path_factory.mktemp("alone") / "team").two()
    team.ini("prepend_sys_path = %(here)s")
    lines = []
    for number, (kind, text) in enumerate(HELPERS.items()):
        team.write(f"helper_{number}.py", text)
        lines.append(f"import helper_{number} as helper")
        if (request.param, kind) != NOT_ALONE:
            write_kept(team, lines[-1], request.param, chr(ord("c") + number), f"kept_{number}")
        else:
            team.revision(chr(ord("c") + number), chr(ord("b") + number), "pass")
    team.env(head="\n".join(lines) if request.param == "by env.py" else "")
    found: dict[str, list[Any]] = {kind: [] for kind in HELPERS}
    for url in places_of(team, "theirs"):
        team.alembic(url=url)
        for number, kind in enumerate(HELPERS):
            if (request.param, kind) != NOT_ALONE:
                found[kind].append(kept_in(url, f"kept_{number}"))
    return request.param, found


NOT_ALONE = ("at the top", "the import itself")
"""Headway reads revisions where there is no context, and says that it cannot."""


@pytest.mark.parametrize("kind", HELPERS)
def test_what_a_revision_keeps_in_a_helper_is_gone_for_the_next_database(
    team: Team, kind: str, alone_with: tuple[str, dict[str, list[Any]]]
) -> None:
    when, expected = alone_with
    line = with_helper(team, HELPERS[kind])
    write_kept(team.two().env(head=line if when == "by env.py" else ""), line, when)
    project = team.load()
    if (when, kind) == NOT_ALONE:
        with pytest.raises(ScriptsUnreadable, match="cannot be imported"):
            project.at(team.ours).upgrade()
        return
    for url, theirs in zip(places_of(team, "ours"), expected[kind], strict=True):
        project.at(url).upgrade()
        assert kept_in(url) == theirs


@pytest.mark.parametrize("place", PLACES)
def test_it_is_gone_wherever_the_helper_is(team: Team, place: str) -> None:
    line = with_helper(team, HELPERS["a dictionary"], place)
    write_kept(team.two().env(), line, "while it runs")
    as_alone(team)


BY_ENV = {
    "sets what depends on the database": """
        helper.current = config.get_main_option("sqlalchemy.url")[-6]
        """,
    "sets the same each time": "helper.current = 'of env.py'",
    "asks a cache first": "helper.first(config.get_main_option('sqlalchemy.url')[-6])",
    "asks a cache for the same": "helper.settings()",
    "counts its runs": "helper.COUNT += 1",
}
TOLD_BY_ENV = """
    import functools
    COUNT, current, first_of_all = 0, None, None
    @functools.lru_cache
    def settings():
        return ["settings"]
    def first(name):
        global first_of_all
        first_of_all = first_of_all or name
    def tenant(name):
        global COUNT
        {changes}
        return f"{{COUNT}} {{current}} {{first_of_all}} {{settings.cache_info().currsize}}"
"""


@pytest.mark.parametrize("sends", [False, True], ids=["captured", "executed"])
@pytest.mark.parametrize("changes", ["pass", "COUNT += 10"])
@pytest.mark.parametrize("kind", BY_ENV)
def test_what_env_py_leaves_in_a_helper_is_there_for_each_database(
    team: Team, kind: str, changes: str, sends: bool
) -> None:
    line = with_helper(team, TOLD_BY_ENV.format(changes=changes))
    before = "connection.execute(text('SELECT 1')); connection.rollback()" if sends else "pass"
    team.two().env(head=f"{line}\n{dedent(BY_ENV[kind])}", before=before)
    write_kept(team, line, "while it runs")
    as_alone(team)


ON_IMPORT = {
    "a random key": ("import secrets\nKEY = secrets.token_hex(8)", 3),
    "an id": ("import uuid\nKEY = str(uuid.uuid4())", 3),
    "chance": ("import random\nKEY = random.random()", 3),
    "the clock": ("import time\nKEY = time.time()", 3),
    "the date": ("import datetime\nKEY = datetime.datetime.now()", 3),
    "the environment": ("import os\nKEY = os.environ['TENANT_OF_TEAM']", 3),
    "nothing": ("KEY = 'fixed'", 1),
}


@pytest.mark.parametrize("by_env", [False, True])
@pytest.mark.parametrize("kind", ON_IMPORT)
def test_what_an_import_asks_for_is_asked_for_each_database(
    team: Team, kind: str, by_env: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, count = ON_IMPORT[kind]
    line = with_helper(team, f"{text}\ndef tenant(name):\n    return KEY\n")
    write_kept(team.two().env(head=line if by_env else ""), line, "while it runs")
    project = team.load()
    for url in places_of(team, "ours"):
        monkeypatch.setenv("TENANT_OF_TEAM", str(url))
        project.at(url).upgrade()
    assert len({str(kept_in(url)) for url in places_of(team, "ours")}) == count


LASTING = """
    import collections, datetime, decimal, enum, functools, itertools, logging, os, re, threading
    from dataclasses import dataclass, field
    import sqlalchemy as sa
    from sqlalchemy import event
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
    from sqlalchemy.orm import scoped_session, sessionmaker
    URL = os.environ.get("DATABASE_URL_OF_TEAM", "sqlite://")
    engine = sa.create_engine(URL)
    Session = scoped_session(sessionmaker(engine))
    log, lock, pattern = logging.getLogger("x"), threading.RLock(), re.compile("x")
    local, today, Point = threading.local(), datetime.date.max, collections.namedtuple("P", "x y")
    class State(enum.Enum):
        OPEN = 1
    @dataclass
    class Setting:
        names: list = field(default_factory=list)
    setting = Setting(["a"])
    class Base(DeclarativeBase):
        metadata = sa.MetaData(naming_convention={"ix": "ix_%(column_0_label)s"})
    class Shelf(Base):
        __tablename__ = "shelf"
        id: Mapped[int] = mapped_column(primary_key=True)
        books = relationship("Book", backref="shelf")
    class Book(Base):
        __tablename__ = "book"
        id: Mapped[int] = mapped_column(primary_key=True)
        shelf_id: Mapped[int] = mapped_column(sa.ForeignKey("shelf.id"))
    @event.listens_for(Shelf, "before_insert")
    def told(*_):
        pass
    @functools.lru_cache
    def rarely(name):
        return name
    def tenant(name):
        sa.orm.configure_mappers()
        with sa.orm.Session(sa.create_engine("sqlite://")) as session:
            str(sa.select(Shelf).join(Shelf.books).where(Book.shelf.has()))
        return f"{name} {rarely.cache_info().currsize} {len(IMPORTED)}"
    import builtins
    builtins.imports_of_team.append(__name__)
    IMPORTED = builtins.imports_of_team
"""


def test_modules_that_keep_nothing_are_imported_once(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    imports: list[str] = []
    monkeypatch.setattr("builtins.imports_of_team", imports, raising=False)
    text = LASTING.replace("IMPORTED = builtins", "IMPORTED = lambda: builtins").replace(
        "len(IMPORTED)", "len(IMPORTED())"
    )
    line = with_helper(team, text)
    team.two().env(head=line, options="target_metadata=helper.Base.metadata")
    write_kept(team, line, "while it runs")
    project = team.load()
    for url in places_of(team, "ours"):
        project.at(url).upgrade()
        assert kept_in(url) == [(f"{str(url)[-6]} 0 1",)]
    assert imports == ["helper_of_team"]
    assert project.environment.mode.value == "captured"


def test_a_helper_that_was_edited_is_read_again(team: Team) -> None:
    line = with_helper(team, "def tenant(name):\n    return 'old'\n")
    write_kept(team.two().env(head=line), line, "while it runs")
    project = team.load()
    first, second, _ = places_of(team, "ours")
    project.at(first).upgrade()
    with_helper(team, "def tenant(name):\n    return 'newer'\n")
    project.at(second).upgrade()
    assert [kept_in(first), kept_in(second)] == [[("old",)], [("newer",)]]


def test_models_in_a_registry_of_a_library_are_declared_again(team: Team) -> None:
    team.write(
        "lib/site-packages/library_of_team.py",
        "import sqlalchemy as sa\nfrom sqlalchemy.orm import DeclarativeBase\n"
        "class Model(DeclarativeBase):\n    metadata = sa.MetaData()\n",
    )
    line = with_helper(
        team,
        """
        from library_of_team import Model
        from sqlalchemy.orm import Mapped, mapped_column
        SEEN = []
        class Shelf(Model):
            __tablename__ = "shelf"
            id: Mapped[int] = mapped_column(primary_key=True)
        def tenant(name):
            SEEN.append(name)
            return f"{SEEN[0]} {len(Model.metadata.tables)}"
        """,
    )
    team.ini("prepend_sys_path = %(here)s:%(here)s/lib/site-packages", "path_separator = os")
    team.two().env(head=f"{line}\nfrom library_of_team import Model")
    write_kept(team, line, "while it runs")
    as_alone(team)
