"""Rows for `register_many`: files of a pattern, databases of a server, schemas, CSV, JSON lines.

A source gives what it can: what is wrong with a row goes with it as `wrong`, and the rest goes on.
"""

import csv
import json
import os
from collections.abc import Iterable, Iterator
from glob import has_magic
from itertools import islice
from pathlib import Path
from typing import Any

from app.errors import InputInvalid
from app.fleet.addresses.paths import inside, settings
from app.fleet.addresses.urls import parse_server, parse_shared
from app.fleet.core.validation import quoted
from app.fleet.isolation import find
from app.fleet.isolation.find import Row
from app.fleet.isolation.parent import call_isolated
from headway.errors import DatabaseUnreachable, HeadwayError

COLUMNS = ("name", "url", "reference", "owner", "notes", "strategy")
OBJECTS = {"labels": "label.", "x": "x."}
"""What has names of its own: the key in JSON, and how its columns begin."""
FIND_SECONDS = 20.0
"""How long a request looks for databases."""
LONGEST_LINE = 64 * 1024


def from_files(
    pattern: str, *, labels: str | None = None, most: int | None = None
) -> Iterator[Row]:
    """A row for each SQLite file that a pattern matches (`/data/*/app.db`, `**` for any depth).

    It is named by its path below the folder where the pattern begins, without its ending.
    `labels` is a regular expression over the whole path, whose named groups are labels. Files
    that are no databases are passed over. Raises OutsideRoots or InputInvalid.

    `most` is for requests: rows beyond one more are not looked for, and all are looked for in a
    process of its own within FIND_SECONDS. Raises ServerBusy if another request does that.
    """
    if "://" in pattern:
        raise InputInvalid("A pattern is a path with wildcards, not a URL.", field="pattern")
    if ".." in Path(pattern).parts:
        raise InputInvalid("A pattern must not contain `..`.", field="pattern")
    pattern = str(Path.cwd() / Path(pattern).expanduser())
    base = _base_of(pattern)
    inside(base, settings().data_roots)
    roots = tuple(os.path.realpath(root) for root in settings().data_roots)
    late = InputInvalid(
        f"This took longer than {FIND_SECONDS:g} seconds. Use a pattern that matches fewer files, "
        "a simpler expression, or `flask databases import`."
    )
    yield from _found("files", pattern, str(base), roots, labels, most=most, late=late)


def from_server(
    url: str, *, names: str = "*", labels: str | None = None, most: int | None = None
) -> Iterator[Row]:
    """A row for each database of a server whose name matches a pattern (`customer_*`).

    Its URL is the server's with its name. Templates and the server's own databases are passed
    over. `most` is that of `from_files`. Raises AddressInvalid, DatabaseUnreachable or
    DatabaseDenied.
    """
    server = parse_server(url)
    late = DatabaseUnreachable(
        f"{server} did not return the list of its databases within {FIND_SECONDS:g} seconds."
    )
    yield from _found("databases", server, names, labels, most=most, late=late)


def from_schemas(
    url: str, *, names: str = "*", labels: str | None = None, most: int | None = None
) -> Iterator[Row]:
    """A row for each schema of a PostgreSQL database whose name matches a pattern (`tenant_*`).

    It is named as the schema, and its URL is the database's with `schema=`. The server's own
    schemas and those of extensions are passed over; `public` is found by that very name only.
    `most` is that of `from_files`. Raises AddressInvalid, DatabaseUnreachable or DatabaseDenied.
    """
    shared = parse_shared(url)
    late = DatabaseUnreachable(
        f"{shared} did not return the list of its schemas within {FIND_SECONDS:g} seconds."
    )
    yield from _found("schemas", shared, names, labels, most=most, late=late)


def _found(finder: str, *arguments: Any, most: int | None, late: HeadwayError) -> Iterable[Row]:
    if most is None:
        return find.FINDERS[finder](*arguments)
    asked = ("find", finder, arguments, most + 1)
    rows: list[Row] = call_isolated(*asked, seconds=FIND_SECONDS, late=late)
    return rows


