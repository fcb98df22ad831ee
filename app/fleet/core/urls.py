"""Where the databases of the fleet are: URLs in every spelling, references, the folders allowed.

A URL is typed from the first line to the last, so that its password has no way out. No error of
this module repeats what a URL, a variable or a file holds, but for the path of a SQLite file.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.errors import OutsideRoots
from app.fleet.core import url_options
from app.fleet.core.paths import inside, settings
from app.models import Database
from app.settings import DRIVERS
from headway.dialects import dialect_of, driver
from headway.dialects.search_path import schema_of
from headway.dialects.urls import display_url, is_same, place_of, real_file_of
from headway.errors import AddressInvalid, DatabaseUnreachable, DriverMissing

LONGEST = 1024
SECRETS = Path("/run/secrets")
"""Where containers mount what is secret: a `file:` reference may lead there too."""
CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")

HOST = re.compile(r"[A-Za-z0-9._:%-]+")
UNESCAPED = re.compile(r"[:@;/]")
"""What no name of a user or a database holds, and a password that was not percent-encoded may."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """What may be said of a URL, and what it is recognised by."""

    address: str
    """For people: no password, no secret."""
    identity: str
    """The same for two URLs of one database."""
    dialect: str
    server: str | None
    """What it shares with others; None for a file."""


def parse(text: str) -> URL:
    """The URL of a database that may be in the fleet: absolute, with a driver that we have.

    Raises AddressInvalid, or OutsideRoots for a SQLite file in no folder of HEADWAY_DATA_ROOTS.
    The file need not exist; links and `..` are followed first.
    """
    url = _checked(text)
    if not url.database:
        raise AddressInvalid(
            "This URL names no database. Example: postgresql://user:password@host/name"
        )
    if url.get_backend_name() == "sqlite":
        path = inside(url.database, settings().data_roots)
        if path.is_dir():
            raise AddressInvalid(f"{path.name} is a folder. Name a file in it.")
        url = url.set(database=str(path))
    if _is_catalog(url):
        raise AddressInvalid(
            "This is Headway's own catalog, which it migrates itself when it starts."
        )
    return url


def parse_server(text: str) -> URL:
    """The URL of a server, whose databases are to be listed. Raises AddressInvalid."""
    url = _checked(text)
    if url.get_backend_name() == "sqlite":
        raise AddressInvalid("SQLite has no server. Name a pattern over its files instead.")
    return url


def resolve(reference: str) -> URL:
    """The URL that `env:NAME` or `file:/path` leads to, read anew each time.

    Raises AddressInvalid, OutsideRoots, or DatabaseUnreachable where this process has no such
    variable or file: another one, a worker's, may.
    """
    kind, _, name = reference.partition(":")
    if kind == "env" and VARIABLE.fullmatch(name):
        said = _variable(name)
    elif kind == "file" and name.startswith("/"):
        said = _file(name)
    else:
        raise AddressInvalid(
            "This is no reference. There are: env:NAME for an environment variable, and "
            "file:/run/secrets/name for a file that holds a URL."
        )
    try:
        return parse(said)
    except AddressInvalid as error:
        raise AddressInvalid(f"What {reference} holds cannot be used: {error}") from None
    except OutsideRoots:
        raise OutsideRoots(
            f"What {reference} holds is a SQLite file in no folder of HEADWAY_DATA_ROOTS."
        ) from None


def url_of(database: Database) -> URL:
    """The URL of a database of the fleet, checked again: folders and variables change.

    Raises what `parse` and `resolve` raise, and SecretUnreadable.
    """
    if database.reference:
        return resolve(database.reference)
    if database.url is None:
        raise AddressInvalid(f"Database {database.id} has neither a URL nor a reference.")
    return parse(database.url)


def described(url: URL) -> Described:
    """What may be said of a URL."""
    dialect = dialect_of(url).name
    host, port = place_of(url)
    address = display_url(url)
    if len(address) > LONGEST:
        raise AddressInvalid(f"This URL is longer than the {LONGEST} characters that are kept.")
    return Described(
        address=address,
        identity=_identity(url),
        dialect=dialect,
        server=None if dialect == "sqlite" else f"{dialect}://{host}:{port}"[:255],
    )


def _checked(text: str) -> URL:
    """A URL of a kind that we know, and of nothing hidden."""
    text = text.strip()
    if len(text) > LONGEST * 2 or CONTROL.search(text):
        raise AddressInvalid("This URL is too long, or holds a character that no URL has.")
    url = driver.parse(Path(text)) if text.startswith("/") else _typed(text)
    try:
        driver.dialect_for(url.drivername)
    except DriverMissing as error:
        raise AddressInvalid(f"{error}") from None
    if url.get_backend_name() == "sqlite":
        _check_file(url)
    else:
        _check_place(url)
    url_options.check(url, (SECRETS, *settings().data_roots))
    return url


def _typed(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        return driver.parse("no url")  # says which there are, and nothing of this one
    if known := DRIVERS.get(url.drivername):
        url = url.set(drivername=known)
    if url.get_backend_name() == "sqlite" and (url.database or "").startswith("file:"):
        raise AddressInvalid("Name a SQLite file by its path: sqlite:////data/customer.db")
    return driver.parse(url)


def _check_file(url: URL) -> None:
    name = url.database or ""
    if url.host or url.username or url.password:
        raise AddressInvalid("A SQLite file has no host: write sqlite:////data/customer.db")
    if name in ("", ":memory:"):
        raise AddressInvalid(
            "Name a SQLite file by its path: sqlite:////data/customer.db. A database in memory "
            "cannot be shared with workers."
        )


def _check_place(url: URL) -> None:
    """One host, said in the URL, and no part of a password where people see it."""
    if not url.host:
        raise AddressInvalid(
            "This URL names no host, or several, or a folder of sockets: where it leads would be "
            "up to the machine. Name one host: postgresql://user:password@host/name"
        )
    wrong = not HOST.fullmatch(url.host) or any(
        UNESCAPED.search(part or "") for part in (url.username, url.database)
    )
    if wrong:
        raise AddressInvalid(
            "The user, host or database of this URL holds a character that none has. If it is "
            "the password's, percent-encode it: %40 for @, %3A for :, %2F for /."
        )


def _variable(name: str) -> str:
    if name.upper().startswith("HEADWAY_") or name.upper() == "DATABASE_URL":
        raise AddressInvalid(f"{name} is Headway's own. Give the database a variable of its own.")
    if not (said := os.environ.get(name)):
        raise DatabaseUnreachable(f"The environment variable {name} is not set in this process.")
    return said


def _file(name: str) -> str:
    path = inside(name, (SECRETS, *settings().data_roots))
    try:
        if not path.is_file():
            raise DatabaseUnreachable(f"There is no file {name} on this machine.")
        with path.open(encoding="utf-8") as file:
            return file.read(LONGEST * 4)
    except OSError as error:
        raise DatabaseUnreachable(f"{name} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise AddressInvalid(f"What {name} holds is no text.") from None


def _is_catalog(url: URL) -> bool:
    catalog = settings().database_url
    try:
        return _identity(url) == _identity(catalog)
    except AddressInvalid:  # whose schema is not understood: any of its database may be it
        return is_same(url, catalog)


def _identity(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        told = f"sqlite {real_file_of(url)}"
    else:
        host, port = place_of(url)
        schema = schema_of(url)
        # Without a schema of its own a session is in `public`.
        own = "" if schema in (None, "public") else schema
        told = f"{dialect_of(url).name} {host} {port} {url.database} {own}"
    return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()
