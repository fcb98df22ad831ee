"""Rows for `register_many`: from a pattern over files, a server's list, CSV, JSON lines.

A source gives what it can: what is wrong with a row goes with it as `wrong`, and the rest goes on.
"""

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from glob import escape, has_magic, iglob
from itertools import islice
from pathlib import Path
from typing import Any

from app.errors import InputInvalid
from app.fleet.core.paths import inside, settings
from app.fleet.core.urls import SIDES, parse_server
from app.fleet.core.validation import quoted
from headway.dialects import OURS
from headway.dialects.driver import ask, closing
from headway.dialects.reach import reaching
from headway.dialects.translation import opened
from headway.dialects.urls import DatabaseURL

Row = dict[str, Any]

COLUMNS = ("name", "url", "reference", "owner", "notes", "strategy")
HEADER = b"SQLite format 3\x00"
SYSTEM = {
    "postgresql": {"postgres", "template0", "template1"},
    "mysql": {"information_schema", "mysql", "performance_schema", "sys"},
}
DATABASES = {
    "postgresql": "SELECT datname FROM pg_database "
    "WHERE datallowconn AND NOT datistemplate ORDER BY datname",
    "mysql": "SELECT schema_name FROM information_schema.schemata ORDER BY schema_name",
}
LONGEST_LINE = 64 * 1024


def from_files(pattern: str, *, labels: str | None = None) -> Iterator[Row]:
    """A row for each SQLite file that a pattern matches (`/data/*/app.db`, `**` for any depth).

    It is named by its path below the folder where the pattern begins, without its ending.
    `labels` is a regular expression over the whole path, whose named groups are labels. Files
    that are no databases are passed over. Raises OutsideRoots or InputInvalid.
    """
    if "://" in pattern:
        raise InputInvalid("A pattern is a path with wildcards, and no URL.", field="pattern")
    if ".." in Path(pattern).parts:
        raise InputInvalid("A pattern goes down from a folder: it holds no `..`.", field="pattern")
    pattern = str(Path.cwd() / Path(pattern).expanduser())
    base = _base_of(pattern)
    inside(base, settings().data_roots)
    named = _expression(labels) if labels else None
    roots = tuple(os.path.realpath(root) for root in settings().data_roots)
    # What a link leads to outside the folders is not even opened: it is refused as it is.
    files = (
        one for one in _matching(pattern, roots) if not _is_below(one, roots) or _is_database(one)
    )
    for line, found in enumerate(sorted(files), 1):
        path = Path(found)
        row: Row = {
            "line": line,
            "name": str(path.relative_to(base).with_suffix("")),
            "url": DatabaseURL.parse(path).text(),
        }
        if named and (said := named.search(found)):
            row["labels"] = {k: v for k, v in said.groupdict().items() if v is not None}
        yield row


def from_server(url: str, *, names: str = "*", labels: str | None = None) -> Iterator[Row]:
    """A row for each database of a server whose name matches a pattern (`customer_*`).

    Its URL is the server's with its name. Templates and the server's own databases are passed
    over. Raises AddressInvalid, DatabaseUnreachable or DatabaseDenied.
    """
    server = parse_server(url)
    named = _expression(labels) if labels else None
    theirs = (name for name in _databases(server) if not name.startswith(OURS))
    found = (name for name in theirs if fnmatchcase(name, names))
    for line, name in enumerate(found, 1):
        row: Row = {"line": line, "name": name, "url": server.at(name).text()}
        if named and (said := named.search(name)):
            row["labels"] = {k: v for k, v in said.groupdict().items() if v is not None}
        yield row


