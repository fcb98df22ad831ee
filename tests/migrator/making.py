"""Small projects, and what is in a database, for tests of one database."""

import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from textwrap import indent
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway.project import Project
from tests.migrator.reference import pg_dump

SCRIPT = '''"""{name}"""
import os
import time

import sqlalchemy as sa
from alembic import op

revision = "{name}"
down_revision = {parent!r}


def upgrade():
{up}


def downgrade():
{down}
'''

TABLE = """op.create_table(
    "{0}", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(50)))"""


def make_project(folder: Path, **revisions: str | tuple[str, str]) -> Project:
    """A project of these revisions, one upon the other; the text of upgrade, or of both ways."""
    write(folder, **revisions)
    return Project.load(folder)


def write(folder: Path, **revisions: str | tuple[str, str]) -> None:
    versions = folder / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    parent = None
    for name, said in revisions.items():
        up, down = (said, "pass") if isinstance(said, str) else said
        text = SCRIPT.format(
            name=name, parent=parent, up=indent(up, "    "), down=indent(down, "    ")
        )
        (versions / f"{name}.py").write_text(text)
        parent = name


def table(name: str) -> str:
    """The text that makes a table with a name in it."""
    return TABLE.format(name)


def run(url: URL, *statements: str) -> None:
    """Run these, in one transaction, past all that is tested."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def rows(url: URL, query: str) -> list[tuple[Any, ...]]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def rest(url: URL, schema: str = "acme") -> str:
    """All of a database but one schema, as the server's own tool writes it, rows included."""
    place = f"postgresql://{url.username}@{url.host}:{url.port or 5432}/{url.database}"
    command = [pg_dump(), "--inserts", "--encoding=UTF8", "--exclude-schema"]
    command += [f'"{schema}"', place]
    environment = {"PGPASSWORD": str(url.password or ""), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return re.sub(r"\\(un)?restrict .*", "", done.stdout)


def tables(url: URL) -> set[str]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return set(sa.inspect(connection).get_table_names())


def contents(url: URL) -> dict[str, Any]:
    """All that is in a database: the schema as the server tells it, and every row."""
    if url.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(url.database))) as connection:
            return {"dump": list(connection.iterdump())}
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        found: dict[str, Any] = {}
        for name in sorted(inspector.get_table_names()):
            quoted = connection.dialect.identifier_preparer.quote(name)
            found[name] = {
                "columns": [
                    (c["name"], str(c["type"]), c["nullable"], c["default"])
                    for c in inspector.get_columns(name)
                ],
                "indexes": sorted(str(i["name"]) for i in inspector.get_indexes(name)),
                "keys": sorted(str(k["name"]) for k in inspector.get_foreign_keys(name)),
                "rows": sorted(map(repr, connection.exec_driver_sql(f"SELECT * FROM {quoted}"))),
            }
        found["views"] = sorted(inspector.get_view_names())
    return found


HOLD = """
import sys, time
from pathlib import Path
from headway.connections.address import Address
from headway.connections.session import Policy, held
with held(Address.of(sys.argv[1]), Policy(release="tests")):
    Path(sys.argv[2]).touch()
    time.sleep(60)
"""


MODELS = """
import sqlalchemy as sa
from alembic import context
metadata = sa.MetaData()
sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True), {more})
context.configure(connection=context.config.attributes.get("connection"), dialect_name="sqlite",
                  target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
"""


def send(url: URL, script: str) -> None:
    """As a person would: the text as it is, in the database's own client."""
    if url.get_backend_name() == "sqlite":
        with sqlite3.connect(str(url.database)) as raw:
            raw.executescript(script)
        raw.close()
        return
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in filter(str.strip, script.split(";")):
            connection.exec_driver_sql(statement)
    engine.dispose()