def from_csv(lines: Iterable[str]) -> Iterator[Row]:
    """A row for each line below the header: `name,url,reference,owner,notes,label.tier,x.tenant`.

    Raises InputInvalid for a header with other columns.
    """
    reader = csv.reader(_short(lines), strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
    except csv.Error as error:
        raise InputInvalid(f"The header of the CSV cannot be read: {error}.") from error
    _check_header(header)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield {"line": line, "wrong": f"It cannot be read as CSV: {error}."}
            continue
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            wrong = f"This row has {len(cells)} cells, but the header has {len(header)}."
            yield {"line": line, "wrong": wrong}
            continue
        yield {"line": line} | _row(zip(header, cells, strict=True))


def from_json_lines(lines: Iterable[str]) -> Iterator[Row]:
    """A row for each line: an object with the keys of a CSV, or `labels` and `x` as objects."""
    for line, text in enumerate(_short(lines), 1):
        if not text.strip():
            continue
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            yield {"line": line, "wrong": "It is no JSON."}
            continue
        if not isinstance(said, dict):
            yield {"line": line, "wrong": "This line is not a JSON object."}
            continue
        yield {"line": line} | _from_object(said)


def at_most(most: int, rows: Iterable[Row]) -> list[Row]:
    """All rows, if they are few enough to be registered while somebody waits.

    Raises InputInvalid.
    """
    taken = list(islice(rows, most + 1))
    if len(taken) > most:
        raise InputInvalid(
            f"These are more than {most:,} databases. Nothing was registered. Use `flask databases "
            "import`."
        )
    return taken


def _from_object(values: dict[str, Any]) -> Row:
    columns = dict(values)
    for key, prefix in OBJECTS.items():
        if not isinstance(found := columns.pop(key, {}), dict):
            return {"wrong": f"The value of {key} is not a JSON object."}
        columns |= {f"{prefix}{name}": value for name, value in found.items()}
    if wrong := [name for name in columns if not _is_column(name)]:
        return {"wrong": f"{quoted(wrong[0])} is not a key of a database. {_columns()}"}
    plain = str | int
    if wrong := [k for k, v in columns.items() if v is not None and not isinstance(v, plain)]:
        return {"wrong": f"The value of {wrong[0]} is neither text nor a whole number."}
    return _row((name, "" if value is None else str(value)) for name, value in columns.items())


def _row(pairs: Iterable[tuple[str, str]]) -> Row:
    """An empty cell says nothing."""
    row: Row = {}
    for name, cell in pairs:
        if not (value := cell.strip()):
            continue
        key = next((key for key, prefix in OBJECTS.items() if name.startswith(prefix)), None)
        if key:
            row.setdefault(key, {})[name.removeprefix(OBJECTS[key])] = value
        else:
            row[name] = value
    return row


def _check_header(header: list[str]) -> None:
    if not header:
        raise InputInvalid(f"The CSV is empty: its first line names the columns. {_columns()}")
    for number, column in enumerate(header, 1):
        if not _is_column(column):
            raise InputInvalid(
                "The first line has to name the columns: name,url,\N{HORIZONTAL ELLIPSIS} "
                f"Its cell {number} names none. {_columns()}"
            )
    if len(set(header)) < len(header):
        raise InputInvalid("A column appears twice.")
    if not {"url", "reference"} & set(header):
        raise InputInvalid("There is neither a column `url` nor `reference`.")


def _is_column(name: str) -> bool:
    prefixes = OBJECTS.values()
    return name in COLUMNS or (name.startswith(tuple(prefixes)) and name not in prefixes)


def _columns() -> str:
    return f"Use {', '.join(COLUMNS)}, label.<name> and x.<name>."


def _short(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            raise InputInvalid(f"Line {number} is longer than {LONGEST_LINE // 1024} KiB.")
        # A spreadsheet's mark of a UTF-8 file is no part of the first column's name.
        yield line.removeprefix("\ufeff") if number == 1 else line


def _base_of(pattern: str) -> Path:
    """The folder at which the wildcards begin."""
    parts = Path(pattern).parts
    fixed = next((n for n, part in enumerate(parts) if has_magic(part)), len(parts) - 1)
    return Path(*parts[:fixed])
