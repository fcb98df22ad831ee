"""Which databases may be in the fleet: URLs as typed, references, the folders and hosts allowed.

A URL is one value from the first line to the last, so that its password has no way out. No error
of this module repeats what a URL, a variable or a file holds, but for the path of a SQLite file.
"""

import ipaddress
import os
import re
from fnmatch import fnmatchcase
from pathlib import Path

from app.errors import OutsideRoots
from app.fleet.addresses import url_options
from app.fleet.addresses.paths import inside, settings
from app.fleet.core.validation import MISLEADING
from app.models import Database
from app.settings import KEYS
from headway.dialects import driver
from headway.dialects.urls import DatabaseURL
from headway.errors import AddressInvalid, DatabaseUnreachable, DriverMissing, HeadwayError

LONGEST = 1024
SECRETS = Path("/run/secrets")
"""Where containers mount what is secret: a `file:` reference may lead there too."""
ENDINGS = (".db", ".sqlite", ".sqlite3")
CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")

LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST = re.compile(rf"(?=.{{1,253}}$){LABEL}(\.{LABEL})*\.?")
NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
"""The last part of a host that the system would read as a number, and so as an address."""
UNESCAPED = re.compile(r"[:@;/?#\s]")
"""What no name of a user or a database holds, and a password that was not percent-encoded may."""


def parse(text: str) -> DatabaseURL:
    """The URL of a database that may be in the fleet: absolute, with a driver that we have.

    Raises AddressInvalid, or OutsideRoots for a SQLite file in no folder of HEADWAY_DATA_ROOTS.
    The file need not exist; links and `..` are followed first.
    """
    url = _checked(text)
    url.name  # noqa: B018  # raises AddressInvalid for a URL that names no database
    if url.dialect == "sqlite":
        path = inside(url.name, settings().data_roots)
        if path.is_dir():
            raise AddressInvalid(f"{path.name} is a folder. Name a file in it.")
        _check_name(path)
        url = url.at(str(path))
    if len(url.display) > LONGEST:
        raise AddressInvalid(f"This URL is too long: at most {LONGEST} characters are allowed.")
    if _is_catalog(url):
        raise AddressInvalid(
            "This is Headway's own catalog, which it migrates itself when it starts."
        )
    return url


def require_place_for_new(path: Path) -> None:
    """Raise AddressInvalid for a file that may not be created: its name, or scripts beside it."""
    if path.suffix.lower() not in ENDINGS:
        raise AddressInvalid(
            f"{path.name} is not a valid name for a new SQLite file: use *{', *'.join(ENDINGS)}. "
            "With another ending, a program could mistake it for another kind of file. Nothing was "
            "created."
        )
    for folder in (path.parent, path.parent.parent):
        if (folder / "env.py").exists():
            raise AddressInvalid(
                f"{folder} is a script directory, and workers run the files in it, so no database "
                "is created there. Nothing was created. Use another folder."
            )


def parse_server(text: str) -> DatabaseURL:
    """The URL of a server, whose databases are to be listed. Raises AddressInvalid."""
    url = _checked(text)
    if url.dialect == "sqlite":
        raise AddressInvalid("SQLite has no server. Give a pattern for the files instead.")
    return url


def parse_shared(text: str) -> DatabaseURL:
    """The URL of a PostgreSQL database, whose schemas are to be listed. Raises AddressInvalid."""
    url = _checked(text)
    if url.dialect == "sqlite":
        raise AddressInvalid("A SQLite file has no schemas. Give a pattern for the files instead.")
    if url.dialect == "mysql":
        raise AddressInvalid(
            "A database of MySQL or MariaDB has no schemas in it: each is a database of its own. "
            "Import the databases of the server instead."
        )
    url.name  # noqa: B018  # raises AddressInvalid for a URL that names no database
    if url.session.path:
        raise AddressInvalid(
            "This URL names a schema already. To look for all of them, give the database's own "
            "URL: postgresql://user:password@host/name"
        )
    return url


def resolve(reference: str) -> DatabaseURL:
    """The URL that `env:NAME` or `file:/path` leads to, read anew each time.

    Raises AddressInvalid, OutsideRoots, or DatabaseUnreachable where this process has no such
    variable or file: another one, a worker's, may. A variable that holds anything else than a URL
    that may be used is as good as none: nobody learns which variables there are.
    """
    kind, _, name = reference.partition(":")
    if kind == "env" and VARIABLE.fullmatch(name):
        return _variable(name)
    if kind == "file" and name.startswith("/"):
        said = _file(name)
    else:
        raise AddressInvalid(
            "This is not a reference. Use env:NAME for an environment variable, or "
            "file:/run/secrets/name for a file that holds a URL."
        )
    try:
        return parse(said)
    except AddressInvalid as error:
        raise AddressInvalid(f"The value of {reference} cannot be used: {error}") from None
    except OutsideRoots:
        raise OutsideRoots(
            f"The value of {reference} is a SQLite file outside the folders of HEADWAY_DATA_ROOTS."
        ) from None


def url_of(database: Database) -> DatabaseURL:
    """The URL of a database of the fleet, checked again: folders and variables change.

    Raises what `parse` and `resolve` raise, and SecretUnreadable.
    """
    if database.reference:
        return resolve(database.reference)
    if database.url is None:
        raise AddressInvalid(f"Database {database.id} has neither a URL nor a reference.")
    return parse(database.url)


