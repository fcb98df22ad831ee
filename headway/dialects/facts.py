"""A schema as facts, by which two databases can be compared."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from headway.dialects.names import folded


class Key(NamedTuple):
    """The object that a fact is about."""

    kind: str
    schema: str
    """"" where this kind of database has none within it."""
    name: str
    """The object's name, or that of its table."""
    part: str = ""
    """The object's name within its table."""


class Fact(NamedTuple):
    """What is recorded of one schema object."""

    firm: str | None
    """A text that is equal exactly if the objects are; None if it may not be read."""
    loose: str = ""
    """Another where the thing may be another: two ways to write a type, say."""
    sql: str | None = None
    """The statement that makes it."""


Facts = dict[Key, Fact]

ONLY_MISSING = frozenset({"schema", "extension", "event trigger", "publication"})
"""What belongs to a whole database: others may have theirs in it."""
SHADOW = "shadow table"
"""A table that a virtual one keeps its content in."""
OF_A_TABLE = frozenset(
    {"column", "constraint", "index", "trigger", "policy", "rule", "unique", "foreign key", "check"}
)

TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<text>'(?:[^']|'')*')
    |"(?P<double>(?:[^"]|"")*)"|`(?P<tick>(?:[^`]|``)*)`|\[(?P<bracket>[^\]]*)\]
    |(?P<word>[^\W\d]\w*)
    |(?P<number>\d+(?:\.\d+)?)
    |(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)


def tokens(sql: str) -> Iterator[str]:
    """The words of a statement: small, without quotes where none are needed; no comments."""
    for found in TOKEN.finditer(sql):
        if found["space"] is not None:
            continue
        named = next(
            (found[kind] for kind in ("double", "tick", "bracket") if found[kind] is not None), None
        )
        if named is not None:
            yield folded(named) if re.fullmatch(r"[^\W\d]\w*", named) else f'"{named}"'
        elif found["word"] is not None:
            yield folded(found["word"])
        else:
            yield found.group()


def plain(sql: str) -> str:
    """A statement without what does not matter: spaces, comments, quotes, capital letters."""
    return " ".join(tokens(sql)).replace("if not exists ", "", 1)


def in_brackets(words: list[str], start: int) -> str:
    """What stands between the bracket at this place and the one that closes it."""
    depth, end = 0, start
    for end in range(start, len(words)):
        depth += {"(": 1, ")": -1}.get(words[end], 0)
        if not depth:
            break
    return " ".join(words[start + 1 : end])
