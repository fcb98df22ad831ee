"""A file of notes: made, recognised, brought up to date, and opened."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy import URL, NullPool, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from headway import Project
from headway.database import Database
from headway.errors import DatabaseInUse, DatabaseLocked, DatabaseReadOnly, HeadwayError
from headway.types import Outcome, Position, Status
from notes import RELEASE

APPLICATION_ID = b"NOTE"
"""Stands in the header of each of our files since n0001: https://sqlite.org/fileformat2.html"""


class FileRefused(Exception):
    """Why a file cannot be used, in a sentence for the person who chose it."""


@cache
def project() -> Project:
    """Our revisions, wherever this package is: in a checkout, installed, or frozen."""
    return Project.load("notes:migrations")


def database(path: Path) -> Database:
    """The file as Headway sees it. Nothing is opened yet."""
    return project().at(path, snapshot=True, release=f"notes {RELEASE}", lock_wait=10)


def create(path: Path) -> None:
    """Make a new file at this release's version. Raises FileRefused."""
    try:
        database(path).create()
    except HeadwayError as error:  # it is there already, or cannot be written
        raise FileRefused(str(error)) from error


def bring_up_to_date(path: Path) -> Outcome | None:
    """Migrate a file of an older release, after a copy of it; None if it is none.

    Raises FileRefused; the file is then as it was, to the byte.
    """
    look = look_at(path)
    if look.newer:
        raise FileRefused(f"{path} was saved by a newer release of Notes: open it with that one.")
    if look.position is Position.AT_HEAD:
        return None
    try:
        return database(path).upgrade()
    except DatabaseReadOnly:
        why = "it cannot be written."
    except (DatabaseInUse, DatabaseLocked):
        why = "another program is using it."
    except HeadwayError as error:
        why = str(error)
    raise FileRefused(f"{path} is of an older release and could not be brought up to date: {why}")


def look_at(path: Path) -> Status:
    """What a file is; nothing is changed. Raises FileRefused for what is no file of notes.

    The header tells that, so SQLite never touches a file of somebody else's.
    """
    try:
        with path.open("rb") as file:
            header = file.read(72)
    except OSError as error:
        raise FileRefused(f"{path} cannot be opened: {error.strerror}.") from error
    if header[:16] != b"SQLite format 3\0" or header[68:] != APPLICATION_ID:
        raise FileRefused(f"{path} is not a file of Notes.")
    with _said_kindly(path):
        return database(path).status()


@contextmanager
def session(path: Path) -> Iterator[Session]:
    """What is in a file that is up to date; saved at the end, all of it or nothing."""
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)
    event.listen(engine, "connect", _keep_references_whole)
    try:
        with _said_kindly(path), Session(engine) as opened, opened.begin():
            yield opened
    finally:
        engine.dispose()


@contextmanager
def _said_kindly(path: Path) -> Iterator[None]:
    try:
        yield
    except (DatabaseError, sqlite3.DatabaseError) as error:
        said = error.orig if isinstance(error, DatabaseError) else error
        raise FileRefused(f"{path} could not be used: {said}.") from error


def _keep_references_whole(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
