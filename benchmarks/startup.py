"""What a command costs before it has done anything, beside what one would use instead.

The median of twenty starts of each, one after the other in turn, so that noise falls on all
alike: `headway` beside `alembic`, and a command of the service beside a Flask app of one model
with Flask-SQLAlchemy, whose command does one query. Wall clock, and processor time of the
process. Exits with 1 where a limit is passed in wall clock.

    python benchmarks/startup.py
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
SCRIPTS = HERE / "examples" / "fastapi-app" / "migrations"
BARE = """
import click
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Note(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)


def create_app():
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///NOTES"
    db.init_app(app)

    @app.cli.command()
    def count():
        click.echo(db.session.scalar(select(func.count()).select_from(Note)))

    return app
"""
PAIRS = (
    ("headway --help", "alembic --help", 1.3),
    ("headway current", "alembic current", 1.3),
    ("flask databases status", "flask --app bare count", 1.5),
)


def start(command: str, folder: Path, environ: dict[str, str]) -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    program, *words = command.split()
    before, began = os.times(), time.perf_counter()
    subprocess.run(
        [BIN / program, *words], cwd=folder, env=environ, check=True, capture_output=True
    )
    wall, after = time.perf_counter() - began, os.times()
    used = after.children_user - before.children_user
    return wall, used + after.children_system - before.children_system


def prepare(folder: Path) -> dict[str, str]:
    """A project at head, a catalog at head, and the bare app with its table."""
    (folder / "bare.py").write_text(BARE.replace("NOTES", str(folder / "notes.db")))
    environ = os.environ | {
        "HEADWAY_DATABASE_URL": f"sqlite:///{folder}/catalog.sqlite",
        "HEADWAY_SECRET_KEY": "x" * 32,
        "FLASK_APP": str(HERE / "wsgi.py"),
    }
    (folder / "alembic.ini").write_text(
        f"[alembic]\nscript_location = {SCRIPTS}\nsqlalchemy.url = sqlite:///{folder}/app.db\n"
    )
    create = "from bare import create_app, db; create_app().app_context().push(); db.create_all()"
    commands: list[list[Path | str]] = [
        [BIN / "headway", "upgrade"],
        [BIN / "flask", "db", "upgrade"],
        [sys.executable, "-c", create],
    ]
    for command in commands:
        subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True)
    return environ


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20)
    times = parser.parse_args().times
    commands = [command for ours, theirs, _ in PAIRS for command in (ours, theirs)]
    took: dict[str, list[tuple[float, float]]] = {command: [] for command in commands}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ = prepare(folder)
        for _ in range(times):
            for command in commands:
                took[command].append(start(command, folder, environ))
    passed = 0
    print(f"{'':<24}{'wall':>9}{'CPU':>9}")
    for ours, theirs, limit in PAIRS:
        medians = {
            command: [statistics.median(each) for each in zip(*took[command], strict=True)]
            for command in (ours, theirs)
        }
        for command, (wall, cpu) in medians.items():
            print(f"{command:<24}{wall * 1000:>6.0f} ms{cpu * 1000:>6.0f} ms")
        wall, cpu = (a / b for a, b in zip(*medians.values(), strict=True))
        print(f"{'  (limit ' + str(limit) + ')':<24}{wall:>8.2f}x{cpu:>8.2f}x")
        passed += wall > limit
    return min(passed, 1)


if __name__ == "__main__":
    sys.exit(main())
