"""The identifiers at the top of a revision file, read without running it.

Alembic imports every revision to learn them (0.3 ms each). Where a file assigns each of them
once, plainly, at its top level, and names them nowhere else in its code, running it could say
nothing else. Of any other file nothing is claimed.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

NAMES = rb"revision|down_revision|depends_on|branch_labels"
# `down_revision = "a"`, `down_revision: str | None = ("a", "b")`, a tuple over several lines
ASSIGNMENT = re.compile(
    rb"(?:" + NAMES + rb")(?:[ \t]*:[^=#\n]+)?[ \t]*=[ \t]*"
    rb"(None|\"[^\"\\\n]*\"|'[^'\\\n]*'|[\(\[][^\)\]]*[\)\]])[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)"
)
NAME = re.compile(rb"\b(?:" + NAMES + rb")\b")
# What is no code, and what nests.
TOKEN = re.compile(
    rb"\#[^\n]*"
    rb'|"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""'
    rb"|'''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'''"
    rb'|"[^"\\\n]*(?:\\.[^"\\\n]*)*"'
    rb"|'[^'\\\n]*(?:\\.[^'\\\n]*)*'"
    rb"|(?P<opens>[(\[{])|(?P<closes>[)\]}])"
    rb"|(?P<unclosed>[\"'])",
    re.DOTALL,
)
CODING = re.compile(rb"(?:[^\n]*\n)?[ \t\f]*#[^\n]*?coding[:=][ \t]*([-\w.]+)")
WORDS = (b"revision", b"depends_on", b"branch_labels")
ASSIGNS_OTHERWISE = (
    *(b"import *", b"import*", b"globals(", b"locals(", b"vars(", b"exec(", b"eval("),
    *(b"setattr(", b"__dict__", b".modules"),
)
MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class Header:
    """The identifiers of a revision file."""

    id: str
    parents: tuple[str, ...]
    depends_on: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def read(source: bytes) -> Header | None:
    """The header of a revision file; None where only running it would tell."""
    if not _is_plain_text(source) or any(way in source for way in ASSIGNS_OTHERWISE):
        return None
    literals = _literals(source)
    if literals is None or not literals.keys() >= {b"revision", b"down_revision"}:
        return None
    try:
        found = {name: _texts(literal) for name, literal in literals.items()}
    except (ValueError, SyntaxError):  # `("a", another)`, a name that is no UTF-8
        return None
    if literals[b"revision"][:1] not in b"\"'":
        return None
    return Header(
        id=found[b"revision"][0],
        parents=found[b"down_revision"],
        depends_on=found.get(b"depends_on", ()),
        labels=found.get(b"branch_labels", ()),
    )


def _is_plain_text(source: bytes) -> bool:
    if b"\0" in source or source.startswith(MARK) or source.count(b"\r") != source.count(b"\r\n"):
        return False  # a `\r` alone ends a line, too
    match = CODING.match(source)
    return match is None or match[1].lower() in (b"utf-8", b"utf8", b"utf_8", b"ascii", b"us-ascii")


def _literals(source: bytes) -> dict[bytes, bytes] | None:
    found: dict[bytes, bytes] = {}
    names = _in_code(source)
    if names is None:
        return None
    for name, place in names:
        match = ASSIGNMENT.match(source, place)
        if match is None or name in found or not _begins_line(source, place):
            return None
        found[name] = match[1]
    return found


def _in_code(source: bytes) -> list[tuple[bytes, int]] | None:
    """Positions of the names in the code; None if one is nested, or the code cannot be parsed."""
    mentions = sorted(_mentions(source), reverse=True)
    found: list[tuple[bytes, int]] = []
    depth, end = 0, 0
    if not mentions:
        return found
    for token in TOKEN.finditer(source):
        while mentions and mentions[-1][0] < token.start():
            place, name = mentions.pop()
            if place >= end:
                found.append((name, place))
                if depth:
                    return None
        if not mentions:  # after them nothing is of interest
            return found
        kind, end = token.lastgroup, token.end()
        if kind == "unclosed":
            return None
        depth += (kind == "opens") - (kind == "closes")
    found += [(name, place) for place, name in mentions if place >= end]
    return None if depth else found


def _mentions(source: bytes) -> Iterator[tuple[int, bytes]]:
    for word in WORDS:
        place = source.find(word)
        while place >= 0:
            is_down = source[max(place - 5, 0) : place] == b"down_"
            if name := NAME.match(source, place - 5 if is_down else place):
                yield name.start(), name[0]
            place = source.find(word, place + len(word))


def _begins_line(source: bytes, place: int) -> bool:
    before = source[max(place - 3, 0) : place]
    return not before or (
        before.endswith(b"\n") and not before.endswith((b"\\\n", b"\\\r\n"))  # no continued line
    )


def _texts(literal: bytes) -> tuple[str, ...]:
    if literal[:1] in b"\"'":
        return (literal[1:-1].decode(),)
    if literal == b"None":
        return ()
    value = ast.literal_eval(literal.decode())
    texts = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("no names")
    return texts
