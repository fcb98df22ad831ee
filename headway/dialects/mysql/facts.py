"""The facts of a MySQL or MariaDB schema, in the server's own spelling."""

import re

from sqlalchemy import Connection

from headway.dialects.facts import Fact, Facts, Key

NAMED = re.compile(
    r"(?P<kind>CONSTRAINT|(?:UNIQUE |FULLTEXT |SPATIAL |VECTOR )?KEY) `(?P<name>.*?)` "
)
COLUMN = re.compile(r"`(?P<name>(?:[^`]|``)+)` (?P<rest>.*)")
COMMENT = re.compile(r" COMMENT '(?:[^']|'')*'")
DEFINER = re.compile(r"DEFINER=`[^`]*`@`[^`]*` ")
TABLES = {"BASE TABLE": "table", "SYSTEM VERSIONED": "versioned table"}
ROUTINES = """
SELECT r.routine_type, r.routine_name, concat_ws(' ', r.sql_data_access, r.is_deterministic,
  r.security_type, r.dtd_identifier, (SELECT group_concat(concat_ws(' ', p.parameter_mode,
  p.parameter_name, p.dtd_identifier) ORDER BY p.ordinal_position)
  FROM information_schema.parameters p WHERE p.specific_schema = r.routine_schema
  AND p.specific_name = r.specific_name
  AND p.routine_type = r.routine_type)), r.routine_definition
FROM information_schema.routines r WHERE r.routine_schema = database()
"""
TRIGGERS = """
SELECT event_object_table, trigger_name,
  concat_ws(' ', action_timing, event_manipulation), action_statement
FROM information_schema.triggers WHERE event_object_schema = database()
"""
EVENTS = """
SELECT event_name, concat_ws(' ', event_type, interval_value, interval_field, on_completion),
  event_definition
FROM information_schema.events WHERE event_schema = database()
"""


def facts(connection: Connection) -> Facts:
    """Everything in the database."""
    found: Facts = {}
    here = f"`{connection.exec_driver_sql('SELECT database()').scalar_one()}`."
    for name, kind in _rows(connection, "SHOW FULL TABLES"):
        if kind in TABLES:
            # A default that takes its number from a sequence names the database.
            made = _created(connection, "TABLE", name).replace(here, "")
            found |= _table(TABLES[kind], name, made)
        elif kind == "SEQUENCE":
            made = _created(connection, "SEQUENCE", name).replace(here, "")
            found[Key("sequence", "", name)] = Fact(made, sql=made)
        elif kind == "VIEW":
            found[Key("view", "", name)] = _view(connection, name, here)
    for kind, name, how, body in _rows(connection, ROUTINES):
        definition = None if body is None else f"{how} {body.replace(here, '')}"
        found[Key(str(kind).lower(), "", name)] = Fact(definition)
    for table, name, how, body in _rows(connection, TRIGGERS):
        made = f"{how} {body}".replace(here, "")
        found[Key("trigger", "", table, name)] = Fact(made)
    for name, how, body in _rows(connection, EVENTS):
        found[Key("event", "", name)] = Fact(f"{how} {body}".replace(here, ""))
    return found


def _rows(connection: Connection, query: str) -> list[tuple[str, ...]]:
    rows = connection.exec_driver_sql(query, execution_options={"no_parameters": True})
    return [tuple(row) for row in rows]


def _created(connection: Connection, kind: str, name: str) -> str:
    quoted = name.replace("`", "``")
    return _rows(connection, f"SHOW CREATE {kind} `{quoted}`")[0][1]


def _view(connection: Connection, name: str, here: str) -> Fact:
    """The fact of a view; unknown if the account may not see its definition."""
    try:
        made = DEFINER.sub("", _created(connection, "VIEW", name)).replace(here, "")
    except Exception:  # noqa: BLE001  # the drivers share no classes
        return Fact(None)
    return Fact(made, sql=made)


def _table(kind: str, name: str, definition: str) -> Facts:
    """A table's lines; of what stands behind them, only what no server chooses by itself."""
    first, *lines = definition.splitlines()
    end = next(place for place, line in enumerate(lines) if line.startswith(")"))
    more = " ".join(lines[end:])
    options = re.findall(r"WITH SYSTEM VERSIONING|PARTITION BY .*", more)
    comment = COMMENT.search(more.partition("PARTITION BY")[0])
    found: Facts = {
        Key(kind, "", name): Fact(
            f"{first.partition('TABLE')[0]}{' '.join(options)}", comment.group() if comment else ""
        )
    }
    keys: dict[str, str] = {}
    foreign: set[str] = set()
    for line in (line.strip().rstrip(",") for line in lines[:end]):
        if column := COLUMN.match(line):
            rest = column["rest"]
            remark = COMMENT.search(rest)
            found[Key("column", "", name, column["name"])] = Fact(
                COMMENT.sub("", rest), remark.group() if remark else ""
            )
        elif (named := NAMED.match(line)) and named["kind"] != "CONSTRAINT":
            keys[named["name"]] = line
        elif named and " FOREIGN KEY " in line:
            foreign.add(named["name"])
            says = line[named.end() :]
            found[Key("constraint", "", name, says)] = Fact(says)
        elif named:
            found[Key("constraint", "", name, named["name"])] = Fact(line)
        elif line:  # PRIMARY KEY, PERIOD FOR
            found[Key("constraint", "", name, line)] = Fact(line)
    for key, line in keys.items():
        if key not in foreign:  # the index of a foreign key is made with it, and named after it
            found[Key("index", "", name, key)] = Fact(line)
    return found
