"""Copy a whole database on one MySQL or MariaDB server, which has no templates.

All of it or nothing: what cannot be copied as it is, or would still work on the original from
within the copy, is refused by name.
"""

import contextlib
import json
import re
from collections.abc import Iterable

from sqlalchemy import URL

from headway.dialects.driver import Raw, ask
from headway.dialects.mysql import image as mysql_image
from headway.dialects.mysql import undo as mysql_undo
from headway.dialects.mysql.alter import KEEP_ROWS
from headway.dialects.mysql.definition import Table
from headway.dialects.mysql.image import UNREADABLE, quoted
from headway.errors import CopyFailed, MigrationFailed

SETTINGS = (
    "SET foreign_key_checks = 0, unique_checks = 0, time_zone = '+00:00', "
    "sql_mode = 'NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION,ALLOW_INVALID_DATES'"
)
ENGINES = KEEP_ROWS | {"BLACKHOLE", "CSV"}
"""Engines whose tables hold their own rows. Other engines show rows stored elsewhere."""
TOKEN = re.compile(
    r"(?P<text>'(?:[^'\\]|''|\\.)*'|\"(?:[^\"\\]|\"\"|\\.)*\")"
    r"|(?P<comment>--\s[^\n]*|\#[^\n]*|/\*(?!M?!).*?\*/)"
    r"|(?P<name>`(?:[^`]|``)+`|[\w$]+)|(?P<rest>.)",
    re.DOTALL,
)
QUALIFIER = re.compile(r"\s*\.\s*(?:`((?:[^`]|``)+)`|\"((?:[^\"]|\"\")+)\"|([\w$]+))")


def charset(raw: Raw, template: URL) -> str:
    """The options of CREATE DATABASE that give the copy the same text."""
    query = (
        "SELECT default_character_set_name, default_collation_name "
        "FROM information_schema.schemata WHERE schema_name = %s"
    )
    name, collation = ask(raw, query, [template.database])[0]
    return f" CHARACTER SET {name} COLLATE {collation}"


def copy(raw: Raw, source: URL, target: URL, last: str | None = None) -> None:
    """Copy sequences and tables with their rows, then what stands on them, and compare.

    The rows of the table `last` come after all of that. Raises CopyFailed.
    """
    here, there = str(source.database), str(target.database)
    _run(raw, f"USE {quoted(here)}")
    try:
        image = mysql_image.read(raw, here, without=())
    except MigrationFailed as error:
        raise CopyFailed(str(error)) from error
    _refuse_unreadable(image)
    names = {key.partition("\n")[2] for key in image}
    wanted = {key: _moved(key, value, (here, there), names - {""}) for key, value in image.items()}
    _run(raw, f"USE {quoted(there)}")
    _run(raw, SETTINGS)
    with contextlib.suppress(Exception):  # MySQL has none
        _run(raw, "SET check_constraint_checks = 0")
    for key in _names_of_kind(wanted, "sequence"):
        _sequence(raw, wanted[key], quoted(here), quoted(key.partition("\n")[2]))
    for key in _names_of_kind(wanted, "table"):
        _run(raw, wanted[key])
        if (name := key.partition("\n")[2]) != last:
            _rows(raw, here, name, wanted[key])
    _stored(raw, wanted)
    raw.commit()
    found = mysql_image.read(raw, there, without=())
    if other := mysql_undo.differences(wanted, found):
        raise CopyFailed(
            f"{here} cannot be copied: {', '.join(map(mysql_undo.describe, other))} would not be "
            "the same in the copy. Nothing was changed."
        )
    if last and (key := f"table\n{last}") in wanted:
        _rows(raw, here, last, wanted[key])
        raw.commit()


def _names_of_kind(image: Iterable[str], kind: str) -> list[str]:
    return [key for key in image if key.startswith(f"{kind}\n")]


def _refuse_unreadable(image: mysql_image.Image) -> None:
    unread = [key for key, value in image.items() if value.startswith(UNREADABLE)]
    windows = [
        key
        for key in _names_of_kind(image, "table")
        if key not in unread and Table.parsed(image[key]).options.get("ENGINE") not in ENGINES
    ]
    if unread:
        names = ", ".join(map(mysql_undo.describe, unread))
        raise CopyFailed(
            f"A copy would lack {names}: this account may not read the definition, or it is "
            "broken. Nothing was changed. Use an account that may, or repair what is broken."
        )
    if windows:
        names = ", ".join(map(mysql_undo.describe, windows))
        raise CopyFailed(
            f"A copy of {names} would use the same rows as the original, because its engine keeps "
            "them elsewhere. Nothing was changed."
        )


def _sequence(raw: Raw, definition: str, here: str, name: str) -> None:
    _run(raw, definition)
    (next_one,) = ask(raw, f"SELECT next_not_cached_value FROM {here}.{name}")[0]  # noqa: S608
    ask(raw, f"SELECT SETVAL({name}, {next_one}, 0)")


