"""All that is in a database, as text that can be compared.

What is random or a moment by nature is written by the projects as `rnd-…` and `now-…`; it is
taken out of a dump, and `values_of_chance` gives it back.
"""

import contextlib
import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from tests.migrator.reference import MOMENTARY, _in_order, pg_dump

CHANCE = re.compile(r"\b(rnd|now)-[0-9a-f-]+")
MOMENT = re.compile(
    r"datetime\.datetime\([^)]*\)|\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d(:\d\d)?)?"
)
# A random key of newer versions of pg_dump, and its comments; the right that default privileges
# give on a version table that is made after them, as a stamp's is.
NOISE = re.compile(
    r"^(\\(un)?restrict .*|--.*|GRANT \w+ ON TABLE public\.alembic_version TO .*|)\n", re.MULTILINE
)
# A number that the server gives a column of a foreign table.
VERSION_OF_COLUMN = re.compile(r"pg_attver=\d+")
INSERT = re.compile(r"^INSERT INTO .*?;$", re.MULTILINE | re.DOTALL)


def values_of_chance(text: str) -> list[str]:
    """What is random or a moment, in a dump as it is."""
    return [found.group() for found in CHANCE.finditer(text)]


def without_chance(text: str, url: str) -> str:
    """A dump that two databases can share: no random values, no moments, no name of its own."""
    name = make_url(url).database or ""
    text = VERSION_OF_COLUMN.sub("pg_attver=*", text)
    text = CHANCE.sub(r"\1-*", MOMENT.sub("<moment>", text))
    return text.replace(name, "<database>")


def dump(url: str) -> str:
    """The schema as its server spells it, all rows, the positions of sequences."""
    parsed = make_url(url)
    match parsed.get_backend_name():
        case "sqlite":
            return dump_sqlite(str(parsed.database))
        case "postgresql":
            return dump_postgresql(parsed)
        case _:
            return dump_mariadb(parsed)


def write(url: str, statements: Sequence[str]) -> None:
    """Run these past all that is tested, as an application would."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        with contextlib.closing(open_sqlite(str(parsed.database))) as connection, connection:
            for statement in statements:
                connection.execute(statement)
        return
    engine = sa.create_engine(sync(parsed), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def sync(url: URL) -> URL:
    """With a driver that needs no event loop."""
    return url.set(drivername=url.drivername.replace("+aiosqlite", ""))


# --- SQLite -----------------------------------------------------------------------------------


def open_sqlite(path: str) -> sqlite3.Connection:
    """As the application opens it: with its function and its collation."""
    connection = sqlite3.connect(path)
    connection.create_function("slug", 1, lambda text: str(text).lower(), deterministic=True)
    connection.create_collation("LOCALIZED", lambda one, two: (one > two) - (one < two))
    return connection


def dump_sqlite(path: str) -> str:
    if not Path(path).exists():
        return ""
    with contextlib.closing(open_sqlite(path)) as connection:
        connection.text_factory = lambda raw: raw.decode(errors="backslashreplace")
        pragmas = ("user_version", "application_id", "encoding", "journal_mode", "auto_vacuum")
        lines = [f"{name}: {connection.execute(f'PRAGMA {name}').fetchone()}" for name in pragmas]
        made = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2"
        ).fetchall()
        lines += [f"{kind} {name} on {table}: {_in_order(sql)}" for kind, name, table, sql in made]
        for kind, name, _, _ in made:
            if kind == "table":
                lines += sorted(f"{name}: {row}" for row in _rows(connection, name))
        lines += [f"orphan: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
    return "\n".join(lines)


def _rows(connection: sqlite3.Connection, table: str) -> list[Any]:
    name = table.replace('"', '""')
    for columns in ("rowid, *", "*"):
        with contextlib.suppress(sqlite3.Error):
            return connection.execute(f'SELECT {columns} FROM "{name}"').fetchall()
    return ["it cannot be read"]


# --- PostgreSQL -------------------------------------------------------------------------------


def dump_postgresql(url: URL) -> str:
    connect = url.set(drivername="postgresql", query={})
    typed = connect.render_as_string(hide_password=False)
    done = subprocess.run(
        [pg_dump(), "--inserts", typed], text=True, capture_output=True, env=_plain_environment()
    )
    if done.returncode:
        return f"cannot be dumped: {done.stderr}" if "does not exist" not in done.stderr else ""
    text = NOISE.sub("", MOMENTARY.sub("", done.stdout))
    # A row that was written anew lies elsewhere: their order says nothing.
    rows = iter(sorted(found.group() for found in INSERT.finditer(text)))
    return INSERT.sub(lambda _: next(rows), text) + _settings_of_database(url)


def _settings_of_database(url: URL) -> str:
    """What `ALTER DATABASE … SET` has set, which pg_dump leaves out."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    query = (
        "SELECT r.setrole, unnest(r.setconfig) FROM pg_db_role_setting r "
        "JOIN pg_database d ON d.oid = r.setdatabase WHERE d.datname = current_database()"
    )
    with engine.connect() as connection:
        return "".join(
            f"\nSET {row}" for row in sorted(map(str, connection.exec_driver_sql(query)))
        )


