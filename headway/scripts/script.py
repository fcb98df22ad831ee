"""One revision: its file as it is read without importing it, and the form that people read."""

import hashlib
from dataclasses import dataclass

AUTOCOMMIT = b"autocommit_block"


@dataclass(frozen=True, kw_only=True)
class Script:
    """A revision as its file describes it."""

    id: str
    parents: tuple[str, ...]
    depends_on: tuple[str, ...]
    labels: tuple[str, ...] = ()
    """The revision's own labels, not those of its branch."""
    path: str
    checksum: str
    """SHA-256 of the source with line ends as LF, so that a Windows checkout is no edit."""
    autocommits: bool
    """True if it has an `autocommit_block`, so that it may end half-way."""


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A revision as people read it."""

    id: str
    parents: tuple[str, ...]
    depends_on: tuple[str, ...]
    labels: tuple[str, ...]
    message: str
    path: str
    checksum: str


def checksum(source: bytes) -> str:
    """SHA-256 of a revision's source, independent of line ends."""
    return hashlib.sha256(source.replace(b"\r\n", b"\n")).hexdigest()
