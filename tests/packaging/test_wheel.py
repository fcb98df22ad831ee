"""The wheel in a project that has packages `app` and `migrations` of its own: both work as before."""

import os
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FILES = {
    "app/__init__.py": """
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

WHOSE = "the project's"
db = SQLAlchemy()


class Item(db.Model):
    id = db.Column(db.Integer, primary_key=True)


def create_app():
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///items.db"
    db.init_app(app)
    Migrate(app, db)
    return app
""",
    "migrations/__init__.py": 'WHOSE = "the project\'s"\n',
    "migrations/alembic.ini": "[alembic]\n",
    "migrations/script.py.mako": "",
    "migrations/env.py": """
from alembic import context
from flask import current_app, has_app_context

from app import WHOSE, create_app, db

assert WHOSE == "the project's"


def run():
    with db.engine.connect() as connection:
        context.configure(connection=connection, target_metadata=db.metadata)
        with context.begin_transaction():
            context.run_migrations()


if has_app_context():
    run()
else:
    with create_app().app_context():
        run()
""",
    "migrations/versions/one.py": """
import sqlalchemy as sa
from alembic import op

import migrations

revision, down_revision = "one", None
assert migrations.WHOSE == "the project's"


def upgrade():
    op.create_table("item", sa.Column("id", sa.Integer, primary_key=True))


def downgrade():
    op.drop_table("item")
""",
    "alembic.ini": "[alembic]\nscript_location = migrations\nprepend_sys_path = .\n",
    "wsgi.py": "from app import create_app\n\napp = create_app()\n",
    "conftest.py": "",
    "tests/test_items.py": """
import app
import migrations
import wsgi
from headway import Project, run_migrations
from sqlalchemy import create_engine, inspect


def test_names():
    assert app.WHOSE == migrations.WHOSE == "the project's"
    assert wsgi.app.name == "app"


def test_a_copy_at_head(migrated_url):
    assert inspect(create_engine(migrated_url)).has_table("item")


def test_the_library(tmp_path):
    assert run_migrations("migrations", f"sqlite:///{tmp_path / 'a.db'}").after == ("one",)
    assert Project.load("migrations").at(tmp_path / "a.db").status().position == "at_head"
    assert app.WHOSE == "the project's"
""",
}


def do(command: Sequence[object], where: Path, code: int = 0) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "FLASK_APP")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    do([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT], folder)
    (found,) = folder.glob("headway-*.whl")
    return found


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel, Flask-Migrate and pytest; without our extras."""
    place = tmp_path_factory.mktemp("environment")
    do([sys.executable, "-m", "venv", "--without-pip", place / "venv"], place)
    python = place / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    do([*pip, "install", "--quiet", wheel, "flask-migrate", "pytest"], place)
    return python.parent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / "project" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip())
    return tmp_path / "project"


def test_the_wheel_holds_headway_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"headway"}
    assert "headway/py.typed" in names


@pytest.mark.parametrize(
    "command",
    [
        ("python", "-m", "pytest", "-q"),
        ("pytest", "-q"),
        ("flask", "--app", "app", "routes"),
        ("flask", "routes"),
        ("flask", "--app", "app", "db", "upgrade"),
        ("alembic", "upgrade", "head"),
        ("python", "-c", "from headway import Project; Project.load('migrations')"),
    ],
    ids=" ".join,
)
def test_the_projects_own_commands_work(
    command: tuple[str, ...], programs: Path, project: Path
) -> None:
    do([programs / command[0], *command[1:]], project)


def test_it_takes_no_name_but_its_own(programs: Path, project: Path) -> None:
    code = "from headway.isolation.isolated import OURS; print(*OURS)"
    assert do([programs / "python", "-c", code], project).split() == ["headway"]


def test_ours_works_beside_them(programs: Path, project: Path) -> None:
    where = ("--scripts", "migrations", "--url", "sqlite:///here.db")
    do([programs / "headway", "upgrade", *where], project)
    assert "at head" in do([programs / "flask", "migrate", "status", "--check", *where], project)


def test_a_message_names_the_command_that_is_there(programs: Path, project: Path) -> None:
    with closing(sqlite3.connect(project / "half.db")) as half:
        half.execute("CREATE TABLE _alembic_tmp_item (id INTEGER)")  # a batch operation that broke
    where = ("upgrade", "--scripts", "migrations", "--url", "sqlite:///half.db")
    assert "`headway repair` fixes it" in do([programs / "headway", *where], project, 1)
    flask = do([programs / "flask", "migrate", *where], project, 1)
    assert "`flask migrate repair` fixes it" in flask


def test_the_command_says_its_version(programs: Path, project: Path, wheel: Path) -> None:
    said = do([programs / "headway", "--version"], project)
    assert said.strip() == f"headway, version {wheel.name.split('-')[1]}"
