"""What the URL of a database means: which place, which database, whose schema.

The one place that decides it. A URL that says one thing where people see it, and another in an
option, is refused: who reads it, locks it or drops it would mean another database than the
driver opens.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from headway.dialects.search_path import session_of
from headway.errors import AddressInvalid

SYNC = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
"""What we use where a URL names no driver, or one for asyncio."""
PORTS = {"postgresql": 5432, "mysql": 3306}
LARGEST_PORT = 65535
HARMLESS = {
    *("application_name", "channel_binding", "charset", "client_encoding", "collation"),
    *("connect_timeout", "gssencmode", "host", "keepalives", "keepalives_count"),
    *("keepalives_idle", "keepalives_interval", "read_timeout", "sslmode", "ssl_disabled"),
    *("target_session_attrs", "tcp_user_timeout", "timeout", "write_timeout"),
}
"""URL options whose values may be displayed. Any other might be a secret."""

VISIBLE = {
    "postgresql": {"host": "host", "port": "port", "user": "username", "password": "password"}
    | {"username": "username", "dbname": "database", "database": "database"},
    "mysql": {"host": "host", "port": "port", "user": "username", "username": "username"}
    | {"password": "password", "passwd": "password", "db": "database", "database": "database"},
}
"""Options that duplicate a part of the URL, by that part."""
LEADING = {
    "postgresql": {"conninfo", "dsn", "hostaddr", "service", "servicefile"},
    "mysql": set[str](),
}
"""Options that redirect to another server or database than the URL names."""

HOST = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?::([0-9]{1,5}))?")
ONE_SET = re.compile(r"\s*set\s+(?!statement\b)[^;]*;?\s*", re.IGNORECASE)
PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


# --- parse -----------------------------------------------------------------------------------


ASYNCPGS_OWN = {
    *("prepared_statement_cache_size", "prepared_statement_name_func", "statement_cache_size"),
    *("command_timeout", "async_fallback", "max_cached_statement_lifetime"),
}
"""Options of asyncpg's URLs that are about its caches."""


def parse(url: str | URL | Path) -> URL:
    """A URL of a database, as typed or as a path to a SQLite file, in the plainest spelling.

    A driver for asyncio is replaced by the one we use, a `file:` URI by its path, and what an
    option says is moved to its own part of the URL. Raises AddressInvalid, also for options
    that lead to another database or schema than the URL says.
    """
    if isinstance(url, Path):
        return URL.create("sqlite", database=str(url))
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except ArgumentError:
        raise AddressInvalid(
            "This is not a database URL. Examples: sqlite:///data/customer.db, "
            "postgresql://user:password@host/name"
        ) from None
    known = _kind(parsed)
    if known not in SYNC:
        raise AddressInvalid(
            f"Headway knows {', '.join(SYNC)} (and mariadb), and this URL names {backend}."
        )
    if parsed.drivername == backend or _is_async(parsed):
        if parsed.drivername.endswith("+asyncpg"):
            parsed = parsed.set(query=_psycopg_options(parsed.query))
        if parsed.drivername != SYNC[known]:
            parsed = parsed.set(drivername=SYNC[known])
    parsed = _by_path(parsed) if known == "sqlite" else _plain(parsed, known)
    if parsed.port is not None and not 0 < parsed.port <= LARGEST_PORT:
        raise AddressInvalid(f"A port is a number from 1 to {LARGEST_PORT}.")
    return parsed


def _kind(url: URL) -> str:
    backend = url.get_backend_name()
    return "mysql" if backend == "mariadb" else backend