def from_csv(lines: Iterable[str]) -> Iterator[Row]:
    """A row for each line below the header: `name,url,reference,owner,notes,label.tier`.

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
            wrong = f"It has {len(cells)} cells, and the header {len(header)}."
            yield {"line": line, "wrong": wrong}
            continue
        yield {"line": line} | _row(zip(header, cells, strict=True))


def from_json_lines(lines: Iterable[str]) -> Iterator[Row]:
    """A row for each line: an object with the keys of a CSV, or with `labels` as an object."""
    for line, text in enumerate(_short(lines), 1):
        if not text.strip():
            continue
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            yield {"line": line, "wrong": "It is no JSON."}
            continue
        if not isinstance(said, dict):
            yield {"line": line, "wrong": "It is no JSON object."}
            continue
        yield {"line": line} | _from_object(said)


def at_most(most: int, rows: Iterable[Row]) -> list[Row]:
    """All rows, if they are few enough to be registered while somebody waits.

    Raises InputInvalid.
    """
    taken = list(islice(rows, most + 1))
    if len(taken) > most:
        raise InputInvalid(
            f"These are more than {most:,}. Nothing was registered: take `flask databases import`."
        )
    return taken


def _from_object(values: dict[str, Any]) -> Row:
    labels = values.pop("labels", {})
    if not isinstance(labels, dict):
        return {"wrong": "Its labels are no JSON object."}
    columns = {**values, **{f"label.{name}": value for name, value in labels.items()}}
    if wrong := [name for name in columns if not _is_column(name)]:
        return {"wrong": f"{quoted(wrong[0])} is no key of a database. {_columns()}"}
    plain = str | int
    if wrong := [k for k, v in columns.items() if v is not None and not isinstance(v, plain)]:
        return {"wrong": f"Its {wrong[0]} is neither a text nor a whole number."}
    return _row((name, "" if value is None else str(value)) for name, value in columns.items())


def _row(pairs: Iterable[tuple[str, str]]) -> Row:
    """An empty cell says nothing."""
    row: Row = {}
    labels = {}
    for name, cell in pairs:
        if not (value := cell.strip()):
            continue
        if name.startswith("label."):
            labels[name.removeprefix("label.")] = value
        else:
            row[name] = value
    return row | ({"labels": labels} if labels else {})


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
        raise InputInvalid("A column is there twice.")
    if not {"url", "reference"} & set(header):
        raise InputInvalid("There is neither a column `url` nor `reference`.")


def _is_column(name: str) -> bool:
    return name in COLUMNS or (name.startswith("label.") and name != "label.")


def _columns() -> str:
    return f"There are {', '.join(COLUMNS)} and label.<name>."


def _short(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            raise InputInvalid(f"Line {number} is longer than {LONGEST_LINE // 1024} KiB.")
        # A spreadsheet's mark of a UTF-8 file is no part of the first column's name.
        yield line.removeprefix("\ufeff") if number == 1 else line


def _matching(pattern: str, roots: tuple[str, ...]) -> set[str]:
    """The paths that a pattern matches; `**` goes into no folder that is a link.

    It may lead anywhere, and around in circles: `iglob` would follow it.
    """
    if pattern.endswith("/**"):
        return {one for one in _matching(f"{pattern}/*", roots) if not os.path.isdir(one)}  # noqa: PTH112
    before, stars, after = pattern.partition("/**/")
    if not stars:
        return set(iglob(pattern))  # noqa: PTH207  # is no Path yet
    found: set[str] = set()
    for start in iglob(before):  # noqa: PTH207
        for folder, below, _ in os.walk(start) if _is_below(start, roots) else ():
            below[:] = [name for name in below if not name.startswith(".")]  # as a shell does
            found |= _matching(f"{escape(folder)}/{after}", roots)
    return found


def _base_of(pattern: str) -> Path:
    """The folder at which the wildcards begin."""
    parts = Path(pattern).parts
    fixed = next((n for n, part in enumerate(parts) if has_magic(part)), len(parts) - 1)
    return Path(*parts[:fixed])


def _is_below(path: str, roots: tuple[str, ...]) -> bool:
    real = os.path.realpath(path)
    return any(real == root or real.startswith(root.rstrip("/") + "/") for root in roots)


def _is_database(path: str) -> bool:
    """True for a file with SQLite's header; empty ones and what lies beside others are none."""
    if SIDES.search(path) or not os.path.isfile(path):  # noqa: PTH113  # 100,000 of them
        return False
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(16) == HEADER
    except OSError:
        return True  # it is said of this one that it cannot be opened, when it is looked at


def _expression(text: str) -> re.Pattern[str]:
    try:
        found = re.compile(text)
    except re.error as error:
        raise InputInvalid(f"{quoted(text)} is no regular expression: {error}.") from error
    if not found.groupindex:
        raise InputInvalid("The expression names no label. Example: (?P<region>[a-z]+)/")
    return found


def _databases(server: DatabaseURL) -> list[str]:
    kind = server.dialect
    place = server.at("postgres" if kind == "postgresql" else None)
    with reaching(server, all=True), closing(opened(place)) as raw:
        return [name for (name,) in ask(raw, DATABASES[kind]) if name not in SYSTEM[kind]]
