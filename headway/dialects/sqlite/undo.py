"""Undo the changes of a half-run revision on SQLite.

Wanted for revisions that leave their transaction (`autocommit_block`): all others roll back.
"""

import re
from collections.abc import Mapping

from sqlalchemy import Connection

from headway import history
from headway.errors import RepairRefused

Image = Mapping[str, str]
LEFTOVER = "_alembic_tmp_"
"""How Alembic's batch operations call the copy that they make of a table."""
REMADE = ("index", "trigger", "view")
"""What holds no rows, and is made again from its definition."""
QUERY = (
    "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL "  # noqa: S608  # our own
    f"AND tbl_name NOT IN ('{history.NAME}', 'alembic_version') "
    "AND name NOT GLOB 'sqlite_*' ORDER BY rowid"
)
SETTING = "pragma "
"""How the keys of what stands in the file's own header begin."""
SETTINGS = ("user_version", "application_id", "auto_vacuum")
VIRTUAL = re.compile(r"CREATE\s+VIRTUAL\s+TABLE", re.IGNORECASE)


def image(connection: Connection) -> dict[str, str]:
    """The definition of every object, by what it is and its name, as they were made."""
    rows = connection.exec_driver_sql(QUERY, execution_options={"no_parameters": True})
    found = {f"{kind} {name}": sql for kind, name, sql in rows}
    for name in SETTINGS:
        value = connection.exec_driver_sql(f"PRAGMA {name}").scalar()
        found[f"{SETTING}{name}"] = str(value)
    return found


def comparable(before: Image, now: Image) -> tuple[dict[str, str], dict[str, str], str]:
    """Both as the older of them can tell. What a virtual table makes for itself is left out."""
    known = any(key.startswith(SETTING) for key in before)
    return (
        _without_shadows(before),
        _without_shadows(now if known else _objects(now)),
        "",
    )


def _objects(image: Image) -> dict[str, str]:
    return {key: value for key, value in image.items() if not key.startswith(SETTING)}


def _without_shadows(image: Image) -> dict[str, str]:
    """The tables of a virtual table come and go with it."""
    owners = tuple(f"{key}_" for key, sql in image.items() if VIRTUAL.match(sql))
    return {
        key: value
        for key, value in image.items()
        if not (owners and key.startswith(owners) and key.startswith("table "))
    }


def undo(before: Image, now: Image) -> list[str]:
    """The statements that lead from the schema `now` back to `before`.

    Raises RepairRefused if that would lose something.
    """
    other = [key for key in before if before[key] != now.get(key)]
    if lost := [key for key in other if not key.startswith((*REMADE, SETTING))]:
        raise RepairRefused(
            f"The failed revision dropped or changed the {', the '.join(lost)}. Restore a snapshot "
            "or a backup, or finish the revision by hand and repair with `--as applied`."
        )
    settings = [key for key in other if key.startswith(SETTING)]
    made = [key for key in other if key not in settings]
    new = [key for key in now if key not in before]
    drops = [key for key in made if key in now] + new
    drops.sort(key=lambda key: key.startswith("table"))  # a table takes its indexes along
    return [
        *map(_drop, drops),
        *(before[key] for key in made),
        *(f"PRAGMA {key.removeprefix(SETTING)} = {before[key]}" for key in settings),
    ]


def _drop(key: str) -> str:
    kind, name = key.split(" ", 1)
    return f"DROP {kind.upper()} {_quoted(name)}"


def leftover_sql(connection: Connection, leftover: str) -> str:
    """The SQL that ends a broken batch operation: drop its copy, or rename it into place."""
    original = leftover.removeprefix(LEFTOVER)
    copy = _quoted(leftover)
    there = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    if not connection.exec_driver_sql(there, (original,)).first():
        return f"ALTER TABLE {copy} RENAME TO {_quoted(original)}"
    held, copied = (
        connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()  # noqa: S608
        for name in (_quoted(original), copy)
    )
    if copied > held:
        raise RepairRefused(
            f"{leftover} holds {copied} rows and {original} only {held}: the table was "
            "created again meanwhile. Merge the rows by hand, then drop the copy."
        )
    return f"DROP TABLE {copy}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
