"""Whatever a revision, an env.py or a driver raises: one sentence, an exit code that is true."""

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import Result
from sqlalchemy.engine import URL

from app.cli import GROUPS
from headway import Project, errors
from headway.schema import autogenerate
from tests.cli.shell import headway
from tests.migrator.making import run, table
from tests.migrator.scripts import write_env, write_revision

RAISES = {
    "SystemExit": ("raise SystemExit(3)", r"ended the program \(3\)"),
    "exit": ("import sys; sys.exit()", r"ended the program"),
    "BaseException": ("class Odd(BaseException): pass", "raise Odd('stop it')", "stop it"),
    "a group": (
        "raise ExceptionGroup('two', [ValueError('x y'), KeyError('k')])",
        "ValueError: x y",
    ),
    "no exception": ("raise 'text'", "TypeError: exceptions must derive"),
    "no words": ("assert False", r"AssertionError\."),
    "words that break": (
        "class Odd(Exception):\n        def __str__(self): 1 / 0",
        "raise Odd",
        r"Odd\.",
    ),
    "any letters": ("raise ValueError('\\ud800 \\x1b[31m \\0 é')", r"ud800 \\x1b\[31m \\x00 é"),
    "a book": ("raise ValueError('long ' * 10**6)", " …\\."),
    "a key": ("{}['colour']", "KeyError: 'colour'"),
    "a name": ("nothing_here", "NameError: name 'nothing_here'"),
    "no table": (
        "sa.Table('book', sa.MetaData(), autoload_with=op.get_bind())",
        r"table book does not exist \(NoSuchTableError\)",
    ),
    "not implemented": ("op.create_unique_constraint('u', 't', ['id'])", "ALTER of constraints"),
    "a driver's": ("op.execute('SELECT * FROM missing')", "no such table: missing"),
    "memory": ("raise MemoryError", r"MemoryError\."),
    "recursion": ("def f(): f()", "f()", "recursion"),
    "ours": (
        "from headway.errors import HeadwayError; raise HeadwayError('own words')",
        "own words",
    ),
}


def sentence(result: Result, code: int) -> str:
    """What a person reads of a failure: no traceback, no JSON that is half."""
    text = result.stderr
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert text.startswith("Error: "), text
    assert text.count("\n") == 1, text
    assert len(text) < 4000
    return text


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = write_env(tmp_path / "p")
    write_revision(folder, "one", None, [table("t").replace("\n", " ")])
    return folder


@pytest.mark.parametrize("name", RAISES)
def test_what_a_revision_raises_is_one_sentence(name: str, scripts: Path, sqlite_url: URL) -> None:
    *body, words = RAISES[name]
    write_revision(scripts, "two", "one", ["op.execute('DELETE FROM t')", *body])
    headway("upgrade", scripts, sqlite_url, "one")
    for more in ((), ("--json",)):
        result = headway("upgrade", scripts, sqlite_url, *more)
        told = sentence(result, 1)
        if name != "ours":
            assert "Revision two failed: " in told
            assert "The database is as it was." in told
        assert re.search(words, told), told
    assert Project.load(scripts).at(sqlite_url).status().current == ("one",)
    rehearsed = headway("plan", scripts, sqlite_url, "--rehearse", "--json")
    assert rehearsed.exit_code == 1
    assert json.loads(rehearsed.stdout)["failed"]


def test_a_revision_without_a_way_down(scripts: Path, sqlite_url: URL) -> None:
    path = scripts / "versions" / "one.py"
    path.write_text(path.read_text().partition("def downgrade")[0])
    headway("upgrade", scripts, sqlite_url)
    told = sentence(headway("downgrade", scripts, sqlite_url, "--", "base"), 2)
    assert "Revision one has no downgrade()" in told
    assert "Nothing was changed" in told
    sentence(headway("plan", scripts, sqlite_url, "base"), 2)


def test_a_commit_that_fails(scripts: Path, postgresql_url: URL) -> None:
    checked = [
        "op.execute('CREATE TABLE a (id int PRIMARY KEY)')",
        "op.execute('CREATE TABLE b (a int REFERENCES a DEFERRABLE INITIALLY DEFERRED)')",
        "op.execute('INSERT INTO b VALUES (7)')",
    ]
    write_revision(scripts, "two", "one", checked)
    told = sentence(headway("upgrade", scripts, postgresql_url), 1)
    assert "violates foreign key constraint" in told
    assert Project.load(scripts).at(postgresql_url).status().current == ()


# --- before the first step --------------------------------------------------------------------


