"""The contents of a database, to compare two that were built in the same way."""

import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, Connection

from headway.connections.address import Address
from headway.dialects import driver
from headway.dialects.postgresql import image
from headway.dialects.reach import reaching

PRAGMAS = ("user_version", "application_id", "encoding", "page_size", "auto_vacuum", "journal_mode")

RELATIONS = """
SELECT c.oid::regclass::text, c.relname, c.relkind FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
AND n.nspname NOT LIKE 'pg\\_toast%' ORDER BY 1
"""
BESIDE = """
SELECT coalesce(shobj_description(d.oid, 'pg_database'), '') <> ''
    OR d.datacl IS NOT NULL OR d.datconnlimit <> -1
    OR EXISTS (SELECT FROM pg_db_role_setting s WHERE s.setdatabase = d.oid)
    OR EXISTS (SELECT FROM pg_shseclabel l WHERE l.objoid = d.oid)
    OR EXISTS (SELECT FROM pg_largeobject_metadata)
FROM pg_database d WHERE d.datname = current_database()
"""
"""Settings that PostgreSQL keeps about a database and does not copy."""
REST = """
SELECT 'extension', extname::text, extversion FROM pg_extension
UNION ALL SELECT 'publication', pubname::text, puballtables::text FROM pg_publication
UNION ALL SELECT 'event trigger', evtname::text, evtevent::text FROM pg_event_trigger
UNION ALL SELECT 'comment', objsubid::text, description FROM pg_description WHERE objoid >= 16384
UNION ALL SELECT 'rights', oid::regclass::text, relacl::text FROM pg_class WHERE oid >= 16384
UNION ALL SELECT 'rights', oid::regprocedure::text, proacl::text FROM pg_proc WHERE oid >= 16384
UNION ALL SELECT 'rights', nspname::text, nspacl::text FROM pg_namespace
UNION ALL SELECT 'rights', defaclobjtype::text, defaclacl::text FROM pg_default_acl
"""
SURROUNDINGS = """
SELECT version(), current_user,
    (SELECT string_agg(name || ' ' || default_version, ',' ORDER BY name)
        FROM pg_available_extensions),
    (SELECT row(encoding, datcollate, datctype, datacl)::text FROM pg_database
        WHERE datname = 'template1'),
    (SELECT string_agg(setconfig::text, ',' ORDER BY setrole) FROM pg_db_role_setting
        WHERE setdatabase = 0)
"""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The contents of a database."""

    digest: str
    """A digest of schema and rows."""
    filled: frozenset[str]
    """Tables that have rows."""
    beside: bool = False
    """True if the server keeps settings about it that a copy would lack."""


def contents(url: URL) -> Contents:
    """The contents of a database. Raises the driver's error if a table cannot be read."""
    address = Address(url)
    with address.open() as raw:
        if address.dialect.name == "sqlite":
            return _sqlite_contents(raw)
        with address.connected(raw) as connection:
            return _postgresql_contents(connection)


def surroundings(url: URL) -> str:
    """Properties of the server that a new database takes over."""
    if url.get_backend_name() != "postgresql":
        return ""
    there = url.set(database="postgres")
    with reaching(url), driver.closing(driver.open_raw(there)) as raw:
        return repr(driver.ask(raw, SURROUNDINGS))


def _sqlite_contents(raw: Any) -> Contents:
    found, filled = hashlib.sha256(), set()
    for name in PRAGMAS:
        found.update(repr(raw.execute(f"PRAGMA {name}").fetchall()).encode())
    made = raw.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    found.update(repr(made).encode())
    for name in [row[1] for row in made if row[0] == "table"]:
        quoted = name.replace('"', '""')
        for row in raw.execute(f'SELECT * FROM "{quoted}"'):  # noqa: S608  # a name of its own
            found.update(repr((name, row)).encode())
            filled.add(name)
    return Contents(digest=found.hexdigest(), filled=frozenset(filled))


def _postgresql_contents(connection: Connection) -> Contents:
    def ask(query: str) -> list[Any]:
        options = {"no_parameters": True}
        return list(connection.exec_driver_sql(query, execution_options=options))

    found, filled = hashlib.sha256(), set()
    found.update(repr(sorted(image.image(connection).items())).encode())
    found.update(repr(sorted(map(repr, ask(REST)))).encode())
    for path, name, kind in ask(RELATIONS):
        if kind == "S":
            found.update(repr((path, ask(f"SELECT last_value, is_called FROM {path}"))).encode())  # noqa: S608
            continue
        hashes = "md5(string_agg(md5(t::text), '' ORDER BY ctid))"
        count, rows = ask(f"SELECT count(*), {hashes} FROM ONLY {path} t")[0]  # noqa: S608
        found.update(f"{path} {count} {rows}\n".encode())
        if count:
            filled.add(name)
    beside = bool(ask(BESIDE)[0][0])
    return Contents(digest=found.hexdigest(), filled=frozenset(filled), beside=beside)
