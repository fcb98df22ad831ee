"""Databases not registered yet: files of a pattern, a server's databases, a database's schemas.

Light to import, and without the catalog, so that a process of its own can do it.
"""

import os
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from glob import escape, iglob
from pathlib import Path
from typing import Any

from app.errors import InputInvalid
from app.fleet.addresses.url_options import SIDES, with_timeouts
from headway.dialects import OURS, dialect_of
from headway.dialects.driver import ask, closing
from headway.dialects.reach import reaching
from headway.dialects.translation import opened
from headway.dialects.urls import DatabaseURL
from headway.errors import AddressInvalid, DatabaseRefused

Row = dict[str, Any]

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
SCHEMAS = """SELECT nspname, has_schema_privilege(oid, 'USAGE') FROM pg_namespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND NOT EXISTS (
    SELECT FROM pg_depend
    WHERE classid = 'pg_namespace'::regclass AND objid = pg_namespace.oid AND deptype = 'e')
ORDER BY nspname"""
"""All but the server's own, and those that belong to an extension."""
SHARED = "public"
"""The schema of every database, which is no tenant's."""
SECONDS = 10
"""How long a server may take for each thing that it is asked."""


def files(pattern: str, base: str, roots: tuple[str, ...], labels: str | None) -> Iterator[Row]:
    """A row for each SQLite file that a pattern matches, named by its path below `base`.

    A link that leads out of the roots is not opened. Raises InputInvalid.
    """
    named = _expression(labels)
    # What a link leads to outside the folders is not even opened: it is refused as it is.
    found = (
        one for one in _matching(pattern, roots) if not _is_below(one, roots) or _is_database(one)
    )
    for line, path in enumerate(sorted(found), 1):
        name = str(Path(path).relative_to(base).with_suffix(""))
        yield _row(line, name, DatabaseURL.parse(Path(path)), named, path)


def databases(server: DatabaseURL, names: str, labels: str | None) -> Iterator[Row]:
    """A row for each database of a server whose name matches a pattern.

    Raises InputInvalid, DatabaseUnreachable or DatabaseDenied.
    """
    named = _expression(labels)
    kind = server.dialect
    theirs = [name for (name,) in _asked(server, "postgres", DATABASES[kind])]
    theirs = [one for one in theirs if one not in SYSTEM[kind] and not one.startswith(OURS)]
    found = (one for one in theirs if fnmatchcase(one, names))
    for line, name in enumerate(found, 1):
        yield _row(line, name, server.at(name), named, name)


def schemas(url: DatabaseURL, names: str, labels: str | None) -> Iterator[Row]:
    """A row for each schema of a PostgreSQL database whose name matches a pattern.

    One that the user may not use is told as `wrong`. Raises InputInvalid, DatabaseUnreachable or
    DatabaseDenied.
    """
    named = _expression(labels)
    theirs = _asked(url, url.database, SCHEMAS)
    found = (one for one in theirs if names == SHARED or one[0] != SHARED)
    found = (one for one in found if fnmatchcase(one[0], names))
    for line, (name, usable) in enumerate(found, 1):
        if usable:
            yield _schema(line, url, name, named)
        else:
            wrong = (
                f"The user of this URL may not use the schema {name}: grant it USAGE and CREATE."
            )
            yield {"line": line, "wrong": wrong}


def _schema(line: int, url: DatabaseURL, name: str, named: re.Pattern[str] | None) -> Row:
    try:
        return _row(line, name, url.in_schema(name), named, name)
    except AddressInvalid as error:
        return {"line": line, "wrong": str(error)}


FINDERS: dict[str, Callable[..., Iterator[Row]]] = {
    "files": files,
    "databases": databases,
    "schemas": schemas,
}


def _asked(server: DatabaseURL, database: str | None, query: str) -> list[Any]:
    """The rows that a server gives, within SECONDS. On MySQL no database is asked."""
    kind = server.dialect
    place = with_timeouts(server.at(database if kind == "postgresql" else None), SECONDS)
    try:
        with reaching(server, all=True), closing(opened(place)) as raw:
            dialect_of(server).set_timeouts(raw, lock_seconds=SECONDS, statement_seconds=SECONDS)
            answer = [(name, *more) for name, *more in ask(raw, query)]
    except (LookupError, TypeError, ValueError) as error:
        raise DatabaseRefused(f"{server} does not answer as a {kind} server does.") from error
    if any(isinstance(name, bytes) for name, *_ in answer):
        raise DatabaseRefused(
            f"The names in {server} have no known encoding (SQL_ASCII): add client_encoding=utf8 "
            "to the options of the URL."
        )
    return answer


def _row(
    line: int, name: str, url: DatabaseURL, named: re.Pattern[str] | None, labelled: str
) -> Row:
    row: Row = {"line": line, "name": name, "url": url.text()}
    if named and (said := named.search(labelled)):
        row["labels"] = {k: v for k, v in said.groupdict().items() if v is not None}
    return row


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


def _expression(text: str | None) -> re.Pattern[str] | None:
    if not text:
        return None
    try:
        found = re.compile(text)
    except re.error as error:
        raise InputInvalid(f"The labels are not a valid regular expression: {error}.") from error
    if not found.groupindex:
        raise InputInvalid(
            "The expression has no named group, so it gives no label. Example: (?P<region>[a-z]+)/"
        )
    return found