@pytest.fixture
def stranger(postgresql_url: URL) -> Iterator[URL]:
    """An account that may connect, and nothing else."""
    name = f"stranger_{postgresql_url.database}"
    run(postgresql_url, f'CREATE ROLE "{name}" LOGIN')
    yield postgresql_url.set(username=name)
    run(postgresql_url, f'DROP OWNED BY "{name}"', f'DROP ROLE "{name}"')


def test_a_right_that_is_missing_is_named(
    scripts: Path, postgresql_url: URL, stranger: URL
) -> None:
    told = sentence(headway("upgrade", scripts, stranger), 77)
    assert "CREATE on schema public" in told
    new = stranger.set(database=f"{stranger.database}_new")
    assert "CREATEDB" in sentence(headway("create", scripts, new), 77)
    headway("upgrade", scripts, postgresql_url)
    shown = headway("status", scripts, stranger)
    assert shown.exit_code == 0
    assert "SELECT on table alembic_version" in shown.output
    assert "SELECT on table" in sentence(headway("upgrade", scripts, stranger), 77)
    run(postgresql_url, f'GRANT SELECT ON alembic_version TO "{stranger.username}"')
    write_revision(scripts, "two", "one", ["op.execute('ALTER TABLE t ADD COLUMN x int')"])
    assert "must be owner" in sentence(headway("upgrade", scripts, stranger), 1)


def test_a_right_that_is_missing_on_mariadb(scripts: Path, mariadb_url: URL) -> None:
    name = f"s{abs(hash(mariadb_url.database)) % 10**8}"
    run(mariadb_url, f"CREATE USER '{name}'@'%'")
    run(mariadb_url, f"GRANT SELECT ON `{mariadb_url.database}`.* TO '{name}'@'%'")
    try:
        told = sentence(headway("upgrade", scripts, mariadb_url.set(username=name)), 77)
        assert "CREATE command denied" in told
    finally:
        run(mariadb_url, f"DROP USER '{name}'@'%'")


def test_a_limit_of_the_servers_own_is_no_silence(scripts: Path, postgresql_url: URL) -> None:
    name = f"slow_{postgresql_url.database}"
    run(postgresql_url, f'CREATE ROLE "{name}" LOGIN SUPERUSER')
    run(postgresql_url, f"ALTER ROLE \"{name}\" SET statement_timeout = '300ms'")
    headway("upgrade", scripts, postgresql_url)
    engine = sa.create_engine(postgresql_url)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE alembic_version")
            told = headway("status", scripts, postgresql_url.set(username=name)).output
        assert "gave up" in told
        assert "statement timeout" in told
        assert "does not answer" not in told
    finally:
        engine.dispose()
        run(postgresql_url, f'DROP ROLE "{name}"')


def test_a_version_table_of_another_shape(scripts: Path, catalog_url: URL) -> None:
    run(catalog_url, "CREATE TABLE alembic_version (colour VARCHAR(10))")
    for command in ("status", "upgrade", "check"):
        told = sentence(headway(command, scripts, catalog_url), 1)
        assert "refuses a statement" in told
        assert "version_num" in told
        assert "catalog" not in told


def test_a_version_table_that_is_a_view(scripts: Path, catalog_url: URL) -> None:
    run(catalog_url, "CREATE VIEW alembic_version AS SELECT 'one' AS version_num")
    assert "at head" in headway("status", scripts, catalog_url).output


