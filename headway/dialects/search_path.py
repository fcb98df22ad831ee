"""A tenant's schema in a shared PostgreSQL database, as the `options` of a URL name it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import URL

from headway.dialects.names import folded
from headway.errors import AddressInvalid, StillNeeded

PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_.$-]*")
BLANK = r"[ \t\n\r\f\v]*"
NAME = r"[^\W\d][\w$]*"
SCHEMA = re.compile(rf'{BLANK}(?:"((?:[^"]|"")+)"|(\$?{NAME})){BLANK}(,|\Z)')
VALUE = re.compile(
    rf"""{BLANK}(?:"((?:[^"]|"")+)"|'((?:[^'\\]|'')+)'|(?!(?i:DEFAULT)\b)({NAME})){BLANK}"""
    rf"(,|;?{BLANK}\Z)"
)
"""A schema in SET search_path: a text in apostrophes is a name, letter by letter."""
LONGEST_NAME = 63
"""Bytes of a name on PostgreSQL, which cuts the rest off."""
ALLOWED_OPTIONS = (
    "Write ?schema=acme for a tenant's schema, and other settings as in "
    "?options=-cstatement_timeout%3D0"
)

SET_PATH = re.compile(
    r"\s*SET\s+(?:LOCAL\s+|SESSION\s+)?search_path(?:\s+TO\s|\s*=)", re.IGNORECASE | re.ASCII
)
SET_CONFIG = re.compile(
    r"\s*SELECT\s+(?:pg_catalog\.)?set_config\s*\(\s*'search_path'\s*,"
    r"\s*'((?:[^'\\]|'')+)'\s*,\s*\w+\s*\)\s*;?\s*\Z",
    re.IGNORECASE | re.ASCII,
)

LOOKS_ELSEWHERE = re.compile(
    r"search_path|^\s*USE\s|^\s*SET\s+(?:SESSION\s+|LOCAL\s+)?SCHEMA\b", re.IGNORECASE
)
"""Statements after which a name means another table."""

SET_ROLE = re.compile(
    r"\s*SET\s+(?:SESSION\s+)?(?:ROLE\s|SESSION\s+AUTHORIZATION\s)", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Session:
    """What PostgreSQL's `options` ask of a session."""

    path: tuple[str, ...] = ()
    """The search_path; empty if the URL sets none."""
    settings: tuple[str, ...] = ()
    """The names of all other settings."""

    @property
    def schema(self) -> str | None:
        """The tenant's: the first of its path, unless that is named after the user."""
        return self.path[0] if self.path and self.path[0] != "$user" else None


def session_of(url: URL) -> Session:
    """What the `options` of a PostgreSQL URL ask of a session.

    Read as the server reads them. Raises AddressInvalid for what is not understood exactly.
    """
    options = url.query.get("options", "") if url.get_backend_name() == "postgresql" else ""
    if not isinstance(options, str):
        raise AddressInvalid(f"This URL has several options=. {ALLOWED_OPTIONS}.")
    path: tuple[str, ...] | None = None
    settings = []
    for name, value in _assigned(options):
        if name != "search_path":
            settings.append(name)
        elif path is not None:
            raise AddressInvalid("The options of this URL set search_path twice: set it once.")
        else:
            path = _schemas(value)
    return Session(path=path or (), settings=tuple(settings))


def option_for(path: Iterable[str]) -> str:
    """The option that asks for this search_path, as `session_of` reads it."""
    names = (name if PLAIN.fullmatch(name) else quoted(name) for name in path)
    return "-csearch_path=" + re.sub(r"([\s\\])", r"\\\1", ",".join(names))


def tenant_of(url: URL, what: str) -> str | None:
    """The schema that is to be made or dropped; None where that is a whole database.

    Raises StillNeeded for one that is everybody's, or the server's: `public`, `pg_…`.
    """
    schema = session_of(url).schema
    if schema and (schema in ("public", "information_schema") or schema.startswith("pg_")):
        raise StillNeeded(
            f"The schema {schema} belongs to all of a database, and this URL names it: it cannot "
            f"be {what} here. Name a tenant's own schema, as in ?schema=acme, or no schema for "
            "the whole database."
        )
    return schema


def refuse_schema(url: URL, what: str) -> None:
    """Raise StillNeeded for a tenant's: its database is not its own to be made or dropped."""
    if schema := session_of(url).schema:
        raise StillNeeded(
            f"This is the schema {schema} in a database that others share: the database cannot be "
            f"{what} by this URL."
        )


def schema_set_by(statement: str) -> str | None:
    """The first schema of the search_path that a statement sets; None if that is not understood."""
    try:
        if found := SET_PATH.match(statement):
            return _schemas(statement[found.end() :], VALUE)[0]
        found = SET_CONFIG.match(statement)
        return _schemas(found[1].replace("''", "'"))[0] if found else None
    except AddressInvalid:
        return None


def quoted(name: str) -> str:
    """A name as PostgreSQL's SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _assigned(options: str) -> Iterator[tuple[str, str]]:
    """The settings, as `-c name=value`, `-cname=value` or `--name=value`."""
    words = iter(_split_options(options))
    for word in words:
        if word == "-c":
            assignment = next(words, "")
        elif word.startswith(("-c", "--")):
            assignment = word[2:]
        else:
            assignment = ""
        name, equals, value = assignment.partition("=")
        if not equals or not SETTING.fullmatch(name):
            raise AddressInvalid(
                "The options of this URL are not understood, and could lead to another schema. "
                f"{ALLOWED_OPTIONS}."
            )
        yield name.replace("-", "_").lower(), value


def _split_options(text: str) -> list[str]:
    """Blanks separate words, and a backslash takes the next character as it is."""
    words, word, escaped = [], "", False
    for character in text:
        if not escaped and character == "\\":
            escaped = True
        elif not escaped and character in " \t\n\r\v\f":
            words.append(word)
            word = ""
        else:
            word, escaped = word + character, False
    return [word for word in (*words, word) if word]


def _schemas(path: str, one: re.Pattern[str] = SCHEMA) -> tuple[str, ...]:
    """The names in a search_path: small letters unless quoted, as long as a name may be.

    Small letters of a to z: the server leaves others as they are, in UTF-8.
    """
    names, at, more = [], 0, ","
    while more == ",":
        found = one.match(path, at)
        if not found:
            raise AddressInvalid(
                "The search_path in this URL is not understood. Write schemas by their names, "
                f"separated by commas without blanks. {ALLOWED_OPTIONS}."
            )
        *texts, bare, more = found.groups()
        exact = next((text for text in zip(texts, "\"'", strict=False) if text[0]), None)
        name = exact[0].replace(exact[1] * 2, exact[1]) if exact else folded(bare)
        names.append(name.encode()[:LONGEST_NAME].decode(errors="ignore"))
        at = found.end()
    return tuple(names)
