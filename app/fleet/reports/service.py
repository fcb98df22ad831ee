"""The service itself: its settings, and the history of its starts."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from flask import current_app
from sqlalchemy import select

from app.extensions import db
from app.fleet.core.pagination import begin_after, page_of
from app.fleet.core.permissions import Actor
from app.models import Boot
from app.settings import Settings
from headway.dialects import driver


@dataclass(frozen=True)
class SettingInForce:
    """The current value of a setting, for display: secrets are not shown."""

    variable: str
    value: str
    given: bool
    """False if it is the default."""


def settings_in_force(actor: Actor) -> list[SettingInForce]:
    """All settings. Of a secret only whether it is set; of a URL all but the password."""
    actor.require("service.read")
    settings: Settings = current_app.extensions["headway"]
    return [
        SettingInForce(
            f"HEADWAY_{field.name.upper()}", *_displayed(settings, field.name, _default(field))
        )
        for field in fields(Settings)
    ]


def list_boots(
    actor: Actor, *, limit: int, after: int | None = None
) -> tuple[list[Boot], int | None]:
    """A page of the successful starts, newest first, and the `after` of the next page."""
    actor.require("service.read")
    return page_of(begin_after(select(Boot), Boot.id, after, newest=True), limit)


def last_address() -> str | None:
    """The URL at which the service last booted; None if no server ever did."""
    known = select(Boot.address).where(Boot.address.is_not(None))
    return db.session.scalar(known.order_by(Boot.id.desc()).limit(1))


def _default(field: Any) -> Any:
    return field.default_factory() if field.default is MISSING else field.default


def _displayed(settings: Settings, name: str, default: Any) -> tuple[str, bool]:
    value = getattr(settings, name)
    if name in OWN_FILE and not value and settings.sqlite_path:
        return "its own, in a file beside the catalog", False
    return (SHOW[name](value) if name in SHOW else _value_text(value)), value != default


def _value_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ":".join(map(str, value))
    return (
        "none" if value in (None, "") else f"{value:g}" if isinstance(value, float) else str(value)
    )


def _secret(value: Any) -> str:
    return f"{len(value)} set" if isinstance(value, tuple) and value else "set" if value else "none"


def _broker(value: str | None) -> str:
    """Broker URLs without user and password; several are separated by semicolons."""
    return ";".join(_place(one) for one in value.split(";")) if value else "none"


def _place(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


OWN_FILE = ("secret_key", "encryption_keys")
SHOW: Mapping[str, Any] = {
    "database_url": driver.display_url,
    "broker_url": _broker,
    "secret_key": _secret,
    "encryption_keys": _secret,
    "oidc_client_secret": _secret,
}
"""How settings that hold a secret are displayed."""
