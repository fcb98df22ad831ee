"""What a boot costs when there is nothing to do.

Side by side, in one process and one run, on one SQLite file that is at head: Headway's boot,
Flask-Alembic's `upgrade()`, Flask-Migrate's `upgrade()`, and the floor: connect, read the version
row, read the heads from the files without importing them; once with the bare driver and once
with the SQLAlchemy engine that a Flask-SQLAlchemy app has. Headway also reads the history and
compares the checksum of every script. Exits with 1 if it takes more than twice the engine floor.

    python benchmarks/boot.py
"""

import logging
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import flask_alembic
import flask_migrate
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from app import boot
from app.settings import Settings

ROUNDS = 15
LIMIT = 2.0
REVISION = '''"""Revision {n}

Revision ID: r{n:04}
Revises: {parent}
"""

import sqlalchemy as sa
from alembic import op

revision = "r{n:04}"
down_revision = {parent!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "t{n:04}",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(50), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("t{n:04}")
'''
ENV = """
from alembic import context
from flask import current_app

def run():
    engine = current_app.extensions["migrate"].db.engine
    with engine.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()

run()
"""
VERSIONS = "SELECT version_num FROM alembic_version"
Prepare = Callable[[], Callable[[], object]]
ID = re.compile(rb'^revision = "(\w+)"', re.MULTILINE)
PARENT = re.compile(rb"^down_revision = '(\w+)'", re.MULTILINE)


def write_revisions(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for n in range(1, count + 1):
        parent = f"r{n - 1:04}" if n > 1 else None
        (folder / f"r{n:04}_.py").write_text(REVISION.format(n=n, parent=parent))


def read_heads(folder: Path) -> set[str]:
    ids, parents = set(), set()
    for file in folder.glob("*.py"):
        source = file.read_bytes()
        ids |= set(ID.findall(source))
        parents |= set(PARENT.findall(source))
    return {head.decode() for head in ids - parents}


def driver_floor(folder: Path, path: Path) -> Prepare:
    def once() -> None:
        connection = sqlite3.connect(path)
        versions = {row[0] for row in connection.execute(VERSIONS)}
        connection.close()
        assert read_heads(folder) == versions

    return lambda: once


def engine_floor(folder: Path, path: Path) -> Prepare:
    def prepare() -> Callable[[], object]:
        app, database = plain_app(path)

        def once() -> None:
            with database.engine.connect() as connection:
                versions = {row[0] for row in connection.exec_driver_sql(VERSIONS)}
            assert read_heads(folder) == versions

        return in_context(app, once)

    return prepare


def headway(folder: Path, path: Path) -> Prepare:
    boot.MIGRATIONS = folder  # type: ignore[attr-defined]
    settings = Settings.from_env(
        {"HEADWAY_DATABASE_URL": f"sqlite:///{path}", "HEADWAY_SECRET_KEY": "x" * 32}
    )

    def prepare() -> Callable[[], object]:
        app = Flask("app")
        app.extensions["headway"] = settings
        app.config.from_mapping(settings.for_flask())
        boot.init_app(app)
        return lambda: boot.bring_to_head(app)

    return prepare


def plain_app(path: Path) -> tuple[Flask, SQLAlchemy]:
    app = Flask("plain")
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{path}"
    database = SQLAlchemy()
    database.init_app(app)
    return app, database


def with_flask_alembic(folder: Path, path: Path) -> Prepare:
    def prepare() -> Callable[[], object]:
        app, _ = plain_app(path)
        app.config["ALEMBIC"] = {"script_location": str(folder)}
        alembic = flask_alembic.Alembic(app, run_mkdir=False)
        return in_context(app, alembic.upgrade)

    return prepare


def with_flask_migrate(folder: Path, path: Path) -> Prepare:
    project = folder.parent / "flask-migrate"
    project.mkdir()
    (project / "versions").symlink_to(folder)
    (project / "env.py").write_text(ENV)
    (project / "script.py.mako").write_text("")
    (project / "alembic.ini").write_text("[alembic]\npath_separator = os\n")

    def prepare() -> Callable[[], object]:
        app, database = plain_app(path)
        flask_migrate.Migrate(app, database, directory=str(project))
        return in_context(app, flask_migrate.upgrade)

    return prepare


def in_context(app: Flask, work: Callable[[], object]) -> Callable[[], object]:
    def once() -> None:
        with app.app_context():
            work()

    return once


def measure(candidates: dict[str, Prepare]) -> dict[str, float]:
    """The median of each, in milliseconds; interleaved, so that noise falls on all alike."""
    took: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(ROUNDS):
        for name, prepare in candidates.items():
            once = prepare()  # the app is built in either case, and anew: nothing stays cached
            began = time.perf_counter()
            once()
            took[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(times) for name, times in took.items()}


def main() -> int:
    logging.disable(logging.CRITICAL)
    names = ("driver floor", "engine floor", "Headway", "Flask-Alembic", "Flask-Migrate")
    print(f"{'revisions':>9}" + "".join(f"{name:>15}" for name in names))
    worst = 0.0
    for count in (8, 100, 500):
        took = measure_at(count)
        print(f"{count:>9}" + "".join(f"{took[name]:>13.1f}ms" for name in names))
        for name in names[:2]:
            print(f"{'':>9}  Headway / {name}: {took['Headway'] / took[name]:.1f}x")
        worst = max(worst, took["Headway"] / took["engine floor"])
    return 0 if worst <= LIMIT else 1


def measure_at(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name) / "migrations", Path(name) / "catalog.sqlite"
        write_revisions(folder, count)
        headway(folder, path)()()  # brings it to head, history and all
        return measure(
            {
                "driver floor": driver_floor(folder, path),
                "engine floor": engine_floor(folder, path),
                "Headway": headway(folder, path),
                "Flask-Alembic": with_flask_alembic(folder, path),
                "Flask-Migrate": with_flask_migrate(folder, path),
            }
        )


if __name__ == "__main__":
    sys.exit(main())
