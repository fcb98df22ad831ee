"""One revision: its file as it is read without importing it, and the form that people read."""

import hashlib
from dataclasses import dataclass

AUTOCOMMIT = b"autocommit_block"


@dataclass(frozen=True, kw_only=True)
class Script:
    """One revision file."""

    id: str
    parents: tuple[str, ...]
    depends_on: tuple[str, ...]
    labels: tuple[str, ...] = ()
    """Its own, not those of the branch that it is on."""
    path: str
    checksum: str
    """SHA-256 of the source with its line ends as `\\n`: a checkout on Windows is no edit."""
    autocommits: bool
    """True if it leaves its transaction (`autocommit_block`), so that it can be left half-way."""


@dataclass(frozen=True, kw_only=True)
class Revision:
    """One revision, as a person reads it."""

    id: str
    parents: tuple[str, ...]
    depends_on: tuple[str, ...]
    labels: tuple[str, ...]
    message: str
    path: str
    checksum: str


def checksum(source: bytes) -> str:
    """The checksum that is kept for a revision's source."""
    return hashlib.sha256(source.replace(b"\r\n", b"\n")).hexdigest()
