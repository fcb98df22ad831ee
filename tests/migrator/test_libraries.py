"""What a library registers when it is imported is in force for the projects that import it."""

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.migrator.team import Team

LIBRARY = """
import sqlalchemy as sa
from alembic.autogenerate import comparators, renderers
from alembic.ddl.sqlite import SQLiteImpl
from alembic.operations import MigrateOperation, Operations, ops
from sqlalchemy import event
from sqlalchemy.ext.compiler import compiles

@comparators.dispatch_for("schema")
def compare(context, operations, schemas):
    operations.ops.append(ops.DropTableOp("of_the_library"))

@Operations.register_operation("shelve")
class Shelve(MigrateOperation):
    @classmethod
    def shelve(cls, operations):
        return operations.invoke(cls())

@Operations.implementation_for(Shelve)
def shelve(operations, operation):
    operations.execute("CREATE TABLE shelf (id INTEGER)")

class Impl(SQLiteImpl):
    __dialect__ = "sqlite"

@event.listens_for(sa.Engine, "before_cursor_execute")
def execute(connection, cursor, statement, *rest):
    if "CREATE TABLE t_" in statement:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS was_heard (id INTEGER)")

@compiles(sa.Text, "sqlite")
def text(type_, compiler, **kw):
    return "TEXT /* library */"
"""

SAYS = """
def said(name):
    team = root / name
    file = team / f"{next(counted)}.db"
    database = Project.load(team / "migrations").at(URL.create("sqlite", database=str(file)))
    try:
        database.upgrade()
        error = None
    except MigrationFailed as failed:
        error = "shelve" in str(failed)
    with closing(sqlite3.connect(file)) as own:
        made = dict(own.execute("SELECT name, sql FROM sqlite_master"))
    return {
        "compares": "extra table of_the_library" in (database.check().models or ()),
        "operates": "shelf" in made,
        "refuses": error,
        "listens": "was_heard" in made,
        "compiles": "library" in made.get("t_a", ""),
    }
"""
WITH = {"compares": True, "operates": True, "refuses": None, "listens": True, "compiles": True}
WITHOUT = {
    "compares": False,
    "operates": False,
    "refuses": True,
    "listens": False,
    "compiles": False,
}


def _team(root: Path, name: str, head: str, **files: str) -> None:
    team = Team(root / name).ini("prepend_sys_path = %(here)s")
    team.env(
        head=f"from sqlalchemy import MetaData\nmetadata = MetaData()\n{dedent(head)}",
        options="target_metadata=metadata",
    )
    team.revision(
        "a",
        up="op.create_table('t_a', sa.Column('id', sa.Integer), sa.Column('n', sa.Text))",
        down="op.drop_table('t_a')",
    )
    team.revision("b", "a", "op.shelve()", "op.drop_table('shelf')")
    for file, text in files.items():
        team.write(f"{file}.py", text)


def _in_a_process(root: Path, calls: str) -> Any:
    """What a program prints that runs the projects, with the libraries of `site-packages`."""
    program = f"""
import itertools, json, pathlib, sqlite3, sys
from contextlib import closing
sys.path.append({str(root / "site-packages")!r})
from sqlalchemy.engine import URL
from headway import Project
from headway.errors import MigrationFailed
root, counted = pathlib.Path({str(root)!r}), itertools.count()
{SAYS}
{calls}
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two installed libraries, one that registers and one that imports it, and projects."""
    libraries = tmp_path / "site-packages"
    (libraries / "shelves").mkdir(parents=True)
    (libraries / "shelves" / "__init__.py").write_text(LIBRARY)
    (libraries / "on_shelves.py").write_text("import shelves\n")
    _team(tmp_path, "without", "")
    for name, head in {
        "imports": "import shelves",
        "indirectly": "import on_shelves",
        "by_name": "from importlib import import_module\nimport_module('shelves')",
        "by_module": "from models_of_the_team import metadata",
    }.items():
        models = "import on_shelves, sqlalchemy\nmetadata = sqlalchemy.MetaData()\n"
        _team(tmp_path, name, head, models_of_the_team=models)
    _team(tmp_path, "same_name", "import models_of_the_team", models_of_the_team="")
    return tmp_path


@pytest.mark.parametrize(
    "order",
    [
        ("without", "imports", "without", "by_module", "without"),
        ("by_module", "same_name", "by_module", "imports"),
        ("indirectly", "without", "imports", "by_name"),
        ("imports", "indirectly", "without", "indirectly"),
        ("imports", "by_name", "by_module", "without", "by_name"),
    ],
    ids="-".join,
)
def test_it_is_in_force_for_those_who_import_it(root: Path, order: tuple[str, ...]) -> None:
    found = _in_a_process(root, f"print(json.dumps([said(name) for name in {order!r}]))")
    wanted = [WITHOUT if name in ("without", "same_name") else WITH for name in order]
    assert found == wanted


def test_the_program_around_has_it_as_after_an_import_of_its_own(root: Path) -> None:
    """A module is loaded once: what it registered would not be registered again."""
    reads = """
from headway.isolation.entries import read_places
def here():
    import sqlalchemy as sa
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE t_x (id INTEGER)")
        heard = sa.inspect(connection).has_table("was_heard")
    return [sorted(map(repr, place.values())) for place in read_places()], heard
"""
    after = _in_a_process(
        root,
        f"{reads}\nsaid('imports'), said('without')\nimport shelves\n"
        "print(json.dumps([len(names) for names in here()[0]] + [here()[1]]))",
    )
    alone = _in_a_process(
        root,
        f"{reads}\nimport shelves\nprint(json.dumps([len(n) for n in here()[0]] + [here()[1]]))",
    )
    assert after == alone
    assert after[-1] is True


def test_what_the_program_has_imported_is_in_force_for_all(root: Path) -> None:
    calls = "import shelves\nprint(json.dumps([said('imports'), said('without')]))"
    assert _in_a_process(root, calls) == [WITH, WITH]


@pytest.mark.parametrize("order", ["ab", "ba", "aba"])
def test_a_plugin_of_one_project_drops_nothing_of_another(
    tmp_path: Path, postgresql_url: URL, order: str
) -> None:
    """As `alembic check` says: each project in a process of its own."""
    tables = "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))"
    for name, head, up in (
        ("a", "import alembic_postgresql_enum, alembic_utils.pg_view", "pass"),
        (
            "b",
            "",
            "op.execute('CREATE TYPE mood AS ENUM (1)'.replace('1', chr(39) + 'x' + chr(39)))",
        ),
    ):
        team = (
            Team(tmp_path / name)
            .ini()
            .env(
                head=f"""
            {head}
            import sqlalchemy as sa
            metadata = sa.MetaData()
            sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True))
            """,
                options="target_metadata=metadata",
            )
        )
        team.revision("r", up=f"{tables}\n{up}")
    engine = sa.create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    names = [postgresql_url.database, f"{postgresql_url.database}_b"]
    with engine.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{names[1]}"')
    try:
        urls = {
            key: postgresql_url.set(database=name).render_as_string(hide_password=False)
            for key, name in zip("ab", names, strict=True)
        }
        calls = f"""
from sqlalchemy import make_url
urls, found = {urls!r}, []
for name in {order!r}:
    database = Project.load(root / name / "migrations").at(make_url(urls[name]))
    database.upgrade()
    found.append(database.check().models)
print(json.dumps(found))
"""
        assert _in_a_process(tmp_path, calls) == [[] for _ in order]
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql(f'DROP DATABASE "{names[1]}" WITH (FORCE)')
        engine.dispose()


REGISTERS = """
import sys
import sqlalchemy as sa
from alembic.autogenerate import comparators, renderers
from alembic.runtime.plugins import Plugin
from operations_of_the_team import Shelve
metadata = sa.MetaData()

def compare(*arguments):
    print("compared", file=sys.stderr)

Plugin("team").add_autogenerate_comparator(compare, "schema")
comparators.dispatch_for("schema")(compare)

@renderers.dispatch_for(Shelve)
def render(context, operation):
    return ""
"""


def test_what_env_py_registers_each_time_is_registered_once(
    team: Team, capfd: pytest.CaptureFixture[str]
) -> None:
    team.two().ini("prepend_sys_path = %(here)s")
    team.write(
        "operations_of_the_team.py",
        "from alembic.operations import MigrateOperation\nclass Shelve(MigrateOperation): pass",
    )
    team.env(
        head=REGISTERS,
        options="target_metadata=metadata, autogenerate_plugins=['alembic.autogenerate.*', 'team']",
    )
    project = team.load()
    for name in ("one", "two"):
        database = project.at(team.ours.set(database=f"{team.ours.database}.{name}"))
        assert database.upgrade().after == ("b",)
    capfd.readouterr()
    database.check()
    # once by the plugin, once as `alembic check` calls those that are registered for all
    assert capfd.readouterr().err.count("compared") == 2
