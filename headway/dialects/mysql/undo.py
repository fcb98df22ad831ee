"""Undo the changes of a half-run revision on MySQL and MariaDB, object by object."""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile

from sqlalchemy import Connection

from headway.dialects.driver import dbapi_connection
from headway.dialects.mysql import definition
from headway.dialects.mysql.alter import TableUndo
from headway.dialects.mysql.image import DATABASE, STORED, UNREADABLE, Image, key_of, quoted
from headway.errors import RepairRefused

KINDS = tuple(kind.lower() for kind in STORED)
SETTINGS = {
    # What would lose something is an error, and what was allowed before is allowed again.
    "sql_mode": "'STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION'",
    "system_versioning_alter_history": "'KEEP'",
}
HEAD = "character_set_client", "collation_connection", "time_zone", "foreign_key_checks"
"""What else the statements set."""
RUNS_OUT = re.compile(r" ON SCHEDULE (?:AT '|EVERY \S+ \S+ (?:STARTS '[^']*' )?ENDS ')")
OLDER = (
    "The release that ran it recorded only tables. Look yourself for views, triggers, routines, "
    "events and sequences that it made, changed or dropped."
)
ENDED = "Gone is the event {}: it was to end by itself. If the revision dropped it, make it again."


def comparable(before: Image, now: Image) -> tuple[dict[str, str], dict[str, str], str]:
    """Both as the older of them can tell, and what that leaves open, in words."""
    if DATABASE in before:
        ended = [
            key
            for key, value in before.items()
            if _kind_of(key) == "event" and key not in now and RUNS_OUT.search(value)
        ]
        left = {key: value for key, value in before.items() if key not in ended}
        names = ", ".join(key.partition("\n")[2] for key in ended)
        return left, dict(now), ENDED.format(names) if ended else ""
    tables = {key: value for key, value in now.items() if key.startswith("table\n")}
    return {key_of("TABLE", name): value for name, value in before.items()}, tables, OLDER


def undo(connection: Connection, before: Image, now: Image) -> list[str]:
    """The statements that lead from the schema `now` back to `before`.

    Raises RepairRefused if that would lose something.
    """
    changed = [key for key in before if key in now and before[key] != now[key]]
    gone = [key for key in before if key not in now]
    new = [key for key in now if key not in before]
    lost = [_gone(key, before, now) for key in gone if not _is_remade(key)]
    remade = [key for key in gone + changed if _is_remade(key)]
    bodies = [key.replace("package\n", "package body\n", 1) for key in remade]
    remade += [key for key in bodies if key in before and key not in remade]
    remade += _out_of_order(before, now, remade)
    harmed = [
        f"{describe(key)}, which this account may not read"
        for key in remade
        if before[key].startswith(UNREADABLE)
    ]
    ways = [_way(connection, key, before, now) for key in changed if _kind_of(key) == "table"]
    parts = [way.statements() for way in ways]
    lost += [item for way in ways for item in way.gone]
    harmed += [item for way in ways for item in way.lost]
    _refuse(lost, harmed)
    sequences = [key for key in changed if _kind_of(key) == "sequence"]
    return [
        *_drops([key for key in new if _is_remade(key)] + [key for key in remade if key in now]),
        *(statement for first, _, _ in parts for statement in first),
        *(statement for _, main, _ in parts for statement in main),
        *_drop_tables(key for key in new if _kind_of(key) == "table"),
        *(f"DROP SEQUENCE {_name(key)}" for key in new if _kind_of(key) == "sequence"),
        *(_sequence(before[key]) for key in sequences),
        *(f"ALTER DATABASE {before[key]}" for key in changed if key == DATABASE),
        *(statement for _, _, last in parts for statement in last),
        *_makes(remade, before),
    ]


def _refuse(gone: list[str], lost: list[str]) -> None:
    did = [f"dropped or renamed {', '.join(gone)}"] if gone else []
    did += [f"changed {'; '.join(lost)}"] if lost else []
    if did:
        raise RepairRefused(
            f"The failed revision {', and '.join(did)}. Restore from a backup, or finish the "
            "revision by hand and repair with `--as applied`; or bring it back by hand and repair "
            "again."
        )


def differences(expected: Image, found: Image) -> list[str]:
    """The keys of what is not as it should be."""
    other = [
        key
        for key in expected.keys() | found.keys()
        if not _alike(key, expected.get(key), found.get(key))
    ]
    return sorted(other) + _out_of_order(expected, found, other)


def object_names(key: str) -> tuple[str, ...]:
    """The bare name in a key. The database goes by many; each of its changes counts."""
    name = key.partition("\n")[2]
    return (name,) if name else ()


def describe(key: str) -> str:
    """What a key is about, for people."""
    return (
        f"the {_kind_of(key)} {object_names(key)[0]}"
        if object_names(key)
        else "the database's charset"
    )


@contextlib.contextmanager
def undoing(connection: Connection) -> Iterator[None]:
    """Let the session change definitions without losing what they hold."""
    raw = dbapi_connection(connection)
    with contextlib.closing(raw.cursor()) as cursor:
        names = ", ".join(f"'{name}'" for name in (*SETTINGS, *HEAD))
        cursor.execute(f"SHOW SESSION VARIABLES WHERE Variable_name IN ({names})")
        was = dict(cursor.fetchall())
        for name, value in SETTINGS.items():
            if name in was:
                cursor.execute(f"SET SESSION {name} = {value}")
        try:
            yield
        finally:
            with contextlib.suppress(Exception):  # its session is gone, and its settings with it
                for name, value in was.items():
                    cursor.execute(f"SET SESSION {name} = %s", (value,))


