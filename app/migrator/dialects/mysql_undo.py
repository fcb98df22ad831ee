"""MySQL's schema as the server spells it, and the way back from half of a revision."""

import re

from sqlalchemy import Connection

from app.errors import RepairRefused
from app.migrator import history

# Lines of SHOW CREATE TABLE that are no part of the definition's inside
OUTSIDE = re.compile(r"^(CREATE TABLE|\))")


def image(connection: Connection, tables: set[str]) -> dict[str, str]:
    """The definition of every table."""
    names = tables - {history.NAME, "alembic_version"}
    return {name: _definition(connection, name) for name in sorted(names)}


def undo(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """The statements that lead from the schema `now` back to `before`.

    Raises RepairRefused if that would lose something.
    """
    if gone := sorted(before.keys() - now.keys()):
        raise _refused(", ".join(gone))
    statements = []
    for name in sorted(before):
        statements += _undo_table(name, before[name], now[name])
    if new := sorted(now.keys() - before.keys()):
        statements.insert(0, "SET foreign_key_checks = 0")  # they may stand on each other
        statements += [f"DROP TABLE `{name}`" for name in new]
        statements.append("SET foreign_key_checks = 1")
    return statements


def _refused(what: str) -> RepairRefused:
    return RepairRefused(
        f"The failed revision dropped or renamed {what}. Restore from a backup, or finish the "
        "revision by hand and repair with `--as applied`."
    )


def _definition(connection: Connection, table: str) -> str:
    created = connection.exec_driver_sql(f"SHOW CREATE TABLE `{table}`").one()[1]
    return re.sub(r" AUTO_INCREMENT=\d+", "", str(created))


def _undo_table(table: str, before: str, now: str) -> list[str]:
    """The statements that give one table its definition back, line by line."""
    old, new = _lines(before), _lines(now)
    if lost := [name for name in old.keys() - new.keys() if name.startswith("`")]:
        raise _refused(f"{', '.join(lost)} of {table}")
    added = [f"DROP {_kind(name)}" for name in new.keys() - old.keys()]
    # Keys and constraints first: a column cannot go while they stand on it.
    added.sort(key=lambda clause: clause.startswith("DROP COLUMN"))
    changed = [f"MODIFY COLUMN {old[n]}" for n in old if n in new and old[n] != new[n]]
    restored = [f"ADD {old[n]}" for n in old.keys() - new.keys()]
    return [f"ALTER TABLE `{table}` {clause}" for clause in added + changed + restored]


def _lines(definition: str) -> dict[str, str]:
    """The lines of SHOW CREATE TABLE by what they define: "`email`", "KEY `ix`", …."""
    found = {}
    for raw in definition.splitlines():
        line = raw.strip().rstrip(",")
        if OUTSIDE.match(line):
            continue
        name = re.match(r"(?:(?:UNIQUE )?(?:FULLTEXT )?KEY |CONSTRAINT )?`[^`]*`|PRIMARY KEY", line)
        if name:
            found[name.group().replace("UNIQUE ", "")] = line
    return found


def _kind(name: str) -> str:
    if name.startswith("`"):
        return f"COLUMN {name}"
    if name == "PRIMARY KEY":
        return name
    return name.replace("KEY ", "INDEX ") if name.startswith("KEY") else name