def _rows(raw: Raw, here: str, name: str, definition: str) -> None:
    source, table = f"{quoted(here)}.{quoted(name)}", quoted(name)
    query = (
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s "
        "AND table_name = %s AND coalesce(generation_expression, '') = '' ORDER BY ordinal_position"
    )
    columns = [quoted(column) for (column,) in ask(raw, query, [here, name])]
    parsed = Table.parsed(definition)
    since = ""
    if parsed.versioned and _keeps_history(raw, name, source):
        since = " FOR SYSTEM_TIME ALL"
        own = [c for c, line in parsed.columns.items() if " GENERATED ALWAYS AS ROW " in line]
        columns += own or ["`row_start`", "`row_end`"]
    text = ", ".join(columns)
    _run(raw, f"INSERT INTO {table} ({text}) SELECT {text} FROM {source}{since}")  # noqa: S608
    spelled = str(ask(raw, f"SHOW CREATE TABLE {source}")[0][1])
    if counted := re.search(r"^\) .*? AUTO_INCREMENT=(\d+)", spelled, re.MULTILINE):
        _run(raw, f"ALTER TABLE {table} AUTO_INCREMENT = {counted[1]}")


def _keeps_history(raw: Raw, name: str, source: str) -> bool:
    """True if the server lets a copy have the history of its rows. Raises CopyFailed."""
    if ask(raw, "SHOW VARIABLES LIKE 'system_versioning_insert_history'"):
        _run(raw, "SET system_versioning_insert_history = 1")
        return True
    everything, now = (
        ask(raw, f"SELECT count(*) FROM {source}{since}")[0][0]  # noqa: S608
        for since in (" FOR SYSTEM_TIME ALL", "")
    )
    if everything != now:
        raise CopyFailed(
            f"The table {name} holds the history of its rows, which this server copies only from "
            "MariaDB 10.11 on. Nothing was changed."
        )
    return False


def _stored(raw: Raw, wanted: mysql_image.Image) -> None:
    """Make views, routines, triggers and events as their authors did."""
    ((collation,),) = ask(raw, "SELECT @@collation_database")
    now = collation
    keys = [key for key in wanted if key.partition("\n")[0] in mysql_undo.KINDS]
    for key in mysql_undo.by_dependency(keys, wanted):
        under = json.loads(wanted[key])[3] or now
        if under != now:  # the database had another one when its author made it
            _run(raw, f"ALTER DATABASE COLLATE {under}")
            now = under
        for statement in mysql_undo.made(key, wanted[key]):
            _run(raw, statement)
    if now != collation:
        _run(raw, f"ALTER DATABASE COLLATE {collation}")


def _moved(key: str, value: str, places: tuple[str, str], names: set[str]) -> str:
    """A definition for the copy: what names the original itself names the copy there."""
    if key == mysql_image.DATABASE:
        return value
    if not value.startswith("["):
        return _renamed(key, value, places, names)
    *head, statement = json.loads(value)
    return json.dumps([*head, _renamed(key, statement, places, names)])


def _renamed(key: str, statement: str, places: tuple[str, str], names: set[str]) -> str:
    here, there = places
    if here.lower() not in statement.lower():
        return statement
    parts: list[str] = []
    for token in TOKEN.finditer(statement):
        text = token[0]
        bare = text[1:-1].replace("``", "`") if text[0] in "`\"'" else text
        after = QUALIFIER.match(statement, token.end())
        name = after and (after[1] or after[2] or after[3])
        is_here = bare.lower() == here.lower() and text[0] != "'"
        if is_here and name and _is_one(name, names):
            text = quoted(there)
        elif token["text"] and not key.startswith(("table\n", "view\n")):
            _refuse_within(key, bare, here, names)
        parts.append(text)
    return "".join(parts)


def _is_one(name: str, names: set[str]) -> bool:
    return name.replace("``", "`").lower() in {known.lower() for known in names}


def _refuse_within(key: str, text: str, here: str, names: set[str]) -> None:
    """A text may be SQL that is run later, on what it names."""
    for found in re.finditer(rf"(?<![\w$])`?{re.escape(here)}`?(?=\s*\.)", text, re.IGNORECASE):
        after = QUALIFIER.match(text, found.end())
        if after and _is_one(after[1] or after[2] or after[3], names):
            raise CopyFailed(
                f"{mysql_undo.describe(key).capitalize()} names {here} within a text, so that a "
                "copy of it may work on the original. Nothing was changed. Leave the database's "
                "name out there."
            )


def _run(raw: Raw, statement: str) -> None:
    with raw.cursor() as cursor:
        try:
            cursor.execute(statement)
        except Exception as error:
            raise CopyFailed(
                f"The copy failed at `{statement[:200]}`: "
                f"{error.args[-1] if error.args else error}. Nothing was changed."
            ) from error
