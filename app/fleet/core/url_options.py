"""The options that the URL of a member may have, by driver, each with its form.

What is not here is refused: an option that nobody knows may lead to another place than the URL
says, to another schema, to this machine's files or to its secrets.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from sqlalchemy import URL

from headway.errors import AddressInvalid

Form = Callable[[str, Iterable[Path]], bool]
"""True for a value of this form, given the folders that files may be in."""

CERTIFICATES = Path("/etc/ssl")


def _matching(pattern: str) -> Form:
    expression = re.compile(pattern)
    return lambda value, _: bool(expression.fullmatch(value))


def _any(_value: str, _folders: Iterable[Path]) -> bool:
    return True


def _file(value: str, folders: Iterable[Path]) -> bool:
    real = Path(os.path.realpath(value))
    allowed = [Path(os.path.realpath(folder)) for folder in (CERTIFICATES, *folders)]
    return value.startswith("/") and any(real.is_relative_to(folder) for folder in allowed)


def _root(value: str, folders: Iterable[Path]) -> bool:
    return value == "system" or _file(value, folders)


COUNT = _matching("[0-9]{1,9}")
SECONDS = _matching(r"[0-9]{1,9}(\.[0-9]{1,6})?")
WORD = _matching("[A-Za-z0-9_.-]{1,64}")
WORDS = _matching("[A-Za-z0-9_.,!-]{1,256}")
SWITCH = _matching("(?i)0|1|true|false|yes|no|on|off")

LIBPQ: dict[str, Form] = {
    "application_name": _any,
    "channel_binding": WORD,
    "client_encoding": WORD,
    "connect_timeout": COUNT,
    "gssencmode": WORD,
    "keepalives": COUNT,
    "keepalives_count": COUNT,
    "keepalives_idle": COUNT,
    "keepalives_interval": COUNT,
    "options": _any,  # read word by word before this
    "require_auth": WORDS,
    "ssl_max_protocol_version": WORD,
    "ssl_min_protocol_version": WORD,
    "sslcert": _file,
    "sslcrl": _file,
    "sslkey": _file,
    "sslmode": WORD,
    "sslpassword": _any,
    "sslrootcert": _root,
    "target_session_attrs": WORD,
    "tcp_user_timeout": COUNT,
}
MYSQL: dict[str, Form] = {
    "charset": WORD,
    "collation": WORD,
    "connect_timeout": COUNT,
    "read_timeout": COUNT,
    "sql_mode": WORDS,
    "ssl_ca": _file,
    "ssl_cert": _file,
    "ssl_check_hostname": SWITCH,
    "ssl_key": _file,
    "write_timeout": COUNT,
}
ALLOWED: Mapping[str, Mapping[str, Form]] = {
    "psycopg": LIBPQ,
    "psycopg2": LIBPQ,
    "pymysql": MYSQL
    | {
        "program_name": WORD,
        "ssl_disabled": SWITCH,
        "ssl_key_password": _any,
        "ssl_verify_cert": SWITCH,
        "ssl_verify_identity": SWITCH,
    },
    "mysqldb": MYSQL | {"ssl_mode": WORD},
    "pysqlite": {"timeout": SECONDS},
}
"""By what SQLAlchemy calls a driver. Any other driver takes none."""


def check(url: URL, folders: Iterable[Path]) -> None:
    """Raise AddressInvalid for an option that is not known, or whose value has another form."""
    allowed = ALLOWED.get(url.get_driver_name(), {})
    if unknown := sorted(set(url.query) - set(allowed)):
        there = ", ".join(sorted(allowed)) or "none"
        raise AddressInvalid(
            f"The URL of a database takes no option {_printable(unknown[0])}: it could lead to "
            f"another place than the URL says. There are: {there}."
        )
    folders = tuple(folders)
    for name, value in url.query.items():
        if isinstance(value, str) and allowed[name](value, folders):
            continue
        where = ", ".join(map(str, (CERTIFICATES, *folders)))
        is_file = allowed[name] in (_file, _root)
        raise AddressInvalid(
            f"The option {name} of this URL names no file in an allowed folder ({where})."
            if is_file
            else f"The option {name} of this URL has a value that it cannot have, or several."
        )


def _printable(name: str) -> str:
    return name[:64] if name.isprintable() else "of that name"