def _plain_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("PGOPTIONS", "PYTHONPATH")}


def globals_of_postgresql(url: URL, owner: str) -> str:
    """What belongs to the server: the roles of this run, with their rights and settings.

    Others may work on the same server, so theirs are left out.
    """
    engine = sa.create_engine(url.set(database="postgres"), poolclass=sa.NullPool)
    query = sa.text(
        "SELECT rolname, rolsuper, rolcreatedb, rolconfig, rolvaliduntil FROM pg_roles "
        "WHERE rolname IN (current_user, :owner) ORDER BY 1"
    )
    with engine.connect() as connection:
        return "\n".join(str(row) for row in connection.execute(query, {"owner": owner}))


# --- MariaDB ----------------------------------------------------------------------------------


def dump_mariadb(url: URL) -> str:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            return "\n".join(_mariadb_lines(connection, str(url.database)))
    except sa.exc.OperationalError as error:
        if "Unknown database" in str(error):
            return ""
        raise


def _mariadb_lines(connection: sa.Connection, database: str) -> Iterator[str]:
    def rows(query: str) -> list[tuple[Any, ...]]:
        found = connection.exec_driver_sql(query, execution_options={"no_parameters": True})
        return [tuple(row) for row in found]

    yield f"{rows(f'SHOW CREATE DATABASE `{database}`')}"
    for name, kind in sorted(rows("SHOW FULL TABLES")):
        word = {"VIEW": "VIEW", "SEQUENCE": "SEQUENCE"}.get(kind, "TABLE")
        yield f"{kind} {rows(f'SHOW CREATE {word} `{name}`')[0][1]}"
        if kind == "VIEW":
            continue
        query = f"SELECT * FROM `{name}`"
        if kind == "SYSTEM VERSIONED":
            query += " FOR SYSTEM_TIME ALL"
        yield from sorted(f"{name}: {row}" for row in rows(query))
    for (name, *_), *_ in [(row,) for row in rows("SHOW TRIGGERS")]:
        yield f"trigger {rows(f'SHOW CREATE TRIGGER `{name}`')[0][:5]}"
    orders = (
        "SELECT trigger_name, event_manipulation, action_timing, action_order "
        "FROM information_schema.triggers WHERE trigger_schema = DATABASE() ORDER BY 1"
    )
    yield from map(str, rows(orders))
    for word in ("PROCEDURE", "FUNCTION"):
        for row in rows(f"SHOW {word} STATUS WHERE Db = DATABASE()"):
            yield f"{word} {rows(f'SHOW CREATE {word} `{row[1]}`')[0]}"
    for row in rows("SHOW EVENTS"):
        yield f"event {rows(f'SHOW CREATE EVENT `{row[1]}`')[0]}"


def folder(path: Path) -> dict[str, str]:
    """The files of a folder, each with what is in it."""
    return {
        str(file.relative_to(path)): dump_sqlite(str(file))
        if file.suffix == ".db"
        else file.read_bytes().hex()[:2000]
        for file in sorted(path.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }
