"""A project from nothing: `headway init`, `headway revision --autogenerate`, `headway upgrade`."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy.engine import URL

from headway import Project
from headway.cli.commands import migrate
from tests.migrator.making import rows, tables

HEADWAY = Path(sys.executable).with_name("headway")
MODELS = """
import enum
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    pass

class Colour(enum.Enum):
    red = "red"
    green = "green"

class Person(Base):
    __tablename__ = "person"
    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.String(50), nullable=False, unique=True)
    colour = sa.Column(sa.Enum(Colour), nullable=False)

class Letter(Base):
    __tablename__ = "letter"
    id = sa.Column(sa.Integer, primary_key=True)
    writer_id = sa.Column(sa.ForeignKey(Person.id), nullable=False)
"""
UTILS = """
from alembic_utils.pg_function import PGFunction
from alembic_utils.pg_trigger import PGTrigger
from alembic_utils.pg_view import PGView
from alembic_utils.replaceable_entity import register_entities

red = PGView(schema="public", signature="reds", definition="SELECT id FROM person WHERE name = 'red'")
shout = PGFunction(
    schema="public", signature="shout()",
    definition="RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$",
)
loud = PGTrigger(
    schema="public", signature="loud", on_entity="public.person",
    definition="BEFORE INSERT ON public.person FOR EACH ROW EXECUTE FUNCTION public.shout()",
)
register_entities([shout, red, loud])
"""


def headway(folder: Path, *words: str) -> str:
    done = subprocess.run([HEADWAY, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_three_commands_are_enough(tmp_path: Path, catalog_url: URL) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    url = catalog_url.render_as_string(hide_password=False)
    told = headway(tmp_path, "init", "--models", "models:Base", "--url", url)
    assert "Then: headway revision --autogenerate" in told
    file = Path(headway(tmp_path, "revision", "--autogenerate", "-m", "first").strip())
    assert file.parent == tmp_path / "migrations" / "versions"
    assert "At " in headway(tmp_path, "upgrade")
    assert tables(catalog_url) == {"alembic_version", "person", "letter"}
    database = Project.load(tmp_path / "migrations").at(catalog_url)
    assert database.check().is_clean
    assert database.downgrade("base").after == ()
    assert tables(catalog_url) == {"alembic_version"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(migrate, words)
    assert done.exit_code == code, done.output
    return done.output


def test_extensions_of_alembic_write_and_run_what_they_know(
    place: Path, postgresql_url: URL
) -> None:
    url = postgresql_url.render_as_string(hide_password=False)
    run("init", "--models", "models:Base", "--url", url)
    env_py = place / "migrations" / "env.py"
    env_py.write_text("import alembic_postgresql_enum\n" + env_py.read_text())
    first = Path(run("revision", "--autogenerate", "-m", "first").strip()).read_text()
    assert "sa.Enum('red', 'green', name='colour').create(op.get_bind())" in first
    run("upgrade")
    (place / "entities.py").write_text(UTILS)
    env_py.write_text("import entities\n" + env_py.read_text())
    second = Path(run("revision", "--autogenerate", "-m", "views").strip()).read_text()
    assert "op.create_entity(" in second
    run("upgrade")
    assert rows(postgresql_url, "SELECT viewname FROM pg_views WHERE schemaname = 'public'") == [
        ("reds",)
    ]
    models = place / "models.py"
    models.write_text(
        MODELS.replace('    green = "green"\n', '    green = "green"\n    blue = "blue"\n')
    )
    third = Path(run("revision", "--autogenerate", "-m", "blue").strip()).read_text()
    assert "op.sync_enum_values(" in third
    run("upgrade")
    assert "nothing to write" in run("revision", "--autogenerate", "-m", "again")
    assert "No drift." in run("check")
    run("downgrade", "base")
    assert rows(postgresql_url, "SELECT typname FROM pg_type WHERE typname = 'colour'") == []
    # Another project in this process, which imports the same library and registers nothing in it.
    run("-c", "other.ini", "init", "--models", "models:Base", "--url", url, "other")
    (place / "other" / "env.py").write_text(
        "import alembic_utils.replaceable_entity\n" + (place / "other" / "env.py").read_text()
    )
    third = run("-c", "other.ini", "revision", "--autogenerate", "-m", "first")
    assert "entity" not in Path(third.strip()).read_text()


@pytest.mark.parametrize("template", ["generic", "async", "pyproject", "pyproject_async"])
def test_each_template_works(place: Path, template: str) -> None:
    driver = "sqlite+aiosqlite" if "async" in template else "sqlite"
    run(
        "init",
        "-t",
        template,
        "--package",
        "--models",
        "models:Base",
        "--url",
        f"{driver}:///app.db",
        "db/scripts",
    )
    assert (place / "db" / "scripts" / "versions" / "__init__.py").is_file()
    assert run("revision", "--autogenerate", "-m", "first").strip().endswith("_first.py")
    assert "At " in run("upgrade")
    assert "No drift." in run("check")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--url", "postgresql://u:hunter2@h/d"], 2, "has a password"),
        (["--url", "nonsense"], 2, "not a database URL"),
        (["--models", "nowhere:Base"], 2, "No module named 'nowhere'"),
        (["-t", "nope"], 1, "No such template"),
        (["-t", "multidb", "--models", "models:Base"], 2, "multidb"),
        (["full"], 1, "not empty"),
        ([], 0, "Set target_metadata in migrations/env.py and sqlalchemy.url in alembic.ini"),
    ],
)
def test_init_says_what_is_wrong_or_left_to_do(
    place: Path, words: list[str], code: int, text: str
) -> None:
    (place / "full").mkdir()
    (place / "full" / "it").touch()
    found = run("init", *words, code=code)
    assert text in found
    assert "hunter2" not in found
    assert (place / "alembic.ini").exists() is (code == 0)


def test_a_script_directory_of_flask_alembic_gets_its_first_revision(place: Path) -> None:
    (place / "scripts").mkdir()
    (place / "scripts" / "script.py.mako").write_text(MAKO)
    file = Path(run("revision", "-m", "first", "--scripts", "scripts").strip())
    assert file.parent == place / "scripts"
    assert "At " in run("upgrade", "--scripts", "scripts", "--url", "sqlite:///app.db")


MAKO = '''"""${message}"""
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}
def upgrade():
    ${upgrades if upgrades else "pass"}
def downgrade():
    ${downgrades if downgrades else "pass"}
'''