def _checked(text: str) -> DatabaseURL:
    """A URL of a kind that we know, and of nothing hidden."""
    text = text.strip()
    if len(text) > LONGEST * 2 or CONTROL.search(text):
        raise AddressInvalid(
            "This URL is too long, or holds a character that is not allowed in a URL."
        )
    url = DatabaseURL.parse(Path(text) if text.startswith("/") else text)
    try:
        driver.dialect_for(url.drivername)
    except DriverMissing as error:
        raise AddressInvalid(f"{error}") from None
    _check_characters(url)
    if url.dialect == "sqlite":
        _check_file(url)
        checked = url
    else:
        checked = _check_place(url)
    url_options.check(checked, (SECRETS, *settings().data_roots))
    return url


def _check_characters(url: DatabaseURL) -> None:
    """The text may hold them percent-encoded."""
    options = [one for many in url.normalized_query.values() for one in many]
    seen = [str(part or "") for part in (url.username, url.host, url.database, *url.query)]
    if CONTROL.search(str(url.password or "")) or any(
        MISLEADING.search(part) for part in (*seen, *options)
    ):
        raise AddressInvalid(
            "This URL holds a control character, or one that makes a name look like another."
        )


def _check_file(url: DatabaseURL) -> None:
    name = url.database or ""
    if url.host or url.username or url.password:
        raise AddressInvalid("A SQLite file has no host: write sqlite:////data/customer.db")
    if name in ("", ":memory:"):
        raise AddressInvalid(
            "Name a SQLite file by its path: sqlite:////data/customer.db. A database in memory "
            "cannot be shared with workers."
        )


def _check_name(path: Path) -> None:
    """A name that SQLite or we give to what lies beside a database, or beside the catalog."""
    if url_options.SIDES.search(path.name):
        raise AddressInvalid(
            f"{path.name} has the name of a file that is kept beside a SQLite database: a journal, "
            "a lock or a snapshot. Name the database itself. To use a snapshot, restore it or copy "
            "it to a new name."
        )
    catalog = settings().sqlite_path
    if catalog is None or path.parent != catalog.parent or path == catalog:
        return
    if path.name.startswith((catalog.name, *KEYS, *(f".{key}." for key in KEYS))):
        raise AddressInvalid(
            f"{path.name} has the name of a file of Headway's own catalog. Give the file another "
            "name, or better a folder of its own."
        )


def _check_place(url: DatabaseURL) -> DatabaseURL:
    """One place that may be reached, and no part of a password where people see it.

    Returns the URL without the option that names a socket.
    """
    if any(UNESCAPED.search(part or "") for part in (url.username, url.database)):
        raise AddressInvalid(
            "The user or the database name in this URL holds a character that is not allowed "
            "there. If the character belongs to the password, percent-encode it: %40 for @, %3A "
            "for :, %2F for /."
        )
    allowed = settings().database_hosts
    option = "host" if url.dialect == "postgresql" else "unix_socket"
    socket = url.query.get(option)
    if isinstance(socket, str) and socket.startswith("/") and url.host in (None, "", "localhost"):
        if socket not in allowed:
            raise AddressInvalid(
                "This URL leads to a socket of this machine, and HEADWAY_DATABASE_HOSTS does not "
                "name it. Name a host: postgresql://user:password@host/name"
            )
        return DatabaseURL.of(url.difference_update_query([option]))
    if not url.host:
        raise AddressInvalid(
            "This URL names no host, or several, so the machine would decide where it leads. Name "
            "one host: postgresql://user:password@host/name"
        )
    if not _is_host(url.host):
        raise AddressInvalid(
            "The host of this URL is not valid. A host is a name of letters, digits, - and _, or "
            "an address such as 192.0.2.7 or [2001:db8::7]. If this is a part of the password, "
            "percent-encode it: %40 for @, %3A for :, %2F for /."
        )
    if allowed and not any(_names(entry, url) for entry in allowed):
        raise AddressInvalid(
            "The host of this URL is not among HEADWAY_DATABASE_HOSTS. Ask the person who runs "
            "Headway to add it."
        )
    return url


def _is_host(host: str) -> bool:
    """True for a name or an address in its usual spelling; `127.1` is neither."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        is_number = NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2])
        return bool(HOST.fullmatch(host)) and not is_number
    return "%" not in host


def _names(entry: str, url: DatabaseURL) -> bool:
    """True if an entry of HEADWAY_DATABASE_HOSTS means this server: `*.example.org`, `h:5432`."""
    host, port = url.place
    pattern, _, number = entry.rpartition(":") if _has_port(entry) else (entry, "", "")
    said = DatabaseURL.create(url.drivername, host=pattern.strip("[]"))
    return fnmatchcase(host, DatabaseURL.of(said).place[0]) and number in ("", str(port))


def _has_port(entry: str) -> bool:
    return bool(re.fullmatch(r"(\[[^]]*\]|[^:]*):[0-9]{1,5}", entry))


def _variable(name: str) -> DatabaseURL:
    if name.upper().startswith("HEADWAY_") or name.upper() == "DATABASE_URL":
        raise AddressInvalid(
            f"{name} is a variable of Headway itself. Use another variable for the URL of the "
            "database."
        )
    try:
        return parse(os.environ.get(name, ""))
    except HeadwayError:
        raise DatabaseUnreachable(
            f"The environment variable {name} of this process holds no URL that may be used here, "
            "or is not set."
        ) from None


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
        raise AddressInvalid(f"{name} does not hold text.") from None


def _is_catalog(url: DatabaseURL) -> bool:
    catalog = settings().database_url
    try:
        return url.identity == catalog.identity
    except AddressInvalid:  # whose schema is not understood: any of its database may be it
        return url.is_same(catalog)
