"""The facts of a SQLite schema, from what it keeps of it and from its pragmas."""

from typing import Any

from sqlalchemy import Connection

from headway.dialects.facts import SHADOW, Fact, Facts, Key, in_brackets, plain, tokens
from headway.dialects.names import folded

Rows = list[tuple[Any, ...]]


def facts(connection: Connection) -> Facts:
    """Everything in the file. No virtual table is asked: its module may not be there."""
    found: Facts = {}
    kinds = {row[1]: row for row in _rows(connection, "PRAGMA table_list") if row[0] == "main"}
    for kind, name, table, sql in _rows(
        connection, "SELECT type, name, tbl_name, sql FROM sqlite_master"
    ):
        if name.startswith("sqlite_") or sql is None:
            continue
        if kind != "table":
            if kind != "index":
                found[Key(kind, "", *((name,) if kind == "view" else (table, name)))] = Fact(
                    plain(sql), sql=sql
                )
        elif name in kinds and kinds[name][2] == "shadow":
            found[Key(SHADOW, "", name)] = Fact("")
        elif (words := list(tokens(sql)))[1] == "virtual":
            found[Key("virtual table", "", name)] = Fact(" ".join(words), sql=sql)
        else:
            found |= _table(connection, name, words)
    return found


def _rows(connection: Connection, query: str) -> Rows:
    found = connection.exec_driver_sql(query, execution_options={"no_parameters": True})
    return [tuple(row) for row in found]


def _table(connection: Connection, name: str, words: list[str]) -> Facts:
    closed = len(words) - words[::-1].index(")") if ")" in words else len(words)
    options = [*words[closed:], *(word for word in words if word == "autoincrement")]
    computed = sorted(
        in_brackets(words, place + 1)
        for place, word in enumerate(words[:-1])
        if word == "as" and words[place + 1] == "("
    )
    found: Facts = {Key("table", "", name): Fact(f"{' '.join(options)} {computed}")}
    columns = _rows(connection, f"PRAGMA table_xinfo({_quoted(name)})")
    for _, column, type_, null, default, key, hidden in columns:
        found[Key("column", "", name, column)] = Fact(
            f"{key} {hidden}", f"{str(type_).upper()} {null} {default}"
        )
    for place, word in enumerate(words[:-1]):
        if word == "check" and words[place + 1] == "(":
            found[Key("check", "", name, in_brackets(words, place + 1))] = Fact("")
    return found | _foreign_keys(connection, name) | _indexes(connection, name)


def _foreign_keys(connection: Connection, table: str) -> Facts:
    keys: dict[int, Rows] = {}
    for row in _rows(connection, f"PRAGMA foreign_key_list({_quoted(table)})"):
        keys.setdefault(row[0], []).append(row)
    found: Facts = {}
    for rows in keys.values():
        rows.sort(key=lambda row: row[1])
        here, there = ([folded(str(row[place])) for row in rows] for place in (3, 4))
        target = folded(str(rows[0][2]))
        says = f"({', '.join(here)}) to {target}({', '.join(there)})"
        found[Key("foreign key", "", table, says)] = Fact(" ".join(map(str, rows[0][5:])))
    return found


def _indexes(connection: Connection, table: str) -> Facts:
    found: Facts = {}
    for _, name, unique, origin, partial in _rows(
        connection, f"PRAGMA index_list({_quoted(table)})"
    ):
        parts = [
            row[2:5] for row in _rows(connection, f"PRAGMA index_xinfo({_quoted(name)})") if row[5]
        ]
        if origin == "u":
            columns = ", ".join(folded(str(column)) for column, *_ in parts)
            found[Key("unique", "", table, f"({columns})")] = Fact("")
        elif origin == "c":
            sql = _sql(connection, name)
            text = f"{unique} {[(folded(str(column)), *rest) for column, *rest in parts]}"
            if partial or any(column is None for column, *_ in parts):
                words = list(tokens(sql))
                text = f"{unique} {' '.join(words[words.index('on') :])}"
            found[Key("index", "", table, name)] = Fact(text, sql=sql)
    return found


def _sql(connection: Connection, index: str) -> str:
    query = "SELECT sql FROM sqlite_master WHERE type = 'index' AND name = ?"
    return str(connection.exec_driver_sql(query, (index,)).scalar_one())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