def _psycopg_options(query: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a URL for asyncpg as psycopg calls them, without its caches'."""
    names = {"ssl": "sslmode", "timeout": "connect_timeout"}
    kept = {name: value for name, value in query.items() if name not in ASYNCPGS_OWN}
    return {names.get(name, name): value for name, value in kept.items()}


def _is_async(url: URL) -> bool:
    try:
        return bool(url.get_dialect().is_async)
    except (NoSuchModuleError, ImportError):
        return False


def _plain(url: URL, kind: str) -> URL:
    """A server's URL, normalized: no option duplicates or contradicts a part of it."""
    if leading := sorted(set(url.query) & LEADING[kind]):
        raise AddressInvalid(
            f"The option {leading[0]} names another server or database than the URL. Write the "
            "host, port, user and database in the URL itself."
        )
    url = _with_host(url)
    for option, part in VISIBLE[kind].items():
        if option in url.query:
            url = _moved(url, option, part)
    if kind == "postgresql":
        session_of(url)
    elif not _only_sets(url.query.get("init_command", "")):
        raise AddressInvalid(
            "The option init_command may hold one SET statement and nothing else: any other could "
            "select another database than the URL names."
        )
    return url


def _with_host(url: URL) -> URL:
    """The URL with the host that an option names; a socket folder or a list stays an option."""
    host = url.query.get("host")
    found = HOST.fullmatch(host) if isinstance(host, str) and not url.host else None
    if not found or (found[2] and (url.port or "port" in url.query)):
        return url
    port = int(found[2]) if found[2] else url.port
    return url.difference_update_query(["host"]).set(host=found[1], port=port)


def _moved(url: URL, option: str, part: str) -> URL:
    """The URL with an option moved to the part of the URL that it belongs to."""
    given = url.query[option]
    if getattr(url, part) not in (None, "") or (part == "database" and not isinstance(given, str)):
        raise AddressInvalid(
            f"The option {option} repeats a part of the URL, and the driver would prefer the "
            f"option. Give it once: {option} in the URL itself."
        )
    if not isinstance(given, str) or option == "host":
        return url  # several hosts of one cluster, which libpq tries one after the other
    if option == "port" and "host" in url.query:
        return url  # theirs
    if option == "port" and not given.isdecimal():
        raise AddressInvalid(f"A port is a number from 1 to {LARGEST_PORT}.")
    value = int(given) if option == "port" else given
    return url.difference_update_query([option]).set(**{part: value})  # type: ignore[arg-type]


def _only_sets(command: object) -> bool:
    return command == "" or bool(ONE_SET.fullmatch(str(command)))


def named(url: URL) -> str:
    """The name of the database that is made, dropped or looked for. Raises AddressInvalid."""
    if not url.database:
        raise AddressInvalid(
            "This URL names no database. Example: postgresql://user:password@host/name"
        )
    return url.database


# --- SQLite: the file ------------------------------------------------------------------------


def file_of(url: URL) -> Path | None:
    """The file that SQLite opens, absolute; None for a database in memory, and for a server's."""
    name = url.database
    if url.get_backend_name() != "sqlite" or name in (None, "", ":memory:"):
        return None
    if str(name).startswith("file:") and _says_uri(url):
        path, options = _uri(url)
        if path in ("", ":memory:") or options.get("mode") == "memory":
            return None
        name = path
    return Path(str(name)).absolute()


def real_file_of(url: URL) -> Path | None:
    """The path of a SQLite database with all links resolved; the file need not exist."""
    path = file_of(url)
    return path and Path(os.path.realpath(path))


def _says_uri(url: URL) -> bool:
    text = str(url.query.get("uri", "")).strip().lower()
    return text in ("true", "yes", "on", "y", "t", "1")


def _by_path(url: URL) -> URL:
    """The URL with a plain path instead of a `file:` URI.

    Raises AddressInvalid for unknown parameters.
    """
    is_file = str(url.database or "").startswith("file:")
    if not is_file and not _says_uri(url):
        return url
    plain = "Give the path of the file: sqlite:////data/customer.db"
    if not _says_uri(url):
        raise AddressInvalid(f"A file: URI needs the option uri=true. {plain}")
    path, options = _uri(url)
    if asked := sorted(
        name for name, value in options.items() if not is_file or (name, value) != ("mode", "rwc")
    ):
        raise AddressInvalid(
            f"This URI asks SQLite for {', '.join(asked)} too, and Headway opens files as they "
            f"are: other names of a file, other locks or a memory are nothing it knows. {plain}"
        )
    if path not in ("", ":memory:"):
        path = str(Path(path).absolute())
    return url.difference_update_query(["uri", "mode"]).set(database=path)


DRIVERS_OWN = {
    *("uri", "timeout", "isolation_level", "detect_types", "check_same_thread"),
    "cached_statements",
}
"""Options of the Python driver's, which are no part of a URI."""


def _uri(url: URL) -> tuple[str, dict[str, object]]:
    """The path and the options of a `file:` URI, as SQLite reads it."""
    options: dict[str, object] = {k: v for k, v in url.query.items() if k not in DRIVERS_OWN}
    text = str(url.database or "")
    if not text.startswith("file:"):
        return text, options
    place, question, query = text.removeprefix("file:").partition("#")[0].partition("?")
    if place.startswith("//"):
        host, slash, place = place[2:].partition("/")
        if host not in ("", "localhost"):
            raise AddressInvalid(f"SQLite opens no file on another host ({host}).")
        place = slash + place
    if question:
        options |= dict(pair.partition("=")[::2] for pair in query.split("&") if pair)
    return url2pathname(place), options


# --- compare and show ------------------------------------------------------------------------


def place_of(url: URL) -> tuple[str, int]:
    """A server's host and port, in one spelling."""
    text = url.host or url.query.get("host") or "localhost"
    host = (text if isinstance(text, str) else ",".join(text)).lower().rstrip(".")
    if host in ("127.0.0.1", "::1"):
        host = "localhost"
    return host, url.port or PORTS.get(_kind(url), 0)


def is_same(one: URL, other: URL) -> bool:
    """True for two names of one database."""
    if _kind(one) != _kind(other):
        return False
    if _kind(one) == "sqlite":
        return real_file_of(one) == real_file_of(other)
    return (place_of(one), one.database) == (place_of(other), other.database)


def display_url(url: URL) -> str:
    """The URL for people: its password, and any option that might be one, as `***`."""
    options = {name: _shown(url, name) for name in url.query}
    return url.set(query=options).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")


def _shown(url: URL, name: str) -> str | tuple[str, ...]:
    if name in HARMLESS:
        return url.query[name]
    if name != "options":
        return "***"
    try:
        session = session_of(url)
    except AddressInvalid:
        return "***"
    path = ",".join(name if PLAIN.fullmatch(name) else _quoted(name) for name in session.path)
    escaped = re.sub(r"([\s\\])", r"\\\1", path)
    text = [f"-csearch_path={escaped}"] if path else []
    return " ".join(text + [f"-c{setting}=***" for setting in session.settings]) or "***"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
