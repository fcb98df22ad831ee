"""How a variable of the environment is read and refused. `app/settings.py` has the table."""

import base64
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from headway.dialects.urls import DRIVERS, DatabaseURL
from headway.errors import SettingInvalid

BROKERS = ("redis", "rediss", "amqp", "amqps", "sentinel")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
A_KEY = "`openssl rand -base64 32 | tr '+/' '-_'` makes one."
KEY_BYTES = 32
A_HOST = re.compile(r"([A-Za-z0-9_.*-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
A_PLACE = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[1-9][0-9]{0,4})?/?")
LONGEST_COUNT = 6
TRUE, FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def is_broker(text: str) -> bool:
    with suppress(ValueError):  # a port that is none, half of an IPv6 address
        address = urlsplit(text)
        return address.scheme in BROKERS and address.port != 0
    return False


def is_place(text: str) -> bool:
    """True if it is the scheme and host of a server, and perhaps a port."""
    with suppress(ValueError):  # a port that is none
        return bool(A_PLACE.fullmatch(text)) and urlsplit(text).port != 0
    return False


def is_issuer(text: str) -> bool:
    with suppress(ValueError):
        address = urlsplit(text)
        safe = address.scheme == "https" or (
            address.scheme == "http" and address.hostname in LOOPBACK
        )
        extra = address.query or address.fragment or address.username or address.password
        return bool(safe and address.hostname and address.port != 0 and not extra)
    return False


def is_key(text: str) -> bool:
    """True if Fernet takes it."""
    try:
        return len(base64.urlsafe_b64decode(text)) == KEY_BYTES
    except ValueError:
        return False


class Reader:
    """Reads one variable at a time; None where it is not set."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env

    def url(self, *names: str) -> DatabaseURL | None:
        name = next((name for name in names if self.env.get(name)), None)
        if name is None:
            return None
        try:
            url = make_url(self.env[name])
        except ArgumentError:
            raise SettingInvalid(
                f"{name} is not a database URL. Example: postgresql://user:password@host/name"
            ) from None
        url = url.set(drivername=DRIVERS.get(url.drivername, url.drivername))
        backend = url.get_backend_name()
        if backend not in DRIVERS:
            raise SettingInvalid(
                f"{name} names {backend}. The catalog lives in SQLite, PostgreSQL or MariaDB/MySQL."
            )
        if backend == "sqlite" and url.database in (None, "", ":memory:"):
            raise SettingInvalid(
                f"{name} names a database in memory, and each worker would have another one. Name "
                "a file: sqlite:////data/catalog.sqlite"
            )
        if backend == "sqlite" and str(url.database).startswith("file:"):
            raise SettingInvalid(
                f"{name} names its file by a URI. Give its path: sqlite:////data/catalog.sqlite"
            )
        return DatabaseURL.of(url)

    def broker(self, name: str) -> str | None:
        value = self.env.get(name, "").strip()
        # Several, for when one is away, are separated by semicolons.
        if value and not all(map(is_broker, value.split(";"))):
            raise SettingInvalid(
                f"{name} is not the URL of a broker. Examples: redis://host:6379/0, "
                "amqp://user:password@host:5672/"
            )
        return value or None

    def issuer(self, name: str) -> str | None:
        value = self.env.get(name, "").strip()
        if value and not is_issuer(value):
            raise SettingInvalid(
                f"{name} is not an issuer. An issuer is an https address without a query, exactly "
                "as the provider's tokens name it. Example: https://id.example.org/realms/main"
            )
        return value or None

    def place(self, name: str) -> str | None:
        value = self.env.get(name, "").strip().lower()
        if value and not is_place(value):
            raise SettingInvalid(
                f"{name} is not a public address. Give a scheme and a host, without a path. "
                "Example: https://headway.example.org"
            )
        usual = ":443" if value.startswith("https") else ":80"  # browsers do not say it
        return value.rstrip("/").removesuffix(usual) or None

    def folders(self, name: str) -> tuple[Path, ...] | None:
        found = tuple(Path(word) for word in self.env.get(name, "").split(os.pathsep) if word)
        for folder in found:
            if not folder.is_absolute():
                raise SettingInvalid(f"{name} names {folder}. Use absolute paths.")
        return found or None

    def hosts(self, name: str) -> tuple[str, ...] | None:
        found = tuple(w.strip() for w in self.env.get(name, "").split(",") if w.strip())
        for entry in found:
            if not entry.startswith("/") and not A_HOST.fullmatch(entry):
                raise SettingInvalid(
                    f"{name}: {entry[:64]!r} is not a host. Examples: db.example.org, "
                    "*.example.org, 10.0.0.7:5432, [2001:db8::7], /run/postgresql"
                )
        return found or None

    def keys(self, name: str) -> tuple[str, ...] | None:
        found = tuple(w.strip() for w in self.env.get(name, "").split(",") if w.strip())
        for number, key in enumerate(found, 1):
            if not is_key(key):
                raise SettingInvalid(
                    f"{name}: number {number} of {len(found)} is not a key. A key is {KEY_BYTES} "
                    f"bytes in URL-safe base64; several are separated by commas. {A_KEY}"
                )
        return found or None

    def flag(self, name: str) -> bool | None:
        value = self.env.get(name, "").strip().lower()
        if value and value not in TRUE | FALSE:
            raise SettingInvalid(f"{name} is {value!r}. Use true or false.")
        return value in TRUE if value else None

    def number(self, name: str) -> float | None:
        value = self.env.get(name, "").strip()
        if not value:
            return None
        try:
            number = float(value)
        except ValueError:
            number = -1
        if not 0 <= number < float("inf"):
            raise SettingInvalid(f"{name} is {value!r}. Use a number of seconds, 0 or more.")
        return number

    def count(self, name: str) -> int | None:
        value = self.env.get(name, "").strip()
        if value and not (value.isdecimal() and len(value) <= LONGEST_COUNT):
            raise SettingInvalid(f"{name} is {value[:20]!r}. Use a whole number, 0 or more.")
        return int(value) if value else None

    def choice(self, name: str, *choices: str) -> str | None:
        value = self.env.get(name, "").strip().lower()
        if value and value not in choices:
            raise SettingInvalid(f"{name} is {value!r}. Use {' or '.join(choices)}.")
        return value or None