def made(key: str, value: str) -> list[str]:
    """The statements that make a stored object under what its author made it under."""
    mode, client, collation, _, zone, statement = json.loads(value)
    settings = {"sql_mode": mode, "character_set_client": client, "collation_connection": collation}
    if _kind_of(key) == "event":
        settings["time_zone"] = zone
    assignments = ", ".join(f"{name} = '{setting}'" for name, setting in settings.items())
    return [f"SET {assignments}", statement]


def by_dependency(keys: Iterable[str], image: Image) -> list[str]:
    """Stored objects so that each comes after those that it stands on."""
    places = {key: place for place, key in enumerate(image)}
    found = sorted(keys, key=lambda key: (KINDS.index(_kind_of(key)), places[key]))
    views = {key for key in found if _kind_of(key) == "view"}
    done: list[str] = []

    def add(key: str) -> None:
        if key in done:
            return
        for other in sorted(views - {key}) if key in views else ():
            if _name(other) in image[key] and _name(key) not in image[other]:
                add(other)
        if key not in done:
            done.append(key)

    for key in found:
        add(key)
    return done


def _kind_of(key: str) -> str:
    return key.partition("\n")[0]


def _name(key: str) -> str:
    return quoted(key.partition("\n")[2])


def _is_remade(key: str) -> bool:
    return _kind_of(key) in KINDS


def _alike(key: str, one: str | None, other: str | None) -> bool:
    if one == other or one is None or other is None or _kind_of(key) != "table":
        return one == other
    return definition.alike(one) == definition.alike(other)


def _gone(key: str, before: Image, now: Image) -> str:
    name = key.partition("\n")[2]
    other = definition.named(before, now, name) if _kind_of(key) == "table" else None
    return describe(key) + (
        f" (`{other}` has the same definition: if it was renamed, rename it back and repair again)"
        if other
        else ""
    )


def _way(connection: Connection, key: str, before: Image, now: Image) -> TableUndo:
    def ask(query: str) -> bool:
        found = connection.exec_driver_sql(query, execution_options={"no_parameters": True})
        return found.first() is not None

    name = key.partition("\n")[2]
    if UNREADABLE in (before[key][: len(UNREADABLE)], now[key][: len(UNREADABLE)]):
        raise RepairRefused(
            f"The table {name} cannot be read ({now[key]}), so what the failed revision "
            "did to it is unknown. Fix it by hand, then repair with `--as applied` or "
            "`--as not-applied`."
        )
    return TableUndo.between(name, before[key], now[key], ask)


def _drops(keys: Iterable[str]) -> list[str]:
    order = sorted(keys, key=lambda key: -KINDS.index(_kind_of(key)))
    bodies = {key.partition("\n")[2] for key in order if _kind_of(key) == "package"}
    return [
        statement
        for key in order
        if not (_kind_of(key) == "package body" and key.partition("\n")[2] in bodies)
        for statement in _dropped(key)
    ]


def _dropped(key: str) -> list[str]:
    drop = f"DROP {_kind_of(key).upper()} {_name(key)}"
    if "package" not in key.partition("\n")[0]:
        return [drop]
    # A statement that only Oracle's mode knows.
    return ["SET sql_mode = 'ORACLE'", drop, f"SET sql_mode = {SETTINGS['sql_mode']}"]


def _drop_tables(keys: Iterable[str]) -> list[str]:
    drops = [f"DROP TABLE {_name(key)}" for key in sorted(keys)]
    if not drops:
        return []
    # They may stand on each other.
    return ["SET foreign_key_checks = 0", *drops, "SET foreign_key_checks = 1"]


def _sequence(definition: str) -> str:
    """CREATE SEQUENCE as ALTER SEQUENCE. Its position stays where it is."""
    return re.sub(r" ENGINE=\w+", "", definition.replace("CREATE", "ALTER", 1))


def _makes(keys: list[str], before: Image) -> list[str]:
    """Make what was dropped or changed as it was."""
    statements: list[str] = []
    for key in by_dependency(keys, before):
        head, statement = made(key, before[key])
        if head not in statements[-2:-1]:
            statements.append(head)
        statements.append(statement)
    return statements


def _out_of_order(before: Image, now: Image, remade: Iterable[str]) -> list[str]:
    """Triggers that have to be made again because one that fires before them has to."""
    found: list[str] = []
    for group in _groups(before).values():
        stays = [key for key in now if key in group and key not in remade]
        right = sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(stays, group, strict=False))
        )
        found += stays[right:]
    return found


def _groups(image: Image) -> Mapping[object, list[str]]:
    """The triggers of one table, moment and event, as they fire."""
    groups: dict[object, list[str]] = {}
    for key, value in image.items():
        if _kind_of(key) == "trigger" and not value.startswith(UNREADABLE):
            *_, table, statement = json.loads(value)
            moment = re.search(
                r"\b(BEFORE|AFTER)\s+(INSERT|UPDATE|DELETE)\b", statement, re.IGNORECASE
            )
            group = (table, moment and moment[0].upper().split()[1], moment and moment[1].upper())
            groups.setdefault(group, []).append(key)
    return groups