def test_a_file_that_others_hold_or_that_is_full(scripts: Path, sqlite_url: URL) -> None:
    headway("upgrade", scripts, sqlite_url)
    write_revision(scripts, "two", "one", ["op.execute('CREATE TABLE u (id INT)')"])
    with closing(sqlite3.connect(str(sqlite_url.database), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        told = sentence(headway("upgrade", scripts, sqlite_url, "--lock-timeout", "0.1"), 75)
        assert "database is locked" in told
    headway("upgrade", scripts, sqlite_url)
    body = [
        "op.execute('PRAGMA max_page_count = 1')",
        "op.execute('CREATE TABLE v AS SELECT zeroblob(10000000) AS x')",
    ]
    write_revision(scripts, "three", "two", body)
    assert "disk is full" in sentence(headway("upgrade", scripts, sqlite_url), 1)


# --- scripts and env.py -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "code"),
    [
        ("raise SystemExit(0)", 78),
        ("raise KeyError('SETTING')", 78),
        ("import no_such_module_here", 78),
        ("def (", 78),
        ("class Odd(Exception):\n    def __str__(self): 1 / 0\nraise Odd", 78),
    ],
)
def test_what_env_py_raises_is_one_sentence(
    env: str, code: int, tmp_path: Path, sqlite_url: URL
) -> None:
    folder = write_env(tmp_path / "broken", env)
    write_revision(folder, "one", None)
    for command in ("status", "upgrade", "check", "create", "adopt"):
        sentence(headway(command, folder, sqlite_url), code)


def test_a_revision_that_cannot_be_imported(scripts: Path, sqlite_url: URL) -> None:
    for head in ("raise SystemExit(4)", "raise ValueError('no')", "import not_there_at_all"):
        write_revision(scripts, "two", "one", head=head)
        told = sentence(headway("upgrade", scripts, sqlite_url), 78)
        assert "two.py cannot be imported" in told


def test_the_debug_flag_shows_where(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError("nobody foresaw it")

    monkeypatch.setattr(autogenerate, "validate", breaks)
    assert "nobody foresaw it" in sentence(headway("validate", scripts, None), 1)
    monkeypatch.setitem(os.environ, "FLASK_DEBUG", "1")
    assert isinstance(headway("validate", scripts, None).exception, ZeroDivisionError)


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_that_is_imported_when_it_is_used_has_the_help_that_is_listed(name: str) -> None:
    group = getattr(import_module(f"app.cli.{name}"), name)
    assert (group.name, group.help) == (name, GROUPS[name])
    assert group.callback is None  # a group of options of its own would have to be deferred too
    assert not group.params


# --- positions --------------------------------------------------------------------------------

WAYS = {
    "bare": "op.execute('CREATE TABLE item (id INTEGER PRIMARY KEY)')",
    "shouted": "op.execute('create table IF NOT EXISTS Item (id INTEGER PRIMARY KEY)')",
    "quoted": "op.execute('CREATE TABLE \\\"item\\\" (id INTEGER PRIMARY KEY)')",
    "of a schema": "op.execute('CREATE TABLE main.item (id INTEGER PRIMARY KEY)')",
    "over lines": "op.execute('CREATE TABLE ' 'item (id INTEGER PRIMARY KEY)')",
    "by name": "op.create_table('item', sa.Column('id', sa.Integer, primary_key=True))",
    "in a file": "op.execute((__import__('pathlib').Path(__file__).parent / 'up.sql').read_text())",
}


@pytest.mark.parametrize("way", WAYS)
def test_ours_is_known_by_its_tables(way: str, tmp_path: Path, sqlite_url: URL) -> None:
    old, new = write_env(tmp_path / "old"), write_env(tmp_path / "new")
    for folder in (old, new):
        (folder / "versions" / "up.sql").write_text("CREATE TABLE item (id INTEGER PRIMARY KEY)")
        write_revision(folder, "one", None, [WAYS[way]])
    write_revision(new, "two", "one", ["op.execute('ALTER TABLE item ADD COLUMN n INT')"])
    Project.load(new).at(sqlite_url).upgrade()
    assert Project.load(old).at(sqlite_url).status().position == "ahead"
    with pytest.raises(errors.DatabaseAhead):
        Project.load(old).at(sqlite_url).upgrade()
    run(sqlite_url, "DROP TABLE alembic_version")
    assert Project.load(new).at(sqlite_url).status().position == "unstamped"


def test_a_strangers_tables_are_not_ours(scripts: Path, sqlite_url: URL) -> None:
    """Words of the scripts that are no table's name do not make it ours."""
    for name in ("revision", "upgrade", "op", "items", "ite", "the_t"):
        run(sqlite_url, f"CREATE TABLE {name} (id INTEGER)")
    assert Project.load(scripts).at(sqlite_url).status().position == "empty"
    assert Project.load(scripts).at(sqlite_url).upgrade().after == ("one",)
    run(sqlite_url, "UPDATE alembic_version SET version_num = 'other'", "DROP TABLE t")
    assert Project.load(scripts).at(sqlite_url).status().position == "foreign"


@pytest.mark.parametrize(
    ("target", "way"),
    [
        *[("blue@base", "downgrade"), ("blue@-1", "downgrade"), ("b1-1", "downgrade")],
        *[("blue@head", "upgrade"), ("blue@+1", "upgrade"), ("b1+1", "upgrade")],
        *[
            ("blue", "downgrade"),
            ("blue@b0", "downgrade"),
            ("base", "downgrade"),
            ("b2", "upgrade"),
        ],
    ],
)
def test_a_target_tells_its_way(target: str, way: str, tmp_path: Path, sqlite_url: URL) -> None:
    folder = write_env(tmp_path / "p")
    write_revision(folder, "b0", None, labels=("blue",))
    for number in (1, 2):
        write_revision(folder, f"b{number}", f"b{number - 1}")
    database = Project.load(folder).at(sqlite_url)
    database.upgrade("b1")
    plan = database.plan(target)
    assert plan.direction == way
    assert plan.steps
