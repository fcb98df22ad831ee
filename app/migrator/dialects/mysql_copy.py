"""Copy a whole database on one server, for servers that know no templates."""

from sqlalchemy import URL

from app.migrator.driver import Raw, ask

SYSTEM_VERSIONED = "SYSTEM VERSIONED"


def charset(raw: Raw, template: URL) -> str:
    """The options of CREATE DATABASE that give the copy the same text."""
    query = (
        "SELECT default_character_set_name, default_collation_name "
        "FROM information_schema.schemata WHERE schema_name = %s"
    )
    name, collation = ask(raw, query, [template.database])[0]
    return f" CHARACTER SET {name} COLLATE {collation}"


def copy(raw: Raw, source: URL, target: URL) -> None:
    """Copy sequences and tables with their rows, then what stands on them, in that order."""
    here = quoted(str(source.database))
    _run(raw, f"USE {quoted(str(target.database))}")
    _run(raw, "SET foreign_key_checks = 0, unique_checks = 0, sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
    kinds = ask(raw, f"SHOW FULL TABLES FROM {here}")
    for name in (name for name, kind in kinds if kind == "SEQUENCE"):
        _sequence(raw, here, quoted(name))
    for name in (name for name, kind in kinds if kind in ("BASE TABLE", SYSTEM_VERSIONED)):
        _table(raw, source, name)
    for name, kind in _routines(raw, source):
        _made(raw, here, kind, name)
    _views(raw, here, [name for name, kind in kinds if kind == "VIEW"])
    triggers = "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = %s"
    for (name,) in ask(raw, f"{triggers} ORDER BY action_order", [source.database]):
        _made(raw, here, "TRIGGER", name)
    raw.commit()


def quoted(name: str) -> str:
    """A name as SQL."""
    return f"`{name.replace('`', '``')}`"


def _sequence(raw: Raw, here: str, name: str) -> None:
    _run(raw, ask(raw, f"SHOW CREATE SEQUENCE {here}.{name}")[0][1].replace(f"{here}.", ""))
    (next_one,) = ask(raw, f"SELECT next_not_cached_value FROM {here}.{name}")[0]  # noqa: S608
    ask(raw, f"SELECT SETVAL({name}, {next_one}, 0)")


def _table(raw: Raw, source: URL, name: str) -> None:
    here, table = quoted(str(source.database)), quoted(name)
    _run(raw, ask(raw, f"SHOW CREATE TABLE {here}.{table}")[0][1])
    query = (
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s "
        "AND table_name = %s AND coalesce(generation_expression, '') = '' ORDER BY ordinal_position"
    )
    names = [quoted(column) for (column,) in ask(raw, query, [source.database, name])]
    columns = ", ".join(names)
    _run(raw, f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {here}.{table}")  # noqa: S608


def _routines(raw: Raw, source: URL) -> list[tuple[str, str]]:
    query = (
        "SELECT routine_name, routine_type FROM information_schema.routines "
        "WHERE routine_schema = %s ORDER BY routine_type, routine_name"
    )
    return [(name, kind) for name, kind in ask(raw, query, [source.database])]


def _made(raw: Raw, here: str, kind: str, name: str) -> None:
    """Make a routine or a trigger as its author did, with the SQL mode it was made under."""
    row = ask(raw, f"SHOW CREATE {kind} {here}.{quoted(name)}")[0]
    _run(raw, f"SET sql_mode = '{row[1]}'")
    _run(raw, row[2].replace(f"{here}.", ""))


def _views(raw: Raw, here: str, names: list[str]) -> None:
    """Make views in an order in which each finds those that it stands on."""
    left = {
        name: ask(raw, f"SHOW CREATE VIEW {here}.{quoted(name)}")[0][1].replace(f"{here}.", "")
        for name in names
    }
    while left:
        made = [name for name, statement in left.items() if _works(raw, statement)]
        if not made:
            _run(raw, next(iter(left.values())))  # whose error says what is wrong
        for name in made:
            del left[name]


def _works(raw: Raw, statement: str) -> bool:
    try:
        _run(raw, statement)
    except Exception:  # noqa: BLE001  # the drivers share no classes
        return False
    return True


def _run(raw: Raw, statement: str) -> None:
    with raw.cursor() as cursor:
        cursor.execute(statement)
