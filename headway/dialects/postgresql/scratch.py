"""Empty PostgreSQL databases on the same server, used for comparisons."""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection

from headway.dialects.driver import Raw, ask, closing, display_url, open_raw, sqlstate
from headway.dialects.search_path import quoted
from headway.dialects.types import Ground
from headway.errors import DatabaseDenied

SCRATCH = "headway_scratch_"
DENIED = "42501"
LISTS = (
    *("search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"),
    "unix_socket_directories",
)
"""Settings whose values are lists of names, and are stored unquoted."""
DATABASE = """
SELECT to_jsonb(d) || jsonb_build_object('charset', pg_encoding_to_char(d.encoding))
FROM pg_database d WHERE datname = current_database()
"""
SETTINGS = """
SELECT CASE WHEN s.setrole = 0 THEN 'DATABASE' ELSE 'ROLE' END, unnest(s.setconfig)
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
WHERE d.datname = current_database() AND s.setrole IN (0,
  (SELECT oid FROM pg_roles WHERE rolname = session_user))
ORDER BY 1, 2
"""
SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY nspname"
EXTENSIONS = """
SELECT e.extname, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname <> 'plpgsql' ORDER BY e.oid
"""


def ground(connection: Connection, schemas: Collection[str], *, furnished: bool) -> Ground:
    """What an empty database has to be like to stand for this one."""
    database = connection.exec_driver_sql(DATABASE).scalar_one()
    there = connection.exec_driver_sql(SCHEMAS).scalars().all()
    path = connection.exec_driver_sql("SELECT current_schemas(false)").scalar_one()
    wanted = there if furnished else [one for one in there if one in {*path, *schemas}]
    statements = [
        f"CREATE SCHEMA IF NOT EXISTS {quoted(one)}"
        for one in wanted
        if one not in ("public", "information_schema")
    ]
    if furnished:
        statements += [
            f"CREATE EXTENSION IF NOT EXISTS {quoted(name)} SCHEMA {quoted(schema)} CASCADE"
            for name, schema in connection.exec_driver_sql(EXTENSIONS).all()
        ]
    settings = connection.exec_driver_sql(SETTINGS).all()
    return Ground(
        version=str(connection.dialect.server_version_info),
        options=_options(database),
        settings=tuple(f"{whose} {_setting(setting)}" for whose, setting in settings),
        statements=tuple(statements),
    )


def _options(database: dict[str, object]) -> str:
    """CREATE DATABASE options copied from `pg_database`, whose columns differ between releases."""
    provider = {"i": "icu", "c": "libc", "b": "builtin"}[str(database.get("datlocprovider", "c"))]
    options = {
        "ENCODING": database["charset"],
        "LC_COLLATE": database["datcollate"],
        "LC_CTYPE": database["datctype"],
        "LOCALE_PROVIDER": provider if "datlocprovider" in database else None,
        "ICU_LOCALE": database.get("daticulocale") or database.get("datlocale")
        if provider == "icu"
        else None,
        "BUILTIN_LOCALE": database.get("datlocale") if provider == "builtin" else None,
        "ICU_RULES": database.get("daticurules"),
    }
    return "".join(f" {name} {_literal(str(value))}" for name, value in options.items() if value)


def _setting(setting: str) -> str:
    name, _, value = setting.partition("=")
    return f"SET {quoted(name)} TO {value if name in LISTS else _literal(value)}"


@contextmanager
def made(url: URL, like: Ground) -> Iterator[URL]:
    """An empty database of this server. The caller drops it."""
    name = f"{SCRATCH}{os.getpid()}_{secrets.token_hex(4)}"
    place = url.set(database=name)
    with closing(_server(url)) as raw:
        # A lock of this name goes with the session: what has none may be dropped by others.
        ask(raw, "SELECT pg_advisory_lock(%s)", [_key(name)])
        _tidy(raw)
        _create(raw, url, name, like)
        for setting in like.settings:
            whose, _, what = setting.partition(" ")
            owner = "ROLE session_user IN DATABASE" if whose == "ROLE" else "DATABASE"
            _run(raw, f"ALTER {owner} {name} {what}")
        if like.statements:
            with closing(_server(place)) as own:
                for statement in like.statements:
                    _run(own, statement)
        yield place


def _create(raw: Raw, url: URL, name: str, like: Ground) -> None:
    try:
        _run(raw, f"CREATE DATABASE {name} TEMPLATE template0{like.options}")
    except Exception as error:
        if sqlstate(error) != DENIED:
            raise
        role = ask(raw, "SELECT quote_ident(session_user)")[0][0]
        raise DatabaseDenied(
            f"To compare {display_url(url)}, the revisions are run in a scratch database on the "
            f"same server, and the role {role} may not create one. Nothing was changed. Let an "
            f"administrator run ALTER ROLE {role} CREATEDB, or compare with a role that may."
        ) from error


def _tidy(raw: Raw) -> None:
    """Drop scratch databases of comparisons that were killed."""
    names = ask(raw, "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [SCRATCH])
    held = {
        key
        for (key,) in ask(
            raw,
            "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks "
            "WHERE locktype = 'advisory' AND granted AND objsubid = 1",
        )
    }
    for (name,) in names:
        if re.fullmatch(r"\w+", name) and _key(name) not in held:
            with contextlib.suppress(Exception):  # in use after all, or another role's
                _run(raw, f"DROP DATABASE IF EXISTS {quoted(name)}")


def _key(name: str) -> int:
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _server(url: URL) -> Raw:
    raw = open_raw(url)
    raw.autocommit = True
    return raw


def _run(raw: Raw, statement: str) -> None:
    with contextlib.closing(raw.cursor()) as cursor:
        cursor.execute(statement)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
