"""MySQL's and MariaDB's schema as the server spells it: every kind of object, in a few queries."""

import contextlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from headway import history
from headway.dialects.driver import Raw
from headway.errors import MigrationFailed

Image = Mapping[str, str]
DATABASE = "database\n"
"""The key of the database itself. Images of releases that recorded only tables lack it."""
OURS = (history.NAME, "alembic_version")
STORED = ("PACKAGE", "PACKAGE BODY", "FUNCTION", "PROCEDURE", "VIEW", "TRIGGER", "EVENT")
"""What is made again from its statement, in the order in which each finds what it stands on."""
MISREAD = re.compile(r"ANSI_QUOTES|NO_(TABLE|KEY|FIELD)_OPTIONS")
"""Modes under which the server spells a table so that it is not the same table any more."""
OPTIONS = re.compile(r"^\) .*$", re.MULTILINE)
FIRST, CLIENTS, CLIENTS_END = 1000, 2000, 2999
"""The numbers of errors: the server's own, and between them those of its clients."""
GAVE_UP = {1040, 1053, 1205, 1213, 1317, 1969, 3024}
UNREADABLE = "not readable by this account"

# Triggers come in the order in which they fire.
OBJECTS = """
SELECT kind, name, more FROM (
SELECT 1 AS place, 'database' AS kind, '' AS name, concat('CHARACTER SET ',
  default_character_set_name, ' COLLATE ', default_collation_name) AS more,
  '' AS a, '' AS b, '' AS c, 0 AS d
FROM information_schema.schemata WHERE schema_name = %(here)s
UNION ALL SELECT 2, routine_type, routine_name, concat_ws(' ', last_altered, definer), '', '', '', 0
FROM information_schema.routines WHERE routine_schema = %(here)s
UNION ALL SELECT 3, 'TRIGGER', trigger_name, event_object_table, event_object_table,
  action_timing, event_manipulation, action_order
FROM information_schema.triggers WHERE event_object_schema = %(here)s
UNION ALL SELECT 4, 'EVENT', event_name, concat_ws(' ', last_altered, definer), '', '', '', 0
FROM information_schema.events WHERE event_schema = %(here)s
) AS found ORDER BY place, a, b, c, d, kind, name
"""


def read(raw: Raw, database: str, *, without: Collection[str] = OURS) -> dict[str, str]:
    """Every object of a database, by what it is and its name. It is the session's own."""
    with contextlib.closing(raw.cursor()) as cursor, _well_spelled(cursor):
        image: dict[str, str] = {}
        here = {"here": database}
        objects = _all(cursor, OBJECTS, here)
        for name, table_type in _all(cursor, "SHOW FULL TABLES"):
            kind = "TABLE" if table_type in ("BASE TABLE", "SYSTEM VERSIONED") else table_type
            if name not in without:
                image[key_of(kind, name)] = _spelled(cursor, kind, name)
        for kind, name, more in objects:
            found = more if kind == "database" else _spelled(cursor, kind, name, str(more))
            image[key_of(kind, name)] = found
    return image


def key_of(kind: str, name: str) -> str:
    """The key of an object: tables and the database in small letters, as older images have."""
    return f"{kind.lower()}\n{name}"


def quoted(name: str) -> str:
    """A name as SQL."""
    return f"`{name.replace('`', '``')}`"


def is_refusal(error: Exception) -> bool:
    """True if the server understood and would not: not if it is gone, or gave up waiting."""
    code = error.args[0] if error.args else None
    is_said = isinstance(code, int) and (FIRST <= code < CLIENTS or code > CLIENTS_END)
    return is_said and code not in GAVE_UP


@contextlib.contextmanager
def _well_spelled(cursor: Any) -> Iterator[None]:
    """Let the server spell definitions in full, whatever mode the session is in."""
    ((mode, quotes),) = _all(cursor, "SELECT @@sql_mode, @@sql_quote_show_create")
    if quotes and not MISREAD.search(mode):
        yield
        return
    cursor.execute("SET SESSION sql_mode = '', sql_quote_show_create = 1")
    try:
        yield
    finally:
        cursor.execute("SET SESSION sql_mode = %s, sql_quote_show_create = %s", (mode, quotes))


def _spelled(cursor: Any, kind: str, name: str, more: str = "") -> str:
    """The definition of one object; for what is stored, with what it was made under."""
    try:
        row = _all(cursor, f"SHOW CREATE {kind} {quoted(name)}")[0]
    except UnicodeDecodeError as error:
        raise MigrationFailed(
            f"The definition of {name} holds bytes that are no text (the default of a binary "
            "column?), so that it cannot be read. Nothing was changed. Take the default off."
        ) from error
    except Exception as error:
        if not is_refusal(error):
            raise
        # Broken, or another account's. It stays comparable, and cannot be made again.
        return f"{UNREADABLE} {more or error.args[-1]}"
    if kind == "TABLE":
        return OPTIONS.sub(
            lambda line: re.sub(r" AUTO_INCREMENT=\d+", "", line[0], count=1), row[1]
        )
    if kind == "SEQUENCE":
        return str(row[1])
    if kind == "VIEW":
        return json.dumps(["", row[2], row[3], "", "", row[1]])
    zone = row[2] if kind == "EVENT" else ""
    statement, *rest = row[3:] if kind == "EVENT" else row[2:]
    if statement is None:
        return f"{UNREADABLE} {more}"
    table = more if kind == "TRIGGER" else ""
    return json.dumps([row[1], *rest[:3], table or zone, statement])


def _all(cursor: Any, query: str, values: Mapping[str, str] | None = None) -> list[tuple[Any, ...]]:
    cursor.execute(query, values) if values else cursor.execute(query)
    return list(cursor.fetchall())
